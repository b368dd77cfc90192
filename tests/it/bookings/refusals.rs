//! What cannot be booked, and what is said instead.
use gristmill::app::bookings::{change, show};
use gristmill::base::ids::BookingId;
use gristmill::base::window::{Instant, Span};
use gristmill::domain::people::installation::Mode;
use gristmill::domain::people::rights::Actor;
use gristmill::wire::api::bookings::BookRequest;

use super::yard::{Yard, at, clock, code, soon};

#[tokio::test]
async fn bad_requests_say_what_is_wrong() {
    let yard = Yard::new(clock!(), Mode::Showback, &[4, 2]).await;
    let start = yard.now();
    let by = |hours: i64| Some(start.plus(Span::from_hours(hours)).into());
    let cases: Vec<(&str, BookRequest)> = vec![
        ("no_gpus", soon(0, 1)),
        ("too_many_gpus", soon(5, 1)),
        ("too_many_gpus", soon(1_000_000, 1)),
        ("too_many_gpus", soon(u64::MAX, 1)),
        ("unknown_model", BookRequest { model: Some("T4".into()), ..soon(1, 1) }),
        ("no_duration", soon(1, 0)),
        ("no_duration", soon(1, -3)),
        ("no_duration", BookRequest { duration_seconds: i64::MIN, ..soon(1, 1) }),
        ("too_long", BookRequest { duration_seconds: i64::MAX, ..soon(1, 1) }),
        ("too_long", soon(1, 7 * 24 + 1)),
        ("past_window", at(1, -1, 1)),
        ("beyond_horizon", at(1, 29 * 24, 1)),
        ("past_window", BookRequest { by: by(-1), ..soon(1, 1) }),
        ("not_before_deadline", BookRequest { by: by(1), ..soon(1, 2) }),
        ("bad_field", BookRequest { by: by(2), ..at(1, 1, 2) }),
        ("no_team", BookRequest { team: Some("Speech".into()), ..soon(1, 1) }),
        ("empty_command", BookRequest { command: Some(vec![]), ..soon(1, 1) }),
        ("bad_field", BookRequest { command: Some(vec!["a\0b".into()]), ..soon(1, 1) }),
        ("bad_field", BookRequest { title: Some("x".repeat(121)), ..soon(1, 1) }),
    ];
    for (expected, request) in cases {
        let refused = yard.book(&yard.ada, request.clone()).await.unwrap_err();
        assert_eq!(code(&refused), expected, "{request:?}");
    }
    yard.verify();
    assert!(yard.balance().held.is_zero(), "nothing of it was held");
    // A model is found whatever its case, a team too.
    let request = BookRequest { model: Some("h200".into()), team: Some("vision".into()), ..soon(1, 1) };
    yard.book(&yard.ada, request).await.unwrap();
}

#[tokio::test]
async fn an_instant_beyond_all_calendars_is_refused_and_not_computed() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    for millis in [i64::MIN, i64::MAX, 0] {
        let request = BookRequest { at: Some(Instant::from_millis(millis).into()), ..soon(1, 1) };
        assert!(yard.book(&yard.ada, request).await.is_err());
    }
}

#[tokio::test]
async fn without_nodes_the_next_step_is_to_let_one_join() {
    let yard = Yard::new(clock!(), Mode::Showback, &[]).await;
    assert_eq!(code(&yard.book(&yard.ada, soon(1, 1)).await.unwrap_err()), "no_nodes");
}

#[tokio::test]
async fn the_team_is_asked_for_only_where_there_are_several() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let nobody = Actor { memberships: Vec::new(), ..yard.ada.clone() };
    assert_eq!(code(&yard.book(&nobody, soon(1, 1)).await.unwrap_err()), "no_team");
    let mut memberships = yard.ada.memberships.clone();
    memberships.extend(yard.stranger.memberships.clone());
    let both = Actor { memberships, ..yard.ada.clone() };
    let refused = yard.book(&both, soon(1, 1)).await.unwrap_err();
    assert_eq!(code(&refused), "no_team");
    assert!(refused.to_string().contains("Vision, Speech"), "{refused}");
}

/// A stranger's booking and one that never was answer alike.
#[tokio::test]
async fn strangers_learn_nothing() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let booking = yard.book(&yard.ada, soon(1, 1)).await.unwrap().id;
    let mut answers = Vec::new();
    for id in [booking, BookingId::from_u128(7)] {
        let seen = show::show(&yard.mill, &yard.stranger, id, yard.now()).unwrap_err().to_string();
        let changed = change::cancel(&yard.mill, &yard.stranger, id, None, yard.now()).await.unwrap_err().to_string();
        answers.push((seen, changed));
    }
    assert_eq!(answers[0], answers[1]);
    assert!(answers[0].0.starts_with("There is no such booking."));
}
