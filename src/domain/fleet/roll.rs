//! The fleet as pages list it: every node with the little that a list, a count or the calendar says of it, kept true row by
//! row and put into no page of the database. A value of persistent parts, like the calendar: a clone costs a pointer, a
//! change copies one leaf and the list of leaves, and what no page shows (a heartbeat) changes nothing. It refuses to say
//! who holds what when; that is the calendar's.
use std::sync::Arc;

use super::duty::Duty;
use super::hardware;
use super::node::{Node, NodeContact, NodeState, Service, Unit};
use crate::base::hardware::{Portion, UnitShape};
use crate::base::ids::{NodeId, PoolId, TeamId, UnitId};

/// Nodes in a leaf before it is cut in two: about half a page of pointers.
const LEAF: usize = 256;

/// One node on the roll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: NodeId,
    pub name: String,
    pub pool: PoolId,
    pub owner: Option<TeamId>,
    pub state: NodeState,
    pub duty: Duty,
    /// As the books have it; `None` before the first contact.
    pub connected: Option<bool>,
    /// By GPU; whole ones first, then instances by the driver's numbers.
    pub units: Vec<Listed>,
}

/// One unit on the roll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub id: UnitId,
    pub index: u32,
    pub model: Arc<str>,
    pub shape: UnitShape,
    /// How much of a GPU it is.
    pub portion: Portion,
    /// Why it is out of service.
    pub out: Option<String>,
}

impl Listed {
    /// Whether other units stand in for it: a GPU in place of its instances, or they in place of it.
    pub fn is_replaced(&self) -> bool {
        self.out.as_deref().is_some_and(hardware::replaces)
    }
}

impl Entry {
    /// Of a unit whose node is not known yet: nobody sees it before the node's own row is there.
    fn blank(id: NodeId) -> Self {
        let (name, pool) = (String::new(), PoolId::from_u128(0));
        let (state, duty) = (NodeState::Pending, Duty::Open);
        Self { id, name, pool, owner: None, state, duty, connected: None, units: Vec::new() }
    }

    /// A node's row was seen, which always carries a name.
    fn is_whole(&self) -> bool {
        !self.name.is_empty()
    }

    /// Gone for good: revoked or retired.
    pub const fn is_gone(&self) -> bool {
        matches!(self.state, NodeState::Revoked { .. } | NodeState::Retired { .. })
    }

    /// May be given new leases.
    pub const fn is_open(&self) -> bool {
        matches!(self.state, NodeState::Admitted { .. }) && self.duty.is_open()
    }

    /// Waits for an admin's word.
    pub const fn waits(&self) -> bool {
        matches!(self.state, NodeState::Pending | NodeState::Closed { .. })
    }

    /// Stands on the calendar: its units are or were bookable.
    pub const fn is_drawn(&self) -> bool {
        !self.is_gone() && !matches!(self.state, NodeState::Pending)
    }

    /// A unit and those that exclude it: its GPU, or the instances of it. They are told by the GPU's position, which is
    /// enough to show what is taken.
    pub fn with_excluded(&self, unit: &Listed) -> impl Iterator<Item = UnitId> {
        let (id, index, instance) = (unit.id, unit.index, unit.portion.is_instance());
        let excludes =
            move |other: &&Listed| other.id == id || (other.index == index && other.portion.is_instance() != instance);
        self.units.iter().filter(excludes).map(|other| other.id)
    }

    /// What there is to book: GPUs and instances, without those that others stand in for.
    pub fn booked(&self) -> impl Iterator<Item = &Listed> {
        self.units.iter().filter(|unit| !unit.is_replaced())
    }
}

/// How many nodes there are of a kind; kept while the roll changes, so that every page may ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// All that ever joined.
    pub known: usize,
    /// Those that are not gone.
    pub joined: usize,
    /// Those that wait for an admin's word.
    pub waiting: usize,
}

type Leaf = Arc<Vec<Arc<Entry>>>;

/// All nodes, in the order of their ids, which is that of their joining.
#[derive(Clone, Debug, Default)]
pub struct Roll {
    leaves: Arc<Vec<Leaf>>,
    counted: Counted,
}

