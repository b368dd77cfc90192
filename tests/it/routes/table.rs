//! Every route of the console with what each role is answered. Whoever adds a route adds a row: a test compares this table
//! with what is mounted. It refuses wildcards.
use rocket::http::Method::{self, Get, Post};

use super::world::Role;

/// The kind of answer that a role gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The page, or done and led on.
    Yes,
    /// Sent to the sign-in page.
    SignIn,
    /// As if it did not exist.
    Gone,
    /// Refused with who may.
    Denied,
    /// The API's word for not being signed in.
    Out,
    /// Within the role's rights, and the node does not answer.
    Away,
    /// Within the role's rights, and refused for what was asked.
    Bad,
}

use Want::{Away, Bad, Denied, Gone, Out, SignIn, Yes};

pub struct Row {
    pub method: Method,
    /// As it is mounted, without the query.
    pub route: &'static str,
    /// How it is asked here; names in braces are filled in by the world.
    pub uri: &'static str,
    /// Fields of a form, or JSON for the API.
    pub body: &'static str,
    pub want: [Want; 5],
}

impl Row {
    pub fn want(&self, role: Role) -> Want {
        self.want[role as usize]
    }

    pub fn api(&self) -> bool {
        self.route.starts_with("/api/")
    }

    /// Open to everybody who came through the front door.
    pub fn public(&self) -> bool {
        self.want[0] == Yes || self.want[0] == Bad
    }

    pub fn static_file(&self) -> bool {
        self.route.starts_with("/static/")
    }

    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.route)
    }
}

const fn row(method: Method, route: &'static str, uri: &'static str, body: &'static str, want: [Want; 5]) -> Row {
    Row { method, route, uri, body, want }
}

/// Pages that every member has.
const MEMBERS: [Want; 5] = [SignIn, Yes, Yes, Yes, Yes];
/// What is an admin's alone does not exist for others.
const ADMINS: [Want; 5] = [SignIn, Gone, Gone, Gone, Yes];
/// What belongs to a team does not exist for strangers.
const TEAMS: [Want; 5] = [SignIn, Gone, Yes, Yes, Yes];
const EVERYBODY: [Want; 5] = [Yes; 5];

//                                                          anonymous, stranger, member, lead, admin
const PEOPLE: &[Row] = &[
    row(Get, "/static/<path..>", "/static/css/base.css", "", EVERYBODY),
    row(Get, "/sign-in", "/sign-in?next=/account", "", EVERYBODY),
    row(Post, "/sign-in", "/sign-in", "email=nobody%40lab.example&password=no", [Out; 5]),
    row(Post, "/sign-out", "/sign-out", "", MEMBERS),
    // The mill is set up: the page is over for everybody.
    row(Get, "/setup/<link>", "/setup/made-up", "", [Bad; 5]),
    row(Post, "/setup/<link>", "/setup/made-up", SETUP, [Bad; 5]),
    row(Get, "/join/<link>", "/join/{link}", "", EVERYBODY),
    row(Post, "/join/<link>", "/join/{link}", "name=Jo&password=a+turn+at+the+stone", EVERYBODY),
    row(Get, "/people", "/people?team={team}", "", TEAMS),
    row(
        Post,
        "/people/invite",
        "/people/invite",
        "email=n%40lab.example&team={team}&role=member",
        [SignIn, Gone, Denied, Yes, Yes],
    ),
    row(
        Post,
        "/people/invitations/<id>/revoke",
        "/people/invitations/{invitation}/revoke",
        "",
        [SignIn, Gone, Gone, Yes, Yes],
    ),
    row(Post, "/people/teams", "/people/teams", "name=Robots&cost_centre=K1", [SignIn, Denied, Denied, Denied, Yes]),
    row(Get, "/account", "/account", "", MEMBERS),
    row(
        Post,
        "/account/password",
        "/account/password",
        "old_password=wrong&password=a+turn+at+the+stone",
        [SignIn, Out, Out, Out, Out],
    ),
    row(Post, "/account/tokens", "/account/tokens", "label=laptop", MEMBERS),
    // A token is its member's alone; not even an admin ends it.
    row(Post, "/account/tokens/<id>/revoke", "/account/tokens/{token}/revoke", "", [SignIn, Gone, Yes, Gone, Gone]),
    row(Post, "/account/sessions/end", "/account/sessions/end", "", MEMBERS),
    row(Get, "/notices", "/notices", "", MEMBERS),
    row(Post, "/notices/read", "/notices/read", "", MEMBERS),
    row(Get, "/settings", "/settings", "", ADMINS),
    row(Post, "/settings/mail", "/settings/mail", "action=off", ADMINS),
    row(Post, "/settings/scrape", "/settings/scrape", "label=prometheus", ADMINS),
    row(Post, "/settings/scrape/<id>/revoke", "/settings/scrape/{scrape}/revoke", "", ADMINS),
    row(Post, "/settings/verify", "/settings/verify", "", ADMINS),
    row(Post, "/settings/backup", "/settings/backup", "", ADMINS),
];

