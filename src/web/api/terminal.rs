//! A terminal for programs: a one-use ticket by token, then the same socket as the browser's. It refuses sockets without a
//! fresh ticket, and pages of other sites, which must not be able to use one.
use rocket::serde::json::Json;
use rocket::{Shutdown, State, get, post};
use rocket_ws::{Channel, WebSocket};

use super::body::{Body, Nothing};
use super::bookings::id;
use super::caller::{Caller, NoPage};
use crate::app::mill::Mill;
use crate::base::secret::Secret;
use crate::domain::notice::Common;
use crate::web::error::ApiError;
use crate::web::terminal::{Tickets, Wanted, Watch, open, permitted};
use crate::wire::api::Problem;
use crate::wire::api::bookings::TicketAnswer;

/// A ticket for a terminal's WebSocket, good once within 30 seconds
///
/// Connect to the answered path with `tab`, `cols` and `rows` added. Binary messages are the terminal's bytes, both ways;
/// text is JSON: `{"resize":{"cols":80,"rows":24}}` to the mill; `ended`, `refused` or `closed` from it.
#[utoipa::path(context_path = "/api/v1", tag = "bookings", request_body = Nothing,
    params(("booking" = String, Path)),
    responses((status = 200, body = TicketAnswer), (status = "default", body = Problem)))]
#[post("/bookings/<booking>/terminal", data = "<_body>")]
pub fn ticket(
    who: Caller,
    mill: &State<Mill>,
    tickets: &State<Tickets<Caller>>,
    booking: &str,
    _body: Body<Nothing>,
) -> Result<Json<TicketAnswer>, ApiError> {
    let booking = permitted(mill, &who.actor, id(booking)?)?;
    let ticket = tickets.make(who, booking.id, crate::clock::now());
    let path = format!("{}/bookings/{}/terminal/ws?ticket={}", super::BASE, booking.id, ticket.expose());
    Ok(Json(TicketAnswer { path }))
}

/// The ticket says who it is: whoever opens the socket needs no token.
#[get("/bookings/<booking>/terminal/ws?<wanted..>")]
pub fn socket(
    _no_page: NoPage,
    mill: &State<Mill>,
    tickets: &State<Tickets<Caller>>,
    booking: &str,
    wanted: Wanted<'_>,
    socket: WebSocket,
    end: Shutdown,
) -> Result<Channel<'static>, ApiError> {
    let gone = Common::NotFound { what: "ticket" };
    let (booking, ticket) = (id(booking)?, Secret::new(wanted.ticket));
    let who = tickets.take(&ticket, booking, crate::clock::now()).ok_or(gone)?;
    let booking = permitted(mill, &who.still(mill)?, booking)?;
    let (mill, looking) = (mill.inner().clone(), mill.inner().clone());
    let still = move || who.known(&looking);
    Ok(open(socket, &booking, &wanted, Watch::new(mill, booking.id, end, still))?)
}