impl PartialEq for Roll {
    fn eq(&self, other: &Self) -> bool {
        // Leaves may be cut at other places.
        self.counted == other.counted && self.all().eq(other.all())
    }
}

impl Roll {
    pub fn node(&mut self, node: &Node) {
        self.change(node.id, |entry| {
            entry.name = node.name.to_string();
            entry.pool = node.pool;
            entry.owner = node.owner;
            entry.state = node.state.clone();
            entry.duty = node.duty.clone();
        });
    }

    pub fn contact(&mut self, contact: &NodeContact) {
        self.change(contact.node, |entry| entry.connected = Some(contact.connected));
    }

    pub fn unit(&mut self, unit: &Unit) {
        let out = match &unit.service {
            Service::In => None,
            Service::Out { why, .. } => Some(why.clone()),
        };
        self.change(unit.node, |entry| {
            // The GPUs of a machine are mostly of one model: they share its name.
            let known = entry.units.iter().find(|other| *other.model == *unit.model).map(|other| other.model.clone());
            let model = known.unwrap_or_else(|| unit.model.as_str().into());
            entry.units.retain(|other| other.id != unit.id);
            let (shape, portion) = (unit.shape.clone(), unit.shape.portion(unit.memory_bytes));
            entry.units.push(Listed { id: unit.id, index: unit.index, model, shape, portion, out });
            entry.units.sort_by_key(|unit| (unit.index, unit.shape.place(), unit.id));
        });
    }

    /// Every node whose row is there.
    pub fn all(&self) -> impl Iterator<Item = &Entry> {
        self.leaves.iter().flat_map(|leaf| leaf.iter()).map(Arc::as_ref).filter(|entry| entry.is_whole())
    }

    pub fn get(&self, id: NodeId) -> Option<&Entry> {
        let (leaf, place) = self.place(id);
        place.ok().map(|place| self.leaves[leaf][place].as_ref()).filter(|entry| entry.is_whole())
    }

    pub const fn counted(&self) -> Counted {
        self.counted
    }

    /// The leaf that has or would have the node, and its place there.
    fn place(&self, id: NodeId) -> (usize, Result<usize, usize>) {
        let leaf = self.leaves.partition_point(|leaf| leaf[0].id <= id).saturating_sub(1);
        let within = self.leaves.get(leaf).map_or(Err(0), |leaf| leaf.binary_search_by_key(&id, |entry| entry.id));
        (leaf, within)
    }

    fn change(&mut self, id: NodeId, act: impl FnOnce(&mut Entry)) {
        let (leaf, place) = self.place(id);
        let before = place.ok().map(|place| self.leaves[leaf][place].as_ref());
        let mut entry = before.cloned().unwrap_or_else(|| Entry::blank(id));
        act(&mut entry);
        if before == Some(&entry) {
            return;
        }
        if let Some(before) = before {
            self.counted = self.counted.and(before, |count| count - 1);
        }
        self.counted = self.counted.and(&entry, |count| count + 1);
        let leaves = Arc::make_mut(&mut self.leaves);
        if leaves.is_empty() {
            leaves.push(Leaf::default());
        }
        let entries = Arc::make_mut(&mut leaves[leaf]);
        match place {
            Ok(place) => entries[place] = Arc::new(entry),
            Err(place) => entries.insert(place, Arc::new(entry)),
        }
        if entries.len() > LEAF {
            let upper = entries.split_off(LEAF / 2);
            leaves.insert(leaf + 1, Arc::new(upper));
        }
    }
}

