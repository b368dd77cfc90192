//! Bookings from the request to the last word of the node, against a real store in memory.
mod care;
mod health;
mod mig;
mod refusals;
mod silence;
mod walk;
pub mod yard;

use futures_util::future::join_all;
use gristmill::app::bookings::{change, place, show, timeline};
use gristmill::base::credits::Credits;
use gristmill::base::window::{Instant, Span};
use gristmill::domain::people::installation::Mode;
use gristmill::store::IdempotencyKey;
use gristmill::wire::api::bookings::ExtendRequest;
use gristmill::wire::node::{FactCause, FactState, LeaseFact};
use yard::{START, Yard, at, clock, code, offer, price, soon};

fn ended(seconds: i64, ago: i64, exit: Option<i32>, cause: FactCause) -> FactState {
    let (elapsed, ago) = (Span::from_seconds(seconds), Span::from_seconds(ago));
    FactState::Ended { elapsed, ago, code: exit, signal: None, cause }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_people_race_for_four_gpus() {
    let yard = Yard::new(clock!(), Mode::Showback, &[4]).await;
    let racing = (0..50).map(|_| {
        let (mill, actor, now) = (yard.mill.clone(), yard.ada.clone(), yard.now());
        tokio::spawn(async move { place::book(&mill, &actor, at(1, 2, 3), None, now).await })
    });
    let outcomes: Vec<_> = join_all(racing).await.into_iter().map(Result::unwrap).collect();
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (4, 46));
    for error in lost.into_iter().map(Result::unwrap_err) {
        assert_eq!(code(&error), "slot_taken");
        // The nearest slot is after the turnaround of those who were faster.
        assert_eq!(offer(&error)["start"], "2026-11-23T13:01:00Z");
    }
    yard.verify();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn as_soon_as_possible_queues_behind_those_who_were_faster() {
    let yard = Yard::new(clock!(), Mode::Showback, &[2]).await;
    let racing = (0..10).map(|_| {
        let (mill, actor, now) = (yard.mill.clone(), yard.ada.clone(), yard.now());
        tokio::spawn(async move { place::book(&mill, &actor, soon(1, 1), None, now).await.unwrap().start.0 })
    });
    let mut starts: Vec<_> = join_all(racing).await.into_iter().map(Result::unwrap).collect();
    starts.sort_unstable();
    // Two at a time, one after the other, with a minute's turnaround between.
    let expected = (0..10).map(|n| Instant::from_millis(START).plus(Span::from_seconds(n / 2 * 3660)));
    assert_eq!(starts, expected.collect::<Vec<_>>());
    yard.verify();
}

#[tokio::test]
async fn the_same_key_books_once() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let key = || Some(IdempotencyKey::new("form-7").unwrap());
    let first = place::book(&yard.mill, &yard.ada, at(1, 1, 1), key(), yard.now()).await.unwrap();
    // Sent again it gets its answer, although its slot is taken by now: by itself.
    let second = place::book(&yard.mill, &yard.ada, at(1, 1, 1), key(), yard.now()).await.unwrap();
    assert_eq!(first.id, second.id);
    let other = place::book(&yard.mill, &yard.ada, at(1, 3, 1), key(), yard.now()).await.unwrap_err();
    assert_eq!(code(&other), "idempotency_key_reused");
    assert_eq!(yard.balance().held, price(3600));
    yard.verify();
}

