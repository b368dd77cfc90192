//! What there is to book: the fleet as the search sees it. It refuses nodes that are not admitted, units out of service,
//! and to believe that a node that is away will be there in a minute.
use std::collections::{BTreeMap, HashMap};

use crate::app::fleet::maintenance;
use crate::base::hardware::{Share, UnitShape};
use crate::base::ids::{NodeId, TeamId, UnitId};
use crate::base::window::{Instant, Span, Window};
use crate::domain::bookings::calendar::Calendar;
use crate::domain::bookings::schedule::AWAY_LEAD;
use crate::domain::bookings::search::{BusyTimes, Group};
use crate::domain::fleet::node::{Node, NodeContact, Pool, PoolPolicy, Service, Unit};
use crate::store::read::{Order, Read, StoreError};
use crate::wire::node::SKEW_LIMIT;

/// More rows than any fleet has.
const ALL: usize = usize::MAX;

/// What a lease needs to know of its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    pub name: String,
    pub owner: Option<TeamId>,
    pub policy: PoolPolicy,
    pub cpus: u32,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
    /// All its GPUs, those out of service included: shares of a node never add up to more than the node.
    pub gpus: u32,
}

impl NodeFacts {
    pub fn share(&self, gpus: u32) -> Share {
        Share::proportional(self.cpus, self.memory_bytes, self.disk_bytes, gpus, self.gpus)
    }
}

/// The bookable fleet at one instant.
#[derive(Clone, Debug, Default)]
pub struct Supply {
    pub groups: Vec<Group>,
    pub nodes: HashMap<NodeId, NodeFacts>,
    /// Nodes that have joined and were not revoked, bookable or not.
    pub joined: usize,
    /// Units that are out of the calendar for a while, with when; by start, none overlapping.
    blocked: HashMap<UnitId, Vec<Window>>,
}

/// The calendar with the maintenance of nodes on top.
pub struct Busy<'a> {
    calendar: &'a Calendar,
    blocked: &'a HashMap<UnitId, Vec<Window>>,
}

impl Busy<'_> {
    /// A unit's busy time that ends after `from`, maintenance included, joined where it touches.
    fn joined(&self, unit: UnitId, from: Instant) -> Option<Vec<Window>> {
        let blocked = self.blocked.get(&unit)?;
        let mut all: Vec<Window> = self.calendar.after(unit, from).iter().map(|slot| slot.window).collect();
        all.extend(blocked.iter().filter(|window| window.end() > from));
        Some(join(all))
    }
}

impl BusyTimes for Busy<'_> {
    fn after(&self, unit: UnitId, from: Instant) -> impl Iterator<Item = Window> + '_ {
        let joined = self.joined(unit, from);
        let plain = joined.is_none().then(|| BusyTimes::after(self.calendar, unit, from));
        plain.into_iter().flatten().chain(joined.into_iter().flatten())
    }

    fn end_before(&self, unit: UnitId, at: Instant) -> Option<Instant> {
        let blocked = self.blocked.get(&unit).into_iter().flatten().map(|window| window.end()).filter(|&end| end <= at);
        self.calendar.end_before(unit, at).into_iter().chain(blocked).max()
    }
}

/// Sorts windows by start and joins those that overlap or touch.
fn join(mut windows: Vec<Window>) -> Vec<Window> {
    windows.sort_by_key(|window| window.start());
    let mut joined: Vec<Window> = Vec::with_capacity(windows.len());
    for window in windows {
        match joined.last_mut() {
            Some(last) if last.end() >= window.start() => {
                *last = Window::new(last.start(), last.end().max(window.end())).unwrap_or(*last);
            }
            _ => joined.push(window),
        }
    }
    joined
}

impl Supply {
    pub fn read(view: &impl Read, now: Instant) -> Result<Self, StoreError> {
        let pools: HashMap<_, _> =
            view.list::<Pool>(&[], Order::Ascending, ALL)?.into_iter().map(|pool| (pool.id, pool)).collect();
        let contacts: HashMap<_, _> =
            view.list::<NodeContact>(&[], Order::Ascending, ALL)?.into_iter().map(|c| (c.node, c)).collect();
        let mut units: HashMap<NodeId, Vec<Unit>> = HashMap::new();
        for unit in view.list::<Unit>(&[], Order::Ascending, ALL)? {
            units.entry(unit.node).or_default().push(unit);
        }
        let maintenance = maintenance::standing(view, now)?;
        let mut supply = Self::default();
        for node in view.list::<Node>(&[], Order::Ascending, ALL)? {
            if node.is_gone() {
                continue;
            }
            supply.joined += 1;
            let not_before = match contacts.get(&node.id) {
                Some(contact) if contact.skew_ms.unsigned_abs() > SKEW_LIMIT.as_millis().unsigned_abs() => continue,
                Some(contact) if contact.connected => now,
                _ => now.plus(AWAY_LEAD),
            };
            let Some(pool) = pools.get(&node.pool) else { continue };
            if node.is_open() {
                let units = units.remove(&node.id).unwrap_or_default();
                if let Some(windows) = maintenance.get(&node.id) {
                    let windows = join(windows.clone());
                    supply.blocked.extend(units.iter().map(|unit| (unit.id, windows.clone())));
                }
                supply.add(&node, pool.policy, units, not_before);
            }
        }
        Ok(supply)
    }

    fn add(&mut self, node: &Node, policy: PoolPolicy, mut units: Vec<Unit>, not_before: Instant) {
        units.retain(|unit| unit.shape == UnitShape::Gpu);
        units.sort_by_key(|unit| unit.index);
        let facts = NodeFacts {
            name: node.name.to_string(),
            owner: node.owner,
            policy,
            cpus: node.observed.cpus,
            memory_bytes: node.observed.memory_bytes,
            disk_bytes: node.observed.disk_bytes,
            gpus: u32::try_from(units.len()).unwrap_or(u32::MAX),
        };
        let mut by_model: BTreeMap<String, Vec<&Unit>> = BTreeMap::new();
        for unit in units.iter().filter(|unit| unit.service == Service::In) {
            by_model.entry(unit.model.clone()).or_default().push(unit);
        }
        for (model, units) in by_model {
            self.groups.push(Group {
                node: node.id,
                model,
                memory_bytes: units.iter().map(|unit| unit.memory_bytes).min().unwrap_or(0),
                units: units.iter().map(|unit| unit.id).collect::<Vec<UnitId>>(),
                turnaround: policy.turnaround,
                not_before,
            });
        }
        self.nodes.insert(node.id, facts);
    }

    /// When units are busy, maintenance included.
    pub const fn busy<'a>(&'a self, calendar: &'a Calendar) -> Busy<'a> {
        Busy { calendar, blocked: &self.blocked }
    }

    /// All models, each once, sorted.
    pub fn models(&self) -> Vec<String> {
        let mut models: Vec<String> = self.groups.iter().map(|group| group.model.clone()).collect();
        models.sort_unstable();
        models.dedup();
        models
    }

    /// The longest booking that any node takes.
    pub fn longest(&self) -> Span {
        self.nodes.values().map(|node| node.policy.longest).max().unwrap_or_default()
    }

    /// How far ahead any node takes bookings.
    pub fn horizon(&self) -> Span {
        self.nodes.values().map(|node| node.policy.horizon).max().unwrap_or_default()
    }

    /// Whether the node takes bookings of this length.
    pub fn takes(&self, group: &Group, duration: Span) -> bool {
        self.nodes.get(&group.node).is_some_and(|node| duration <= node.policy.longest)
    }
}
