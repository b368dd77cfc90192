//! Scratch space: as large as its share, nobody else's, and gone at the end.
use std::os::unix::fs::PermissionsExt as _;

use super::bench::{Bench, ended};
use gristmill::agent::lease;
use gristmill::base::hardware::Share;
use gristmill::wire::lease::{EndCause, ExitKind, ScratchFacts};

fn with_scratch(script: &str, mebibytes: u64) -> Bench {
    let mut bench = Bench::batch(script);
    bench.spec.share = Share { scratch_bytes: mebibytes << 20, ..Share::default() };
    bench
}

fn is_left(bench: &Bench) -> bool {
    ["scratch", "scratch.img"].iter().any(|name| bench.dir().join(name).exists())
}

#[tokio::test]
async fn it_is_as_large_as_its_share_and_gone_afterwards() {
    let script = "echo $GRISTMILL_SCRATCH $TMPDIR $(ls -A /scratch | wc -l) $(stat -c '%a %U' /scratch); \
                  head -c 60M /dev/zero > /scratch/fits && echo fits; rm /scratch/fits; \
                  head -c 100M /dev/zero > /scratch/big || echo too big; df -B1M --output=size /scratch | tail -1";
    for _ in 0..2 {
        let bench = with_scratch(script, 64);
        bench.start().await;
        let state = bench.end().await;
        let (log, enforcement) = (bench.log(), &state.enforcement);
        assert!(log.starts_with("/scratch /scratch 0 700 ada\n") && log.contains("\nfits\n"), "{log}");
        let facts = enforcement.scratch.expect("a share is always looked after");
        if facts.enforced {
            assert_eq!(facts.bytes, 64 << 20, "{enforcement:?}");
            assert!(log.contains("No space left on device") && log.contains("too big"), "{log}");
            let size: u64 = log.lines().last().unwrap().trim().parse().unwrap();
            assert!((60..=64).contains(&size), "{log}");
        } else {
            assert!(
                enforcement.lacking.iter().any(|lack| lack.contains("scratch share is measured")),
                "{enforcement:?}"
            );
        }
        // Before anybody asked for it to be tidied up.
        assert!(!is_left(&bench));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(
            !mounts.contains(bench.dir().to_str().unwrap()),
            "the machine itself sees a mount of the lease:\n{mounts}"
        );
    }
}

#[tokio::test]
async fn without_rights_it_is_measured_and_that_is_said() {
    let script = "cd /scratch; mkdir -p shut/in; echo x > shut/in/x; chmod 0 shut/in shut; ln -s /home/ada link; \
                  head -c 30M /dev/urandom > big; while :; do sleep 0.1; done";
    let bench = with_scratch(script, 8);
    bench.start_unprivileged().await;
    let state = bench.end().await;
    let reason = match ended(&state) {
        (ExitKind::Signal(15), EndCause::Stopped { reason }) => reason.clone(),
        other => panic!("{other:?}\n{}", bench.log()),
    };
    assert!(reason.starts_with("scratch held ") && reason.ends_with("more than its share of 8.0 MiB"), "{reason}");
    assert!(bench.log().contains(&reason) && state.note.as_deref() == Some(&reason), "{}", bench.log());
    assert_eq!(state.enforcement.scratch, Some(ScratchFacts { bytes: 8 << 20, enforced: false }));
    let lacking = "the scratch share is measured and not enforced: the agent does not run as root";
    assert!(state.enforcement.lacking.iter().any(|lack| lack == lacking), "{:?}", state.enforcement);
    assert!(!is_left(&bench));
    assert!(bench.spec.home.exists());
}

#[tokio::test]
async fn what_a_vanished_shim_left_is_collected() {
    let script = "cd /scratch; mkdir -p shut/in; echo x > shut/in/x; chmod 0 shut/in shut; touch ~/ready; sleep 600";
    let bench = Bench::batch(script);
    bench.start().await;
    while !bench.spec.home.join("ready").exists() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    // Without a share there is no limit, and nothing lacks.
    let state = lease::inspect(&bench.dir()).unwrap().state;
    assert_eq!((state.enforcement.scratch, state.enforcement.lacking.len()), (None, 0));
    let shut = std::fs::symlink_metadata(bench.dir().join("scratch/shut")).unwrap();
    assert_eq!(shut.permissions().mode() & 0o777, 0);
    let shim = rustix::process::Pid::from_raw(i32::try_from(state.shim.pid).unwrap()).unwrap();
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
    assert_eq!(ended(&bench.end().await).1, &EndCause::Lost);
    assert!(is_left(&bench));
    lease::collect(&bench.dir()).unwrap();
    assert!(!bench.dir().exists());
}
