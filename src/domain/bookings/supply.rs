//! What there is to book: the fleet as the search sees it, summed up per node and model and kept true row by row, so that a
//! quote reads no row of it. It refuses nodes that are not admitted, units out of service, and to believe that a node that
//! is away will be there in a minute.
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash as _, Hasher as _};
use std::sync::{Arc, OnceLock};

use super::schedule::AWAY_LEAD;
use super::search::Group;
use crate::base::hardware::{Portion, Share};
use crate::base::ids::{NodeId, PoolId, TeamId, UnitId};
use crate::base::window::Span;
use crate::domain::fleet::node::{Node, NodeContact, Pool, PoolPolicy, SKEW_LIMIT, Service, Unit};
use crate::domain::fleet::roll::Roll;

/// What a lease needs to know of its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    pub name: String,
    pub owner: Option<TeamId>,
    pub policy: PoolPolicy,
    pub cpus: u32,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
    /// All its GPUs in eighths, those out of service included: shares of a node never add up to more than the node.
    pub eighths: u32,
}

impl NodeFacts {
    /// What comes with so many units that are each this much of a GPU.
    pub fn share(&self, units: u32, portion: Portion) -> Share {
        let eighths = units.saturating_mul(portion.eighths());
        Share::proportional(self.cpus, self.memory_bytes, self.disk_bytes, eighths, self.eighths)
    }
}

/// By unit, the units that it excludes; those that exclude none are not in it.
pub type Excluded = HashMap<UnitId, Vec<UnitId>>;

/// The bookable fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Supply {
    /// By node, then by model.
    pub groups: Vec<Group>,
    pub nodes: HashMap<NodeId, NodeFacts>,
    /// The units that a unit excludes, in service or not: a GPU its MIG instances, and each of them it. Their busy time is
    /// its own.
    pub excluded: Excluded,
    /// Nodes that have joined and were not revoked, bookable or not.
    pub joined: usize,
    /// The longest booking that any node takes.
    pub longest: Span,
    /// How far ahead any node takes bookings.
    pub horizon: Span,
}

impl Supply {
    /// All models, each once, sorted.
    pub fn models(&self) -> Vec<String> {
        let mut models: Vec<String> = self.groups.iter().map(|group| group.model.clone()).collect();
        models.sort_unstable();
        models.dedup();
        models
    }

    /// The units of one model and size on one node.
    pub fn group(&self, node: NodeId, model: &str, portion: Portion) -> Option<&Group> {
        let sought = (node, model, portion);
        let place = self.groups.binary_search_by(|group| (group.node, &*group.model, group.portion).cmp(&sought));
        place.ok().map(|place| &self.groups[place])
    }

    /// Whether the node takes bookings of this length.
    pub fn takes(&self, group: &Group, duration: Span) -> bool {
        duration <= self.longest && self.nodes.get(&group.node).is_some_and(|node| duration <= node.policy.longest)
    }
}

/// What is kept of one node and its rows; they may come in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Summary {
    node: Option<Row>,
    /// Connected, and whether its clock is believed; `None` before the first contact.
    contact: Option<(bool, bool)>,
    units: BTreeMap<UnitId, UnitRow>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    name: String,
    owner: Option<TeamId>,
    pool: PoolId,
    cpus: u32,
    memory_bytes: u64,
    disk_bytes: u64,
    joined: bool,
    admitted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct UnitRow {
    model: String,
    index: u32,
    memory_bytes: u64,
    in_service: bool,
    portion: Portion,
    /// The same for a GPU and its instances: their GPU's UUID in short. Two that happen to agree would exclude each other
    /// for nothing, and no more.
    gpu: u64,
}

fn in_short(uuid: &str) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    uuid.hash(&mut hasher);
    hasher.finish()
}

/// The fleet's summaries. A value of persistent parts, like the calendar: a clone costs pointers, a change copies the node
/// it touches and the list of nodes, and what does not matter to the search (a heartbeat) changes nothing.
#[derive(Clone, Debug, Default)]
pub struct FleetSummary {
    pools: Arc<BTreeMap<PoolId, PoolPolicy>>,
    nodes: Arc<BTreeMap<NodeId, Arc<Summary>>>,
    /// What pages list, from the same rows.
    roll: Roll,
    /// Put together when it is first asked for after a change.
    supply: Arc<OnceLock<Arc<Supply>>>,
}

impl PartialEq for FleetSummary {
    fn eq(&self, other: &Self) -> bool {
        self.pools == other.pools && self.nodes == other.nodes && self.roll == other.roll
    }
}

