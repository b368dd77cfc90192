//! Adding a node: choose what it shall be, get one line to paste, and watch the machine come. The line is shown once, in the
//! answer that made it; the page that waits has an address of its own and can be reloaded. It refuses everybody but admins.
use askama::Template;
use rocket::response::Redirect;
use rocket::{State, get, post};

use super::install;
use crate::app::error::{Answer, AppError};
use crate::app::fleet::{manage, tokens};
use crate::app::mill::Mill;
use crate::app::people::teams;
use crate::base::ids::{JoinTokenId, PoolId};
use crate::base::preflight::{Finding, Verdict};
use crate::domain::fleet::refusal::FleetRefusal;
use crate::domain::notice::Common;
use crate::web::error::PageError;
use crate::web::form::{Again, Posted};
use crate::web::format::{self, Zone};
use crate::web::guard::{Admin, SignedIn};
use crate::web::page::{Flash, Html, Page, Place, Typed};
use crate::web::site::{self, Frame};
use crate::wire::api::fleet::{JoinTokenRequest, JoinTokenView};

#[derive(Template)]
#[template(path = "fleet/add.html")]
pub struct AddPage {
    page: Page,
    form: Typed,
    pools: Vec<(String, String)>,
    owners: Vec<(String, String)>,
    admissions: Vec<Admission>,
    /// Tokens that machines may still come with, and those that just came.
    open: Vec<Open>,
    /// Said where no other machine could reach the gateway.
    unreachable: Option<String>,
}

/// Whether a pool's new nodes wait.
pub struct Admission {
    id: String,
    name: String,
    auto: bool,
}

pub struct Open {
    href: String,
    name: String,
    pool: String,
    state: &'static str,
    tone: &'static str,
    expires: String,
}

#[derive(Template)]
#[template(path = "fleet/adding.html")]
pub struct AddingPage {
    page: Page,
    id: String,
    /// Shown once.
    line: Option<String>,
    headline: String,
    beneath: String,
    /// Until when the line works; `None` once that does not matter.
    until: Option<Until>,
    steps: Vec<Step>,
    findings: Vec<FindingRow>,
    hostname: String,
    node: Option<(String, String)>,
    may_admit: bool,
    over: bool,
    /// What a new line would be for.
    again: JoinTokenRequest,
    unreachable: Option<String>,
}

pub struct Until {
    /// For the script that counts.
    seconds: i64,
    said: String,
    at: String,
}

/// One of the things that happen, in their order.
pub struct Step {
    name: &'static str,
    said: &'static str,
    done: bool,
    now: bool,
}

pub struct FindingRow {
    subject: &'static str,
    verdict: &'static str,
    tone: &'static str,
    said: String,
    remedy: String,
}

fn finding_row(finding: &Finding) -> FindingRow {
    FindingRow {
        subject: finding.subject.name(),
        verdict: finding.verdict.word(),
        tone: match finding.verdict {
            Verdict::Good => "moss",
            Verdict::Lacking => "wheat",
            Verdict::Stops => "rust",
        },
        said: finding.said.clone(),
        remedy: finding.remedy.clone(),
    }
}

/// How far, as a number: what came before it is done.
fn stage(view: &JoinTokenView) -> usize {
    match view.state.as_str() {
        "waiting" | "expired" => 0,
        "contacted" => 1,
        "checked" | "stopped" => 2,
        "pending" => 3,
        _ => 4,
    }
}

fn steps(view: &JoinTokenView) -> Vec<Step> {
    let joined = if view.auto_admit {
        ("Joined", "its pool admits it at once")
    } else {
        ("Joined", "pending: it waits for your word")
    };
    let names = [
        ("Contacted", "the machine has reached the gateway"),
        ("Checked", "it has looked itself over"),
        joined,
        ("Admitted", "its GPUs can be booked"),
    ];
    let far = stage(view);
    let step = |(at, (name, said)): (usize, (&'static str, &'static str))| Step {
        name,
        said,
        done: at < far,
        now: at == far && view.state != "expired",
    };
    names.into_iter().enumerate().map(step).collect()
}

