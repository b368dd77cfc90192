//! Bookings' side of the seam to the machines: what each node shall run, and what its reports mean. It refuses to know
//! connections; the fleet does.
use crate::app::bookings::{desired, facts};
use crate::app::fleet::orders::{Doing, Orders};
use crate::app::mill::Mill;
use crate::base::ids::NodeId;
use crate::base::window::Instant;
use crate::domain::bookings::lease::Lease;
use crate::store::read::{Read as _, StoreError};
use crate::store::view::Snapshot;
use crate::wire::node::{DesiredLease, LeaseFact};

/// The real one.
pub struct FromBookings;

impl Orders for FromBookings {
    fn desired(&self, view: &Snapshot, node: NodeId, now: Instant) -> Result<Vec<DesiredLease>, StoreError> {
        desired::desired(view, node, now)
    }

    fn facts<'a>(&'a self, mill: &'a Mill, node: NodeId, leases: Vec<LeaseFact>, complete: bool) -> Doing<'a> {
        Box::pin(facts::apply_facts(mill, node, leases, complete))
    }

    fn strays(&self, view: &Snapshot, node: NodeId, leases: &[LeaseFact]) -> Result<usize, StoreError> {
        let mut strays = 0;
        for fact in leases {
            // One that nobody knows is what a mill forgot that was put back from a backup.
            let foreign = view.get::<Lease>(&fact.lease)?.is_some_and(|lease| lease.node != node);
            strays += usize::from(foreign);
        }
        Ok(strays)
    }

    fn lost<'a>(&'a self, mill: &'a Mill, node: NodeId, _last: Instant) -> Doing<'a> {
        Box::pin(facts::node_lost(mill, node))
    }
}
