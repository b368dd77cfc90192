//! The first start: a one-time link, then organisation, admin, team, pool, rates and opening grant in one transaction. It
//! refuses to run twice and to invent an account.
use serde::{Deserialize, Serialize};

use crate::app::error::{Answer, AppError};
use crate::app::ids;
use crate::app::mill::Mill;
use crate::app::money::{Occasion, grant};
use crate::base::credits::Credits;
use crate::base::ids::{MemberId, PoolId, TeamId};
use crate::base::secret::{Secret, SecretHash};
use crate::base::text::{Email, Name};
use crate::base::window::Instant;
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::node::{Pool, PoolPolicy};
use crate::domain::notice::Common;
use crate::domain::people::installation::{Installation, Mode, Reality};
use crate::domain::people::member::{Member, Membership, Role, Team};
use crate::domain::people::refusal::PeopleRefusal;
use crate::store::changes::Changes;
use crate::store::people::{FIRST_UID, INSTALLATION, NextUid, SetupLink};
use crate::store::read::{Read, StoreError};
use crate::store::tables::Table;
use crate::store::{Command, IdempotencyKey, Reject, View};

/// What the first start needs to know. Everything but the three names, the address and the password has a default.
#[derive(Clone, Debug)]
pub struct SetupInput {
    pub organisation: Name,
    pub admin_email: Email,
    pub admin_name: Name,
    pub team: Name,
    pub password: Secret,
    /// ISO 4217; [`Installation::DEFAULT_CURRENCY`].
    pub currency: String,
    /// IANA; [`Installation::DEFAULT_TIME_ZONE`].
    pub time_zone: String,
    pub mode: Mode,
    pub grant: Credits,
    pub reality: Reality,
}

/// What setup made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetUp {
    pub member: MemberId,
    pub team: TeamId,
    pub pool: PoolId,
}

/// The installation, or `None` before setup.
pub fn installation(view: &impl Read) -> Result<Option<Installation>, StoreError> {
    view.get(&INSTALLATION)
}

/// Makes the one-time setup link's secret; an earlier one stops working. `None` when the mill is already set up.
pub async fn new_link(mill: &Mill) -> Answer<Option<Secret>> {
    if installation(&mill.store.read()?)?.is_some() {
        return Ok(None);
    }
    let secret = Secret::from_bytes(&ids::random_256());
    let token = secret.hash();
    let decide = move |_: &View<'_>, _| {
        let mut changes = Changes::new();
        changes.put(&SetupLink { token });
        Ok((changes, ()))
    };
    mill.store.write(Command::new(Cause::Operator), decide).await?;
    Ok(Some(secret))
}

/// Whether the secret is the setup link's, and setup is still to be done.
pub fn link_works(view: &impl Read, secret: &Secret) -> Result<(), AppError> {
    if installation(view)?.is_some() {
        return Err(PeopleRefusal::AlreadySetUp.into());
    }
    match view.get::<SetupLink>(&SetupLink::KEY)? {
        Some(link) if link.token == secret.hash() => Ok(()),
        _ => Err(PeopleRefusal::LinkSpent.into()),
    }
}

/// Sets the mill up. `link` is the one-time secret; `None` only for the operator on the host's own shell.
pub async fn set_up(
    mill: &Mill,
    link: Option<Secret>,
    input: SetupInput,
    key: Option<IdempotencyKey>,
) -> Answer<SetUp> {
    check(&input)?;
    if let Some(secret) = &link {
        link_works(&mill.store.read()?, secret)?;
    }
    let password = mill.passwords.hash(input.password.clone()).await?;
    let token = link.map(|secret| secret.hash());
    let command = Command::new(Cause::Operator).maybe_keyed(key, &("setup", &input.organisation, &input.admin_email));
    let decide = move |view: &View<'_>, now: Instant| decide(view, &input, &password, token, now);
    Ok(mill.store.write(command, decide).await?)
}

fn check(input: &SetupInput) -> Result<(), Common> {
    let bad = |field, why: &str| Err(Common::BadField { field, why: why.to_owned() });
    if input.currency.len() != 3 || !input.currency.bytes().all(|b| b.is_ascii_uppercase()) {
        return bad("currency", "A currency is three capital letters, such as EUR");
    }
    if jiff::tz::TimeZone::get(&input.time_zone).is_err() {
        return bad("time_zone", "A time zone is a name such as Europe/Berlin or UTC");
    }
    if input.grant.is_negative() {
        return bad("grant", "The opening grant is zero or more");
    }
    if matches!(input.reality, Reality::Simulated { gpus } if gpus == 0 || gpus > 64) {
        return bad("simulated_gpus", "A simulated installation has 1 to 64 GPUs");
    }
    Ok(())
}

fn decide(
    view: &impl Read,
    input: &SetupInput,
    password: &str,
    token: Option<SecretHash>,
    now: Instant,
) -> Result<(Changes, SetUp), Reject> {
    if installation(view)?.is_some() {
        return Err(PeopleRefusal::AlreadySetUp.into());
    }
    if token.is_some() && view.get::<SetupLink>(&SetupLink::KEY)?.map(|link| link.token) != token {
        return Err(PeopleRefusal::LinkSpent.into());
    }
    let made = SetUp {
        member: MemberId::from_u128(ids::fresh()),
        team: TeamId::from_u128(ids::fresh()),
        pool: PoolId::from_u128(ids::fresh()),
    };
    let mut changes = Changes::new();
    let installed = Installation {
        organisation: input.organisation.clone(),
        currency: input.currency.clone(),
        time_zone: input.time_zone.clone(),
        mode: input.mode,
        reality: input.reality,
        created: now,
        smtp: None,
        address: Vec::new(),
    };
    changes.put(&installed).delete::<SetupLink>(&SetupLink::KEY);
    let team =
        Team { id: made.team, name: input.team.clone(), cost_centre: None, separate_entity: false, created: now };
    put_team(&mut changes, &team);
    let admin = Member {
        id: made.member,
        email: input.admin_email.clone(),
        name: input.admin_name.clone(),
        password: password.to_owned(),
        admin: true,
        disabled: false,
        uid: FIRST_UID,
        created: now,
    };
    put_member(&mut changes, &admin);
    changes.put(&NextUid(FIRST_UID + 1));
    put_membership(&mut changes, &Membership { team: made.team, member: made.member, role: Role::Lead, since: now });
    let policy = PoolPolicy::kind(installed.simulated());
    changes.put(&Pool {
        id: made.pool,
        name: "main".parse().expect("a plain word is a name"),
        auto_admit: false,
        policy,
        revision: 0,
    });
    if !input.grant.is_zero() {
        let mut occasion = Occasion { now, cause: Cause::Operator, ids: &mut ids::fresh };
        grant::post(view, &mut changes, made.team, input.grant, "Opening grant", &mut occasion)?;
    }
    changes.event(Cause::Operator, Event::InstallationCreated);
    changes.event(Cause::Operator, Event::MemberJoined { member: made.member, team: made.team });
    Ok((changes, made))
}

/// Writes a new member with its index.
pub fn put_member(changes: &mut Changes, member: &Member) {
    changes.put(member).index(Table::MembersByEmail, &member.email.as_str(), &member.id);
}

/// Writes a new team with its index.
pub fn put_team(changes: &mut Changes, team: &Team) {
    changes.put(team).index(Table::TeamsByName, &team.name.key(), &team.id);
}

/// Writes a membership with its index.
pub fn put_membership(changes: &mut Changes, membership: &Membership) {
    let (team, member) = (membership.team, membership.member);
    changes.put(membership).index(Table::MembershipsByMember, &(member, team), &(team, member));
}
