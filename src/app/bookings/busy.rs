//! When units cannot be had: the calendar, with the maintenance of nodes on top. It refuses to be slower than the calendar
//! where no maintenance is announced.
use std::collections::HashMap;

use crate::app::fleet::maintenance;
use crate::base::ids::UnitId;
use crate::base::window::{Instant, Span, Window};
use crate::domain::bookings::calendar::Calendar;
use crate::domain::bookings::search::{BusyTimes, one_by_one};
use crate::domain::bookings::supply::Supply;
use crate::store::read::{Read, StoreError};

/// The calendar with the maintenance of nodes on top.
pub struct Busy<'a> {
    calendar: &'a Calendar,
    /// Units that are out of the calendar for a while, with when; by start, none overlapping.
    blocked: HashMap<UnitId, Vec<Window>>,
}

impl<'a> Busy<'a> {
    /// There are few announcements at a time, so that they are read as they stand.
    pub fn read(view: &impl Read, calendar: &'a Calendar, supply: &Supply, now: Instant) -> Result<Self, StoreError> {
        let mut blocked = HashMap::new();
        let maintenance = maintenance::standing(view, now)?;
        for group in supply.groups.iter().filter(|_| !maintenance.is_empty()) {
            if let Some(windows) = maintenance.get(&group.node) {
                let windows = join(windows.clone());
                blocked.extend(group.units.iter().map(|&unit| (unit, windows.clone())));
            }
        }
        Ok(Self { calendar, blocked })
    }

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

    fn idle(&self, unit: UnitId, from: Instant, need: Span) -> impl Iterator<Item = (Instant, Option<Instant>)> + '_ {
        let joined = self.joined(unit, from).map(|windows| one_by_one(windows.into_iter(), from, need));
        let plain = joined.is_none().then(|| self.calendar.idle(unit, from, need));
        plain.into_iter().flatten().chain(joined.into_iter().flatten())
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
