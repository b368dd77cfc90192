//! Lost connections, from a second to two days: server and agents are cut off, healed, stopped, started and crashed in any
//! order while people book. No GPU may ever be at work for two, nobody pays for what did not run, nothing that was promised
//! is forgotten, and half a minute after the last cause of trouble is gone, both sides say the same.
//!
//! Lives are seeded. A short run takes as many as fit into some seconds, a full one (GRISTMILL_FULL) a thousand;
//! GRISTMILL_SEED takes one of them. And faults are planted into both sides, which the same lives must bring to light.
mod machine;
mod pieces;
mod planted;
mod replay;
mod world;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant as Monotonic};

use futures_util::FutureExt as _;
use gristmill::app::bookings::{change, place};
use gristmill::app::error::AppError;
use gristmill::base::credits::Credits;
use gristmill::base::ids::BookingId;
use gristmill::base::window::{Instant, Span};
use gristmill::domain::bookings::lease::{Lease, LeaseState};
use gristmill::store::Read as _;
use gristmill::wire::api::bookings::{BookRequest, BookingView, ExtendRequest};
use gristmill::wire::node::FactState;

use crate::bookings::yard::{price, soon};
use pieces::now;
use planted::Fault;
use world::World;

/// Lives of a full run.
const LIVES: u64 = 1000;
/// Lives of each of the four parts of a short run at least, however slow the machine is.
const AT_LEAST: u64 = 5;
/// A part of a short run begins no life after this.
const SHORT: Duration = Duration::from_secs(10);
/// By when both sides agree after the last trouble.
const HALF_A_MINUTE: Span = Span::from_seconds(30);

/// Rules may refuse; the store may not have to.
fn allowed<T>(answer: Result<T, AppError>) -> Option<T> {
    match answer {
        Ok(done) => Some(done),
        Err(AppError::Refused(_)) => None,
        Err(error) => panic!("{error:?}"),
    }
}

/// What was promised to people, and what they were told it cost in the end.
#[derive(Default)]
struct Promises {
    bookings: Vec<BookingId>,
    settled: BTreeMap<BookingId, i64>,
}

impl Promises {
    fn any(&self, world: &mut World) -> Option<BookingId> {
        let count = self.bookings.len() as u64;
        (count > 0).then(|| self.bookings[usize::try_from(world.dice.below(count)).unwrap()])
    }

    async fn act(&mut self, world: &mut World) {
        let index = usize::try_from(world.dice.below(3)).unwrap();
        match world.dice.below(26) {
            0..=2 => world.cut(index),
            3..=5 => self.heal(world, index).await,
            6 if world.serves() => world.stop_server(),
            7 if !world.serves() => world.start_server(),
            8 => world.stop_agent(index),
            9 | 10 => world.start_agent(index),
            11 => world.crash(index),
            12 => (0..3).for_each(|index| world.cut(index)),
            _ if !world.serves() => world.start_server(),
            13..=21 => self.book(world).await,
            22 | 23 => {
                let Some(id) = self.any(world) else { return };
                let by = ExtendRequest { by_seconds: 60 + world.dice.signed(20_000) };
                let yard = &world.yard;
                allowed(change::extend(&yard.mill, &yard.ada, id, by, None, yard.now()).await);
            }
            24 => {
                let Some(id) = self.any(world) else { return };
                allowed(world.yard.release(id).await);
            }
            _ => {
                let Some(id) = self.any(world) else { return };
                allowed(world.yard.cancel(id).await);
            }
        }
    }

    async fn book(&mut self, world: &mut World) {
        let mut request: BookRequest = soon(1 + world.dice.below(3), 1);
        let longest = if world.dice.below(3) == 0 { 110_000 } else { 9000 };
        request.duration_seconds = 120 + world.dice.signed(longest);
        if world.dice.below(2) == 0 {
            let later = Span::from_seconds(600 + world.dice.signed(100_000));
            request.at = Some(Instant::from_millis(now()).plus(later).ceil_second().into());
        }
        if world.dice.below(4) == 0 {
            let seconds = 1 + world.dice.below(8000);
            request.command = Some(vec!["sleep".to_owned(), seconds.to_string()]);
        }
        let yard = &world.yard;
        if let Some(booked) = allowed(place::book(&yard.mill, &yard.ada, request, None, yard.now()).await) {
            self.bookings.push(booked.id);
        }
    }

