//! One booking: the answer first, then what was agreed, what it costs, its output, and what may be done with it now. It
//! refuses buttons that would be refused.
use askama::Template;
use rocket::response::Redirect;
use rocket::{State, get, post};

use super::{log, words};
use crate::app::bookings::{change, path, show};
use crate::app::error::{Answer, AppError};
use crate::app::mill::Mill;
use crate::base::credits::Credits;
use crate::base::ids::BookingId;
use crate::base::window::Instant;
use crate::domain::notice::{Common, Sentence};
use crate::web::error::{PageError, status};
use crate::web::figure::{Figure, Money};
use crate::web::form::{Again, Posted};
use crate::web::format::{self, Zone};
use crate::web::guard::SignedIn;
use crate::web::page::{Flash, Html, Page, Place, Typed};
use crate::web::site::{self, Frame};
use crate::wire::api::bookings::{BookingView, ExtendRequest};

/// By how much a booking can be extended with one press, in the order of the list.
const STEPS: [(&str, &str); 6] =
    [("1800", "30 min"), ("3600", "1 h"), ("7200", "2 h"), ("14400", "4 h"), ("28800", "8 h"), ("86400", "1 day")];

#[derive(Template)]
#[template(path = "bookings/show.html")]
pub struct BookingPage {
    page: Page,
    form: Typed,
    id: String,
    title: String,
    headline: String,
    beneath: String,
    explanation: String,
    state: String,
    tone: &'static str,
    facts: Vec<(&'static str, String)>,
    leases: Vec<LeaseRow>,
    money: Vec<(String, Figure, bool)>,
    may: May,
    steps: [(&'static str, &'static str); 6],
    /// What was written so far, for a batch.
    log: Option<log::Written>,
    /// It runs a command, whose output belongs on the page.
    batch: bool,
}

/// What the reader may do now.
#[derive(Default)]
pub struct May {
    extend: bool,
    release: bool,
    cancel: bool,
    attach: bool,
}

pub struct LeaseRow {
    node: String,
    href: String,
    gpus: String,
    state: String,
    tone: &'static str,
    ready: String,
    /// What its sandbox could not enforce.
    lacking: Vec<String>,
}

/// Reads an id; what is none looks like one that does not exist.
pub fn id(text: &str) -> Result<BookingId, Common> {
    text.parse().map_err(|_| Common::NotFound { what: "booking" })
}

async fn draw(mill: &Mill, who: &SignedIn, booking: BookingView, form: Typed) -> Answer<BookingPage> {
    let log = match booking.workload.as_str() {
        "batch" => log::written(mill, who, &booking).await?,
        _ => None,
    };
    let title = words::title(&booking);
    let Frame { page, zone, money, now, .. } = site::frame(mill, who, Place::Mine, &title)?;
    let allowed = |what: &str| booking.allowed.iter().any(|may| may == what);
    Ok(BookingPage {
        id: booking.id.to_string(),
        headline: words::headline(&booking, &zone, now),
        beneath: words::beneath(&booking, now),
        explanation: booking.explanation.clone(),
        tone: words::tone(&booking.state),
        facts: facts(&booking, &zone, now),
        leases: leases(&booking, &zone, now),
        money: credits(&booking, &money),
        may: May {
            extend: allowed("extend"),
            release: allowed("release"),
            cancel: allowed("cancel"),
            attach: allowed("attach"),
        },
        steps: STEPS,
        state: booking.state,
        title,
        page,
        form,
        batch: booking.workload == "batch",
        log,
    })
}

fn facts(booking: &BookingView, zone: &Zone, now: Instant) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("Window", format!("{} ({})", words::window(booking, zone, now), zone.name())),
        ("Lasts", format::span(booking.end.0.since(booking.start.0))),
        ("Booked by", format!("{}, for {}", booking.member_name, booking.team_name)),
        ("Booked at", zone.moment(booking.created.0, now)),
        ("To do", booking.command.as_ref().map_or("workspace".to_owned(), |command| words::command(command))),
        ("Comes with", format::share(&booking.share)),
    ];
    if let Some(code) = booking.exit_code {
        facts.push(("Exit code", code.to_string()));
    }
    facts.push(("Id", booking.id.to_string()));
    facts
}

