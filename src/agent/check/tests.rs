//! Every check on the simulator: each planted fault is found whatever its seed, and a sound GPU raises no alarm. The counts
//! are 1,000 of each fault and 10,000 clean runs with GRISTMILL_FULL, a tenth of that otherwise.
use super::device::DeviceError;
use super::simulator::Simulator;
use super::*;
use crate::base::check::Suite;
use crate::base::proof::log::WORDS;
use crate::base::proof::pattern::hash;
use crate::base::proof::probe::Challenge;
use crate::base::window::Span;
use crate::wire::check::{SimulatedFault as Fault, SimulatedGpu};

/// Large enough for logs and a few hundred words under test.
const MEMORY: u64 = 8 << 10;
/// The first byte that no log of a check takes.
const TESTED: u64 = 4 << 10;
const PROCESSORS: u32 = 4;

fn rounds(all: u64) -> u64 {
    if std::env::var_os("GRISTMILL_FULL").is_some() { all } else { all / 10 }
}

/// The load's factors need more.
fn gpu_for(check: CheckKind, faults: Vec<Fault>) -> SimulatedGpu {
    let memory_bytes = if check == CheckKind::Soak { 4 * MEMORY } else { MEMORY };
    SimulatedGpu { memory_bytes, ..gpu(faults) }
}

fn gpu(faults: Vec<Fault>) -> SimulatedGpu {
    let (uuid, model) = ("SIM-1".to_owned(), "H200".to_owned());
    SimulatedGpu { uuid, model, processors: PROCESSORS, memory_bytes: MEMORY, faults }
}

fn order(check: CheckKind, seed: u64) -> CheckOrder {
    let measure = match check {
        CheckKind::Soak => 12,
        CheckKind::MemoryDeep => 2,
        CheckKind::Latency => 10,
        _ => 1,
    };
    let challenge = Challenge { seed, nonce: !seed, size: 16 };
    CheckOrder { check, limit: Span::from_seconds(1), measure, seed, challenge: Some(challenge) }
}

/// Runs one check and judges a probe's answer, as whoever asks does.
fn outcome(check: CheckKind, seed: u64, faults: Vec<Fault>) -> (Verdict, Found) {
    let mut device = Simulator::new(&gpu_for(check, faults), false);
    let order = order(check, seed);
    let (verdict, found) = perform(&mut device, &order, None, &mut |_, _, _| ());
    let Some(challenge) = order.challenge.filter(|_| check == CheckKind::Probe && verdict == Verdict::Passed) else {
        return (verdict, found);
    };
    // The whole answer: which rows a sample meets is chance, and not what is tested here.
    let all: Vec<u32> = (0..challenge.size).collect();
    match challenge.judge(&found.answer, &all) {
        Ok(()) => (verdict, found),
        Err(wrong) => (Verdict::failed(Code::Probe, wrong.to_string()), found),
    }
}

/// The same fault in many places and shapes: always this code.
fn always_found(check: CheckKind, code: Code, fault: impl Fn(u64) -> Fault) {
    for seed in 0..rounds(1000) {
        let planted = fault(hash(seed, 0x0070_6C61_6E74));
        let (verdict, found) = outcome(check, seed, vec![planted]);
        assert!(
            matches!(verdict, Verdict::Failed { code: it, .. } if it == code),
            "{planted:?} with seed {seed} in {}: {verdict:?}, {found:?}",
            check.name()
        );
    }
}

fn tested_byte(chance: u64) -> u64 {
    // The last hundredth of what is free is not covered.
    TESTED + chance % (MEMORY - TESTED - 128)
}

#[test]
fn flipped_bits_are_found_wherever_they_are() {
    for check in [CheckKind::Memory, CheckKind::MemoryDeep, CheckKind::Wipe] {
        always_found(check, Code::Memory, |chance| Fault::FlippedBit {
            byte: tested_byte(chance),
            bit: (chance >> 40) as u8 % 8,
        });
    }
}

#[test]
fn a_flipped_bit_is_named_with_its_place_and_both_words() {
    for seed in 0..rounds(1000) {
        let (byte, bit) = (tested_byte(hash(seed, 9)), (hash(seed, 10) % 8) as u8);
        let (_, found) = outcome(CheckKind::Memory, seed, vec![Fault::FlippedBit { byte, bit }]);
        // The log lies first, then all that is tested.
        let start = (WORDS as u64 * 8).next_multiple_of(16);
        let first = found.mismatches.first[0];
        assert_eq!(first.address, (byte - start) & !7);
        assert_eq!(first.expected ^ first.got, 1 << (u64::from(bit) + byte % 8 * 8));
        // It shows in both patterns.
        assert_eq!((found.mismatches.words, found.mismatches.bits), (2, 2));
    }
}

#[test]
fn stuck_bits_and_dead_address_lines_are_found() {
    for check in [CheckKind::Memory, CheckKind::MemoryDeep] {
        always_found(check, Code::Memory, |chance| Fault::StuckBit {
            byte: tested_byte(chance),
            bit: (chance >> 40) as u8 % 8,
            value: chance & 1 == 1,
        });
        always_found(check, Code::Memory, |chance| Fault::DeadLine { bytes: 16 << (chance % 8) });
    }
}

#[test]
fn what_a_wipe_does_not_reach_is_found_as_residue() {
    always_found(CheckKind::Wipe, Code::Residue, |chance| Fault::Unwipeable { byte: tested_byte(chance) });
}

