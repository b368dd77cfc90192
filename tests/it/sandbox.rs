//! Leases as a node runs them: real sandboxes, real terminals, real ends. Each test needs bubblewrap and, for the network,
//! slirp4netns; a machine without them fails here with the reason.
mod attach;
mod bench;
mod scratch;
mod walls;

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bench::{Bench, PROGRAM, Terminal, deadline, ended};
use gristmill::agent::{archive, boot, follow, gpu, lease, observe};
use gristmill::base::hardware::Share;
use gristmill::wire::frame::{Frame, Size};
use gristmill::wire::lease::*;

#[tokio::test]
async fn output_and_exit_code_are_kept() {
    let bench = Bench::batch("echo hello; echo problem >&2; exit 3");
    bench.start().await;
    let state = bench.end().await;
    assert_eq!(ended(&state), (&ExitKind::Code(3), &EndCause::Finished));
    assert_eq!(bench.log(), "hello\nproblem\n");
    assert_eq!(lease::adopt(&bench.dir()).await.unwrap().standing, lease::Standing::Ended);
    lease::collect(&bench.dir()).unwrap();
    assert!(!bench.dir().exists() && bench.spec.home.exists());
    assert!(state.enforcement.cgroups.iter().all(|group| !group.exists()), "{:?}", state.enforcement);
}

#[tokio::test]
async fn signals_and_missing_commands_end_as_shells_say_it() {
    let bench = Bench::batch("kill -TERM $$");
    bench.start().await;
    let exit = ended(&bench.end().await).0.clone();
    assert_eq!((exit.shell_code(), exit), (Some(143), ExitKind::Signal(15)));
    let bench = Bench::new(LeaseKind::Batch { command: vec!["no-such-command".to_owned()] });
    bench.start().await;
    assert_eq!(ended(&bench.end().await).0, &ExitKind::Code(127));
    assert!(bench.log().contains("no-such-command"), "{}", bench.log());
}

