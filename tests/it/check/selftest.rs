//! `gristmill agent --selftest` as a person calls it: without a mill, without a data directory, with and without GPUs.
use std::process::{Command, Output};

use serde_json::Value;

/// The statuses that the help text promises.
const FAILED: i32 = 1;
const UNKNOWN: i32 = 3;
const NO_GPU: i32 = 4;

fn selftest(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gristmill"));
    // A library that is nowhere: the test says the same on a machine with a driver.
    command.env_clear().env("GRISTMILL_NVML_LIBRARY", "libno-such-driver.so");
    command.args(["agent", "--selftest"]).args(words).output().unwrap()
}

fn document(done: &Output) -> Value {
    serde_json::from_slice(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"))
}

#[test]
fn a_machine_without_a_driver_is_told_what_to_do() {
    let done = selftest(&[]);
    assert_eq!(done.status.code(), Some(NO_GPU), "{done:?}");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("no NVIDIA driver") && said.contains("install the driver"), "{said}");
    let json = document(&selftest(&["--json"]));
    assert!(json["problem"].as_str().unwrap().contains("driver"), "{json}");
}

#[test]
fn simulated_gpus_pass_and_are_marked() {
    let done = selftest(&["--simulated-gpus", "2", "--suite", "boundary"]);
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{done:?}");
    assert_eq!(said.matches("(simulated: this says nothing about any hardware)").count(), 2, "{said}");
    assert_eq!(said.matches("passed suite boundary at ").count(), 2, "{said}");
    for check in ["wipe", "memory", "compute", "bandwidth"] {
        assert_eq!(
            said.lines().filter(|line| line.trim_start().starts_with(&format!("{check} "))).count(),
            2,
            "{said}"
        );
    }
    assert!(!said.contains("healthy"));
    let progress = String::from_utf8_lossy(&done.stderr);
    assert!(progress.contains("GPU 1: bandwidth passed"), "{progress}");
}

#[test]
fn a_fault_is_shown_with_code_evidence_and_remedy() {
    let fault = r#"{"fault":"flipped_bit","byte":9000,"bit":3}"#;
    let words = ["--simulated-gpus", "1", "--suite", "boundary", "--fault", fault];
    let done = selftest(&words);
    let said = String::from_utf8_lossy(&done.stdout);
    assert_eq!(done.status.code(), Some(FAILED), "{said}");
    assert!(said.contains("memory: ") && said.contains(" instead of ") && said.contains("out of service"), "{said}");
    assert!(said.contains("failed suite boundary at "), "{said}");
    let json = document(&selftest(&[&words[..], &["--json"]].concat()));
    let first = &json["gpus"][0]["checks"][0];
    assert_eq!((first["verdict"].as_str(), first["code"].as_str()), (Some("failed"), Some("memory")), "{first}");
    assert_eq!(first["simulated"], Value::Bool(true));
    assert_eq!(json["simulated"], Value::Bool(true));
    assert_eq!(first["mismatches"]["words"], 1, "{first}");
}

#[test]
fn what_could_not_run_is_unknown_and_a_wrong_word_is_refused() {
    let fault = r#"{"fault":"out_of_memory","percent":50}"#;
    let done = selftest(&["--simulated-gpus", "1", "--suite", "boundary", "--fault", fault]);
    assert_eq!(done.status.code(), Some(UNKNOWN), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stdout).contains("did not run to its end"));
    let missing = selftest(&["--simulated-gpus", "1", "--gpu", "5"]);
    assert_eq!(missing.status.code(), Some(NO_GPU), "{missing:?}");
    let wrong = selftest(&["--suite", "healthy"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("boundary, probe, nightly, enroll, deep"));
}
