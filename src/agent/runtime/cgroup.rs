//! CPU, memory and process limits of one lease by control groups, version 2 where its controllers are there, else
//! version 1. It refuses to touch a group that it did not make.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::base::hardware::Share;

/// Length of a scheduling period: the kernel's usual 100 ms.
const PERIOD_US: u64 = 100_000;
/// Processes and threads of one lease: enough for any training job, too few to exhaust a machine.
const PROCESSES: u64 = 32_768;

/// What one lease got.
#[derive(Debug, Default)]
pub struct Limits {
    /// Groups that were made, to be removed after the lease.
    pub groups: Vec<PathBuf>,
    pub cpu: bool,
    pub memory: bool,
    /// Whether the number of processes is limited.
    pub processes: bool,
    pub lacking: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// A directory below which groups can be made, and what they can limit.
struct Place {
    version: Version,
    directory: PathBuf,
    controllers: Vec<String>,
}

/// Puts `pid` into new groups called `name` with the share's limits. A zero in the share means no limit.
pub fn apply(name: &str, share: &Share, pid: u32) -> Limits {
    let mut limits = Limits::default();
    let mut unified = false;
    for place in places() {
        // A process is in one group of version 2 alone: a second one would take it out of the first.
        if place.version == Version::Two && unified {
            continue;
        }
        let wanted: Vec<String> = place.controllers.iter().filter(|c| !limits.has(c)).cloned().collect();
        if wanted.is_empty() {
            continue;
        }
        let group = place.directory.join(name);
        match make(&place, &group, &wanted, share, pid) {
            Ok(()) => {
                limits.cpu |= share.cpu_millis > 0 && wanted.iter().any(|c| c == "cpu");
                limits.memory |= share.memory_bytes > 0 && wanted.iter().any(|c| c == "memory");
                limits.processes |= wanted.iter().any(|c| c == "pids");
                unified |= place.version == Version::Two;
                limits.groups.push(group);
            }
            Err(_) => remove(&[group]),
        }
    }
    if share.cpu_millis > 0 && !limits.cpu {
        limits.lacking.push("the CPU share is not enforced: no writable cgroup with the cpu controller".to_owned());
    }
    if share.memory_bytes > 0 && !limits.memory {
        limits
            .lacking
            .push("the memory share is not enforced: no writable cgroup with the memory controller".to_owned());
    }
    limits
}

impl Limits {
    fn has(&self, controller: &str) -> bool {
        match controller {
            "cpu" => self.cpu,
            "memory" => self.memory,
            _ => self.processes,
        }
    }
}

fn make(place: &Place, group: &Path, wanted: &[String], share: &Share, pid: u32) -> io::Result<()> {
    fs::create_dir(group).or_else(|e| if e.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(e) })?;
    for controller in wanted {
        limit(place.version, group, controller, share)?;
    }
    fs::write(group.join("cgroup.procs"), pid.to_string())
}

fn limit(version: Version, group: &Path, controller: &str, share: &Share) -> io::Result<()> {
    let write = |file: &str, value: String| fs::write(group.join(file), value);
    // The kernel's least quota is 1 ms.
    let quota = (share.cpu_millis.saturating_mul(PERIOD_US) / 1000).max(1000);
    match (version, controller) {
        (Version::Two, "cpu") if share.cpu_millis > 0 => write("cpu.max", format!("{quota} {PERIOD_US}")),
        (Version::One, "cpu") if share.cpu_millis > 0 => {
            write("cpu.cfs_period_us", PERIOD_US.to_string())?;
            write("cpu.cfs_quota_us", quota.to_string())
        }
        (Version::Two, "memory") if share.memory_bytes > 0 => {
            write("memory.max", share.memory_bytes.to_string())?;
            // Swapping around the limit would slow the neighbours; kernels without swap accounting lack the file.
            let _ = write("memory.swap.max", "0".to_owned());
            Ok(())
        }
        (Version::One, "memory") if share.memory_bytes > 0 => {
            write("memory.limit_in_bytes", share.memory_bytes.to_string())?;
            let _ = write("memory.memsw.limit_in_bytes", share.memory_bytes.to_string());
            Ok(())
        }
        (_, "pids") => write("pids.max", PROCESSES.to_string()),
        _ => Ok(()),
    }
}

/// Removes groups that [`apply`] made; their processes must be gone, or the kernel keeps them.
pub fn remove(groups: &[PathBuf]) {
    for group in groups {
        let _ = fs::remove_dir(group);
    }
}