const SETUP: &str = "organisation=Other&admin_email=e%40lab.example&admin_name=Eve&team=Evil&password=a+turn+at+the+stone\
                     &currency=EUR&time_zone=UTC&mode=showback&grant=1&gpus=simulated";

const BOOK: &str =
    "action=book&seen={price}&gpus=1&when=soon&for=1h&work=batch&command=true&team={team}&model=&title=train";
/// A booking is its team's to see, its member's and the lead's to change, and its member's alone to work in and to read.
const OWNERS: [Want; 5] = [SignIn, Gone, Yes, Gone, Gone];

const BOOKINGS: &[Row] = &[
    row(Get, "/calendar", "/calendar?day=2026-11-30&view=week", "", MEMBERS),
    row(Post, "/calendar/quote", "/calendar/quote", BOOK, MEMBERS),
    row(Post, "/calendar", "/calendar?day=2026-11-30&view=week", BOOK, [SignIn, Bad, Yes, Yes, Bad]),
    row(Get, "/bookings", "/bookings?whose=mine", "", MEMBERS),
    row(Get, "/queue", "/queue", "", MEMBERS),
    row(Get, "/bookings/<given>", "/bookings/{active}", "", TEAMS),
    // Only the team spends its credits.
    row(Post, "/bookings/<given>/extend", "/bookings/{active}/extend", "by=3600", [SignIn, Gone, Yes, Yes, Denied]),
    row(Post, "/bookings/<given>/release", "/bookings/{active}/release", "", TEAMS),
    row(Post, "/bookings/<given>/cancel", "/bookings/{later}/cancel", "", TEAMS),
    row(Get, "/bookings/<given>/log", "/bookings/{batch}/log?from=0", "", OWNERS),
    row(Get, "/bookings/<given>/log.txt", "/bookings/{batch}/log.txt", "", [SignIn, Gone, Away, Gone, Gone]),
    row(Get, "/bookings/<given>/terminal", "/bookings/{active}/terminal", "", OWNERS),
    row(Post, "/bookings/<given>/terminal/ticket", "/bookings/{active}/terminal/ticket", "", OWNERS),
    // A made-up ticket opens nothing for anybody; the browser test opens a real one.
    row(
        Get,
        "/bookings/<given>/terminal/ws",
        "/bookings/{active}/terminal/ws?ticket=x&tab=1&cols=80&rows=24",
        "",
        [SignIn, Gone, Gone, Gone, Gone],
    ),
];

const HOUSE: &[Row] = &[
    row(Get, "/", "/", "", MEMBERS),
    row(Get, "/find", "/find?q=tuning", "", MEMBERS),
    row(Get, "/live", "/live", "", MEMBERS),
];