fn said(view: &JoinTokenView) -> (String, String) {
    let machine = view.hostname.clone().unwrap_or_else(|| "The machine".to_owned());
    let node = view.node.as_ref().map_or_else(|| machine.clone(), |node| node.name.clone());
    let (headline, beneath) = match view.state.as_str() {
        "waiting" => {
            ("Waiting for the machine".to_owned(), "Paste the line in its shell. This page follows by itself.")
        }
        "contacted" => (format!("{machine} is here"), "It fetches what it needs and looks itself over."),
        "checked" => (format!("{machine} is checked"), "It joins now."),
        "stopped" => (
            format!("{machine} cannot join like this"),
            "What stops it stands below, with what to do. Mend it there and paste the same line again.",
        ),
        "pending" => (format!("{node} waits for your word"), "Nothing can be booked on it before you admit it."),
        "admitted" => {
            (format!("{node} is a node"), "Its GPUs stand on the calendar as soon as its agent is connected.")
        }
        "revoked" => (format!("{node} was revoked"), "It takes no more work. To come back it has to join again."),
        _ => ("This line is over".to_owned(), "No machine joined within 15 minutes. Make a new one; it takes a press."),
    };
    (headline, beneath.to_owned())
}

fn unreachable(mill: &Mill) -> Option<String> {
    let doors = mill.doors();
    doors.gateway_is_local.then(|| {
        format!(
            "The gateway listens at {} alone, where no other machine reaches it. Start the server with --gateway \
             0.0.0.0:8443 (and --listen and --public-url for its pages) to add other machines.",
            doors.gateway
        )
    })
}

fn draw(mill: &Mill, who: &SignedIn, form: Typed) -> Result<AddPage, PageError> {
    let Frame { page, zone, now, .. } = site::frame(mill, who, Place::Nodes, "Add a node")?;
    let view = mill.store.read()?;
    let pools = tokens::pools(&view)?;
    let teams = teams::list(&view, &who.who.actor)?;
    let nobody = (String::new(), "The organisation".to_owned());
    let owners = teams.into_iter().map(|team| (team.team.to_string(), team.name));
    let open = tokens::list(mill, &who.who.actor, now)?;
    Ok(AddPage {
        page,
        form,
        pools: pools.iter().map(|pool| (pool.id.to_string(), pool.name.to_string())).collect(),
        owners: std::iter::once(nobody).chain(owners).collect(),
        admissions: pools
            .iter()
            .map(|pool| Admission { id: pool.id.to_string(), name: pool.name.to_string(), auto: pool.auto_admit })
            .collect(),
        open: open
            .iter()
            .filter(|token| token.state != "expired")
            .map(|token| Open {
                href: format!("/join-tokens/{}", token.id),
                name: token.name.clone().or_else(|| token.hostname.clone()).unwrap_or_else(|| "Any machine".to_owned()),
                pool: token.pool.clone(),
                state: words(&token.state).0,
                tone: words(&token.state).1,
                expires: if stage(token) < 3 { zone.clock(token.expires.0) } else { String::new() },
            })
            .collect(),
        unreachable: unreachable(mill),
    })
}

fn words(state: &str) -> (&'static str, &'static str) {
    match state {
        "waiting" => ("not here yet", ""),
        "contacted" => ("contacted", "water"),
        "checked" => ("checked", "water"),
        "stopped" => ("something is in the way", "rust"),
        "pending" => ("waits to be admitted", "wheat"),
        "admitted" => ("admitted", "moss"),
        "revoked" => ("revoked", ""),
        _ => ("expired", ""),
    }
}

fn until(view: &JoinTokenView, zone: &Zone, now: crate::base::window::Instant) -> Option<Until> {
    (stage(view) < 3 && view.state != "expired").then(|| Until {
        seconds: view.expires.0.since(now).as_seconds(),
        said: format::span(view.expires.0.since(now)),
        at: zone.clock(view.expires.0),
    })
}

