//! Ending processes outside leases, by the mill's word and after a look of its own: the mill names boot, number, beginning
//! and Unix user, and all of it must be so now, while the process is held by a file descriptor that no later process with
//! its number can take. It refuses what belongs to a lease, what is the mill's own, what is on no GPU in the last reading,
//! and what root or the system runs unless that is ordered; and it ends nothing while the mill does not list it.
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant as Monotonic};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::watch;

use super::boot;
use super::place::Place;
use super::readings::{GENERATIONS, Owners, Round, running};
use crate::base::ids::UseId;
use crate::base::telemetry::GpuProcess;
use crate::base::window::{Instant, Span};
use crate::clock;
use crate::wire::lease::ProcessMark;
use crate::wire::node::{EndFact, EndProcess, EndState};

/// How often it is looked after while there is something to end.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A reading older than this says nothing of who is on a GPU now.
const FRESH: Span = Span::from_seconds(45);
/// Accounts below this number are root and system services.
const FIRST_PERSON: u32 = 1000;

/// What shall be ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    pub generation: u64,
    pub processes: Vec<EndProcess>,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ended {
    pub generation: u64,
    pub processes: Vec<EndFact>,
}

/// Starts the task; it ends with the sender.
pub fn start(
    place: Arc<Place>,
    readings: watch::Receiver<Arc<Round>>,
) -> (watch::Sender<Wanted>, watch::Receiver<Ended>) {
    let (want, mut wanted) = watch::channel(Wanted::default());
    let (tell, told) = watch::channel(Ended::default());
    tokio::spawn(async move {
        let mut hands = Hands::default();
        loop {
            let now = wanted.borrow_and_update().clone();
            let idle = now.processes.is_empty();
            if !idle || !hands.0.is_empty() {
                let (round, leases, generation) = (readings.borrow().clone(), place.leases(), now.generation);
                let step = tokio::task::spawn_blocking(move || {
                    let facts = hands.step(&now.processes, &round, &leases);
                    (hands, facts)
                });
                let Ok((kept, processes)) = step.await else { return };
                hands = kept;
                tell.send_if_modified(|before| {
                    let news = Ended { generation, processes };
                    let changed = before.processes != news.processes;
                    *before = news;
                    changed
                });
            }
            let patience = if idle { Duration::from_secs(3600) } else { LOOK_EVERY };
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(patience) => {}
            }
        }
    });
    (want, told)
}

/// The two ends of an agent that has nothing to end: its GPUs are on paper.
pub fn nothing() -> (watch::Sender<Wanted>, watch::Receiver<Ended>) {
    (watch::channel(Wanted::default()).0, watch::channel(Ended::default()).1)
}

/// How far each order is.
#[derive(Default)]
struct Hands(HashMap<UseId, Doing>);

enum Doing {
    /// SIGTERM is out.
    Asked {
        process: OwnedFd,
        since: Monotonic,
        killed: bool,
    },
    Over(EndState),
}

impl Hands {
    fn step(&mut self, wanted: &[EndProcess], round: &Round, leases: &Path) -> Vec<EndFact> {
        self.0.retain(|used, _| wanted.iter().any(|order| order.used == *used));
        let mut facts = Vec::new();
        for order in wanted {
            let before = self.0.remove(&order.used);
            let Some(after) = go_on(order, before, round, leases) else { continue };
            let state = match &after {
                Doing::Asked { .. } => EndState::Asked,
                Doing::Over(state) => state.clone(),
            };
            facts.push(EndFact { used: order.used, state });
            self.0.insert(order.used, after);
        }
        facts
    }
}

/// The next step of one order; nothing where it cannot be told yet.
fn go_on(order: &EndProcess, before: Option<Doing>, round: &Round, leases: &Path) -> Option<Doing> {
    match before {
        Some(Doing::Over(state)) => Some(Doing::Over(state)),
        None => begin(order, round, leases),
        Some(Doing::Asked { process, since, killed }) => {
            let mark = ProcessMark { pid: order.pid, started: order.started };
            if !boot::is_alive(mark) {
                return Some(Doing::Over(EndState::Gone));
            }
            let grace = Duration::from_millis(order.grace.as_millis().max(0).unsigned_abs());
            let late = !killed && since.elapsed() >= grace;
            // It may have become a lease's, or somebody else's, since it was asked.
            let still = late && verdict(order, &look(order, round, leases)) == Verdict::End;
            if still && let Some(over) = send(&process, Signal::KILL) {
                return Some(Doing::Over(over));
            }
            Some(Doing::Asked { process, since, killed: killed || still })
        }
    }
}

