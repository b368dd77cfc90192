//! `scripts/gpu-check` itself: it ends cleanly where there is no card, and does all its steps on a GPU that a CPU plays. What
//! it is for, a real card, no test here has.
use std::process::{Command, Output};

use crate::fleet::mill::folder;

fn script(words: &[&str]) -> Output {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut command = Command::new(format!("{root}/scripts/gpu-check"));
    command.current_dir(root).args(["--program", env!("CARGO_BIN_EXE_gristmill")]).args(words);
    // A driver that is nowhere: the test says the same on a machine that has one.
    command.env("GRISTMILL_NVML_LIBRARY", "libno-such-driver.so").output().unwrap()
}

#[test]
fn without_a_card_it_says_so_and_writes_nothing() {
    let out = folder("gpu-check").join("result.txt");
    let done = script(&["--out", out.to_str().unwrap()]);
    assert_eq!(done.status.code(), Some(4), "{done:?}");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        said.contains("No GPU was checked, and nothing was written") && said.contains("no NVIDIA driver"),
        "{said}"
    );
    assert!(!out.exists());
}

#[test]
fn its_steps_find_what_is_planted_and_its_file_is_marked() {
    let out = folder("gpu-check").join("result.txt");
    let done = script(&["--simulated", "--quick", "--out", out.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}\n{}", String::from_utf8_lossy(&done.stderr));
    let file = std::fs::read_to_string(&out).unwrap();
    assert!(file.starts_with("GPU checks on a SIMULATED GPU, which proves nothing"), "{file}");
    for step in [
        "ok     suite boundary passes",
        "ok     suite probe passes",
        "ok     suite nightly passes",
        "ok     a corrupted word of memory is found at its exact place",
        "ok     a wrong value of a product is found at its exact place, on its processor",
        "ok     a bad pointer fails its process alone",
        "ok     the next process finds the GPU sound",
        "share of the card's own copy",
        "wrong: 0",
    ] {
        assert!(file.contains(step), "{step}:\n{file}");
    }
}