const FLEET: &[Row] = &[
    row(Get, "/nodes", "/nodes", "", MEMBERS),
    row(Get, "/nodes/<given>", "/nodes/{node}", "", MEMBERS),
    row(Post, "/nodes/<given>/admit", "/nodes/{pending}/admit", "", ADMINS),
    row(Post, "/nodes/<given>/revoke", "/nodes/{node}/revoke", "", ADMINS),
    row(Get, "/nodes/<given>/care", "/nodes/{node}/care", "", ADMINS),
    row(Post, "/nodes/<given>/duty", "/nodes/{node}/duty", "duty=cordoned&why=fans", ADMINS),
    row(Post, "/nodes/<given>/rename", "/nodes/{node}/rename", "name=stone-9", ADMINS),
    // It is in use: the refusal is the answer.
    row(Post, "/nodes/<given>/retire", "/nodes/{node}/retire", "why=old+age", [SignIn, Gone, Gone, Gone, Bad]),
    row(
        Post,
        "/nodes/<given>/maintenance",
        "/nodes/{node}/maintenance",
        "from=2030-01-01T09:00&until=2030-01-01T10:00&why=fans",
        ADMINS,
    ),
    row(
        Post,
        "/nodes/<given>/maintenance/preview",
        "/nodes/{node}/maintenance/preview",
        "from=2030-01-01T09:00&until=2030-01-01T10:00&why=fans",
        ADMINS,
    ),
    row(
        Post,
        "/nodes/<given>/maintenance/<row>/cancel",
        "/nodes/{node}/maintenance/mt_00000000000000000000000001/cancel",
        "",
        [SignIn, Gone, Gone, Gone, Gone],
    ),
    row(Get, "/pools", "/pools", "", ADMINS),
    row(Post, "/pools", "/pools", "name=night", ADMINS),
    row(Get, "/pools/<given>", "/pools/{pool}", "", ADMINS),
    row(Post, "/pools/<given>", "/pools/{pool}", "grace=1m&why=tests", ADMINS),
    row(Post, "/pools/<given>/preview", "/pools/{pool}/preview", "grace=1m", ADMINS),
    row(Get, "/unbooked", "/unbooked", "", MEMBERS),
    row(Post, "/unbooked/<given>/void", "/unbooked/{use}/void", "why=mistake", ADMINS),
    row(Post, "/unix-users", "/unix-users", "user=ada&member=mo%40lab.example", ADMINS),
    row(Post, "/unix-users/remove", "/unix-users/remove", "user=1001", ADMINS),
    row(Post, "/nodes/brake", "/nodes/brake", "", ADMINS),
    // It never connected, so that nobody knows what it is.
    row(Post, "/nodes/<given>/upgrade", "/nodes/{node}/upgrade", "", [SignIn, Gone, Gone, Gone, Bad]),
    row(Get, "/nodes/add", "/nodes/add", "", ADMINS),
    row(Post, "/nodes/add", "/nodes/add", "pool={pool}&owner_team=&name=", ADMINS),
    row(Get, "/join-tokens/<given>", "/join-tokens/{jointoken}", "", ADMINS),
    // Nothing has joined with it yet.
    row(Post, "/join-tokens/<given>/admit", "/join-tokens/{jointoken}/admit", "", [SignIn, Gone, Gone, Gone, Bad]),
    row(Post, "/pools/<given>/admission", "/pools/{pool}/admission", "auto=true", ADMINS),
    row(Get, "/install.sh", "/install.sh", "", EVERYBODY),
    row(Get, "/install/gristmill", "/install/gristmill", "", EVERYBODY),
    row(Get, "/nodes/<given>/readings", "/nodes/{node}/readings", "", MEMBERS),
    row(Get, "/gpus/<given>", "/gpus/{gpu}?span=day", "", MEMBERS),
    row(Get, "/gpus/<given>/readings", "/gpus/{gpu}/readings?span=week", "", MEMBERS),
    row(Get, "/fleet/health", "/fleet/health", "", MEMBERS),
    row(Get, "/gpus/<given>/health", "/gpus/{gpu}/health", "", MEMBERS),
    // It is in service: the refusal is the answer.
    row(Post, "/gpus/<given>/word", "/gpus/{gpu}/word", "word=put_back&why=fans", [SignIn, Gone, Gone, Gone, Bad]),
    // Nothing was ever seen of it that could be contested.
    row(
        Post,
        "/gpus/<given>/evidence/<row>/contest",
        "/gpus/{gpu}/evidence/ev_00000000000000000000000001/contest",
        "why=cable",
        [SignIn, Gone, Gone, Gone, Gone],
    ),
    row(
        Post,
        "/gpus/<given>/evidence/<row>/decide",
        "/gpus/{gpu}/evidence/ev_00000000000000000000000001/decide",
        "accepted=true&why=cable",
        [SignIn, Gone, Gone, Gone, Gone],
    ),
    // A token of their own opens them, and no session does; the test of the metrics has one.
    row(Get, "/metrics", "/metrics", "", [Out; 5]),
    row(Get, "/ca.pem", "/ca.pem", "", EVERYBODY),
];

const MONEY: &[Row] = &[
    row(Get, "/statement", "/statement?team={team}&before=3", "", TEAMS),
    row(Post, "/grants", "/grants", "team={team}&amount=5&reason=more", ADMINS),
    row(Get, "/rates", "/rates", "", MEMBERS),
    row(Post, "/rates", "/rates", "model=H200&per_gpu_hour=2.50", ADMINS),
    row(Get, "/invoices", "/invoices", "", MEMBERS),
    row(Post, "/invoices", "/invoices", "team={team}&period={month}", ADMINS),
    row(Get, "/invoices/<given>", "/invoices/{issued}", "", TEAMS),
    row(Post, "/invoices/<given>/issue", "/invoices/{draft}/issue", "", ADMINS),
    row(Post, "/invoices/<given>/settle", "/invoices/{issued}/settle", "", ADMINS),
    row(Get, "/invoices/<given>/pdf", "/invoices/{issued}/pdf", "", TEAMS),
];

