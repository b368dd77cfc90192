//! What was done to a node, by whom and why: read from the events, the newest first. An index by node follows the events
//! as one of their cursors, so that a page finds a node's few among everybody's many, also in a database that is older
//! than the index. It refuses to say less than the events do: what the index has not reached is looked through.
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;

use crate::app::error::Answer;
use crate::app::mill::Mill;
use crate::base::ids::NodeId;
use crate::base::window::Instant;
use crate::domain::event::{Cause, Event, Recorded};
use crate::domain::people::member::Member;
use crate::store::changes::Changes;
use crate::store::events::{Subscription, cursor, events_after, last_event};
use crate::store::read::{Order, Read, StoreError};
use crate::store::record::Key as _;
use crate::store::tables::Table;
use crate::store::{Command, View};

/// The name of the index among the followers of the events.
const FOLLOWER: &str = "events-by-node";
/// Events followed in one transaction.
const STEP: usize = 2048;
/// After something happened to a node, the index waits so long for more to come with it.
const GATHER: Duration = Duration::from_secs(5);
/// Events that the index has not reached and that a page looks through, the newest first.
const LOOKED_BACK: usize = 20_000;
/// Entries shown.
const SHOWN: usize = 30;

pub struct Entry {
    pub at: Instant,
    pub what: String,
    pub who: String,
}

/// The last things that happened to a node.
pub fn of_node(view: &impl Read, node: NodeId) -> Result<Vec<Entry>, StoreError> {
    let reached = cursor(view, FOLLOWER)?;
    let ahead = usize::try_from(last_event(view)?.saturating_sub(reached)).unwrap_or(usize::MAX);
    let mut events: Vec<Recorded> = view.list(&[], Order::Descending, ahead.min(LOOKED_BACK))?;
    let indexed: Vec<Recorded> = view.list_via(Table::EventsByNode, &node.bytes(), Order::Descending, SHOWN)?;
    events.extend(indexed);
    let mut entries = Vec::new();
    for event in events {
        if entries.len() == SHOWN {
            break;
        }
        let Some((_, what)) = words(&event.event).filter(|(of, _)| *of == node) else { continue };
        entries.push(Entry { at: event.at, what, who: who(view, event.cause)? });
    }
    Ok(entries)
}

/// Follows the events for as long as the mill runs.
pub async fn run(mill: Mill) {
    let mut commits = mill.store.subscribe();
    loop {
        match follow(&mill).await {
            // There is more than fits a step.
            Ok(followed) if followed == STEP => continue,
            Ok(_) => {}
            Err(problem) => tracing::warn!(%problem, "the index of what happened to nodes waits"),
        }
        told(&mut commits).await;
        tokio::time::sleep(GATHER).await;
    }
}

