//! Looking after a node, for admins: what it takes, when it is in maintenance, what it is called, where it belongs, what
//! was done to it and why. It refuses a change that touches work without a reason.
use askama::Template;
use rocket::response::Redirect;
use rocket::{State, get, post};

use super::nodes::id;
use crate::app::error::{Answer, AppError};
use crate::app::fleet::duty::{self, Wish};
use crate::app::fleet::{brake, history, maintenance, pools, show};
use crate::app::mill::Mill;
use crate::base::ids::{MaintenanceId, NodeId};
use crate::base::window::Window;
use crate::domain::fleet::refusal::FleetRefusal;
use crate::domain::notice::{Common, Kind, Refusal};
use crate::web::error::PageError;
use crate::web::form::{Again, Posted};
use crate::web::format::{self, Zone};
use crate::web::guard::Admin;
use crate::web::page::{Html, Page, Place, Typed};
use crate::web::site::{self, Frame};
use crate::wire::api::fleet::NodeView;

#[derive(Template)]
#[template(path = "fleet/care.html")]
pub struct CarePage {
    page: Page,
    id: String,
    name: String,
    duty: String,
    empty: bool,
    /// What lies on it, in a sentence.
    load: String,
    zone: String,
    form: Typed,
    maintenance: Vec<Planned>,
    /// What a maintenance that is being planned would touch.
    preview: Option<String>,
    pools: Vec<(String, String)>,
    past: Vec<Past>,
}

pub struct Planned {
    id: String,
    when: String,
    why: String,
}

pub struct Past {
    at: String,
    what: String,
    who: String,
}

fn load(node: &NodeView, zone: &Zone, now: crate::base::window::Instant) -> String {
    match node.last_lease_ends {
        None => "Nothing is booked on it.".to_owned(),
        Some(end) => {
            format!(
                "{} on it; the last ends {}.",
                format::count(node.leases as usize, "lease"),
                zone.moment(end.0, now)
            )
        }
    }
}

fn draw(mill: &Mill, who: &Admin, id: NodeId, form: Typed, preview: Option<String>) -> Result<CarePage, PageError> {
    let now = crate::clock::now();
    let node = show::node(mill, &who.0.who.actor, id, now)?;
    let Frame { page, zone, .. } = site::frame(mill, &who.0, Place::Nodes, &node.name)?;
    let view = mill.store.read()?;
    let pools: Vec<(String, String)> =
        pools::list(&view)?.into_iter().map(|pool| (pool.id.to_string(), pool.name.to_string())).collect();
    let own = pools.iter().find(|(_, name)| *name == node.pool).map(|(id, _)| id.clone()).unwrap_or_default();
    let form = if form.value("name").is_empty() { form.with("name", &node.name).with("pool", own) } else { form };
    let past = history::of_node(&view, id)?.into_iter().map(|entry| Past {
        at: zone.moment(entry.at, now),
        what: entry.what,
        who: entry.who,
    });
    let planned = node.maintenance.iter().map(|one| Planned {
        id: one.id.to_string(),
        when: format!("{} to {}", zone.moment(one.start.0, now), zone.end(one.start.0, one.end.0, now)),
        why: one.why.clone(),
    });
    Ok(CarePage {
        page,
        id: node.id.to_string(),
        load: load(&node, &zone, now),
        empty: node.leases == 0,
        zone: zone.name().to_owned(),
        duty: node.duty.clone(),
        form,
        maintenance: planned.collect(),
        preview,
        pools,
        past: past.collect(),
        name: node.name,
    })
}

#[get("/nodes/<given>/care")]
pub fn page(who: Admin, mill: &State<Mill>, given: &str) -> Result<Html<CarePage>, PageError> {
    draw(mill, &who, id(given)?, Typed::default(), None).map(Html)
}

type Changed = Result<Redirect, Again<CarePage>>;

/// Back to the page, or the page with what was wrong and what was typed.
fn outcome(mill: &Mill, who: &Admin, id: NodeId, posted: &Posted, changed: Answer<()>) -> Changed {
    match changed {
        Ok(()) => Ok(Redirect::to(format!("/nodes/{id}/care"))),
        // What does not exist has no page to say it on.
        Err(AppError::Refused(why)) if why.reason().kind() == Kind::NotFound => Err(AppError::Refused(why).into()),
        Err(AppError::Refused(why)) => Err(again(mill, who, id, posted, &why)),
        Err(other) => Err(other.into()),
    }
}

fn again(mill: &Mill, who: &Admin, id: NodeId, posted: &Posted, why: &Refusal) -> Again<CarePage> {
    Again::form(why, draw(mill, who, id, posted.refused(why), None))
}

