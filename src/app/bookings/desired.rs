//! What shall be on a node now: its leases that are about to start, run, or have to be taken back. The node makes it so
//! and makes no choices. It refuses to name anything of other nodes.
use super::leases;
use crate::base::ids::NodeId;
use crate::base::window::Instant;
use crate::domain::bookings::booking::{Booking, Workload};
use crate::domain::bookings::lease::{Lease, LeaseState};
use crate::domain::bookings::schedule::LEAD;
use crate::domain::fleet::node::Unit;
use crate::domain::people::member::Member;
use crate::store::read::{Read, StoreError};
use crate::wire::node::{DesiredGpu, DesiredLease, DesiredMember, DesiredWorkload};

/// The full list for a node. Leases appear a day before their start, and stay until the node says that they are over.
pub fn desired(view: &impl Read, node: NodeId, now: Instant) -> Result<Vec<DesiredLease>, StoreError> {
    leases::on_node(view, node)?
        .iter()
        .filter(|lease| lease.window.start().minus(LEAD) <= now)
        .map(|lease| one(view, lease))
        .collect()
}

fn one(view: &impl Read, lease: &Lease) -> Result<DesiredLease, StoreError> {
    let booking = view.must::<Booking>(&lease.booking)?;
    let member = view.must::<Member>(&booking.member)?;
    let grace = leases::policy(view, lease.node)?.grace;
    let mut gpus = Vec::new();
    for unit in &lease.units {
        let unit = view.must::<Unit>(unit)?;
        gpus.push(DesiredGpu { uuid: unit.uuid, minor: unit.minor });
    }
    // Told to stop, work still has its grace: an end in the present would be a kill.
    let (run, end) = match lease.state {
        LeaseState::Stopping { since, .. } => (false, lease.window.end().max(since.plus(grace))),
        _ => (true, lease.window.end()),
    };
    Ok(DesiredLease {
        lease: lease.id,
        attempt: lease.attempt,
        revision: lease.revision,
        start: lease.window.start(),
        end,
        grace,
        run,
        gpus,
        share: lease.share,
        workload: match booking.ask.workload {
            Workload::Batch { command } => DesiredWorkload::Batch { command },
            Workload::Workspace | Workload::Ray => DesiredWorkload::Workspace,
        },
        member: DesiredMember { home: member.id.to_string(), name: member.name.to_string(), uid: member.uid },
        title: booking.ask.title,
    })
}
