//! A node is drained, in maintenance, retired, or lost with many others: what becomes of what is booked on it.
use gristmill::app::bookings::{change, place};
use gristmill::app::error::AppError;
use gristmill::app::fleet::duty::{self, Wish};
use gristmill::app::fleet::{brake, maintenance};
use gristmill::app::people::notices;
use gristmill::base::ids::NodeId;
use gristmill::base::window::{Instant, Span, Window};
use gristmill::domain::fleet::duty::Duty;
use gristmill::domain::fleet::node::{Node, NodeState};
use gristmill::domain::people::installation::Mode;
use gristmill::domain::people::rights::Actor;
use gristmill::store::Read as _;
use gristmill::store::events::events_after;
use gristmill::store::read::RawRow;
use gristmill::store::tables::Table;
use gristmill::wire::api::bookings::ExtendRequest;
use gristmill::wire::node::FactCause;

use super::ended;
use super::yard::{START, Yard, at, clock, code, offer, price, soon};

fn admin(yard: &Yard) -> Actor {
    Actor { admin: true, ..yard.ada.clone() }
}

fn hour(hour: i64) -> Instant {
    Instant::from_millis(START).plus(Span::from_hours(hour))
}

fn hours(from: i64, until: i64) -> Window {
    Window::new(hour(from), hour(until)).unwrap()
}

async fn announce(yard: &Yard, node: NodeId, window: Window) {
    maintenance::announce(&yard.mill, &admin(yard), node, window, "new fans").await.unwrap();
    maintenance::clear(&yard.mill, yard.now()).await.unwrap();
}

/// Subjects of what Ada was told, the newest first.
fn told(yard: &Yard) -> Vec<String> {
    let view = yard.mill.store.read().unwrap();
    notices::list(&view, yard.ada.member).unwrap().into_iter().map(|notice| notice.subject).collect()
}

fn node(yard: &Yard, id: NodeId) -> Node {
    yard.mill.store.read().unwrap().must(&id).unwrap()
}

#[tokio::test]
async fn maintenance_leaves_the_calendar_and_what_is_in_the_way_moves_to_equal_hardware() {
    let yard = Yard::new(clock!(), Mode::Showback, &[2, 2]).await;
    let booking = yard.book(&yard.ada, at(2, 10, 4)).await.unwrap();
    let from = booking.leases[0].node;
    announce(&yard, from, hours(11, 13)).await;
    let moved = yard.show(booking.id);
    assert_ne!(moved.leases[0].node, from);
    assert_eq!(
        (moved.start, moved.end, moved.leases[0].attempt),
        (booking.start, booking.end, 2),
        "the promise stands"
    );
    assert!(told(&yard)[0].contains("moves to another node"), "{:?}", told(&yard));
    // The other node is now full at that time, and the node in maintenance is no way out.
    let refused = yard.book(&yard.bo, at(1, 10, 2)).await.unwrap_err();
    assert_eq!(code(&refused), "slot_taken");
    // Up to the turnaround before it, and from its end on, the node can be booked.
    assert_eq!(yard.book(&yard.bo, at(2, 9, 1)).await.unwrap().leases[0].node, from);
    let after = place::quote(&yard.mill, &yard.bo, &at(2, 13, 1), yard.now()).unwrap();
    assert_eq!(after.node, from);
    assert_eq!(maintenance::clear(&yard.mill, yard.now()).await.unwrap(), 0, "the way is clear");
    yard.verify();
}

#[tokio::test]
async fn what_finds_no_place_is_told_at_once_and_given_back_an_hour_before() {
    let yard = Yard::new(clock!(), Mode::Chargeback, &[1]).await;
    let booking = yard.book(&yard.ada, at(1, 10, 2)).await;
    assert!(booking.is_err(), "nothing was granted to the team");
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let booking = yard.book(&yard.ada, at(1, 10, 2)).await.unwrap();
    let node = booking.leases[0].node;
    announce(&yard, node, hours(9, 12)).await;
    announce_again(&yard).await;
    assert_eq!(yard.show(booking.id).state, "booked");
    assert_eq!(told(&yard).iter().filter(|subject| subject.contains("is in the way")).count(), 1, "told once");
    yard.pass(Span::from_hours(9)).await;
    maintenance::clear(&yard.mill, yard.now()).await.unwrap();
    let over = yard.show(booking.id);
    assert_eq!((over.state.as_str(), over.cost.unwrap().micros), ("failed", 0));
    assert!(over.explanation.contains("in maintenance then (new fans)"), "{}", over.explanation);
    assert!(yard.desired(node).is_empty());
    assert!(yard.balance().held.is_zero());
    yard.verify();
}

async fn announce_again(yard: &Yard) {
    for _ in 0..3 {
        maintenance::clear(&yard.mill, yard.now()).await.unwrap();
    }
}

