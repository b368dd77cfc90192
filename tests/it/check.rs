//! Checks in processes of their own, as a node runs them: the real program plays the child, dies in every way that a process
//! can, and the agent makes a result of it. And the selftest as a person calls it, and the PTX against its source.
mod emulated;
mod gpu_check;
mod ptx;
mod selftest;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use gristmill::agent::check::parent::{Launcher, Stop};
use gristmill::base::check::{CheckKind, CheckOrder, CheckReport, Code, Suite, Verdict};
use gristmill::base::proof::probe::Challenge;
use gristmill::base::window::Span;
use gristmill::wire::check::{CHILD_PROTOCOL, ChildOrder, OrderedGpu, SimulatedFault as Fault, SimulatedGpu};

const CHALLENGE: Challenge = Challenge { seed: 21, nonce: 22, size: 32 };

fn launcher() -> Launcher {
    Launcher { program: PathBuf::from(env!("CARGO_BIN_EXE_gristmill")) }
}

fn gpu(faults: Vec<Fault>) -> OrderedGpu {
    OrderedGpu::Simulated(SimulatedGpu {
        uuid: "SIM-0".to_owned(),
        model: "H200".to_owned(),
        processors: 8,
        memory_bytes: 64 << 10,
        faults,
    })
}

fn order(check: CheckKind, limit: Span, faults: Vec<Fault>) -> ChildOrder {
    let order = CheckOrder { check, limit, measure: 1, seed: 5, challenge: Some(CHALLENGE) };
    ChildOrder { protocol: CHILD_PROTOCOL, order, gpu: gpu(faults), plant: None }
}

/// Long enough for any machine.
const LONG: Span = Span::from_seconds(120);

fn run(check: CheckKind, limit: Span, faults: Vec<Fault>) -> CheckReport {
    launcher().run(&order(check, limit, faults), &Stop::default(), &mut |_, _, _| ())
}

#[test]
fn a_check_reports_from_its_own_process() {
    let mut steps = Vec::new();
    let ordered = order(CheckKind::MemoryDeep, LONG, Vec::new());
    let report = launcher().run(&ordered, &Stop::default(), &mut |done, of, _| steps.push((done, of)));
    assert_eq!(report.verdict, Verdict::Passed, "{report:?}");
    assert_eq!(steps, [(0, 2), (1, 2)]);
    assert!(report.simulated && report.gpu.processors == 8 && report.figure("covered").unwrap() >= 97.0);
}

#[test]
fn a_hang_is_killed_at_its_deadline_and_is_a_failure() {
    let report = run(CheckKind::Memory, Span::from_seconds(3), vec![Fault::Hang { after: 4 }]);
    assert!(matches!(&report.verdict, Verdict::Failed { code: Code::Hang, .. }), "{report:?}");
    assert!(report.took_ms >= 3000);
}

#[test]
fn a_panic_is_a_failure_with_its_last_words() {
    let report = run(CheckKind::Memory, LONG, vec![Fault::Panic { after: 4 }]);
    let Verdict::Failed { code: Code::Died, said } = &report.verdict else { panic!("{report:?}") };
    assert!(said.contains("misses a symbol"), "{said}");
}

#[test]
fn a_segmentation_fault_is_a_failure_with_its_signal() {
    let report = run(CheckKind::Compute, LONG, vec![Fault::Segfault { after: 4 }]);
    let Verdict::Failed { code: Code::Died, said } = &report.verdict else { panic!("{report:?}") };
    assert!(said.contains("signal 11"), "{said}");
}

#[test]
fn nonsense_and_a_missing_program_are_unknown() {
    let report = run(CheckKind::Context, LONG, vec![Fault::Garbage]);
    assert!(matches!(&report.verdict, Verdict::Unknown { why } if why.contains("does not speak")), "{report:?}");
    let nowhere = Launcher { program: PathBuf::from("no/such/program") };
    let report = nowhere.run(&order(CheckKind::Context, LONG, vec![]), &Stop::default(), &mut |_, _, _| ());
    assert!(matches!(&report.verdict, Verdict::Unknown { .. }), "{report:?}");
    // A program that knows nothing of checks, and says so.
    let stranger = Launcher { program: PathBuf::from("/bin/false") };
    let report = stranger.run(&order(CheckKind::Context, LONG, vec![]), &Stop::default(), &mut |_, _, _| ());
    assert!(matches!(&report.verdict, Verdict::Unknown { .. }), "{report:?}");
}

#[test]
fn an_order_of_another_version_is_refused() {
    let ordered = ChildOrder { protocol: CHILD_PROTOCOL + 1, ..order(CheckKind::Context, LONG, vec![]) };
    let report = launcher().run(&ordered, &Stop::default(), &mut |_, _, _| ());
    assert!(matches!(&report.verdict, Verdict::Unknown { why } if why.contains("cannot be read")), "{report:?}");
}

/// It hangs, and its deadline is far: only the stop can end it. How long that took is printed, and not judged here.
#[test]
fn a_check_that_is_in_the_way_is_stopped_and_unknown() {
    let stop = Stop::default();
    let (ordered, seen) = (order(CheckKind::Memory, LONG, vec![Fault::Hang { after: 4 }]), stop.clone());
    let running = std::thread::spawn(move || launcher().run(&ordered, &seen, &mut |_, _, _| ()));
    std::thread::sleep(Duration::from_millis(500));
    let asked = Instant::now();
    stop.now();
    let report = running.join().unwrap();
    println!("stopped after {:?}", asked.elapsed());
    assert!(matches!(&report.verdict, Verdict::Unknown { why } if why.contains("in the way")), "{report:?}");
}

#[test]
fn every_suite_passes_on_a_sound_gpu_and_asks_nothing_after_a_loss() {
    for suite in Suite::ALL {
        let report = launcher().suite(&gpu(vec![]), suite, CHALLENGE, &Stop::default(), &mut |_, _, _, _| ());
        assert_eq!(report.verdict(), Verdict::Passed, "{report:?}");
        assert_eq!(report.checks.len(), suite.orders(0, CHALLENGE).len());
    }
    let gone = gpu(vec![Fault::Vanish { after: 2 }]);
    let report = launcher().suite(&gone, Suite::Nightly, CHALLENGE, &Stop::default(), &mut |_, _, _, _| ());
    assert!(matches!(report.verdict(), Verdict::Failed { code: Code::Lost, .. }), "{report:?}");
    assert_eq!(report.checks.len(), 2, "one lost, one not run, and no more asked");
    assert_eq!(report.checks[1].verdict.word(), "unknown");
}

#[test]
fn a_probe_that_computes_wrongly_fails_the_one_who_judges() {
    let wrong = gpu((0..8).map(|processor| Fault::WrongProcessor { processor, bit: 3 }).collect());
    let report = launcher().suite(&wrong, Suite::Probe, CHALLENGE, &Stop::default(), &mut |_, _, _, _| ());
    assert!(matches!(report.verdict(), Verdict::Failed { code: Code::Probe, .. }), "{report:?}");
}

#[test]
fn a_machine_without_this_gpu_answers_unknown_and_the_agent_lives() {
    let real = OrderedGpu::Real { uuid: "GPU-none".to_owned(), model: "H200".to_owned(), others: vec![] };
    let ordered = ChildOrder { gpu: real, ..order(CheckKind::Context, LONG, vec![]) };
    let report = launcher().run(&ordered, &Stop::default(), &mut |_, _, _| ());
    assert!(matches!(&report.verdict, Verdict::Unknown { .. }), "{report:?}");
    assert!(!report.simulated);
}

/// A script that can be started.
fn write_program(path: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
