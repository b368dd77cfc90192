//! The calendar page: what is free, who has what when, and the form that books. The price is shown before anything is
//! confirmed; a form that is refused keeps what was typed. It refuses to book at a price that was not on the page.
use std::collections::BTreeMap;

use askama::Template;
use rocket::http::Status;
use rocket::response::Redirect;
use rocket::{State, get, post};

use super::ask::{self, Panel};
use super::chart::{self, Chart, Scale};
use crate::app::bookings::outlook::{Outlook, outlook};
use crate::app::bookings::timeline::{self, Part};
use crate::app::bookings::{path, place};
use crate::app::error::{Answer, AppError};
use crate::app::mill::Mill;
use crate::app::money::price;
use crate::app::people::teams;
use crate::base::hardware::Portion;
use crate::base::window::{Instant, Span};
use crate::web::error::PageError;
use crate::web::figure::Money;
use crate::web::form::{Again, Posted};
use crate::web::format::{self, Zone};
use crate::web::guard::SignedIn;
use crate::web::page::{Flash, Html, Mood, Page, Place, Typed};
use crate::web::shelf::{Pages, Shelf};
use crate::web::site::{self, Frame};
use crate::wire::api::bookings::BookRequest;

/// Free for longer than this is free for a day and more.
const FAR: Span = Span::from_hours(24);
/// Nodes drawn at once: more lanes than that nobody looks over, and every one of them costs the browser.
const NODES: usize = 50;

#[derive(Template)]
#[template(path = "bookings/calendar.html")]
pub struct CalendarPage {
    page: Page,
    form: Typed,
    panel: Panel,
    chart: Chart,
    answer: String,
    beneath: String,
    empty: bool,
    /// Value and label of each choice.
    models: Vec<(String, String)>,
    teams: Vec<(String, String)>,
    around: Around,
}

/// Where the page stands in time, and the ways to elsewhere.
pub struct Around {
    /// Address of this page, for its form.
    here: String,
    scales: Vec<(&'static str, String, bool)>,
    earlier: String,
    later: String,
    today: String,
    label: String,
    pages: Option<Pages>,
}

/// The answer to the form alone, for a page that has scripts.
#[derive(Template)]
#[template(path = "bookings/quote.html")]
pub struct QuotePanel {
    panel: Panel,
}

/// Which part of time, and of the fleet, was asked for.
#[derive(Clone, Copy)]
struct Asked<'a> {
    day: Option<&'a str>,
    view: Option<&'a str>,
    page: Option<usize>,
}

#[get("/calendar?<day>&<view>&<page>")]
pub fn page(
    who: SignedIn,
    mill: &State<Mill>,
    day: Option<&str>,
    view: Option<&str>,
    page: Option<usize>,
) -> Result<Html<CalendarPage>, PageError> {
    show(mill, &who, Asked { day, view, page }, None).map(Html)
}

#[post("/calendar/quote", data = "<posted>")]
pub fn quote(who: SignedIn, mill: &State<Mill>, posted: Posted) -> Result<Html<QuotePanel>, PageError> {
    let now = crate::clock::now();
    let (zone, money) = site::habits(mill)?;
    let panel = answer(mill, &who, &ask::typed(&posted, &zone), (&zone, &money), now)?;
    Ok(Html(QuotePanel { panel }))
}

#[post("/calendar?<day>&<view>&<page>", data = "<posted>")]
pub async fn submit(
    who: SignedIn,
    mill: &State<Mill>,
    day: Option<&str>,
    view: Option<&str>,
    page: Option<usize>,
    posted: Posted,
) -> Result<Redirect, Again<CalendarPage>> {
    let asked = Asked { day, view, page };
    let (zone, money) = site::habits(mill)?;
    let typed = ask::typed(&posted, &zone);
    let request = match ask::request(&typed, &zone) {
        Ok(request) if posted.text("action") == "book" => request,
        _ => {
            let page = show(mill, &who, asked, Some((typed, None))).map_err(Again::Page)?;
            return Err(Again::shown(Status::Ok, page));
        }
    };
    if let Some(dearer) = not_seen(mill, &who, &request, &posted, (&zone, &money)) {
        let page = show(mill, &who, asked, Some((typed, Some(dearer)))).map_err(Again::Page)?;
        return Err(Again::shown(Status::Conflict, page));
    }
    match place::book(mill, &who.who.actor, request, posted.key(), crate::clock::now()).await {
        Ok(booking) => Ok(Redirect::to(path(booking.id))),
        Err(AppError::Refused(why)) => {
            let panel = Panel::refused(&why, &zone, crate::clock::now());
            Err(Again::form(&why, show(mill, &who, asked, Some((typed, Some(panel))))))
        }
        Err(other) => Err(other.into()),
    }
}