/// Kills whatever is left in groups that [`apply`] made and removes them; blocks for up to two seconds. Says whether
/// nothing is left.
pub fn clear(groups: &[PathBuf]) -> bool {
    for _ in 0..40 {
        for group in groups {
            for pid in fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines() {
                if let Some(pid) = pid.parse().ok().and_then(rustix::process::Pid::from_raw) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
        }
        remove(groups);
        if groups.iter().all(|group| !group.exists()) {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    false
}

/// How many processes the kernel killed in these groups for lack of memory.
pub fn out_of_memory_kills(groups: &[PathBuf]) -> u64 {
    let count = |file: PathBuf| -> u64 {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    };
    groups.iter().map(|group| count(group.join("memory.events")) + count(group.join("memory.oom_control"))).sum()
}

/// Tries both limits on a process of its own: (cpu, memory).
pub fn probe() -> (bool, bool) {
    let Ok(mut child) = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn() else {
        return (false, false);
    };
    let share = Share { cpu_millis: 1000, memory_bytes: 64 << 20, scratch_bytes: 0 };
    let limits = apply(&format!("gristmill-probe-{}", std::process::id()), &share, child.id());
    // Closing its input ends it; a kill makes sure.
    drop(child.stdin.take());
    let _ = child.kill();
    let _ = child.wait();
    remove(&limits.groups);
    (limits.cpu, limits.memory)
}

/// Every place where groups may be made, version 2 first.
fn places() -> Vec<Place> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut places: Vec<Place> = mounts.lines().filter_map(mount).flat_map(|mount| mount.places(&own)).collect();
    places.sort_by_key(|place| place.version == Version::One);
    places
}

struct Mount {
    version: Version,
    root: PathBuf,
    point: PathBuf,
    options: Vec<String>,
}

/// One line of mountinfo, if it is a cgroup hierarchy.
fn mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut kind = right.split(' ');
    let version = match kind.next()? {
        "cgroup" => Version::One,
        "cgroup2" => Version::Two,
        _ => return None,
    };
    let options = kind.nth(1)?.split(',').map(str::to_owned).collect();
    let mut fields = left.split(' ').skip(3);
    Some(Mount { version, root: fields.next()?.into(), point: fields.next()?.into(), options })
}

impl Mount {
    /// Where this process itself stands in the hierarchy.
    fn own(&self, listing: &str) -> PathBuf {
        let path = listing.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let here = match self.version {
                Version::Two => controllers.is_empty(),
                Version::One => controllers.split(',').any(|c| !c.is_empty() && self.options.iter().any(|o| o == c)),
            };
            here.then(|| PathBuf::from(path))
        });
        let below = path.as_deref().and_then(|path| path.strip_prefix(&self.root).ok()).map(Path::to_owned);
        let own = below.map_or_else(|| self.point.clone(), |below| self.point.join(below));
        if own.is_dir() { own } else { self.point.clone() }
    }

    fn places(self, listing: &str) -> Vec<Place> {
        let known = |name: &String| ["cpu", "memory", "pids"].contains(&name.as_str());
        let own = self.own(listing);
        match self.version {
            Version::One => {
                let controllers: Vec<String> = self.options.into_iter().filter(known).collect();
                if controllers.is_empty() {
                    Vec::new()
                } else {
                    vec![Place { version: Version::One, directory: own, controllers }]
                }
            }
            Version::Two => {
                // A group with processes cannot hand controllers to children, so the nearest ancestor that can is taken.
                let ancestors = own.ancestors().filter(|up| up.starts_with(&self.point));
                let found = ancestors.filter_map(|directory| {
                    let offered = fs::read_to_string(directory.join("cgroup.controllers")).ok()?;
                    let wanted: Vec<String> = offered.split_whitespace().map(str::to_owned).filter(known).collect();
                    hand_down(directory, &wanted);
                    let given = fs::read_to_string(directory.join("cgroup.subtree_control")).ok()?;
                    let controllers: Vec<String> = given.split_whitespace().map(str::to_owned).filter(known).collect();
                    let useful = controllers.iter().any(|c| c != "pids");
                    useful.then(|| Place { version: Version::Two, directory: directory.to_owned(), controllers })
                });
                found.collect()
            }
        }
    }
}

/// Asks that children may use these controllers; a refusal shows in what is read back.
fn hand_down(directory: &Path, controllers: &[String]) {
    for controller in controllers {
        let _ = fs::write(directory.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_lines() {
        let line = "31 25 0:27 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory";
        let found = mount(line).unwrap();
        assert!(found.version == Version::One && found.options.contains(&"memory".to_owned()));
        assert_eq!(found.point, Path::new("/sys/fs/cgroup/memory"));
        assert!(mount("22 25 0:20 / /proc rw - proc proc rw").is_none() && mount("").is_none());
    }

    #[test]
    fn groups_of_another_mount_are_not_ours() {
        let mount =
            Mount { version: Version::One, root: "/".into(), point: "/nowhere".into(), options: vec!["cpu".into()] };
        assert_eq!(mount.own("2:cpu,cpuacct:/box\n1:memory:/m"), Path::new("/nowhere"));
    }
}
