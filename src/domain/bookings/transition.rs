//! How a booking moves from one state to the next: every step takes the booking as it was and gives the booking as it is,
//! or says why not. A step that is not written here does not exist. It refuses leases, the calendar and money, which the
//! caller changes in the same breath.
use super::booking::{Booking, BookingState as State, EndCause, Exit};
use super::refusal::{BookingRefusal, Why};
use crate::base::credits::Credits;
use crate::base::window::{Instant, Window};

/// What every step answers.
pub type Step = Result<Booking, BookingRefusal>;

fn refused(action: &'static str, booking: &Booking) -> Step {
    Err(Why::WrongState { action, state: booking.state.word() }.into())
}

fn into(mut booking: Booking, state: State) -> Step {
    booking.state = state;
    Ok(booking)
}

/// Its time has come; nodes prepare.
pub fn start(booking: Booking, now: Instant) -> Step {
    match booking.state {
        State::Booked => into(booking, State::Starting { since: now, late: None }),
        _ => refused("start", &booking),
    }
}

/// It takes longer than promised, and why.
pub fn late(booking: Booking, why: String) -> Step {
    match booking.state {
        State::Starting { since, .. } => into(booking, State::Starting { since, late: Some(why) }),
        _ => refused("delay", &booking),
    }
}

/// All its leases are ready: it is handed over, and charged from `since`.
pub fn hand_over(booking: Booking, since: Instant) -> Step {
    match booking.state {
        State::Starting { .. } => into(booking, State::Active { since }),
        _ => refused("hand over", &booking),
    }
}

/// Ends later than promised so far.
pub fn extend(mut booking: Booking, until: Instant) -> Step {
    match booking.state {
        State::Booked | State::Starting { .. } | State::Active { .. } => {
            let longer = Window::new(booking.window.start(), until).map_err(|_| Why::NoDuration)?;
            if longer.end() <= booking.window.end() {
                return Err(Why::NoDuration.into());
            }
            booking.window = longer;
            Ok(booking)
        }
        _ => refused("extend", &booking),
    }
}

/// Given back early by whom it belongs to.
pub fn release(booking: Booking, now: Instant) -> Step {
    match booking.state {
        State::Starting { .. } | State::Active { .. } => {
            into(booking, State::Ending { since: now, cause: EndCause::Released })
        }
        _ => refused("release", &booking),
    }
}

/// Given up before it was handed over. One whose nodes prepare already is taken back from them first.
pub fn cancel(booking: Booking, now: Instant) -> Step {
    match booking.state {
        State::Booked => into(booking, State::Cancelled { at: now }),
        State::Starting { .. } => into(booking, State::Ending { since: now, cause: EndCause::Released }),
        _ => refused("cancel", &booking),
    }
}

/// Taken back by the mill: its window is over, its node was lost, an admin stopped it.
pub fn stop(booking: Booking, now: Instant, cause: EndCause) -> Step {
    match booking.state {
        State::Starting { .. } | State::Active { .. } => into(booking, State::Ending { since: now, cause }),
        _ => refused("stop", &booking),
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    pub at: Instant,
    /// By itself: of a booking that was told to end, the cause stays the one it was told.
    pub cause: EndCause,
    pub exit: Option<Exit>,
    pub cost: Credits,
    /// Whether it was ever handed over.
    pub delivered: bool,
}

/// Its leases are over and it is settled. What was given back before it was handed over counts as cancelled.
pub fn end(booking: Booking, over: Over) -> Step {
    let Over { at, exit, cost, .. } = over;
    match booking.state {
        State::Ending { cause: EndCause::Released, .. } if !over.delivered => into(booking, State::Cancelled { at }),
        State::Ending { cause, .. } => into(booking, State::Ended { at, cause, exit, cost }),
        State::Active { .. } => into(booking, State::Ended { at, cause: over.cause, exit, cost }),
        _ => refused("end", &booking),
    }
}

/// The mill could not deliver it.
pub fn fail(booking: Booking, at: Instant, why: String, cost: Credits) -> Step {
    match booking.state {
        State::Booked | State::Starting { .. } | State::Ending { .. } => into(booking, State::Failed { at, why, cost }),
        _ => refused("fail", &booking),
    }
}

#[cfg(test)]
pub(crate) mod tests;
