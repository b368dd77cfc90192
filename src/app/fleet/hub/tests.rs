//! The hub by itself: who stays, who is lost, what is written down.
use crate::wire::node::ToAgent;

use super::*;

fn at(seconds: i64) -> Instant {
    Instant::from_seconds(seconds)
}

const NODE: NodeId = NodeId::from_u128(7);

#[test]
fn the_higher_epoch_stays() {
    let hub = Hub::default();
    let first = hub.attach(NODE, 1, at(0), 0).unwrap();
    let second = hub.attach(NODE, 2, at(0), 0).unwrap();
    assert!(first.fenced.borrow().is_some() && second.fenced.borrow().is_none());
    assert!(hub.attach(NODE, 1, at(0), 0).is_none(), "an older epoch that comes late is refused");
    hub.detach(&first.link);
    assert!(hub.link(NODE).is_some(), "the end of the fenced connection does not touch the new one");
    hub.heard(&first.link, at(99), None);
    assert_eq!(hub.contact(NODE), Some((true, at(0))));
}

#[tokio::test]
async fn who_answers_is_there_and_who_has_gone_is_not() {
    let hub = Hub::new();
    let patience = Duration::from_secs(30);
    assert!(!hub.answers(NODE, patience).await, "nobody was there");
    let mut end = hub.attach(NODE, 1, at(0), 0).unwrap();
    let ask = || {
        let hub = hub.clone();
        tokio::spawn(async move { hub.answers(NODE, patience).await })
    };
    let asking = ask();
    let Some(ToAgent::StillThere { question }) = end.orders.recv().await.map(|order| *order) else {
        panic!("no question")
    };
    end.link.answered(question + 5);
    end.link.answered(question);
    assert!(asking.await.unwrap());
    let asking = ask();
    end.orders.recv().await.unwrap();
    end.link.answered(question);
    drop(end);
    assert!(!asking.await.unwrap(), "an old answer is none, and the end of the connection is a no");
    assert!(!hub.answers(NODE, Duration::from_millis(1)).await);
}

#[test]
fn silence_is_named_once() {
    let hub = Hub::default();
    let end = hub.attach(NODE, 1, at(5), 0).unwrap();
    let now = Monotonic::now();
    assert!(hub.newly_lost(now).is_empty());
    let later = now + Duration::from_secs(21);
    assert_eq!(hub.newly_lost(later), [Silent { node: NODE, epoch: 1, last: at(5) }]);
    assert!(hub.newly_lost(later).is_empty() && end.fenced.borrow().is_some());
    assert!(hub.attach(NODE, 2, at(30), 0).is_some());
    assert!(hub.newly_lost(Monotonic::now()).is_empty());
}

#[test]
fn a_node_known_from_before_gets_its_time() {
    let hub = Hub::default();
    hub.expect(&NodeContact { node: NODE, epoch: 4, connected: true, last: at(1), skew_ms: 0, unattested_since: None });
    assert!(hub.newly_lost(Monotonic::now()).is_empty());
    assert_eq!(hub.newly_lost(Monotonic::now() + Duration::from_secs(30)).len(), 1);
    assert!(hub.attach(NODE, 4, at(2), 0).is_none() && hub.attach(NODE, 5, at(2), 0).is_some());
}

#[test]
fn contacts_are_written_seldom() {
    let hub = Hub::default();
    let end = hub.attach(NODE, 1, at(5), 0).unwrap();
    hub.heard(&end.link, at(6), Some(3));
    let now = Monotonic::now();
    assert!(hub.due(now).is_empty());
    let due = hub.due(now + Duration::from_secs(31));
    assert_eq!((due.len(), due[0].last, due[0].skew_ms, due[0].connected), (1, at(6), 3, true));
    assert!(hub.due(now + Duration::from_secs(70)).is_empty(), "nothing was heard since");
}