fn adding(mill: &Mill, who: &SignedIn, view: JoinTokenView, line: Option<String>) -> Result<AddingPage, PageError> {
    let Frame { page, zone, now, .. } = site::frame(mill, who, Place::Nodes, "Add a node")?;
    let (headline, beneath) = said(&view);
    Ok(AddingPage {
        page,
        id: view.id.to_string(),
        line,
        headline,
        beneath,
        until: until(&view, &zone, now),
        steps: steps(&view),
        findings: view.findings.iter().map(finding_row).collect(),
        hostname: view.hostname.clone().unwrap_or_default(),
        may_admit: view.state == "pending",
        over: view.state == "expired",
        node: view.node.map(|node| (format!("/nodes/{}", node.id), node.name)),
        again: JoinTokenRequest { pool: view.pool, owner_team: view.owner_team, name: view.name },
        unreachable: unreachable(mill),
    })
}

fn id(given: &str) -> Result<JoinTokenId, Common> {
    given.parse().map_err(|_| Common::NotFound { what: "join token" })
}

#[get("/nodes/add")]
pub fn page(who: Admin, mill: &State<Mill>) -> Result<Html<AddPage>, PageError> {
    draw(mill, &who.0, Typed::default()).map(Html)
}

#[post("/nodes/add", data = "<posted>")]
pub async fn make(who: Admin, mill: &State<Mill>, posted: Posted) -> Result<Html<AddingPage>, Again<AddPage>> {
    let given = |field| posted.given(field).map(str::to_owned);
    let pool = posted.text("pool").to_owned();
    let request = JoinTokenRequest { pool, owner_team: given("owner_team"), name: given("name") };
    match tokens::make_named(mill, &who.0.who.actor, &request).await {
        Ok((view, token)) => {
            let line = install::line(mill, &token)?;
            Ok(Html(adding(mill, &who.0, view, Some(line)).map_err(Again::Page)?))
        }
        Err(AppError::Refused(why)) => Err(Again::form(&why, draw(mill, &who.0, posted.refused(&why)))),
        Err(other) => Err(other.into()),
    }
}

#[get("/join-tokens/<given>")]
pub fn wait(who: Admin, mill: &State<Mill>, given: &str) -> Result<Html<AddingPage>, PageError> {
    let view = tokens::show(mill, &who.0.who.actor, id(given)?, crate::clock::now())?;
    adding(mill, &who.0, view, None).map(Html)
}

/// Admits the node that this token let in, without leaving the page.
#[post("/join-tokens/<given>/admit", data = "<_posted>")]
pub async fn admit(
    who: Admin,
    mill: &State<Mill>,
    given: &str,
    _posted: Posted,
) -> Result<Redirect, Again<AddingPage>> {
    let actor = &who.0.who.actor;
    let view = tokens::show(mill, actor, id(given)?, crate::clock::now())?;
    let admitted: Answer<()> = match &view.node {
        Some(node) => manage::admit(mill, actor, node.id).await,
        None => Err(FleetRefusal::NotWaiting.into()),
    };
    match admitted {
        Ok(()) => Ok(Redirect::to(format!("/join-tokens/{}", view.id))),
        Err(AppError::Refused(why)) => {
            let mut page = adding(mill, &who.0, view, None).map_err(Again::Page)?;
            page.page.flash = Some(Flash::refused(&why.reason().sentence()));
            Err(Again::shown(crate::web::error::status(why.reason().kind()), page))
        }
        Err(other) => Err(other.into()),
    }
}

/// Whether machines that join this pool wait for an admin.
#[post("/pools/<given>/admission", data = "<posted>")]
pub async fn admission(who: Admin, mill: &State<Mill>, given: &str, posted: Posted) -> Result<Redirect, PageError> {
    let pool: PoolId = given.parse().map_err(|_| Common::NotFound { what: "pool" })?;
    tokens::set_admission(mill, &who.0.who.actor, pool, posted.text("auto") == "true").await?;
    Ok(Redirect::to("/nodes/add"))
}