#[tokio::test]
async fn a_booking_lives_from_quote_to_settlement() {
    let yard = Yard::new(clock!(), Mode::Showback, &[4]).await;
    let quote = place::quote(&yard.mill, &yard.ada, &at(2, 1, 3), yard.now()).unwrap();
    assert_eq!((quote.price.credits(), quote.gpus, quote.model.as_str()), (price(2 * 3 * 3600), 2, "H200"));
    assert_eq!((quote.share.cpu_millis, quote.share.memory_bytes), (16_000, 2 << 36), "half of the node");
    let booking = yard.book(&yard.ada, at(2, 1, 3)).await.unwrap();
    assert_eq!((booking.state.as_str(), booking.price.clone(), booking.share), ("booked", quote.price, quote.share));
    assert_eq!(yard.balance().held, price(2 * 3 * 3600));
    let node = booking.leases[0].node;
    let desired = yard.desired(node);
    assert!(desired.len() == 1 && desired[0].run && desired[0].gpus.len() == 2);
    yard.report(&booking, FactState::Waiting).await;
    yard.pass(Span::from_hours(1)).await;
    assert_eq!(yard.show(booking.id).state, "starting");
    yard.pass_seconds(10).await;
    yard.ready(&booking).await;
    let active = yard.show(booking.id);
    assert_eq!(
        (active.state.as_str(), active.allowed.clone()),
        ("active", vec!["extend", "release", "attach", "logs"].into_iter().map(str::to_owned).collect())
    );
    yard.pass(Span::from_hours(3)).await;
    assert_eq!(yard.show(booking.id).state, "ending");
    assert!(!yard.desired(node)[0].run);
    yard.report(&booking, ended(3 * 3600 - 10, 10, None, FactCause::TimeUp)).await;
    let over = yard.show(booking.id);
    assert_eq!((over.state.as_str(), over.cause.as_deref()), ("ended", Some("time_up")));
    // The ten seconds until it was ready cost nothing.
    let cost = price(2 * (3 * 3600 - 10));
    assert_eq!(over.cost.unwrap().credits(), cost);
    assert_eq!((yard.balance().held, yard.balance().posted), (Credits::ZERO, cost.negated()));
    assert!(yard.desired(node).is_empty());
    yard.verify();
}

#[tokio::test]
async fn a_short_command_is_billed_by_what_it_ran_and_frees_the_rest() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let mut request = soon(1, 2);
    request.command = Some(vec!["sh".into(), "-c".into(), "echo hello; exit 3".into()]);
    let booking = yard.book(&yard.ada, request).await.unwrap();
    assert_eq!(booking.workload, "batch");
    yard.pass_seconds(30).await;
    // Nobody ever heard that it was ready.
    yard.report(&booking, ended(20, 5, Some(3), FactCause::Finished)).await;
    let over = yard.show(booking.id);
    assert_eq!((over.state.as_str(), over.cause.as_deref(), over.exit_code), ("ended", Some("finished"), Some(3)));
    assert_eq!(over.cost.unwrap().credits(), price(20));
    let next = place::quote(&yard.mill, &yard.bo, &soon(1, 1), yard.now()).unwrap();
    assert_eq!(next.start.0, Instant::from_millis(START).plus(Span::from_seconds(25 + 60)), "after its turnaround");
    yard.verify();
}

#[tokio::test]
async fn a_command_that_is_done_at_once_has_run() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let mut request = soon(1, 1);
    request.command = Some(vec!["true".into()]);
    let booking = yard.book(&yard.ada, request).await.unwrap();
    yard.pass_seconds(1).await;
    yard.report(&booking, ended(0, 0, Some(0), FactCause::Finished)).await;
    let over = yard.show(booking.id);
    assert_eq!((over.state.as_str(), over.exit_code, over.cost.unwrap().micros), ("ended", Some(0), 0));
    yard.verify();
}

#[tokio::test]
async fn extension_adds_time_until_somebody_is_next() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let booking = yard.book(&yard.ada, at(1, 0, 2)).await.unwrap();
    yard.book(&yard.bo, at(1, 4, 1)).await.unwrap();
    let refused = yard.extend(booking.id, 2 * 3600).await.unwrap_err();
    assert_eq!((code(&refused), &offer(&refused)["end"]), ("cannot_extend", &"2026-11-23T11:59:00Z".into()));
    assert_eq!(yard.balance().held, price(3 * 3600), "nothing of the refused extension is held");
    let longer = yard.extend(booking.id, 2 * 3600 - 60).await.unwrap();
    assert_eq!(longer.price.credits(), price(4 * 3600 - 60));
    let desired = yard.desired(longer.leases[0].node);
    assert_eq!((desired[0].end, desired[0].revision), (longer.end.0, 2));
    assert_eq!(code(&yard.extend(booking.id, 8 * 86_400).await.unwrap_err()), "too_long");
    assert_eq!(code(&yard.extend(booking.id, 0).await.unwrap_err()), "no_duration");
    yard.verify();
}

