//! Maintenance of a node: announced ahead, out of the calendar for its time, and those whose bookings are in the way are
//! moved or told. A task clears the way, step by step, each step a transaction that looks anew. It refuses to end work at
//! once: what runs is shortened to the start of the maintenance, with the usual warnings.
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::duty::reason;
use super::join::units_of;
use super::manage::admins_only;
use crate::app::bookings::leases;
use crate::app::bookings::relocate::{self, Need, Step};
use crate::app::error::Answer;
use crate::app::ids;
use crate::app::mill::Mill;
use crate::base::ids::{BookingId, MaintenanceId, NodeId, UnitId};
use crate::base::window::{Instant, Span, Window};
use crate::clock;
use crate::domain::bookings::lease::Lease;
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::duty::{Duty, LONGEST, Maintenance};
use crate::domain::fleet::node::{Node, Service};
use crate::domain::fleet::refusal::FleetRefusal;
use crate::domain::notice::Common;
use crate::domain::people::rights::Actor;
use crate::store::changes::Changes;
use crate::store::command::Command;
use crate::store::read::{Order, Read, StoreError};
use crate::store::record::Key as _;
use crate::store::view::{Snapshot, View};

/// How often the way is cleared without a commit: starts come near as time passes.
const CLEAR_EVERY: Duration = Duration::from_secs(60);

/// A GPU that is out of service for less than this may come back by itself, unless its next lease is as near.
const OUT_PATIENCE: Span = Span::from_minutes(5);

/// The maintenance of all nodes that stands at `now`, by node.
pub fn standing(view: &impl Read, now: Instant) -> Result<HashMap<NodeId, Vec<Window>>, StoreError> {
    let mut windows: HashMap<NodeId, Vec<Window>> = HashMap::new();
    let all: Vec<Maintenance> = view.list(&[], Order::Ascending, usize::MAX)?;
    for one in all.into_iter().filter(|one| one.stands(now)) {
        windows.entry(one.node).or_default().push(one.window);
    }
    Ok(windows)
}

/// One node's maintenance that stands at `now`, by start.
pub fn of_node(view: &impl Read, node: NodeId, now: Instant) -> Result<Vec<Maintenance>, StoreError> {
    let all: Vec<Maintenance> = view.list(&node.bytes(), Order::Ascending, usize::MAX)?;
    let mut standing: Vec<Maintenance> = all.into_iter().filter(|one| one.stands(now)).collect();
    standing.sort_by_key(|one| one.window.start());
    Ok(standing)
}

/// How many bookings a window on a node would touch: (that have not begun, that run).
pub fn touched(view: &impl Read, node: NodeId, window: Window) -> Result<(usize, usize), StoreError> {
    let mut counts = (0, 0);
    for lease in leases::on_node(view, node)? {
        if lease.occupied().overlaps(window) {
            if relocate::is_waiting(&lease) { counts.0 += 1 } else { counts.1 += 1 }
        }
    }
    Ok(counts)
}

/// Announces maintenance; its time is out of the calendar from this commit on.
pub async fn announce(mill: &Mill, who: &Actor, node: NodeId, window: Window, why: &str) -> Answer<MaintenanceId> {
    admins_only(who, "announce maintenance")?;
    let why = reason(why)?;
    let (by, cause) = (who.member, Cause::Member(who.member));
    let id = MaintenanceId::from_u128(ids::fresh());
    let decide = move |view: &View<'_>, now: Instant| {
        let row: Node = view.get(&node)?.ok_or(Common::NotFound { what: "node" })?;
        if row.is_gone() {
            return Err(FleetRefusal::Gone.into());
        }
        if window.end() <= now {
            return Err(FleetRefusal::BadMaintenance { why: "Its time lies in the past." }.into());
        }
        if window.span() > LONGEST {
            return Err(FleetRefusal::BadMaintenance { why: "It would last more than 31 days." }.into());
        }
        let mut changes = Changes::new();
        let (announced, told, why) = (now, Vec::new(), why.clone());
        changes.event(cause, Event::MaintenanceAnnounced { node, maintenance: id, window, why: why.clone() });
        changes.put(&Maintenance { id, node, window, why, by, announced, cancelled: None, told });
        Ok((changes, id))
    };
    Ok(mill.store.write(Command::new(cause), decide).await?)
}

