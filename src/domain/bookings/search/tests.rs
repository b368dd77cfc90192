//! The search held against brute force, second by second.
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::base::ids::LeaseId;

/// Busy times as plain sorted lists.
#[derive(Clone, Debug, Default)]
struct Lists(BTreeMap<UnitId, Vec<Window>>);

impl BusyTimes for Lists {
    fn after(&self, unit: UnitId, from: Instant) -> impl Iterator<Item = Window> + '_ {
        self.0.get(&unit).into_iter().flatten().copied().filter(move |window| window.end() > from)
    }

    fn around(&self, unit: UnitId, at: Instant) -> (Option<Instant>, Option<Instant>) {
        let windows = || self.0.get(&unit).into_iter().flatten();
        let before = windows().map(|window| window.end()).filter(|&end| end <= at).max();
        (before, windows().find(|window| window.end() > at).map(|window| window.start()))
    }
}

impl Lists {
    /// The same times as a calendar, which searches by its summaries.
    fn calendar(&self) -> Calendar {
        let mut calendar = Calendar::new();
        for (number, (&unit, windows)) in self.0.iter().enumerate() {
            for &window in windows {
                calendar.occupy(unit, window, LeaseId::from_u128(number as u128)).unwrap();
            }
        }
        calendar
    }

    fn free(&self, unit: UnitId, window: Window) -> bool {
        self.0.get(&unit).into_iter().flatten().all(|busy| !busy.overlaps(window))
    }
}

fn half_seconds(count: i64) -> Instant {
    Instant::from_millis(count * 500)
}

fn second(count: i64) -> Instant {
    Instant::from_seconds(count)
}

const HORIZON: i64 = 60;

/// Lengths of idle and busy stretches in turn, in half seconds: windows that end between two whole seconds included.
fn lane() -> impl Strategy<Value = Vec<Window>> {
    proptest::collection::vec((0i64..12, 1i64..12), 0..8).prop_map(|steps| {
        let mut at = 0;
        steps
            .into_iter()
            .map(|(idle, busy)| {
                let start = at + idle;
                at = start + busy;
                Window::new(half_seconds(start), half_seconds(at)).unwrap()
            })
            .collect()
    })
}

prop_compose! {
    fn fleet()(groups in proptest::collection::vec(
        (proptest::collection::vec(lane(), 1..5), 0i64..3, 0i64..10, 1u64..3, any::<bool>()), 1..4,
    )) -> (Vec<Group>, Lists) {
        let mut lists = Lists::default();
        let mut number = 0;
        let mut made = Vec::new();
        for (place, (lanes, turnaround, from, memory, new)) in groups.into_iter().enumerate() {
            let units = lanes.into_iter().map(|lane| {
                number += 1;
                let unit = UnitId::from_u128(number);
                lists.0.insert(unit, lane);
                unit
            }).collect();
            made.push(Group {
                node: NodeId::from_u128(place as u128),
                model: if new { "H200" } else { "A100" }.to_owned(),
                portion: Portion::Whole,
                memory_bytes: memory,
                units,
                turnaround: Span::from_seconds(turnaround),
                lead: Span::from_seconds(from),
            });
        }
        (made, lists)
    }
}

fn want() -> impl Strategy<Value = Want> {
    (1u32..5, 1i64..8, 0i64..40, 0i64..40, proptest::option::of(any::<bool>())).prop_map(
        |(gpus, duration, from, patience, model)| Want {
            gpus,
            model: model.map(|new| if new { "h200" } else { "a100" }.to_owned()),
            duration: Span::from_seconds(duration),
            now: second(0),
            // Not on a whole second now and then: a start is always rounded up to one.
            not_before: half_seconds(from),
            latest_start: half_seconds((from + patience).min(2 * HORIZON)),
        },
    )
}

fn free_units(group: &Group, busy: &Lists, want: &Want, start: Instant) -> Vec<UnitId> {
    let window = Window::lasting(start, occupied(group, want)).unwrap();
    group.units.iter().copied().filter(|&unit| busy.free(unit, window)).collect()
}

