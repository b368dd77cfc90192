//! Who occupies which unit when, in memory: the index that search and decisions read. A value of persistent parts: a clone
//! costs one page of pointers, and a change copies only the unit it touches, so that readers keep what they hold, a batch
//! works on its own copy, and dropping that copy undoes it. It refuses to overlap, and to decide what should be booked.
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::base::ids::{LeaseId, UnitId};
use crate::base::window::{Instant, Span, Window};

/// One lease's time on one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub window: Window,
    pub lease: LeaseId,
}

/// Why a change of the calendar is impossible; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Clash {
    #[error("{unit} is taken by {by} in {taken:?}, which overlaps {wanted:?}")]
    Taken { unit: UnitId, wanted: Window, taken: Window, by: LeaseId },
    #[error("{lease} does not occupy {unit} for exactly {window:?}")]
    NotHeld { unit: UnitId, window: Window, lease: LeaseId },
}

/// A unit's busy time: sorted by start, never overlapping, hence sorted by end as well. A plain vector, because copying
/// one is a single move of memory; beside it a summary of the idle time between, so that a search for a long gap passes
/// over the short ones a block at a time.
#[derive(Clone, Default)]
struct Lane {
    slots: Vec<Slot>,
    /// Per block of slots the longest idle time that follows one of them, in milliseconds.
    longest: Vec<i64>,
}

/// Slots that share one summary.
const BLOCK: usize = 16;

impl Lane {
    /// Idle milliseconds after a slot; after the last one there is no end to them.
    fn idle_after(&self, place: usize) -> i64 {
        match self.slots.get(place + 1) {
            Some(next) => next.window.start().since(self.slots[place].window.end()).as_millis(),
            None => i64::MAX,
        }
    }

    /// Makes the summary true again after a change at `place`, which moved all slots behind it.
    fn summarise(&mut self, place: usize) {
        let first = place.saturating_sub(1) / BLOCK;
        self.longest.truncate(first);
        for block in first..self.slots.len().div_ceil(BLOCK) {
            let slots = block * BLOCK..(block * BLOCK + BLOCK).min(self.slots.len());
            let longest = slots.map(|place| self.idle_after(place)).max();
            self.longest.push(longest.unwrap_or(i64::MAX));
        }
    }

    /// The place of the first slot that ends after `from`. Looked for from the end, in steps that double: what is asked
    /// lies ahead of now, while most of what a lane has is over, and each look at it would be a look at cold memory.
    fn ending_after(&self, from: Instant) -> usize {
        let (mut known, mut step) = (self.slots.len(), 1);
        while known > 0 {
            let probe = known.saturating_sub(step);
            if self.slots[probe].window.end() <= from {
                let rest = &self.slots[probe + 1..known];
                return probe + 1 + rest.partition_point(|slot| slot.window.end() <= from);
            }
            (known, step) = (probe, step * 2);
        }
        0
    }

    /// The first slot from `place` on that is followed by so many idle milliseconds.
    fn followed_by(&self, mut place: usize, need: i64) -> Option<usize> {
        while place < self.slots.len() {
            if place.is_multiple_of(BLOCK) && self.longest[place / BLOCK] < need {
                place += BLOCK;
            } else if self.idle_after(place) >= need {
                return Some(place);
            } else {
                place += 1;
            }
        }
        None
    }
}

/// Ids are random enough in their low bits or counted up; one multiplication spreads both. Nobody outside chooses them
/// freely, so no protection against chosen collisions is bought.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = mix(value);
    }
}

fn mix(value: u128) -> u64 {
    let folded = (value as u64) ^ ((value >> 64) as u64);
    let spread = folded.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    spread ^ (spread >> 29)
}

type Shard = HashMap<UnitId, Arc<Lane>, BuildHasherDefault<IdHasher>>;

/// At a million units a shard holds about 500: copying one stays in the microseconds.
const SHARDS: usize = 2048;

/// The index of all occupied time.
#[derive(Clone)]
pub struct Calendar {
    shards: Arc<Vec<Arc<Shard>>>,
    slots: usize,
}

impl Default for Calendar {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Calendar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calendar").field("slots", &self.slots).finish_non_exhaustive()
    }
}

impl Calendar {
    pub fn new() -> Self {
        let empty = Arc::new(Shard::default());
        Self { shards: Arc::new(vec![empty; SHARDS]), slots: 0 }
    }

    /// How many slots are on file.
    pub const fn len(&self) -> usize {
        self.slots
    }

    pub const fn is_empty(&self) -> bool {
        self.slots == 0
    }

