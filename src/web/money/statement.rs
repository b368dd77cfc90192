//! A team's statement: what it can spend, and every step that led there with the balances after it. Admins grant here. It
//! shows amounts rounded to the currency's minor unit, exact ones behind them and on a view of their own. It refuses a
//! column that does not add up without saying so.
use askama::Template;
use rocket::response::Redirect;
use rocket::{State, get, post};

use super::teams_seen;
use crate::app::error::AppError;
use crate::app::mill::Mill;
use crate::app::money::{grant as granting, statement};
use crate::base::credits::Credits;
use crate::base::window::Instant;
use crate::web::error::PageError;
use crate::web::figure::{Column, Figure, Money};
use crate::web::form::{Again, Posted};
use crate::web::format::Zone;
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
    /// Where the newest lines are, in the same view.
    first: String,
    precision: Precision,
}

/// How exact the lines are.
pub struct Precision {
    /// What is said beneath them; empty where nothing is rounded.
    said: String,
    /// The other view of the same lines: where it is, and its name.
    other: (String, &'static str),
}

/// Which part of which statement was asked for, and how.
#[derive(Clone, Copy, Default)]
struct Asked<'a> {
    team: Option<&'a str>,
    before: Option<u64>,
    exact: bool,
}

pub struct Day {
    name: String,
    rows: Vec<Row>,
}

pub struct Row {
    at: String,
    text: String,
    href: Option<String>,
    posted: Figure,
    held: Figure,
    available: Figure,
}

fn show(mill: &Mill, who: &SignedIn, asked: Asked<'_>, form: Typed) -> Result<StatementPage, PageError> {
    let Frame { page, zone, money, now, .. } = site::frame(mill, who, Place::Statement, "Statement")?;
    let actor = &who.who.actor;
    let teams = teams_seen(mill, who)?;
    let own = actor.memberships.first().map(|membership| membership.team.to_string());
    let chosen = asked.team.map(str::to_owned).or(own).or_else(|| teams.first().map(|(id, _)| id.clone()));
    let view = mill.store.read()?;
    let shown = match &chosen {
        Some(team) => {
            let found = statement::statement(&view, actor, team, asked.before, statement::PAGE)?;
            Some(draw(&found, asked, (&zone, &money), now))
        }
        None => None,
    };
    let form = match chosen {
        Some(team) if form.value("team").is_empty() => form.with("team", team),
        _ => form,
    };
    Ok(StatementPage { page, form, shown, teams, may_grant: actor.admin })
}

/// The three figures of a line: what changed on the account, what was held or freed as the reader feels it (what is held
/// makes less available), and what is available after it.
fn amounts(line: &StatementLine) -> [Credits; 3] {
    [line.amount.credits(), line.held_change.credits().negated(), line.available_after.credits()]
}

/// Whether each line's rounded changes lead from one rounded balance to the next.
fn adds_up(lines: &[StatementLine], column: Column) -> bool {
    lines.iter().map(amounts).all(|[posted, held, after]| {
        let before = after.checked_sub(posted).and_then(|before| before.checked_sub(held));
        before.is_ok_and(|before| {
            let [before, posted, held, after] = [before, posted, held, after].map(|amount| column.micros(amount));
            before + posted + held == after
        })
    })
}

fn precision(found: &StatementView, asked: Asked<'_>, money: &Money) -> Precision {
    let (team, before) = (found.team, asked.before.map(|before| format!("&before={before}")).unwrap_or_default());
    if asked.exact {
        let said = "Every amount to the last micro-credit, a millionth of a credit.".to_owned();
        return Precision { said, other: (format!("/statement?team={team}{before}"), "Rounded amounts") };
    }
    let column = money.rounded();
    let rounded = found.lines.iter().flat_map(amounts).any(|amount| column.figure(amount).exact.is_some());
    let said = match (rounded, adds_up(&found.lines, column)) {
        (false, _) => String::new(),
        (true, true) => format!("Rounded to {}.", money.minor_unit()),
        (true, false) => {
            format!("Rounded to {}, so that the last digit of some lines does not add up.", money.minor_unit())
        }
    };
    Precision { said, other: (format!("/statement?team={team}{before}&exact"), "Exact amounts") }
}

fn draw(found: &StatementView, asked: Asked<'_>, (zone, money): (&Zone, &Money), now: Instant) -> Shown {
    let totals = [found.available.credits(), found.posted.credits(), found.held.credits()];
    let column = match asked.exact {
        true => money.exact(found.lines.iter().flat_map(amounts).chain(totals)),
        false => money.rounded(),
    };
    let mut days: Vec<Day> = Vec::new();
    for line in &found.lines {
        let moment = zone.moment(line.at.0, now);
        let name = moment.rsplit_once(' ').map_or("", |(day, _)| day);
        let [posted, held, available] = amounts(line);
        let row = Row {
            at: zone.clock(line.at.0),
            text: line.text.clone(),
            href: line.booking.map(|id| format!("/bookings/{id}")),
            posted: column.change(posted),
            held: column.change(held),
            available: column.figure(available),
        };
        match days.last_mut() {
            Some(day) if day.name == name => day.rows.push(row),
            _ => days.push(Day { name: name.to_owned(), rows: vec![row] }),
        }
    }
    let [available, posted, held] = totals.map(|total| column.figure(total).shown);
    let exact = if asked.exact { "&exact" } else { "" };
    let first = format!("/statement?team={}", found.team);
    Shown {
        team: found.team.to_string(),
        name: found.team_name.clone(),
        available,
        posted,
        held,
        overdrawn: found.available.credits().is_negative(),
        currency: found.currency.clone(),
        days,
        older: found.next.map(|next| format!("{first}&before={next}{exact}")),
        newest: asked.before.is_none(),
        first: format!("{first}{exact}"),
        precision: precision(found, asked, money),
    }
}

/// With `exact`, to the last micro-credit.
#[get("/statement?<team>&<before>&<exact>")]
pub fn page(
    who: SignedIn,
    mill: &State<Mill>,
    team: Option<&str>,
    before: Option<u64>,
    exact: Option<bool>,
) -> Result<Html<StatementPage>, PageError> {
    show(mill, &who, Asked { team, before, exact: exact.unwrap_or(false) }, Typed::default()).map(Html)
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
            let asked = Asked { team: posted.given("team"), ..Asked::default() };
            Err(Again::form(&why, show(mill, &who.0, asked, posted.refused(&why))))
        }
        Err(other) => Err(other.into()),
    }
}
