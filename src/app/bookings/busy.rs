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

    fn around(&self, unit: UnitId, at: Instant) -> (Option<Instant>, Option<Instant>) {
        let (before, next) = self.calendar.around(unit, at);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::ids::LeaseId;

    fn window(start: i64, length: i64) -> Window {
        Window::lasting(Instant::from_seconds(start), Span::from_seconds(length)).unwrap()
    }

    proptest! {
        /// Held against a table of seconds: whether a stretch is free, and since when.
        #[test]
        fn what_is_around_counts_leases_and_maintenance_alike(
            leases in proptest::collection::vec((0i64..40, 1i64..8), 0..6),
            blocks in proptest::collection::vec((0i64..40, 1i64..12), 0..4),
            (at, length) in (0i64..45, 1i64..10),
        ) {
            let unit = UnitId::from_u128(1);
            let (mut calendar, mut seconds) = (Calendar::new(), [false; 64]);
            for (number, &(start, length)) in leases.iter().enumerate() {
                if calendar.occupy(unit, window(start, length), LeaseId::from_u128(number as u128)).is_ok() {
                    seconds[start as usize..(start + length) as usize].fill(true);
                }
            }
            for &(start, length) in &blocks {
                seconds[start as usize..(start + length) as usize].fill(true);
            }
            let windows = join(blocks.iter().map(|&(start, length)| window(start, length)).collect());
            let busy = Busy { calendar: &calendar, blocked: HashMap::from([(unit, windows)]) };
            let (before, next) = busy.around(unit, Instant::from_seconds(at));
            let end = Instant::from_seconds(at + length);
            let free = !seconds[at as usize..(at + length) as usize].contains(&true);
            prop_assert_eq!(next.is_none_or(|next| next >= end), free);
            if free {
                let last = seconds[..at as usize].iter().rposition(|taken| *taken);
                prop_assert_eq!(before, last.map(|last| Instant::from_seconds(last as i64 + 1)));
                let first = seconds[at as usize..].iter().position(|taken| *taken);
                prop_assert_eq!(next, first.map(|first| Instant::from_seconds(at + first as i64)));
            }
        }
    }
}