    fn shard(unit: UnitId) -> usize {
        (mix(unit.as_u128()) >> 32) as usize % SHARDS
    }

    /// All slots of one unit, by start.
    pub fn lane(&self, unit: UnitId) -> &[Slot] {
        self.lane_of(unit).map_or(&[], |lane| lane.slots.as_slice())
    }

    fn lane_of(&self, unit: UnitId) -> Option<&Lane> {
        self.shards[Self::shard(unit)].get(&unit).map(|lane| &**lane)
    }

    /// The unit's idle stretches of at least `need` that end after `from`, in order and cut off at `from`; the last one
    /// has no end.
    pub fn idle(
        &self,
        unit: UnitId,
        from: Instant,
        need: Span,
    ) -> impl Iterator<Item = (Instant, Option<Instant>)> + '_ {
        let lane = self.lane_of(unit);
        let slots = lane.map_or(&[][..], |lane| lane.slots.as_slice());
        let mut place = lane.map_or(0, |lane| lane.ending_after(from));
        let first = (from, slots.get(place).map(|slot| slot.window.start()));
        let open = first.1.is_none_or(|end| end.since(from) >= need && end > from);
        let need = need.as_millis().max(1);
        let rest = std::iter::from_fn(move || {
            let found = lane?.followed_by(place, need)?;
            place = found + 1;
            let end = slots.get(place).map(|slot| slot.window.start());
            Some((slots[found].window.end(), end))
        });
        open.then_some(first).into_iter().chain(rest)
    }

    /// The slots of a unit that end after `from`, by start.
    pub fn after(&self, unit: UnitId, from: Instant) -> &[Slot] {
        self.lane_of(unit).map_or(&[], |lane| &lane.slots[lane.ending_after(from)..])
    }

    /// When the unit was last given back by `at`, and when the slot that is on then or comes next starts.
    pub fn around(&self, unit: UnitId, at: Instant) -> (Option<Instant>, Option<Instant>) {
        let Some(lane) = self.lane_of(unit) else { return (None, None) };
        let (before, after) = lane.slots.split_at(lane.ending_after(at));
        (before.last().map(|slot| slot.window.end()), after.first().map(|slot| slot.window.start()))
    }

    /// Whether the unit is unoccupied in the whole window.
    pub fn free(&self, unit: UnitId, window: Window) -> bool {
        self.after(unit, window.start()).first().is_none_or(|slot| slot.window.start() >= window.end())
    }

    /// The slots that overlap the window, by start.
    pub fn busy(&self, unit: UnitId, window: Window) -> &[Slot] {
        let rest = self.after(unit, window.start());
        &rest[..rest.partition_point(|slot| slot.window.start() < window.end())]
    }

    /// The unoccupied stretches inside [from, until), in order; none is empty. Empty when `until` is not after `from`.
    pub fn gaps(&self, unit: UnitId, from: Instant, until: Instant) -> Vec<Window> {
        let Ok(whole) = Window::new(from, until) else { return Vec::new() };
        let mut gaps = Vec::new();
        let mut open = from;
        for slot in self.busy(unit, whole) {
            gaps.extend(Window::new(open, slot.window.start()));
            open = slot.window.end();
        }
        gaps.extend(Window::new(open, until));
        gaps
    }

    /// Every unit that has a slot, in no particular order.
    pub fn units(&self) -> impl Iterator<Item = UnitId> + '_ {
        self.shards.iter().flat_map(|shard| shard.keys().copied())
    }

    fn lane_mut(&mut self, unit: UnitId) -> &mut Lane {
        let shards = Arc::make_mut(&mut self.shards);
        let shard = Arc::make_mut(&mut shards[Self::shard(unit)]);
        Arc::make_mut(shard.entry(unit).or_default())
    }

    /// A calendar from slots that come sorted by unit, then by start: how a stored one is read, at a fraction of the cost
    /// of occupying each. The order is the promise of the caller; what overlaps is refused.
    pub fn from_sorted<E: From<Clash>>(slots: impl IntoIterator<Item = Result<(UnitId, Slot), E>>) -> Result<Self, E> {
        let mut calendar = Self::new();
        let shards = Arc::make_mut(&mut calendar.shards);
        let mut lane: Vec<Slot> = Vec::new();
        let mut of = None;
        let mut keep = |unit: Option<UnitId>, lane: &mut Vec<Slot>| {
            if let Some(unit) = unit {
                let mut whole = Lane { slots: lane.as_slice().to_vec(), longest: Vec::new() };
                whole.summarise(0);
                Arc::make_mut(&mut shards[Self::shard(unit)]).insert(unit, Arc::new(whole));
                lane.clear();
            }
        };
        for next in slots {
            let (unit, slot) = next?;
            if of != Some(unit) {
                keep(of.replace(unit), &mut lane);
            }
            if let Some(last) = lane.last().filter(|last| last.window.end() > slot.window.start()) {
                let (wanted, taken, by) = (slot.window, last.window, last.lease);
                return Err(Clash::Taken { unit, wanted, taken, by }.into());
            }
            lane.push(slot);
            calendar.slots += 1;
        }
        keep(of, &mut lane);
        Ok(calendar)
    }

    /// Takes a unit for a window.
    pub fn occupy(&mut self, unit: UnitId, window: Window, lease: LeaseId) -> Result<(), Clash> {
        if let Some(slot) = self.busy(unit, window).first() {
            return Err(Clash::Taken { unit, wanted: window, taken: slot.window, by: slot.lease });
        }
        let lane = self.lane_mut(unit);
        let place = lane.ending_after(window.start());
        lane.slots.insert(place, Slot { window, lease });
        lane.summarise(place);
        self.slots += 1;
        Ok(())
    }

    /// Gives back what `occupy` took, with the same arguments: a shorter stay is a vacated and a newly occupied window.
    pub fn vacate(&mut self, unit: UnitId, window: Window, lease: LeaseId) -> Result<(), Clash> {
        let held = Some(&Slot { window, lease });
        let place = self.lane_of(unit).map(|lane| (lane.ending_after(window.start()), lane.slots.as_slice()));
        let Some((place, _)) = place.filter(|&(place, slots)| slots.get(place) == held) else {
            return Err(Clash::NotHeld { unit, window, lease });
        };
        let lane = self.lane_mut(unit);
        lane.slots.remove(place);
        lane.summarise(place);
        if lane.slots.is_empty() {
            let shards = Arc::make_mut(&mut self.shards);
            Arc::make_mut(&mut shards[Self::shard(unit)]).remove(&unit);
        }
        self.slots -= 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unit(n: u128) -> UnitId {
        UnitId::from_u128(n)
    }

    fn lease(n: u128) -> LeaseId {
        LeaseId::from_u128(n)
    }

    fn window(start: i64, length: i64) -> Window {
        Window::lasting(Instant::from_seconds(start), Span::from_seconds(length)).unwrap()
    }

    #[test]
    fn a_clone_keeps_what_it_saw() {
        let mut calendar = Calendar::new();
        calendar.occupy(unit(1), window(10, 10), lease(1)).unwrap();
        let before = calendar.clone();
        calendar.vacate(unit(1), window(10, 10), lease(1)).unwrap();
        calendar.occupy(unit(1), window(0, 100), lease(2)).unwrap();
        assert_eq!(before.lane(unit(1)), [Slot { window: window(10, 10), lease: lease(1) }]);
        assert_eq!((before.len(), calendar.len()), (1, 1));
    }

    #[test]
    fn touching_is_free_and_overlapping_names_who_is_there() {
        let mut calendar = Calendar::new();
        calendar.occupy(unit(1), window(10, 10), lease(1)).unwrap();
        assert!(calendar.free(unit(1), window(20, 5)) && calendar.free(unit(1), window(0, 10)));
        assert!(calendar.free(unit(2), window(10, 10)));
        let clash = calendar.occupy(unit(1), window(19, 5), lease(2)).unwrap_err();
        assert!(matches!(clash, Clash::Taken { by, .. } if by == lease(1)));
        let wrong = calendar.vacate(unit(1), window(10, 9), lease(1)).unwrap_err();
        assert!(matches!(wrong, Clash::NotHeld { .. }));
        assert_eq!(
            calendar.gaps(unit(1), Instant::from_seconds(5), Instant::from_seconds(30)),
            [window(5, 5), window(20, 10)]
        );
    }

    #[test]
    fn a_stored_calendar_reads_as_it_was_and_overlaps_are_refused() {
        let rows = [(1, 0, 5), (1, 5, 5), (2, 3, 9)].map(|(u, start, length)| (unit(u), window(start, length)));
        let sorted = |rows: &[(UnitId, Window)]| {
            Calendar::from_sorted(
                rows.iter().map(|&(unit, window)| Ok::<_, Clash>((unit, Slot { window, lease: lease(1) }))),
            )
        };
        let read = sorted(&rows).unwrap();
        let mut occupied = Calendar::new();
        for (unit, window) in rows {
            occupied.occupy(unit, window, lease(1)).unwrap();
            assert_eq!(read.lane(unit).iter().filter(|slot| slot.window == window).count(), 1);
        }
        assert_eq!((read.len(), read.lane(unit(1))), (3, occupied.lane(unit(1))));
        assert!(matches!(sorted(&[rows[0], (unit(1), window(4, 1))]), Err(Clash::Taken { .. })));
    }

    /// Every gap in turn, without a summary.
    fn plain_idle(slots: &[Slot], from: Instant, need: Span) -> Vec<(Instant, Option<Instant>)> {
        let mut found = Vec::new();
        let mut open = from;
        for slot in slots.iter().filter(|slot| slot.window.end() > from) {
            let end = slot.window.start();
            if end > open && end.since(open) >= need {
                found.push((open, Some(end)));
            }
            open = slot.window.end();
        }
        found.push((open, None));
        found
    }

    /// Many slots, so that whole blocks are passed over.
    #[test]
    fn long_gaps_are_found_among_many_short_ones() {
        let mut calendar = Calendar::new();
        let mut at = 0;
        for number in 0..500i64 {
            let idle = if number % 97 == 96 { 40 } else { number % 7 };
            calendar.occupy(unit(1), window(at + idle, 5), lease(number as u128)).unwrap();
            at += idle + 5;
        }
        for step in 0..60 {
            let slots = calendar.lane(unit(1));
            let (gone, from) = (slots[(step * 37) % slots.len()], Instant::from_seconds(step as i64 * 40));
            for need in [0, 3, 6, 11, 40, 41, 5000].map(Span::from_seconds) {
                let found: Vec<_> = calendar.idle(unit(1), from, need).collect();
                assert_eq!(found, plain_idle(calendar.lane(unit(1)), from, need), "{need:?} from {from:?}");
            }
            calendar.vacate(unit(1), gone.window, gone.lease).unwrap();
        }
    }

    proptest! {
        /// Held against a table of seconds.
        #[test]
        fn answers_as_a_plain_table_would(
            steps in proptest::collection::vec((any::<bool>(), 0u128..3, 0i64..60, 1i64..12), 1..80),
            asked in (0u128..3, 0i64..60, 1i64..20),
        ) {
            let mut calendar = Calendar::new();
            let mut seconds = vec![vec![None; 80]; 3];
            let mut held = Vec::new();
            for (number, (take, u, start, length)) in steps.into_iter().enumerate() {
                if take {
                    let wanted = start as usize..(start + length) as usize;
                    let free = seconds[u as usize][wanted.clone()].iter().all(Option::is_none);
                    let owner = lease(number as u128);
                    prop_assert_eq!(calendar.occupy(unit(u), window(start, length), owner).is_ok(), free);
                    if free {
                        seconds[u as usize][wanted].fill(Some(owner));
                        held.push((u, start, length, owner));
                    }
                } else if let Some((u, start, length, owner)) = held.pop() {
                    calendar.vacate(unit(u), window(start, length), owner).unwrap();
                    seconds[u as usize][start as usize..(start + length) as usize].fill(None);
                }
            }
            let (u, start, length) = asked;
            let length_asked = length / 2;
            let table = &seconds[u as usize];
            let range = start as usize..(start + length) as usize;
            let asked = window(start, length);
            prop_assert_eq!(calendar.free(unit(u), asked), table[range.clone()].iter().all(Option::is_none));
            let mut owners: Vec<_> = table[range.clone()].iter().flatten().copied().collect();
            owners.dedup();
            prop_assert_eq!(calendar.busy(unit(u), asked).iter().map(|slot| slot.lease).collect::<Vec<_>>(), owners);
            let open: i64 = calendar.gaps(unit(u), asked.start(), asked.end()).iter().map(|w| w.span().as_seconds()).sum();
            prop_assert_eq!(open as usize, table[range].iter().filter(|second| second.is_none()).count());
            prop_assert_eq!(calendar.len(), held.len());
            let lane = calendar.lane(unit(u));
            let before = lane.iter().map(|slot| slot.window.end()).filter(|end| *end <= asked.start()).max();
            let next = lane.iter().find(|slot| slot.window.end() > asked.start()).map(|slot| slot.window.start());
            prop_assert_eq!(calendar.around(unit(u), asked.start()), (before, next));
            let need = Span::from_seconds(length_asked);
            let idle: Vec<_> = calendar.idle(unit(u), asked.start(), need).collect();
            prop_assert_eq!(idle, plain_idle(calendar.lane(unit(u)), asked.start(), need));
        }
    }
}
