//! What was done to a pool, by whom and why: read from the events, the newest first. It refuses to look further back than
//! a page can hold.
use super::history::{Entry, who};
use crate::base::ids::PoolId;
use crate::domain::event::{Event, Recorded};
use crate::store::read::{Order, Read, StoreError};

/// Events looked through, the newest first.
const LOOKED_BACK: usize = 20_000;
/// Entries shown.
const SHOWN: usize = 20;

/// The last things that happened to a pool.
pub fn of_pool(view: &impl Read, pool: PoolId) -> Result<Vec<Entry>, StoreError> {
    let events: Vec<Recorded> = view.list(&[], Order::Descending, LOOKED_BACK)?;
    let mut entries = Vec::new();
    for event in events {
        let Some(what) = words(&event.event, pool) else { continue };
        entries.push(Entry { at: event.at, what, who: who(view, event.cause)? });
        if entries.len() == SHOWN {
            break;
        }
    }
    Ok(entries)
}

fn words(event: &Event, of: PoolId) -> Option<String> {
    let (pool, said) = match event {
        Event::PoolMade { pool } => (pool, "was made".to_owned()),
        Event::PoolRenamed { pool, from, to } => (pool, format!("was renamed from {from} to {to}")),
        Event::PoolChanged { pool, what, why, .. } => (pool, format!("{what}. {why}")),
        Event::PoolAdmissionChanged { pool } => (pool, "admits nodes otherwise than before".to_owned()),
        Event::NodeMoved { pool, .. } => (pool, "a node was moved here".to_owned()),
        _ => return None,
    };
    (*pool == of).then_some(said)
}
