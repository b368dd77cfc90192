//! A small mill with something of everything in it, and people who stand differently to it; asked without a socket, as the
//! front door would ask. It refuses an answer that lacks a header which every answer must carry.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use gristmill::app::bookings::{facts, place, upkeep};
use gristmill::app::fleet::authority;
use gristmill::app::fleet::hub::Hub;
use gristmill::app::fleet::tokens as join_tokens;
use gristmill::app::ids;
use gristmill::app::mill::Mill;
use gristmill::app::people::{actor, invite, setup, signin, tokens};
use gristmill::app::trust::seal::Seal;
use gristmill::base::credits::Credits;
use gristmill::base::ids::*;
use gristmill::base::secret::Secret;
use gristmill::base::window::Span;
use gristmill::clock;
use gristmill::domain::event::Cause;
use gristmill::domain::money::period::{self, Period};
use gristmill::domain::people::installation::{Mode, Reality};
use gristmill::domain::people::member::{Member, Membership, Role as TeamRole, Team};
use gristmill::domain::people::rights::Actor;
use gristmill::edge::{CLIENT_HEADER, SECRET_HEADER};
use gristmill::store::tables::Table;
use gristmill::store::{Changes, Command, Store};
use gristmill::web;
use gristmill::wire::api::Moment;
use gristmill::wire::api::bookings::BookRequest;
use gristmill::wire::api::fleet::JoinTokenRequest;
use gristmill::wire::api::people::InviteRequest;
use gristmill::wire::node::{FactState, LeaseFact};
use rocket::http::uri::{Authority, Host};
use rocket::http::{ContentType, Cookie, Header, Method, Status};
use rocket::local::asynchronous::Client;

use super::goods;

const DOOR: &str = "what only the front door knows";

/// Who asks, from nobody to everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Anonymous,
    /// Signed in, lead of another team.
    Stranger,
    Member,
    Lead,
    Admin,
}

impl Role {
    pub const ALL: [Self; 5] = [Self::Anonymous, Self::Stranger, Self::Member, Self::Lead, Self::Admin];
}

/// What a person holds to prove who they are.
struct Proof {
    cookie: String,
    form_token: String,
    bearer: String,
}

pub struct World {
    pub mill: Mill,
    pub client: Client,
    proofs: BTreeMap<u8, Proof>,
    /// What stands for a name in braces: things of the team, and things that are not there.
    there: BTreeMap<&'static str, String>,
    nowhere: BTreeMap<&'static str, String>,
    dir: PathBuf,
}

