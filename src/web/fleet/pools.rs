//! Pools, for admins: which there are, and one with its nodes, its GPUs and their rates, who is on it, what holds in it
//! and what was changed. What a change means for what is booked is said before it is made. It refuses changes without a
//! reason.
use askama::Template;
use rocket::response::Redirect;
use rocket::{State, get, post};

use crate::app::error::{Answer, AppError};
use crate::app::fleet::unbooked::show as unbooked;
use crate::app::fleet::{pool_past, pools};
use crate::app::mill::Mill;
use crate::base::ids::PoolId;
use crate::base::text::{self, spoken};
use crate::base::window::{Instant, Span};
use crate::domain::fleet::unbooked::refusal::PoolRefusal;
use crate::domain::notice::{Common, Kind, Refusal};
use crate::web::error::PageError;
use crate::web::form::{Again, Posted};
use crate::web::format::{self, Zone};
use crate::web::guard::Admin;
use crate::web::page::{Html, Page, Place, Typed};
use crate::web::site::{self, Frame};
use crate::wire::api::pools::{PolicyView, PoolChange, PoolChanged, PoolDetail};

#[derive(Template)]
#[template(path = "fleet/pools.html")]
pub struct PoolsPage {
    page: Page,
    form: Typed,
    answer: String,
    beneath: String,
    rows: Vec<PoolRow>,
}

pub struct PoolRow {
    href: String,
    name: String,
    nodes: u32,
    gpus: u32,
    admits: &'static str,
    unbooked: String,
}

#[derive(Template)]
#[template(path = "fleet/pool.html")]
pub struct PoolPage {
    page: Page,
    form: Typed,
    id: String,
    name: String,
    answer: String,
    beneath: String,
    revision: u32,
    models: Vec<ModelRow>,
    users: Vec<UserRow>,
    nodes: Vec<NodeRow>,
    outside: Vec<OutsideRow>,
    past: Vec<PastRow>,
    preview: Option<PoolChanged>,
}

pub struct ModelRow {
    model: String,
    gpus: u32,
    free: u32,
    rate: String,
}

pub struct UserRow {
    title: String,
    href: Option<String>,
    team: String,
    node: String,
    node_href: String,
    gpus: u32,
    until: String,
}

pub struct NodeRow {
    href: String,
    name: String,
    state: String,
    tone: &'static str,
    gpus: u32,
}

/// A process without a booking.
pub struct OutsideRow {
    place: String,
    user: String,
    since: String,
    note: String,
}

pub struct PastRow {
    at: String,
    what: String,
    who: String,
}

fn id(text: &str) -> Result<PoolId, Common> {
    text.parse().map_err(|_| Common::NotFound { what: "pool" })
}

fn unbooked_word(policy: &PolicyView) -> String {
    match (policy.unbooked.as_str(), policy.unbooked_after_seconds) {
        ("end", Some(after)) => format!("ended after {}", spoken(Span::from_seconds(after))),
        ("bill", _) => "billed".to_owned(),
        _ => "told of".to_owned(),
    }
}

fn draw_list(mill: &Mill, who: &Admin, form: Typed) -> Result<PoolsPage, PageError> {
    let Frame { page, .. } = site::frame(mill, &who.0, Place::Pools, "Pools")?;
    let found = pools::summaries(&mill.store.read()?)?;
    let nodes: u32 = found.iter().map(|(_, nodes, _)| nodes).sum();
    let rows = found.iter().map(|(pool, nodes, gpus)| PoolRow {
        href: format!("/pools/{}", pool.id),
        name: pool.name.to_string(),
        nodes: *nodes,
        gpus: *gpus,
        admits: if pool.auto_admit { "by itself" } else { "by an admin" },
        unbooked: unbooked_word(&pools::policy_view(pool)),
    });
    Ok(PoolsPage {
        page,
        form,
        answer: format::count(found.len(), "pool"),
        beneath: format!(
            "{} in {}. A pool has one policy, and its nodes follow it.",
            format::count(nodes as usize, "node"),
            if found.len() == 1 { "it" } else { "them" }
        ),
        rows: rows.collect(),
    })
}

#[get("/pools")]
pub fn list(who: Admin, mill: &State<Mill>) -> Result<Html<PoolsPage>, PageError> {
    draw_list(mill, &who, Typed::default()).map(Html)
}

