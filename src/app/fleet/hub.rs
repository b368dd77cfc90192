//! The live connections, by node, and when each node was last heard. In memory alone: after a restart every node that was
//! connected is given the usual silence before it counts as lost. It refuses to keep two connections of one node: the
//! higher epoch stays.
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Monotonic};

use tokio::sync::{Notify, mpsc, watch};

use super::comeback::Challenges;
use super::doubles::Doubles;
use super::overreach::Overreaches;
use super::streams::Streams;
use crate::base::ids::NodeId;
use crate::base::window::Instant;
use crate::domain::fleet::node::NodeContact;
use crate::wire::node::{LOST_AFTER, ToAgent};

/// Orders to open streams that wait for a slow link; more are refused.
const QUEUE: usize = 64;
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

/// The hub's end of one connection.
pub struct Link {
    pub node: NodeId,
    pub epoch: u64,
    pub(super) orders: mpsc::Sender<Box<ToAgent>>,
    /// Its desired state may have changed.
    pub(super) wake: Notify,
    /// Why it must close, once it must.
    pub(super) fence: watch::Sender<Option<String>>,
    /// The last question that it was asked, and the last that it answered.
    asked: AtomicU64,
    here: watch::Sender<u64>,
}

/// The connection's own end.
pub struct LinkEnd {
    pub link: Arc<Link>,
    pub orders: mpsc::Receiver<Box<ToAgent>>,
    pub fenced: watch::Receiver<Option<String>>,
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
        let (orders, orders_end) = mpsc::channel(QUEUE);
        let (fence, fenced) = watch::channel(None);
        let (asked, here) = (AtomicU64::new(0), watch::Sender::new(0));
        let link = Arc::new(Link { node, epoch, orders, wake: Notify::new(), fence, asked, here });
        let now = self.ticks();
        let known = Known { epoch, link: Some(link.clone()), heard: now, last, skew_ms, written: now, lost: false };
        let mut state = self.state();
        if state.get(&node).is_some_and(|before| before.epoch >= epoch) {
            return None;
        }
        let before = state.insert(node, known).and_then(|before| before.link);
        drop(state);
        if let Some(before) = before {
            before.close("a newer connection of this node took over");
        }
        Some(LinkEnd { link, orders: orders_end, fenced })
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

    /// The connection has answered a question.
    pub fn answered(&self, link: &Link, question: u64) {
        link.here.send_if_modified(|last| {
            let newer = question > *last && question <= link.asked.load(Ordering::Acquire);
            if newer {
                *last = question;
            }
            newer
        });
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
        NodeContact { node, epoch: self.epoch, connected: !self.lost, last: self.last, skew_ms: self.skew_ms }
    }
}

impl Link {
    async fn answers(&self, patience: Duration) -> bool {
        let question = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut here = self.here.subscribe();
        let answer = async {
            let asked = self.orders.send(Box::new(ToAgent::StillThere { question })).await.is_ok();
            asked && here.wait_for(|answered| *answered >= question).await.is_ok()
        };
        tokio::select! {
            answered = answer => answered,
            // It ended meanwhile.
            () = self.orders.closed() => false,
            () = tokio::time::sleep(patience) => false,
        }
    }

    fn close(&self, why: &str) {
        self.fence.send_replace(Some(why.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Instant {
        Instant::from_seconds(seconds)
    }

    const NODE: NodeId = NodeId::from_u128(7);

    #[test]
    fn the_higher_epoch_stays() {
        let hub = Hub::default();
        let first = hub.attach(NODE, 1, at(0), 0).unwrap();
        let second = hub.attach(NODE, 2, at(0), 0).unwrap();
        assert!(first.fenced.borrow().is_some() && second.fenced.borrow().is_none());
        assert!(hub.attach(NODE, 1, at(0), 0).is_none(), "an older epoch that comes late is refused");
        hub.detach(&first.link);
        assert!(hub.link(NODE).is_some(), "the end of the fenced connection does not touch the new one");
        hub.heard(&first.link, at(99), None);
        assert_eq!(hub.contact(NODE), Some((true, at(0))));
    }

    #[tokio::test]
    async fn who_answers_is_there_and_who_has_gone_is_not() {
        let hub = Hub::new();
        let patience = Duration::from_secs(30);
        assert!(!hub.answers(NODE, patience).await, "nobody was there");
        let mut end = hub.attach(NODE, 1, at(0), 0).unwrap();
        let ask = || {
            let hub = hub.clone();
            tokio::spawn(async move { hub.answers(NODE, patience).await })
        };
        let asking = ask();
        let Some(ToAgent::StillThere { question }) = end.orders.recv().await.map(|order| *order) else {
            panic!("no question")
        };
        hub.answered(&end.link, question + 5);
        hub.answered(&end.link, question);
        assert!(asking.await.unwrap());
        let asking = ask();
        end.orders.recv().await.unwrap();
        hub.answered(&end.link, question);
        drop(end);
        assert!(!asking.await.unwrap(), "an old answer is none, and the end of the connection is a no");
        assert!(!hub.answers(NODE, Duration::from_millis(1)).await);
    }

    #[test]
    fn silence_is_named_once() {
        let hub = Hub::default();
        let end = hub.attach(NODE, 1, at(5), 0).unwrap();
        let now = Monotonic::now();
        assert!(hub.newly_lost(now).is_empty());
        let later = now + Duration::from_secs(21);
        assert_eq!(hub.newly_lost(later), [Silent { node: NODE, epoch: 1, last: at(5) }]);
        assert!(hub.newly_lost(later).is_empty() && end.fenced.borrow().is_some());
        assert!(hub.attach(NODE, 2, at(30), 0).is_some());
        assert!(hub.newly_lost(Monotonic::now()).is_empty());
    }

    #[test]
    fn a_node_known_from_before_gets_its_time() {
        let hub = Hub::default();
        hub.expect(&NodeContact { node: NODE, epoch: 4, connected: true, last: at(1), skew_ms: 0 });
        assert!(hub.newly_lost(Monotonic::now()).is_empty());
        assert_eq!(hub.newly_lost(Monotonic::now() + Duration::from_secs(30)).len(), 1);
        assert!(hub.attach(NODE, 4, at(2), 0).is_none() && hub.attach(NODE, 5, at(2), 0).is_some());
    }

    #[test]
    fn contacts_are_written_seldom() {
        let hub = Hub::default();
        let end = hub.attach(NODE, 1, at(5), 0).unwrap();
        hub.heard(&end.link, at(6), Some(3));
        let now = Monotonic::now();
        assert!(hub.due(now).is_empty());
        let due = hub.due(now + Duration::from_secs(31));
        assert_eq!((due.len(), due[0].last, due[0].skew_ms, due[0].connected), (1, at(6), 3, true));
        assert!(hub.due(now + Duration::from_secs(70)).is_empty(), "nothing was heard since");
    }
}
