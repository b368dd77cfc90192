//! The search with MIG units held against brute force: GPUs are cut and put together again while bookings stand, and of a GPU
//! and its instances never two have the same moment.
use proptest::prelude::*;

use super::*;
use crate::base::hardware::Portion;
use crate::base::ids::{LeaseId, NodeId};
use crate::domain::bookings::search::{Group, Want, earliest, exactly_at};

/// Instances of a GPU when it is cut.
const PARTS: usize = 3;
const GPUS: usize = 4;
/// On each node.
const PER_NODE: usize = 2;
const HORIZON: i64 = 40;

/// What somebody asks for after some GPUs were cut or put together.
#[derive(Clone, Debug)]
struct Step {
    cut: [bool; GPUS],
    instances: bool,
    units: u32,
    seconds: i64,
    from: i64,
    maintenance: Option<(i64, i64)>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (
        any::<[bool; GPUS]>(),
        any::<bool>(),
        1u32..5,
        1i64..9,
        0i64..20,
        proptest::option::weighted(0.2, (0i64..30, 1i64..9)),
    );
    let step = step.prop_map(|(cut, instances, units, seconds, from, maintenance)| Step {
        cut,
        instances,
        units,
        seconds,
        from,
        maintenance,
    });
    proptest::collection::vec(step, 1..14)
}

fn whole(gpu: usize) -> UnitId {
    UnitId::from_u128(gpu as u128 * 100)
}

fn parts(gpu: usize) -> Vec<UnitId> {
    (1..=PARTS).map(|part| UnitId::from_u128((gpu * 100 + part) as u128)).collect()
}

fn second(count: i64) -> Instant {
    Instant::from_seconds(count)
}

/// The fleet as it is cut now. Only one side of each GPU is offered; what excludes what stays as it is.
fn supply(cut: [bool; GPUS]) -> Supply {
    let mut supply = Supply::default();
    for node in 0..GPUS / PER_NODE {
        let gpus = node * PER_NODE..(node + 1) * PER_NODE;
        let offered: Vec<UnitId> = gpus.clone().filter(|&gpu| !cut[gpu]).map(whole).collect();
        let instances: Vec<UnitId> = gpus.filter(|&gpu| cut[gpu]).flat_map(parts).collect();
        for (units, portion, word) in
            [(offered, Portion::Whole, "H200"), (instances, Portion::Eighths(2), "H200 2g.35gb")]
        {
            if !units.is_empty() {
                supply.groups.push(Group {
                    node: NodeId::from_u128(node as u128),
                    model: word.to_owned(),
                    portion,
                    memory_bytes: 1,
                    units,
                    turnaround: Span::from_seconds(1),
                    lead: Span::ZERO,
                });
            }
        }
    }
    for gpu in 0..GPUS {
        supply.excluded.insert(whole(gpu), parts(gpu));
        supply.excluded.extend(parts(gpu).into_iter().map(|part| (part, vec![whole(gpu)])));
    }
    supply
}

/// Every start, one second after the other: whether enough units of one group, with what they exclude, are idle.
fn brute_force(busy: &Busy<'_>, want: &Want) -> Option<Instant> {
    let idle = |unit: &UnitId, window: Window| {
        let blocked = busy.blocked.get(unit).into_iter().flatten().any(|blocked| blocked.overlaps(window));
        let kin = busy.supply.excluded[unit].iter().chain([unit]);
        !blocked
            && kin.into_iter().all(|unit| busy.calendar.lane(*unit).iter().all(|slot| !slot.window.overlaps(window)))
    };
    (want.not_before.as_seconds()..=want.latest_start.as_seconds()).map(second).find(|&start| {
        let enough = |group: &&Group| {
            let window = Window::lasting(start, want.duration).unwrap();
            let window = Window::new(start, window.end().plus(group.turnaround)).unwrap();
            group.units.iter().filter(|unit| idle(unit, window)).count() >= want.gpus as usize
        };
        busy.supply.groups.iter().filter(|group| want.of_model(group)).any(|group| enough(&group))
    })
}

fn never_both(calendar: &Calendar) {
    for gpu in 0..GPUS {
        for part in parts(gpu) {
            for slot in calendar.lane(part) {
                assert!(calendar.free(whole(gpu), slot.window), "GPU {gpu} and an instance of it at {:?}", slot.window);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn a_gpu_and_its_instances_are_never_both_leased(steps in steps()) {
        let mut calendar = Calendar::new();
        for (number, step) in steps.into_iter().enumerate() {
            let supply = supply(step.cut);
            let mut blocked = HashMap::new();
            if let Some((from, length)) = step.maintenance {
                let window = Window::lasting(second(from), Span::from_seconds(length)).unwrap();
                blocked.extend(supply.groups.iter().take(1).flat_map(|group| &group.units).map(|&unit| (unit, vec![window])));
            }
            let busy = Busy { calendar: &calendar, supply: &supply, blocked };
            let want = Want {
                gpus: step.units,
                model: step.instances.then(|| "h200 2G.35GB".to_owned()),
                duration: Span::from_seconds(step.seconds),
                now: second(0),
                not_before: second(step.from),
                latest_start: second(HORIZON),
            };
            let found = earliest(&supply.groups, &busy, &want);
            prop_assert_eq!(found.as_ref().map(|found| found.window.start()), brute_force(&busy, &want));
            let Some(found) = found else { continue };
            // Any model means whole GPUs.
            prop_assert_eq!(found.portion.is_instance(), step.instances);
            let start = found.window.start();
            let exact = Want { not_before: start, latest_start: start, ..want };
            prop_assert!(exactly_at(&supply.groups, &busy, &exact).is_some());
            let occupied = Window::new(start, found.window.end().plus(found.turnaround)).unwrap();
            prop_assert!(is_free(&calendar, &supply.excluded, &found.units, occupied));
            for &unit in &found.units {
                calendar.occupy(unit, occupied, LeaseId::from_u128(number as u128)).unwrap();
            }
            prop_assert!(!is_free(&calendar, &supply.excluded, &supply.excluded[&found.units[0]], occupied));
            never_both(&calendar);
        }
    }
}

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
        let busy = Busy { calendar: &calendar, supply: &Supply::default(), blocked: HashMap::from([(unit, windows)]) };
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