fn leases(booking: &BookingView, zone: &Zone, now: Instant) -> Vec<LeaseRow> {
    let row = |lease: &crate::wire::api::bookings::LeaseView| LeaseRow {
        node: lease.node_name.clone(),
        href: format!("/nodes/{}", lease.node),
        gpus: lease.gpu_names.iter().map(|name| name.trim_start_matches("GPU ")).collect::<Vec<_>>().join(", "),
        lacking: lease.lacking.clone(),
        state: lease.state.clone(),
        tone: match lease.state.as_str() {
            "ready" => "water",
            "ended" => "moss",
            "failed" => "rust",
            _ => "wheat",
        },
        ready: match (lease.ready_since, lease.ended_at) {
            (Some(ready), Some(ended)) => {
                format!("{} to {}", zone.moment(ready.0, now), zone.end(ready.0, ended.0, now))
            }
            (Some(ready), None) => format!("since {}", zone.moment(ready.0, now)),
            (None, _) if matches!(lease.state.as_str(), "failed" | "ended") => "never".to_owned(),
            (None, _) => "not yet".to_owned(),
        },
    };
    booking.leases.iter().map(row).collect()
}

/// Text, amount, and whether the line is ruled off as the sum.
fn credits(booking: &BookingView, money: &Money) -> Vec<(String, Figure, bool)> {
    let price = booking.price.credits();
    let rate = booking.rate_per_gpu_hour.credits();
    let hold = format!("{} × {} at {rate} per hour", booking.gpus, format::span(booking.end.0.since(booking.start.0)));
    match &booking.cost {
        Some(cost) => {
            let cost = cost.credits();
            let rest = price.checked_sub(cost).unwrap_or(Credits::ZERO);
            let column = money.sum(price, &[cost, rest]);
            let returned = if rest.is_zero() { column.figure(rest) } else { column.change(rest.negated()) };
            vec![
                (format!("Held at most: {hold}"), column.figure(price), false),
                ("Came back".to_owned(), returned, false),
                ("Charged for what was delivered".to_owned(), column.figure(cost), true),
            ]
        }
        None => {
            let price = money.rounded().figure(price);
            vec![(hold, price.clone(), false), ("Held until it ends, at most".to_owned(), price, true)]
        }
    }
}

#[get("/bookings/<given>")]
pub async fn page(who: SignedIn, mill: &State<Mill>, given: &str) -> Result<Html<BookingPage>, PageError> {
    let booking = show::show(mill, &who.who.actor, id(given)?, crate::clock::now())?;
    Ok(Html(draw(mill, &who, booking, Typed::default()).await?))
}

/// Where a change leads: back to the booking, or to the page with why not.
async fn outcome(
    mill: &Mill,
    who: &SignedIn,
    id: BookingId,
    posted: &Posted,
    changed: Answer<BookingView>,
) -> Result<Redirect, Again<BookingPage>> {
    let why = match changed {
        Ok(_) => return Ok(Redirect::to(path(id))),
        Err(AppError::Refused(why)) => why,
        Err(other) => return Err(other.into()),
    };
    let booking = show::show(mill, &who.who.actor, id, crate::clock::now())?;
    let mut page = draw(mill, who, booking, posted.typed()).await?;
    let Sentence { what, why: because, next } = why.reason().sentence();
    page.page.flash = Some(Flash::refused(&Sentence { what, why: because, next }));
    Err(Again::shown(status(why.reason().kind()), page))
}

#[post("/bookings/<given>/extend", data = "<posted>")]
pub async fn extend(
    who: SignedIn,
    mill: &State<Mill>,
    given: &str,
    posted: Posted,
) -> Result<Redirect, Again<BookingPage>> {
    let id = id(given)?;
    let by_seconds = posted.text("by").parse().unwrap_or(0);
    let request = ExtendRequest { by_seconds };
    let changed = change::extend(mill, &who.who.actor, id, request, posted.key(), crate::clock::now()).await;
    outcome(mill, &who, id, &posted, changed).await
}

#[post("/bookings/<given>/release", data = "<posted>")]
pub async fn release(
    who: SignedIn,
    mill: &State<Mill>,
    given: &str,
    posted: Posted,
) -> Result<Redirect, Again<BookingPage>> {
    let id = id(given)?;
    let changed = change::release(mill, &who.who.actor, id, posted.key(), crate::clock::now()).await;
    outcome(mill, &who, id, &posted, changed).await
}

#[post("/bookings/<given>/cancel", data = "<posted>")]
pub async fn cancel(
    who: SignedIn,
    mill: &State<Mill>,
    given: &str,
    posted: Posted,
) -> Result<Redirect, Again<BookingPage>> {
    let id = id(given)?;
    let changed = change::cancel(mill, &who.who.actor, id, posted.key(), crate::clock::now()).await;
    outcome(mill, &who, id, &posted, changed).await
}
