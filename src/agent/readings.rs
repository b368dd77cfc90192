//! What the GPUs read, every [`SAMPLE_EVERY`], and whose the processes on them are: the Unix user by the kernel's word, the
//! lease by the process tree of its shim or by its control group. It refuses to wait for a driver that hangs: what does
//! not answer is missing.
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::gpu::nvml::Driver;
use super::gpu::{Pretence, Source, Work};
use super::kernel_log::KernelLog;
use super::lease::{self, Standing};
use super::place::Place;
use super::xids::{self, Buses};
use crate::base::hardware::{ObservedGpu, ObservedNode};
use crate::base::ids::LeaseId;
use crate::base::telemetry::{GpuProcess, GpuReading, MOST_PROCESSES, SAMPLE_EVERY};
use crate::base::window::Instant;
use crate::base::xid::XidFact;
use crate::clock;
use crate::wire::lease::Phase;

/// How far up a process tree is looked for a shim.
pub(super) const GENERATIONS: usize = 256;
/// Fields of `/proc/PID/stat`, counted from the state (1).
const PARENT: usize = 2;
const STARTED: usize = 20;
/// A simulated node has no driver that could tell who computes. What this file in the agent's directory names, one GPU's
/// index and one process number to a line, is on its GPUs besides: for evaluation and tests.
const CLAIMS: &str = "simulated-processes";

/// One round of readings, and when it was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Round {
    pub at: Option<Instant>,
    pub gpus: Vec<GpuReading>,
    /// The last Xids of this node, told again with every round: who missed a round has missed nothing.
    pub xids: Vec<XidFact>,
    /// Why the kernel's log is not among the sources; `None` where it is, and where the GPUs are simulated.
    pub kernel_log: Option<String>,
}

/// Starts reading; what is read appears in the receiver. Ends when nobody receives any more.
pub fn start(
    source: Source,
    place: Arc<Place>,
    observed: watch::Receiver<Arc<ObservedNode>>,
) -> watch::Receiver<Arc<Round>> {
    let (tell, told) = watch::channel(Arc::default());
    tokio::spawn(async move {
        let every = Duration::from_millis(u64::try_from(SAMPLE_EVERY.as_millis()).unwrap_or(10_000));
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut pretence = Pretence::default();
        let mut buses = Buses::default();
        while !tell.is_closed() {
            ticks.tick().await;
            let units = observed.borrow().gpus.clone();
            let simulated = matches!(source, Source::Simulated { .. });
            let (source, leases, claims) = (source.clone(), place.leases(), place.root().join(CLAIMS));
            // Reading blocks, and may have to wait for a driver until the watchdog gives up.
            let round = tokio::task::spawn_blocking(move || {
                let round = read(&source, &units, (&leases, &claims), &mut pretence);
                (round, pretence)
            });
            match round.await {
                Ok((round, kept)) => {
                    pretence = kept;
                    tell.send_replace(Arc::new(with_xids(round, simulated, &mut buses, &observed.borrow().gpus)));
                }
                Err(error) => {
                    tracing::error!(%error, "reading the GPUs failed");
                    pretence = Pretence::default();
                }
            }
        }
    });
    told
}

fn read(source: &Source, units: &[ObservedGpu], (leases, claims): (&Path, &Path), pretence: &mut Pretence) -> Round {
    let at = clock::now();
    let running = running(leases);
    let mut gpus = match source {
        Source::Nvml => Driver::of_this_machine().read(units),
        Source::Simulated { .. } => {
            let mut gpus = pretend(units, &running, pretence, at);
            claim(&mut gpus, units, &std::fs::read_to_string(claims).unwrap_or_default());
            gpus
        }
    };
    let owners = Owners { proc: PathBuf::from("/proc"), users: users("/etc/passwd"), running: &running };
    for process in gpus.iter_mut().filter_map(|gpu| gpu.processes.as_mut()).flat_map(|all| {
        all.truncate(MOST_PROCESSES);
        all
    }) {
        owners.fill_in(process);
    }
    Round { at: Some(at), gpus, ..Round::default() }
}

/// Adds the Xids of both sources. Simulated GPUs have none: what this machine's kernel writes is not about them.
fn with_xids(round: Round, simulated: bool, buses: &mut Buses, gpus: &[ObservedGpu]) -> Round {
    if simulated {
        return round;
    }
    buses.learn(gpus);
    let log = KernelLog::of_this_machine();
    let xids = xids::gather(buses, log.written(), Driver::of_this_machine().announced());
    Round { xids, kernel_log: log.problem(), ..round }
}

