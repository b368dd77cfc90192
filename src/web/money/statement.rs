//! A team's statement: what it can spend, and every step that led there with the balances after it. Admins grant here. It
//! refuses figures that are rounded: those of one page carry as many decimals as the most exact of them.
use askama::Template;
use rocket::response::Redirect;
use rocket::{State, get, post};

use super::{change, teams_seen};
use crate::app::error::AppError;
use crate::app::mill::Mill;
use crate::app::money::{grant as granting, statement};
use crate::base::credits::Credits;
use crate::base::window::Instant;
use crate::web::error::PageError;
use crate::web::form::{Again, Posted};
use crate::web::format::{self, Zone};
use crate::web::guard::{Admin, SignedIn};
use crate::web::page::{Html, Page, Place, Typed};
use crate::web::site::{self, Frame};
use crate::wire::api::money::{GrantRequest, StatementLine, StatementView};

#[derive(Template)]
#[template(path = "money/statement.html")]
pub struct StatementPage {
    page: Page,
    form: Typed,
    /// `None` for somebody in no team.
    shown: Option<Shown>,
    teams: Vec<(String, String)>,
    may_grant: bool,
}

pub struct Shown {
    team: String,
    name: String,
    available: String,
    posted: String,
    held: String,
    overdrawn: bool,
    currency: String,
    days: Vec<Day>,
    /// Where the page goes on to older lines.
    older: Option<String>,
    newest: bool,
}

pub struct Day {
    name: String,
    rows: Vec<Row>,
}

pub struct Row {
    at: String,
    text: String,
    href: Option<String>,
    posted: String,
    held: String,
    available: String,
}

fn show(
    mill: &Mill,
    who: &SignedIn,
    team: Option<&str>,
    before: Option<u64>,
    form: Typed,
) -> Result<StatementPage, PageError> {
    let Frame { page, zone, now, .. } = site::frame(mill, who, Place::Statement, "Statement")?;
    let actor = &who.who.actor;
    let teams = teams_seen(mill, who)?;
    let own = actor.memberships.first().map(|membership| membership.team.to_string());
    let chosen = team.map(str::to_owned).or(own).or_else(|| teams.first().map(|(id, _)| id.clone()));
    let view = mill.store.read()?;
    let shown = match &chosen {
        Some(team) => {
            let found = statement::statement(&view, actor, team, before, statement::PAGE)?;
            Some(draw(&found, before.is_none(), &zone, now))
        }
        None => None,
    };
    let form = match chosen {
        Some(team) if form.value("team").is_empty() => form.with("team", team),
        _ => form,
    };
    Ok(StatementPage { page, form, shown, teams, may_grant: actor.admin })
}

fn draw(found: &StatementView, newest: bool, zone: &Zone, now: Instant) -> Shown {
    let amounts =
        |line: &StatementLine| [line.amount.credits(), line.held_change.credits(), line.available_after.credits()];
    let places = format::places(found.lines.iter().flat_map(amounts));
    let mut days: Vec<Day> = Vec::new();
    for line in &found.lines {
        let moment = zone.moment(line.at.0, now);
        let name = moment.rsplit_once(' ').map_or("", |(day, _)| day);
        // What is held makes less available: it is shown as the reader feels it.
        let held = Credits::from_micros(line.held_change.micros.saturating_neg());
        let row = Row {
            at: zone.clock(line.at.0),
            text: line.text.clone(),
            href: line.booking.map(|id| format!("/bookings/{id}")),
            posted: change(line.amount.credits(), places),
            held: change(held, places),
            available: line.available_after.credits().to_decimal(places).replacen('-', "−", 1),
        };
        match days.last_mut() {
            Some(day) if day.name == name => day.rows.push(row),
            _ => days.push(Day { name: name.to_owned(), rows: vec![row] }),
        }
    }
    Shown {
        team: found.team.to_string(),
        name: found.team_name.clone(),
        available: format::credits(found.available.credits()),
        posted: format::credits(found.posted.credits()),
        held: format::credits(found.held.credits()),
        overdrawn: found.available.credits().is_negative(),
        currency: found.currency.clone(),
        days,
        older: found.next.map(|next| format!("/statement?team={}&before={next}", found.team)),
        newest,
    }
}

#[get("/statement?<team>&<before>")]
pub fn page(
    who: SignedIn,
    mill: &State<Mill>,
    team: Option<&str>,
    before: Option<u64>,
) -> Result<Html<StatementPage>, PageError> {
    show(mill, &who, team, before, Typed::default()).map(Html)
}

#[post("/grants", data = "<posted>")]
pub async fn grant(who: Admin, mill: &State<Mill>, posted: Posted) -> Result<Redirect, Again<StatementPage>> {
    let request = GrantRequest {
        team: posted.text("team").to_owned(),
        amount: posted.text("amount").to_owned(),
        reason: posted.text("reason").to_owned(),
    };
    match granting::grant(mill, &who.0.who.actor, request, posted.key()).await {
        Ok(granted) => Ok(Redirect::to(format!("/statement?team={}", granted.team))),
        Err(AppError::Refused(why)) => {
            Err(Again::form(&why, show(mill, &who.0, posted.given("team"), None, posted.refused(&why))))
        }
        Err(other) => Err(other.into()),
    }
}