#[post("/pools", data = "<posted>")]
pub async fn make(who: Admin, mill: &State<Mill>, posted: Posted) -> Result<Redirect, Again<PoolsPage>> {
    let made = async {
        let name = posted.name("name")?;
        pools::make(mill, &who.0.who.actor, name, posted.text("auto_admit") == "true").await
    };
    match made.await {
        Ok(id) => Ok(Redirect::to(format!("/pools/{id}"))),
        Err(AppError::Refused(why)) => Err(Again::form(&why, draw_list(mill, &who, posted.refused(&why)))),
        Err(other) => Err(other.into()),
    }
}

/// A length of time as the form takes it: `28d`, `1h30m`, `0s`.
fn written(seconds: i64) -> String {
    let parts = [(seconds / 86_400, 'd'), (seconds / 3600 % 24, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    let written: String = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if written.is_empty() { "0s".to_owned() } else { written }
}

fn fresh(name: &str, policy: &PolicyView) -> Typed {
    let yes = |on: bool| if on { "true" } else { "" };
    Typed::default()
        .with("name", name)
        .with("auto_admit", yes(policy.auto_admit))
        .with("turnaround", written(policy.turnaround_seconds))
        .with("grace", written(policy.grace_seconds))
        .with("longest", written(policy.longest_seconds))
        .with("horizon", written(policy.horizon_seconds))
        .with("unbooked", &policy.unbooked)
        .with("unbooked_after", written(policy.unbooked_after_seconds.unwrap_or(900)))
        .with("unbooked_clear", yes(policy.unbooked_clear))
        .with("unbooked_system", yes(policy.unbooked_system))
        .with("unbooked_most_a_day", &policy.unbooked_most_a_day.decimal)
}

fn draw(
    mill: &Mill,
    who: &Admin,
    id: PoolId,
    form: Option<Typed>,
    preview: Option<PoolChanged>,
) -> Result<PoolPage, PageError> {
    let now = crate::clock::now();
    let pool = pools::detail(mill, &who.0.who.actor, id, now)?;
    let Frame { page, zone, .. } = site::frame(mill, &who.0, Place::Pools, &pool.name)?;
    let view = mill.store.read()?;
    let past = pool_past::of_pool(&view, id)?;
    let outside = unbooked::of_pool(&view, id, now)?;
    let form = form.unwrap_or_else(|| fresh(&pool.name, &pool.policy));
    Ok(PoolPage {
        page,
        form,
        id: id.to_string(),
        answer: answer(&pool),
        beneath: beneath(&pool),
        revision: pool.revision,
        users: users(&pool, &zone, now),
        nodes: pool.nodes.iter().map(node_row).collect(),
        models: pool
            .models
            .iter()
            .map(|row| ModelRow {
                model: row.model.clone(),
                gpus: row.gpus,
                free: row.free_now,
                rate: row.rate.decimal.clone(),
            })
            .collect(),
        outside: outside
            .into_iter()
            .map(|(node, one)| OutsideRow {
                place: gpus_said(&one.units, &node),
                user: one.user,
                since: zone.moment(one.since, now),
                note: one.note,
            })
            .collect(),
        past: past
            .into_iter()
            .map(|entry| PastRow { at: zone.moment(entry.at, now), what: entry.what, who: entry.who })
            .collect(),
        preview,
        name: pool.name,
    })
}

/// `GPU 3 of stone-1`, `GPUs 0, 1 of stone-1`.
pub(super) fn gpus_said<T>(units: &[(T, u32)], node: &str) -> String {
    let indexes: Vec<String> = units.iter().map(|(_, index)| index.to_string()).collect();
    let noun = if indexes.len() == 1 { "GPU" } else { "GPUs" };
    format!("{noun} {} of {node}", indexes.join(", "))
}

fn node_row(node: &crate::wire::api::pools::PoolNode) -> NodeRow {
    let (state, tone) = match (node.state.as_str(), node.connected) {
        ("admitted", true) => ("connected", "moss"),
        ("admitted", false) => ("away", "rust"),
        ("pending", _) => ("waits to be admitted", "wheat"),
        (other, _) => (other, "rust"),
    };
    let state = state.to_owned();
    NodeRow { href: format!("/nodes/{}", node.id), name: node.name.clone(), state, tone, gpus: node.gpus }
}

fn answer(pool: &PoolDetail) -> String {
    let all: u32 = pool.models.iter().map(|model| model.gpus).sum();
    let free: u32 = pool.models.iter().map(|model| model.free_now).sum();
    match (all, pool.nodes.len()) {
        (0, 0) => format!("No node is in {}", pool.name),
        (0, _) => format!("{} has no GPU yet", pool.name),
        _ => format!("{free} of {} free in {}", format::count(all as usize, "GPU"), pool.name),
    }
}

fn beneath(pool: &PoolDetail) -> String {
    let models: Vec<String> = pool.models.iter().map(|row| format!("{} × {}", row.gpus, row.model)).collect();
    let nodes = format::count(pool.nodes.len(), "node");
    if models.is_empty() { format!("{nodes}.") } else { format!("{nodes}, {}.", models.join(", ")) }
}

fn users(pool: &PoolDetail, zone: &Zone, now: Instant) -> Vec<UserRow> {
    let row = |user: &crate::wire::api::pools::PoolUser| UserRow {
        title: user.title.clone().unwrap_or_else(|| "A booking".to_owned()),
        href: user.booking.map(|id| format!("/bookings/{id}")),
        team: user.team.clone(),
        node: user.node_name.clone(),
        node_href: format!("/nodes/{}", user.node),
        gpus: user.gpus,
        until: zone.moment(user.until.0, now),
    };
    pool.now.iter().map(row).collect()
}

#[get("/pools/<given>")]
pub fn page(who: Admin, mill: &State<Mill>, given: &str) -> Result<Html<PoolPage>, PageError> {
    draw(mill, &who, id(given)?, None, None).map(Html)
}

/// A length of time that may be zero.
fn seconds(posted: &Posted, field: &'static str) -> Result<Option<i64>, PoolRefusal> {
    let Some(typed) = posted.given(field) else { return Ok(None) };
    if matches!(typed.trim_end_matches([' ', 's']), "0") {
        return Ok(Some(0));
    }
    let read = text::duration(typed).map(|span| Some(span.as_seconds()));
    read.map_err(|why| PoolRefusal::BadFigure { field, why: why.to_string() })
}

fn wish(posted: &Posted, preview: bool) -> Result<PoolChange, PoolRefusal> {
    let ticked = |field: &str| Some(posted.text(field) == "true");
    Ok(PoolChange {
        name: posted.given("name").map(str::to_owned),
        auto_admit: ticked("auto_admit"),
        turnaround_seconds: seconds(posted, "turnaround")?,
        grace_seconds: seconds(posted, "grace")?,
        longest_seconds: seconds(posted, "longest")?,
        horizon_seconds: seconds(posted, "horizon")?,
        unbooked: posted.given("unbooked").map(str::to_owned),
        unbooked_after_seconds: seconds(posted, "unbooked_after")?,
        unbooked_clear: ticked("unbooked_clear"),
        unbooked_system: ticked("unbooked_system"),
        unbooked_most_a_day: posted.given("unbooked_most_a_day").map(str::to_owned),
        why: posted.text("why").to_owned(),
        revision: posted.text("revision").parse().ok(),
        preview,
    })
}

async fn changed(mill: &Mill, who: &Admin, id: PoolId, posted: &Posted, preview: bool) -> Answer<PoolChanged> {
    pools::change(mill, &who.0.who.actor, id, wish(posted, preview)?).await
}

fn again(mill: &Mill, who: &Admin, id: PoolId, posted: &Posted, why: Refusal) -> Again<PoolPage> {
    if why.reason().kind() == Kind::NotFound {
        return AppError::Refused(why).into();
    }
    Again::form(&why, draw(mill, who, id, Some(posted.refused(&why)), None))
}

#[post("/pools/<given>/preview", data = "<posted>")]
pub async fn foresee(
    who: Admin,
    mill: &State<Mill>,
    given: &str,
    posted: Posted,
) -> Result<Html<PoolPage>, Again<PoolPage>> {
    let id = id(given)?;
    match changed(mill, &who, id, &posted, true).await {
        Ok(said) => draw(mill, &who, id, Some(posted.typed()), Some(said)).map(Html).map_err(Again::Page),
        Err(AppError::Refused(why)) => Err(again(mill, &who, id, &posted, why)),
        Err(other) => Err(other.into()),
    }
}

#[post("/pools/<given>", data = "<posted>")]
pub async fn change(who: Admin, mill: &State<Mill>, given: &str, posted: Posted) -> Result<Redirect, Again<PoolPage>> {
    let id = id(given)?;
    match changed(mill, &who, id, &posted, false).await {
        Ok(_) => Ok(Redirect::to(format!("/pools/{id}"))),
        Err(AppError::Refused(why)) => Err(again(mill, &who, id, &posted, why)),
        Err(other) => Err(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_form_shows_is_what_it_reads() {
        for seconds in [0, 1, 60, 90, 5400, 86_400, 28 * 86_400, 90_061] {
            let shown = written(seconds);
            let read = if seconds == 0 { 0 } else { text::duration(&shown).unwrap().as_seconds() };
            assert_eq!(read, seconds, "{shown}");
        }
    }
}
