//! Leases and the calendar in step: every change of a lease's time is the same change of the occupied time of its units.
//! It refuses to free what a node may still be using: a lost node's units are unknown until the lease's end has passed.
use crate::app::ids;
use crate::base::ids::{BookingId, LeaseId, NodeId};
use crate::base::window::{Instant, Span, Window};
use crate::domain::bookings::booking::{Booking, EndCause, Exit};
use crate::domain::bookings::calendar::Calendar;
use crate::domain::bookings::lease::{Lease, LeaseState};
use crate::domain::bookings::search::Placement;
use crate::domain::bookings::supply::NodeFacts;
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::node::{Node, NodeContact, Pool, PoolPolicy};
use crate::store::bookings::put_lease;
use crate::store::changes::{CalendarChange, Changes};
use crate::store::read::{Order, Read, StoreError};
use crate::store::record::Key as _;
use crate::store::tables::Table;

/// More leases than a booking or a node has at once.
const MANY: usize = 100_000;
/// Occupied time stays on file this long after it has passed; leases themselves stay for ever.
const KEPT: Span = Span::from_days(2);
/// Slots removed for each lease that ends, at most: more than one ends up there for each.
const SWEPT: usize = 8;

/// The leases of a booking's present placement.
pub fn of_booking(view: &impl Read, booking: &Booking) -> Result<Vec<Lease>, StoreError> {
    let all: Vec<Lease> = view.list_via(Table::LeasesByBooking, &booking.id.bytes(), Order::Ascending, MANY)?;
    Ok(all.into_iter().filter(|lease| booking.leases.contains(&lease.id)).collect())
}

/// The leases on a node that are not over.
pub fn on_node(view: &impl Read, node: NodeId) -> Result<Vec<Lease>, StoreError> {
    view.list_via(Table::LeasesByNode, &node.bytes(), Order::Ascending, MANY)
}

/// The policy that holds on a node.
pub fn policy(view: &impl Read, node: NodeId) -> Result<PoolPolicy, StoreError> {
    let node: Node = view.must(&node)?;
    Ok(view.must::<Pool>(&node.pool)?.policy)
}

/// Whether the node is connected, and when it was last heard of. A node that never was counts from its joining.
pub fn contact(view: &impl Read, node: NodeId) -> Result<(bool, Instant), StoreError> {
    match view.get::<NodeContact>(&node)? {
        Some(contact) => Ok((contact.connected, contact.last)),
        None => Ok((false, view.must::<Node>(&node)?.joined)),
    }
}

/// Whether the node is there and has said how its leases are, and until when its word about them goes: what is billed
/// follows this, and not that somebody called.
pub fn attested(view: &impl Read, node: NodeId) -> Result<(bool, Instant), StoreError> {
    match view.get::<NodeContact>(&node)? {
        Some(contact) => Ok(contact.attested()),
        None => contact(view, node),
    }
}

/// A new lease for a placement, with its time on the calendar.
pub fn grant(
    changes: &mut Changes,
    cause: Cause,
    booking: BookingId,
    placement: &Placement,
    node: &NodeFacts,
    attempt: u32,
) -> Lease {
    let lease = Lease {
        id: LeaseId::from_u128(ids::fresh()),
        booking,
        node: placement.node,
        units: placement.units.clone(),
        window: placement.window,
        turnaround: placement.turnaround,
        share: node.share(u32::try_from(placement.units.len()).unwrap_or(u32::MAX), placement.portion),
        attempt,
        revision: 1,
        acknowledged: 0,
        state: LeaseState::Granted,
        lacking: Vec::new(),
        proof: None,
    };
    for &unit in &lease.units {
        changes.occupy(unit, lease.occupied(), lease.id);
    }
    put(changes, cause, &lease);
    lease
}

/// Writes a lease, tells those who watch it, and wakes its node.
pub fn put(changes: &mut Changes, cause: Cause, lease: &Lease) {
    put_lease(changes, lease);
    changes.event(cause, Event::LeaseChanged { lease: lease.id, booking: lease.booking });
    changes.wake(lease.node);
}

/// Gives the lease another window and turnaround, on the calendar too.
pub fn reshape(changes: &mut Changes, lease: &mut Lease, window: Window, turnaround: Span) {
    let before = lease.occupied();
    lease.window = window;
    lease.turnaround = turnaround;
    let after = lease.occupied();
    if before != after {
        for &unit in &lease.units {
            changes.free(unit, before, lease.id).occupy(unit, after, lease.id);
        }
    }
}