impl Drop for World {
    fn drop(&mut self) {
        self.mill.store.clone().stop();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// An answer, read to its end.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub location: Option<String>,
    /// Whether a browser would read it as a page.
    pub html: bool,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn to_sign_in(&self) -> bool {
        self.status == 303
            && self.location.as_deref().is_some_and(|to| to.starts_with("/sign-in?next=") || to == "/sign-in")
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A request before it is sent.
pub struct Ask<'a> {
    pub method: Method,
    pub uri: &'a str,
    pub role: Role,
    pub body: Vec<u8>,
    pub json: bool,
    /// Whether the form carries the session's token.
    pub token: bool,
    pub headers: Vec<(&'static str, String)>,
    pub door: Option<&'a str>,
}

impl<'a> Ask<'a> {
    pub fn new(method: Method, uri: &'a str, role: Role) -> Self {
        let json = uri.starts_with("/api/");
        Self { method, uri, role, body: Vec::new(), json, token: true, headers: Vec::new(), door: Some(DOOR) }
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn without_token(mut self) -> Self {
        self.token = false;
        self
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn door(mut self, secret: Option<&'a str>) -> Self {
        self.door = secret;
        self
    }
}

async fn person(mill: &Mill, name: &str, admin: bool, uid: u32, team: TeamId, role: TeamRole) -> MemberId {
    let id = MemberId::from_u128(ids::fresh());
    let member = Member {
        id,
        email: format!("{name}@lab.example").parse().unwrap(),
        name: name.parse().unwrap(),
        // Nobody signs in by password here; hashing one for each world would take most of the time.
        password: "-".into(),
        admin,
        disabled: false,
        uid,
        created: clock::now(),
    };
    let decide = move |_: &gristmill::store::View<'_>, now| {
        let mut changes = Changes::new();
        setup::put_member(&mut changes, &member);
        setup::put_membership(&mut changes, &Membership { team, member: id, role, since: now });
        Ok((changes, ()))
    };
    mill.store.write(Command::new(Cause::Operator), decide).await.unwrap();
    id
}

async fn team(mill: &Mill, name: &str) -> TeamId {
    let id = TeamId::from_u128(ids::fresh());
    let name = name.parse().unwrap();
    let team = Team { id, name, cost_centre: None, separate_entity: false, created: clock::now() };
    let decide = move |_: &gristmill::store::View<'_>, _| {
        let mut changes = Changes::new();
        setup::put_team(&mut changes, &team);
        Ok((changes, ()))
    };
    mill.store.write(Command::new(Cause::Operator), decide).await.unwrap();
    id
}

fn load(mill: &Mill, member: MemberId) -> Actor {
    actor::load(&mill.store.read().unwrap(), member).unwrap().unwrap().1
}

impl World {
    pub async fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("gristmill-routes-{:x}", ids::fresh()));
        std::fs::create_dir_all(&dir).unwrap();
        let seal = Arc::new(Seal::load_or_create(&dir.join("seal.key")).unwrap());
        let store = Store::memory(clock::now);
        let mill = Mill::new(store, seal, Arc::new(Hub::default()), "https://mill.example", &dir);
        let input = setup::SetupInput {
            organisation: "Mill Lab".parse().unwrap(),
            admin_email: "first@lab.example".parse().unwrap(),
            admin_name: "First".parse().unwrap(),
            team: "Vision".parse().unwrap(),
            password: Secret::new("a turn at the stone"),
            currency: "EUR".into(),
            time_zone: "UTC".into(),
            mode: Mode::Showback,
            grant: Credits::from_whole(1000).unwrap(),
            reality: Reality::Simulated { gpus: 4 },
        };
        let made = setup::set_up(&mill, None, input, None).await.unwrap();
        let other = team(&mill, "Sound").await;
        let office = team(&mill, "Office").await;
        let people = [
            (Role::Stranger, person(&mill, "sam", false, 21_001, other, TeamRole::Lead).await),
            (Role::Member, person(&mill, "mo", false, 21_002, made.team, TeamRole::Member).await),
            (Role::Lead, person(&mill, "lin", false, 21_003, made.team, TeamRole::Lead).await),
            // An admin who belongs to the team neither: what they see, they see by their right.
            (Role::Admin, person(&mill, "ada", true, 21_004, office, TeamRole::Lead).await),
        ];
        let mut proofs = BTreeMap::new();
        for (role, member) in people {
            proofs.insert(role as u8, prove(&mill, member).await);
        }
        authority::open_root(&mill.store, &mill.seal).await.unwrap();
        let node = goods::node(&mill, made.pool, "stone-1", true).await;
        let pending = goods::node(&mill, made.pool, "stone-2", false).await;
        let mut world =
            Self { client: client(&mill).await, mill, proofs, there: BTreeMap::new(), nowhere: nowhere(), dir };
        world.fill_house(made.team, &people, node).await;
        world.there.insert("pending", pending.to_string());
        world.there.insert("pool", made.pool.to_string());
        let ada = load(&world.mill, people.iter().find(|(role, _)| *role == Role::Admin).unwrap().1);
        let (token, _) = join_tokens::make_named(&world.mill, &ada, &JoinTokenRequest::default()).await.unwrap();
        world.there.insert("jointoken", token.id.to_string());
        let used = goods::unbooked(&world.mill, made.pool, node, &ada).await;
        world.there.insert("use", used.to_string());
        world
    }

    /// Something of everything that a route can name.
    async fn fill_house(&mut self, team: TeamId, people: &[(Role, MemberId)], node: NodeId) {
        let actor = |role| load(&self.mill, people.iter().find(|(r, _)| *r == role).unwrap().1);
        let (mo, lin, ada) = (actor(Role::Member), actor(Role::Lead), actor(Role::Admin));
        let request = InviteRequest { email: "new@lab.example".into(), team: team.to_string(), role: "member".into() };
        let invitation = invite::invite(&self.mill, &lin, request, None).await.unwrap();
        let link = invitation.link.unwrap().rsplit_once('/').unwrap().1.to_owned();
        let (token, _) = tokens::make(&self.mill, mo.member, "laptop").await.unwrap();
        let (scrape, _) = tokens::make_scrape(&self.mill, &ada, "monitoring").await.unwrap();
        let gpu = gristmill::app::fleet::show::node(&self.mill, &ada, node, clock::now()).unwrap().gpus[0].id;
        let active = self.active_booking(&mo, node, ask()).await;
        let later = BookRequest { at: Some(Moment(clock::now().plus(Span::from_days(3)))), ..ask() };
        let later = place::book(&self.mill, &mo, later, None, clock::now()).await.unwrap().id;
        let command = BookRequest { command: Some(vec!["true".into()]), ..ask() };
        let batch = self.active_booking(&mo, node, command).await;
        let (issued, draft) = goods::documents(&self.mill, team, &mo, &ada).await;
        let hour = BookRequest { duration_seconds: 3600, ..ask() };
        let price = place::quote(&self.mill, &mo, &hour, clock::now()).unwrap().price.micros;
        self.there = BTreeMap::from([
            ("team", team.to_string()),
            ("link", link),
            ("invitation", invitation.id.to_string()),
            ("token", token.expose().split_once('.').unwrap().0.to_owned()),
            ("scrape", scrape.expose().split_once('.').unwrap().0.to_owned()),
            ("gpu", gpu.to_string()),
            ("active", active.to_string()),
            ("batch", batch.to_string()),
            ("later", later.to_string()),
            ("price", price.to_string()),
            ("month", Period::of(clock::now(), &period::zone("UTC")).to_string()),
            ("issued", issued.to_string()),
            ("draft", draft.to_string()),
            ("node", node.to_string()),
        ]);
    }

    /// A booking of Mo's that its node has reported as ready.
    async fn active_booking(&self, mo: &Actor, node: NodeId, request: BookRequest) -> BookingId {
        let made = place::book(&self.mill, mo, request, None, clock::now()).await.unwrap();
        upkeep::run(&self.mill, clock::now().plus(Span::from_seconds(1))).await.unwrap();
        let lease = made.leases.first().expect("a booking has its lease").clone();
        let state = FactState::Ready { elapsed: Span::from_seconds(1) };
        let fact = LeaseFact { lease: lease.id, attempt: lease.attempt, revision: 1, state, lacking: Vec::new() };
        facts::apply_facts(&self.mill, node, vec![fact], false).await.unwrap();
        made.id
    }

    /// A uri or a body with its names filled in: by what is there, or by what is not.
    pub fn fill(&self, text: &str, there: bool) -> String {
        let names = if there { &self.there } else { &self.nowhere };
        let filled = names.iter().fold(text.to_owned(), |text, (name, id)| text.replace(&format!("{{{name}}}"), id));
        assert!(!filled.contains("{team}") && !filled.contains("{active}"), "a name was not filled in: {filled}");
        filled
    }

    /// A text with the names put back for what was filled in.
    pub fn mask(&self, text: &str, there: bool) -> String {
        let names = if there { &self.there } else { &self.nowhere };
        names.iter().filter(|(_, id)| id.len() > 20).fold(text.to_owned(), |text, (name, id)| text.replace(id, name))
    }

    /// Sends, reads the answer to its end, and checks what every answer must carry.
    pub async fn send(&self, ask: Ask<'_>) -> Answer {
        let mut body = ask.body;
        let own = ask.method == Method::Post
            && !ask.headers.iter().any(|(name, _)| ["origin", "sec-fetch-site"].contains(name));
        let mut request =
            self.client.req(ask.method, ask.uri.to_owned()).header(Header::new(CLIENT_HEADER, "192.0.2.7"));
        request.inner_mut().set_host(Host::new(Authority::parse("mill.example").unwrap()));
        if own {
            request = request.header(Header::new("origin", "http://mill.example"));
        }
        if let Some(door) = ask.door {
            request = request.header(Header::new(SECRET_HEADER, door.to_owned()));
        }
        if let Some(proof) = self.proofs.get(&(ask.role as u8)) {
            if ask.json {
                request = request.header(Header::new("authorization", format!("Bearer {}", proof.bearer)));
            } else {
                request = request.cookie(Cookie::new("gristmill", proof.cookie.clone()));
                if ask.token && ask.method == Method::Post {
                    let token = format!("{}csrf={}", if body.is_empty() { "" } else { "&" }, proof.form_token);
                    body.extend(token.into_bytes());
                }
            }
        }
        let kind = if ask.json { ContentType::JSON } else { ContentType::Form };
        request = request.header(kind);
        for (name, value) in ask.headers {
            request = request.header(Header::new(name, value));
        }
        let answer = request.body(body).dispatch().await;
        let what = format!("{} {} as {:?}", ask.method, ask.uri, ask.role);
        let headers: BTreeMap<String, String> =
            answer.headers().iter().map(|h| (h.name().as_str().to_lowercase(), h.value().to_owned())).collect();
        headers_hold(&what, answer.status(), &headers);
        let (status, location) = (answer.status().code, headers.get("location").cloned());
        let kind = headers.get("content-type").map_or("", String::as_str);
        let html = !kind.starts_with("application/") && !kind.starts_with("text/plain");
        // A stream of events goes on until the reader leaves.
        if kind.starts_with("text/event-stream") {
            return Answer { status, location, html, body: Vec::new() };
        }
        let read = tokio::time::timeout(std::time::Duration::from_secs(30), answer.into_bytes());
        let body = read.await.unwrap_or_else(|_| panic!("{what} never ends")).unwrap_or_default();
        Answer { status, location, html, body }
    }

    /// The token of another session, of the same kind.
    pub fn token_of(&self, role: Role) -> &str {
        &self.proofs[&(role as u8)].form_token
    }

    pub fn cookie_of(&self, role: Role) -> String {
        self.proofs[&(role as u8)].cookie.clone()
    }

    /// Every row of every table.
    pub fn dump(&self) -> Dump {
        let snapshot = self.mill.store.read().unwrap();
        let table = |&table: &Table| {
            let mut rows = Vec::new();
            snapshot
                .scan(table, |key, value| {
                    rows.push((key.to_vec(), value.to_vec()));
                    Ok(())
                })
                .unwrap();
            (table.name(), rows)
        };
        Table::ALL.iter().map(table).collect()
    }
}

/// All rows of all tables, by the tables' names.
pub type Dump = BTreeMap<&'static str, Vec<(Vec<u8>, Vec<u8>)>>;

/// What changed between two dumps, by table.
pub fn changed(before: &Dump, after: &Dump) -> Vec<&'static str> {
    before.keys().copied().filter(|table| before[table] != after[table]).collect()
}

