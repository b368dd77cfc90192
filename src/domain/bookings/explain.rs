//! Why is mine not running, and when will it: one or two sentences for every state, and what may be done now. It refuses
//! to guess; what is not known is said to be unknown.
use jiff::tz::TimeZone;

use super::booking::{Booking, BookingState, EndCause, Exit, Workload};
use super::say;
use super::schedule::{SILENCE_LIMIT, start_limit};
use crate::base::text::spoken;
use crate::base::window::Instant;

/// What is known of the booking's nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    /// Names, in the order of the leases.
    pub names: Vec<String>,
    /// The first that is away, and since when nothing was heard of it.
    pub away: Option<(String, Instant)>,
}

impl Nodes {
    fn named(&self) -> String {
        match self.names.as_slice() {
            [] => "its node".to_owned(),
            [only] => only.clone(),
            [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        }
    }
}

/// Why it is in its state, and what comes next.
pub fn explain(booking: &Booking, nodes: &Nodes, now: Instant, zone: &TimeZone) -> String {
    let end = booking.window.end();
    match &booking.state {
        BookingState::Booked => booked(booking, nodes, now, zone),
        BookingState::Starting { since, late } => {
            let limit = say::moment(start_limit(*since, booking), zone);
            let why = match (late, &nodes.away) {
                (_, Some((name, last))) => {
                    format!("{name} is not connected (last heard of {}).", say::moment(*last, zone))
                }
                (Some(late), None) => late.clone(),
                (None, None) => format!("{} is preparing it.", nodes.named()),
            };
            format!("{why} If it is not ready by {limit}, it is given up and nothing is charged.")
        }
        BookingState::Active { .. } => match &nodes.away {
            Some((name, last)) => format!(
                "{name} is not connected; it was last heard of {}. Work on it goes on; charging is suspended until it is \
                 back, and stays at that instant when it is silent for {}.",
                say::moment(*last, zone),
                spoken(SILENCE_LIMIT)
            ),
            None => format!("Running on {} until {}.", nodes.named(), say::moment(end, zone)),
        },
        BookingState::Ending { cause, .. } => {
            let why = match cause {
                EndCause::TimeUp => "Its time is up",
                EndCause::Released => "It was given back",
                EndCause::Finished => "Its command is done",
                EndCause::Lost => "Its node was lost",
                EndCause::Stopped => "An admin stopped it",
            };
            match &nodes.away {
                Some((name, _)) => format!(
                    "{why}; {name} is not connected and could not confirm the end yet. It is settled when the node is \
                     back, at the latest {} after its last word.",
                    spoken(SILENCE_LIMIT)
                ),
                None => format!("{why}; {} is taking it back.", nodes.named()),
            }
        }
        BookingState::Ended { at, cause, exit, .. } => ended(*at, *cause, *exit, zone),
        BookingState::Cancelled { at } => {
            format!("Cancelled {}, before it was handed over. Nothing was charged.", say::moment(*at, zone))
        }
        BookingState::Failed { at, why, cost } if cost.is_zero() => {
            format!("It could not be delivered ({}): {} Nothing was charged.", say::moment(*at, zone), full_stop(why))
        }
        BookingState::Failed { at, why, .. } => format!(
            "It could not be delivered to its end ({}): {} Only what was delivered was charged.",
            say::moment(*at, zone),
            full_stop(why)
        ),
    }
}

fn booked(booking: &Booking, nodes: &Nodes, now: Instant, zone: &TimeZone) -> String {
    let start = booking.window.start();
    let when = if start <= now {
        "It starts any moment now".to_owned()
    } else {
        format!("It starts {}, in {}", say::moment(start, zone), spoken(start.since(now)))
    };
    match &nodes.away {
        Some((name, last)) => {
            format!("{when}, once {name} is back: it is not connected (last heard of {}).", say::moment(*last, zone))
        }
        None => format!("{when}, on {}.", nodes.named()),
    }
}

fn ended(at: Instant, cause: EndCause, exit: Option<Exit>, zone: &TimeZone) -> String {
    let at = say::moment(at, zone);
    match (cause, exit) {
        (EndCause::Finished, Some(Exit::Code(0))) => format!("Its command was done {at}."),
        (EndCause::Finished, Some(Exit::Code(code))) => format!("Its command ended {at} with exit code {code}."),
        (EndCause::Finished, Some(Exit::Signal(signal))) => format!("Its command was ended {at} by signal {signal}."),
        (EndCause::Finished, None) => format!("It came to its end {at}."),
        (EndCause::TimeUp, _) => format!("Its time was up {at}."),
        (EndCause::Released, _) => format!("It was given back {at}; only what was used was charged."),
        (EndCause::Lost, _) => format!("Its node or its work was lost; it was charged until {at}."),
        (EndCause::Stopped, _) => format!("It was stopped by an admin {at}; only what was used was charged."),
    }
}

fn full_stop(text: &str) -> String {
    format!("{}.", text.trim_end_matches('.'))
}

/// What may be done with it now, by somebody who may change it (`manages`) or work in it (`works`).
pub fn allowed(booking: &Booking, manages: bool, works: bool) -> Vec<&'static str> {
    let batch = matches!(booking.ask.workload, Workload::Batch { .. });
    let (change, work): (&[_], &[_]) = match booking.state {
        BookingState::Booked => (&["extend", "cancel"], &[]),
        BookingState::Starting { .. } => (&["extend", "release", "cancel"], if batch { &["logs"] } else { &[] }),
        BookingState::Active { .. } => (&["extend", "release"], &["attach", "logs"]),
        BookingState::Ending { .. } | BookingState::Ended { .. } => (&[], &["logs"]),
        BookingState::Cancelled { .. } | BookingState::Failed { .. } => (&[], &[]),
    };
    let change = change.iter().filter(|_| manages);
    let work = work.iter().filter(|_| works).filter(|&&what| what != "attach" || !batch);
    change.chain(work).copied().collect()
}

#[cfg(test)]
mod tests;
