//! A terminal in the browser: a one-use ticket, then a WebSocket whose bytes go to the lease's shell on its node. It
//! refuses sockets without a fresh ticket of this very session, from any other origin, and for whoever may not work in the
//! booking any more.
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use askama::Template;
use rocket::futures::{SinkExt as _, StreamExt as _};
use rocket::serde::json::Json;
use rocket::{Shutdown, State, get, post};
use rocket_ws::stream::DuplexStream as Socket;
use rocket_ws::{Channel, Config, Message, WebSocket};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};

use super::show::id;
use crate::app::bookings::show;
use crate::app::error::Answer;
use crate::app::mill::Mill;
use crate::app::{ids, people::signin};
use crate::base::ids::{BookingId, SessionId};
use crate::base::secret::Secret;
use crate::base::window::{Instant, Span};
use crate::domain::notice::Common;
use crate::web::error::{ApiError, PageError};
use crate::web::form::Posted;
use crate::web::guard::{self, SameOrigin, SignedIn};
use crate::web::page::{Html, Page, Place};
use crate::web::site::{self, Frame as PageFrame};
use crate::wire::api::bookings::{BookingView, TicketAnswer};
use crate::wire::frame::{Decoder, Frame, MAX_PAYLOAD, Size};
use crate::wire::node::StreamKind;

/// How long a ticket is good for.
const TICKET_LASTS: Span = Span::from_seconds(30);
/// Tickets that wait at once, of all sessions together; the oldest give way.
const MOST_TICKETS: usize = 4096;
/// How often the right to work there is looked at again.
const RECHECK: Duration = Duration::from_secs(60);
/// Terminals of one booking, at most.
const MOST_TABS: u32 = 16;
/// The largest screen that makes sense, in characters.
const WIDEST: u16 = 1000;

/// Tickets that were handed out and not used; managed by Rocket, in memory alone.
#[derive(Default)]
pub struct Tickets(Mutex<HashMap<[u8; 32], Ticket>>);

struct Ticket {
    session: SessionId,
    booking: BookingId,
    expires: Instant,
}

impl Tickets {
    fn make(&self, session: SessionId, booking: BookingId, now: Instant) -> Secret {
        let secret = Secret::from_bytes(&ids::random_256());
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, ticket| now < ticket.expires);
        if waiting.len() >= MOST_TICKETS {
            let oldest = waiting.iter().min_by_key(|(_, ticket)| ticket.expires).map(|(hash, _)| *hash);
            oldest.map(|hash| waiting.remove(&hash));
        }
        waiting.insert(*secret.hash().as_bytes(), Ticket { session, booking, expires: now.plus(TICKET_LASTS) });
        secret
    }

    /// Good once, for the session and the booking that it was made for.
    fn take(&self, secret: &Secret, session: SessionId, booking: BookingId, now: Instant) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(ticket) = waiting.remove(secret.hash().as_bytes()) else { return false };
        ticket.session == session && ticket.booking == booking && now < ticket.expires
    }
}

#[derive(Template)]
#[template(path = "bookings/terminal.html")]
pub struct TerminalPage {
    page: Page,
    id: String,
    title: String,
    beneath: String,
}

/// The booking, if this member may work in it now.
fn permitted(mill: &Mill, actor: &crate::domain::people::rights::Actor, id: BookingId) -> Answer<BookingView> {
    let booking = show::show(mill, actor, id, crate::clock::now())?;
    let works = booking.allowed.iter().any(|may| may == "attach");
    if works { Ok(booking) } else { Err(Common::NotFound { what: "terminal" }.into()) }
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
    tickets: &State<Tickets>,
    given: &str,
    _posted: Posted,
) -> Result<Json<TicketAnswer>, ApiError> {
    let booking = permitted(mill, &who.who.actor, id(given)?)?;
    let session = who.who.session.ok_or(Common::NotFound { what: "terminal" })?;
    let ticket = tickets.make(session, booking.id, crate::clock::now());
    Ok(Json(TicketAnswer { path: format!("/bookings/{}/terminal/ws?ticket={}", booking.id, ticket.expose()) }))
}

