//! Nodes that do not start, vanish, come back, or never do.
use gristmill::app::bookings::place;
use gristmill::base::credits::Credits;
use gristmill::base::window::Span;
use gristmill::domain::people::installation::Mode;
use gristmill::wire::node::{FactCause, FactState};

use super::ended;
use super::yard::{Yard, at, clock, code, price, soon};

#[tokio::test]
async fn what_is_not_ready_in_time_fails_free_of_charge() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let booking = yard.book(&yard.ada, soon(1, 5)).await.unwrap();
    let node = booking.leases[0].node;
    yard.pass_seconds(40).await;
    let late = yard.show(booking.id);
    assert_eq!(late.state, "starting");
    assert!(late.explanation.contains("has not taken it up yet"), "{}", late.explanation);
    yard.pass(Span::from_minutes(5)).await;
    let failed = yard.show(booking.id);
    assert_eq!((failed.state.as_str(), failed.cost.unwrap().micros), ("failed", 0));
    assert_eq!(yard.balance().held, Credits::ZERO);
    yard.verify();
    // Its GPU is unknown, not free, until the node has answered.
    assert!(!yard.desired(node)[0].run);
    let later = place::quote(&yard.mill, &yard.bo, &soon(1, 1), yard.now()).unwrap();
    assert_eq!(later.start.0, booking.end.0.plus(Span::from_seconds(60)));
    yard.facts(node, Vec::new(), true).await;
    let now = place::quote(&yard.mill, &yard.bo, &soon(1, 1), yard.now()).unwrap();
    assert!(now.start.0 <= yard.now().plus(Span::from_seconds(60)));
    assert!(yard.desired(node).is_empty());
    yard.verify();
}

#[tokio::test]
async fn a_node_that_cannot_start_it_says_why() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let booking = yard.book(&yard.ada, soon(1, 5)).await.unwrap();
    yard.pass_seconds(0).await;
    yard.report(&booking, FactState::Failed { why: "the driver\u{1b}[2J does not answer".into() }).await;
    let failed = yard.show(booking.id);
    assert_eq!(failed.state, "failed");
    assert!(
        failed.explanation.contains("the driver[2J does not answer. Nothing was charged."),
        "{}",
        failed.explanation
    );
    yard.verify();
}

#[tokio::test]
async fn a_node_back_within_a_day_is_paid_for_what_it_attests() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let booking = yard.book(&yard.ada, soon(1, 5)).await.unwrap();
    let node = booking.leases[0].node;
    yard.pass_seconds(0).await;
    yard.ready(&booking).await;
    yard.pass(Span::from_hours(1)).await;
    yard.connected(node, false).await;
    assert!(yard.show(booking.id).explanation.contains("is not connected"));
    yard.pass(Span::from_hours(20)).await;
    let waiting = yard.show(booking.id);
    assert_eq!(waiting.state, "ending");
    assert_eq!(yard.balance().posted, Credits::ZERO, "nothing is charged while nothing is known");
    yard.connected(node, true).await;
    let ago = 16 * 3600;
    yard.report(&booking, ended(5 * 3600, ago, None, FactCause::TimeUp)).await;
    assert_eq!(yard.show(booking.id).cost.unwrap().credits(), price(5 * 3600));
    yard.verify();
}

#[tokio::test]
async fn a_node_silent_for_a_day_is_settled_by_its_last_contact_for_good() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let booking = yard.book(&yard.ada, soon(1, 100)).await.unwrap();
    let node = booking.leases[0].node;
    yard.pass_seconds(0).await;
    yard.ready(&booking).await;
    yard.pass(Span::from_hours(2)).await;
    yard.connected(node, false).await;
    yard.pass(Span::from_hours(23)).await;
    assert_eq!(yard.show(booking.id).state, "active");
    yard.pass(Span::from_hours(1)).await;
    let lost = yard.show(booking.id);
    assert_eq!((lost.state.as_str(), lost.cause.as_deref()), ("ended", Some("lost")));
    assert_eq!(lost.cost.as_ref().unwrap().credits(), price(2 * 3600));
    yard.verify();
    // Unknown is not free: the node may still be at work until the lease's end.
    let refused = yard.book(&yard.bo, at(1, 50, 1)).await.unwrap_err();
    assert_eq!(code(&refused), "slot_taken");
    // A later claim raises nothing, but frees the GPU.
    yard.connected(node, true).await;
    yard.report(&booking, ended(26 * 3600, 0, None, FactCause::Stopped)).await;
    assert_eq!(yard.show(booking.id).cost, lost.cost);
    yard.book(&yard.bo, at(1, 50, 1)).await.unwrap();
    yard.verify();
}

#[tokio::test]
async fn leases_of_a_node_that_never_returns_are_over_when_their_end_has_passed() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let booking = yard.book(&yard.ada, soon(1, 1)).await.unwrap();
    let node = booking.leases[0].node;
    yard.pass_seconds(0).await;
    yard.connected(node, false).await;
    yard.pass(Span::from_minutes(30)).await;
    assert_eq!(yard.show(booking.id).state, "failed");
    assert_eq!(yard.desired(node).len(), 1);
    yard.pass(Span::from_hours(1)).await;
    assert!(yard.desired(node).is_empty(), "its window and turnaround are over");
    yard.verify();
}

#[tokio::test]
async fn a_node_that_is_away_can_be_booked_for_later() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let booking = yard.book(&yard.ada, at(1, 5, 1)).await.unwrap();
    yard.connected(booking.leases[0].node, false).await;
    assert_eq!(code(&yard.book(&yard.ada, at(1, 0, 1)).await.unwrap_err()), "nodes_away");
    let soonest = yard.book(&yard.ada, soon(1, 1)).await.unwrap();
    assert_eq!(soonest.start.0, yard.now().plus(Span::from_minutes(15)));
    assert!(soonest.explanation.contains("is not connected"), "{}", soonest.explanation);
}

#[tokio::test]
async fn work_that_a_node_lost_is_billed_to_its_last_word() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let booking = yard.book(&yard.ada, soon(1, 5)).await.unwrap();
    let node = booking.leases[0].node;
    yard.pass_seconds(0).await;
    yard.ready(&booking).await;
    yard.pass(Span::from_hours(1)).await;
    yard.report(&booking, ended(3000, 600, None, FactCause::Lost)).await;
    let lost = yard.show(booking.id);
    assert_eq!((lost.state.as_str(), lost.cause.as_deref()), ("ended", Some("lost")));
    assert_eq!(lost.cost.unwrap().credits(), price(3000));
    // And one that vanished from its list altogether.
    let second = yard.book(&yard.ada, soon(1, 5)).await.unwrap();
    yard.pass_seconds(120).await;
    yard.ready(&second).await;
    yard.pass(Span::from_hours(1)).await;
    yard.facts(node, Vec::new(), false).await;
    assert_eq!(yard.show(second.id).state, "active", "a list that may be old proves nothing");
    yard.facts(node, Vec::new(), true).await;
    assert_eq!(yard.show(second.id).cause.as_deref(), Some("lost"));
    yard.verify();
}
