//! The PTX that ships is what its source compiles to, every architecture's assembler takes it, and no kernel spills.
use std::process::Command;

/// Fetches NVIDIA's compiler where it is missing. Without it the test fails: nothing is skipped.
#[test]
fn the_ptx_is_what_its_source_compiles_to_and_spills_nothing() {
    let root = env!("CARGO_MANIFEST_DIR");
    let done = Command::new(format!("{root}/scripts/ptx")).arg("--check").current_dir(root).output().unwrap();
    let (said, complaint) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(
        done.status.code() != Some(3),
        "the PTX could not be compared with its source, because NVIDIA's compiler cannot be fetched here:\n{complaint}"
    );
    assert!(done.status.success(), "{said}\n{complaint}");
    // Sixteen kernels on five architectures, each assembled.
    for arch in ["sm_80", "sm_86", "sm_89", "sm_90", "sm_100"] {
        let kernels = said.lines().filter(|line| line.starts_with(&format!("{arch} "))).count();
        assert_eq!(kernels, 16, "{arch}:\n{said}");
    }
    let assembled = said.lines().filter(|line| line.ends_with(" 0 bytes spilled")).count();
    assert_eq!(assembled, 16 * 5, "{said}");
}