/// Gives the time back to the calendar. What was moved stays where it is.
pub async fn cancel(mill: &Mill, who: &Actor, node: NodeId, id: MaintenanceId) -> Answer<()> {
    admins_only(who, "cancel maintenance")?;
    let cause = Cause::Member(who.member);
    let decide = move |view: &View<'_>, now: Instant| {
        let row: Maintenance = view.get(&(node, id))?.ok_or(Common::NotFound { what: "maintenance" })?;
        if !row.stands(now) {
            return Err(FleetRefusal::MaintenanceOver.into());
        }
        let mut changes = Changes::new();
        // One that has begun ends now: the time that has passed stays as it was.
        changes.put(&Maintenance { cancelled: Some(now), ..row });
        changes.event(cause, Event::MaintenanceCancelled { node, maintenance: id });
        Ok((changes, ()))
    };
    Ok(mill.store.write(Command::new(cause), decide).await?)
}

/// Clears the way for maintenance and for draining nodes, and moves what lost its GPU, until dropped.
pub async fn keep_clearing(mill: Mill) {
    let mut commits = mill.store.subscribe();
    loop {
        if let Err(error) = clear(&mill, clock::now()).await {
            tracing::error!(%error, "the way for maintenance could not be cleared; it is tried again");
        }
        let wake = async {
            loop {
                match commits.recv().await {
                    Ok(told) if !told.events.iter().any(|event| concerns(&event.event)) => {}
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => std::future::pending().await,
                    _ => return,
                }
            }
        };
        tokio::select! {
            () = wake => {}
            () = tokio::time::sleep(CLEAR_EVERY) => {}
        }
    }
}

const fn concerns(event: &Event) -> bool {
    matches!(event, Event::MaintenanceAnnounced { .. } | Event::NodeDuty { .. } | Event::NodeHardwareChanged { .. })
}

/// One round; answers how many bookings it moved, shortened or told.
pub async fn clear(mill: &Mill, now: Instant) -> Answer<usize> {
    let mut touched = 0;
    let steps = steps(&mill.store.read()?, now)?;
    for step in steps {
        touched += usize::from(relocate::step(mill, step).await?);
    }
    Ok(touched)
}

/// What is in the way, of what. Bookings that could not be moved off a draining node stay there and are tried again.
fn steps(view: &Snapshot, now: Instant) -> Result<Vec<Step>, StoreError> {
    let mut steps = Vec::new();
    let all: Vec<Maintenance> = view.list(&[], Order::Ascending, usize::MAX)?;
    for one in all.into_iter().filter(|one| one.stands(now)) {
        for lease in leases::on_node(view, one.node)?.iter().filter(|lease| lease.occupied().overlaps(one.window)) {
            steps.push(Step { booking: lease.booking, node: one.node, need: Need::Maintenance(one.id) });
        }
    }
    let nodes: Vec<Node> = view.list(&[], Order::Ascending, usize::MAX)?;
    for node in nodes.iter().filter(|node| matches!(node.duty, Duty::Draining { .. })) {
        for lease in leases::on_node(view, node.id)?.iter().filter(|lease| relocate::is_waiting(lease)) {
            steps.push(Step { booking: lease.booking, node: node.id, need: Need::Draining });
        }
    }
    for node in view.out_of_service() {
        steps.extend(out_of_service(view, node, now)?);
    }
    let mut seen: HashSet<(BookingId, NodeId)> = HashSet::new();
    steps.retain(|step| seen.insert((step.booking, step.node)));
    Ok(steps)
}

/// Bookings that wait for a GPU that is out of service. One that has just gone may be back in a moment.
fn out_of_service(view: &Snapshot, node: NodeId, now: Instant) -> Result<Vec<Step>, StoreError> {
    let waiting: Vec<Lease> = leases::on_node(view, node)?.into_iter().filter(relocate::is_waiting).collect();
    if waiting.is_empty() {
        return Ok(Vec::new());
    }
    let gone: HashMap<UnitId, Instant> = units_of(view, node)?
        .into_iter()
        .filter_map(|unit| match unit.service {
            Service::Out { since, .. } => Some((unit.id, since)),
            Service::In => None,
        })
        .collect();
    let lost = |lease: &&Lease| {
        let near = lease.window.start() <= now.plus(OUT_PATIENCE);
        lease.units.iter().filter_map(|unit| gone.get(unit)).any(|&since| near || since.plus(OUT_PATIENCE) <= now)
    };
    Ok(waiting
        .iter()
        .filter(lost)
        .map(|lease| Step { booking: lease.booking, node, need: Need::OutOfService })
        .collect())
}
