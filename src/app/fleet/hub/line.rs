//! One connection between a node and the hub: the orders on their way, the wish to have it closed, and whether who is at
//! the other end still answers. It refuses to know how messages are carried.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};

use crate::base::ids::NodeId;
use crate::wire::node::ToAgent;

/// Orders to open streams that wait for a slow link; more are refused.
const QUEUE: usize = 64;

/// The hub's end of one connection.
pub struct Link {
    pub node: NodeId,
    pub epoch: u64,
    pub(in crate::app::fleet) orders: mpsc::Sender<Box<ToAgent>>,
    /// Its desired state may have changed.
    pub(in crate::app::fleet) wake: Notify,
    /// Why it must close, once it must.
    pub(in crate::app::fleet) fence: watch::Sender<Option<String>>,
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

impl LinkEnd {
    pub(super) fn new(node: NodeId, epoch: u64) -> Self {
        let (orders, orders_end) = mpsc::channel(QUEUE);
        let (fence, fenced) = watch::channel(None);
        let (asked, here) = (AtomicU64::new(0), watch::Sender::new(0));
        let link = Arc::new(Link { node, epoch, orders, wake: Notify::new(), fence, asked, here });
        Self { link, orders: orders_end, fenced }
    }
}

impl Link {
    /// It has answered a question.
    pub fn answered(&self, question: u64) {
        self.here.send_if_modified(|last| {
            let newer = question > *last && question <= self.asked.load(Ordering::Acquire);
            if newer {
                *last = question;
            }
            newer
        });
    }

    pub(super) async fn answers(&self, patience: Duration) -> bool {
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

    pub(super) fn close(&self, why: &str) {
        self.fence.send_replace(Some(why.to_owned()));
    }
}
