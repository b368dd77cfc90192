//! The first page: what needs the reader now, what they have running, what is free, and the first steps of a fresh mill.
//! It refuses to be a dashboard: what nobody has to know now is not here.
use askama::Template;
use rocket::{State, get};

use super::bookings::{calendar, list, words};
use super::error::PageError;
use super::format;
use super::guard::SignedIn;
use super::page::{Html, Page, Place};
use super::site::{self, Frame};
use crate::app::bookings::outlook::outlook;
use crate::app::bookings::show::{self, Filter};
use crate::app::error::Answer;
use crate::app::fleet::show as fleet;
use crate::app::mill::Mill;
use crate::app::people::notices;
use crate::base::window::{Instant, Span};
use crate::domain::bookings::booking::Booking;
use crate::domain::event::{Event, Recorded};
use crate::domain::people::installation::Installation;
use crate::domain::people::member::{Invitation, Member};
use crate::domain::people::rights::Actor;
use crate::store::{Order, Read, StoreError};
use crate::wire::api::bookings::BookingView;

/// First steps are offered for this long.
const FRESH: Span = Span::from_days(30);
/// Events looked through for a backup.
const LOOKED_BACK: usize = 2000;
/// Nodes in trouble that are named one by one.
const TROUBLED: usize = 5;
/// Unread notices shown.
const NOTICES: usize = 3;

#[derive(Template)]
#[template(path = "home.html")]
pub struct HomePage {
    page: Page,
    headline: String,
    beneath: String,
    free: String,
    outlook: String,
    balance: String,
    team: String,
    now: Vec<Running>,
    next: Vec<list::Row>,
    notices: Vec<(String, String, String)>,
    away: Vec<(String, String)>,
    /// Done or not; empty once all are.
    steps: Vec<Step>,
}

pub struct Running {
    href: String,
    title: String,
    headline: String,
    beneath: String,
    tone: &'static str,
    state: String,
    attach: bool,
}

pub struct Step {
    done: bool,
    what: &'static str,
    why: &'static str,
    href: &'static str,
    action: &'static str,
}

#[get("/")]
pub fn page(who: SignedIn, mill: &State<Mill>) -> Result<Html<HomePage>, PageError> {
    let Frame { page, zone, money, now, installation } = site::frame(mill, &who, Place::Home, "Home")?;
    let actor = &who.who.actor;
    let filter = Filter { mine: true, live: true, ..Filter::default() };
    let mut mine = show::list(mill, actor, &filter, now)?;
    mine.sort_by_key(|booking| booking.start);
    let (running, coming): (Vec<_>, Vec<_>) = mine.into_iter().partition(|booking| booking.state != "booked");
    let (free, outlook) = calendar::free(&outlook(mill, now)?, &zone, now);
    let (headline, beneath) = headline(&running, &coming, now);
    let viewer = page.viewer.as_ref();
    let shown = |booking: &BookingView| Running {
        href: format!("/bookings/{}", booking.id),
        title: words::title(booking),
        headline: words::headline(booking, &zone, now),
        beneath: words::beneath(booking, now),
        tone: words::tone(&booking.state),
        state: booking.state.clone(),
        attach: booking.allowed.iter().any(|may| may == "attach"),
    };
    let view = mill.store.read()?;
    let unread = notices::list(&view, actor.member)?.into_iter().filter(|notice| !notice.read).take(NOTICES);
    Ok(Html(HomePage {
        headline,
        beneath,
        free,
        outlook,
        balance: viewer.map(|viewer| viewer.balance.clone()).unwrap_or_default(),
        team: viewer.map(|viewer| viewer.team.clone()).unwrap_or_default(),
        now: running.iter().map(shown).collect(),
        next: coming.iter().map(|booking| list::row(booking, (&zone, &money), now)).collect(),
        notices: unread
            .map(|notice| (notice.subject, notice.text, notice.link.unwrap_or_else(|| "/notices".to_owned())))
            .collect(),
        away: away(mill, actor)?,
        steps: steps(&view, actor, &installation, now)?,
        page,
    }))
}

fn headline(running: &[BookingView], coming: &[BookingView], now: Instant) -> (String, String) {
    let span = |span: Span| format::span(Span::from_minutes((span.as_seconds() + 59) / 60));
    match (running, coming) {
        ([], []) => ("Nothing booked".to_owned(), "Book GPUs now, or for later.".to_owned()),
        ([], [next, ..]) => {
            let starts =
                if next.start.0 > now { format!("in {}", span(next.start.0.since(now))) } else { "now".to_owned() };
            (
                format!("Your next booking starts {starts}"),
                format!("{}: {}", words::title(next), words::beneath(next, now)),
            )
        }
        ([one], _) if one.state == "active" => {
            (format!("{} runs for {} more", words::title(one), span(one.end.0.since(now))), words::beneath(one, now))
        }
        ([one], _) => (format!("{} is {}", words::title(one), one.state), one.explanation.clone()),
        (many, _) => (format!("{} of your bookings are running", many.len()), String::new()),
    }
}

/// For admins: nodes that need somebody, with the page to look at.
fn away(mill: &Mill, actor: &Actor) -> Answer<Vec<(String, String)>> {
    if !actor.admin {
        return Ok(Vec::new());
    }
    let (first, all) = fleet::troubled(mill, TROUBLED)?;
    let more = all - first.len();
    let mut told: Vec<_> = first.into_iter().map(|(what, node)| (what, format!("/nodes/{node}"))).collect();
    if more > 0 {
        told.push((format!("{more} more nodes need somebody."), "/nodes".to_owned()));
    }
    Ok(told)
}

/// What the admin of a fresh mill does first; nothing once all is done.
fn steps(view: &impl Read, actor: &Actor, mill: &Installation, now: Instant) -> Result<Vec<Step>, StoreError> {
    if !actor.admin || now.since(mill.created) > FRESH {
        return Ok(Vec::new());
    }
    let invited = view.list::<Member>(&[], Order::Ascending, 2)?.len() > 1
        || !view.list::<Invitation>(&[], Order::Ascending, 1)?.is_empty();
    let bookings: Vec<Booking> = view.list(&[], Order::Ascending, 50)?;
    let delivered = bookings.iter().any(|booking| !booking.state.is_live());
    let events: Vec<Recorded> = view.list(&[], Order::Descending, LOOKED_BACK)?;
    let kept = events.iter().any(|recorded| recorded.event == Event::BackupMade);
    let step = |done, what, why, href, action| Step { done, what, why, href, action };
    let steps = vec![
        step(invited, "Invite somebody", "They get a link that works once.", "/people", "Invite"),
        step(!bookings.is_empty(), "Book a GPU", "The price stands there before you confirm.", "/calendar", "Book"),
        step(
            delivered,
            "Look at the statement",
            "When the booking is over, each step stands in it.",
            "/statement",
            "Look",
        ),
        step(kept, "Make a backup", "One file, made while the mill runs.", "/settings", "To the settings"),
    ];
    Ok(if steps.iter().all(|step| step.done) { Vec::new() } else { steps })
}
