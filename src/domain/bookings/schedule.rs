//! When the mill has to look at a booking by itself: a pure function of the booking and of the last word of its node, so
//! that one ordered index of due instants drives everything. It refuses to act.
use super::booking::{Booking, BookingState};
use crate::base::window::{Instant, Span};

/// Leases are sent to their node this long before they start, so that they start even when the mill is away by then.
pub const LEAD: Span = Span::from_hours(24);
/// A booking that is not handed over this long after its start has failed.
pub const START_LIMIT: Span = Span::from_minutes(5);
/// Being later than this is explained.
pub const LATE_AFTER: Span = Span::from_seconds(30);
/// A node silent for so long is settled by its last contact, for good.
pub const SILENCE_LIMIT: Span = Span::from_hours(24);
/// Warnings before the end, in minutes; the longest first.
pub const WARNINGS: [u32; 3] = [60, 15, 5];
/// A node that is away can be booked from this long ahead: until then it may well be back, and GPUs can be swapped.
pub const AWAY_LEAD: Span = Span::from_minutes(15);

/// The next instant at which something has to be done; `midnight` is the next billing boundary of the organisation's zone.
pub fn next_due(booking: &Booking, now: Instant, midnight: Instant) -> Option<Instant> {
    let end = booking.window.end();
    match &booking.state {
        BookingState::Booked => {
            let lead = booking.window.start().minus(LEAD);
            Some(if now < lead { lead } else { booking.window.start() })
        }
        BookingState::Starting { since, late } => {
            let limit = start_limit(*since, booking);
            let explain = since.plus(LATE_AFTER);
            Some(if late.is_none() && explain < limit { explain } else { limit })
        }
        BookingState::Active { since } => {
            let warning = next_warning(booking, *since).map(|minutes| warn_at(booking, minutes));
            [Some(end), warning, Some(midnight)].into_iter().flatten().filter(|&at| at > now || at == end).min()
        }
        // The node's word ends it; without one the silence limit does.
        BookingState::Ending { since, .. } => Some((*since).max(now).plus(Span::from_minutes(10))),
        BookingState::Ended { .. } | BookingState::Cancelled { .. } | BookingState::Failed { .. } => None,
    }
}

/// By when a booking that starts must be handed over.
pub fn start_limit(since: Instant, booking: &Booking) -> Instant {
    since.plus(START_LIMIT).min(booking.window.end())
}

fn warn_at(booking: &Booking, minutes: u32) -> Instant {
    booking.window.end().minus(Span::from_minutes(minutes.into()))
}

/// The next warning that was not sent; none that would have come before the booking was handed over.
fn next_warning(booking: &Booking, since: Instant) -> Option<u32> {
    WARNINGS.into_iter().find(|minutes| !booking.warned.contains(minutes) && warn_at(booking, *minutes) > since)
}

/// The warnings that are due, of which only the shortest is worth sending; all of them count as sent.
pub fn warnings_due(booking: &Booking, now: Instant) -> Vec<u32> {
    let BookingState::Active { since } = booking.state else { return Vec::new() };
    WARNINGS
        .into_iter()
        .filter(|minutes| !booking.warned.contains(minutes))
        .filter(|&minutes| warn_at(booking, minutes) > since && warn_at(booking, minutes) <= now)
        .collect()
}

/// After an extension: the warnings that will come again.
pub fn forget_warnings(booking: &mut Booking, now: Instant) {
    let end = booking.window.end();
    booking.warned.retain(|&minutes| end.minus(Span::from_minutes(minutes.into())) <= now);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::window::Window;
    use crate::domain::bookings::transition::tests::booking;

    fn at(minutes: i64) -> Instant {
        Instant::from_seconds(minutes * 60)
    }

    fn active(start: i64, end: i64) -> Booking {
        let mut booking = booking(BookingState::Active { since: at(start) });
        booking.window = Window::new(at(start), at(end)).unwrap();
        booking
    }

    #[test]
    fn warns_at_60_15_and_5_minutes() {
        let mut booking = active(0, 180);
        assert_eq!(next_due(&booking, at(0), at(1000)), Some(at(120)));
        assert_eq!(warnings_due(&booking, at(120)), [60]);
        booking.warned = vec![60];
        assert_eq!(next_due(&booking, at(120), at(1000)), Some(at(165)));
        // Whoever was away for two of them gets both counted.
        assert_eq!(warnings_due(&booking, at(176)), [15, 5]);
        booking.warned = vec![60, 15, 5];
        assert_eq!(next_due(&booking, at(176), at(1000)), Some(at(180)));
        booking.window = Window::new(at(0), at(240)).unwrap();
        forget_warnings(&mut booking, at(176));
        assert!(booking.warned.is_empty(), "with an hour more, all of them come again");
        assert_eq!(next_due(&booking, at(176), at(1000)), Some(at(180)));
    }

    #[test]
    fn a_short_booking_is_not_warned_of_what_never_was() {
        assert_eq!(next_due(&active(0, 10), at(0), at(1000)), Some(at(5)));
        assert_eq!(next_due(&active(0, 4), at(0), at(1000)), Some(at(4)));
    }

    #[test]
    fn midnight_comes_between() {
        assert_eq!(next_due(&active(0, 600), at(0), at(100)), Some(at(100)));
        assert_eq!(next_due(&active(0, 90), at(89), at(100)), Some(at(90)));
    }

    #[test]
    fn a_start_is_explained_before_it_is_given_up() {
        let mut booking = booking(BookingState::Starting { since: at(0), late: None });
        booking.window = Window::new(at(0), at(60)).unwrap();
        assert_eq!(next_due(&booking, at(0), at(1000)), Some(Instant::from_seconds(30)));
        booking.state = BookingState::Starting { since: at(0), late: Some("slow".to_owned()) };
        assert_eq!(next_due(&booking, at(1), at(1000)), Some(at(5)));
        booking.window = Window::new(at(0), at(2)).unwrap();
        assert_eq!(next_due(&booking, at(1), at(1000)), Some(at(2)), "a short booking gives up at its end");
    }
}
