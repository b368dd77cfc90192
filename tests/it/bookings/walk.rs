//! Random lives: people, nodes and the clock do whatever they like, in any order; nothing may break, clash, overlap or be
//! lost, and the books must add up after every life.
use gristmill::app::bookings::{change, place, show};
use gristmill::app::error::AppError;
use gristmill::base::window::Span;
use gristmill::domain::people::installation::Mode;
use gristmill::wire::api::bookings::{BookingView, ExtendRequest};
use gristmill::wire::node::{FactCause, FactState, LeaseFact};

use super::yard::{Clock, Yard, at, clock, soon};

/// A small generator: every run takes the same walks.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn signed(&mut self, limit: u64) -> i64 {
        i64::try_from(self.below(limit)).unwrap()
    }
}

/// Rules may refuse; the store may not have to.
fn allowed<T>(answer: Result<T, AppError>) {
    if let Err(error) = answer {
        assert!(matches!(error, AppError::Refused(_)), "{error:?}");
    }
}

fn fact(dice: &mut Dice, booking: &BookingView) -> LeaseFact {
    let lease = &booking.leases[0];
    let spans = [0, 1, 700, 3_000, 40_000, 5_000_000, -400].map(Span::from_millis);
    let mut span = || spans[usize::try_from(dice.below(7)).unwrap()];
    let (elapsed, ago) = (span(), span());
    let causes = [FactCause::TimeUp, FactCause::Finished, FactCause::Stopped, FactCause::Lost];
    let cause = causes[usize::try_from(dice.below(4)).unwrap()];
    let state = match dice.below(9) {
        0 => FactState::Waiting,
        1 => FactState::Preparing,
        2..=5 => FactState::Ready { elapsed },
        6 => FactState::Stopping { elapsed },
        7 => FactState::Ended { elapsed, ago, code: Some(1), signal: None, cause },
        _ => FactState::Failed { why: "it would not".to_owned() },
    };
    let revision = u32::try_from(dice.below(4)).unwrap();
    LeaseFact { lease: lease.id, attempt: lease.attempt, revision, state, lacking: Vec::new() }
}

async fn step(yard: &Yard, dice: &mut Dice) {
    let now = yard.now();
    let filter = show::Filter { limit: Some(40), ..show::Filter::default() };
    let all = show::list(&yard.mill, &yard.ada, &filter, now).unwrap();
    let any = |dice: &mut Dice| (!all.is_empty()).then(|| &all[usize::try_from(dice.below(all.len() as u64)).unwrap()]);
    match dice.below(16) {
        0..=2 => {
            let mut request = soon(1 + dice.below(2), 1);
            request.duration_seconds = 1 + dice.signed(30_000);
            allowed(place::book(&yard.mill, &yard.ada, request, None, now).await);
        }
        3 => {
            let hour = dice.signed(80);
            allowed(yard.book(&yard.ada, at(1, hour, 1 + dice.signed(9))).await);
        }
        4 => {
            let Some(booking) = any(dice) else { return };
            let by_seconds = dice.signed(9000) - 10;
            allowed(change::extend(&yard.mill, &yard.ada, booking.id, ExtendRequest { by_seconds }, None, now).await);
        }
        5 => {
            let Some(booking) = any(dice) else { return };
            allowed(yard.release(booking.id).await);
        }
        6 => {
            let Some(booking) = any(dice) else { return };
            allowed(yard.cancel(booking.id).await);
        }
        7..=11 => {
            let Some(booking) = any(dice) else { return };
            let fact = fact(dice, booking);
            yard.facts(booking.leases[0].node, vec![fact], dice.below(6) == 0).await;
        }
        12 => {
            let Some(booking) = any(dice) else { return };
            let back = dice.below(3) > 0;
            yard.connected(booking.leases[0].node, back).await;
        }
        13 => yard.pass(Span::from_millis(dice.signed(100_000))).await,
        14 => yard.pass(Span::from_minutes(dice.signed(300))).await,
        _ => yard.pass(Span::from_hours(dice.signed(30))).await,
    }
}

async fn walk(clock: Clock, seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let yard = Yard::new(clock, Mode::Showback, &[2, 1]).await;
    for _ in 0..120 {
        step(&yard, &mut dice).await;
    }
    yard.verify();
    // In the end, time resolves everything: nothing stays held and nobody waits for ever.
    yard.pass(Span::from_days(40)).await;
    let filter = show::Filter { live: true, ..show::Filter::default() };
    let live = show::list(&yard.mill, &yard.ada, &filter, yard.now()).unwrap();
    assert!(live.is_empty(), "seed {seed}: {live:#?}");
    assert!(yard.balance().held.is_zero(), "seed {seed}");
    yard.verify();
}

#[tokio::test]
async fn whatever_happens_the_books_and_the_calendar_hold() {
    let clock = clock!();
    for seed in 1..=20 {
        walk(clock, seed).await;
    }
}
