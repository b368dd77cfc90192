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
/// Why a whole GPU is out while its instances are what is booked.
pub const CUT: &str = "it is cut into MIG instances";
/// Why a whole GPU is out that is in MIG mode and has no instances yet.
pub const EMPTY: &str = "it is in MIG mode and has no instances: make some with nvidia-smi, or switch MIG mode off";
/// Why an instance is out whose GPU is in one piece again.
pub const WHOLE: &str = "its GPU is no longer cut into MIG instances";
/// How the reason begins when a node was closed for what it reports.
pub const CHANGED: &str = "its hardware is not what was admitted";
/// More units than this on one machine are not believed: sixteen GPUs with seven instances each are 112.
pub const MOST_GPUS: usize = 128;

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
    units
        .iter()
        .filter_map(|unit| {
            let service = match (&unit.service, absence(unit, observed)) {
                (Service::In, Some(why)) => Service::Out { since: now, why: why.to_owned() },
                // Another reason, and out since it was.
                (Service::Out { since, why }, Some(new)) if of_itself(why) && why != new => {
                    Service::Out { since: *since, why: new.to_owned() }
                }
                (Service::Out { why, .. }, None) if of_itself(why) => Service::In,
                _ => return None,
            };
            Some(Unit { service, ..unit.clone() })
        })
        .collect()
}

/// Why a unit cannot be given out by what its node reports; `None` when it is there. Of a GPU and its instances, only one
/// side is ever in service.
pub fn absence(unit: &Unit, observed: &ObservedNode) -> Option<&'static str> {
    let seen = |uuid: &str| observed.gpus.iter().find(|gpu| gpu.uuid == uuid);
    match &unit.shape {
        UnitShape::Gpu => match seen(&unit.uuid) {
            Some(gpu) if gpu.mig == Some(true) => Some(EMPTY),
            Some(_) => None,
            None if observed.gpus.iter().any(|gpu| is_part(gpu, &unit.uuid)) => Some(CUT),
            None => Some(MISSING),
        },
        UnitShape::Mig { parent_uuid, .. } => match seen(&unit.uuid) {
            Some(_) => None,
            None if seen(parent_uuid).is_some() => Some(WHOLE),
            None => Some(MISSING),
        },
    }
}

fn is_part(gpu: &ObservedGpu, of: &str) -> bool {
    matches!(&gpu.shape, UnitShape::Mig { parent_uuid, .. } if parent_uuid == of)
}

/// Whether a unit that is out for this reason comes back by itself.
fn of_itself(why: &str) -> bool {
    matches!(why, MISSING | CUT | EMPTY | WHOLE)
}

/// Whether other units stand in for one that is out for this reason: a GPU in place of its instances, or they in place of
/// it.
pub fn replaces(why: &str) -> bool {
    matches!(why, CUT | WHOLE)
}

/// Whether other units stand in for this one.
pub fn is_replaced(unit: &Unit) -> bool {
    matches!(&unit.service, Service::Out { why, .. } if replaces(why))
}

/// The units that this one excludes: an instance's GPU, a GPU's instances.
pub fn excluded<'a>(unit: &'a Unit, units: &'a [Unit]) -> impl Iterator<Item = &'a Unit> {
    units.iter().filter(move |other| match (&unit.shape, &other.shape) {
        (UnitShape::Gpu, UnitShape::Mig { parent_uuid, .. }) => *parent_uuid == unit.uuid,
        (UnitShape::Mig { parent_uuid, .. }, UnitShape::Gpu) => *parent_uuid == other.uuid,
        _ => false,
    })
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
        None => Some(format!("a {} ({}) is new", gpu.shape.word(&gpu.model), gpu.uuid)),
        Some(unit) if unit.model != gpu.shape.word(&gpu.model) => Some(format!(
            "{} was admitted as {} and now says {}",
            unit.shape.name(unit.index),
            unit.model,
            gpu.shape.word(&gpu.model)
        )),
        Some(unit) if unit.memory_bytes != gpu.memory_bytes => {
            Some(format!("the memory of {} has another size than was admitted", unit.shape.name(unit.index)))
        }
        Some(unit) if unit.shape != gpu.shape => Some(format!("{} is cut differently", unit.shape.name(unit.index))),
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
            Some(Service::Out { since, why }) if !of_itself(why) && why != WAITS => {
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
    for judged in service_changes(&accepted, &node.observed, now) {
        if let Some(unit) = accepted.iter_mut().find(|unit| unit.id == judged.id) {
            *unit = judged;
        }
    }
    accepted
}

/// The units of a node that joins; out of service while it is pending.
pub fn first_units(node: &Node, fresh: &mut impl FnMut() -> UnitId, now: Instant) -> Vec<Unit> {
    let service = match node.state {
        NodeState::Pending => Service::Out { since: now, why: WAITS.to_owned() },
        _ => Service::In,
    };
    let mut units: Vec<Unit> =
        node.observed.gpus.iter().take(MOST_GPUS).map(|gpu| unit(node, gpu, fresh(), service.clone())).collect();
    for judged in service_changes(&units, &node.observed, now) {
        if let Some(unit) = units.iter_mut().find(|unit| unit.id == judged.id) {
            *unit = judged;
        }
    }
    units
}

fn unit(node: &Node, gpu: &ObservedGpu, id: UnitId, service: Service) -> Unit {
    Unit {
        id,
        node: node.id,
        pool: node.pool,
        uuid: gpu.uuid.clone(),
        model: gpu.shape.word(&gpu.model),
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
            UnitShape::Mig { parent_uuid, profile, .. } => {
                plain(parent_uuid, 100) && plain(profile, 40) && !profile.trim().is_empty()
            }
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
        return Err("it reports more than 128 GPUs and instances");
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
    let whole = |uuid: &str| uuids.binary_search(&uuid).is_ok();
    if observed.gpus.iter().any(|gpu| gpu.shape.gpu(&gpu.uuid) != gpu.uuid && whole(gpu.shape.gpu(&gpu.uuid))) {
        return Err("it reports a GPU together with instances of it");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
