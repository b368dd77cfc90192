//! Lists of bookings: the reader's and their teams', and what waits for its time. It refuses to show more than the intents
//! give: other teams' bookings are only seen on the calendar, by the team's name.
use askama::Template;
use rocket::{State, get};

use super::words;
use crate::app::bookings::show::{self, Filter};
use crate::app::mill::Mill;
use crate::base::window::Instant;
use crate::web::error::PageError;
use crate::web::figure::Money;
use crate::web::format::{self, Zone};
use crate::web::guard::SignedIn;
use crate::web::page::{Html, Page, Place};
use crate::web::site::{self, Frame};
use crate::wire::api::bookings::BookingView;

#[derive(Template)]
#[template(path = "bookings/list.html")]
pub struct ListPage {
    page: Page,
    answer: String,
    beneath: String,
    tabs: Vec<Tab>,
    groups: Vec<Group>,
    empty: Empty,
}

pub struct Tab {
    label: &'static str,
    href: &'static str,
    on: bool,
}

/// What to do where nothing is listed.
pub struct Empty {
    what: &'static str,
    why: &'static str,
}

pub struct Group {
    heading: &'static str,
    rows: Vec<Row>,
}

pub struct Row {
    pub href: String,
    pub title: String,
    pub what: String,
    pub when: String,
    pub whose: String,
    pub state: String,
    pub tone: &'static str,
    pub explanation: String,
    pub cost: String,
}

/// A booking as a line of a list.
pub fn row(booking: &BookingView, (zone, money): (&Zone, &Money), now: Instant) -> Row {
    Row {
        href: format!("/bookings/{}", booking.id),
        title: words::title(booking),
        what: format!("{} × {}", booking.gpus, booking.model),
        when: words::window(booking, zone, now),
        whose: format!("{}, {}", booking.member_name, booking.team_name),
        state: booking.state.clone(),
        tone: words::tone(&booking.state),
        explanation: if words::live(booking) { booking.explanation.clone() } else { String::new() },
        cost: words::cost(booking, money),
    }
}

/// The reader's own, or with `whose=team` all of their teams.
#[get("/bookings?<whose>")]
pub fn page(who: SignedIn, mill: &State<Mill>, whose: Option<&str>) -> Result<Html<ListPage>, PageError> {
    let Frame { page, zone, money, now, .. } = site::frame(mill, &who, Place::Mine, "Bookings")?;
    let mine = whose != Some("team");
    let filter = Filter { mine, ..Filter::default() };
    let found = show::list(mill, &who.who.actor, &filter, now)?;
    let group = |heading, states: &[&str], latest: bool| {
        let mut rows: Vec<&BookingView> = found.iter().filter(|b| states.contains(&b.state.as_str())).collect();
        rows.sort_by_key(|booking| booking.start);
        if latest {
            rows.reverse();
        }
        Group { heading, rows: rows.into_iter().map(|booking| row(booking, (&zone, &money), now)).collect() }
    };
    let groups = vec![
        group("Now", &["starting", "active", "ending"], false),
        group("To come", &["booked"], false),
        group("Over", &["ended", "cancelled", "failed"], true),
    ];
    let tab = |label, href, on| Tab { label, href, on };
    let whose = if mine { "yours" } else { "your teams’" };
    Ok(Html(ListPage {
        answer: match (groups[0].rows.len(), groups[1].rows.len()) {
            (0, 0) => "Nothing booked".to_owned(),
            (0, come) => format!("{} to come", format::count(come, "booking")),
            (now, 0) => format!("{} now", format::count(now, "booking")),
            (now, come) => format!("{} now, {come} to come", format::count(now, "booking")),
        },
        beneath: format!("Shown are {whose}, those that are over newest first."),
        tabs: vec![tab("Mine", "/bookings", mine), tab("My teams’", "/bookings?whose=team", !mine)],
        groups: groups.into_iter().filter(|group| !group.rows.is_empty()).collect(),
        empty: Empty {
            what: "No bookings yet",
            why: "Choose how many GPUs and for how long; the price stands there before you confirm.",
        },
        page,
    }))
}

#[get("/queue")]
pub fn queue(who: SignedIn, mill: &State<Mill>) -> Result<Html<ListPage>, PageError> {
    let Frame { page, zone, money, now, .. } = site::frame(mill, &who, Place::Queue, "Queue")?;
    let filter = Filter { live: true, ..Filter::default() };
    let mut found = show::list(mill, &who.who.actor, &filter, now)?;
    found.retain(|booking| matches!(booking.state.as_str(), "booked" | "starting"));
    found.sort_by_key(|booking| booking.start);
    let rows: Vec<Row> = found.iter().map(|booking| row(booking, (&zone, &money), now)).collect();
    Ok(Html(ListPage {
        answer: match rows.len() {
            0 => "Nothing waits".to_owned(),
            1 => "1 booking waits for its start".to_owned(),
            many => format!("{many} bookings wait for their start"),
        },
        beneath: "Yours and your teams’, the next one first, each with why it is not running yet.".to_owned(),
        tabs: Vec::new(),
        groups: if rows.is_empty() { Vec::new() } else { vec![Group { heading: "Waiting", rows }] },
        empty: Empty { what: "Nothing waits", why: "What is booked for later stands here until it starts." },
        page,
    }))
}
