//! Nodes and GPUs as people see them. It refuses to name a booking to whoever may not see its team.
use std::collections::BTreeSet;

use super::join::units_of;
use super::maintenance;
use super::upgrade::VERSION;
use crate::app::bookings::outlook::is_free;
use crate::app::error::Answer;
use crate::app::mill::Mill;
use crate::base::ids::NodeId;
use crate::base::text::spoken;
use crate::base::window::{Instant, Span};
use crate::domain::bookings::booking::Booking;
use crate::domain::bookings::lease::Lease;
use crate::domain::fleet::duty::{Duty, Maintenance};
use crate::domain::fleet::hardware::{excluded, is_replaced};
use crate::domain::fleet::node::{Node, NodeAgent, NodeContact, NodeState, Pool, SKEW_LIMIT, Service, Unit};
use crate::domain::fleet::roll::Entry;
use crate::domain::notice::Common;
use crate::domain::people::installation::Installation;
use crate::domain::people::member::Team;
use crate::domain::people::rights::Actor;
use crate::store::people::INSTALLATION;
use crate::store::read::{Order, Read, StoreError};
use crate::store::record::Key as _;
use crate::store::tables::Table;
use crate::wire::api::Moment;
use crate::wire::api::fleet::{AgentView, GpuView, MaintenanceView, NodeView};
use crate::wire::node::PROTOCOL;

/// All nodes, in the order of their joining.
pub fn nodes(mill: &Mill, who: &Actor, now: Instant) -> Answer<Vec<NodeView>> {
    some(mill, who, |_| true, (0, usize::MAX), now)
}

/// Some of the nodes that `wanted` chooses: so many after the first ones, in the order of their joining.
pub fn some(
    mill: &Mill,
    who: &Actor,
    wanted: impl Fn(&Entry) -> bool,
    (skip, most): (usize, usize),
    now: Instant,
) -> Answer<Vec<NodeView>> {
    let view = mill.store.read()?;
    let chosen = view.roll().all().filter(|node| wanted(node)).skip(skip).take(most);
    // The roll may be a commit younger than the rows.
    let rows = chosen.filter_map(|node| view.get::<Node>(&node.id).transpose());
    let shown = rows.map(|node| node_view(mill, &view, who, &node?, now)).collect::<Result<_, _>>()?;
    Ok(shown)
}

/// The first nodes whose name has these letters, given in lower case.
pub fn named(mill: &Mill, letters: &str, most: usize) -> Answer<Vec<Entry>> {
    let view = mill.store.read()?;
    let fits = |node: &&Entry| node.name.to_lowercase().contains(letters);
    Ok(view.roll().all().filter(fits).take(most).cloned().collect())
}

/// One node.
pub fn node(mill: &Mill, who: &Actor, id: NodeId, now: Instant) -> Answer<NodeView> {
    let view = mill.store.read()?;
    let node: Node = view.get(&id)?.ok_or(Common::NotFound { what: "node" })?;
    Ok(node_view(mill, &view, who, &node, now)?)
}

/// A node by id or name.
pub fn find(mill: &Mill, given: &str) -> Answer<NodeId> {
    let found = match given.parse::<NodeId>() {
        Ok(id) => mill.store.read()?.get::<Node>(&id)?,
        Err(_) => mill.store.read()?.via::<Node>(Table::NodesByName, &given.trim().to_lowercase())?,
    };
    Ok(found.ok_or(Common::NotFound { what: "node" })?.id)
}

/// Nodes that need an admin: the first of them with what is the matter, and how many there are. It looks at the roll
/// alone, so that a home page costs little also where there are thousands.
pub fn troubled(mill: &Mill, most: usize) -> Answer<(Vec<(String, NodeId)>, usize)> {
    let view = mill.store.read()?;
    let mut all = 0;
    let mut first = Vec::new();
    for node in view.roll().all() {
        let Some(what) = trouble(mill, node) else { continue };
        all += 1;
        if first.len() < most {
            first.push((format!("{} {what}.", node.name), node.id));
        }
    }
    Ok((first, all))
}

/// What is the matter with a node, where it needs somebody.
pub fn trouble(mill: &Mill, node: &Entry) -> Option<&'static str> {
    match &node.state {
        NodeState::Pending => Some("waits to be admitted"),
        NodeState::Closed { .. } => Some("takes no new bookings"),
        NodeState::Admitted { .. } if !is_here(mill, node.id) => Some("is away"),
        NodeState::Admitted { .. } | NodeState::Revoked { .. } | NodeState::Retired { .. } => None,
    }
}

/// Whether there is a connection at this moment.
fn is_here(mill: &Mill, node: NodeId) -> bool {
    mill.hub.contact(node).is_some_and(|(connected, _)| connected)
}