/// A simulated GPU works while a lease runs on it, and its process is the lease's own.
fn pretend(units: &[ObservedGpu], running: &[Running], pretence: &mut Pretence, at: Instant) -> Vec<GpuReading> {
    let one = |unit: &ObservedGpu| {
        let mine = running.iter().find(|lease| lease.gpus.contains(&unit.uuid));
        let mut reading = pretence.read(unit, mine.map(|lease| Work { lease: lease.lease, since: lease.since }), at);
        if let Some(lease) = mine {
            let memory_bytes = reading.memory_used_bytes;
            reading.processes = Some(vec![GpuProcess { pid: lease.workload, memory_bytes, ..GpuProcess::default() }]);
        }
        reading
    };
    units.iter().map(one).collect()
}

/// Puts the processes that a simulated node was told of on its GPUs, as far as they are there.
fn claim(gpus: &mut [GpuReading], units: &[ObservedGpu], claims: &str) {
    for line in claims.lines() {
        let mut words = line.split_whitespace();
        let (Some(Ok(index)), Some(Ok(pid))) =
            (words.next().map(str::parse::<u32>), words.next().map(str::parse::<u32>))
        else {
            continue;
        };
        let place = units.iter().position(|unit| unit.index == index).and_then(|place| gpus.get_mut(place));
        if let Some(reading) = place.filter(|_| Path::new("/proc").join(pid.to_string()).exists()) {
            let memory_bytes = Some(2_000_000_000);
            let process = GpuProcess { pid, memory_bytes, ..GpuProcess::default() };
            reading.processes.get_or_insert_default().push(process);
            reading.memory_used_bytes = reading.memory_used_bytes.map(|used| used + 2_000_000_000);
        }
    }
}

/// A lease whose workload runs now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Running {
    lease: LeaseId,
    gpus: Vec<String>,
    since: Instant,
    shim: u32,
    /// The first process of its namespace.
    workload: u32,
    cgroups: Vec<String>,
}

pub(super) fn running(leases: &Path) -> Vec<Running> {
    let dirs = lease::list(leases).unwrap_or_default();
    let seen = dirs.iter().filter_map(|dir| lease::inspect(dir).ok()).filter(|seen| seen.standing == Standing::Live);
    seen.filter_map(|seen| {
        let (workload, since) = match seen.state.phase {
            Phase::Running { pid, since } => (pid, since),
            // It may still compute in its grace.
            Phase::Ending { .. } => (seen.state.shim.pid, seen.state.started?.0),
            Phase::Starting | Phase::Ended { .. } => return None,
        };
        let groups = seen.state.enforcement.cgroups.iter();
        Some(Running {
            lease: seen.spec.lease,
            gpus: seen.spec.gpus.into_iter().map(|gpu| gpu.uuid).collect(),
            since,
            shim: seen.state.shim.pid,
            workload,
            cgroups: groups.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect(),
        })
    })
    .collect()
}

/// Finds out whose a process is.
pub(super) struct Owners<'a> {
    pub proc: PathBuf,
    pub users: HashMap<u32, String>,
    pub running: &'a [Running],
}

impl Owners<'_> {
    pub fn fill_in(&self, process: &mut GpuProcess) {
        let dir = self.proc.join(process.pid.to_string());
        let status = std::fs::read_to_string(dir.join("status")).unwrap_or_default();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        process.name = field("Name:").map(str::to_owned);
        // Real, effective, saved, file system: the effective one is what it may do.
        process.uid = field("Uid:").and_then(|ids| ids.split_whitespace().nth(1)?.parse().ok());
        process.user = process.uid.and_then(|uid| self.users.get(&uid).cloned());
        process.started = self.stat(process.pid, STARTED);
        process.lease = self.by_tree(process.pid).or_else(|| self.by_group(&dir)).or_else(|| self.by_namespace(&dir));
    }

    /// A field of the kernel's line about a process, counted from the state (1).
    fn stat<T: std::str::FromStr>(&self, pid: u32, field: usize) -> Option<T> {
        let stat = std::fs::read_to_string(self.proc.join(pid.to_string()).join("stat")).ok()?;
        // The name may itself hold spaces and brackets; the other fields follow it.
        stat.rsplit_once(')')?.1.split_whitespace().nth(field - 1)?.parse().ok()
    }

    /// By the namespace of its number, where that is a lease's and not the machine's own.
    fn by_namespace(&self, dir: &Path) -> Option<LeaseId> {
        let of = |dir: PathBuf| std::fs::read_link(dir.join("ns").join("pid")).ok();
        let (own, its) = (of(self.proc.join("self")), of(dir.to_owned())?);
        if own.as_ref() == Some(&its) {
            return None;
        }
        let same = |lease: &&Running| of(self.proc.join(lease.workload.to_string())).as_ref() == Some(&its);
        self.running.iter().find(same).map(|lease| lease.lease)
    }

    fn by_tree(&self, pid: u32) -> Option<LeaseId> {
        let mut at = pid;
        for _ in 0..GENERATIONS {
            if let Some(lease) = self.running.iter().find(|lease| lease.shim == at || lease.workload == at) {
                return Some(lease.lease);
            }
            at = self.parent(at).filter(|&parent| parent > 1)?;
        }
        None
    }

    pub fn parent(&self, pid: u32) -> Option<u32> {
        self.stat(pid, PARENT)
    }

    fn by_group(&self, dir: &Path) -> Option<LeaseId> {
        let groups = std::fs::read_to_string(dir.join("cgroup")).ok()?;
        let within = |name: &String| groups.lines().any(|line| line.split('/').any(|part| part == name));
        self.running.iter().find(|lease| lease.cgroups.iter().any(within)).map(|lease| lease.lease)
    }
}