#[tokio::test]
async fn the_log_can_be_followed_from_any_byte_to_the_end() {
    let bench = Bench::batch("echo first; sleep 1; echo second; exit 4");
    bench.start().await;
    let mut following = bench.client().follow(2, true).await.unwrap();
    let (mut text, mut at) = (String::new(), 2);
    let exit = loop {
        match following.reader.next().await.unwrap().expect("the log ends with its exit") {
            Frame::Log { offset, bytes } => {
                assert_eq!(offset, at);
                at += bytes.len() as u64;
                text.push_str(std::str::from_utf8(&bytes).unwrap());
            }
            Frame::LogEnd(exit) => break exit,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((text.as_str(), exit), ("rst\nsecond\n", ExitKind::Code(4)));
    // The shim is gone soon after; the log is still told in the same words.
    bench.end().await;
    let (sender, mut frames) = tokio::sync::mpsc::channel(8);
    let (dir, logs) = (bench.dir(), bench.root.join("logs"));
    let (lease, attempt) = (bench.spec.lease, bench.spec.attempt);
    let source = follow::Source { dir: &dir, logs: &logs, lease, attempt };
    let rest = [Frame::Log { offset: 6, bytes: b"second\n".to_vec() }, Frame::LogEnd(ExitKind::Code(4))];
    let told = async |frames: &mut tokio::sync::mpsc::Receiver<Frame>| {
        for frame in &rest {
            assert_eq!(frames.recv().await.as_ref(), Some(frame));
        }
    };
    tokio::join!(follow::follow(source, 6, true, &sender), told(&mut frames));
    // Put aside, also in the middle of that, it is told from the archive.
    std::fs::create_dir(&logs).unwrap();
    std::fs::create_dir(bench.root.join("aside")).unwrap();
    for name in ["spec.json", "state.json"] {
        std::fs::copy(dir.join(name), bench.root.join("aside").join(name)).unwrap();
    }
    archive::put_aside(&dir, &logs, lease, attempt).unwrap();
    assert!(!dir.exists());
    tokio::join!(follow::follow(source, 6, true, &sender), told(&mut frames));
    let half_gone = follow::Source { dir: &bench.root.join("aside"), ..source };
    tokio::join!(follow::follow(half_gone, 6, true, &sender), told(&mut frames));
    let nowhere = follow::Source { attempt: 7, ..source };
    follow::follow(nowhere, 0, true, &sender).await;
    assert!(matches!(frames.recv().await, Some(Frame::Refused { .. })));
}

#[tokio::test]
async fn a_terminal_keeps_its_shell() {
    let bench = Bench::new(LeaseKind::Workspace { shell: None });
    bench.start().await;
    let (mut first, fresh) = Terminal::open(&bench, 1).await;
    assert!(fresh);
    assert_eq!(first.ask("tty").await, "/dev/pts/0");
    assert_eq!(first.ask("stty size").await, "30 100");
    first.connection.writer.send(&Frame::Resize(Size { cols: 132, rows: 40 })).await.unwrap();
    assert_eq!(first.ask("stty size").await, "40 132");
    let shell = first.ask("echo $$").await;
    let (mut second, fresh) = Terminal::open(&bench, 2).await;
    assert!(fresh);
    assert_ne!(second.ask("echo $$").await, shell);
    first.ask("echo remember me").await;
    drop(first);
    let (mut again, fresh) = Terminal::open(&bench, 1).await;
    assert!(!fresh);
    again.see("remember me").await;
    assert_eq!(again.ask("echo $$").await, shell);
    assert_eq!(bench.client().list_tabs().await.unwrap().iter().map(|tab| tab.tab).collect::<Vec<_>>(), [1, 2]);

    // Closing terminals, even the last one, does not end the lease.
    again.type_in("exit\n").await;
    second.type_in("exit\n").await;
    for terminal in [&mut again, &mut second] {
        while let Some(frame) = terminal.connection.reader.next().await.unwrap() {
            if matches!(frame, Frame::TabClosed { .. }) {
                break;
            }
        }
    }
    assert_eq!(bench.client().list_tabs().await.unwrap(), []);
    assert!(matches!(bench.client().status().await.unwrap().phase, Phase::Running { .. }));
    lease::stop(&bench.dir(), "released").await.unwrap();
    let state = bench.end().await;
    assert_eq!(ended(&state), (&ExitKind::None, &EndCause::Stopped { reason: "released".to_owned() }));
    lease::stop(&bench.dir(), "once more").await.unwrap();
}

#[tokio::test]
async fn the_sandbox_shows_the_lease_and_nothing_else() {
    let secret = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let said = Bench::say(&format!(
        "echo processes: $(ls /proc | grep -c '^[0-9]'); id -u; id -un; pwd; stat -c %a /home/ada; \
         touch /usr/x 2>/dev/null || echo usr is read-only; test -e {} || echo host is hidden; ls /home /root 2>&1; \
         ls /dev | grep -c nvidia; grep -E 'Cap(Eff|Bnd)|NoNewPrivs' /proc/self/status; \
         echo $CUDA_VISIBLE_DEVICES; echo $GREETING; test -s /run/gristmill/bin/gristmill && echo program; \
         cat /proc/1/environ /proc/1/mem >/dev/null 2>&1 || echo first process is closed; hostname",
        secret.display()
    ))
    .await;
    let uuids: Vec<String> = gpu::simulated::gpus("bench", 2).into_iter().map(|gpu| gpu.uuid).collect();
    for wanted in [
        "\n1000\nada\n/home/ada\n700\n",
        "usr is read-only",
        "host is hidden",
        "/home:\nada\n",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        &uuids.join(","),
        "good day",
        "program",
        "first process is closed",
        "lease-",
    ] {
        assert!(said.contains(wanted), "{wanted:?} is not in:\n{said}");
    }
    // The first process, the shell, the substitution, ls and grep at most.
    let processes: u32 = said.lines().next().unwrap().trim_start_matches("processes: ").parse().unwrap();
    assert!((2..=5).contains(&processes), "{said}");
    assert!(said.contains("/root'") || said.contains("/root:"), "{said}");
}

#[tokio::test]
async fn homes_are_the_members_own_and_stay() {
    let bench = Bench::batch("echo kept > note; cat note");
    bench.start().await;
    bench.end().await;
    let note = std::fs::metadata(bench.spec.home.join("note")).unwrap();
    if rustix::process::geteuid().is_root() {
        use std::os::unix::fs::MetadataExt;
        assert_eq!((note.uid(), note.gid()), (100_123, 100_123));
    }
    lease::collect(&bench.dir()).unwrap();
    let mut again = Bench::batch("cat note");
    again.spec.home = bench.spec.home.clone();
    again.start().await;
    again.end().await;
    assert_eq!(again.log(), "kept\n");
}

#[tokio::test]
async fn the_hosts_loopback_cannot_be_reached() {
    assert!(observe::abilities().network, "install slirp4netns: without it workloads have no network");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let said = Bench::say(&format!(
        "grep -q tap0 /proc/net/dev && echo has a network; \
         for host in 127.0.0.1 10.0.2.2 169.254.169.254; do \
           timeout 3 bash -c \"echo attack > /dev/tcp/$host/{port}\" 2>/dev/null && echo reached $host; done; echo done"
    ))
    .await;
    assert_eq!(said, "has a network\ndone\n");
    assert!(listener.accept().is_err(), "a connection arrived at the host's loopback");
}

#[tokio::test]
async fn the_end_takes_everything_with_it() {
    let script = "trap '' TERM; (trap '' TERM HUP; setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 0.1; \
                  echo alive >> /home/ada/sign; done' &) ; echo up; while :; do sleep 0.1; done";
    let mut bench = Bench::batch(script);
    bench.spec.deadline = deadline(1, Duration::from_secs(4));
    bench.start().await;
    let state = bench.end().await;
    assert_eq!(ended(&state), (&ExitKind::Signal(9), &EndCause::Deadline));
    assert!(boot::boot_ms() >= bench.spec.deadline.boot_ms);
    let sign = std::fs::metadata(bench.spec.home.join("sign")).unwrap().len();
    assert!(sign > 0, "the hidden process never ran");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(std::fs::metadata(bench.spec.home.join("sign")).unwrap().len(), sign, "a process outlived the end");
    assert!(state.started.is_some());
}

#[tokio::test]
async fn a_program_that_listens_learns_its_end_in_time() {
    let script =
        "trap 'echo saved; cat $GRISTMILL_NOTICE; exit 7' TERM; echo $GRISTMILL_END; while :; do sleep 0.1; done";
    let mut bench = Bench::batch(script);
    (bench.spec.deadline, bench.spec.grace_seconds) = (deadline(1, Duration::from_secs(62)), 60);
    bench.spec.warnings = vec![1];
    bench.spec.deadline.boot_ms = boot::boot_ms() + 62_000;
    bench.start().await;
    let state = bench.end().await;
    assert_eq!(ended(&state), (&ExitKind::Code(7), &EndCause::Deadline));
    let log = bench.log();
    assert!(log.contains("saved") && log.contains(&bench.spec.deadline.end.as_seconds().to_string()), "{log}");
    assert!(log.contains("ending now"), "{log}");
    assert!(boot::boot_ms() < bench.spec.deadline.boot_ms, "the exit did not end the lease early");
}

#[tokio::test]
async fn deadlines_change_by_generation() {
    let bench = Bench::new(LeaseKind::Workspace { shell: None });
    bench.start().await;
    lease::set_end(&bench.dir(), deadline(5, Duration::from_secs(900))).await.unwrap();
    let refused = lease::set_end(&bench.dir(), deadline(4, Duration::from_secs(1))).await.unwrap_err();
    assert!(refused.to_string().contains("newer deadline"), "{refused}");
    assert_eq!(lease::inspect(&bench.dir()).unwrap().state.deadline.generation, 5);
    lease::set_end(&bench.dir(), deadline(6, Duration::from_millis(300))).await.unwrap();
    assert_eq!(ended(&bench.end().await), (&ExitKind::None, &EndCause::Deadline));
}

#[tokio::test]
async fn neither_the_agents_end_nor_its_process_group_ends_work() {
    let bench = Bench::batch("sleep 3; echo finished");
    // An agent that starts the lease and is then killed with its whole group.
    std::fs::create_dir_all(bench.dir()).unwrap();
    gristmill::agent::shim::write_spec(&bench.dir(), &bench.spec).unwrap();
    let start = format!("'{PROGRAM}' shim --dir '{}' & wait", bench.dir().display());
    let mut agent = Command::new("sh").args(["-c", &start]).process_group(0).spawn().unwrap();
    while !bench.dir().join("state.json").exists()
        || matches!(lease::inspect(&bench.dir()).unwrap().state.phase, Phase::Starting)
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let group = format!("-{}", agent.id());
    assert!(Command::new("kill").args(["-9", "--", &group]).status().unwrap().success());
    agent.wait().unwrap();
    assert_eq!(lease::adopt(&bench.dir()).await.unwrap().standing, lease::Standing::Live);
    assert_eq!(ended(&bench.end().await), (&ExitKind::Code(0), &EndCause::Finished));
    assert_eq!(bench.log(), "finished\n");
}

#[tokio::test]
async fn a_killed_shim_takes_its_work_along_and_is_reported_lost() {
    let bench = Bench::batch("while :; do echo alive >> sign; sleep 0.1; done");
    bench.start().await;
    while !bench.spec.home.join("sign").exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let shim = lease::inspect(&bench.dir()).unwrap().state.shim;
    assert!(matches!(lease::collect(&bench.dir()), Err(lease::LeaseError::Live)));
    Command::new("kill").args(["-9", &shim.pid.to_string()]).status().unwrap();
    let state = bench.end().await;
    assert_eq!(ended(&state).1, &EndCause::Lost);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let length = || std::fs::metadata(bench.spec.home.join("sign")).unwrap().len();
    let before = length();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(length(), before, "the work went on without its shim");
    lease::collect(&bench.dir()).unwrap();
    assert!(state.enforcement.cgroups.iter().all(|group| !group.exists()), "{:?}", state.enforcement.cgroups);
}

#[tokio::test]
async fn the_memory_share_is_enforced_where_the_node_says_so() {
    let abilities = observe::abilities();
    let mut bench = Bench::batch("head -c 300M /dev/zero | tail -c 300M >/dev/null; echo rest $?");
    bench.spec.share = Share { cpu_millis: 500, memory_bytes: 100 << 20, scratch_bytes: 0 };
    bench.start().await;
    let state = bench.end().await;
    let enforcement = &state.enforcement;
    assert_eq!((enforcement.cpu, enforcement.memory), (abilities.cpu, abilities.memory), "{enforcement:?}");
    if abilities.memory {
        assert!(state.note.as_deref().unwrap_or_default().contains("memory"), "{state:?}\n{}", bench.log());
        assert!(bench.log().contains("rest 137"), "{}", bench.log());
    } else {
        assert!(enforcement.lacking.iter().any(|lack| lack.contains("memory")), "{enforcement:?}");
    }
}

#[tokio::test]
async fn the_log_stops_at_its_cap() {
    let mut bench = Bench::batch("yes | head -c 100000; exit 5");
    bench.spec.log_cap = 10_000;
    bench.start().await;
    let state = bench.end().await;
    assert_eq!(ended(&state).0, &ExitKind::Code(5));
    let log = bench.log();
    assert!(log.len() < 11_000 && log.contains("the output is cut here"), "{}", log.len());
    assert_eq!(state.log, LogFacts { bytes: log.len() as u64, dropped: 90_000 });
}

#[tokio::test]
async fn hostile_specs_leave_no_trace() {
    let bench = Bench::batch("true");
    let mut hostile = vec![bench.spec.clone(), bench.spec.clone(), bench.spec.clone()];
    hostile[0].home = bench.root.join("homes/../../../etc");
    hostile[1].member.name = "../ada".to_owned();
    hostile[2].member.uid = 0;
    for spec in hostile {
        let refused = lease::spawn(&bench.dir(), &spec, Path::new(PROGRAM)).await;
        assert!(matches!(refused, Err(lease::LeaseError::Spec(_))), "{refused:?}");
        assert!(!bench.dir().exists());
    }
    // A home that is a link to somewhere else is found by the shim itself.
    std::fs::create_dir_all(bench.root.join("homes")).unwrap();
    std::os::unix::fs::symlink("/etc", &bench.spec.home).unwrap();
    lease::spawn(&bench.dir(), &bench.spec, Path::new(PROGRAM)).await.unwrap();
    let state = bench.end().await;
    assert!(matches!(ended(&state), (ExitKind::Failed(why), EndCause::Failed) if why.contains("link")), "{state:?}");
}

#[tokio::test]
async fn nonsense_on_the_socket_is_answered_and_survived() {
    let bench = Bench::new(LeaseKind::Workspace { shell: None });
    bench.start().await;
    let socket = bench.dir().join("sock");
    let short = std::fs::File::open(bench.dir()).unwrap();
    let path = format!("/proc/self/fd/{}/sock", std::os::fd::AsRawFd::as_raw_fd(&short));
    assert!(socket.exists());
    let mut seed = 7u64;
    for round in 0..200u8 {
        let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut bytes: Vec<u8> = (0..64)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 33) as u8
            })
            .collect();
        // Half of them begin like a real frame, with a length that fits.
        if round % 2 == 0 {
            bytes[..5].copy_from_slice(&[round % 80, 0, 0, 0, 59]);
        }
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
    }
    assert!(matches!(bench.client().status().await.unwrap().phase, Phase::Running { .. }));
    lease::stop(&bench.dir(), "enough").await.unwrap();
    bench.end().await;
}
