//! A node that says what others said: every message of a real session, its leases, streams and epochs those of another node,
//! over its own connection. Nothing in the database may differ afterwards but the one line that tells the admins.
use std::collections::BTreeMap;
use std::time::Duration;

use gristmill::app::fleet::link::{Conversation, Over};
use gristmill::base::ids::{LeaseId, NodeId, StreamId};
use gristmill::base::telemetry::GpuReading;
use gristmill::base::window::{Instant, Span};
use gristmill::domain::event::{Event, Recorded};
use gristmill::store::Snapshot;
use gristmill::store::events::events_after;
use gristmill::store::tables::Table;
use gristmill::wire::node::{FactState, FromAgent, StreamKind, ToAgent};

use super::pieces::now;
use super::world::World;
use crate::bookings::yard::soon;

type Rows = BTreeMap<(&'static str, Vec<u8>), Vec<u8>>;

/// Every row of every table, but this node's contact.
fn dump(view: &Snapshot, except: NodeId) -> Rows {
    let mut rows = Rows::new();
    for &table in Table::ALL {
        let keep = |key: &[u8]| table != Table::NodeContacts || key != except.to_bytes().as_slice();
        let look = |key: &[u8], value: &[u8]| {
            if keep(key) {
                rows.insert((table.name(), key.to_vec()), value.to_vec());
            }
            Ok(())
        };
        view.scan(table, look).unwrap();
    }
    rows
}

/// What differs, in words.
fn differences(before: &Rows, after: &Rows) -> Vec<String> {
    let mut found = Vec::new();
    for key in before.keys().chain(after.keys()) {
        if before.get(key) != after.get(key) {
            let show = |rows: &Rows| rows.get(key).map(|row| String::from_utf8_lossy(row).into_owned());
            found.push(format!("{}: {:?} became {:?}", key.0, show(before), show(after)));
        }
    }
    found.sort();
    found.dedup();
    found
}

fn oversteps(view: &Snapshot, after: u64) -> Vec<(NodeId, u64)> {
    let all: Vec<Recorded> = events_after(view, after, usize::MAX).unwrap();
    let told = all.into_iter().filter_map(|recorded| match recorded.event {
        Event::NodeOverstepped { node, times, .. } => Some((node, times)),
        _ => None,
    });
    told.collect()
}

/// Three nodes, each at work for somebody; everything they said is on record.
async fn at_work() -> World {
    let mut world = World::new(7).await;
    world.recorded = Some(Vec::new());
    // The largest first, so that each takes the only node it fits on.
    for gpus in [3, 2, 1] {
        world.yard.book(&world.yard.ada, soon(gpus, 9)).await.unwrap();
    }
    // From the connection on.
    for index in 0..3 {
        world.stop_agent(index);
        world.start_agent(index);
    }
    world.pass(Span::from_minutes(20)).await;
    for machine in &world.machines {
        assert_eq!(machine.leases.at_work().count(), 1, "each node has one lease");
    }
    world
}

fn with_epoch(message: &str, epoch: u64) -> FromAgent {
    let mut json: serde_json::Value = serde_json::from_str(message).unwrap();
    if let Some(place) = json.get_mut("epoch") {
        *place = epoch.into();
    }
    serde_json::from_value(json).unwrap()
}

/// Facts about these leases that would do the most harm if they were believed.
fn claims(epoch: u64, generation: u64, leases: &[LeaseId]) -> Vec<FromAgent> {
    let harm = [
        FactState::Failed { why: "it would not".to_owned() },
        FactState::Ready { elapsed: Span::from_hours(900) },
        FactState::Ended {
            elapsed: Span::from_hours(900),
            ago: Span::ZERO,
            code: Some(1),
            signal: None,
            cause: gristmill::wire::node::FactCause::Finished,
        },
    ];
    let fact = |&lease: &LeaseId, state: &FactState| {
        let (revision, state) = (900, state.clone());
        gristmill::wire::node::LeaseFact { lease, attempt: 1, revision, state, lacking: Vec::new() }
    };
    harm.iter()
        .map(|state| FromAgent::Leases { epoch, generation, leases: leases.iter().map(|l| fact(l, state)).collect() })
        .collect()
}

async fn say(conversation: &mut Conversation, message: FromAgent) {
    // A second hello ends the connection in the real link; here it is only told so.
    match conversation.listen(message).await {
        Ok(()) | Err(Over::Goodbye(_)) => {}
        Err(Over::Gone) => panic!("nobody went away"),
    }
}

#[tokio::test]
async fn what_others_said_changes_nothing_when_a_node_says_it_again() {
    let mut world = at_work().await;
    let recorded = world.recorded.take().unwrap();
    for kind in ["hello", "heartbeat", "leases"] {
        assert!(recorded.iter().any(|(_, text)| text.contains(kind)), "no {kind} was recorded");
    }
    let (evil, victim) = (world.machines[0].node, world.machines[1].node);
    let own: Vec<LeaseId> = world.machines[0].leases.at_work().map(|(lease, _)| lease).collect();
    let others: Vec<LeaseId> =
        world.machines[1..].iter().flat_map(|machine| machine.leases.at_work().map(|(lease, _)| lease)).collect();
    let observed = world.machines[0].observed.clone();
    let generation = world.machines[0].leases.generation;

    // Somebody reads the victim's log at this moment.
    let hub = world.yard.mill.hub.clone();
    let kind = StreamKind::Log { from: 0, follow: false };
    let reading = tokio::spawn(async move { hub.open_stream(victim, LeaseId::from_u128(1), kind).await });
    let asked = tokio::time::timeout(Duration::from_secs(60), world.line(1).1.orders.recv()).await.unwrap();
    let Some(ToAgent::OpenStream { stream, .. }) = asked.map(|order| *order) else { panic!("nothing was asked") };

    let mill = world.yard.mill.clone();
    let seq = gristmill::store::events::last_event(&mill.store.read().unwrap()).unwrap();
    let before = dump(&mill.store.read().unwrap(), evil);
    let foreign = world.line(1).2 + 100;
    let (conversation, _, epoch) = world.line(0);
    // An empty list names nobody: said under its own epoch it would be the node's own word that it has nothing.
    let by_others = recorded.iter().filter(|(node, text)| *node != evil && !text.contains("\"leases\":[]"));
    for (_, text) in by_others {
        // As it was, and as if it were its own connection's.
        say(conversation, serde_json::from_str(text).unwrap()).await;
        say(conversation, with_epoch(text, epoch)).await;
    }
    for epoch in [epoch, foreign] {
        for message in claims(epoch, generation, &others) {
            say(conversation, message).await;
        }
        say(conversation, FromAgent::Heartbeat { epoch, clock: Instant::from_millis(now()) }).await;
        say(conversation, FromAgent::Observed { epoch, observed: Box::new(observed.clone()) }).await;
        let gpus = vec![GpuReading { uuid: "GPU-of-another".to_owned(), ..GpuReading::default() }];
        let (clock, xids) = (Instant::from_millis(now()), Vec::new());
        say(conversation, FromAgent::Samples { epoch, clock, gpus, xids, kernel_log: None }).await;
        say(conversation, FromAgent::Here { epoch, question: 1 }).await;
    }
    // Its own leases under a foreign epoch count as little, and so do they beside those of others.
    for message in claims(foreign, generation, &own) {
        say(conversation, message).await;
    }
    let together: Vec<LeaseId> = own.iter().chain(&others).copied().collect();
    for message in claims(epoch, generation, &together) {
        say(conversation, message).await;
    }
    say(conversation, FromAgent::StreamRefused { stream, why: "no".to_owned() }).await;
    say(conversation, FromAgent::StreamRefused { stream: StreamId::from_u128(5), why: "no".to_owned() }).await;
    assert!(mill.hub.streams.meet(evil, stream).is_none(), "another's stream is handed out");

    // The one line for the admins, and nothing else.
    let view = mill.store.read().unwrap();
    assert_eq!(oversteps(&view, seq), [(evil, 1)], "however often, one line an hour");
    let told = |difference: &String| {
        difference.contains("node_overstepped") || ["meta", "cursors"].iter().any(|t| difference.starts_with(t))
    };
    let changed: Vec<String> =
        differences(&before, &dump(&view, evil)).into_iter().filter(|difference| !told(difference)).collect();
    assert!(changed.is_empty(), "{changed:#?}");
    assert!(!reading.is_finished(), "the victim's stream was refused by another");
    mill.hub.streams.refuse(victim, stream, "not now");
    assert!(reading.await.unwrap().is_err());
    drop(view);
    world.pass(Span::from_hours(2)).await;
    let (conversation, _, epoch) = world.line(0);
    for message in claims(epoch, generation, &others) {
        say(conversation, message).await;
    }
    let view = mill.store.read().unwrap();
    let lines = oversteps(&view, seq);
    assert!(lines.len() == 2 && lines[1].1 > 10, "the next line says how many there were: {lines:?}");
    world.yard.verify();
}

#[tokio::test]
async fn a_node_that_claims_anothers_hardware_closes_itself_alone() {
    let mut world = at_work().await;
    let (evil, observed) = (world.machines[0].node, world.machines[1].observed.clone());
    let mill = world.yard.mill.clone();
    let before = dump(&mill.store.read().unwrap(), evil);
    let (conversation, _, epoch) = world.line(0);
    say(conversation, FromAgent::Observed { epoch, observed: Box::new(observed) }).await;
    let changed = differences(&before, &dump(&mill.store.read().unwrap(), evil));
    assert!(changed.iter().any(|row| row.starts_with("nodes: ") && row.contains("closed")), "{changed:#?}");
    // Its own row, its own units, and what is told of it.
    for row in &changed {
        let own = row.contains(&evil.to_string());
        assert!(own || row.starts_with("meta") || row.starts_with("cursors"), "{row}");
    }
}
