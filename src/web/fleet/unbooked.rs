//! GPUs used outside bookings: what goes on, what it cost, and whose the Unix users are. Admins see all of it, members
//! what is theirs. It refuses to give anything back without a reason.
use askama::Template;
use rocket::response::Redirect;
use rocket::{State, get, post};

use crate::app::error::{Answer, AppError};
use crate::app::fleet::pools;
use crate::app::fleet::unbooked::{bill, show, users};
use crate::app::mill::Mill;
use crate::base::ids::UseId;
use crate::base::window::Instant;
use crate::domain::notice::{Common, Kind, Refusal};
use crate::domain::people::member::{Member, Team};
use crate::store::{Order, Read as _};
use crate::web::error::PageError;
use crate::web::figure::Money;
use crate::web::form::{Again, Posted};
use crate::web::format::{self, Zone};
use crate::web::guard::{Admin, SignedIn};
use crate::web::page::{Html, Page, Place, Typed};
use crate::web::site::{self, Frame};
use crate::wire::api::unbooked::{UnixUserRequest, UnixUserView, UseView};

#[derive(Template)]
#[template(path = "fleet/unbooked.html")]
pub struct UnbookedPage {
    page: Page,
    form: Typed,
    answer: String,
    beneath: String,
    open: Vec<Row>,
    past: Vec<Row>,
    admin: bool,
    users: Vec<UnixUserView>,
    members: Vec<(String, String)>,
    teams: Vec<(String, String)>,
    pools: Vec<(String, String)>,
}

pub struct Row {
    id: String,
    gpus: Vec<(String, u32)>,
    node: String,
    node_href: String,
    user: String,
    member: Option<String>,
    program: String,
    pid: u32,
    since: String,
    lasted: String,
    state: &'static str,
    tone: &'static str,
    note: String,
    billed: String,
    team: String,
    /// Whether something of it can be given back.
    may_void: bool,
    given_back: Vec<String>,
}

fn words(state: &str) -> (&'static str, &'static str) {
    match state {
        "here" => ("on it", "rust"),
        "ending" => ("being ended", "wheat"),
        "refused" => ("not ended", "rust"),
        "unheard" => ("not heard of", "wheat"),
        "ended" => ("ended", ""),
        "restarted" => ("restarted", ""),
        "forgotten" => ("lost sight of", ""),
        _ => ("gone", ""),
    }
}

fn row(one: &UseView, admin: bool, zone: &Zone, money: &Money, now: Instant) -> Row {
    let (state, tone) = words(&one.state);
    let standing = one.bills.iter().filter(|bill| bill.voided.is_none());
    let lasted = one.last.0.since(one.first.0);
    Row {
        id: one.id.to_string(),
        gpus: one.gpus.iter().map(|gpu| (format!("/gpus/{}", gpu.id), gpu.index)).collect(),
        node: one.node_name.clone(),
        node_href: format!("/nodes/{}", one.node),
        user: one.user.clone().or(one.uid.map(|uid| format!("user {uid}"))).unwrap_or_else(|| "unknown".to_owned()),
        member: one.member_name.clone(),
        program: one.program.clone().unwrap_or_else(|| "a process".to_owned()),
        pid: one.pid,
        since: zone.moment(one.first.0, now),
        lasted: format::span(lasted),
        state,
        tone,
        note: one.note.clone(),
        billed: if one.bills.is_empty() { String::new() } else { money.alone(one.billed.credits()) },
        team: standing.clone().map(|bill| bill.team_name.clone()).next().unwrap_or_default(),
        may_void: admin && standing.count() > 0,
        given_back: one.bills.iter().filter_map(|bill| bill.voided.clone()).take(1).collect(),
    }
}