#[tokio::test]
async fn what_runs_ends_when_the_maintenance_begins_and_the_rest_is_not_charged() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let booking = yard.book(&yard.ada, soon(1, 10)).await.unwrap();
    let node = booking.leases[0].node;
    yard.pass_seconds(0).await;
    yard.ready(&booking).await;
    announce(&yard, node, hours(4, 6)).await;
    let shorter = yard.show(booking.id);
    assert_eq!(shorter.end.0, hour(4).minus(Span::from_seconds(60)), "the turnaround lies before it too");
    assert!(told(&yard)[0].contains("ends earlier"));
    let ordered = yard.desired(node);
    assert_eq!((ordered[0].end, ordered[0].revision), (shorter.end.0, 2), "the node is told");
    // It cannot be stretched back into the maintenance.
    let more = ExtendRequest { by_seconds: 3600 };
    let refused = change::extend(&yard.mill, &yard.ada, booking.id, more, None, yard.now()).await.unwrap_err();
    assert_eq!(code(&refused), "node_needed");
    yard.pass(Span::from_hours(4)).await;
    let ran = 4 * 3600 - 60;
    yard.report(&shorter, ended(ran, 60, None, FactCause::TimeUp)).await;
    assert_eq!(yard.show(booking.id).cost.unwrap().credits(), price(ran));
    yard.verify();
}

#[tokio::test]
async fn maintenance_that_is_called_off_is_bookable_again() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let node = yard.join(1).await;
    let id = maintenance::announce(&yard.mill, &admin(&yard), node, hours(1, 3), "new fans").await.unwrap();
    assert!(yard.book(&yard.ada, at(1, 1, 1)).await.is_ok(), "the other node is free");
    assert!(yard.book(&yard.ada, at(1, 1, 1)).await.is_err());
    maintenance::cancel(&yard.mill, &admin(&yard), node, id).await.unwrap();
    assert_eq!(yard.book(&yard.ada, at(1, 1, 1)).await.unwrap().leases[0].node, node);
    let twice = maintenance::cancel(&yard.mill, &admin(&yard), node, id).await.unwrap_err();
    assert_eq!(code(&twice), "maintenance_over");
    let past = maintenance::announce(&yard.mill, &admin(&yard), node, hours(-3, -1), "new fans").await.unwrap_err();
    assert_eq!(code(&past), "bad_maintenance");
    let mute = maintenance::announce(&yard.mill, &admin(&yard), node, hours(1, 3), " ").await.unwrap_err();
    assert_eq!(code(&mute), "reason_missing");
    let other = maintenance::announce(&yard.mill, &yard.ada, node, hours(1, 3), "mine").await.unwrap_err();
    assert_eq!(code(&other), "denied");
}

#[tokio::test]
async fn a_cordoned_node_keeps_what_it_has_and_a_draining_one_gives_away_what_has_not_begun() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let later = yard.book(&yard.ada, at(1, 5, 2)).await.unwrap();
    let node_id = later.leases[0].node;
    duty::set(&yard.mill, &admin(&yard), node_id, Wish::Cordon, "odd noises").await.unwrap();
    maintenance::clear(&yard.mill, yard.now()).await.unwrap();
    assert_eq!(yard.show(later.id).leases[0].node, node_id);
    assert!(yard.book(&yard.bo, soon(1, 1)).await.is_err(), "nothing new");
    let other = yard.join(1).await;
    duty::set(&yard.mill, &admin(&yard), node_id, Wish::Drain, "odd noises").await.unwrap();
    assert_eq!(maintenance::clear(&yard.mill, yard.now()).await.unwrap(), 1);
    assert_eq!(yard.show(later.id).leases[0].node, other);
    duty::set(&yard.mill, &admin(&yard), node_id, Wish::Open, "").await.unwrap();
    assert_eq!(node(&yard, node_id).duty, Duty::Open);
    assert_eq!(yard.book(&yard.bo, at(1, 5, 2)).await.unwrap().leases[0].node, node_id);
    yard.verify();
}

#[tokio::test]
async fn a_node_that_is_needed_gives_no_more_time_and_names_what_can_follow() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let booking = yard.book(&yard.ada, soon(1, 2)).await.unwrap();
    let node_id = booking.leases[0].node;
    yard.pass_seconds(0).await;
    yard.ready(&booking).await;
    // Maintenance from hour 4: it can be made longer up to there, and no longer.
    announce(&yard, node_id, hours(4, 6)).await;
    let refused = yard.extend(booking.id, 4 * 3600).await.unwrap_err();
    assert_eq!(code(&refused), "node_needed");
    let said = words(&refused);
    assert!(said.contains("in maintenance from") && said.contains("(new fans)"), "{said}");
    assert!(said.contains("can be extended until Mon 23 Nov 2026 11:59"), "{said}");
    let longest = yard.extend(booking.id, 2 * 3600 - 60).await.unwrap();
    assert_eq!(longest.end.0, hour(4).minus(Span::from_seconds(60)));
    // Nothing is left of it: the offer is what follows when the maintenance is over.
    let refused = yard.extend(booking.id, 3600).await.unwrap_err();
    assert_eq!((code(&refused), &offer(&refused)["start"]), ("node_needed", &"2026-11-23T14:00:00Z".into()));
    // Running empty, it gives none at all; another node can take what follows.
    let other = yard.join(1).await;
    duty::set(&yard.mill, &admin(&yard), node_id, Wish::Drain, "odd noises.").await.unwrap();
    let refused = yard.extend(booking.id, 3600).await.unwrap_err();
    assert_eq!((code(&refused), &offer(&refused)["start"]), ("node_needed", &"2026-11-23T11:59:00Z".into()));
    assert!(words(&refused).contains("is to run empty and gives no more time: odd noises."), "{}", words(&refused));
    duty::set(&yard.mill, &admin(&yard), other, Wish::Drain, "as well").await.unwrap();
    let refused = yard.extend(booking.id, 3600).await.unwrap_err();
    assert!(words(&refused).contains("nothing equal is free elsewhere"), "{}", words(&refused));
    assert_eq!(yard.show(booking.id).end, longest.end);
    yard.verify();
}

