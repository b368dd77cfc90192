//! What is in the way of a node's maintenance or draining, or lost a GPU: moved to equal hardware at its own time and price, or shortened
//! to the start of the maintenance, or, when its start is near and nothing is free, given back. It refuses to change what
//! was promised without a word to whoever it was promised to.
use super::busy::Busy;
use super::leases::{self, Close};
use super::settle::{self, Scene};
use super::{House, Message, Voice};
use crate::app::error::Answer;
use crate::app::mill::Mill;
use crate::base::ids::{BookingId, MaintenanceId, NodeId};
use crate::base::window::{Instant, Window};
use crate::domain::bookings::booking::{Booking, BookingState, EndCause};
use crate::domain::bookings::lease::{Lease, LeaseState};
use crate::domain::bookings::search::{Placement, Want, exactly_at};
use crate::domain::bookings::supply::NodeFacts;
use crate::domain::bookings::{say, schedule};
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::duty::{LAST_CALL, Maintenance};
use crate::domain::fleet::node::{Node, Service, Unit};
use crate::store::changes::Changes;
use crate::store::read::{Read, StoreError};
use crate::store::{Command, Reject, View};

const CAUSE: Cause = Cause::Mill;

/// A booking that is in the way on a node, or has nothing there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub booking: BookingId,
    pub node: NodeId,
    pub need: Need,
}

/// Why a booking should be elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Maintenance(MaintenanceId),
    Draining,
    /// A GPU of it is out of service: missing, or cut into MIG instances, or put together again.
    OutOfService,
}

/// Whether a lease can still be given out on another node.
pub const fn is_waiting(lease: &Lease) -> bool {
    matches!(lease.state, LeaseState::Granted)
}

/// Takes one step; answers whether anything was changed.
pub async fn step(mill: &Mill, step: Step) -> Answer<bool> {
    let voice = Voice::of(mill);
    let decide = move |view: &View<'_>, now: Instant| {
        let house = House::read(view)?;
        let scene = Scene { view, house: &house, voice: &voice, now, cause: CAUSE };
        let mut changes = Changes::new();
        let changed = clear(&scene, view, &mut changes, step)?;
        Ok((changes, changed))
    };
    // Most steps find nothing to do, round after round: those write nothing.
    if !would(mill, &decide)? {
        return Ok(false);
    }
    Ok(mill.store.write(Command::new(CAUSE), decide).await?)
}

