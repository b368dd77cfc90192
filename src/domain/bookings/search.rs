//! The earliest slot, exactly: no time grid, so that no gap is missed. Every gap of a unit gives a stretch of starts that
//! would fit; a sweep over all stretches of a node finds the first instant at which enough of its units fit at once. It
//! refuses to write, to know prices, and to ask what time it is.
use std::cmp::Ordering;

use crate::base::hardware::Portion;
use crate::base::ids::{NodeId, UnitId};
use crate::base::window::{Instant, Span, Window};
use crate::domain::bookings::calendar::Calendar;

/// Who is busy when: the calendar, or the calendar with what is being tried out on top. Busy windows of a unit never
/// overlap; they contain the turnaround after a lease.
pub trait BusyTimes {
    /// The unit's busy windows that end after `from`, by start.
    fn after(&self, unit: UnitId, from: Instant) -> impl Iterator<Item = Window> + '_;

    /// The end of the unit's last busy window that ends at or before `at`, and the start of the first that ends after it.
    fn around(&self, unit: UnitId, at: Instant) -> (Option<Instant>, Option<Instant>);

    /// The unit's idle stretches of at least `need` that end after `from`, in order and cut off at `from`; the last one
    /// has no end. Whoever keeps summaries passes over the short ones faster than one by one.
    fn idle(&self, unit: UnitId, from: Instant, need: Span) -> impl Iterator<Item = (Instant, Option<Instant>)> + '_ {
        one_by_one(self.after(unit, from), from, need)
    }
}

/// What [`BusyTimes::idle`] answers, from the busy windows that end after `from`.
pub fn one_by_one(
    mut windows: impl Iterator<Item = Window>,
    from: Instant,
    need: Span,
) -> impl Iterator<Item = (Instant, Option<Instant>)> {
    let mut open = Some(from);
    let stretches = std::iter::from_fn(move || {
        let start = open?;
        let end = windows.next();
        open = end.map(Window::end);
        Some((start, end.map(Window::start)))
    });
    stretches.filter(move |(start, end)| end.is_none_or(|end| end > *start && end.since(*start) >= need))
}

impl BusyTimes for Calendar {
    fn after(&self, unit: UnitId, from: Instant) -> impl Iterator<Item = Window> + '_ {
        Self::after(self, unit, from).iter().map(|slot| slot.window)
    }

    fn around(&self, unit: UnitId, at: Instant) -> (Option<Instant>, Option<Instant>) {
        Self::around(self, unit, at)
    }

    fn idle(&self, unit: UnitId, from: Instant, need: Span) -> impl Iterator<Item = (Instant, Option<Instant>)> + '_ {
        Self::idle(self, unit, from, need)
    }
}

/// Units of one node, one model and one size: what a booking on one node is placed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub node: NodeId,
    pub model: String,
    /// Whether they are whole GPUs or MIG instances, and how much of a GPU each is.
    pub portion: Portion,
    /// The smallest memory among its units, in bytes.
    pub memory_bytes: u64,
    pub units: Vec<UnitId>,
    /// Kept free after each lease.
    pub turnaround: Span,
    /// Takes no lease that starts sooner than this from now: a node that is away cannot promise the present.
    pub lead: Span,
}

/// What to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// At least one.
    pub gpus: u32,
    /// Any whole GPUs when `None`: an instance is given only to whoever names it.
    pub model: Option<String>,
    /// Longer than nothing.
    pub duration: Span,
    pub now: Instant,
    pub not_before: Instant,
    /// The last start that is acceptable.
    pub latest_start: Instant,
}

impl Want {
    /// Whether a group can ever serve it.
    pub fn suits(&self, group: &Group) -> bool {
        group.units.len() >= self.gpus as usize && self.of_model(group)
    }

    pub fn of_model(&self, group: &Group) -> bool {
        match &self.model {
            None => !group.portion.is_instance(),
            Some(model) => model.eq_ignore_ascii_case(&group.model),
        }
    }
}

impl Group {
    /// The first start that it can promise.
    pub fn opens(&self, now: Instant) -> Instant {
        now.plus(self.lead)
    }
}

/// Where and when it fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub node: NodeId,
    pub model: String,
    pub portion: Portion,
    pub units: Vec<UnitId>,
    pub window: Window,
    pub turnaround: Span,
}

/// How good a placement is among those with the same start; the smaller, the better.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Units of the group that could have served too and stay free.
    leftover: usize,
    memory_bytes: u64,
    /// Idle time around the chosen units that becomes hard to sell, in milliseconds.
    stranded: i64,
}

/// The earliest placement; among equals the one that leaves the fewest units over, then the one with the smallest memory
/// that suffices, then the one that strands the shortest gaps, then the group listed first.
pub fn earliest<'g, B: BusyTimes>(
    groups: impl IntoIterator<Item = &'g Group>,
    busy: &B,
    want: &Want,
) -> Option<Placement> {
    let mut best: Option<(Instant, Rank, Placement)> = None;
    for group in groups.into_iter().filter(|group| want.suits(group)) {
        let limit = best.as_ref().map_or(want.latest_start, |(start, ..)| *start);
        let Some(start) = first_start(group, busy, want, limit) else { continue };
        let Some((rank, placement)) = fit(group, busy, want, start) else { continue };
        let better =
            best.as_ref().is_none_or(|(other, known, _)| (start, &rank).cmp(&(*other, known)) == Ordering::Less);
        if better {
            best = Some((start, rank, placement));
        }
    }
    best.map(|(.., placement)| placement)
}