fn words(error: &AppError) -> String {
    match error {
        AppError::Refused(refusal) => refusal.to_string(),
        other => panic!("not a refusal: {other:?}"),
    }
}

/// Every row of every table, and the last event's number.
fn everything(yard: &Yard) -> (usize, Vec<RawRow>) {
    let view = yard.mill.store.read().unwrap();
    let mut rows = Vec::new();
    for &table in Table::ALL {
        let take = |key: &[u8], value: &[u8]| {
            rows.push((key.to_vec(), value.to_vec()));
            Ok(())
        };
        view.scan(table, take).unwrap();
    }
    (events_after(&view, 0, usize::MAX).unwrap().len(), rows)
}

#[tokio::test]
async fn a_round_that_finds_nothing_to_do_writes_nothing() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let running = yard.book(&yard.ada, soon(1, 2)).await.unwrap();
    yard.pass_seconds(0).await;
    yard.ready(&running).await;
    let node_id = running.leases[0].node;
    yard.book(&yard.ada, at(1, 10, 2)).await.unwrap();
    // One booking that is told that its time is in the way, one that runs, and a node that would be rid of both.
    announce(&yard, node_id, hours(9, 12)).await;
    duty::set(&yard.mill, &admin(&yard), node_id, Wish::Drain, "odd noises").await.unwrap();
    yard.pass_seconds(60).await;
    let before = everything(&yard);
    let mut commits = yard.mill.store.subscribe();
    for _ in 0..3 {
        assert_eq!(maintenance::clear(&yard.mill, yard.now()).await.unwrap(), 0);
    }
    assert!(commits.try_recv().is_err(), "nothing was committed");
    assert_eq!(everything(&yard), before);
}

#[tokio::test]
async fn a_node_is_retired_when_nothing_is_left_on_it() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let booking = yard.book(&yard.ada, at(1, 5, 2)).await.unwrap();
    let node_id = booking.leases[0].node;
    let refused = duty::retire(&yard.mill, &admin(&yard), node_id, "old age").await.unwrap_err();
    assert_eq!(code(&refused), "node_still_booked");
    yard.cancel(booking.id).await.unwrap();
    duty::retire(&yard.mill, &admin(&yard), node_id, "old age").await.unwrap();
    assert!(matches!(node(&yard, node_id).state, NodeState::Retired { .. }));
    let again = duty::set(&yard.mill, &admin(&yard), node_id, Wish::Cordon, "why not").await.unwrap_err();
    assert_eq!(code(&again), "node_gone");
    assert!(yard.book(&yard.ada, soon(1, 1)).await.is_err());
    yard.verify();
}

#[tokio::test]
async fn a_name_is_taken_once_and_found_by_its_new_spelling() {
    let yard = Yard::new(clock!(), Mode::Showback, &[]).await;
    let (one, two) = (yard.join(1).await, yard.join(1).await);
    duty::rename(&yard.mill, &admin(&yard), one, "Stone".parse().unwrap()).await.unwrap();
    let taken = duty::rename(&yard.mill, &admin(&yard), two, "stone".parse().unwrap()).await.unwrap_err();
    assert_eq!(code(&taken), "name_taken");
    duty::rename(&yard.mill, &admin(&yard), one, "STONE".parse().unwrap()).await.unwrap();
    assert_eq!(node(&yard, one).name.to_string(), "STONE");
}

#[tokio::test]
async fn under_the_brake_silence_has_no_consequences() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let booking = yard.book(&yard.ada, soon(1, 100)).await.unwrap();
    let node = booking.leases[0].node;
    yard.pass_seconds(0).await;
    yard.ready(&booking).await;
    yard.pass(Span::from_hours(1)).await;
    brake::pull(&yard.mill, 4, 5).await.unwrap();
    yard.connected(node, false).await;
    // A day and more: without the brake it would be settled by its last contact.
    for _ in 0..30 {
        yard.pass(Span::from_minutes(1)).await;
    }
    let now = yard.now();
    gristmill::app::bookings::upkeep::run(&yard.mill, now.plus(Span::from_hours(25))).await.unwrap();
    assert_eq!(yard.show(booking.id).state, "active");
    brake::release(&yard.mill, &admin(&yard)).await.unwrap();
    yard.pass(Span::from_hours(26)).await;
    assert_eq!(yard.show(booking.id).state, "ended");
    assert_eq!(yard.show(booking.id).cost.unwrap().credits(), price(3600));
    yard.verify();
}
