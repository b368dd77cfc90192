//! The one ordered table of events, and the cursors of those who follow it. It refuses gaps: only the writer numbers.
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::changes::Changes;
use super::read::{Order, Read, StoreError, prefix_bounds};
use super::record::{Key, Record};
use super::tables::Table;
use crate::base::ids::NodeId;
use crate::domain::event::Recorded;

impl Record for Recorded {
    const TABLE: Table = Table::Events;
    type Key = u64;

    fn key(&self) -> u64 {
        self.seq
    }
}

/// What one commit told the world; sent to every subscriber after the bytes are on disk.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    pub events: Vec<Recorded>,
    /// Nodes whose desired state may have changed.
    pub wake_nodes: Vec<NodeId>,
}

/// A subscription; `Lagged` means: read the events table from your cursor.
pub type Subscription = tokio::sync::broadcast::Receiver<Arc<Committed>>;

/// How far a follower has read: every event up to and including `seq` has had its effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    pub name: String,
    pub seq: u64,
}

impl Record for Cursor {
    const TABLE: Table = Table::Cursors;
    type Key = String;

    fn key(&self) -> String {
        self.name.clone()
    }
}

/// Where the named follower stands; 0 before its first event (numbers begin at 1).
pub fn cursor(reader: &impl Read, name: &str) -> Result<u64, StoreError> {
    Ok(reader.get::<Cursor>(&name.to_owned())?.map_or(0, |cursor| cursor.seq))
}

/// The events after `seq`, in order, at most `limit`.
pub fn events_after(reader: &impl Read, seq: u64, limit: usize) -> Result<Vec<Recorded>, StoreError> {
    let from = std::ops::Bound::Excluded(seq.bytes());
    let rows = reader.raw_range(Table::Events, from, std::ops::Bound::Unbounded, Order::Ascending, limit)?;
    rows.iter().map(|(_, value)| Recorded::decode(value).map_err(Into::into)).collect()
}

/// The number of the last event; 0 when there is none.
pub fn last_event(reader: &impl Read) -> Result<u64, StoreError> {
    let (from, to) = prefix_bounds(&[]);
    let rows = reader.raw_range(Table::Events, from, to, Order::Descending, 1)?;
    match rows.first() {
        Some((_, value)) => Ok(Recorded::decode(value)?.seq),
        None => Ok(0),
    }
}

impl Changes {
    /// Moves the named cursor, in the same transaction as the effect it stands for.
    pub fn advance(&mut self, name: &str, seq: u64) -> &mut Self {
        self.put(&Cursor { name: name.to_owned(), seq })
    }
}