/// The fleet in numbers, those that are gone left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    pub nodes: usize,
    pub here: usize,
    /// Admitted, and here.
    pub there: usize,
    /// GPUs and instances of admitted nodes.
    pub gpus: usize,
    /// Those that are instances.
    pub instances: usize,
    pub free: usize,
    pub out_of_service: usize,
}

/// Counts nodes and GPUs; no row is read for it.
pub fn numbers(mill: &Mill, now: Instant) -> Answer<Numbers> {
    let view = mill.store.read()?;
    let mut numbers = Numbers::default();
    for node in view.roll().all().filter(|node| !node.is_gone()) {
        let here = is_here(mill, node.id);
        numbers.nodes += 1;
        numbers.here += usize::from(here);
        if !matches!(node.state, NodeState::Admitted { .. }) {
            continue;
        }
        numbers.there += usize::from(here);
        let reachable = here || node.connected == Some(true);
        for unit in node.booked() {
            numbers.gpus += 1;
            numbers.instances += usize::from(unit.portion.is_instance());
            numbers.out_of_service += usize::from(unit.out.is_some());
            let free = unit.out.is_none() && reachable && is_free(view.calendar(), node, unit, now);
            numbers.free += usize::from(free);
        }
    }
    Ok(numbers)
}

/// All GPUs of all nodes that were not revoked.
pub fn gpus(mill: &Mill, who: &Actor, now: Instant) -> Answer<Vec<GpuView>> {
    let shown = nodes(mill, who, now)?;
    Ok(shown.into_iter().filter(|node| !is_gone(node)).flat_map(|node| node.gpus).collect())
}

/// Revoked or retired.
pub fn is_gone(node: &NodeView) -> bool {
    matches!(node.state.as_str(), "revoked" | "retired")
}

fn node_view(mill: &Mill, view: &impl Read, who: &Actor, node: &Node, now: Instant) -> Result<NodeView, StoreError> {
    let row = view.get::<NodeContact>(&node.id)?;
    let live = mill.hub.contact(node.id);
    let connected = live.is_some_and(|(connected, _)| connected);
    let reachable = connected || row.as_ref().is_some_and(|row| row.connected);
    let last = live.map(|(_, last)| last).or(row.as_ref().map(|row| row.last));
    let leases: Vec<Lease> = view.list_via(Table::LeasesByNode, &node.id.bytes(), Order::Ascending, usize::MAX)?;
    let mut units = units_of(view, node.id)?;
    units.sort_by_key(|unit| (unit.index, unit.shape.place(), unit.id));
    let lacking: BTreeSet<&str> = leases.iter().flat_map(|lease| &lease.lacking).map(String::as_str).collect();
    let gpus = units.iter().map(|unit| gpu_view(view, who, node, (unit, &units), &leases, reachable, now));
    let owner = node.owner.map(|team| view.get::<Team>(&team)).transpose()?.flatten();
    Ok(NodeView {
        id: node.id,
        name: node.name.to_string(),
        pool: view.get::<Pool>(&node.pool)?.map_or_else(String::new, |pool| pool.name.to_string()),
        owner: owner.map(|team| team.name.to_string()),
        state: state_word(&node.state).to_owned(),
        state_note: state_note(node, row.as_ref()),
        connected,
        last_contact: last.map(Moment),
        local: node.local,
        duty: node.duty.word().to_owned(),
        maintenance: maintenance::of_node(view, node.id, now)?.into_iter().map(maintenance_view).collect(),
        leases: u32::try_from(leases.len()).unwrap_or(u32::MAX),
        last_lease_ends: leases.iter().map(|lease| lease.occupied().end()).max().map(Moment),
        simulated: view.get::<Installation>(&INSTALLATION)?.is_some_and(|installation| installation.simulated()),
        gpus: gpus.collect::<Result<_, _>>()?,
        lacking: lacking.into_iter().map(str::to_owned).collect(),
        observed: node.observed.clone(),
        agent: view.get::<NodeAgent>(&node.id)?.map(|agent| agent_view(mill, node, &agent)),
    })
}

fn maintenance_view(row: Maintenance) -> MaintenanceView {
    let Maintenance { id, window, why, .. } = row;
    MaintenanceView { id, start: window.start().into(), end: window.end().into(), why }
}

fn agent_view(mill: &Mill, node: &Node, agent: &NodeAgent) -> AgentView {
    let failed = agent.upgrade.as_ref().and_then(|wish| wish.failed.clone());
    let (state, note) = match (&agent.upgrade, failed) {
        (Some(_), Some(why)) => {
            ("failed", Some(format!("It was not upgraded and goes on as {}: {why}.", agent.version)))
        }
        (Some(wish), None) => ("upgrading", Some(format!("It is asked to become {}.", wish.version))),
        (None, _) if agent.protocol != PROTOCOL => (
            "other_protocol",
            Some(format!(
                "Its agent ({}) and this mill ({VERSION}) do not understand each other, so it cannot connect: upgrade it \
                 here, or paste the install line on it again.",
                agent.version
            )),
        ),
        (None, _) if agent.version != VERSION => {
            ("other", Some(format!("Its agent is version {}, the mill {VERSION}.", agent.version)))
        }
        (None, _) => ("same", None),
    };
    AgentView { version: agent.version.clone(), state: state.to_owned(), note, doubles: mill.hub.doubles.of(node.id) }
}

