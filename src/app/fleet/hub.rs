//! The live connections, by node, and when each node was last heard. In memory alone: after a restart every node that was
//! connected is given the usual silence before it counts as lost. It refuses to keep two connections of one node: the
//! higher epoch stays.
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Monotonic};

use tokio::sync::watch;

mod line;

pub use self::line::{Link, LinkEnd};
use super::comeback::Challenges;
use super::doubles::Doubles;
use super::overreach::Overreaches;
use super::streams::Streams;
use crate::base::ids::NodeId;
use crate::base::window::Instant;
use crate::domain::fleet::node::NodeContact;
use crate::wire::node::LOST_AFTER;

/// How often a contact is written down although nothing changed.
const WRITE_EVERY: Duration = Duration::from_secs(30);

/// Everything known about connections.
pub struct Hub {
    state: Mutex<HashMap<NodeId, Known>>,
    pub streams: Streams,
    pub overreaches: Overreaches,
    malformed: AtomicU64,
    /// When nodes were lost, the latest last; older ones than the brake counts are dropped.
    losses: Mutex<VecDeque<Monotonic>>,
    /// Machines that came with a key that is in use.
    pub doubles: Doubles,
    /// What nodes sign that come back.
    pub challenges: Challenges,
    /// Nodes that were revoked since the start: whatever they have open ends.
    cut: watch::Sender<Vec<NodeId>>,
    /// Silence is measured by a clock that never jumps; tests have their own.
    ticking: fn() -> Monotonic,
}

impl Default for Hub {
    fn default() -> Self {
        Self::by(Monotonic::now)
    }
}

struct Known {
    epoch: u64,
    /// The connection, while there is one.
    link: Option<Arc<Link>>,
    heard: Monotonic,
    /// The same moment by the mill's clock.
    last: Instant,
    skew_ms: i64,
    written: Monotonic,
    lost: bool,
}

/// A node that has been silent for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silent {
    pub node: NodeId,
    pub epoch: u64,
    pub last: Instant,
}

impl Hub {
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// With another clock for silence.
    pub fn by(ticking: fn() -> Monotonic) -> Self {
        Self {
            state: Mutex::default(),
            streams: Streams::default(),
            overreaches: Overreaches::default(),
            malformed: AtomicU64::new(0),
            losses: Mutex::default(),
            doubles: Doubles::default(),
            challenges: Challenges::default(),
            cut: watch::Sender::default(),
            ticking,
        }
    }

    /// Now, by the clock for silence.
    pub fn ticks(&self) -> Monotonic {
        (self.ticking)()
    }

    fn state(&self) -> MutexGuard<'_, HashMap<NodeId, Known>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node that was connected when the mill last stopped: it counts as heard now.
    pub fn expect(&self, contact: &NodeContact) {
        let now = self.ticks();
        self.state().entry(contact.node).or_insert(Known {
            epoch: contact.epoch,
            link: None,
            heard: now,
            last: contact.last,
            skew_ms: contact.skew_ms,
            written: now,
            lost: false,
        });
    }

    /// Registers a connection; the one before is fenced. `None` when a newer one is there already.
    pub fn attach(&self, node: NodeId, epoch: u64, last: Instant, skew_ms: i64) -> Option<LinkEnd> {
        let end = LinkEnd::new(node, epoch);
        let link = end.link.clone();
        let now = self.ticks();
        let known = Known { epoch, link: Some(link), heard: now, last, skew_ms, written: now, lost: false };
        let mut state = self.state();
        if state.get(&node).is_some_and(|before| before.epoch >= epoch) {
            return None;
        }
        let before = state.insert(node, known).and_then(|before| before.link);
        drop(state);
        if let Some(before) = before {
            before.close("a newer connection of this node took over");
        }
        Some(end)
    }

    /// The connection has ended; whether the node is lost shows later.
    pub fn detach(&self, link: &Link) {
        if let Some(known) = self.state().get_mut(&link.node).filter(|known| known.epoch == link.epoch) {
            known.link = None;
        }
    }

    /// Something was heard from the node over its present connection.
    pub fn heard(&self, link: &Link, last: Instant, skew_ms: Option<i64>) {
        if let Some(known) = self.state().get_mut(&link.node).filter(|known| known.epoch == link.epoch) {
            known.heard = self.ticks();
            known.last = last;
            known.skew_ms = skew_ms.unwrap_or(known.skew_ms);
        }
    }

    /// The node's connection, if there is one.
    pub fn link(&self, node: NodeId) -> Option<Arc<Link>> {
        self.state().get(&node).and_then(|known| known.link.clone())
    }