/// A placement that starts exactly at `want.not_before`, by the same preferences.
pub fn exactly_at<'g, B: BusyTimes>(
    groups: impl IntoIterator<Item = &'g Group>,
    busy: &B,
    want: &Want,
) -> Option<Placement> {
    let start = want.not_before;
    groups
        .into_iter()
        .filter(|group| want.suits(group) && group.opens(want.now) <= start)
        .filter_map(|group| fit(group, busy, want, start))
        .reduce(|best, next| if next.0 < best.0 { next } else { best })
        .map(|(_, placement)| placement)
}

/// The first whole second, not after `limit`, at which enough units of the group are free for long enough. No unit can
/// start before its own first chance, so that nothing is possible before the chance of the last unit that is needed: the
/// search leaps there, asks again, and is done when it stays where it is.
fn first_start<B: BusyTimes>(group: &Group, busy: &B, want: &Want, limit: Instant) -> Option<Instant> {
    let from = want.not_before.max(group.opens(want.now)).ceil_second();
    let need = occupied(group, want);
    let wanted = want.gpus as usize;
    let stretches = |&unit: &UnitId| Runner { ahead: starts(busy, unit, from, need, limit), at: None };
    let mut runners: Vec<_> = group.units.iter().map(stretches).collect();
    let mut chances = Vec::with_capacity(runners.len());
    let mut at = from;
    loop {
        chances.clear();
        chances.extend(runners.iter_mut().filter_map(|runner| runner.reach(at)));
        if wanted == 0 || chances.len() < wanted {
            return None;
        }
        let (_, &mut leap, _) = chances.select_nth_unstable(wanted - 1);
        if leap == at {
            return Some(at);
        }
        at = leap;
    }
}

/// One unit's stretches of possible starts, passed once.
struct Runner<I> {
    ahead: I,
    at: Option<(Instant, Instant)>,
}

impl<I: Iterator<Item = (Instant, Instant)>> Runner<I> {
    /// The unit's first possible start at or after an instant; instants never go back.
    fn reach(&mut self, instant: Instant) -> Option<Instant> {
        if self.at.is_none_or(|(_, last)| last < instant) {
            self.at = self.ahead.find(|(_, last)| *last >= instant);
        }
        self.at.map(|(first, _)| first.max(instant))
    }
}

/// The stretches of starts, both ends included, at which the unit is free for `need`; none starts after `limit`.
fn starts<B: BusyTimes>(
    busy: &B,
    unit: UnitId,
    from: Instant,
    need: Span,
    limit: Instant,
) -> impl Iterator<Item = (Instant, Instant)> + '_ {
    busy.idle(unit, from, need)
        .map(|(open, taken)| (open.ceil_second(), taken))
        .take_while(move |(first, _)| *first <= limit)
        .map(move |(first, taken)| (first, taken.map_or(limit, |taken| taken.minus(need).min(limit))))
        .filter(|(first, last)| first <= last)
}

/// What the calendar keeps for it: the booking and the turnaround after it.
fn occupied(group: &Group, want: &Want) -> Span {
    Span::from_millis(want.duration.as_millis().saturating_add(group.turnaround.as_millis()))
}

/// Chooses units of the group for a start; `None` when too few are free.
fn fit<B: BusyTimes>(group: &Group, busy: &B, want: &Want, start: Instant) -> Option<(Rank, Placement)> {
    let from = want.not_before.max(group.opens(want.now));
    let end = start.plus(occupied(group, want));
    let mut free: Vec<(i64, usize)> = group
        .units
        .iter()
        .enumerate()
        .filter_map(|(place, &unit)| {
            let (before, next) = busy.around(unit, start);
            if next.is_some_and(|next| next < end) {
                return None;
            }
            // A gap that opened long ago strands nothing: its past cannot be sold any more.
            let opened = before.map_or(from, |before| before.max(from));
            let before = start.since(opened.min(start)).as_millis();
            // An open end is the most valuable gap of all: it is broken into last.
            let after = next.map_or(i64::MAX / 1024, |next| next.since(end).as_millis());
            Some((before.saturating_add(after), place))
        })
        .collect();
    let wanted = want.gpus as usize;
    if wanted == 0 || free.len() < wanted {
        return None;
    }
    let leftover = free.len() - wanted;
    free.sort_unstable();
    free.truncate(wanted);
    let stranded = free.iter().fold(0i64, |sum, (gap, _)| sum.saturating_add(*gap));
    free.sort_unstable_by_key(|&(_, place)| place);
    let placement = Placement {
        node: group.node,
        model: group.model.clone(),
        portion: group.portion,
        units: free.iter().map(|&(_, place)| group.units[place]).collect(),
        window: Window::lasting(start, want.duration).ok()?,
        turnaround: group.turnaround,
    };
    Some((Rank { leftover, memory_bytes: group.memory_bytes, stranded }, placement))
}

#[cfg(test)]
mod tests;
