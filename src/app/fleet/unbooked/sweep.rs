//! What no reading brings about: time that was gathered before a node fell silent is posted, uses of nodes that stay
//! silent are closed, and what cost nothing is forgotten after a month. It refuses to forget what was ever billed.
use std::time::Duration;

use super::{How, bill, keep, open_on};
use crate::app::error::Answer;
use crate::app::fleet::Fleet;
use crate::app::mill::Mill;
use crate::base::ids::NodeId;
use crate::base::window::{Instant, Span};
use crate::domain::event::Cause;
use crate::domain::fleet::unbooked::{FORGOTTEN, Use};
use crate::store::View;
use crate::store::changes::Changes;
use crate::store::command::Command;
use crate::store::read::{Order, Read};
use crate::store::tables::Table;

/// How often it is looked for.
const EVERY: Duration = Duration::from_secs(300);
/// A node is silent that told no readings for so long.
const SILENT: Span = Span::from_minutes(10);
/// Uses that cost nothing are kept so long.
const KEPT: Span = Span::from_days(31);
/// Rows looked at in one go.
const STEP: usize = 500;

/// Looks until dropped.
pub async fn keep_sweeping(fleet: Fleet) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = fleet.mill.store.now();
        if let Err(error) = sweep(&fleet.mill, now).await {
            tracing::warn!(%error, "use outside bookings could not be looked through; it is tried again");
        }
    }
}

/// One round.
pub async fn sweep(mill: &Mill, now: Instant) -> Answer<()> {
    let silent: Vec<NodeId> = {
        let view = mill.store.read()?;
        let open: Vec<Use> = view.list_via(Table::OpenUses, &[], Order::Ascending, usize::MAX)?;
        let mut nodes: Vec<NodeId> =
            open.iter().filter(|known| now.since(known.last) > SILENT).map(|known| known.node).collect();
        nodes.dedup();
        nodes
    };
    for node in silent {
        of_node(mill, node, now).await?;
    }
    forget(mill).await
}

async fn of_node(mill: &Mill, node: NodeId, now: Instant) -> Answer<()> {
    let mut seen = {
        let view = mill.store.read()?;
        let mut seen = mill.unbooked.take(&view, node)?;
        // One that is on file and not in memory was left by a server before this one.
        let missing: Vec<Use> = open_on(&view, node)?
            .into_iter()
            .filter(|known| seen.open.iter().all(|other| other.id != known.id))
            .collect();
        seen.open.extend(missing);
        seen
    };
    let mut changed = Vec::new();
    for known in seen.open.iter_mut().filter(|known| known.is_believed() && now.since(known.last) > SILENT) {
        if now.since(known.last) > FORGOTTEN {
            known.close(How::Forgotten);
        }
        known.lapse();
        if known.owes() || !known.is_open() {
            changed.push(known.clone());
        }
    }
    let outcome = keep(mill, Cause::Mill, &mut seen, changed, now).await;
    mill.unbooked.put(node, seen);
    outcome
}

/// Forgets uses that have long been over and were never billed.
async fn forget(mill: &Mill) -> Answer<()> {
    let decide = |view: &View<'_>, now: Instant| {
        let mut changes = Changes::new();
        let oldest: Vec<Use> = view.list(&[], Order::Ascending, STEP)?;
        for known in oldest {
            if known.over.is_some_and(|(at, _)| now.since(at) > KEPT) && bill::of_use(view, &known)?.is_empty() {
                changes.delete::<Use>(&known.id);
            }
        }
        Ok((changes, ()))
    };
    Ok(mill.store.write(Command::new(Cause::Mill), decide).await?)
}