impl FleetSummary {
    /// The bookable fleet; the same one until a change.
    pub fn supply(&self) -> Arc<Supply> {
        Arc::clone(self.supply.get_or_init(|| Arc::new(self.put_together())))
    }

    /// The fleet as pages list it.
    pub const fn roll(&self) -> &Roll {
        &self.roll
    }

    /// What excludes what on one node, be it open to bookings or not.
    pub fn excluded(&self, node: NodeId) -> Excluded {
        self.nodes.get(&node).map(|summary| excluded(&summary.units)).unwrap_or_default()
    }

    /// Nodes that have a unit out of service.
    pub fn out_of_service(&self) -> Vec<NodeId> {
        let has_one = |summary: &Summary| summary.units.values().any(|unit| !unit.in_service);
        self.nodes.iter().filter(|(_, summary)| has_one(summary)).map(|(&node, _)| node).collect()
    }

    pub fn pool(&mut self, pool: &Pool) {
        if self.pools.get(&pool.id) != Some(&pool.policy) {
            Arc::make_mut(&mut self.pools).insert(pool.id, pool.policy);
            self.supply = Arc::default();
        }
    }

    pub fn node(&mut self, node: &Node) {
        self.roll.node(node);
        let row = Row {
            name: node.name.to_string(),
            owner: node.owner,
            pool: node.pool,
            cpus: node.observed.cpus,
            memory_bytes: node.observed.memory_bytes,
            disk_bytes: node.observed.disk_bytes,
            joined: !node.is_gone(),
            admitted: node.is_open(),
        };
        self.change(node.id, |summary| summary.node = Some(row));
    }

    pub fn contact(&mut self, contact: &NodeContact) {
        self.roll.contact(contact);
        let believed = contact.skew_ms.unsigned_abs() <= SKEW_LIMIT.as_millis().unsigned_abs();
        self.change(contact.node, |summary| summary.contact = Some((contact.connected, believed)));
    }

    pub fn unit(&mut self, unit: &Unit) {
        self.roll.unit(unit);
        let row = UnitRow {
            model: unit.model.clone(),
            index: unit.index,
            memory_bytes: unit.memory_bytes,
            in_service: unit.service == Service::In,
            portion: unit.shape.portion(unit.memory_bytes),
            gpu: in_short(unit.shape.gpu(&unit.uuid)),
        };
        self.change(unit.node, |summary| {
            summary.units.insert(unit.id, row);
        });
    }

    fn change(&mut self, node: NodeId, act: impl FnOnce(&mut Summary)) {
        let mut summary = self.nodes.get(&node).map(|known| Summary::clone(known)).unwrap_or_default();
        act(&mut summary);
        if self.nodes.get(&node).is_none_or(|known| **known != summary) {
            Arc::make_mut(&mut self.nodes).insert(node, Arc::new(summary));
            self.supply = Arc::default();
        }
    }

    fn put_together(&self) -> Supply {
        let mut supply = Supply::default();
        for (&id, summary) in self.nodes.iter() {
            let Some(row) = summary.node.as_ref().filter(|row| row.joined) else { continue };
            supply.joined += 1;
            let lead = match summary.contact {
                Some((_, false)) => continue,
                Some((true, true)) => Span::ZERO,
                _ => AWAY_LEAD,
            };
            if let Some(&policy) = self.pools.get(&row.pool).filter(|_| row.admitted) {
                supply.add(id, row, policy, &summary.units, lead);
            }
        }
        supply
    }
}

impl Supply {
    fn add(&mut self, id: NodeId, row: &Row, policy: PoolPolicy, units: &BTreeMap<UnitId, UnitRow>, lead: Span) {
        let facts = NodeFacts {
            name: row.name.clone(),
            owner: row.owner,
            policy,
            cpus: row.cpus,
            memory_bytes: row.memory_bytes,
            disk_bytes: row.disk_bytes,
            eighths: eighths(units),
        };
        self.excluded.extend(excluded(units));
        let mut by_model: BTreeMap<(&str, Portion), Vec<(UnitId, &UnitRow)>> = BTreeMap::new();
        for (&unit, row) in units.iter().filter(|(_, row)| row.in_service) {
            by_model.entry((&row.model, row.portion)).or_default().push((unit, row));
        }
        for ((model, portion), mut units) in by_model {
            units.sort_by_key(|(unit, row)| (row.index, *unit));
            self.groups.push(Group {
                node: id,
                model: model.to_owned(),
                portion,
                memory_bytes: units.iter().map(|(_, row)| row.memory_bytes).min().unwrap_or(0),
                units: units.iter().map(|(unit, _)| *unit).collect(),
                turnaround: policy.turnaround,
                lead,
            });
        }
        self.longest = self.longest.max(policy.longest);
        self.horizon = self.horizon.max(policy.horizon);
        self.nodes.insert(id, facts);
    }
}

