//! Why a booking waits, in words.
use super::*;
use crate::base::credits::Credits;
use crate::domain::bookings::transition::tests::booking;

fn said(state: BookingState, away: bool) -> String {
    let now = Instant::from_seconds(50);
    let away = away.then(|| ("mill-1".to_owned(), Instant::from_seconds(40)));
    explain(&booking(state), &Nodes { names: vec!["mill-1".to_owned()], away }, now, &TimeZone::UTC)
}

#[test]
fn every_state_is_explained_in_full_sentences() {
    let since = Instant::from_seconds(5);
    let states = [
        BookingState::Booked,
        BookingState::Starting { since, late: None },
        BookingState::Starting { since, late: Some("The home is large and takes long to mount.".to_owned()) },
        BookingState::Active { since },
        BookingState::Ending { since, cause: EndCause::TimeUp },
        BookingState::Ended { at: since, cause: EndCause::Finished, exit: Some(Exit::Code(3)), cost: Credits::ZERO },
        BookingState::Cancelled { at: since },
        BookingState::Failed { at: since, why: "no driver".to_owned(), cost: Credits::ZERO },
    ];
    for state in states {
        for away in [false, true] {
            let text = said(state.clone(), away);
            assert!(text.ends_with('.') && text.starts_with(|c: char| c.is_uppercase() || c == 'm'), "{text}");
            assert!(!text.contains(".."), "{text}");
        }
    }
}

#[test]
fn a_node_that_is_away_is_named() {
    let since = Instant::from_seconds(5);
    for state in [
        BookingState::Booked,
        BookingState::Starting { since, late: None },
        BookingState::Active { since },
        BookingState::Ending { since, cause: EndCause::TimeUp },
    ] {
        assert!(said(state, true).contains("mill-1 is"), "it says that the node is away");
    }
}

#[test]
fn only_what_works_is_offered() {
    let since = Instant::from_seconds(5);
    let active = booking(BookingState::Active { since });
    assert_eq!(allowed(&active, true, true), ["extend", "release", "attach", "logs"]);
    assert_eq!(allowed(&active, true, false), ["extend", "release"]);
    assert!(allowed(&booking(BookingState::Cancelled { at: since }), true, true).is_empty());
}
