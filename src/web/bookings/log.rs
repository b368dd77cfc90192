//! The output of a batch: on the page as far as it was written, followed live, and as a file. It is read from the node
//! each time and never kept by the mill. It refuses to follow for whoever may not read any more.
use std::time::Duration;

use rocket::http::{ContentType, Header, Status};
use rocket::request::{FromRequest, Outcome, Request};
use rocket::response::Responder;
use rocket::response::stream::{ByteStream, Event, EventStream};
use rocket::{Shutdown, State, get};
use serde_json::json;

use super::show::id;
use crate::app::bookings::show;
use crate::app::error::Answer;
use crate::app::fleet::reading::{Ended, Piece, Reading};
use crate::app::fleet::streams::StreamProblem;
use crate::app::mill::Mill;
use crate::base::ids::BookingId;
use crate::domain::notice::Common;
use crate::web::error::PageError;
use crate::web::guard::{self, SignedIn};
use crate::wire::api::bookings::BookingView;

/// Most bytes of output inside the page itself; the rest is followed or downloaded.
const ON_PAGE: usize = 256 * 1024;
/// How long a page waits for a node before it is shown without the output.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a follower's rights are looked at again.
const RECHECK: Duration = Duration::from_secs(60);
/// So that front doors and browsers know that the connection lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What the page shows.
pub struct Written {
    pub text: String,
    /// Bytes of the log that `text` stands for: following goes on there.
    pub reached: u64,
    pub follow: bool,
    pub said: String,
}

async fn open(mill: &Mill, booking: &BookingView, from: u64, follow: bool) -> Result<Reading, StreamProblem> {
    // The newest attempt: an earlier one that failed wrote nothing that is still to be read.
    let lease = booking.leases.last().ok_or(StreamProblem::NodeAway)?;
    Reading::open(mill, lease.node, lease.id, from, follow).await
}

/// What is said of a log at its end.
fn said(ended: &Ended) -> String {
    match ended {
        Ended::SoFar => String::new(),
        exit @ Ended::Exit(_) => exit.to_string(),
    }
}

fn readable(booking: &BookingView) -> bool {
    booking.allowed.iter().any(|may| may == "logs")
}

/// What was written so far, for the page; `None` where the reader may not see it. A node that does not answer in time
/// leaves the page with the reason instead.
pub async fn written(mill: &Mill, _who: &SignedIn, booking: &BookingView) -> Answer<Option<Written>> {
    if !readable(booking) {
        return Ok(None);
    }
    let mut written =
        Written { text: String::new(), reached: 0, follow: super::words::live(booking), said: String::new() };
    let mut raw = Vec::new();
    let collect = async {
        let mut reading = open(mill, booking, 0, false).await.map_err(|problem| problem.to_string())?;
        while raw.len() < ON_PAGE {
            match reading.next().await {
                Piece::Bytes { bytes, .. } => raw.extend(bytes),
                Piece::End(ended) => return Ok(said(&ended)),
                Piece::Broken(why) => return Err(why),
            }
        }
        Ok("The beginning is shown; download it for the whole.".to_owned())
    };
    let outcome: Result<Result<String, String>, _> = tokio::time::timeout(PATIENCE, collect).await;
    written.said = match outcome {
        Ok(Ok(said) | Err(said)) => said,
        Err(_) => "The node has not answered yet.".to_owned(),
    };
    let whole = raw.len() - incomplete(&raw);
    written.text = plain(&String::from_utf8_lossy(&raw[..whole]));
    written.reached = whole as u64;
    Ok(Some(written))
}

/// Bytes at the end that begin a character without finishing it.
fn incomplete(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    for (from_end, &byte) in tail.iter().rev().enumerate() {
        let length = match byte {
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF7 => 4,
            0x80..=0xBF => continue,
            _ => return 0,
        };
        return if from_end + 1 < length { from_end + 1 } else { 0 };
    }
    0
}

/// Without the terminal's escapes, and each line as its last carriage return left it.
fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' => match letters.next() {
                Some('[') => while letters.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                Some(']') => while letters.next().is_some_and(|c| c != '\u{7}' && c != '\u{1b}') {},
                _ => {}
            },
            '\r' if letters.peek() == Some(&'\n') => {}
            '\r' => {
                let line = shown.rfind('\n').map_or(0, |at| at + 1);
                shown.truncate(line);
            }
            '\n' | '\t' => shown.push(letter),
            other if !other.is_control() => shown.push(other),
            _ => {}
        }
    }
    shown
}

/// Where an interrupted follower was.
pub struct LastSeen(Option<u64>);

