//! What nodes say that is not theirs to say: another's lease, another's stream, another connection's epoch. It is rejected
//! where it is said; here it is counted and written down for the admins. It refuses to write more than one line in an hour
//! for a node, so that one gone bad fills no disk: the line says how often.
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant as Monotonic};

use crate::app::mill::Mill;
use crate::base::ids::NodeId;
use crate::domain::event::{Cause, Event};
use crate::store::changes::Changes;
use crate::store::command::Command;

/// Between two lines about one node.
const WRITE_EVERY: Duration = Duration::from_secs(3600);

/// What was reached for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    Lease,
    Stream,
    Epoch,
    Process,
}

impl Reach {
    const fn words(self) -> &'static str {
        match self {
            Self::Lease => "a lease that is not its own",
            Self::Stream => "a stream that another node was asked for",
            Self::Process => "a process of another node",
            Self::Epoch => "the epoch of another connection",
        }
    }
}

/// Counts by node; in memory, since what has been written down is in the events.
#[derive(Default)]
pub struct Overreaches(Mutex<HashMap<NodeId, Count>>);

#[derive(Default)]
struct Count {
    unwritten: u64,
    written: Option<Monotonic>,
}

impl Overreaches {
    /// Counts one; answers how many there were since the last line, when it is time for one.
    fn count(&self, node: NodeId, now: Monotonic) -> Option<u64> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(node).or_default();
        count.unwritten += 1;
        if count.written.is_some_and(|at| now.saturating_duration_since(at) < WRITE_EVERY) {
            return None;
        }
        count.written = Some(now);
        Some(std::mem::take(&mut count.unwritten))
    }
}

/// A node reached for what is not its own; nothing came of it.
pub async fn note(mill: &Mill, node: NodeId, reach: Reach) {
    let Some(times) = mill.hub.overreaches.count(node, mill.hub.ticks()) else { return };
    let what = reach.words();
    tracing::warn!(%node, what, times, "a node names what is not its own; it is rejected");
    let decide = move |_: &crate::store::View<'_>, _| {
        let mut changes = Changes::new();
        changes.event(Cause::Node(node), Event::NodeOverstepped { node, what: what.to_owned(), times });
        Ok((changes, ()))
    };
    if let Err(error) = mill.store.write(Command::new(Cause::Node(node)), decide).await {
        tracing::warn!(%error, "it could not be written down");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_written_at_once_and_then_one_line_an_hour() {
        let (all, node, now) = (Overreaches::default(), NodeId::from_u128(1), Monotonic::now());
        assert_eq!(all.count(node, now), Some(1));
        for _ in 0..100_000 {
            assert_eq!(all.count(node, now + Duration::from_secs(3599)), None);
        }
        assert_eq!(all.count(NodeId::from_u128(2), now), Some(1));
        assert_eq!(all.count(node, now + WRITE_EVERY), Some(100_001));
    }
}