/// A node's GPUs in eighths. A GPU that is known whole and by its instances counts once, and as all of them together where
/// they share memory and come to more.
fn eighths(units: &BTreeMap<UnitId, UnitRow>) -> u32 {
    let mut whole = 0u32;
    let mut cut: BTreeMap<u64, u32> = BTreeMap::new();
    for row in units.values().filter(|row| row.portion.is_instance()) {
        *cut.entry(row.gpu).or_default() += row.portion.eighths();
    }
    for row in units.values().filter(|row| !row.portion.is_instance() && !cut.contains_key(&row.gpu)) {
        whole = whole.saturating_add(row.portion.eighths());
    }
    cut.values().fold(whole, |sum, parts| sum.saturating_add((*parts).max(Portion::Whole.eighths())))
}

/// What excludes what on a node.
fn excluded(units: &BTreeMap<UnitId, UnitRow>) -> Excluded {
    let mut found = Excluded::new();
    for (&part, row) in units.iter().filter(|(_, row)| row.portion.is_instance()) {
        let whole = units.iter().filter(|(_, other)| other.gpu == row.gpu && !other.portion.is_instance());
        for (&whole, _) in whole {
            found.entry(part).or_default().push(whole);
            found.entry(whole).or_default().push(part);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hardware::{ObservedNode, UnitShape};
    use crate::base::secret::SecretHash;
    use crate::base::window::Instant;
    use crate::domain::fleet::duty::Duty;
    use crate::domain::fleet::node::NodeState;

    fn pool() -> Pool {
        let policy = PoolPolicy::kind(false);
        Pool { id: PoolId::from_u128(1), name: "Main".parse().unwrap(), auto_admit: true, policy, revision: 0 }
    }

    fn node(id: u128, state: NodeState) -> Node {
        Node {
            id: NodeId::from_u128(id),
            name: format!("stone-{id}").parse().unwrap(),
            pool: PoolId::from_u128(1),
            owner: None,
            key: SecretHash::of(&[0]),
            certificate_serial: "1".to_owned(),
            certificate_expires: Instant::from_seconds(9),
            certificate_next: None,
            state,
            duty: Duty::default(),
            observed: ObservedNode { cpus: 8, ..ObservedNode::default() },
            epoch: 1,
            generation: 1,
            joined: Instant::from_seconds(0),
            local: false,
        }
    }

    fn admitted() -> NodeState {
        NodeState::Admitted { since: Instant::from_seconds(0) }
    }

    fn unit(id: u128, node: u128, model: &str, service: Service) -> Unit {
        Unit {
            id: UnitId::from_u128(id),
            node: NodeId::from_u128(node),
            pool: PoolId::from_u128(1),
            uuid: id.to_string(),
            model: model.to_owned(),
            shape: UnitShape::Gpu,
            // Against the order of the ids.
            index: 100 - u32::try_from(id).unwrap(),
            minor: None,
            memory_bytes: 1 << 30,
            service,
        }
    }

    fn contact(node: u128, connected: bool, skew_ms: i64, last: i64) -> NodeContact {
        let last = Instant::from_seconds(last);
        NodeContact { node: NodeId::from_u128(node), epoch: 1, connected, last, skew_ms, unattested_since: None }
    }

    #[test]
    fn rows_may_come_in_any_order_and_only_what_may_be_booked_is_offered() {
        let out = Service::Out { since: Instant::from_seconds(0), why: "dust".to_owned() };
        let steps: [fn(&mut FleetSummary, Service); 4] = [
            |fleet, out| {
                [unit(1, 7, "A", Service::In), unit(2, 7, "A", Service::In), unit(3, 7, "B", out)]
                    .iter()
                    .for_each(|unit| fleet.unit(unit))
            },
            |fleet, _| fleet.node(&node(7, admitted())),
            |fleet, _| fleet.contact(&contact(7, true, 0, 1)),
            |fleet, _| fleet.pool(&pool()),
        ];
        let built = |order: [usize; 4]| {
            let mut fleet = FleetSummary::default();
            order.iter().for_each(|&step| steps[step](&mut fleet, out.clone()));
            fleet
        };
        let fleet = built([0, 1, 2, 3]);
        for order in [[3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
            assert!(built(order) == fleet);
            assert_eq!(built(order).supply(), fleet.supply());
        }
        let supply = fleet.supply();
        let [group] = supply.groups.as_slice() else { panic!("{:?}", supply.groups) };
        assert_eq!(group.units, [2, 1].map(UnitId::from_u128), "in the order of the GPUs");
        assert_eq!((supply.nodes[&group.node].eighths, supply.joined, group.lead), (24, 1, Span::ZERO));
        assert_eq!(
            (supply.group(group.node, "A", Portion::Whole), supply.group(group.node, "B", Portion::Whole)),
            (Some(group), None)
        );
        assert_eq!((supply.models(), supply.longest), (vec!["A".to_owned()], Span::from_days(7)));
    }

    #[test]
    fn a_node_is_offered_as_far_as_it_can_be_believed() {
        let mut fleet = FleetSummary::default();
        fleet.pool(&pool());
        fleet.node(&node(7, admitted()));
        fleet.unit(&unit(1, 7, "A", Service::In));
        let lead = |fleet: &FleetSummary| fleet.supply().groups.first().map(|group| group.lead);
        assert_eq!(lead(&fleet), Some(AWAY_LEAD), "never heard of");
        fleet.contact(&contact(7, true, 60_000, 1));
        assert_eq!(lead(&fleet), Some(Span::ZERO));
        fleet.contact(&contact(7, true, -60_001, 2));
        assert_eq!(lead(&fleet), None, "its clock is not believed");
        fleet.contact(&contact(7, false, 0, 3));
        assert_eq!(lead(&fleet), Some(AWAY_LEAD));
        let pending = NodeState::Pending;
        let revoked = NodeState::Revoked { at: Instant::from_seconds(5) };
        for (state, joined) in [(pending, 1), (revoked, 0), (admitted(), 1)] {
            let open = matches!(state, NodeState::Admitted { .. });
            fleet.node(&node(7, state));
            assert_eq!((fleet.supply().joined, fleet.supply().groups.len()), (joined, usize::from(open)));
        }
    }

    #[test]
    fn a_heartbeat_changes_nothing_and_a_clone_keeps_what_it_saw() {
        let mut fleet = FleetSummary::default();
        fleet.pool(&pool());
        fleet.node(&node(7, admitted()));
        fleet.unit(&unit(1, 7, "A", Service::In));
        fleet.contact(&contact(7, true, 0, 1));
        let (before, supply) = (fleet.clone(), fleet.supply());
        fleet.contact(&contact(7, true, 900, 31));
        fleet.node(&Node { epoch: 2, ..node(7, admitted()) });
        assert!(Arc::ptr_eq(&fleet.supply(), &supply), "nothing is put together anew");
        fleet.unit(&unit(2, 7, "A", Service::In));
        assert_eq!((before.supply().groups[0].units.len(), fleet.supply().groups[0].units.len()), (1, 2));
    }

    fn instance(id: u128, parent: &str, eighths: u64, service: Service) -> Unit {
        let profile = format!("{eighths}g");
        let shape = UnitShape::Mig { parent_uuid: parent.to_owned(), profile, parent_bytes: 8 << 30, place: None };
        Unit { shape, memory_bytes: eighths << 30, ..unit(id, 7, "A", service) }
    }

    #[test]
    fn instances_are_offered_by_their_word_and_exclude_their_gpu() {
        let mut fleet = FleetSummary::default();
        fleet.pool(&pool());
        fleet.node(&node(7, admitted()));
        let cut = Service::Out { since: Instant::from_seconds(0), why: "cut".to_owned() };
        // Two GPUs; the first is cut in three, and a part of it is no more.
        let parts =
            [instance(3, "1", 1, Service::In), instance(4, "1", 1, Service::In), instance(5, "1", 4, cut.clone())];
        [unit(1, 7, "A", cut), unit(2, 7, "A", Service::In)].iter().chain(&parts).for_each(|unit| fleet.unit(unit));
        let supply = fleet.supply();
        let groups: Vec<_> = supply.groups.iter().map(|group| (group.portion, group.units.len())).collect();
        assert_eq!(groups, [(Portion::Whole, 1), (Portion::Eighths(1), 2)]);
        let [whole, _, part, ..] = [1, 2, 3, 4, 5].map(UnitId::from_u128);
        assert_eq!(supply.excluded[&whole], [3, 4, 5].map(UnitId::from_u128));
        assert_eq!((supply.excluded[&part].as_slice(), supply.excluded.len()), (&[whole][..], 4));
        let facts = &supply.nodes[&supply.groups[0].node];
        assert_eq!(facts.eighths, 16, "the cut GPU counts once");
        assert_eq!(facts.share(1, Portion::Whole).cpu_millis, 4000);
        assert_eq!(facts.share(2, Portion::Eighths(1)).cpu_millis, 1000);
    }
}