#[rocket::async_trait]
impl<'r> FromRequest<'r> for LastSeen {
    type Error = std::convert::Infallible;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, Self::Error> {
        Outcome::Success(Self(request.headers().get_one("last-event-id").and_then(|id| id.parse().ok())))
    }
}

#[get("/bookings/<given>/log?<from>")]
pub async fn follow(
    who: SignedIn,
    mill: &State<Mill>,
    given: &str,
    from: Option<u64>,
    last: LastSeen,
    end: Shutdown,
) -> Result<EventStream![Event], PageError> {
    let booking = permitted(mill, &who, id(given)?)?;
    let (mill, from) = (mill.inner().clone(), last.0.or(from).unwrap_or(0));
    Ok(events(mill, who, booking, from, end).heartbeat(HEARTBEAT))
}

fn permitted(mill: &Mill, who: &SignedIn, id: BookingId) -> Answer<BookingView> {
    let booking = show::show(mill, &who.who.actor, id, crate::clock::now())?;
    if readable(&booking) { Ok(booking) } else { Err(Common::NotFound { what: "output" }.into()) }
}

fn events(mill: Mill, who: SignedIn, booking: BookingView, from: u64, mut end: Shutdown) -> EventStream![Event] {
    EventStream! {
        let mut reading = match open(&mill, &booking, from, true).await {
            Ok(reading) => reading,
            // The browser asks again after its pause, naming where it was.
            Err(problem) => {
                yield Event::json(&json!({ "text": format!("[mill] {problem}\n") })).event("log").id(from.to_string());
                return;
            }
        };
        let mut kept: Vec<u8> = Vec::new();
        let mut recheck = tokio::time::interval(RECHECK);
        recheck.tick().await;
        loop {
            let piece = tokio::select! {
                piece = reading.next() => piece,
                _ = recheck.tick() => {
                    let now = crate::clock::now();
                    let actor = guard::still(&mill, &who.who, now).ok().flatten();
                    if actor.is_some_and(|actor| show::show(&mill, &actor, booking.id, now).is_ok_and(|b| readable(&b))) {
                        continue;
                    }
                    break;
                }
                _ = &mut end => break,
            };
            match piece {
                Piece::Bytes { offset, bytes } => {
                    let reached = offset + bytes.len() as u64;
                    kept.extend(bytes);
                    let whole = kept.len() - incomplete(&kept);
                    let rest = kept.split_off(whole);
                    let text = String::from_utf8_lossy(&kept).into_owned();
                    kept = rest;
                    let at = (reached - kept.len() as u64).to_string();
                    yield Event::json(&json!({ "text": text })).event("log").id(at);
                }
                Piece::End(ended) => {
                    yield Event::json(&json!({ "said": said(&ended) })).event("end");
                    break;
                }
                Piece::Broken(why) => {
                    yield Event::json(&json!({ "said": why })).event("end");
                    break;
                }
            }
        }
    }
}

/// A file that a browser keeps under a name made here.
#[derive(Responder)]
pub struct Download<S> {
    body: S,
    content_type: ContentType,
    disposition: Header<'static>,
}

#[get("/bookings/<given>/log.txt")]
pub async fn download(
    who: SignedIn,
    mill: &State<Mill>,
    given: &str,
) -> Result<Download<ByteStream![Vec<u8>]>, Result<(Status, String), PageError>> {
    let id = id(given).map_err(|error| Err(error.into()))?;
    let booking = permitted(mill, &who, id).map_err(|error| Err(error.into()))?;
    let mut reading = open(mill, &booking, 0, false)
        .await
        .map_err(|problem| Ok((Status::ServiceUnavailable, problem.to_string())))?;
    let body = ByteStream! {
        while let Piece::Bytes { bytes, .. } = reading.next().await {
            yield bytes;
        }
    };
    let name = format!("attachment; filename=\"output-{}.txt\"", booking.id.short());
    Ok(Download { body, content_type: ContentType::Plain, disposition: Header::new("content-disposition", name) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_never_cut() {
        for (bytes, cut) in [("ä".as_bytes(), 1), ("€".as_bytes(), 2), ("🌾".as_bytes(), 3)] {
            assert_eq!(incomplete(bytes), 0);
            assert_eq!(incomplete(&bytes[..cut]), cut);
        }
        assert_eq!((incomplete(b"plain"), incomplete(b""), incomplete(&[0x80, 0x80, 0x80])), (0, 0, 0));
    }

    #[test]
    fn a_log_reads_as_text() {
        assert_eq!(plain("\u{1b}[31mred\u{1b}[0m\r\n10%\r20%\rdone\n"), "red\ndone\n");
        assert_eq!(plain("\u{1b}]0;title\u{7}a\tb\u{0}"), "a\tb");
    }
}
