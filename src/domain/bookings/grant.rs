//! What is billed of a lease: the time the server granted, where it meets the time the node attests. A node reports
//! lengths by its own boot clock; here they become instants of the mill. It refuses to bill a second that was not granted,
//! not attested, or not over.
use crate::base::window::{Instant, Span, Window};

/// Since when a lease counts as ready, when the node says at `now` that it has been for `elapsed`.
pub fn ready_since(granted: Window, elapsed: Span, now: Instant) -> Instant {
    let claimed = now.minus(positive(elapsed));
    claimed.clamp(granted.start(), granted.end())
}

/// When a lease ended that was ready since `ready`: the node says at `now` that it ran for `elapsed` and that it has been
/// over for `ago`. Whichever of the two claims is the earlier one holds.
pub fn ended_at(ready: Instant, elapsed: Span, ago: Span, now: Instant) -> Instant {
    let by_length = ready.plus(positive(elapsed));
    let by_age = now.minus(positive(ago));
    by_length.min(by_age).max(ready)
}

/// The delivered stretch, in whole seconds: what is not a full second is not billed. `None` when nothing is left.
pub fn delivered(granted: Window, ready: Option<Instant>, until: Instant) -> Option<Window> {
    let attested = Window::new(ready?, until).ok()?;
    let both = granted.intersection(attested)?;
    let seconds = Span::from_seconds(both.span().as_seconds());
    Window::lasting(both.start(), seconds).ok()
}

fn positive(span: Span) -> Span {
    Span::from_millis(span.as_millis().max(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Instant {
        Instant::from_seconds(seconds)
    }

    fn window(start: i64, end: i64) -> Window {
        Window::new(at(start), at(end)).unwrap()
    }

    #[test]
    fn only_granted_and_attested_whole_seconds() {
        let granted = window(100, 200);
        assert_eq!(delivered(granted, Some(at(110)), at(150)), Some(window(110, 150)));
        assert_eq!(delivered(granted, Some(at(50)), at(900)), Some(granted));
        assert_eq!(delivered(granted, None, at(150)), None);
        assert_eq!(delivered(granted, Some(at(250)), at(300)), None);
        let ready = Instant::from_millis(110_400);
        assert_eq!(delivered(granted, Some(ready), at(112)).unwrap().span(), Span::from_seconds(1));
        assert_eq!(delivered(granted, Some(ready), at(111)), None);
    }

    #[test]
    fn claims_are_bounded_by_what_can_be() {
        let granted = window(100, 200);
        assert_eq!(ready_since(granted, Span::from_hours(9), at(150)), at(100));
        assert_eq!(ready_since(granted, Span::from_seconds(-5), at(150)), at(150));
        assert_eq!(ended_at(at(110), Span::from_seconds(500), Span::from_seconds(10), at(150)), at(140));
        assert_eq!(ended_at(at(110), Span::from_seconds(5), Span::ZERO, at(150)), at(115));
        assert_eq!(ended_at(at(110), Span::from_seconds(-5), Span::from_hours(9), at(150)), at(110));
    }

    proptest! {
        /// Whatever a node claims, the bill stays inside the granted time and the present.
        #[test]
        fn no_claim_bills_more_than_was_granted(
            start in 0i64..1000, length in 1i64..1000, now in 0i64..4000,
            elapsed in any::<i64>(), ended in any::<i64>(), ago in any::<i64>(),
        ) {
            let granted = Window::lasting(at(start), Span::from_seconds(length)).unwrap();
            let ready = ready_since(granted, Span::from_millis(elapsed), at(now));
            let over = ended_at(ready, Span::from_millis(ended), Span::from_millis(ago), at(now));
            if let Some(billed) = delivered(granted, Some(ready), over) {
                prop_assert!(billed.start() >= granted.start() && billed.end() <= granted.end());
                prop_assert!(billed.end() <= at(now));
                prop_assert_eq!(billed.span().as_millis() % 1000, 0);
            }
        }
    }
}