const ASKED: &str = r#"{"gpus":1,"duration_seconds":3600,"team":"{team}","title":"train","command":["true"]}"#;
const DRAFT: &str = r#"{"team":"{team}","period":"{month}"}"#;
const INVITE: &str = r#"{"email":"n@lab.example","team":"{team}","role":"member"}"#;
/// The API says the same in its own words.
const API_MEMBERS: [Want; 5] = [Out, Yes, Yes, Yes, Yes];
const API_TEAMS: [Want; 5] = [Out, Gone, Yes, Yes, Yes];
const API_OWNERS: [Want; 5] = [Out, Gone, Yes, Gone, Gone];
/// What admins alone may do is no secret: the API's description names it.
const API_ADMINS: [Want; 5] = [Out, Denied, Denied, Denied, Yes];

const API: &[Row] = &[
    row(Get, "/api/v1/openapi.json", "/api/v1/openapi.json", "", EVERYBODY),
    row(Post, "/api/v1/login", "/api/v1/login", r#"{"email":"nobody@lab.example","password":"no"}"#, [Out; 5]),
    row(Get, "/api/v1/status", "/api/v1/status", "", API_MEMBERS),
    row(Get, "/api/v1/teams", "/api/v1/teams", "", API_MEMBERS),
    row(Post, "/api/v1/invitations", "/api/v1/invitations", INVITE, [Out, Gone, Denied, Yes, Yes]),
    row(Get, "/api/v1/nodes", "/api/v1/nodes", "", API_MEMBERS),
    row(Get, "/api/v1/gpus", "/api/v1/gpus", "", API_MEMBERS),
    row(Get, "/api/v1/health", "/api/v1/health", "", API_MEMBERS),
    row(Get, "/api/v1/health/<given>", "/api/v1/health/{gpu}", "", API_MEMBERS),
    row(
        Post,
        "/api/v1/gpus/<gpu>/word",
        "/api/v1/gpus/{gpu}/word",
        r#"{"word":"put_back","why":"fans"}"#,
        [Out, Denied, Denied, Denied, Bad],
    ),
    row(Get, "/api/v1/pools", "/api/v1/pools", "", API_MEMBERS),
    row(Post, "/api/v1/pools", "/api/v1/pools", r#"{"name":"night"}"#, API_ADMINS),
    row(Get, "/api/v1/pools/<pool>", "/api/v1/pools/{pool}", "", API_MEMBERS),
    row(Post, "/api/v1/pools/<pool>", "/api/v1/pools/{pool}", r#"{"grace_seconds":60,"why":"tests"}"#, API_ADMINS),
    row(Get, "/api/v1/unbooked", "/api/v1/unbooked", "", API_MEMBERS),
    row(Post, "/api/v1/unbooked/<used>/void", "/api/v1/unbooked/{use}/void", r#"{"why":"mistake"}"#, API_ADMINS),
    row(Get, "/api/v1/unix-users", "/api/v1/unix-users", "", API_ADMINS),
    row(Post, "/api/v1/unix-users", "/api/v1/unix-users", r#"{"user":"ada","member":"mo@lab.example"}"#, API_ADMINS),
    row(Post, "/api/v1/unix-users/remove", "/api/v1/unix-users/remove", r#"{"user":"1001"}"#, API_ADMINS),
    row(Post, "/api/v1/nodes/<node>/duty", "/api/v1/nodes/{node}/duty", r#"{"duty":"open"}"#, API_ADMINS),
    row(
        Post,
        "/api/v1/nodes/<node>/maintenance",
        "/api/v1/nodes/{node}/maintenance",
        r#"{"start":"2035-01-01T09:00:00Z","end":"2035-01-01T10:00:00Z","why":"fans"}"#,
        API_ADMINS,
    ),
    row(
        Post,
        "/api/v1/nodes/<node>/maintenance/<maintenance>/cancel",
        "/api/v1/nodes/{node}/maintenance/mt_00000000000000000000000001/cancel",
        "{}",
        [Out, Denied, Denied, Denied, Gone],
    ),
    row(Post, "/api/v1/nodes/<node>/rename", "/api/v1/nodes/{node}/rename", r#"{"name":"stone-8"}"#, API_ADMINS),
    row(Post, "/api/v1/nodes/<node>/move", "/api/v1/nodes/{node}/move", r#"{"pool":"Main"}"#, API_ADMINS),
    row(
        Post,
        "/api/v1/nodes/<node>/retire",
        "/api/v1/nodes/{node}/retire",
        r#"{"why":"old age"}"#,
        [Out, Denied, Denied, Denied, Bad],
    ),
    row(Post, "/api/v1/join-tokens", "/api/v1/join-tokens", r#"{"pool":"{pool}"}"#, API_ADMINS),
    row(Get, "/api/v1/join-tokens", "/api/v1/join-tokens", "", API_ADMINS),
    row(Get, "/api/v1/join-tokens/<token>", "/api/v1/join-tokens/{jointoken}", "", API_ADMINS),
    row(Post, "/api/v1/nodes/<node>/admit", "/api/v1/nodes/{pending}/admit", "{}", API_ADMINS),
    row(
        Post,
        "/api/v1/nodes/<node>/upgrade",
        "/api/v1/nodes/{node}/upgrade",
        r#"{"again":true}"#,
        [Out, Denied, Denied, Denied, Bad],
    ),
    row(Post, "/api/v1/nodes/<node>/revoke", "/api/v1/nodes/{node}/revoke", "{}", API_ADMINS),
    row(Post, "/api/v1/join-tokens/many", "/api/v1/join-tokens/many", r#"{"count":2}"#, API_ADMINS),
    row(Get, "/api/v1/bookings", "/api/v1/bookings?all=true&state=active", "", API_MEMBERS),
    row(Get, "/api/v1/bookings/<booking>", "/api/v1/bookings/{active}", "", API_TEAMS),
    // Only the team spends its credits, so an admin of another books nothing for it.
    row(Post, "/api/v1/quotes", "/api/v1/quotes", ASKED, [Out, Bad, Yes, Yes, Bad]),
    row(Post, "/api/v1/bookings", "/api/v1/bookings", ASKED, [Out, Bad, Yes, Yes, Bad]),
    row(
        Post,
        "/api/v1/bookings/<booking>/extend",
        "/api/v1/bookings/{active}/extend",
        r#"{"by_seconds":3600}"#,
        [Out, Gone, Yes, Yes, Denied],
    ),
    row(Post, "/api/v1/bookings/<booking>/release", "/api/v1/bookings/{active}/release", "{}", API_TEAMS),
    row(Post, "/api/v1/bookings/<booking>/cancel", "/api/v1/bookings/{later}/cancel", "{}", API_TEAMS),
    row(
        Get,
        "/api/v1/bookings/<booking>/log",
        "/api/v1/bookings/{batch}/log?from=0",
        "",
        [Out, Gone, Away, Gone, Gone],
    ),
    row(
        Get,
        "/api/v1/bookings/<booking>/log/follow",
        "/api/v1/bookings/{batch}/log/follow?from=0",
        "",
        [Out, Gone, Away, Gone, Gone],
    ),
    row(Post, "/api/v1/bookings/<booking>/terminal", "/api/v1/bookings/{active}/terminal", "{}", API_OWNERS),
    row(
        Get,
        "/api/v1/bookings/<booking>/terminal/ws",
        "/api/v1/bookings/{active}/terminal/ws?ticket=x&tab=1&cols=80&rows=24",
        "",
        [Gone; 5],
    ),
    row(Post, "/api/v1/grants", "/api/v1/grants", r#"{"team":"{team}","amount":"5","reason":"more"}"#, API_ADMINS),
    row(Get, "/api/v1/teams/<team>/statement", "/api/v1/teams/{team}/statement?before=9&limit=5", "", API_TEAMS),
    row(Get, "/api/v1/rates", "/api/v1/rates", "", API_MEMBERS),
    row(Post, "/api/v1/rates", "/api/v1/rates", r#"{"model":"H200","per_gpu_hour":"2.50"}"#, API_ADMINS),
    row(Get, "/api/v1/invoices", "/api/v1/invoices", "", API_MEMBERS),
    row(Get, "/api/v1/invoices/<document>", "/api/v1/invoices/{issued}", "", API_TEAMS),
    row(Post, "/api/v1/invoices", "/api/v1/invoices", DRAFT, API_ADMINS),
    row(Post, "/api/v1/invoices/<document>/issue", "/api/v1/invoices/{draft}/issue", "{}", API_ADMINS),
    row(Post, "/api/v1/invoices/<document>/settle", "/api/v1/invoices/{issued}/settle", "{}", API_ADMINS),
    row(Get, "/api/v1/invoices/<document>/pdf", "/api/v1/invoices/{issued}/pdf", "", API_TEAMS),
    row(Post, "/api/v1/verify", "/api/v1/verify", "{}", API_ADMINS),
    row(Post, "/api/v1/backup", "/api/v1/backup", "{}", API_ADMINS),
];

/// Everything that is mounted.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    PEOPLE.iter().chain(HOUSE).chain(FLEET).chain(BOOKINGS).chain(MONEY).chain(API)
}