/// Names by number, of the accounts that are on file here; others are told by their number.
fn users(passwd: &str) -> HashMap<u32, String> {
    let text = std::fs::read_to_string(passwd).unwrap_or_default();
    let mut users = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(uid))) = (fields.next(), fields.nth(1).map(str::parse::<u32>)) {
            users.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    users
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::agent::gpu::simulated;

    fn lease(number: u128, shim: u32, workload: u32, gpus: &[&str]) -> Running {
        Running {
            lease: LeaseId::from_u128(number),
            gpus: gpus.iter().map(|&uuid| uuid.to_owned()).collect(),
            since: Instant::from_seconds(0),
            shim,
            workload,
            cgroups: vec![format!("gristmill-{number}")],
        }
    }

    /// A /proc of a few processes: number, parent, user, group.
    fn proc(name: &str, processes: &[(u32, u32, u32, &str)]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("gristmill-readings-{name}-{}", std::process::id()));
        for (pid, parent, uid, group) in processes {
            let dir = root.join(pid.to_string());
            fs::create_dir_all(&dir).unwrap();
            let rest = "1 1 0 0 0 0 0 0 0 0 0 0 0 20 0 1 0";
            fs::write(dir.join("stat"), format!("{pid} (py (x) 3) S {parent} {rest} {} 9 9", pid * 10)).unwrap();
            fs::write(dir.join("status"), format!("Name:\tpython3\nUid:\t0\t{uid}\t0\t0\n")).unwrap();
            fs::write(dir.join("cgroup"), format!("0::/system.slice/{group}\n")).unwrap();
        }
        fs::write(root.join("passwd"), "root:x:0:0:root:/root:/bin/sh\nada:x:1001:1001::/home/ada:/bin/sh\n").unwrap();
        root
    }

    #[test]
    fn processes_belong_to_the_lease_whose_tree_or_group_holds_them() {
        let root = proc(
            "tree",
            &[(50, 40, 1001, "a"), (40, 30, 1001, "a"), (30, 1, 0, "a"), (60, 1, 7, "gristmill-2"), (70, 1, 1001, "b")],
        );
        let running = [lease(1, 30, 41, &[]), lease(2, 90, 91, &[])];
        let owners =
            Owners { users: users(root.join("passwd").to_str().unwrap()), proc: root.clone(), running: &running };
        let filled = |pid| {
            let mut process = GpuProcess { pid, ..GpuProcess::default() };
            owners.fill_in(&mut process);
            process
        };
        let inside = filled(50);
        assert_eq!((inside.lease, inside.uid), (Some(LeaseId::from_u128(1)), Some(1001)));
        assert_eq!((inside.user.as_deref(), inside.name.as_deref()), (Some("ada"), Some("python3")));
        assert_eq!(inside.started, Some(500), "the kernel's 22nd field");
        let grouped = filled(60);
        assert_eq!((grouped.lease, grouped.uid, grouped.user), (Some(LeaseId::from_u128(2)), Some(7), None));
        assert_eq!(filled(70).lease, None, "nobody's");
        let gone = filled(12_345);
        assert_eq!((gone.uid, gone.user, gone.name, gone.lease), (None, None, None, None));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_simulated_gpu_works_while_its_lease_runs() {
        let units = simulated::gpus("test", 2);
        let running = [lease(1, 30, 41, &[&units[1].uuid])];
        let read = pretend(&units, &running, &mut Pretence::default(), Instant::from_seconds(600));
        assert_eq!((read[0].utilisation, read[0].processes.as_deref()), (Some(0), Some(&[][..])));
        assert!(read[1].utilisation.unwrap() > 10);
        assert_eq!(read[1].processes.as_ref().unwrap()[0].pid, 41);
    }
}
