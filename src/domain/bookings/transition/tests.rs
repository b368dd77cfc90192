//! Every state meets every action.
use super::*;
use crate::base::hardware::Share;
use crate::base::ids::{BookingId, MemberId, TeamId};
use crate::domain::bookings::booking::{Ask, AskShape, RatePin, When, Workload};

fn at(seconds: i64) -> Instant {
    Instant::from_seconds(seconds)
}

/// A booking of [0 s, 100 s) in the given state.
pub(crate) fn booking(state: State) -> Booking {
    let window = Window::new(at(0), at(100)).unwrap();
    Booking {
        id: BookingId::from_u128(1),
        team: TeamId::from_u128(2),
        member: MemberId::from_u128(3),
        ask: Ask {
            model: None,
            gpus: 1,
            shape: AskShape::OneNode,
            when: When::At { window },
            workload: Workload::Workspace,
            title: "Try".to_owned(),
        },
        window,
        share: Share::default(),
        held: Credits::ZERO,
        rate: RatePin { model: "H200".to_owned(), version: 1, per_gpu_hour: Credits::ZERO },
        leases: Vec::new(),
        attempt: 1,
        state,
        created: at(0),
        warned: Vec::new(),
        due: None,
    }
}

fn states() -> Vec<State> {
    let (since, cost) = (at(5), Credits::ZERO);
    vec![
        State::Booked,
        State::Starting { since, late: None },
        State::Active { since },
        State::Ending { since, cause: EndCause::Released },
        State::Ended { at: since, cause: EndCause::TimeUp, exit: None, cost },
        State::Cancelled { at: since },
        State::Failed { at: since, why: "x".to_owned(), cost },
    ]
}

type Action = (&'static str, fn(Booking) -> Step);

fn over(delivered: bool) -> Over {
    Over { at: at(9), cause: EndCause::Finished, exit: None, cost: Credits::ZERO, delivered }
}

const ACTIONS: [Action; 9] = [
    ("start", |b| start(b, at(9))),
    ("late", |b| late(b, "slow".to_owned())),
    ("hand_over", |b| hand_over(b, at(9))),
    ("extend", |b| extend(b, at(200))),
    ("release", |b| release(b, at(9))),
    ("cancel", |b| cancel(b, at(9))),
    ("stop", |b| stop(b, at(9), EndCause::Stopped)),
    ("end", |b| end(b, over(true))),
    ("fail", |b| fail(b, at(9), "broken".to_owned(), Credits::ZERO)),
];

/// Rows: states. Columns: actions. `-` is refused.
const TABLE: &str = "
           start    late     hand_over extend   release cancel    stop   end   fail
booked     starting -        -         booked   -       cancelled -      -     failed
starting   -        starting active    starting ending  ending    ending -     failed
active     -        -        -         active   ending  -         ending ended -
ending     -        -        -         -        -       -         -      ended failed
ended      -        -        -         -        -       -         -      -     -
cancelled  -        -        -         -        -       -         -      -     -
failed     -        -        -         -        -       -         -      -     -
";

#[test]
fn every_state_meets_every_action() {
    let mut rows = TABLE.trim().lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let head = rows.next().unwrap();
    assert_eq!(head, ACTIONS.map(|(name, _)| name));
    let rows: Vec<_> = rows.collect();
    assert_eq!(rows.len(), states().len());
    for (row, state) in rows.iter().zip(states()) {
        assert_eq!(row[0], state.word());
        for (expected, (name, act)) in row[1..].iter().zip(ACTIONS) {
            let before = booking(state.clone());
            let got = act(before.clone());
            match got {
                Ok(after) => {
                    assert_eq!(*expected, after.state.word(), "{name} in {}", row[0]);
                    assert_eq!((after.id, after.leases, after.held), (before.id, before.leases, before.held));
                }
                Err(refusal) => {
                    assert_eq!(*expected, "-", "{name} in {}: {refusal:?}", row[0]);
                    assert!(matches!(refusal.why, Why::WrongState { state, .. } if state == row[0]));
                }
            }
        }
    }
}

#[test]
fn what_was_never_handed_over_is_cancelled_and_not_ended() {
    let ending = booking(State::Ending { since: at(5), cause: EndCause::Released });
    assert_eq!(end(ending.clone(), over(false)).unwrap().state, State::Cancelled { at: at(9) });
    // What a booking was told to end for stays its cause, whatever the node says.
    let ended = end(ending, over(true)).unwrap().state;
    assert!(matches!(ended, State::Ended { cause: EndCause::Released, .. }));
}

#[test]
fn an_extension_only_ever_adds() {
    let active = booking(State::Active { since: at(0) });
    assert_eq!(extend(active.clone(), at(101)).unwrap().window.end(), at(101));
    assert!(extend(active.clone(), at(100)).is_err() && extend(active, at(-5)).is_err());
}
