//! Join tokens: what lets one machine join one pool, once, soon; and how far that machine is. It refuses to keep the token;
//! only its hash is stored, and half of the hash names it on pages.
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::Fleet;
use super::authority::root_certificate;
use crate::app::error::{Answer, AppError};
use crate::app::ids;
use crate::app::mill::Mill;
use crate::app::people::actor;
use crate::app::trust;
use crate::base::ids::{JoinTokenId, PoolId, TeamId};
use crate::base::preflight;
use crate::base::secret::{Secret, SecretHash};
use crate::base::text::Name;
use crate::base::window::{Instant, Span};
use crate::clock;
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::node::{JoinToken, Node, NodeState, Pool, Seen};
use crate::domain::fleet::refusal::{FleetRefusal, Spent};
use crate::domain::notice::Common;
use crate::domain::people::installation::Installation;
use crate::domain::people::member::Team;
use crate::domain::people::refusal::PeopleRefusal;
use crate::domain::people::rights::Actor;
use crate::store::changes::Changes;
use crate::store::command::Command;
use crate::store::people::INSTALLATION;
use crate::store::read::{Order, Read, StoreError};
use crate::store::record::Key as _;
use crate::store::tables::Table;
use crate::store::view::View;
use crate::wire::api::Moment;
use crate::wire::api::fleet::{JoinTokenRequest, JoinTokenView, JoinTokensAnswer, JoinTokensRequest, JoinedNode};
use crate::wire::node::{Arrival, MillFacts, PROTOCOL};

/// How long a token can be used.
pub const TOKEN_LASTS: Span = Span::from_minutes(15);
/// How long a token that is over is still shown.
const SHOWN_AFTER: Span = Span::from_days(1);
/// Tokens that are shown, and cleared away at once.
const MOST: usize = 1000;
/// Most tokens that are made at once.
pub const MANY: u32 = 1000;

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenInput {
    pub pool: PoolId,
    /// The team that will own the node.
    pub owner: Option<TeamId>,
    /// The node's name; its host name when `None`.
    pub name: Option<Name>,
}

/// Makes a token for another machine; shown once.
pub async fn make(mill: &Mill, who: &Actor, input: TokenInput) -> Answer<Secret> {
    admins_only(who)?;
    let secrets = write(mill, Cause::Member(who.member), input, 1, For::Newcomer).await?;
    Ok(secrets.into_iter().next().expect("one was asked for"))
}

/// Makes tokens for several machines at once, for programs.
pub async fn make_many(mill: &Mill, who: &Actor, request: JoinTokensRequest) -> Answer<JoinTokensAnswer> {
    admins_only(who)?;
    if !(1..=MANY).contains(&request.count) {
        let why = format!("From 1 to {MANY} tokens are made at once");
        return Err(Common::BadField { field: "count", why }.into());
    }
    let (input, root) = {
        let view = mill.store.read()?;
        let owner = request.owner.as_deref().map(|given| actor::team(&view, who, given)).transpose()?;
        let pool = pool(&view, request.pool.as_deref().unwrap_or_default())?.id;
        (TokenInput { pool, owner: owner.map(|team| team.id), name: None }, root_certificate(&view)?)
    };
    let root = CertificateDer::from_pem_slice(root.ok_or(PeopleRefusal::NotSetUp)?.as_bytes())
        .map_err(|error| AppError::outside("reading the mill's root", error))?;
    let kind = if request.admit { For::Admitted } else { For::Newcomer };
    let secrets = write(mill, Cause::Member(who.member), input, request.count, kind).await?;
    Ok(JoinTokensAnswer {
        tokens: secrets.iter().map(|secret| secret.expose().to_owned()).collect(),
        expires: Moment(mill.store.now().plus(TOKEN_LASTS)),
        ca_fingerprint: trust::fingerprint(&root),
    })
}

/// Whom a token lets in, and how far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    Newcomer,
    Admitted,
    Local,
}

/// The same, with pool and team as people name them; answers what its page shows, too.
pub async fn make_named(mill: &Mill, who: &Actor, request: &JoinTokenRequest) -> Answer<(JoinTokenView, Secret)> {
    admins_only(who)?;
    let input = {
        let view = mill.store.read()?;
        let owner = request.owner_team.as_deref().map(|team| actor::team(&view, who, team)).transpose()?;
        let name = request.name.as_deref().map(str::parse::<Name>).transpose();
        let name = name.map_err(|why| Common::BadField { field: "name", why: why.to_string() })?;
        if let Some(name) = &name
            && view.raw(Table::NodesByName, &name.key().bytes())?.is_some()
        {
            return Err(PeopleRefusal::NameTaken { field: "name" }.into());
        }
        TokenInput { pool: pool(&view, &request.pool)?.id, owner: owner.map(|team| team.id), name }
    };
    let secret = make(mill, who, input).await?;
    let shown = show(mill, who, JoinToken::id_of(&secret.hash()), clock::now())?;
    Ok((shown, secret))
}

