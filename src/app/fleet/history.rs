//! What was done to a node, by whom and why: read from the events, the newest first. It refuses to look further back than
//! a page can hold.
use crate::base::ids::NodeId;
use crate::base::window::Instant;
use crate::domain::event::{Cause, Event, Recorded};
use crate::domain::people::member::Member;
use crate::store::read::{Order, Read, StoreError};

/// Events looked through, the newest first.
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
    let events: Vec<Recorded> = view.list(&[], Order::Descending, LOOKED_BACK)?;
    let mut entries = Vec::new();
    for event in events {
        if entries.len() == SHOWN {
            break;
        }
        let Some(what) = words(&event.event, node) else { continue };
        entries.push(Entry { at: event.at, what, who: who(view, event.cause)? });
    }
    Ok(entries)
}

fn who(view: &impl Read, cause: Cause) -> Result<String, StoreError> {
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

fn words(event: &Event, of: NodeId) -> Option<String> {
    let (node, said) = match event {
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
        Event::MaintenanceCancelled { node, .. } => (node, "maintenance was called off".to_owned()),
        Event::BookingRelocated { node, .. } => (node, "took over a booking of another node".to_owned()),
        _ => return None,
    };
    (*node == of).then_some(said)
}