/// Every start, one second after the other, on every group: (start, leftover, memory) of the best.
fn brute_force(groups: &[Group], busy: &Lists, want: &Want) -> Option<(Instant, usize, u64)> {
    let first = want.not_before.ceil_second().as_seconds();
    (first..=want.latest_start.as_seconds()).map(second).find_map(|start| {
        groups
            .iter()
            .filter(|group| want.suits(group) && group.opens(want.now) <= start)
            .filter_map(|group| {
                let free = free_units(group, busy, want, start).len();
                let leftover = free.checked_sub(want.gpus as usize)?;
                Some((start, leftover, group.memory_bytes))
            })
            .min()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6000, ..ProptestConfig::default() })]

    #[test]
    fn finds_what_brute_force_finds((groups, busy) in fleet(), want in want()) {
        let found = earliest(&groups, &busy, &want);
        let oracle = brute_force(&groups, &busy, &want);
        prop_assert_eq!(&earliest(&groups, &busy.calendar(), &want), &found, "summaries change nothing");
        let Some(placement) = found else {
            prop_assert_eq!(oracle, None);
            return Ok(());
        };
        let group = groups.iter().find(|group| group.node == placement.node).unwrap();
        let start = placement.window.start();
        let free = free_units(group, &busy, &want, start);
        prop_assert!(placement.units.iter().all(|unit| free.contains(unit)), "every chosen unit is free");
        prop_assert_eq!(placement.units.len(), want.gpus as usize);
        prop_assert_eq!(placement.window.span(), want.duration);
        let known = (start, free.len() - placement.units.len(), group.memory_bytes);
        prop_assert_eq!(Some(known), oracle);
        // The same placement is found when exactly its start is asked for.
        let exact = Want { not_before: start, latest_start: start, ..want };
        let again = exactly_at(&groups, &busy, &exact).unwrap();
        prop_assert_eq!(again.window, placement.window);
    }

    #[test]
    fn an_exact_start_is_taken_or_not((groups, busy) in fleet(), want in want()) {
        let start = want.not_before.ceil_second();
        let want = Want { not_before: start, latest_start: start, ..want };
        let oracle = brute_force(&groups, &busy, &want);
        prop_assert_eq!(exactly_at(&groups, &busy, &want).is_some(), oracle.is_some());
    }
}

fn group(node: u128, units: std::ops::Range<u128>, memory_bytes: u64) -> Group {
    Group {
        node: NodeId::from_u128(node),
        model: "H200".to_owned(),
        portion: Portion::Whole,
        memory_bytes,
        units: units.map(UnitId::from_u128).collect(),
        turnaround: Span::ZERO,
        lead: Span::ZERO,
    }
}

fn simple(gpus: u32) -> Want {
    let (not_before, latest_start) = (second(0), second(100));
    Want { gpus, model: None, duration: Span::from_seconds(10), now: second(0), not_before, latest_start }
}

#[test]
fn among_equals_the_tightest_node_wins() {
    let busy = Lists::default();
    let roomy_then_tight = [group(1, 0..4, 1), group(2, 4..6, 9)];
    assert_eq!(earliest(&roomy_then_tight, &busy, &simple(2)).unwrap().node, NodeId::from_u128(2));
    let large_then_small = [group(1, 0..2, 9), group(2, 2..4, 1)];
    assert_eq!(earliest(&large_then_small, &busy, &simple(2)).unwrap().node, NodeId::from_u128(2));
}

#[test]
fn a_gap_that_fits_is_filled_before_an_open_end_is_broken() {
    let mut busy = Lists::default();
    busy.0.insert(UnitId::from_u128(1), vec![Window::new(second(10), second(50)).unwrap()]);
    let placement = earliest(&[group(1, 0..3, 1)], &busy, &simple(1)).unwrap();
    assert_eq!((placement.window.start(), placement.units), (second(0), vec![UnitId::from_u128(1)]));
}

#[test]
fn turnaround_needs_room_too() {
    let mut busy = Lists::default();
    busy.0.insert(UnitId::from_u128(0), vec![Window::new(second(10), second(50)).unwrap()]);
    let mut tight = group(1, 0..1, 1);
    tight.turnaround = Span::from_seconds(1);
    assert_eq!(earliest(&[tight], &busy, &simple(1)).unwrap().window.start(), second(50));
}