fn draw(mill: &Mill, who: &SignedIn, form: Typed) -> Result<UnbookedPage, PageError> {
    let Frame { page, zone, money, now, .. } = site::frame(mill, who, Place::Unbooked, "Unbooked use")?;
    let actor = &who.who.actor;
    let uses = show::list(mill, actor, now)?;
    let over = |one: &&UseView| matches!(one.state.as_str(), "gone" | "ended" | "restarted" | "forgotten");
    let rows = |wanted: bool| -> Vec<Row> {
        let some = uses.iter().filter(|one| over(one) == wanted);
        some.map(|one| row(one, actor.admin, &zone, &money, now)).collect()
    };
    let (open, past) = (rows(false), rows(true));
    let (members, teams, named) = if actor.admin { choices(mill)? } else { Default::default() };
    let answer = match (open.len(), actor.admin) {
        (0, true) => "Every process on a GPU has a booking".to_owned(),
        (0, false) => "Nothing of yours is on a GPU without a booking".to_owned(),
        (1, _) => "1 process is on a GPU without a booking".to_owned(),
        (many, _) => format!("{many} processes are on GPUs without a booking"),
    };
    Ok(UnbookedPage {
        page,
        form,
        answer,
        beneath: "What becomes of them is the pool’s policy: they are told of, ended, or billed.".to_owned(),
        open,
        past,
        admin: actor.admin,
        users: if actor.admin { users::list(mill, actor)? } else { Vec::new() },
        members,
        teams,
        pools: named,
    })
}

type Choices = Vec<(String, String)>;

fn choices(mill: &Mill) -> Answer<(Choices, Choices, Choices)> {
    let view = mill.store.read()?;
    let members: Vec<Member> = view.list(&[], Order::Ascending, usize::MAX)?;
    let members = members.iter().filter(|member| !member.disabled);
    let members = members.map(|member| (member.id.to_string(), format!("{} ({})", member.name, member.email)));
    let teams: Vec<Team> = view.list(&[], Order::Ascending, usize::MAX)?;
    let mut pays = vec![(String::new(), "Their first team".to_owned())];
    pays.extend(teams.iter().map(|team| (team.id.to_string(), team.name.to_string())));
    let mut everywhere = vec![(String::new(), "Every pool".to_owned())];
    everywhere.extend(pools::list(&view)?.iter().map(|pool| (pool.id.to_string(), pool.name.to_string())));
    Ok((members.collect(), pays, everywhere))
}

#[get("/unbooked")]
pub fn page(who: SignedIn, mill: &State<Mill>) -> Result<Html<UnbookedPage>, PageError> {
    draw(mill, &who, Typed::default()).map(Html)
}

type Changed = Result<Redirect, Again<UnbookedPage>>;

fn outcome<T>(mill: &Mill, who: &Admin, posted: &Posted, done: Answer<T>) -> Changed {
    let again = |why: &Refusal| Again::form(why, draw(mill, &who.0, posted.refused(why)));
    match done {
        Ok(_) => Ok(Redirect::to("/unbooked")),
        Err(AppError::Refused(why)) if why.reason().kind() == Kind::NotFound => Err(AppError::Refused(why).into()),
        Err(AppError::Refused(why)) => Err(again(&why)),
        Err(other) => Err(other.into()),
    }
}

#[post("/unbooked/<given>/void", data = "<posted>")]
pub async fn void(who: Admin, mill: &State<Mill>, given: &str, posted: Posted) -> Changed {
    let id: UseId = given.parse().map_err(|_| Common::NotFound { what: "use" })?;
    let done = bill::void(mill, &who.0.who.actor, id, posted.text("why")).await;
    outcome(mill, &who, &posted, done)
}

#[post("/unix-users", data = "<posted>")]
pub async fn assign(who: Admin, mill: &State<Mill>, posted: Posted) -> Changed {
    let given = |field| posted.given(field).map(str::to_owned);
    let request = UnixUserRequest {
        user: posted.text("user").to_owned(),
        member: posted.text("member").to_owned(),
        team: given("team"),
        pool: given("pool"),
    };
    let done = users::set(mill, &who.0.who.actor, &request).await;
    outcome(mill, &who, &posted, done)
}

#[post("/unix-users/remove", data = "<posted>")]
pub async fn remove(who: Admin, mill: &State<Mill>, posted: Posted) -> Changed {
    let done = users::remove(mill, &who.0.who.actor, posted.text("user"), posted.given("pool")).await;
    outcome(mill, &who, &posted, done)
}