impl Counted {
    fn and(self, entry: &Entry, count: impl Fn(usize) -> usize) -> Self {
        let each = |of: usize, counts: bool| if counts && entry.is_whole() { count(of) } else { of };
        Self {
            known: each(self.known, true),
            joined: each(self.joined, !entry.is_gone()),
            waiting: each(self.waiting, entry.waits()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hardware::ObservedNode;
    use crate::base::secret::SecretHash;
    use crate::base::window::Instant;

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
            duty: Duty::Open,
            observed: ObservedNode::default(),
            epoch: 1,
            generation: 1,
            joined: Instant::from_seconds(0),
            local: false,
        }
    }

    fn admitted() -> NodeState {
        NodeState::Admitted { since: Instant::from_seconds(0) }
    }

    fn unit(id: u128, node: u128, index: u32) -> Unit {
        Unit {
            id: UnitId::from_u128(id),
            node: NodeId::from_u128(node),
            pool: PoolId::from_u128(1),
            uuid: id.to_string(),
            model: "H200".to_owned(),
            shape: UnitShape::Gpu,
            index,
            minor: None,
            memory_bytes: 1 << 30,
            service: Service::In,
        }
    }

    fn contact(node: u128, connected: bool, last: i64) -> NodeContact {
        let last = Instant::from_seconds(last);
        NodeContact { node: NodeId::from_u128(node), epoch: 1, connected, last, skew_ms: 0, unattested_since: None }
    }

    /// Scattered, without repeats: the multiplier is odd.
    fn scattered(count: u128) -> impl Iterator<Item = u128> {
        (1..=count).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % (1 << 40))
    }

    #[test]
    fn thousands_stand_in_the_order_of_their_ids_whatever_order_they_came_in() {
        let mut roll = Roll::default();
        scattered(5000).for_each(|id| roll.node(&node(id, admitted())));
        let mut expected: Vec<_> = scattered(5000).map(NodeId::from_u128).collect();
        expected.sort_unstable();
        assert_eq!(roll.all().map(|entry| entry.id).collect::<Vec<_>>(), expected);
        assert!(expected.iter().all(|&id| roll.get(id).is_some_and(|entry| entry.id == id)));
        assert_eq!(roll.get(NodeId::from_u128(0)), None);
        let mut other = Roll::default();
        scattered(5000).collect::<Vec<_>>().into_iter().rev().for_each(|id| other.node(&node(id, admitted())));
        assert!(roll == other, "the leaves are cut elsewhere, and it is the same roll");
        other.contact(&contact(expected[7].as_u128(), true, 1));
        assert!(roll != other);
    }

    #[test]
    fn counts_follow_every_change() {
        let mut roll = Roll::default();
        roll.unit(&unit(1, 7, 0));
        assert_eq!((roll.all().count(), roll.counted()), (0, Counted::default()), "a unit is no node");
        roll.node(&node(7, NodeState::Pending));
        roll.node(&node(8, admitted()));
        assert_eq!(roll.counted(), Counted { known: 2, joined: 2, waiting: 1 });
        let why = "dust".to_owned();
        roll.node(&node(7, NodeState::Closed { since: Instant::from_seconds(1), why }));
        assert_eq!(roll.counted(), Counted { known: 2, joined: 2, waiting: 1 });
        roll.node(&node(7, NodeState::Revoked { at: Instant::from_seconds(2) }));
        assert_eq!(roll.counted(), Counted { known: 2, joined: 1, waiting: 0 });
    }

    #[test]
    fn a_heartbeat_copies_nothing_and_a_clone_keeps_what_it_saw() {
        let mut roll = Roll::default();
        roll.node(&node(7, admitted()));
        roll.contact(&contact(7, true, 1));
        let before = roll.clone();
        roll.contact(&contact(7, true, 31));
        roll.node(&Node { epoch: 2, ..node(7, admitted()) });
        assert!(Arc::ptr_eq(&before.leaves, &roll.leaves));
        roll.contact(&contact(7, false, 61));
        let connected = |roll: &Roll| roll.get(NodeId::from_u128(7)).unwrap().connected;
        assert_eq!((connected(&before), connected(&roll)), (Some(true), Some(false)));
    }

    #[test]
    fn a_nodes_units_stand_by_index_and_are_replaced_by_id() {
        let mut roll = Roll::default();
        roll.node(&node(7, admitted()));
        roll.unit(&unit(1, 7, 3));
        roll.unit(&unit(2, 7, 0));
        let out = Service::Out { since: Instant::from_seconds(0), why: "dust".to_owned() };
        roll.unit(&Unit { service: out, ..unit(1, 7, 3) });
        let entry = roll.get(NodeId::from_u128(7)).unwrap();
        let units: Vec<_> = entry.booked().map(|unit| (unit.index, unit.out.as_deref())).collect();
        assert_eq!(units, [(0, None), (3, Some("dust"))]);
        assert!(Arc::ptr_eq(&entry.units[0].model, &entry.units[1].model));
    }
}