/// Whether it would change anything as things stand; what is refused is left to the transaction to say.
fn would(mill: &Mill, decide: &impl Fn(&View<'_>, Instant) -> Result<(Changes, bool), Reject>) -> Answer<bool> {
    let now = mill.store.now();
    let snapshot = mill.store.read()?;
    Ok(decide(&snapshot.as_view(now), now).map_or(true, |(_, changed)| changed))
}

fn clear(scene: &Scene<View<'_>>, view: &View<'_>, changes: &mut Changes, step: Step) -> Result<bool, Reject> {
    let now = scene.now;
    let booking: Booking = view.must(&step.booking)?;
    let leases = leases::of_booking(view, &booking)?;
    let Some(lease) = leases.iter().find(|lease| lease.node == step.node && !lease.is_over()) else { return Ok(false) };
    let maintenance = match step.need {
        Need::Draining => None,
        Need::OutOfService if !is_out(view, lease)? => return Ok(false),
        Need::OutOfService => None,
        Need::Maintenance(id) => match view.get::<Maintenance>(&(step.node, id))? {
            Some(row) if row.stands(now) && lease.occupied().overlaps(row.window) => Some(row),
            _ => return Ok(false),
        },
    };
    if booking.state == BookingState::Booked && leases.iter().all(is_waiting) {
        if let Some(placement) = elsewhere(scene, view, &booking, lease, step)? {
            return moved(scene, view, changes, booking, &leases, &placement, step).map(|()| true);
        }
        let Some(maintenance) = maintenance else { return Ok(false) };
        if now < booking.window.start().minus(LAST_CALL) {
            return told(scene, changes, &booking, maintenance);
        }
        // An hour of it is worth having; less than that is not what was booked.
        if booking.window.start().plus(LAST_CALL) > maintenance.window.start() {
            return given_back(scene, view, changes, &booking, leases, &maintenance).map(|()| true);
        }
        return shortened(scene, view, changes, booking, leases, &maintenance);
    }
    match maintenance {
        Some(maintenance) => shortened(scene, view, changes, booking, leases, &maintenance),
        None => Ok(false),
    }
}

fn is_out(view: &View<'_>, lease: &Lease) -> Result<bool, StoreError> {
    for unit in &lease.units {
        if view.get::<Unit>(unit)?.is_some_and(|unit| unit.service != Service::In) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Equal hardware on another node at the booking's own time.
pub(super) fn elsewhere(
    scene: &Scene<View<'_>>,
    view: &View<'_>,
    booking: &Booking,
    lease: &Lease,
    Step { node, need, .. }: Step,
) -> Result<Option<(Placement, NodeFacts)>, StoreError> {
    let supply = view.supply();
    let duration = booking.window.span();
    // What lost a GPU may well stay on its node: only what is in service is on offer there.
    let may = |other: NodeId| other != node || need == Need::OutOfService;
    let groups = supply.groups.iter().filter(|group| may(group.node) && supply.takes(group, duration));
    // Equal is what it was promised from, whatever name its rate goes by.
    let unit = lease.units.first().map(|unit| view.get::<Unit>(unit)).transpose()?.flatten();
    let start = booking.window.start();
    let want = Want {
        gpus: booking.ask.gpus,
        model: Some(unit.map_or_else(|| booking.rate.model.clone(), |unit| unit.model)),
        duration,
        now: scene.now,
        not_before: start,
        latest_start: start,
    };
    // What it has itself on its node is free for it.
    let mut calendar = view.calendar().clone();
    for &unit in &lease.units {
        // Nothing is vacated that it does not hold.
        let _ = calendar.vacate(unit, lease.occupied(), lease.id);
    }
    let found = exactly_at(groups, &Busy::read(view, &calendar, &supply, scene.now)?, &want);
    Ok(found.and_then(|placement| {
        let facts = supply.nodes.get(&placement.node)?.clone();
        Some((placement, facts))
    }))
}

pub(super) fn moved(
    scene: &Scene<View<'_>>,
    view: &View<'_>,
    changes: &mut Changes,
    before: Booking,
    leases: &[Lease],
    (placement, facts): &(Placement, NodeFacts),
    step: Step,
) -> Result<(), Reject> {
    let Scene { house, voice, now, .. } = *scene;
    drop_waiting(view, changes, leases, now)?;
    let mut after = Booking { attempt: before.attempt + 1, ..before.clone() };
    let lease = leases::grant(changes, CAUSE, after.id, placement, facts, after.attempt);
    after.share = lease.share;
    after.leases = vec![lease.id];
    changes.event(CAUSE, Event::BookingRelocated { booking: after.id, node: placement.node });
    let (because, to) = match step.need {
        Need::OutOfService if placement.node == step.node => ("a GPU of it is out of service", "to another GPU"),
        Need::OutOfService => ("a GPU of it is out of service", "to another node"),
        Need::Maintenance(_) | Need::Draining => ("its node is needed for something else", "to another node"),
    };
    let text = format!(
        "It runs on {} instead, because {because}. Time, model and price stay as they were promised.",
        match placement.node == step.node {
            true => format!("another GPU of {}", facts.name),
            false => facts.name.clone(),
        }
    );
    let message = Message { subject: format!("“{}” moves {to}", after.ask.title), text, letter: None };
    voice.tell(view, changes, &after, message, now)?;
    house.put(changes, Some(&before), after, now);
    Ok(())
}

pub(super) fn drop_waiting(
    view: &View<'_>,
    changes: &mut Changes,
    leases: &[Lease],
    now: Instant,
) -> Result<(), StoreError> {
    for lease in leases {
        let close = Close { at: lease.window.start().min(now), ready: None, cause: EndCause::Stopped, exit: None };
        leases::end(view, changes, view.calendar(), CAUSE, lease.clone(), close)?;
    }
    Ok(())
}

fn given_back(
    scene: &Scene<View<'_>>,
    view: &View<'_>,
    changes: &mut Changes,
    before: &Booking,
    leases: Vec<Lease>,
    maintenance: &Maintenance,
) -> Result<(), Reject> {
    drop_waiting(view, changes, &leases, scene.now)?;
    let node = view.must::<Node>(&maintenance.node)?.name;
    let why = format!("{node} is in maintenance then ({}), and no equal GPUs were free", maintenance.why);
    settle::give_up(scene, changes, before, &why)?;
    Ok(())
}

/// Says once that there is nothing free elsewhere as yet.
fn told(
    scene: &Scene<View<'_>>,
    changes: &mut Changes,
    booking: &Booking,
    mut maintenance: Maintenance,
) -> Result<bool, Reject> {
    if maintenance.told.contains(&booking.id) {
        return Ok(false);
    }
    let Scene { view, voice, now, house, .. } = *scene;
    let node = view.must::<Node>(&maintenance.node)?.name;
    let from = say::moment(maintenance.window.start(), &house.zone);
    let otherwise = if booking.window.start().plus(LAST_CALL) > maintenance.window.start() {
        "the booking is given back and nothing is charged"
    } else {
        "it ends when the maintenance begins, and the rest is not charged"
    };
    let text = format!(
        "{node} is in maintenance from {from} ({}). Equal GPUs are looked for until an hour before the start; if none \
         come free, {otherwise}. You can also cancel it now and book another time.",
        maintenance.why
    );
    let message =
        Message { subject: format!("Maintenance is in the way of “{}”", booking.ask.title), text, letter: None };
    voice.tell(view, changes, booking, message, now)?;
    maintenance.told.push(booking.id);
    changes.put(&maintenance);
    Ok(true)
}

/// What runs ends when the maintenance begins; what is not delivered is not charged.
fn shortened(
    scene: &Scene<View<'_>>,
    view: &View<'_>,
    changes: &mut Changes,
    before: Booking,
    leases: Vec<Lease>,
    maintenance: &Maintenance,
) -> Result<bool, Reject> {
    let Scene { house, voice, now, .. } = *scene;
    if !before.state.is_live() || matches!(before.state, BookingState::Ending { .. }) {
        return Ok(false);
    }
    let turnaround = leases.iter().map(|lease| lease.turnaround).max().unwrap_or_default();
    // Whole seconds, and not in the past: a maintenance that begins at once still leaves the grace.
    let grace = leases::policy(view, maintenance.node)?.grace;
    let end = maintenance.window.start().minus(turnaround).max(now.plus(grace)).ceil_second();
    if end >= before.window.end() {
        return Ok(false);
    }
    let Ok(window) = Window::new(before.window.start(), end) else { return Ok(false) };
    let mut after = Booking { window, ..before.clone() };
    for mut lease in leases.into_iter().filter(|lease| !lease.is_over()) {
        let turnaround = lease.turnaround;
        leases::reshape(changes, &mut lease, window, turnaround);
        lease.revision += 1;
        leases::put(changes, CAUSE, &lease);
    }
    schedule::forget_warnings(&mut after, now);
    changes.event(CAUSE, Event::BookingMoved { booking: after.id, window });
    let node = view.must::<Node>(&maintenance.node)?.name;
    let text = format!(
        "It ends {} instead of {}: {node} goes into maintenance ({}). Save your work by then. The rest is not charged.",
        say::moment(end, &house.zone),
        say::moment(before.window.end(), &house.zone),
        maintenance.why
    );
    let message = Message { subject: format!("“{}” ends earlier", after.ask.title), text, letter: None };
    voice.tell(view, changes, &after, message, now)?;
    house.put(changes, Some(&before), after, now);
    Ok(true)
}