/// Until something happens to a node, or so much to others that the way back to the index would grow long.
async fn told(commits: &mut Subscription) {
    let mut others = 0;
    while others < STEP {
        match commits.recv().await {
            Ok(commit) if commit.events.iter().any(|event| words(&event.event).is_some()) => return,
            Ok(commit) => others += commit.events.len(),
            Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Takes the next events into the index; answers how many were looked at.
pub async fn follow(mill: &Mill) -> Answer<usize> {
    let decide = |view: &View<'_>, _: Instant| {
        let mut changes = Changes::new();
        let events = events_after(view, cursor(view, FOLLOWER)?, STEP)?;
        for event in &events {
            if let Some((node, _)) = words(&event.event) {
                changes.index(Table::EventsByNode, &(node, event.seq), &event.seq);
            }
        }
        if let Some(last) = events.last() {
            changes.advance(FOLLOWER, last.seq);
        }
        Ok((changes, events.len()))
    };
    Ok(mill.store.write(Command::new(Cause::Mill), decide).await?)
}

pub(super) fn who(view: &impl Read, cause: Cause) -> Result<String, StoreError> {
    Ok(match cause {
        Cause::Member(member) => {
            view.get::<Member>(&member)?.map_or_else(|| "a former member".to_owned(), |member| member.name.to_string())
        }
        Cause::Node(_) => "the node".to_owned(),
        Cause::Mill => "the mill".to_owned(),
        Cause::Operator => "the operator".to_owned(),
        Cause::Anonymous => "nobody signed in".to_owned(),
    })
}

/// The node that an event is about, and what it says of it.
fn words(event: &Event) -> Option<(NodeId, String)> {
    let (&node, said) = match event {
        Event::NodeJoined { node } => (node, "joined".to_owned()),
        Event::NodeAdmitted { node } => (node, "was admitted".to_owned()),
        Event::NodeConnected { node, epoch } => (node, format!("connected (epoch {epoch})")),
        Event::NodeLost { node, epoch } => (node, format!("was lost (epoch {epoch})")),
        Event::NodeHardwareChanged { node } => (node, "reported other hardware".to_owned()),
        Event::NodeRevoked { node } => (node, "was revoked".to_owned()),
        Event::NodeDoubled { node } => (node, "a second machine came with its key and was turned away".to_owned()),
        Event::NodeReturned { node } => (node, "came back with its key after its certificate had ended".to_owned()),
        Event::NodeUpgradeAsked { node } => (node, "was asked to become the mill’s version".to_owned()),
        Event::NodeOverstepped { node, what, times } => {
            let often = if *times == 1 { String::new() } else { format!(", {times} times") };
            (node, format!("named {what}{often}; it was rejected"))
        }
        Event::NodeRetired { node, why } => (node, format!("was retired: {why}")),
        Event::NodeRenamed { node, from, to } => (node, format!("was renamed from {from} to {to}")),
        Event::NodeMoved { node, .. } => (node, "was moved to another pool".to_owned()),
        Event::NodeDuty { node, duty, why } if why.is_empty() => (node, format!("is {duty}")),
        Event::NodeDuty { node, duty, why } => (node, format!("is {duty}: {why}")),
        Event::MaintenanceAnnounced { node, why, .. } => (node, format!("maintenance was announced: {why}")),
        Event::UnbookedSeen { node, .. } => (node, "a process was seen on its GPUs without a booking".to_owned()),
        Event::UnbookedOrdered { node, .. } => (node, "was told to end a process without a booking".to_owned()),
        Event::UnbookedRefused { node, why, .. } => (node, format!("did not end a process without a booking: {why}")),
        Event::MaintenanceCancelled { node, .. } => (node, "maintenance was called off".to_owned()),
        Event::GpuMoved { node, from, to, why, .. } => {
            (node, format!("has a GPU that went from {from} to {to}: {why}"))
        }
        Event::EvidenceContested { node, why, .. } => (node, format!("had evidence contested: {why}")),
        Event::ContestDecided { node, accepted, why, .. } => {
            let said = if *accepted { "struck out" } else { "kept" };
            (node, format!("had contested evidence {said}: {why}"))
        }
        Event::BookingRelocated { node, .. } => (node, "took over a booking of another node".to_owned()),
        _ => return None,
    };
    Some((node, said))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::fleet::hub::Hub;
    use crate::app::trust::seal::Seal;
    use crate::store::Store;

    const NODE: NodeId = NodeId::from_u128(7);
    const OTHER: NodeId = NodeId::from_u128(8);

    fn mill() -> Mill {
        let store = Store::memory(|| Instant::from_seconds(100));
        let dir = std::env::temp_dir().join(format!("gristmill-history-{}", std::process::id()));
        let seal = Seal::load_or_create(&dir.join("seal.key")).unwrap();
        let _ = std::fs::remove_dir_all(&dir);
        Mill::new(store, seal.into(), Hub::new(), "http://127.0.0.1", &dir)
    }

    async fn happen(mill: &Mill, events: Vec<Event>) {
        let decide = move |_: &View<'_>, _: Instant| {
            let mut changes = Changes::new();
            for event in &events {
                changes.event(Cause::Mill, event.clone());
            }
            Ok((changes, ()))
        };
        mill.store.write(Command::new(Cause::Mill), decide).await.unwrap();
    }

    fn told(mill: &Mill, node: NodeId) -> Vec<String> {
        let view = mill.store.read().unwrap();
        of_node(&view, node).unwrap().into_iter().map(|entry| entry.what).collect()
    }

    #[tokio::test]
    async fn a_node_is_told_the_same_before_during_and_after_the_index_caught_up() {
        let mill = mill();
        happen(&mill, vec![Event::NodeJoined { node: NODE }, Event::NodeJoined { node: OTHER }]).await;
        happen(&mill, vec![Event::BackupMade; STEP]).await;
        happen(&mill, vec![Event::NodeAdmitted { node: NODE }]).await;
        let whole = ["was admitted", "joined"];
        assert_eq!(told(&mill, NODE), whole);
        assert_eq!(follow(&mill).await.unwrap(), STEP);
        assert_eq!(told(&mill, NODE), whole, "half of it is in the index");
        assert_eq!(follow(&mill).await.unwrap(), 3);
        assert_eq!(told(&mill, NODE), whole);
        assert_eq!(follow(&mill).await.unwrap(), 0);
        happen(&mill, vec![Event::NodeLost { node: NODE, epoch: 3 }]).await;
        assert_eq!(told(&mill, NODE), ["was lost (epoch 3)", "was admitted", "joined"]);
        assert_eq!(told(&mill, OTHER), ["joined"]);
        mill.store.clone().stop();
    }
}
