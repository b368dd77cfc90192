//! Streams that are asked for, taken once, and given up.
use super::*;
use crate::base::window::Instant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const MINE: NodeId = NodeId::from_u128(1);
const OTHER: NodeId = NodeId::from_u128(2);
const LEASE: LeaseId = LeaseId::from_u128(3);
const LOG: StreamKind = StreamKind::Log { from: 0, follow: false };

async fn asked(end: &mut super::super::hub::LinkEnd) -> StreamId {
    match end.orders.recv().await.map(|order| *order) {
        Some(ToAgent::OpenStream { stream, lease: LEASE, kind: LOG }) => stream,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn ends_meet_and_bytes_pass() {
    let hub = Hub::new();
    let mut end = hub.attach(MINE, 1, Instant::from_seconds(0), 0).unwrap();
    let asking = tokio::spawn({
        let hub = hub.clone();
        async move { hub.open_stream(MINE, LEASE, LOG).await }
    });
    let stream = asked(&mut end).await;
    assert!(hub.streams.meet(OTHER, stream).is_none(), "another node does not get it");
    let mut dialled = hub.streams.meet(MINE, stream).unwrap();
    assert!(hub.streams.meet(MINE, stream).is_none(), "only once");
    let mut asker = asking.await.unwrap().unwrap();
    dialled.write_all(b"grain").await.unwrap();
    drop(dialled);
    let mut read = Vec::new();
    asker.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"grain");
}

#[tokio::test]
async fn who_is_not_met_is_told() {
    let hub = Hub::new();
    assert_eq!(hub.open_stream(MINE, LEASE, LOG).await.unwrap_err(), StreamProblem::NodeAway);
    let mut end = hub.attach(MINE, 1, Instant::from_seconds(0), 0).unwrap();
    let short = Duration::from_millis(5);
    assert_eq!(hub.open_stream_within(short, MINE, LEASE, LOG).await.unwrap_err(), StreamProblem::NotMet);
    let late = asked(&mut end).await;
    assert!(hub.streams.meet(MINE, late).is_none());
    let refusing = tokio::spawn({
        let hub = hub.clone();
        async move { hub.open_stream(MINE, LEASE, LOG).await }
    });
    let stream = asked(&mut end).await;
    hub.streams.refuse(OTHER, stream, "not mine");
    hub.streams.refuse(MINE, stream, "no such\u{7} lease");
    assert_eq!(refusing.await.unwrap().unwrap_err(), StreamProblem::Refused("no such lease".to_owned()));
}
