//! The output of a booking's command: as bytes, or followed until it ends. It is read from the node each time and never kept
//! by the mill. It refuses to go on for whoever may not read any more.
use base64::Engine as _;
use rocket::http::ContentType;
use rocket::response::stream::{ByteStream, Event, EventStream};
use rocket::{Shutdown, State, get};

use super::bookings::id;
use super::caller::{Caller, RECHECK};
use crate::app::bookings::show;
use crate::app::error::Answer;
use crate::app::fleet::reading::{Piece, Reading};
use crate::app::mill::Mill;
use crate::base::ids::BookingId;
use crate::domain::notice::Common;
use crate::domain::people::rights::Actor;
use crate::web::error::ApiError;
use crate::wire::api::Problem;
use crate::wire::api::bookings::{BookingView, LogChunk, LogEnd};

/// Bytes per event at most: they grow by a third on the way, and a client should not have to hold much.
const PIECE: usize = 32 * 1024;

/// The booking, if this member may read its output now.
fn readable(mill: &Mill, actor: &Actor, id: BookingId) -> Answer<BookingView> {
    let booking = show::show(mill, actor, id, crate::clock::now())?;
    let may = booking.allowed.iter().any(|may| may == "logs");
    if may { Ok(booking) } else { Err(Common::NotFound { what: "output" }.into()) }
}

async fn open(mill: &Mill, booking: &BookingView, from: u64, follow: bool) -> Answer<Reading> {
    // The newest attempt: an earlier one that failed wrote nothing that is still to be read.
    let lease = booking.leases.last().ok_or(Common::NotFound { what: "output" })?;
    Ok(Reading::open(mill, lease.node, lease.id, from, follow).await?)
}

/// What the command has written so far, from the byte `from` on
#[utoipa::path(context_path = "/api/v1", tag = "bookings",
    params(("booking" = String, Path), ("from" = Option<u64>, Query)),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "default", body = Problem)))]
#[get("/bookings/<booking>/log?<from>")]
pub async fn read(
    who: Caller,
    mill: &State<Mill>,
    booking: &str,
    from: Option<u64>,
) -> Result<(ContentType, ByteStream![Vec<u8>]), ApiError> {
    let booking = readable(mill, &who.actor, id(booking)?)?;
    let mut reading = open(mill, &booking, from.unwrap_or(0), false).await?;
    let first = reading.first().await?;
    let body = ByteStream! {
        let mut next = first;
        while let Piece::Bytes { bytes, .. } = next {
            yield bytes;
            next = reading.next().await;
        }
    };
    Ok((ContentType::Binary, body))
}

/// The same as server-sent events (`log` with a LogChunk, at last `end` with a LogEnd) until the command ends
///
/// A stream that stops without `end` broke off: ask again from the byte that was reached.
#[utoipa::path(context_path = "/api/v1", tag = "bookings",
    params(("booking" = String, Path), ("from" = Option<u64>, Query)),
    responses((status = 200, body = LogChunk, content_type = "text/event-stream"),
        (status = "default", body = Problem)))]
#[get("/bookings/<booking>/log/follow?<from>")]
pub async fn follow(
    who: Caller,
    mill: &State<Mill>,
    booking: &str,
    from: Option<u64>,
    end: Shutdown,
) -> Result<EventStream![Event], ApiError> {
    let booking = readable(mill, &who.actor, id(booking)?)?;
    let reading = open(mill, &booking, from.unwrap_or(0), true).await?;
    Ok(events(mill.inner().clone(), who, booking.id, reading, end))
}

fn events(mill: Mill, who: Caller, booking: BookingId, mut reading: Reading, mut end: Shutdown) -> EventStream![Event] {
    EventStream! {
        let mut recheck = rocket::tokio::time::interval(RECHECK);
        recheck.tick().await;
        loop {
            let piece = rocket::tokio::select! {
                piece = reading.next() => piece,
                _ = recheck.tick() => match who.still(&mill).and_then(|actor| readable(&mill, &actor, booking)) {
                    Ok(_) => continue,
                    Err(_) => break,
                },
                _ = &mut end => break,
            };
            match piece {
                Piece::Bytes { offset, bytes } => {
                    for (number, part) in bytes.chunks(PIECE).enumerate() {
                        let offset = offset + (number * PIECE) as u64;
                        let text = base64::engine::general_purpose::STANDARD.encode(part);
                        let reached = (offset + part.len() as u64).to_string();
                        yield Event::json(&LogChunk { offset, bytes: text }).event("log").id(reached);
                    }
                }
                Piece::End(exit) => {
                    yield Event::json(&LogEnd { exit_code: exit.shell_code(), said: exit.to_string() }).event("end");
                    break;
                }
                Piece::Broken(why) => {
                    tracing::debug!(%why, "a log broke off");
                    break;
                }
            }
        }
    }
}
