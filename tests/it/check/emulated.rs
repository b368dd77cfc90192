//! The driver's path without a GPU: the very wrapper that runs on a node loads a libcuda that the test compiles, and that
//! library runs the kernels' own sources on the CPU. Every check passes there against the reference in Rust, and what is
//! planted is found. It proves the kernels' logic and the calls; nothing here says anything about a GPU or about the PTX.
use std::process::Command;

use gristmill::agent::check::parent::{Launcher, Stop};
use gristmill::base::check::{CheckKind, CheckOrder, CheckReport, Code, Verdict};
use gristmill::base::proof::probe::Challenge;
use gristmill::base::window::Span;
use gristmill::wire::check::{CHILD_PROTOCOL, ChildOrder, OrderedGpu, Plant};

use crate::fleet::mill::folder;

const CHALLENGE: Challenge = Challenge { seed: 31, nonce: 32, size: 64 };

/// Compiles a libcuda into a folder of its own, and answers a program that finds it first.
fn with_library(source: &str) -> Launcher {
    let dir = folder("cuda");
    // Headers of CUDA that the kernels name; everything is in ours.
    for header in ["mma.h", "cuda_bf16.h", "cuda_fp16.h"] {
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(header), "").unwrap();
    }
    let root = env!("CARGO_MANIFEST_DIR");
    let mut command = Command::new("c++");
    command.args(["-std=c++17", "-O2", "-ffp-contract=off", "-w", "-shared", "-fPIC"]);
    command.arg("-I").arg(&dir).arg("-I").arg(format!("{root}/src/agent/kernels"));
    command.args(["-I", &format!("{root}/tests/it/check/emulated"), "-x", "c++", source]);
    let status = command.arg("-o").arg(dir.join("libcuda.so")).status().expect("a C++ compiler is there");
    assert!(status.success(), "the emulated driver could not be compiled");
    let program = dir.join("gristmill");
    let text = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH='{}' GRISTMILL_NVML_LIBRARY=libno-such-driver.so exec '{}' \"$@\"\n",
        dir.display(),
        env!("CARGO_BIN_EXE_gristmill")
    );
    crate::check::write_program(&program, &text);
    Launcher { program }
}

fn emulated() -> Launcher {
    with_library(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/check/emulated/libcuda.cc"))
}

fn run(launcher: &Launcher, check: CheckKind, plant: Option<Plant>) -> CheckReport {
    let order = CheckOrder { check, limit: Span::from_seconds(200), measure: 1, seed: 77, challenge: Some(CHALLENGE) };
    let gpu = OrderedGpu::Real { uuid: "GPU-emulated".to_owned(), model: "Emulated".to_owned(), others: vec![] };
    let order = ChildOrder { protocol: CHILD_PROTOCOL, order, gpu, plant };
    launcher.run(&order, &Stop::default(), &mut |_, _, _| ())
}

#[test]
fn the_kernels_agree_with_the_reference_through_the_real_wrapper() {
    let launcher = emulated();
    for check in CheckKind::ALL.into_iter().filter(|check| *check != CheckKind::Peers) {
        let mut report = run(&launcher, check, None);
        report.judge_answer(CHALLENGE, 5, 16);
        assert_eq!(report.verdict, Verdict::Passed, "{report:?}");
        assert!(report.mismatches.is_empty() && !report.simulated, "{report:?}");
        println!("{}: {} ms {:?}", check.name(), report.took_ms, report.figures);
        if matches!(check, CheckKind::Compute | CheckKind::Unanimity | CheckKind::Probe) {
            assert_eq!(report.figure("processors_answered"), Some(4.0), "{report:?}");
        }
        if matches!(check, CheckKind::Memory | CheckKind::Wipe) {
            assert!(report.figure("covered").unwrap() >= 97.0, "{report:?}");
        }
        if check == CheckKind::Wipe {
            // What lies there when it is taken anew is what the wipe wrote: nothing clears this memory.
            assert_eq!(report.figure("foreign_bytes"), Some(0.0), "{report:?}");
            assert_eq!(report.figure("own_pattern_bytes"), report.figure("covered_bytes"), "{report:?}");
        }
    }
    let alone = run(&launcher, CheckKind::Peers, None);
    assert!(matches!(alone.verdict, Verdict::Unknown { .. }), "{alone:?}");
}

#[test]
fn what_is_planted_is_found_at_its_exact_place() {
    let launcher = emulated();
    let (address, bits) = (12_345_672, 1 << 63 | 1);
    let report = run(&launcher, CheckKind::Memory, Some(Plant::Memory { address, bits }));
    assert!(matches!(report.verdict, Verdict::Failed { code: Code::Memory, .. }), "{report:?}");
    assert_eq!((report.mismatches.words, report.mismatches.bits), (1, 2));
    let first = report.mismatches.first[0];
    assert_eq!((first.address, first.expected ^ first.got), (address, bits));

    let plant = Plant::Product { processor: 3, place: 128 * 77 + 5, bits: 4 };
    let report = run(&launcher, CheckKind::Compute, Some(plant));
    assert!(matches!(report.verdict, Verdict::Failed { code: Code::Product, .. }), "{report:?}");
    assert!(report.mismatches.words >= 3, "in each format: {report:?}");
    assert!(report.mismatches.first.iter().all(|one| one.address == 128 * 77 + 5 && one.sm == Some(3)), "{report:?}");
}

#[test]
fn a_bad_pointer_ends_its_process_alone() {
    let launcher = emulated();
    let report = run(&launcher, CheckKind::Context, Some(Plant::Stray));
    assert!(matches!(report.verdict, Verdict::Failed { code: Code::Died, .. }), "{report:?}");
    assert_eq!(run(&launcher, CheckKind::Context, None).verdict, Verdict::Passed, "the next process is sound");
}

#[test]
fn a_driver_that_lacks_a_function_is_too_old_and_no_panic() {
    let dir = folder("cuda-old");
    std::fs::create_dir_all(&dir).unwrap();
    let source = dir.join("old.cc");
    std::fs::write(&source, "extern \"C\" int cuInit(unsigned flags) { return 0; }\n").unwrap();
    let launcher = with_library(source.to_str().unwrap());
    let report = run(&launcher, CheckKind::Context, None);
    assert!(matches!(&report.verdict, Verdict::Unknown { why } if why.contains("too old")), "{report:?}");
}