    /// One node's network is whole again, and half a minute later so is everything about it.
    async fn heal(&mut self, world: &mut World, index: usize) {
        world.heal(index);
        if world.serves() && world.machines[index].agent {
            world.pass(HALF_A_MINUTE).await;
            agree(world, index);
        }
    }

    /// What people see and pay, held against what really ran.
    fn check(&mut self, world: &World) {
        for &id in &self.bookings {
            let booking = world.yard.show(id);
            let Some(cost) = &booking.cost else {
                assert!(!self.settled.contains_key(&id), "{id} was settled and is live again");
                continue;
            };
            let before = *self.settled.entry(id).or_insert(cost.micros);
            assert_eq!(before, cost.micros, "a later word changed what {id} cost");
            billed_what_ran(world, &booking, cost.credits());
        }
    }
}

/// The bill against the truth: never more than ran, and all that ran where the node could say so in time.
fn billed_what_ran(world: &World, booking: &BookingView, cost: Credits) {
    let lease = &booking.leases[0];
    let gpus = i64::from(booking.gpus);
    let ran_ms = world.truth.get(&lease.id).copied().unwrap_or(0);
    // What is not a full second is not billed, and an end by the mill's clock may round up.
    let most = price(gpus * (ran_ms / 1000 + 1));
    assert!(cost <= most, "{booking:#?} ran for {ran_ms} ms and cost {cost:?}");
    let machine = world.machines.iter().find(|machine| machine.node == lease.node).unwrap();
    let (start, end) = (booking.start.0.as_millis(), booking.end.0.as_millis());
    match (machine.silence(start, end), booking.cause.as_deref()) {
        (None, Some("time_up" | "finished")) if booking.state == "ended" => {
            // Each day is settled in whole seconds, and an extension is a hold of its own.
            let parts = 4 + (end - start) / Span::from_days(1).as_millis();
            let least = price(gpus * (ran_ms / 1000 - parts).max(0));
            assert!(cost >= least, "{booking:#?} ran for {ran_ms} ms and cost only {cost:?}");
        }
        (Some((last, _)), Some("lost")) => {
            let until_then = price(gpus * ((last - start).max(0) / 1000 + 1));
            assert!(cost <= until_then, "{booking:#?} was last heard of at {last} and cost {cost:?}");
        }
        (None, Some("lost")) => {
            let restarted = machine.crashes.iter().any(|at| (start..=end).contains(at));
            assert!(restarted, "{booking:#?} was given up although its node never lost it");
        }
        _ => {}
    }
    if matches!(booking.state.as_str(), "failed" | "cancelled") {
        assert!(cost.is_zero(), "{booking:#?}");
    }
}

/// The mill and a node that can reach each other say the same.
fn agree(world: &World, index: usize) {
    let machine = &world.machines[index];
    assert!(machine.connected(), "node {index} is not back");
    let desired = world.yard.desired(machine.node);
    assert_eq!(machine.leases.desired(), desired, "node {index} was not told what it shall do");
    let view = world.yard.mill.store.read().unwrap();
    for fact in machine.facts() {
        let Some(want) = desired.iter().find(|want| want.lease == fact.lease) else {
            assert!(machine.leases.at_work().all(|(lease, _)| lease != fact.lease), "{fact:?} is nobody's");
            continue;
        };
        let lease: Lease = view.must(&want.lease).unwrap();
        match fact.state {
            FactState::Ready { .. } => assert!(
                matches!(lease.state, LeaseState::Ready { .. } | LeaseState::Stopping { .. }),
                "{fact:?} but {lease:?}"
            ),
            FactState::Ended { .. } | FactState::Failed { .. } => {
                let booking = world.yard.show(lease.booking);
                panic!("{fact:?} was not taken in at {}: {lease:?} of {booking:#?}", now())
            }
            FactState::Waiting | FactState::Preparing | FactState::Stopping { .. } => {}
        }
        assert!(fact.revision >= lease.acknowledged, "{fact:?} but {lease:?}");
    }
}

/// From a second to two days; the short ones are many.
fn some_time(world: &mut World) -> Span {
    let limit = [2, 20, 90, 900, 7200, 86_400, 172_800][usize::try_from(world.dice.below(7)).unwrap()];
    Span::from_millis(1000 + world.dice.signed(limit * 1000 - 999))
}

