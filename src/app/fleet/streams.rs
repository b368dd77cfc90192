//! Where the two ends of a stream meet: somebody asks for a terminal or a log, the node is told to dial, and what it dials
//! is handed to the one who asked. It refuses to hand a stream to another node's connection, and forgets who is not met.
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::DuplexStream;
use tokio::sync::oneshot;

use super::hub::Hub;
use crate::app::ids;
use crate::base::ids::{LeaseId, NodeId, StreamId};
use crate::base::text::without_control;
use crate::wire::node::{STREAM_WAIT, StreamKind, ToAgent};

/// Bytes that wait in each direction; then the sender waits.
pub const BUFFER: usize = 128 * 1024;
/// Streams that may wait to be met, of all nodes together.
const MOST_WAITING: usize = 1024;

/// Why there is no stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamProblem {
    #[error("The node is not connected. It is away or starting; try again in a moment.")]
    NodeAway,
    #[error(
        "The node did not open the connection within 10 seconds. Try again; its page shows whether it is reachable."
    )]
    NotMet,
    #[error("The node refused: {0}")]
    Refused(String),
    #[error("Too many connections are being opened at once. Try again in a moment.")]
    Busy,
}

/// The end of a stream for the one who asked, or why there is none.
pub type Met = Result<DuplexStream, StreamProblem>;

struct Waiting {
    node: NodeId,
    met: oneshot::Sender<Met>,
}

/// The streams that wait for their other end.
#[derive(Default)]
pub struct Streams(Mutex<HashMap<StreamId, Waiting>>);

impl Streams {
    fn waiting(&self) -> MutexGuard<'_, HashMap<StreamId, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node has dialled: its side of the stream, or `None` when nobody waits for this stream of this node.
    pub fn meet(&self, node: NodeId, stream: StreamId) -> Option<DuplexStream> {
        let met = self.take(node, stream)?;
        let (asker, dialler) = tokio::io::duplex(BUFFER);
        met.send(Ok(asker)).ok()?;
        Some(dialler)
    }

    /// The node says that it cannot.
    pub fn refuse(&self, node: NodeId, stream: StreamId, why: &str) {
        if let Some(met) = self.take(node, stream) {
            let why: String = without_control(why).chars().take(500).collect();
            // Whoever asked may have given up.
            let _ = met.send(Err(StreamProblem::Refused(why)));
        }
    }

    /// Whether somebody waits for this stream from another node.
    pub fn is_anothers(&self, node: NodeId, stream: StreamId) -> bool {
        self.waiting().get(&stream).is_some_and(|waiting| waiting.node != node)
    }

    fn take(&self, node: NodeId, stream: StreamId) -> Option<oneshot::Sender<Met>> {
        let mut waiting = self.waiting();
        // A stream of another node looks like one that does not exist.
        if waiting.get(&stream)?.node != node {
            return None;
        }
        waiting.remove(&stream).map(|found| found.met)
    }
}

/// Removes the entry when the one who asked goes away.
struct Entry<'a>(&'a Streams, StreamId);

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.0.waiting().remove(&self.1);
    }
}

impl Hub {
    /// A connection to a lease's shim through its node. What travels on it are the frames of `wire/frame.rs`. The agent
    /// sends the opening request (attach or follow) that `kind` names, so the first frame to come back is its answer.
    pub async fn open_stream(&self, node: NodeId, lease: LeaseId, kind: StreamKind) -> Met {
        let wait = Duration::from_millis(u64::try_from(STREAM_WAIT.as_millis()).unwrap_or(0));
        self.open_stream_within(wait, node, lease, kind).await
    }

    async fn open_stream_within(&self, wait: Duration, node: NodeId, lease: LeaseId, kind: StreamKind) -> Met {
        let link = self.link(node).ok_or(StreamProblem::NodeAway)?;
        let stream = StreamId::from_u128(ids::fresh());
        let (met, meeting) = oneshot::channel();
        {
            let mut waiting = self.streams.waiting();
            if waiting.len() >= MOST_WAITING {
                return Err(StreamProblem::Busy);
            }
            waiting.insert(stream, Waiting { node, met });
        }
        let _entry = Entry(&self.streams, stream);
        link.orders.try_send(Box::new(ToAgent::OpenStream { stream, lease, kind })).map_err(|_| StreamProblem::Busy)?;
        match tokio::time::timeout(wait, meeting).await {
            Ok(Ok(met)) => met,
            Ok(Err(_)) | Err(_) => Err(StreamProblem::NotMet),
        }
    }
}

#[cfg(test)]
mod tests;
