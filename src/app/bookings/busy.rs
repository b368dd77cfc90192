//! When units cannot be had: the calendar, with the maintenance of nodes on top, and a GPU's time on its MIG instances and
//! theirs on it. It refuses to be slower than the calendar where there is nothing of either.
use std::collections::HashMap;

use crate::app::fleet::maintenance;
use crate::base::ids::UnitId;
use crate::base::window::{Instant, Span, Window};
use crate::domain::bookings::calendar::Calendar;
use crate::domain::bookings::search::{BusyTimes, one_by_one};
use crate::domain::bookings::supply::{Excluded, Supply};
use crate::store::read::{Read, StoreError};

/// The calendar with the maintenance of nodes on top, and with what excludes what.
pub struct Busy<'a> {
    calendar: &'a Calendar,
    supply: &'a Supply,
    /// Units that are out of the calendar for a while, with when; by start, none overlapping.
    blocked: HashMap<UnitId, Vec<Window>>,
}

impl<'a> Busy<'a> {
    /// There are few announcements at a time, so that they are read as they stand.
    pub fn read(
        view: &impl Read,
        calendar: &'a Calendar,
        supply: &'a Supply,
        now: Instant,
    ) -> Result<Self, StoreError> {
        let mut blocked = HashMap::new();
        let maintenance = maintenance::standing(view, now)?;
        for group in supply.groups.iter().filter(|_| !maintenance.is_empty()) {
            if let Some(windows) = maintenance.get(&group.node) {
                let windows = join(windows.clone());
                blocked.extend(group.units.iter().map(|&unit| (unit, windows.clone())));
            }
        }
        Ok(Self { calendar, supply, blocked })
    }

    /// A unit's busy time that ends after `from`, with maintenance and what it excludes, joined where it touches; `None`
    /// where the calendar says all of it.
    fn joined(&self, unit: UnitId, from: Instant) -> Option<Vec<Window>> {
        let (blocked, excluded) = (self.blocked.get(&unit), &self.supply.excluded);
        if blocked.is_none() && !excluded.contains_key(&unit) {
            return None;
        }
        let slots = with_excluded(excluded, unit).flat_map(|unit| self.calendar.after(unit, from));
        let mut all: Vec<Window> = slots.map(|slot| slot.window).collect();
        all.extend(blocked.into_iter().flatten().filter(|window| window.end() > from));
        Some(join(all))
    }
}

impl BusyTimes for Busy<'_> {
    fn after(&self, unit: UnitId, from: Instant) -> impl Iterator<Item = Window> + '_ {
        let joined = self.joined(unit, from);
        let plain = joined.is_none().then(|| BusyTimes::after(self.calendar, unit, from));
        plain.into_iter().flatten().chain(joined.into_iter().flatten())
    }

    fn around(&self, unit: UnitId, at: Instant) -> (Option<Instant>, Option<Instant>) {
        let (mut before, mut next) = self.calendar.around(unit, at);
        for &other in self.supply.excluded.get(&unit).into_iter().flatten() {
            let (ended, ahead) = self.calendar.around(other, at);
            before = before.into_iter().chain(ended).max();
            next = next.into_iter().chain(ahead).min();
        }
        let Some(blocked) = self.blocked.get(&unit) else { return (before, next) };
        // Blocked time may reach over the start of what the calendar has, or over `at`, where it is what comes next.
        let ended = blocked.iter().map(|window| window.end()).filter(|&end| end <= at);
        let ahead = blocked.iter().filter(|window| window.end() > at).map(|window| window.start());
        (before.into_iter().chain(ended).max(), next.into_iter().chain(ahead).min())
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

/// Whether the units are free in a window, and so is whatever excludes them.
pub fn is_free(calendar: &Calendar, excluded: &Excluded, units: &[UnitId], window: Window) -> bool {
    units.iter().all(|&unit| with_excluded(excluded, unit).all(|unit| calendar.free(unit, window)))
}

/// A unit and the ones that it excludes.
pub fn with_excluded(excluded: &Excluded, unit: UnitId) -> impl Iterator<Item = UnitId> + '_ {
    std::iter::once(unit).chain(excluded.get(&unit).into_iter().flatten().copied())
}

#[cfg(test)]
mod tests;
