//! The writer as its callers meet it: group commit, idempotency, culprits, order, events, time.
use std::sync::atomic::{AtomicI64, Ordering};

use gristmill::base::ids::{LeaseId, NodeId, UnitId};
use gristmill::base::window::{Instant, Span, Window};
use gristmill::domain::event::{Cause, Event};
use gristmill::domain::notice::Common;
use gristmill::store::events::{Cursor, cursor, events_after, last_event};
use gristmill::store::{Changes, Command, IdempotencyKey, Order, Read, Reject, Store, StoreError, WriteError};

static CLOCK: AtomicI64 = AtomicI64::new(1_000);

fn clock() -> Instant {
    Instant::from_millis(CLOCK.load(Ordering::Relaxed))
}

fn put(name: &str, seq: u64) -> Changes {
    let mut changes = Changes::new();
    changes.put(&Cursor { name: name.to_owned(), seq });
    changes
}

fn mill() -> Command {
    Command::new(Cause::Mill)
}

fn keyed(text: &str, digest: u8) -> Command {
    mill().keyed(IdempotencyKey::new(text).unwrap(), [digest; 32])
}

fn hour(start: i64) -> Window {
    Window::lasting(Instant::from_seconds(start), Span::from_hours(1)).unwrap()
}

fn count_up(store: &Store) -> Result<u64, WriteError> {
    store.write_blocking(mill(), |view, _| {
        let next = cursor(view, "counter")? + 1;
        let mut changes = put("counter", next);
        changes.event(Cause::Mill, Event::BackupMade);
        Ok((changes, next))
    })
}

#[test]
fn sixty_four_threads_see_each_other_in_the_batch() {
    let store = Store::memory(clock);
    let mut events = store.subscribe();
    let threads: Vec<_> = (0..64)
        .map(|_| {
            let store = store.clone();
            std::thread::spawn(move || (0..25).map(|_| count_up(&store).unwrap()).collect::<Vec<_>>())
        })
        .collect();
    let mut answers: Vec<u64> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    answers.sort_unstable();
    assert_eq!(answers, (1..=1600).collect::<Vec<_>>());
    let snapshot = store.read().unwrap();
    assert_eq!(cursor(&snapshot, "counter").unwrap(), 1600);
    let stored = events_after(&snapshot, 0, usize::MAX).unwrap();
    assert_eq!(stored.iter().map(|event| event.seq).collect::<Vec<_>>(), (1..=1600).collect::<Vec<_>>());
    let mut told = Vec::new();
    let mut commits = 0;
    while let Ok(committed) = events.try_recv() {
        commits += 1;
        told.extend(committed.events.iter().cloned());
    }
    assert_eq!(told, stored);
    assert!(commits < 1600, "64 clients at once must share commits");
}

#[test]
fn a_panicking_or_clashing_intent_is_thrown_out_alone() {
    let store = Store::memory(clock);
    let unit = UnitId::from_u128(7);
    let take = move |changes: &mut Changes, lease: u128| {
        changes.occupy(unit, hour(0), LeaseId::from_u128(lease));
    };
    store
        .write_blocking(mill(), move |_, _| {
            let mut changes = Changes::new();
            take(&mut changes, 1);
            Ok((changes, ()))
        })
        .unwrap();
    let threads: Vec<_> = (0..48u64)
        .map(|number| {
            let store = store.clone();
            std::thread::spawn(move || {
                store.write_blocking(mill(), move |view, _| {
                    assert!(number % 3 != 1, "the culprit");
                    let next = cursor(view, "counter")? + 1;
                    let mut changes = put("counter", next);
                    changes.event(Cause::Mill, Event::BackupMade);
                    if number % 3 == 2 {
                        take(&mut changes, 2);
                    }
                    Ok((changes, next))
                })
            })
        })
        .collect();
    for (number, thread) in threads.into_iter().enumerate() {
        let answer = thread.join().unwrap();
        match number % 3 {
            0 => assert!(answer.is_ok(), "{answer:?}"),
            1 => assert!(matches!(answer, Err(WriteError::Store(StoreError::Panicked { .. }))), "{answer:?}"),
            _ => assert!(matches!(answer, Err(WriteError::Store(StoreError::Clash(_)))), "{answer:?}"),
        }
    }
    let snapshot = store.read().unwrap();
    assert_eq!((cursor(&snapshot, "counter").unwrap(), last_event(&snapshot).unwrap()), (16, 16));
    assert_eq!(snapshot.calendar().lane(unit).len(), 1);
}