    /// Whether there is a connection, and when the node was last heard.
    pub fn contact(&self, node: NodeId) -> Option<(bool, Instant)> {
        self.state().get(&node).map(|known| (known.link.is_some(), known.last))
    }

    /// The node's clock minus the mill's, in milliseconds, as it was last compared.
    pub fn skew_ms(&self, node: NodeId) -> i64 {
        self.state().get(&node).map_or(0, |known| known.skew_ms)
    }

    /// Closes the node's connection; the agent logs why.
    pub fn fence(&self, node: NodeId, why: &str) {
        let link = self.link(node);
        if let Some(link) = link {
            link.close(why);
        }
    }

    /// The node was revoked: its connection closes, and so does everything that it dialled.
    pub fn cut(&self, node: NodeId, why: &str) {
        self.cut.send_modify(|cut| cut.push(node));
        self.fence(node, why);
    }

    /// Waits until the node is revoked.
    pub async fn until_cut(&self, node: NodeId) {
        let mut cut = self.cut.subscribe();
        // The hub outlives its streams; should it not, they are over anyway.
        let _ = cut.wait_for(|cut| cut.contains(&node)).await;
    }

    /// Asks the node's present connection whether it is still there; a connection that is none says no at once.
    pub async fn answers(&self, node: NodeId, patience: Duration) -> bool {
        match self.link(node) {
            Some(link) => link.answers(patience).await,
            None => false,
        }
    }

    /// The node's desired state may have changed.
    pub fn wake(&self, node: NodeId) {
        if let Some(link) = self.link(node) {
            link.wake.notify_one();
        }
    }

    /// Some wake was missed: everyone looks again.
    pub fn wake_all(&self) {
        let links: Vec<_> = self.state().values().filter_map(|known| known.link.clone()).collect();
        links.iter().for_each(|link| link.wake.notify_one());
    }

    /// The nodes that have now been silent for [`LOST_AFTER`]; each is named once, and its connection is closed.
    pub fn newly_lost(&self, now: Monotonic) -> Vec<Silent> {
        let limit = Duration::from_millis(u64::try_from(LOST_AFTER.as_millis()).unwrap_or(u64::MAX));
        let mut silent = Vec::new();
        for (&node, known) in self.state().iter_mut() {
            if known.lost || now.saturating_duration_since(known.heard) < limit {
                continue;
            }
            known.lost = true;
            if let Some(link) = known.link.take() {
                link.close("nothing was heard for too long");
            }
            silent.push(Silent { node, epoch: known.epoch, last: known.last });
        }
        silent
    }

    /// Notes losses; answers how many there were within `window`, and how many nodes are known.
    pub fn note_losses(&self, count: usize, now: Monotonic, window: Duration) -> (usize, usize) {
        let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        losses.extend(std::iter::repeat_n(now, count));
        while losses.front().is_some_and(|&at| now.saturating_duration_since(at) > window) {
            losses.pop_front();
        }
        (losses.len(), self.state().len())
    }

    /// How many of the known nodes are lost now, and how many are known.
    pub fn missing(&self) -> (usize, usize) {
        let state = self.state();
        (state.values().filter(|known| known.lost).count(), state.len())
    }

    /// The loss could not be written down: it is named again.
    pub fn lose_again(&self, silent: Silent) {
        if let Some(known) = self.state().get_mut(&silent.node).filter(|known| known.epoch == silent.epoch) {
            known.lost = false;
        }
    }

    /// The contacts to be written down now.
    pub fn due(&self, now: Monotonic) -> Vec<NodeContact> {
        let mut due = Vec::new();
        for (&node, known) in self.state().iter_mut() {
            let changed = !known.lost && known.heard > known.written;
            if changed && now.saturating_duration_since(known.written) >= WRITE_EVERY {
                known.written = now;
                due.push(known.contact(node));
            }
        }
        due
    }

    /// Counts a message that was not of the protocol.
    pub fn count_malformed(&self) {
        self.malformed.fetch_add(1, Ordering::Relaxed);
    }

    /// How many messages were not of the protocol since the start.
    pub fn malformed(&self) -> u64 {
        self.malformed.load(Ordering::Relaxed)
    }
}

impl Known {
    fn contact(&self, node: NodeId) -> NodeContact {
        let (epoch, connected, last, skew_ms) = (self.epoch, !self.lost, self.last, self.skew_ms);
        // Whether it is attested stands in the books alone: who writes this keeps what stands there.
        NodeContact { node, epoch, connected, last, skew_ms, unattested_since: None }
    }
}

#[cfg(test)]
mod tests;