/// The price, where it is another one than the person saw. A refusal is left to the booking itself, which also knows a
/// form that was sent twice.
fn not_seen(
    mill: &Mill,
    who: &SignedIn,
    request: &BookRequest,
    posted: &Posted,
    habits: (&Zone, &Money),
) -> Option<Panel> {
    let now = crate::clock::now();
    let quote = place::quote(mill, &who.who.actor, request, now).ok()?;
    let seen = posted.text(ask::SEEN).parse() == Ok(quote.price.micros);
    (!seen).then(|| Panel::priced(&quote, habits, now))
}

/// Price or refusal for what is in the form.
fn answer(mill: &Mill, who: &SignedIn, form: &Typed, habits: (&Zone, &Money), now: Instant) -> Answer<Panel> {
    let quote = match ask::request(form, habits.0) {
        Ok(request) => place::quote(mill, &who.who.actor, &request, now),
        Err(bad) => Err(bad.into()),
    };
    match quote {
        Ok(quote) => Ok(Panel::priced(&quote, habits, now)),
        Err(AppError::Refused(why)) => Ok(Panel::refused(&why, habits.0, now)),
        Err(other) => Err(other),
    }
}

fn show(
    mill: &Mill,
    who: &SignedIn,
    asked: Asked<'_>,
    sent: Option<(Typed, Option<Panel>)>,
) -> Result<CalendarPage, PageError> {
    let Frame { mut page, zone, money, now, .. } = site::frame(mill, who, Place::Calendar, "Calendar")?;
    let scale = Scale::read(asked.view);
    let midnight = zone.midnight(asked.day.and_then(|day| zone.read_day(day)).unwrap_or(now));
    let window = scale.window(&zone, midnight, now);
    let outlook = outlook(mill, now)?;
    let shelf = Shelf::of(asked.page, outlook.nodes, NODES);
    let part = Part { skip: shelf.skip(), most: NODES };
    let view = timeline::part(mill, &who.who.actor, (window.start(), window.end()), part, now)?;
    let models = models(mill, &outlook.models)?;
    let first = models.first().map_or("", |(model, _)| model.as_str());
    let chosen = asked.day.map(|_| midnight);
    let (form, panel) = sent.unwrap_or_else(|| (ask::fresh(first, &zone, chosen, now), None));
    let confirm = panel.as_ref().is_some_and(|panel| panel.priced.is_some());
    let panel = match panel {
        Some(panel) => panel,
        None if view.total == 0 => Panel::default(),
        None => answer(mill, who, &form, (&zone, &money), now)?,
    };
    if confirm {
        let what = "Look at the price once more: it is not the one that was shown.".to_owned();
        let next = "Confirm it in the form; nothing was booked yet.".to_owned();
        page.flash = Some(Flash { mood: Mood::Info, what, why: String::new(), next });
    }
    let (answer, beneath) = free(&outlook, &zone, now);
    Ok(CalendarPage {
        chart: chart::draw(&view, scale, &zone),
        empty: view.total == 0,
        teams: teams(mill, who)?,
        around: around(&zone, scale, midnight, shelf, now),
        page,
        form,
        panel,
        answer,
        beneath,
        models,
    })
}

