//! What the last whole check of the mill came to: up to where everything was found true, or what was not. The start checks
//! what came after it. It refuses to be a repair: a checkpoint over a breach is only its record.
use serde::{Deserialize, Serialize};

use super::read::{Order, Read, StoreError};
use super::record::Record;
use super::tables::Table;
use crate::base::window::Instant;
use crate::domain::money::transfer::LedgerHead;

/// One whole check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub at: Instant,
    /// Where the chain ended in the books that were checked.
    pub chain: LedgerHead,
    /// The last event that was checked.
    pub events: u64,
    /// What did not hold, as people read it; empty where everything did.
    pub breaches: Vec<String>,
}

impl Checkpoint {
    pub const fn holds(&self) -> bool {
        self.breaches.is_empty()
    }
}

impl Record for Checkpoint {
    const TABLE: Table = Table::Checkpoints;
    type Key = Instant;

    fn key(&self) -> Instant {
        self.at
    }
}

/// Checkpoints looked at in search of one that holds: three years of nights that did not.
const MANY: usize = 1000;

/// The newest check, whatever it came to.
pub fn newest(view: &impl Read) -> Result<Option<Checkpoint>, StoreError> {
    Ok(view.list::<Checkpoint>(&[], Order::Descending, 1)?.pop())
}

/// The newest check that found everything true.
pub fn last_good(view: &impl Read) -> Result<Option<Checkpoint>, StoreError> {
    Ok(view.list::<Checkpoint>(&[], Order::Descending, MANY)?.into_iter().find(Checkpoint::holds))
}