/// What the browser asks for beside the ticket.
#[derive(rocket::FromForm)]
pub struct Wanted<'r> {
    ticket: &'r str,
    tab: u32,
    cols: u16,
    rows: u16,
}

#[get("/bookings/<given>/terminal/ws?<wanted..>")]
pub fn socket(
    who: SignedIn,
    _origin: SameOrigin,
    mill: &State<Mill>,
    tickets: &State<Tickets>,
    given: &str,
    wanted: Wanted<'_>,
    socket: WebSocket,
    end: Shutdown,
) -> Result<Channel<'static>, PageError> {
    let booking = permitted(mill, &who.who.actor, id(given)?)?;
    let gone = || Common::NotFound { what: "ticket" };
    let session = who.who.session.ok_or_else(gone)?;
    if !tickets.take(&Secret::new(wanted.ticket), session, booking.id, crate::clock::now()) {
        return Err(gone().into());
    }
    let lease = booking.leases.last().map(|lease| (lease.node, lease.id)).ok_or_else(gone)?;
    let kind = StreamKind::Terminal {
        tab: wanted.tab.min(MOST_TABS),
        cols: wanted.cols.clamp(1, WIDEST),
        rows: wanted.rows.clamp(1, WIDEST),
    };
    let (mill, who) = (mill.inner().clone(), who.who);
    let config = Config { max_message_size: Some(MAX_PAYLOAD), max_frame_size: Some(MAX_PAYLOAD), ..Config::default() };
    let serve = move |socket: Socket| async move {
        let opened = mill.hub.open_stream(lease.0, lease.1, kind).await;
        bridge(socket, opened, Watch { mill, who, booking: booking.id, end }).await;
        Ok(())
    };
    Ok(socket.config(config).channel(move |socket| Box::pin(serve(socket))))
}

/// Whether the person may still work there.
struct Watch {
    mill: Mill,
    who: signin::SignedIn,
    booking: BookingId,
    end: Shutdown,
}

impl Watch {
    /// Returns when it is over: with what to tell the person, or nothing when the browser should come back by itself.
    async fn over(mut self) -> Option<String> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(RECHECK) => {}
                _ = &mut self.end => return None,
            }
            if let Some(why) = self.why_over() {
                return Some(why);
            }
        }
    }

    fn why_over(&self) -> Option<String> {
        let Ok(actor) = guard::still(&self.mill, &self.who, crate::clock::now()) else { return None };
        let Some(actor) = actor else { return Some("You are signed out. Sign in and open it again.".to_owned()) };
        permitted(&self.mill, &actor, self.booking).err().map(|_| "This booking is over.".to_owned())
    }
}