fn around(zone: &Zone, scale: Scale, midnight: Instant, shelf: Shelf, now: Instant) -> Around {
    let at = |day: Instant, scale: Scale| {
        shelf.address(&format!("/calendar?day={}&view={}", zone.date(day), scale.word()), shelf.page)
    };
    let today = zone.midnight(now) == midnight;
    let label = match scale {
        Scale::Day if today => format!("Today, {}", zone.day(midnight)),
        Scale::Day => zone.day(midnight),
        Scale::Week => format!("{} to {}", zone.day(midnight), zone.day(zone.days_later(midnight, 6))),
    };
    let scales = [("Day", Scale::Day), ("Week", Scale::Week)];
    Around {
        here: at(midnight, scale),
        scales: scales.into_iter().map(|(word, other)| (word, at(midnight, other), other == scale)).collect(),
        earlier: at(zone.days_later(midnight, -scale.days()), scale),
        later: at(zone.days_later(midnight, scale.days()), scale),
        today: shelf.address(&format!("/calendar?view={}", scale.word()), shelf.page),
        label,
        pages: shelf.pages(&format!("/calendar?day={}&view={}", zone.date(midnight), scale.word()), "node"),
    }
}

/// Every model of the fleet with its rate; a choice of any where there are several.
fn models(mill: &Mill, names: &BTreeMap<String, Portion>) -> Answer<Vec<(String, String)>> {
    let snapshot = mill.store.read()?;
    let mut models = Vec::new();
    for (name, &portion) in names {
        let rate = price::pin_unit(&snapshot, name, portion)?.per_gpu_hour;
        models.push((name.clone(), format!("{name}, {rate}/h")));
    }
    let whole = names.values().filter(|portion| !portion.is_instance()).count();
    if models.len() > 1 && whole > 0 {
        let any = if whole == models.len() { "Any model" } else { "Any whole GPU" };
        models.push((String::new(), any.to_owned()));
    }
    Ok(models)
}

fn teams(mill: &Mill, who: &SignedIn) -> Answer<Vec<(String, String)>> {
    let actor = &who.who.actor;
    let teams = teams::list(&mill.store.read()?, actor)?;
    let payable = teams.into_iter().filter(|team| actor.books_for(team.team));
    Ok(payable.map(|team| (team.team.to_string(), team.name)).collect())
}

/// The answer to the question that most people come with, and what can be had next.
pub fn free(outlook: &Outlook, zone: &Zone, now: Instant) -> (String, String) {
    let cut = outlook.models.values().any(|portion| portion.is_instance());
    let noun = if cut { "GPUs and instances" } else { "GPUs" };
    let answer = match (outlook.free_now, outlook.total) {
        (_, 0) => "No GPUs yet".to_owned(),
        (0, total) if cut => format!("None of {total} {noun} is free now"),
        (free, total) if cut && free == total => format!("All {total} {noun} are free now"),
        (1, total) if cut => format!("1 of {total} {noun} is free now"),
        (0, 1) => "The GPU is taken now".to_owned(),
        (1, 1) => "The GPU is free now".to_owned(),
        (0, total) => format!("None of {total} GPUs is free now"),
        (free, total) if free == total => format!("All {total} GPUs are free now"),
        (1, total) => format!("1 of {total} GPUs is free now"),
        (free, total) => format!("{free} of {total} {noun} are free now"),
    };
    (answer, beneath(outlook, zone, now))
}

/// The most GPUs that one node has free now, by model, and for how long; else when the next comes free.
fn beneath(outlook: &Outlook, zone: &Zone, now: Instant) -> String {
    let end = now.plus(FAR);
    let said: Vec<String> = outlook
        .best
        .iter()
        .map(|(model, &(count, until))| match until < end {
            true => format!("{count} × {model}: now, for {}.", format::span(whole_minutes(until.since(now)))),
            false => format!("{count} × {model}: now, for a day and more."),
        })
        .collect();
    match &outlook.next {
        _ if !said.is_empty() => said.join(" "),
        Some((at, model)) => format!("The next {model} comes free at {}.", zone.moment(*at, now)),
        None => String::new(),
    }
}

fn whole_minutes(span: Span) -> Span {
    Span::from_minutes(span.as_seconds() / 60)
}