#[test]
fn a_refusal_leaves_no_trace_and_is_not_remembered() {
    let store = Store::memory(clock);
    let refused = store.write_blocking(keyed("once", 1), |_, _| -> Result<(Changes, ()), Reject> {
        Err(Common::NotFound { what: "booking" }.into())
    });
    assert!(matches!(refused, Err(WriteError::Refused(refusal)) if refusal.reason().code() == "not_found"));
    assert_eq!(last_event(&store.read().unwrap()).unwrap(), 0);
    let answer = store.write_blocking(keyed("once", 1), |_, _| Ok((put("a", 1), 5u64))).unwrap();
    assert_eq!(answer, 5);
}

#[test]
fn the_same_key_is_answered_from_the_first_time() {
    let store = Store::memory(clock);
    let book = |seq: u64| move |_: &gristmill::store::View<'_>, _| Ok((put("booked", seq), format!("answer {seq}")));
    assert_eq!(store.write_blocking(keyed("k", 1), book(1)).unwrap(), "answer 1");
    assert_eq!(store.write_blocking(keyed("k", 1), book(2)).unwrap(), "answer 1");
    let reused = store.write_blocking(keyed("k", 9), book(3));
    assert!(matches!(reused, Err(WriteError::Refused(refusal)) if refusal.reason().code() == "idempotency_key_reused"));
    let other = Command::new(Cause::Operator).keyed(IdempotencyKey::new("k").unwrap(), [1; 32]);
    assert_eq!(store.write_blocking(other, book(4)).unwrap(), "answer 4");
    assert_eq!(cursor(&store.read().unwrap(), "booked").unwrap(), 4);
}

#[test]
fn an_intent_sees_rows_and_calendar_of_the_batch_and_a_snapshot_does_not_move() {
    let store = Store::memory(clock);
    let before = store.read().unwrap();
    let unit = UnitId::from_u128(1);
    let taken: u64 = (0..200)
        .map(|number| {
            let store = store.clone();
            std::thread::spawn(move || {
                store.write_blocking(mill(), move |view, _| {
                    let mut changes = Changes::new();
                    let free = view.calendar().free(unit, hour(0));
                    if free {
                        changes.occupy(unit, hour(0), LeaseId::from_u128(number)).wake(NodeId::from_u128(1));
                    }
                    Ok((changes, u64::from(free)))
                })
            })
        })
        .collect::<Vec<_>>()
        .into_iter()
        .map(|thread| thread.join().unwrap().unwrap())
        .sum();
    assert_eq!(taken, 1);
    assert!(before.calendar().is_empty());
    assert_eq!(store.read().unwrap().calendar().len(), 1);
    let rows = before
        .raw_range(
            gristmill::store::tables::Table::Occupancy,
            std::ops::Bound::Unbounded,
            std::ops::Bound::Unbounded,
            Order::Ascending,
            9,
        )
        .unwrap();
    assert!(rows.is_empty());
}

#[test]
fn only_the_writer_fills_events_and_occupancy() {
    let store = Store::memory(clock);
    let sneaked = store.write_blocking(mill(), |_, _| {
        let mut changes = Changes::new();
        changes.blob(gristmill::store::tables::Table::Occupancy, &1u64, vec![1]);
        Ok((changes, ()))
    });
    assert!(matches!(sneaked, Err(WriteError::Store(StoreError::Reserved { table: "occupancy" }))));
}

#[test]
fn the_mills_time_never_runs_backward() {
    static WILD: AtomicI64 = AtomicI64::new(9_000);
    let store = Store::memory(|| Instant::from_millis(WILD.load(Ordering::Relaxed)));
    let now = |store: &Store| store.write_blocking(mill(), |_, now| Ok((put("a", 1), now))).unwrap();
    assert_eq!(now(&store), Instant::from_millis(9_000));
    WILD.store(4_000, Ordering::Relaxed);
    assert_eq!(now(&store), Instant::from_millis(9_000));
    WILD.store(9_500, Ordering::Relaxed);
    assert_eq!(now(&store), Instant::from_millis(9_500));
    assert_eq!(store.latest(), Instant::from_millis(9_500));
}

#[tokio::test]
async fn tasks_write_without_blocking_and_stop_answers_the_rest() {
    let store = Store::memory(clock);
    let (one, two) = tokio::join!(
        store.write(mill(), |_, _| Ok((put("a", 1), 1))),
        store.write(mill(), |_, _| Ok((put("b", 2), 2)))
    );
    assert_eq!((one.unwrap(), two.unwrap()), (1, 2));
    store.clone().stop();
    let late = store.write(mill(), |_, _| Ok((put("c", 3), 3))).await;
    assert!(matches!(late, Err(WriteError::Store(StoreError::Closed { .. }))), "{late:?}");
    assert!(matches!(store.read(), Err(StoreError::Closed { .. })));
}