/// Makes the token with which this machine's own agent joins; it is admitted at once. `None` before setup.
pub async fn make_local(mill: &Mill) -> Answer<Option<Secret>> {
    let pools = pools(&mill.store.read()?)?;
    let Some(pool) = pools.first() else { return Ok(None) };
    let input = TokenInput { pool: pool.id, owner: None, name: None };
    Ok(write(mill, Cause::Mill, input, 1, For::Local).await?.into_iter().next())
}

/// All pools, in the order of their making.
pub fn pools(view: &impl Read) -> Result<Vec<Pool>, StoreError> {
    view.list(&[], Order::Ascending, MOST)
}

/// A pool by id or name; the only one where none is named.
pub fn pool(view: &impl Read, given: &str) -> Answer<Pool> {
    let pools = pools(view)?;
    let found = match given.trim() {
        "" if pools.len() == 1 => pools.into_iter().next(),
        "" => return Err(Common::BadField { field: "pool", why: "Say which pool".to_owned() }.into()),
        given => pools
            .into_iter()
            .find(|pool| pool.id.to_string() == given || pool.name.as_str().eq_ignore_ascii_case(given)),
    };
    Ok(found.ok_or(Common::NotFound { what: "pool" })?)
}

async fn write(mill: &Mill, cause: Cause, input: TokenInput, count: u32, kind: For) -> Answer<Vec<Secret>> {
    let secrets: Vec<Secret> = (0..count).map(|_| Secret::from_bytes(&ids::random_256())).collect();
    let hashes: Vec<SecretHash> = secrets.iter().map(Secret::hash).collect();
    mill.store
        .write(Command::new(cause), move |view, now| {
            if view.get::<Pool>(&input.pool)?.is_none() {
                return Err(Common::NotFound { what: "pool" }.into());
            }
            let mut changes = Changes::new();
            // Whoever makes a new one sweeps the old ones out.
            let old: Vec<JoinToken> = view.list(&[], Order::Ascending, MOST)?;
            for old in old.iter().filter(|old| old.expires.plus(SHOWN_AFTER) < now) {
                changes.delete::<JoinToken>(old.token.as_bytes());
            }
            for &token in &hashes {
                changes.put(&JoinToken {
                    token,
                    pool: input.pool,
                    owner: input.owner,
                    name: input.name.clone(),
                    local: kind == For::Local,
                    admit: kind == For::Admitted,
                    expires: now.plus(TOKEN_LASTS),
                    used: None,
                    seen: None,
                });
                changes.event(cause, Event::JoinTokenMade { pool: input.pool });
            }
            Ok((changes, ()))
        })
        .await?;
    Ok(secrets)
}

/// The row that a shown token leads to, if it may still be used; else why not.
pub(super) fn usable(
    view: &impl Read,
    token: &SecretHash,
    now: Instant,
) -> Result<Result<JoinToken, Spent>, StoreError> {
    Ok(match view.get::<JoinToken>(token.as_bytes())? {
        None => Err(Spent::Unknown),
        Some(row) if row.expires <= now => Err(Spent::Expired),
        Some(row) => Ok(row),
    })
}

/// What a machine has to know before it joins.
pub fn facts(fleet: &Fleet) -> Answer<MillFacts> {
    let installation = fleet.mill.store.read()?.get::<Installation>(&INSTALLATION)?;
    let simulated = installation.ok_or(PeopleRefusal::NotSetUp)?.simulated();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Ok(MillFacts { protocol: PROTOCOL, version, clock: clock::now(), simulated })
}