#[test]
fn a_wrong_processor_is_found_and_named() {
    let wrong = |chance: u64| Fault::WrongProcessor {
        processor: (chance % u64::from(PROCESSORS)) as u32,
        bit: (chance >> 20) as u8,
    };
    always_found(CheckKind::Compute, Code::Product, wrong);
    always_found(CheckKind::Unanimity, Code::Arithmetic, wrong);
    always_found(CheckKind::Soak, Code::Dissent, wrong);
    always_found(CheckKind::Probe, Code::Probe, wrong);
    let (verdict, found) = outcome(CheckKind::Compute, 1, vec![Fault::WrongProcessor { processor: 2, bit: 3 }]);
    assert!(found.mismatches.first.iter().all(|one| one.sm == Some(2)));
    assert!(matches!(verdict, Verdict::Failed { said, .. } if said.contains("processor 2")));
}

#[test]
fn slowness_is_found_and_passes_where_nothing_is_known() {
    always_found(CheckKind::Bandwidth, Code::Slow, |chance| Fault::SlowCopy { times: 2 + (chance % 50) as u32 });
    always_found(CheckKind::Soak, Code::Drift, |chance| Fault::Fading { percent: 20 + (chance % 60) as u32 });
}

#[test]
fn a_device_that_fails_is_failed_and_one_that_cannot_be_asked_is_unknown() {
    let checks = [CheckKind::Memory, CheckKind::Compute, CheckKind::Wipe, CheckKind::Context];
    for (at, check) in checks.into_iter().enumerate() {
        // Each of these checks makes at least four calls.
        let after = |chance: u64| (chance % 3 + at as u64 % 2) as u32;
        always_found(check, Code::Device, |chance| Fault::Sticky { after: after(chance) });
        always_found(check, Code::Lost, |chance| Fault::Vanish { after: after(chance) });
        always_found(check, Code::Hang, |chance| Fault::Hang { after: after(chance) });
    }
    for seed in 0..rounds(1000) {
        for check in [CheckKind::Memory, CheckKind::MemoryDeep, CheckKind::Wipe] {
            let percent = 40 + (hash(seed, 5) % 55) as u32;
            let (verdict, _) = outcome(check, seed, vec![Fault::OutOfMemory { percent }]);
            assert!(matches!(&verdict, Verdict::Unknown { .. }), "{percent} % in {}: {verdict:?}", check.name());
        }
        let processor = (hash(seed, 6) % u64::from(PROCESSORS)) as u32;
        for check in [CheckKind::Compute, CheckKind::Unanimity] {
            let (verdict, _) = outcome(check, seed, vec![Fault::IdleProcessor { processor }]);
            assert!(matches!(&verdict, Verdict::Unknown { .. }), "idle {processor}: {verdict:?}");
        }
    }
}

#[test]
fn a_sound_gpu_raises_no_alarm() {
    for seed in 0..rounds(10_000) {
        for check in CheckKind::ALL {
            let (verdict, found) = outcome(check, seed, Vec::new());
            assert_eq!(verdict, Verdict::Passed, "{} with seed {seed}", check.name());
            assert!(found.mismatches.is_empty());
        }
    }
}

#[test]
fn what_is_not_covered_is_said_in_bytes() {
    let (_, found) = outcome(CheckKind::Memory, 3, Vec::new());
    let of = |name: &str| found.figures.iter().find(|figure| figure.name == name).map(|figure| figure.value);
    let (covered, uncovered) = (of("covered_bytes").unwrap(), of("uncovered_bytes").unwrap());
    let free = (MEMORY - (WORDS as u64 * 8).next_multiple_of(16)) as f64;
    assert!((covered + uncovered - free).abs() < 0.5);
    assert!(of("covered").unwrap() >= 97.0);
}

#[test]
fn plants_are_found_at_their_exact_place() {
    let mut device = Simulator::new(&gpu(Vec::new()), false);
    let plant = Some(Plant::Memory { address: 1000, bits: 0b101 });
    let (_, found) = perform(&mut device, &order(CheckKind::Memory, 7), plant, &mut |_, _, _| ());
    assert_eq!((found.mismatches.words, found.mismatches.bits), (1, 2));
    assert_eq!(found.mismatches.first[0].address, 1000);
    let mut device = Simulator::new(&gpu(Vec::new()), false);
    let plant = Some(Plant::Product { processor: 3, place: 37, bits: 1 });
    let (_, found) = perform(&mut device, &order(CheckKind::Compute, 7), plant, &mut |_, _, _| ());
    assert_eq!(found.mismatches.words, 3, "once in each format");
    assert!(found.mismatches.first.iter().all(|one| one.address == 37 && one.sm == Some(3)));
    let mut device = Simulator::new(&gpu(Vec::new()), false);
    let (verdict, _) = perform(&mut device, &order(CheckKind::Context, 7), Some(Plant::Stray), &mut |_, _, _| ());
    assert!(matches!(verdict, Verdict::Failed { code: Code::Device, .. }));
}

#[test]
fn progress_counts_up_to_what_it_announced() {
    for suite in Suite::ALL {
        for order in suite.orders(1, Challenge { seed: 1, nonce: 2, size: 16 }) {
            let mut device = Simulator::new(&gpu_for(order.check, Vec::new()), false);
            let mut steps = Vec::new();
            let order = CheckOrder { measure: order.measure.min(30), ..order };
            let _ = perform(&mut device, &order, None, &mut |done, of, _| steps.push((done, of)));
            assert!(!steps.is_empty(), "{order:?}");
            assert!(steps.iter().all(|(done, of)| done < of) && steps.is_sorted(), "{order:?}: {steps:?}");
        }
    }
}

#[test]
fn errors_are_verdicts() {
    let code = |error| match Verdict::from(error) {
        Verdict::Failed { code, .. } => Some(code),
        _ => None,
    };
    assert_eq!(code(DeviceError::OutOfMemory), None);
    assert_eq!(code(DeviceError::Unavailable("busy".into())), None);
    assert_eq!(code(DeviceError::Lost("bus".into())), Some(Code::Lost));
}