fn begin(order: &EndProcess, round: &Round, leases: &Path) -> Option<Doing> {
    let refuse = |why: &str| Some(Doing::Over(EndState::Refused { why: why.to_owned() }));
    let Some(pid) = i32::try_from(order.pid).ok().and_then(Pid::from_raw) else {
        return refuse("it is no process number");
    };
    // Held first and looked at then: what is looked at is what is held, or it is over.
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(Errno::SRCH) => return Some(Doing::Over(EndState::Gone)),
        Err(error) => return refuse(&format!("the kernel does not let it be held: {error}")),
    };
    match verdict(order, &look(order, round, leases)) {
        Verdict::Wait => None,
        Verdict::Gone => Some(Doing::Over(EndState::Gone)),
        Verdict::Refuse(why) => refuse(why),
        Verdict::End => {
            tracing::warn!(pid = order.pid, uid = order.uid, "a process outside leases is ended, by the mill's order");
            let over = send(&process, Signal::TERM).map(Doing::Over);
            over.or_else(|| Some(Doing::Asked { process, since: Monotonic::now(), killed: false }))
        }
    }
}

/// Sends a signal; answers what that came to where it did not reach the process.
fn send(process: &OwnedFd, signal: Signal) -> Option<EndState> {
    match pidfd_send_signal(process, signal) {
        Ok(()) => None,
        Err(Errno::SRCH) => Some(EndState::Gone),
        Err(Errno::PERM) => Some(EndState::Refused {
            why: "this agent runs as an ordinary user and may not end other users’ processes; let it run as root"
                .to_owned(),
        }),
        Err(error) => Some(EndState::Refused { why: format!("the signal could not be sent: {error}") }),
    }
}

/// What is so now.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Look {
    boot: String,
    started: Option<u64>,
    uid: Option<u32>,
    lease: bool,
    /// The mill's program, or something that it started.
    own: bool,
    /// Whether it is on a GPU; `None` while that is not known.
    on_gpu: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    End,
    Gone,
    /// Not to be told yet.
    Wait,
    Refuse(&'static str),
}

fn verdict(order: &EndProcess, seen: &Look) -> Verdict {
    if order.boot != seen.boot || seen.started != Some(order.started) {
        return Verdict::Gone;
    }
    if seen.own || order.pid <= 1 {
        return Verdict::Refuse("it is the mill’s own");
    }
    if seen.lease {
        return Verdict::Refuse("it belongs to a lease");
    }
    if seen.uid != Some(order.uid) {
        return Verdict::Refuse("it runs as another Unix user by now");
    }
    if order.uid < FIRST_PERSON && !order.system {
        return Verdict::Refuse("it belongs to root or to a system account");
    }
    match seen.on_gpu {
        Some(true) => Verdict::End,
        Some(false) => Verdict::Gone,
        None => Verdict::Wait,
    }
}

fn look(order: &EndProcess, round: &Round, leases: &Path) -> Look {
    let running = running(leases);
    let owners = Owners { proc: PathBuf::from("/proc"), users: HashMap::new(), running: &running };
    let mut process = GpuProcess { pid: order.pid, ..GpuProcess::default() };
    owners.fill_in(&mut process);
    Look {
        boot: boot::boot_id(),
        started: process.started,
        uid: process.uid,
        lease: process.lease.is_some(),
        own: is_own(&owners, order.pid),
        on_gpu: on_gpu(order, round, clock::now()),
    }
}

/// Whether it, or what started it, is this very program.
fn is_own(owners: &Owners<'_>, pid: u32) -> bool {
    let file = |pid: &str| {
        let facts = std::fs::metadata(Path::new("/proc").join(pid).join("exe")).ok()?;
        Some((facts.dev(), facts.ino()))
    };
    let Some(own) = file("self") else { return true };
    let mut at = pid;
    for _ in 0..GENERATIONS {
        if at == std::process::id() || file(&at.to_string()) == Some(own) {
            return true;
        }
        match owners.parent(at).filter(|&parent| parent > 1) {
            Some(parent) => at = parent,
            None => return false,
        }
    }
    true
}