#[post("/nodes/<given>/duty", data = "<posted>")]
pub async fn set_duty(who: Admin, mill: &State<Mill>, given: &str, posted: Posted) -> Changed {
    let id = id(given)?;
    let wish = match posted.text("duty") {
        "cordoned" => Wish::Cordon,
        "draining" => Wish::Drain,
        _ => Wish::Open,
    };
    let changed = duty::set(mill, &who.0.who.actor, id, wish, posted.text("why")).await;
    outcome(mill, &who, id, &posted, changed)
}

#[post("/nodes/<given>/rename", data = "<posted>")]
pub async fn rename(who: Admin, mill: &State<Mill>, given: &str, posted: Posted) -> Changed {
    let id = id(given)?;
    let actor = &who.0.who.actor;
    let changed = async {
        duty::rename(mill, actor, id, posted.name("name")?).await?;
        if let Some(pool) = posted.given("pool") {
            let pool = pool.parse().map_err(|_| Common::NotFound { what: "pool" })?;
            duty::move_to(mill, actor, id, pool).await?;
        }
        Ok(())
    };
    let changed = changed.await;
    outcome(mill, &who, id, &posted, changed)
}

#[post("/nodes/<given>/retire", data = "<posted>")]
pub async fn retire(who: Admin, mill: &State<Mill>, given: &str, posted: Posted) -> Changed {
    let id = id(given)?;
    let changed = duty::retire(mill, &who.0.who.actor, id, posted.text("why")).await;
    outcome(mill, &who, id, &posted, changed)
}

/// The window that was typed, in the organisation's zone.
fn window(posted: &Posted, zone: &Zone) -> Result<Window, FleetRefusal> {
    let bad = FleetRefusal::BadMaintenance { why: "Its start or its end cannot be read." };
    let (Some(start), Some(end)) = (zone.read(posted.text("from")), zone.read(posted.text("until"))) else {
        return Err(bad);
    };
    Window::new(start, end).map_err(|_| FleetRefusal::BadMaintenance { why: "It would end before it starts." })
}

/// What it would touch, with the form as it was typed.
#[post("/nodes/<given>/maintenance/preview", data = "<posted>")]
pub async fn foresee(
    who: Admin,
    mill: &State<Mill>,
    given: &str,
    posted: Posted,
) -> Result<Html<CarePage>, Again<CarePage>> {
    let id = id(given)?;
    match window(&posted, &site::zone(mill)?) {
        Ok(window) => {
            let (waiting, running) = maintenance::touched(&mill.store.read()?, id, window)?;
            let said = preview(waiting, running);
            draw(mill, &who, id, posted.typed(), Some(said)).map(Html).map_err(Again::Page)
        }
        Err(why) => Err(again(mill, &who, id, &posted, &why.into())),
    }
}

#[post("/nodes/<given>/maintenance", data = "<posted>")]
pub async fn announce(who: Admin, mill: &State<Mill>, given: &str, posted: Posted) -> Changed {
    let id = id(given)?;
    let done = match window(&posted, &site::zone(mill)?) {
        Ok(window) => maintenance::announce(mill, &who.0.who.actor, id, window, posted.text("why")).await.map(|_| ()),
        Err(why) => Err(why.into()),
    };
    outcome(mill, &who, id, &posted, done)
}

fn preview(waiting: usize, running: usize) -> String {
    match (waiting, running) {
        (0, 0) => "Nothing is booked in that time: announcing it disturbs nobody.".to_owned(),
        (waiting, 0) => format!(
            "In the way: {}. What is in the way moves to equal GPUs where these are free, and its people are told.",
            format::count(waiting, "booking")
        ),
        (0, running) => format!(
            "Still running then: {}. What runs ends when the maintenance begins, its people are told now, and the rest \
             is not charged.",
            format::count(running, "lease")
        ),
        (waiting, running) => format!(
            "{} in the way and {} still running then. What has not begun moves to equal GPUs where these are free; what \
             runs ends when the maintenance begins. Their people are told now.",
            format::count(waiting, "booking"),
            format::count(running, "lease")
        ),
    }
}

#[post("/nodes/<given>/maintenance/<row>/cancel", data = "<posted>")]
pub async fn cancel(who: Admin, mill: &State<Mill>, given: &str, row: &str, posted: Posted) -> Changed {
    let id = id(given)?;
    let row: MaintenanceId = row.parse().map_err(|_| Common::NotFound { what: "maintenance" })?;
    let changed = maintenance::cancel(mill, &who.0.who.actor, id, row).await;
    outcome(mill, &who, id, &posted, changed)
}

#[post("/nodes/brake", data = "<_posted>")]
pub async fn release(who: Admin, mill: &State<Mill>, _posted: Posted) -> Result<Redirect, PageError> {
    brake::release(mill, &who.0.who.actor).await?;
    Ok(Redirect::to("/nodes"))
}