#[tokio::test]
async fn release_frees_the_calendar_at_once_and_refunds() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let booking = yard.book(&yard.ada, soon(1, 5)).await.unwrap();
    yard.pass_seconds(0).await;
    yard.ready(&booking).await;
    yard.pass(Span::from_hours(1)).await;
    assert_eq!(yard.release(booking.id).await.unwrap().state, "ending");
    let lease = &yard.desired(booking.leases[0].node)[0];
    assert!(!lease.run && lease.end.since(yard.now()) == Span::from_seconds(30), "it still has its grace");
    // Free for others after grace and turnaround, before the node has confirmed.
    let next = place::quote(&yard.mill, &yard.bo, &soon(1, 1), yard.now()).unwrap();
    assert_eq!(next.start.0, yard.now().plus(Span::from_seconds(90)));
    yard.pass_seconds(20).await;
    yard.report(&booking, ended(3620, 0, None, FactCause::Stopped)).await;
    let over = yard.show(booking.id);
    assert_eq!((over.state.as_str(), over.cause.as_deref()), ("ended", Some("released")));
    assert_eq!(over.cost.unwrap().credits(), price(3600), "the time it took to stop is not billed");
    assert_eq!(yard.balance().held, Credits::ZERO);
    assert_eq!(code(&yard.release(booking.id).await.unwrap_err()), "wrong_state");
    yard.verify();
}

#[tokio::test]
async fn cancelling_before_the_start_voids_everything() {
    let yard = Yard::new(clock!(), Mode::Chargeback, &[1]).await;
    let poor = yard.book(&yard.ada, at(1, 1, 1)).await.unwrap_err();
    assert_eq!(code(&poor), "not_enough_credits");
    yard.verify();
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let booking = yard.book(&yard.ada, at(1, 1, 1)).await.unwrap();
    let gone = yard.cancel(booking.id).await.unwrap();
    assert_eq!((gone.state.as_str(), gone.cost.unwrap().micros), ("cancelled", 0));
    assert_eq!((yard.balance().held, yard.balance().posted), (Credits::ZERO, Credits::ZERO));
    assert!(yard.desired(booking.leases[0].node).is_empty());
    yard.book(&yard.bo, at(1, 1, 1)).await.unwrap();
    // While its nodes prepare, it is taken back from them first, and still costs nothing.
    let starting = yard.book(&yard.ada, at(1, 3, 1)).await.unwrap();
    yard.pass(Span::from_hours(3)).await;
    assert_eq!(yard.cancel(starting.id).await.unwrap().state, "ending");
    yard.report(&starting, ended(0, 0, None, FactCause::Stopped)).await;
    assert_eq!(yard.show(starting.id).state, "cancelled");
    yard.verify();
}

#[tokio::test]
async fn facts_that_are_late_or_anothers_change_nothing() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1, 1]).await;
    let booking = yard.book(&yard.ada, soon(1, 1)).await.unwrap();
    let other = yard.book(&yard.bo, soon(1, 1)).await.unwrap();
    yard.pass_seconds(0).await;
    let (lease, evil) = (&booking.leases[0], other.leases[0].node);
    assert_ne!(lease.node, evil, "two nodes");
    let over = ended(3600, 0, Some(0), FactCause::Finished);
    let fact = |attempt, state: &FactState| LeaseFact {
        lease: lease.id,
        attempt,
        revision: 1,
        state: state.clone(),
        lacking: Vec::new(),
    };
    yard.facts(evil, vec![fact(1, &over)], true).await;
    yard.facts(lease.node, vec![fact(0, &over), fact(2, &over)], false).await;
    assert_eq!(yard.show(booking.id).state, "starting");
    yard.ready(&booking).await;
    yard.pass_seconds(60).await;
    yard.report(&booking, ended(60, 0, Some(0), FactCause::Finished)).await;
    let settled = yard.show(booking.id);
    assert_eq!(settled.cost.as_ref().unwrap().credits(), price(60));
    // What it says afterwards raises no bill.
    yard.report(&booking, over).await;
    yard.report(&booking, FactState::Ready { elapsed: Span::from_hours(1) }).await;
    assert_eq!(yard.show(booking.id).cost, settled.cost);
    // An acknowledged revision never runs ahead of the one that was sent.
    let mut ahead = fact(1, &FactState::Preparing);
    (ahead.lease, ahead.revision) = (other.leases[0].id, 900);
    yard.facts(evil, vec![ahead], false).await;
    yard.verify();
}