/// The state's name, as the API writes it.
pub const fn state_word(state: &NodeState) -> &'static str {
    match state {
        NodeState::Pending => "pending",
        NodeState::Closed { .. } => "closed",
        NodeState::Revoked { .. } => "revoked",
        NodeState::Retired { .. } => "retired",
        NodeState::Admitted { .. } => "admitted",
    }
}

fn state_note(node: &Node, contact: Option<&NodeContact>) -> Option<String> {
    match &node.state {
        NodeState::Pending => Some("An admin has to admit it before it can be booked.".to_owned()),
        NodeState::Closed { why, .. } => {
            Some(format!("It takes no new leases: {why}. An admin can accept what it reports."))
        }
        NodeState::Revoked { .. } => Some("Its certificate is void.".to_owned()),
        NodeState::Retired { why, .. } => Some(format!("It was taken out: {why}.")),
        NodeState::Admitted { .. } => problem(node, contact).or_else(|| duty_words(&node.duty)),
    }
}

fn duty_words(duty: &Duty) -> Option<String> {
    match duty {
        Duty::Open => None,
        Duty::Cordoned { why, .. } => Some(format!("It takes no new bookings: {why}.")),
        Duty::Draining { why, .. } => Some(format!("It runs empty and takes no new bookings: {why}.")),
    }
}

fn problem(node: &Node, contact: Option<&NodeContact>) -> Option<String> {
    let skew = contact.map_or(0, |contact| contact.skew_ms.abs());
    if skew > SKEW_LIMIT.as_millis() {
        let off = spoken(Span::from_millis(skew));
        return Some(format!(
            "Its clock is off by {off}; it takes no new leases until it is right. Set it there: timedatectl set-ntp true."
        ));
    }
    node.observed.sandbox.problem.as_ref().map(|why| format!("It cannot run workloads: {why}"))
}

/// Of an instance: how much of its GPU it is.
pub fn eighths(unit: &Unit) -> Option<u32> {
    let portion = unit.shape.portion(unit.memory_bytes);
    portion.is_instance().then(|| portion.eighths())
}

fn gpu_view(
    view: &impl Read,
    who: &Actor,
    node: &Node,
    (unit, all): (&Unit, &[Unit]),
    leases: &[Lease],
    reachable: bool,
    now: Instant,
) -> Result<GpuView, StoreError> {
    let of_unit = || leases.iter().filter(|lease| !lease.is_over() && lease.units.contains(&unit.id));
    let current = of_unit().find(|lease| lease.occupied().contains(now));
    // A lease from before its GPU was cut, or put together again, still has it.
    let beside = || leases.iter().filter(|lease| !lease.is_over() && lease.occupied().contains(now));
    let other = excluded(unit, all).find_map(|other| beside().find(|lease| lease.units.contains(&other.id)));
    let next = of_unit().map(|lease| lease.window.start()).filter(|&start| start > now).min();
    let booking = current.map(|lease| view.get::<Booking>(&lease.booking)).transpose()?.flatten();
    let (state, note) = match (&unit.service, current) {
        (Service::Out { why, .. }, None) if is_replaced(unit) => ("replaced", Some(format!("Not booked: {why}."))),
        (Service::Out { why, .. }, _) => ("out_of_service", Some(format!("Out of service: {why}."))),
        (Service::In, _) if !reachable => ("unknown", Some("Its node is away; what runs there goes on.".to_owned())),
        (Service::In, Some(_)) => ("leased", None),
        (Service::In, None) if other.is_some() => {
            ("leased", Some("A booking from before its GPU was cut, or put together again, still has it.".to_owned()))
        }
        (Service::In, None) => ("free", None),
    };
    Ok(GpuView {
        id: unit.id,
        node: node.id,
        node_name: node.name.to_string(),
        index: unit.index,
        name: unit.shape.name(unit.index),
        uuid: unit.uuid.clone(),
        model: unit.model.clone(),
        eighths: eighths(unit),
        memory_bytes: unit.memory_bytes,
        state: state.to_owned(),
        state_note: note,
        booking: booking.filter(|booking| who.sees(booking.team)).map(|booking| booking.id),
        until: current.or(other).map(|lease| lease.occupied().end()).or(next).map(Moment),
    })
}
