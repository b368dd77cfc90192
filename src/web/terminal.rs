//! A terminal over a WebSocket, for pages and API alike: one-use tickets, and the bridge between the socket and the lease's
//! shell on its node. Binary messages are the terminal's bytes, both ways; text is JSON: `{"resize":{"cols":…,"rows":…}}`
//! to the server, `{"ended":"why"}`, `{"closed":true}` or `{"refused":"why"}` from it. It refuses to go on for whoever may
//! not work in the booking any more.
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rocket::Shutdown;
use rocket::futures::{SinkExt as _, StreamExt as _};
use rocket_ws::stream::DuplexStream as Socket;
use rocket_ws::{Channel, Config, Message, WebSocket};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};

use crate::app::bookings::show;
use crate::app::error::Answer;
use crate::app::fleet::streams::Met;
use crate::app::ids;
use crate::app::mill::Mill;
use crate::base::ids::BookingId;
use crate::base::secret::{Secret, SecretHash};
use crate::base::window::{Instant, Span};
use crate::domain::notice::Common;
use crate::domain::people::rights::Actor;
use crate::store::StoreError;
use crate::wire::api::bookings::BookingView;
use crate::wire::frame::{Decoder, Frame, MAX_PAYLOAD, Size};
use crate::wire::node::StreamKind;

/// How long a ticket is good for.
const TICKET_LASTS: Span = Span::from_seconds(30);
/// Tickets that wait at once, of everybody together; the oldest give way.
const MOST_TICKETS: usize = 4096;
/// How often the right to work there is looked at again.
const RECHECK: Duration = Duration::from_secs(60);
/// Terminals of one booking, at most.
const MOST_TABS: u32 = 16;
/// The largest screen that makes sense, in characters.
const WIDEST: u16 = 1000;

/// Tickets that were handed out and not used, each with its holder; managed by Rocket, in memory alone.
pub struct Tickets<H>(Mutex<BTreeMap<SecretHash, Ticket<H>>>);

struct Ticket<H> {
    holder: H,
    booking: BookingId,
    expires: Instant,
}

impl<H> Default for Tickets<H> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<H> Tickets<H> {
    pub fn make(&self, holder: H, booking: BookingId, now: Instant) -> Secret {
        let secret = Secret::from_bytes(&ids::random_256());
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, ticket| now < ticket.expires);
        if waiting.len() >= MOST_TICKETS {
            let oldest = waiting.iter().min_by_key(|(_, ticket)| ticket.expires).map(|(hash, _)| *hash);
            oldest.map(|hash| waiting.remove(&hash));
        }
        waiting.insert(secret.hash(), Ticket { holder, booking, expires: now.plus(TICKET_LASTS) });
        secret
    }

    /// Its holder; good once, for the booking that it was made for.
    pub fn take(&self, secret: &Secret, booking: BookingId, now: Instant) -> Option<H> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = waiting.remove(&secret.hash())?;
        (ticket.booking == booking && now < ticket.expires).then_some(ticket.holder)
    }
}

/// The booking, if this member may work in it now.
pub fn permitted(mill: &Mill, actor: &Actor, id: BookingId) -> Answer<BookingView> {
    let booking = show::show(mill, actor, id, crate::clock::now())?;
    let works = booking.allowed.iter().any(|may| may == "attach");
    if works { Ok(booking) } else { Err(Common::NotFound { what: "terminal" }.into()) }
}

/// What a client asks for beside the ticket.
#[derive(rocket::FromForm)]
pub struct Wanted<'r> {
    pub ticket: &'r str,
    tab: u32,
    cols: u16,
    rows: u16,
}

/// Opens the lease's shell and connects the socket to it.
pub fn open(
    socket: WebSocket,
    booking: &BookingView,
    wanted: &Wanted<'_>,
    watch: Watch,
) -> Result<Channel<'static>, Common> {
    let lease =
        booking.leases.last().map(|lease| (lease.node, lease.id)).ok_or(Common::NotFound { what: "terminal" })?;
    let kind = StreamKind::Terminal {
        tab: wanted.tab.min(MOST_TABS),
        cols: wanted.cols.clamp(1, WIDEST),
        rows: wanted.rows.clamp(1, WIDEST),
    };
    let config = Config { max_message_size: Some(MAX_PAYLOAD), max_frame_size: Some(MAX_PAYLOAD), ..Config::default() };
    let serve = move |socket: Socket| async move {
        let opened = watch.mill.hub.open_stream(lease.0, lease.1, kind).await;
        bridge(socket, opened, watch).await;
        Ok(())
    };
    Ok(socket.config(config).channel(move |socket| Box::pin(serve(socket))))
}

/// Who the person is by now, or `None` when their session or token has ended.
type Still = Box<dyn Fn() -> Result<Option<Actor>, StoreError> + Send + Sync>;

/// Whether the person may still work there.
pub struct Watch {
    mill: Mill,
    booking: BookingId,
    end: Shutdown,
    still: Still,
}

impl Watch {
    pub fn new(
        mill: Mill,
        booking: BookingId,
        end: Shutdown,
        still: impl Fn() -> Result<Option<Actor>, StoreError> + Send + Sync + 'static,
    ) -> Self {
        Self { mill, booking, end, still: Box::new(still) }
    }

    /// Returns when it is over: with what to tell the person, or nothing when the browser should come back by itself.
    async fn over(&self) -> Option<String> {
        let mut end = self.end.clone();
        loop {
            tokio::select! {
                () = tokio::time::sleep(RECHECK) => {}
                _ = &mut end => return None,
            }
            if let Some(why) = self.why_over() {
                return Some(why);
            }
        }
    }

    fn why_over(&self) -> Option<String> {
        let Ok(actor) = (self.still)() else { return None };
        let Some(actor) = actor else { return Some("You are signed out. Sign in and open it again.".to_owned()) };
        self.lease_over(&actor).then(|| "This booking is over.".to_owned())
    }

    fn lease_over(&self, actor: &Actor) -> bool {
        permitted(&self.mill, actor, self.booking).is_err()
    }
}

/// Carries bytes both ways until one side ends.
async fn bridge(mut socket: Socket, opened: Met, watch: Watch) {
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
    let last = tokio::select! {
        () = type_in(from_browser, to_node) => None,
        last = show_out(from_node, said) => last.or_else(|| {
            let actor = (watch.still)().ok().flatten()?;
            watch.lease_over(&actor).then(|| json!({ "ended": "The lease has ended." }))
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
    use crate::base::ids::SessionId;

    const SESSION: SessionId = SessionId::from_u128(1);
    const BOOKING: BookingId = BookingId::from_u128(3);

    fn at(seconds: i64) -> Instant {
        Instant::from_seconds(seconds)
    }

    #[test]
    fn a_ticket_is_good_once() {
        let tickets = Tickets::default();
        let ticket = tickets.make(SESSION, BOOKING, at(0));
        assert_eq!(tickets.take(&ticket, BOOKING, at(29)), Some(SESSION));
        assert_eq!(tickets.take(&ticket, BOOKING, at(29)), None);
    }

    #[test]
    fn a_ticket_is_bound() {
        let tickets = Tickets::default();
        let late = tickets.make(SESSION, BOOKING, at(0));
        assert_eq!(tickets.take(&late, BOOKING, at(30)), None);
        let elsewhere = tickets.make(SESSION, BOOKING, at(0));
        assert_eq!(tickets.take(&elsewhere, BookingId::from_u128(4), at(1)), None);
        assert_eq!(tickets.take(&elsewhere, BOOKING, at(1)), None, "a try with the wrong booking spends it");
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
