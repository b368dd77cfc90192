//! A terminal in the browser: a one-use ticket, then a WebSocket whose bytes go to the lease's shell on its node. It
//! refuses sockets without a fresh ticket of this very session, from any other origin, and for whoever may not work in the
//! booking any more.
use askama::Template;
use rocket::serde::json::Json;
use rocket::{Shutdown, State, get, post};
use rocket_ws::{Channel, WebSocket};

use super::show::id;
use crate::app::mill::Mill;
use crate::base::ids::SessionId;
use crate::base::secret::Secret;
use crate::domain::notice::Common;
use crate::web::error::{ApiError, PageError};
use crate::web::form::Posted;
use crate::web::guard::{self, SameOrigin, SignedIn};
use crate::web::page::{Html, Page, Place};
use crate::web::site::{self, Frame as PageFrame};
use crate::web::terminal::{Tickets, Wanted, Watch, open, permitted};
use crate::wire::api::bookings::TicketAnswer;

#[derive(Template)]
#[template(path = "bookings/terminal.html")]
pub struct TerminalPage {
    page: Page,
    id: String,
    title: String,
    beneath: String,
}

#[get("/bookings/<given>/terminal")]
pub fn page(who: SignedIn, mill: &State<Mill>, given: &str) -> Result<Html<TerminalPage>, PageError> {
    let booking = permitted(mill, &who.who.actor, id(given)?)?;
    let title = super::words::title(&booking);
    let PageFrame { page, now, .. } = site::frame(mill, &who, Place::Mine, &format!("Terminal · {title}"))?;
    let beneath = super::words::beneath(&booking, now);
    Ok(Html(TerminalPage { page, id: booking.id.to_string(), title, beneath }))
}

#[post("/bookings/<given>/terminal/ticket", data = "<_posted>")]
pub fn ticket(
    who: SignedIn,
    mill: &State<Mill>,
    tickets: &State<Tickets<SessionId>>,
    given: &str,
    _posted: Posted,
) -> Result<Json<TicketAnswer>, ApiError> {
    let booking = permitted(mill, &who.who.actor, id(given)?)?;
    let session = who.who.session.ok_or(Common::NotFound { what: "terminal" })?;
    let ticket = tickets.make(session, booking.id, crate::clock::now());
    Ok(Json(TicketAnswer { path: format!("/bookings/{}/terminal/ws?ticket={}", booking.id, ticket.expose()) }))
}

// Each guard in the signature is one condition of being let in.
#[allow(clippy::too_many_arguments)]
#[get("/bookings/<given>/terminal/ws?<wanted..>")]
pub fn socket(
    who: SignedIn,
    _origin: SameOrigin,
    mill: &State<Mill>,
    tickets: &State<Tickets<SessionId>>,
    given: &str,
    wanted: Wanted<'_>,
    socket: WebSocket,
    end: Shutdown,
) -> Result<Channel<'static>, PageError> {
    let booking = permitted(mill, &who.who.actor, id(given)?)?;
    let holder = tickets.take(&Secret::new(wanted.ticket), booking.id, crate::clock::now());
    if holder.is_none() || holder != who.who.session {
        return Err(Common::NotFound { what: "ticket" }.into());
    }
    let (mill, who) = (mill.inner().clone(), who.who);
    let looking = mill.clone();
    let still = move || guard::still(&looking, &who, crate::clock::now());
    Ok(open(socket, &booking, &wanted, Watch::new(mill, booking.id, end, still))?)
}
