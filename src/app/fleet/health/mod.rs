//! What nodes tell of their GPUs' health, and what follows: readings and Xids are sifted in memory, news goes through the
//! rules in one transaction with its evidence, and what is out of service leaves the calendar in that same transaction. It
//! refuses to believe a node about any GPU but its own, and to let a talkative one fill the disk.
use std::sync::{Arc, OnceLock};

use crate::app::error::Answer;
use crate::app::mill::Mill;
use crate::base::ids::NodeId;
use crate::base::telemetry::GpuReading;
use crate::base::window::{Instant, Span};
use crate::base::xid::XidFact;
use crate::domain::fleet::xid::Table;

mod note;
pub mod show;
mod sift;
mod tend;
pub mod word;

pub use note::take;
pub use sift::{Sighting, What};
pub use tend::{keep, tend};

/// What was heard of all nodes lately, and the table by which Xids are judged.
#[derive(Default)]
pub struct Watch {
    sieve: sift::Sieve,
    table: OnceLock<Arc<Table>>,
}

impl Watch {
    /// Judges Xids by this table from now on.
    pub fn judge_by(&self, table: Table) {
        if self.table.set(Arc::new(table)).is_err() {
            tracing::warn!("Xids are judged by one table; a second one was not taken");
        }
    }

    /// The table in force.
    pub fn table(&self) -> Arc<Table> {
        Arc::clone(self.table.get_or_init(|| Arc::new(Table::built_in())))
    }

    /// Why a node's kernel log is no source of Xids; `None` where it is, or nothing was said.
    pub fn kernel_log(&self, node: NodeId) -> Option<String> {
        self.sieve.kernel_log(node)
    }
}

/// What a node says at once, apart from the readings that are kept.
pub struct Told<'a> {
    pub gpus: &'a [GpuReading],
    pub xids: Vec<XidFact>,
    pub kernel_log: Option<String>,
    /// The node's clock when it said so.
    pub clock: Instant,
}

/// Takes in what a node tells; writes only where there is news.
pub async fn hear(mill: &Mill, node: NodeId, told: Told<'_>, now: Instant) -> Answer<()> {
    // A clock that is off by more than takes leases is not believed about the past either.
    let offset = now.since(told.clock);
    let limit = crate::domain::fleet::node::SKEW_LIMIT.as_millis();
    let offset = Span::from_millis(offset.as_millis().clamp(-limit, limit));
    let sightings = mill.health.sieve.sift(node, told, offset, now);
    if sightings.is_empty() { Ok(()) } else { take(mill, node, sightings).await }
}