fn on_gpu(order: &EndProcess, round: &Round, now: Instant) -> Option<bool> {
    round.at.filter(|at| now.since(*at) <= FRESH)?;
    let is_it = |process: &GpuProcess| process.pid == order.pid && process.started == Some(order.started);
    if round.gpus.iter().flat_map(|gpu| gpu.processes.iter().flatten()).any(is_it) {
        return Some(true);
    }
    round.gpus.iter().all(|gpu| gpu.processes.is_some()).then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::telemetry::GpuReading;

    fn order(pid: u32, uid: u32) -> EndProcess {
        let grace = Span::from_seconds(1);
        EndProcess { used: UseId::from_u128(1), boot: "b".to_owned(), pid, started: 7, uid, grace, system: false }
    }

    fn seen(uid: u32) -> Look {
        let boot = "b".to_owned();
        Look { boot, started: Some(7), uid: Some(uid), lease: false, own: false, on_gpu: Some(true) }
    }

    #[test]
    fn only_the_very_process_is_ended_and_only_while_it_may_be() {
        let person = order(50, 1001);
        assert_eq!(verdict(&person, &seen(1001)), Verdict::End);
        for (what, look, expected) in [
            ("another boot", Look { boot: "c".to_owned(), ..seen(1001) }, Verdict::Gone),
            ("the number again", Look { started: Some(8), ..seen(1001) }, Verdict::Gone),
            ("not there", Look { started: None, ..seen(1001) }, Verdict::Gone),
            ("left the GPU", Look { on_gpu: Some(false), ..seen(1001) }, Verdict::Gone),
            ("nothing read", Look { on_gpu: None, ..seen(1001) }, Verdict::Wait),
            ("a lease's", Look { lease: true, ..seen(1001) }, Verdict::Refuse("it belongs to a lease")),
            ("the mill's", Look { own: true, ..seen(1001) }, Verdict::Refuse("it is the mill’s own")),
            (
                "another user",
                Look { uid: Some(0), ..seen(1001) },
                Verdict::Refuse("it runs as another Unix user by now"),
            ),
            ("unknown user", Look { uid: None, ..seen(1001) }, Verdict::Refuse("it runs as another Unix user by now")),
        ] {
            assert_eq!(verdict(&person, &look), expected, "{what}");
        }
        assert_eq!(verdict(&order(50, 0), &seen(0)), Verdict::Refuse("it belongs to root or to a system account"));
        let ordered = EndProcess { system: true, ..order(50, 0) };
        assert_eq!(verdict(&ordered, &seen(0)), Verdict::End);
        assert_eq!(
            verdict(&EndProcess { system: true, ..order(1, 0) }, &seen(0)),
            Verdict::Refuse("it is the mill’s own")
        );
    }

    #[test]
    fn a_reading_says_who_is_on_a_gpu_only_while_it_is_fresh_and_whole() {
        let now = Instant::from_seconds(100);
        let process = GpuProcess { pid: 50, started: Some(7), ..GpuProcess::default() };
        let gpu = |processes| GpuReading { processes, ..GpuReading::default() };
        let round = |at, gpus| Round { at: Some(Instant::from_seconds(at)), gpus, ..Round::default() };
        let there = gpu(Some(vec![process.clone()]));
        let of = |round: &Round| on_gpu(&order(50, 1001), round, now);
        assert_eq!(of(&round(90, vec![gpu(None), there.clone()])), Some(true));
        assert_eq!(of(&round(50, vec![there])), None, "an old reading");
        assert_eq!(of(&round(90, vec![gpu(Some(vec![])), gpu(None)])), None, "one GPU did not say");
        assert_eq!(of(&round(90, vec![gpu(Some(vec![]))])), Some(false));
        let other = GpuProcess { started: Some(8), ..process };
        assert_eq!(of(&round(90, vec![gpu(Some(vec![other]))])), Some(false), "the number, later");
        assert_eq!(of(&Round::default()), None);
    }

    #[test]
    fn this_program_and_what_it_started_are_its_own() {
        let owners = Owners { proc: PathBuf::from("/proc"), users: HashMap::new(), running: &[] };
        assert!(is_own(&owners, std::process::id()));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(is_own(&owners, child.id()));
        assert!(!is_own(&owners, std::os::unix::process::parent_id()), "who started this test is not");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
