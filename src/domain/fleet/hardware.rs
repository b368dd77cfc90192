//! What a node says about its hardware, held against what was admitted. A missing GPU goes out of service and comes back by
//! itself; hardware that nobody admitted closes the node to new leases until an admin accepts it. It refuses to change a
//! unit's model or memory on a node's word: price and matching follow the admitted profile.
use super::node::{Node, NodeState, Service, Unit};
use crate::base::hardware::{ObservedGpu, ObservedNode, UnitShape};
use crate::base::ids::UnitId;
use crate::base::window::Instant;

/// Why a unit is out while its node waits to be admitted.
pub const WAITS: &str = "its node waits to be admitted";
/// Why a unit is out while its node does not report it.
pub const MISSING: &str = "its node does not report it";
/// How the reason begins when a node was closed for what it reports.
pub const CHANGED: &str = "its hardware is not what was admitted";
/// More units than this on one machine are not believed.
pub const MOST_GPUS: usize = 64;

/// What follows from an observation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Units whose service changes.
    pub units: Vec<Unit>,
    /// The node's new state, when it changes.
    pub state: Option<NodeState>,
}

/// Holds an observation against the admitted units.
pub fn judge(node: &Node, units: &[Unit], observed: &ObservedNode, now: Instant) -> Verdict {
    Verdict { units: service_changes(units, observed, now), state: state_change(node, units, observed, now) }
}

fn service_changes(units: &[Unit], observed: &ObservedNode, now: Instant) -> Vec<Unit> {
    let there = |unit: &Unit| observed.gpus.iter().any(|gpu| gpu.uuid == unit.uuid);
    units
        .iter()
        .filter_map(|unit| {
            let service = match (&unit.service, there(unit)) {
                (Service::In, false) => Service::Out { since: now, why: MISSING.to_owned() },
                (Service::Out { why, .. }, true) if why == MISSING => Service::In,
                _ => return None,
            };
            Some(Unit { service, ..unit.clone() })
        })
        .collect()
}

fn state_change(node: &Node, units: &[Unit], observed: &ObservedNode, now: Instant) -> Option<NodeState> {
    let strange = strangeness(units, observed);
    match (&node.state, strange) {
        (NodeState::Admitted { .. }, Some(why)) => {
            Some(NodeState::Closed { since: now, why: format!("{CHANGED}: {why}") })
        }
        (NodeState::Closed { why, .. }, None) if why.starts_with(CHANGED) => Some(NodeState::Admitted { since: now }),
        _ => None,
    }
}

/// The first thing that nobody admitted, in words.
fn strangeness(units: &[Unit], observed: &ObservedNode) -> Option<String> {
    observed.gpus.iter().find_map(|gpu| match units.iter().find(|unit| unit.uuid == gpu.uuid) {
        None => Some(format!("a {} ({}) is new", gpu.model, gpu.uuid)),
        Some(unit) if unit.model != gpu.model => {
            Some(format!("GPU {} was admitted as {} and now says {}", unit.index, unit.model, gpu.model))
        }
        Some(unit) if unit.memory_bytes != gpu.memory_bytes => {
            Some(format!("the memory of GPU {} has another size than was admitted", unit.index))
        }
        Some(unit) if unit.shape != gpu.shape => Some(format!("GPU {} is cut differently", unit.index)),
        Some(_) => None,
    })
}

/// The units of a node once an admin accepts what it reports: known ones take the reported profile, new ones are added
/// under the ids given, missing ones stay out of service.
pub fn accept(node: &Node, units: &[Unit], fresh: &mut impl FnMut() -> UnitId, now: Instant) -> Vec<Unit> {
    let mut accepted: Vec<Unit> = Vec::new();
    for gpu in node.observed.gpus.iter().take(MOST_GPUS) {
        let known = units.iter().find(|unit| unit.uuid == gpu.uuid);
        let service = match known.map(|unit| &unit.service) {
            Some(Service::Out { since, why }) if why != MISSING && why != WAITS => {
                Service::Out { since: *since, why: why.clone() }
            }
            _ => Service::In,
        };
        accepted.push(unit(node, gpu, known.map_or_else(&mut *fresh, |unit| unit.id), service));
    }
    let gone = units.iter().filter(|unit| !node.observed.gpus.iter().any(|gpu| gpu.uuid == unit.uuid));
    accepted.extend(
        gone.map(|unit| Unit { service: Service::Out { since: now, why: MISSING.to_owned() }, ..unit.clone() }),
    );
    accepted
}

/// The units of a node that joins; out of service while it is pending.
pub fn first_units(node: &Node, fresh: &mut impl FnMut() -> UnitId, now: Instant) -> Vec<Unit> {
    let service = match node.state {
        NodeState::Pending => Service::Out { since: now, why: WAITS.to_owned() },
        _ => Service::In,
    };
    node.observed.gpus.iter().take(MOST_GPUS).map(|gpu| unit(node, gpu, fresh(), service.clone())).collect()
}

fn unit(node: &Node, gpu: &ObservedGpu, id: UnitId, service: Service) -> Unit {
    Unit {
        id,
        node: node.id,
        pool: node.pool,
        uuid: gpu.uuid.clone(),
        model: gpu.model.clone(),
        shape: gpu.shape.clone(),
        index: gpu.index,
        minor: gpu.minor,
        memory_bytes: gpu.memory_bytes,
        service,
    }
}

/// Whether an observation can be believed at all: sizes within reason, identities distinct, text short and printable.
pub fn credible(observed: &ObservedNode) -> Result<(), &'static str> {
    let plain = |text: &str, limit: usize| text.len() <= limit && !text.chars().any(char::is_control);
    let gpu_plain = |gpu: &ObservedGpu| {
        let shape = match &gpu.shape {
            UnitShape::Gpu => true,
            UnitShape::Mig { parent_uuid, profile } => plain(parent_uuid, 100) && plain(profile, 100),
        };
        let optional = [&gpu.serial, &gpu.vbios, &gpu.pci_bus];
        shape
            && !gpu.uuid.is_empty()
            && !gpu.model.is_empty()
            && plain(&gpu.uuid, 100)
            && plain(&gpu.model, 100)
            && optional.into_iter().flatten().all(|text| plain(text, 100))
    };
    if observed.gpus.len() > MOST_GPUS {
        return Err("it reports more than 64 GPUs");
    }
    let node_text = [Some(&observed.hostname), Some(&observed.kernel), observed.driver.as_ref()];
    let problem_fits = observed.sandbox.problem.as_ref().is_none_or(|text| text.len() <= 2000);
    if !node_text.into_iter().flatten().all(|text| plain(text, 300)) || !problem_fits {
        return Err("it describes itself in text that is too long or cannot be shown");
    }
    if !observed.gpus.iter().all(gpu_plain) {
        return Err("it describes a GPU in text that is empty, too long or cannot be shown");
    }
    let mut uuids: Vec<&str> = observed.gpus.iter().map(|gpu| gpu.uuid.as_str()).collect();
    uuids.sort_unstable();
    if uuids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("it reports the same GPU twice");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