fn ask() -> BookRequest {
    BookRequest {
        gpus: 1,
        model: None,
        duration_seconds: 7200,
        at: None,
        by: None,
        team: None,
        title: Some("tuning".into()),
        command: None,
    }
}

async fn prove(mill: &Mill, member: MemberId) -> Proof {
    let cookie = signin::open_session(mill, member, "test").await.unwrap().expose().to_owned();
    let form_token = signin::authenticate(mill, &cookie, clock::now()).await.unwrap().form_token;
    let (bearer, _) = tokens::make(mill, member, "test").await.unwrap();
    Proof { cookie, form_token, bearer: bearer.expose().to_owned() }
}

pub async fn client(mill: &Mill) -> Client {
    let here = web::people::setup::Here { gpus: Err("there is no driver here".into()) };
    let rocket = web::console(mill.clone(), here, Secret::new(DOOR), 0);
    Client::untracked(rocket).await.expect("the console starts")
}

/// Ids of the right kinds that name nothing.
fn nowhere() -> BTreeMap<&'static str, String> {
    let fresh = ids::fresh;
    let document = DocumentId::from_u128(fresh()).to_string();
    let booking = BookingId::from_u128(fresh()).to_string();
    BTreeMap::from([
        ("team", TeamId::from_u128(fresh()).to_string()),
        ("link", format!("{}.{}", InvitationId::from_u128(fresh()), Secret::from_bytes(&ids::random_256()).expose())),
        ("invitation", InvitationId::from_u128(fresh()).to_string()),
        ("token", TokenId::from_u128(fresh()).to_string()),
        ("scrape", TokenId::from_u128(fresh()).to_string()),
        ("gpu", UnitId::from_u128(fresh()).to_string()),
        ("active", booking.clone()),
        ("batch", booking.clone()),
        ("later", booking),
        ("month", "2026-01".into()),
        ("issued", document.clone()),
        ("draft", document),
        ("node", NodeId::from_u128(fresh()).to_string()),
        ("pending", NodeId::from_u128(fresh()).to_string()),
        ("pool", PoolId::from_u128(fresh()).to_string()),
        ("jointoken", JoinTokenId::from_u128(fresh()).to_string()),
        ("use", UseId::from_u128(fresh()).to_string()),
        ("price", "0".into()),
    ])
}

fn headers_hold(what: &str, status: Status, headers: &BTreeMap<String, String>) {
    let get = |name: &str| headers.get(name).map_or("", String::as_str);
    let policy = get("content-security-policy");
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "form-action 'self'",
    ] {
        assert!(policy.split(';').any(|p| p.trim() == part), "{what} ({status}): the policy lacks {part}: {policy}");
    }
    assert!(!policy.contains("unsafe-eval") && !policy.contains("script-src 'self' 'unsafe"), "{what}: {policy}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(get(name), value, "{what} ({status}): {name}");
    }
    assert!(!get("permissions-policy").is_empty(), "{what}: no permissions-policy");
    let kept = get("cache-control");
    let of_a_file = what.contains(" /static/");
    assert!(of_a_file || kept == "no-store" || kept.starts_with("no-cache"), "{what} ({status}) may be kept: {kept}");
    assert!(headers.get("server").is_none(), "{what} names its server");
}
