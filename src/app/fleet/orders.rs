//! The seam between machines and bookings: bookings say what a node shall run, and hear what it does. A trait, so that the
//! fleet can be tested without a calendar. It refuses connections and epochs that are over; those end in the link.
use std::future::Future;
use std::pin::Pin;

use crate::app::error::Answer;
use crate::app::mill::Mill;
use crate::base::ids::NodeId;
use crate::base::window::Instant;
use crate::store::read::StoreError;
use crate::store::view::Snapshot;
use crate::wire::node::{DesiredLease, LeaseFact};

/// A future that a trait object can return.
pub type Doing<'a> = Pin<Box<dyn Future<Output = Answer<()>> + Send + 'a>>;

pub trait Orders: Send + Sync + 'static {
    /// Everything that shall be on the node at `now`: all its leases that are not over, those of the near future included.
    fn desired(&self, view: &Snapshot, node: NodeId, now: Instant) -> Result<Vec<DesiredLease>, StoreError>;

    /// Everything the node has, as it says. `complete`: it has seen the newest desired state, so what it does not list is
    /// not there.
    fn facts<'a>(&'a self, mill: &'a Mill, node: NodeId, leases: Vec<LeaseFact>, complete: bool) -> Doing<'a>;

    /// How many of these leases are other nodes'.
    fn strays(&self, _view: &Snapshot, _node: NodeId, _leases: &[LeaseFact]) -> Result<usize, StoreError> {
        Ok(0)
    }

    /// The node is silent since `last`: its units are unknown from here on, and nothing more is charged.
    fn lost<'a>(&'a self, mill: &'a Mill, node: NodeId, last: Instant) -> Doing<'a>;
}

/// A fleet without bookings: nothing shall run anywhere.
pub struct NoOrders;

impl Orders for NoOrders {
    fn desired(&self, _: &Snapshot, _: NodeId, _: Instant) -> Result<Vec<DesiredLease>, StoreError> {
        Ok(Vec::new())
    }

    fn facts<'a>(&'a self, _: &'a Mill, _: NodeId, _: Vec<LeaseFact>, _: bool) -> Doing<'a> {
        Box::pin(async { Ok(()) })
    }

    fn lost<'a>(&'a self, _: &'a Mill, _: NodeId, _: Instant) -> Doing<'a> {
        Box::pin(async { Ok(()) })
    }
}