/// When a lease became ready, if it ever did.
pub const fn ready(lease: &Lease) -> Option<Instant> {
    match lease.state {
        LeaseState::Ready { since } => Some(since),
        LeaseState::Stopping { ready, .. } | LeaseState::Ended { ready, .. } => ready,
        LeaseState::Granted | LeaseState::Starting { .. } | LeaseState::Failed { .. } => None,
    }
}

/// Tells the node to take a lease back. With `at_once`, what lies beyond a grace is free for others from now on; without,
/// the units stay taken until the node confirms or the lease's end has passed.
pub fn stop(
    changes: &mut Changes,
    cause: Cause,
    mut lease: Lease,
    now: Instant,
    why: EndCause,
    at_once: Option<PoolPolicy>,
) -> Lease {
    if lease.is_over() || matches!(lease.state, LeaseState::Stopping { .. }) {
        return lease;
    }
    lease.state = LeaseState::Stopping { ready: ready(&lease), since: now, cause: why };
    lease.revision += 1;
    if let Some(policy) = at_once {
        let until = now.ceil_second().plus(policy.grace).plus(policy.turnaround);
        shorten(changes, &mut lease, now, until);
    }
    put(changes, cause, &lease);
    lease
}

/// Ends the granted time now and keeps the units until `until`; neither later than before.
fn shorten(changes: &mut Changes, lease: &mut Lease, now: Instant, until: Instant) {
    let kept = lease.occupied().end().min(until);
    let end = now.ceil_second().min(lease.window.end());
    let Ok(window) = Window::new(lease.window.start(), end) else { return };
    reshape(changes, lease, window, kept.since(end.min(kept)));
}

/// How a lease came to its end.
#[derive(Clone, Debug)]
pub struct Close {
    pub at: Instant,
    pub ready: Option<Instant>,
    pub cause: EndCause,
    pub exit: Option<Exit>,
}

/// The lease is over: the rest of its time is free after the turnaround.
pub fn end(
    view: &impl Read,
    changes: &mut Changes,
    calendar: &Calendar,
    cause: Cause,
    mut lease: Lease,
    close: Close,
) -> Result<Lease, StoreError> {
    let Close { at, ready, cause: why, exit } = close;
    lease.state = LeaseState::Ended { ready, at, cause: why, exit };
    clear(view, changes, calendar, cause, lease, at)
}

/// The lease never became ready.
pub fn fail(
    view: &impl Read,
    changes: &mut Changes,
    calendar: &Calendar,
    cause: Cause,
    mut lease: Lease,
    at: Instant,
    why: String,
) -> Result<Lease, StoreError> {
    lease.state = LeaseState::Failed { at, why };
    clear(view, changes, calendar, cause, lease, at)
}

fn clear(
    view: &impl Read,
    changes: &mut Changes,
    calendar: &Calendar,
    cause: Cause,
    mut lease: Lease,
    at: Instant,
) -> Result<Lease, StoreError> {
    let turnaround = policy(view, lease.node)?.turnaround;
    if at <= lease.window.start() {
        for &unit in &lease.units {
            changes.free(unit, lease.occupied(), lease.id);
        }
    } else {
        shorten(changes, &mut lease, at, at.ceil_second().plus(turnaround));
    }
    sweep(view, changes, calendar, &lease, at)?;
    put(changes, cause, &lease);
    Ok(lease)
}

/// Removes what passed long ago from the lanes of a lease's units, a little for every lease that ends, so that the
/// calendar does not grow for ever and no task has to walk all of it.
fn sweep(
    view: &impl Read,
    changes: &mut Changes,
    calendar: &Calendar,
    lease: &Lease,
    now: Instant,
) -> Result<(), StoreError> {
    for &unit in &lease.units {
        for slot in calendar.lane(unit).iter().take(SWEPT) {
            if slot.window.end() >= now.minus(KEPT) || slot.lease == lease.id {
                break;
            }
            // Several leases may end in one decision, and the calendar shows none of it yet.
            let free = CalendarChange::Free { unit, window: slot.window, lease: slot.lease };
            if view.must::<Lease>(&slot.lease)?.is_over() && !changes.calendar.contains(&free) {
                changes.calendar.push(free);
            }
        }
    }
    Ok(())
}