/// Carries bytes both ways until one side ends.
async fn bridge(mut socket: Socket, opened: crate::app::fleet::streams::Met, watch: Watch) {
    let stream = match opened {
        Ok(stream) => stream,
        // The node may be back in a moment: the browser tries again, and the page says what it waits for.
        Err(problem) => {
            tracing::debug!(%problem, "a terminal was not opened");
            let _ = socket.close(None).await;
            return;
        }
    };
    let (from_node, to_node) = tokio::io::split(stream);
    let (mut to_browser, from_browser) = socket.split();
    let (said, mut words) = tokio::sync::mpsc::channel::<Message>(32);
    let lasting = watch.mill.clone();
    let (who, booking) = (watch.who.clone(), watch.booking);
    let last = tokio::select! {
        () = type_in(from_browser, to_node) => None,
        last = show_out(from_node, said) => last.or_else(|| {
            let actor = guard::still(&lasting, &who, crate::clock::now()).ok().flatten()?;
            permitted(&lasting, &actor, booking).err().map(|_| json!({ "ended": "The lease has ended." }))
        }),
        why = watch.over() => why.map(|why| json!({ "refused": why })),
        () = async { while let Some(message) = words.recv().await { if to_browser.send(message).await.is_err() { break } } } => None,
    };
    while let Ok(message) = words.try_recv() {
        if to_browser.send(message).await.is_err() {
            return;
        }
    }
    if let Some(last) = last {
        let _ = to_browser.send(Message::Text(last.to_string())).await;
    }
    let _ = to_browser.close().await;
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Control {
    resize: Size,
}

/// What is typed goes to the shell. Returns when the browser leaves or says something that is not of this protocol.
async fn type_in(mut browser: rocket::futures::stream::SplitStream<Socket>, mut node: WriteHalf<DuplexStream>) {
    while let Some(Ok(message)) = browser.next().await {
        let frame = match message {
            Message::Binary(bytes) => Frame::Input(bytes),
            Message::Text(text) => match serde_json::from_str::<Control>(&text) {
                Ok(Control { resize: Size { cols, rows } }) => {
                    Frame::Resize(Size { cols: cols.clamp(1, WIDEST), rows: rows.clamp(1, WIDEST) })
                }
                Err(_) => return,
            },
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            Message::Close(_) => return,
        };
        if node.write_all(&frame.encode()).await.is_err() {
            return;
        }
    }
}

/// What the shell writes goes to the browser. Returns at the end of the stream, with a last word where there is one.
async fn show_out(
    mut node: ReadHalf<DuplexStream>,
    browser: tokio::sync::mpsc::Sender<Message>,
) -> Option<serde_json::Value> {
    let (mut decoder, mut bytes) = (Decoder::default(), vec![0; 16 * 1024]);
    loop {
        loop {
            let message = match decoder.next_frame() {
                Ok(Some(Frame::Output(bytes))) => Message::Binary(bytes),
                Ok(Some(Frame::TabClosed { .. })) => return Some(json!({ "closed": true })),
                Ok(Some(Frame::Refused { why })) => return Some(json!({ "refused": why })),
                Ok(Some(_)) => continue,
                Ok(None) => break,
                Err(problem) => {
                    tracing::warn!(%problem, "a node sent something that is no terminal");
                    return None;
                }
            };
            browser.send(message).await.ok()?;
        }
        match node.read(&mut bytes).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => decoder.feed(&bytes[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId::from_u128(1);
    const OTHER: SessionId = SessionId::from_u128(2);
    const BOOKING: BookingId = BookingId::from_u128(3);

    fn at(seconds: i64) -> Instant {
        Instant::from_seconds(seconds)
    }

    #[test]
    fn a_ticket_is_good_once() {
        let tickets = Tickets::default();
        let ticket = tickets.make(SESSION, BOOKING, at(0));
        assert!(tickets.take(&ticket, SESSION, BOOKING, at(29)));
        assert!(!tickets.take(&ticket, SESSION, BOOKING, at(29)));
    }

    #[test]
    fn a_ticket_is_bound() {
        let tickets = Tickets::default();
        let late = tickets.make(SESSION, BOOKING, at(0));
        assert!(!tickets.take(&late, SESSION, BOOKING, at(30)));
        let stolen = tickets.make(SESSION, BOOKING, at(0));
        assert!(!tickets.take(&stolen, OTHER, BOOKING, at(1)));
        assert!(!tickets.take(&stolen, SESSION, BOOKING, at(1)), "a try with the wrong session spends it");
        let elsewhere = tickets.make(SESSION, BOOKING, at(0));
        assert!(!tickets.take(&elsewhere, SESSION, BookingId::from_u128(4), at(1)));
    }

    #[test]
    fn tickets_do_not_pile_up() {
        let tickets = Tickets::default();
        for _ in 0..MOST_TICKETS + 10 {
            tickets.make(SESSION, BOOKING, at(0));
        }
        assert_eq!(tickets.0.lock().unwrap().len(), MOST_TICKETS);
        tickets.make(SESSION, BOOKING, at(31));
        assert_eq!(tickets.0.lock().unwrap().len(), 1);
    }
}