#[tokio::test]
async fn warnings_come_at_60_15_and_5_minutes_and_again_after_an_extension() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let booking = yard.book(&yard.ada, soon(1, 2)).await.unwrap();
    yard.pass_seconds(0).await;
    yard.ready(&booking).await;
    let told = || {
        let view = yard.mill.store.read().unwrap();
        let notices = gristmill::app::people::notices::list(&view, yard.ada.member).unwrap();
        notices.iter().filter(|notice| notice.subject.contains("ends in")).count()
    };
    yard.pass(Span::from_minutes(59)).await;
    assert_eq!(told(), 0);
    yard.pass(Span::from_minutes(1)).await;
    assert_eq!(told(), 1);
    yard.pass(Span::from_minutes(56)).await;
    assert_eq!(told(), 3);
    yard.extend(booking.id, 2 * 3600).await.unwrap();
    yard.pass(Span::from_minutes(64)).await;
    assert_eq!(told(), 4);
    yard.verify();
}

#[tokio::test]
async fn a_booking_over_midnight_is_settled_day_by_day() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let booking = yard.book(&yard.ada, soon(1, 40)).await.unwrap();
    yard.pass_seconds(0).await;
    yard.ready(&booking).await;
    yard.pass(Span::from_hours(15)).await;
    assert_eq!(yard.balance().posted, Credits::ZERO);
    yard.pass(Span::from_hours(1)).await;
    assert_eq!(yard.balance().posted, Credits::ZERO, "nobody has said yet that it ran until midnight");
    yard.connected(booking.leases[0].node, true).await;
    yard.pass_seconds(11).await;
    assert_eq!(yard.balance().posted, price(16 * 3600).negated(), "at the first midnight");
    assert_eq!(yard.balance().held, price(24 * 3600));
    yard.pass(Span::from_hours(4)).await;
    yard.release(booking.id).await.unwrap();
    yard.report(&booking, ended(20 * 3600, 0, None, FactCause::Stopped)).await;
    assert_eq!(yard.show(booking.id).cost.unwrap().credits(), price(20 * 3600));
    assert_eq!((yard.balance().posted, yard.balance().held), (price(20 * 3600).negated(), Credits::ZERO));
    yard.verify();
}

#[tokio::test]
async fn the_calendar_tells_each_reader_what_is_theirs_to_know() {
    let yard = Yard::new(clock!(), Mode::Showback, &[2]).await;
    let mut request = at(1, 1, 2);
    request.title = Some("llama finetune".to_owned());
    let booking = yard.book(&yard.ada, request).await.unwrap();
    let (from, until) = (yard.now(), yard.now().plus(Span::from_days(1)));
    let seen = |who| {
        let calendar = timeline::calendar(&yard.mill, who, from, until, yard.now()).unwrap();
        assert_eq!((calendar.free_now, calendar.total), (2, 2));
        let busy: Vec<_> = calendar.nodes[0].units.iter().flat_map(|unit| unit.busy.clone()).collect();
        assert_eq!(busy.len(), 1);
        (busy[0].label.clone(), busy[0].mine, busy[0].booking)
    };
    assert_eq!(seen(&yard.ada), ("llama finetune".to_owned(), true, Some(booking.id)));
    assert_eq!(seen(&yard.bo), ("llama finetune".to_owned(), false, Some(booking.id)));
    assert_eq!(seen(&yard.stranger), ("Vision".to_owned(), false, None));
    assert!(timeline::calendar(&yard.mill, &yard.ada, until, from, yard.now()).is_err());
    let list = |who, mine| {
        let filter = show::Filter { mine, live: true, ..show::Filter::default() };
        show::list(&yard.mill, who, &filter, yard.now()).unwrap().len()
    };
    assert_eq!((list(&yard.ada, true), list(&yard.bo, false), list(&yard.bo, true)), (1, 1, 0));
    assert_eq!(list(&yard.stranger, false), 0);
    let by = ExtendRequest { by_seconds: 60 };
    let not_yours = change::extend(&yard.mill, &yard.bo, booking.id, by, None, yard.now()).await.unwrap_err();
    assert_eq!(code(&not_yours), "not_yours");
}