async fn life(seed: u64, fault: Option<Fault>) {
    let mut world = World::with(seed, fault).await;
    let mut promises = Promises::default();
    for step in 0..40 {
        promises.act(&mut world).await;
        let span = some_time(&mut world);
        world.pass(span).await;
        promises.check(&world);
        if step % 10 == 9 {
            world.yard.verify();
        }
    }
    if !world.serves() {
        world.start_server();
    }
    for index in 0..3 {
        world.heal(index);
        world.start_agent(index);
    }
    world.pass(HALF_A_MINUTE).await;
    (0..3).for_each(|index| agree(&world, index));
    // Whatever was promised ends, and nothing stays held.
    world.pass(Span::from_days(7)).await;
    promises.check(&world);
    assert_eq!(promises.settled.len(), promises.bookings.len(), "some never end");
    assert!(world.yard.balance().held.is_zero());
    world.yard.verify();
    println!("life {seed}: {} bookings, {} looks", promises.bookings.len(), world.looks);
}

/// Lives one after the other, every fourth from `first` on. Four tests share them, so that a runner that gives each a
/// process of its own uses the processors it has.
async fn lives(first: u64) {
    let full = std::env::var_os("GRISTMILL_FULL").is_some();
    let begun = Monotonic::now();
    let only = std::env::var("GRISTMILL_SEED").ok().map(|text| text.parse::<u64>().unwrap());
    if only.is_some() {
        gristmill::launch::logs::start(false);
    }
    let mut lived = 0;
    for seed in (first..=LIVES).step_by(4) {
        if !full && lived >= AT_LEAST && begun.elapsed() > SHORT {
            break;
        }
        if only.is_none_or(|only| only == seed) {
            println!("life {seed}");
            life(seed, None).await;
        }
        lived += 1;
    }
    println!("{lived} lives in {:?}", begun.elapsed());
}

/// Found among the thousand: a mill that was away over midnight billed a day that it had not seen.
#[tokio::test]
async fn a_life_that_showed_a_fault_once() {
    life(714, None).await;
}

#[tokio::test]
async fn cut_healed_and_restarted_in_any_order_1() {
    lives(1).await;
}

#[tokio::test]
async fn cut_healed_and_restarted_in_any_order_2() {
    lives(2).await;
}

#[tokio::test]
async fn cut_healed_and_restarted_in_any_order_3() {
    lives(3).await;
}

#[tokio::test]
async fn cut_healed_and_restarted_in_any_order_4() {
    lives(4).await;
}

/// What a broken invariant says, in words that only the checks of this test use.
fn breach(panic: &(dyn std::any::Any + Send)) -> Option<String> {
    const WORDS: [&str; 10] = [
        "two leases at work on",
        "was not told what it shall do",
        "is not back",
        "is nobody's",
        "was not taken in at",
        "and cost",
        "a later word changed what",
        "was settled and is live again",
        "although its node never lost it",
        "but Lease",
    ];
    let said = panic.downcast_ref::<String>()?;
    WORDS.iter().any(|words| said.contains(words)).then(|| said.chars().take(200).collect())
}

/// An invariant that no fault can break would hold of everything: each planted one must break one, in as few lives as a
/// short run has.
async fn found(fault: Fault) {
    for seed in 1..=AT_LEAST * 4 {
        let Err(panic) = AssertUnwindSafe(life(seed, Some(fault))).catch_unwind().await else { continue };
        let said = breach(panic.as_ref());
        println!("{fault:?} in life {seed}: {said:?}");
        assert!(said.is_some(), "life {seed} with {fault:?} ended otherwise than by a broken invariant");
        return;
    }
    panic!("{fault:?} was not found in {} lives", AT_LEAST * 4);
}

#[tokio::test]
async fn orders_of_a_fenced_connection_that_are_obeyed_are_found() {
    found(Fault::FencedOrdersObeyed).await;
}

#[tokio::test]
async fn a_late_report_that_is_believed_is_found() {
    found(Fault::LateReportBelieved).await;
}

#[tokio::test]
async fn an_hour_that_is_billed_beyond_the_last_contact_is_found() {
    found(Fault::BilledBeyondContact).await;
}
