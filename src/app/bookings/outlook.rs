//! What is free now and what can be had next, over the whole fleet: the line that the first page and the calendar begin
//! with. It reads the roll and the calendar's index, so that it costs little also where there are thousands of nodes, and
//! refuses to say whose bookings are in the way.
use std::collections::{BTreeMap, HashMap};

use crate::app::error::Answer;
use crate::app::mill::Mill;
use crate::base::hardware::Portion;
use crate::base::ids::NodeId;
use crate::base::window::{Instant, Window};
use crate::domain::bookings::calendar::Calendar;
use crate::domain::fleet::duty::Maintenance;
use crate::domain::fleet::roll::{Entry, Listed};
use crate::store::Snapshot;
use crate::store::read::{Order, Read as _, StoreError};

/// The fleet at one glance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// GPUs and instances that may be booked and are not taken now.
    pub free_now: u32,
    /// GPUs and instances of all nodes that were admitted.
    pub total: u32,
    /// Those nodes.
    pub nodes: usize,
    /// Every model among them, and how much of a GPU it is.
    pub models: BTreeMap<String, Portion>,
    /// By model the most GPUs that one node has free now, and until when the first of them stays so (the far future where
    /// nothing follows).
    pub best: BTreeMap<String, (usize, Instant)>,
    /// When the next GPU comes free, and its model.
    pub next: Option<(Instant, String)>,
}

/// The outlook at `now`.
pub fn outlook(mill: &Mill, now: Instant) -> Answer<Outlook> {
    let view = mill.store.read()?;
    let maintenance = maintenance(&view)?;
    let mut outlook = Outlook::default();
    let none = Vec::new();
    for node in view.roll().all().filter(|node| node.is_drawn()) {
        let closed = maintenance.get(&node.id).unwrap_or(&none);
        outlook.take(node, view.calendar(), closed, now);
    }
    Ok(outlook)
}

/// Maintenance that was not called off, by node.
pub fn maintenance(view: &Snapshot) -> Result<HashMap<NodeId, Vec<Maintenance>>, StoreError> {
    let mut by_node: HashMap<NodeId, Vec<Maintenance>> = HashMap::new();
    for one in view.list::<Maintenance>(&[], Order::Ascending, usize::MAX)? {
        if one.cancelled.is_none() {
            by_node.entry(one.node).or_default().push(one);
        }
    }
    Ok(by_node)
}

/// Whether nothing is booked now on a node's unit, nor on what excludes it.
pub fn is_free(calendar: &Calendar, node: &Entry, unit: &Listed, now: Instant) -> bool {
    let idle = |unit| calendar.after(unit, now).first().is_none_or(|slot| slot.window.start() > now);
    node.with_excluded(unit).all(idle)
}

impl Outlook {
    fn take(&mut self, node: &Entry, calendar: &Calendar, closed: &[Maintenance], now: Instant) {
        self.nodes += 1;
        let mut here: BTreeMap<&str, (usize, Instant)> = BTreeMap::new();
        for unit in node.booked() {
            self.total += 1;
            if !self.models.contains_key(&*unit.model) {
                self.models.insert(unit.model.to_string(), unit.portion);
            }
            if unit.out.is_some() || !node.is_open() || node.connected != Some(true) {
                continue;
            }
            self.free_now += u32::from(is_free(calendar, node, unit, now));
            match stands(calendar, node, unit, closed, now) {
                Stands::Free { until } => {
                    let entry = here.entry(&unit.model).or_insert((0, until));
                    *entry = (entry.0 + 1, entry.1.min(until));
                }
                Stands::Taken { until } => {
                    if self.next.as_ref().is_none_or(|(next, _)| until < *next) {
                        self.next = Some((until, unit.model.to_string()));
                    }
                }
            }
        }
        for (model, found) in here {
            match self.best.get_mut(model) {
                Some(best) => *best = found.max(*best),
                None => {
                    self.best.insert(model.to_owned(), found);
                }
            }
        }
    }
}

enum Stands {
    Free { until: Instant },
    Taken { until: Instant },
}

/// How long the unit stays as it is, by its bookings and the node's maintenance.
fn stands(calendar: &Calendar, node: &Entry, unit: &Listed, closed: &[Maintenance], now: Instant) -> Stands {
    let slots = || node.with_excluded(unit).filter_map(|unit| calendar.after(unit, now).first());
    let windows = || slots().map(|slot| slot.window).chain(closed.iter().map(|one| one.window));
    match windows().filter(|window| window.contains(now)).map(Window::end).min() {
        Some(until) => Stands::Taken { until },
        None => {
            let next = windows().map(Window::start).filter(|&start| start > now).min();
            Stands::Free { until: next.unwrap_or(Instant::from_millis(i64::MAX)) }
        }
    }
}