/// A machine that holds a token says how far it is. Nothing comes of it but what the waiting page shows.
pub async fn arrive(fleet: &Fleet, arrival: Arrival) -> Answer<MillFacts> {
    let bad = |field, why: &str| Common::BadField { field, why: why.to_owned() };
    preflight::credible(&arrival.findings).map_err(|why| bad("findings", why))?;
    if arrival.hostname.len() > 255 || arrival.hostname.chars().any(char::is_control) {
        return Err(bad("hostname", "A host name is short and printable").into());
    }
    let token = SecretHash::of(arrival.token.as_bytes());
    // Nobody without a good token gets to wait for a write.
    usable(&fleet.mill.store.read()?, &token, clock::now())?.map_err(FleetRefusal::TokenSpent)?;
    let Arrival { hostname, findings, .. } = arrival;
    let decide = move |view: &View<'_>, now: Instant| {
        let mut row = usable(view, &token, now)?.map_err(FleetRefusal::TokenSpent)?;
        let times = row.seen.as_ref().map_or(0, |seen| seen.times);
        let mut changes = Changes::new();
        if row.used.is_none() && times < Seen::MOST {
            // A machine that starts over has not looked at itself again yet; what it found before still stands.
            let before = row.seen.take().filter(|_| findings.is_empty()).map(|seen| seen.findings);
            let findings = before.unwrap_or_else(|| findings.clone());
            row.seen = Some(Seen { hostname: hostname.clone(), at: now, times: times + 1, findings });
            changes.put(&row);
            changes.event(Cause::Anonymous, Event::JoinTokenSeen { token: row.id() });
        }
        Ok((changes, ()))
    };
    fleet.mill.store.write(Command::new(Cause::Anonymous), decide).await?;
    facts(fleet)
}

/// The tokens that are not long over, the newest first.
pub fn list(mill: &Mill, who: &Actor, now: Instant) -> Answer<Vec<JoinTokenView>> {
    admins_only(who)?;
    let view = mill.store.read()?;
    let mut rows: Vec<JoinToken> = view.list(&[], Order::Ascending, MOST)?;
    rows.retain(|row| !row.local && row.expires.plus(SHOWN_AFTER) >= now);
    rows.sort_by_key(|row| std::cmp::Reverse(row.expires));
    Ok(rows.iter().map(|row| shown(&view, row, now)).collect::<Result<_, _>>()?)
}

/// How far the machine with this token is.
pub fn show(mill: &Mill, who: &Actor, id: JoinTokenId, now: Instant) -> Answer<JoinTokenView> {
    admins_only(who)?;
    let view = mill.store.read()?;
    let rows: Vec<JoinToken> = view.list(&id.to_bytes(), Order::Ascending, 1)?;
    let row = rows.into_iter().next().ok_or(Common::NotFound { what: "join token" })?;
    Ok(shown(&view, &row, now)?)
}

fn shown(view: &impl Read, row: &JoinToken, now: Instant) -> Result<JoinTokenView, StoreError> {
    let pool = view.get::<Pool>(&row.pool)?;
    let owner = row.owner.map(|team| view.get::<Team>(&team)).transpose()?.flatten();
    let node = row.used.map(|(node, _)| view.get::<Node>(&node)).transpose()?.flatten();
    let findings = row.seen.as_ref().map(|seen| seen.findings.clone()).unwrap_or_default();
    let state = match &node {
        Some(node) => match node.state {
            NodeState::Pending => "pending",
            NodeState::Admitted { .. } | NodeState::Closed { .. } => "admitted",
            NodeState::Revoked { .. } | NodeState::Retired { .. } => "revoked",
        },
        None if row.used.is_some() || row.expires <= now => "expired",
        None if preflight::any_stops(&findings) => "stopped",
        None if !findings.is_empty() => "checked",
        None if row.seen.is_some() => "contacted",
        None => "waiting",
    };
    Ok(JoinTokenView {
        id: row.id(),
        pool: pool.as_ref().map_or_else(String::new, |pool| pool.name.to_string()),
        auto_admit: pool.is_some_and(|pool| pool.auto_admit),
        owner_team: owner.map(|team| team.name.to_string()),
        name: row.name.as_ref().map(ToString::to_string),
        state: state.to_owned(),
        expires: row.expires.into(),
        hostname: row.seen.as_ref().map(|seen| seen.hostname.clone()),
        last_heard: row.seen.as_ref().map(|seen| seen.at.into()),
        findings,
        node: node.map(|node| JoinedNode { id: node.id, name: node.name.to_string() }),
        token: None,
        command: None,
    })
}

/// Whether machines that join a pool wait for an admin.
pub async fn set_admission(mill: &Mill, who: &Actor, pool: PoolId, auto_admit: bool) -> Answer<()> {
    admins_only(who)?;
    let cause = Cause::Member(who.member);
    let decide = move |view: &View<'_>, _: Instant| {
        let row: Pool = view.get(&pool)?.ok_or(Common::NotFound { what: "pool" })?;
        let mut changes = Changes::new();
        if row.auto_admit != auto_admit {
            changes.put(&Pool { auto_admit, ..row });
            changes.event(cause, Event::PoolAdmissionChanged { pool });
        }
        Ok((changes, ()))
    };
    Ok(mill.store.write(Command::new(cause), decide).await?)
}

fn admins_only(who: &Actor) -> Result<(), PeopleRefusal> {
    if who.admin { Ok(()) } else { Err(PeopleRefusal::Denied { what: "add nodes", who_may: "admins" }) }
}
