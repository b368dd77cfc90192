//! What this node is made of and what its sandbox can do, tried and not assumed. It refuses to judge.
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant as Monotonic};

use super::gpu::{GpuProblem, Source};
use super::runtime::{cgroup, network, sandbox, scratch};
use crate::base::hardware::{ContainerEngine, ObservedGpu, ObservedNode, PcieLink, SandboxAbilities};

/// How long a program may take to say its version.
const VERSION_PATIENCE: Duration = Duration::from_secs(5);
/// Where descriptions of devices for containers lie.
const CDI_FOLDERS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// Looks at everything; takes up to seconds. `data` is where homes and leases lie: its file system's size is the node's.
pub fn node(source: &Source, data: &Path) -> Result<ObservedNode, GpuProblem> {
    let gpus = source.look()?;
    let system = rustix::system::uname();
    Ok(ObservedNode {
        hostname: system.nodename().to_string_lossy().into_owned(),
        kernel: system.release().to_string_lossy().into_owned(),
        cpus: std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        memory_bytes: memory_bytes(),
        disk_bytes: disk_bytes(data),
        driver: gpus.driver,
        sandbox: abilities(),
        gpus: gpus.gpus,
        architecture: std::env::consts::ARCH.to_owned(),
        container: container(std::env::var_os("PATH").as_deref(), &CDI_FOLDERS.map(PathBuf::from)),
    })
}

/// Whether two looks differ in something that the mill should hear of. A link's present speed is not: idle links slow down
/// and wake up all day.
pub fn differ(before: &ObservedNode, after: &ObservedNode) -> bool {
    let still = |node: &ObservedNode| {
        let at_rest = |gpu: &ObservedGpu| ObservedGpu {
            pcie: gpu.pcie.map(|link| PcieLink { generation: None, width: None, ..link }),
            ..gpu.clone()
        };
        ObservedNode { gpus: node.gpus.iter().map(at_rest).collect(), ..node.clone() }
    };
    still(before) != still(after)
}

/// The container engine in the search path: podman, which needs no daemon, before docker.
fn container(path: Option<&std::ffi::OsStr>, cdi: &[PathBuf]) -> Option<ContainerEngine> {
    let folders: Vec<PathBuf> = path.map(|path| std::env::split_paths(path).collect()).unwrap_or_default();
    let find = |name: &str| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file());
    let (name, version) =
        ["podman", "docker"].into_iter().find_map(|name| Some((name, number(&says_version(&find(name)?)?)?)))?;
    let toolkit = find("nvidia-ctk").and_then(|tool| number(&says_version(&tool)?));
    Some(ContainerEngine { name: name.to_owned(), version, toolkit, cdi: cdi.iter().any(|folder| describes(folder)) })
}

/// What a program answers to `--version`; nothing when it fails or takes too long.
fn says_version(program: &Path) -> Option<String> {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().ok()?;
    let began = Monotonic::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => break,
            Ok(None) if began.elapsed() < VERSION_PATIENCE => std::thread::sleep(Duration::from_millis(5)),
            _ => {
                // It may be over already; then there is nothing to end.
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
    std::io::read_to_string(child.stdout.take()?).ok()
}

/// The first word that begins with a digit: `Docker version 28.1.1, build …`, `podman version 5.4.2`.
fn number(said: &str) -> Option<String> {
    let word = said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    Some(word.trim_end_matches(',').chars().take(40).collect())
}

/// Whether a folder holds a CDI description of NVIDIA's GPUs.
fn describes(folder: &Path) -> bool {
    let Ok(files) = std::fs::read_dir(folder) else { return false };
    files.flatten().any(|file| std::fs::read_to_string(file.path()).is_ok_and(|text| text.contains("nvidia.com/gpu")))
}

/// What the sandbox can enforce here.
pub fn abilities() -> SandboxAbilities {
    let (cpu, memory) = cgroup::probe();
    SandboxAbilities {
        problem: sandbox::probe().err().map(|problem| problem.to_string()),
        // Opened by itself the device does nothing.
        network: network::tool().is_some() && File::options().read(true).write(true).open("/dev/net/tun").is_ok(),
        cpu,
        memory,
        scratch: scratch::is_enforced(),
    }
}

fn memory_bytes() -> u64 {
    let facts = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = facts.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0).saturating_mul(1024)
}

/// What leases may share as scratch: half of the file system. The other half is for homes and logs, and on the mill's own
/// machine for its database.
fn disk_bytes(data: &Path) -> u64 {
    rustix::fs::statvfs(data).map_or(0, |facts| facts.f_blocks.saturating_mul(facts.f_frsize) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_node_has_real_facts_around_simulated_gpus() {
        let source = Source::Simulated { seed: "test".to_owned(), count: 2 };
        let node = node(&source, Path::new("/")).unwrap();
        assert!(node.cpus > 0 && node.memory_bytes > 0 && node.disk_bytes > 0 && node.driver.is_none());
        assert_eq!(node.gpus.len(), 2);
    }

    #[test]
    fn the_engine_is_found_and_a_link_that_sleeps_is_no_news() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = std::env::temp_dir().join(format!("gristmill-engine-{}", std::process::id()));
        let (bin, cdi) = (root.join("bin"), root.join("cdi"));
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::create_dir_all(&cdi).unwrap();
        assert_eq!(container(Some(bin.as_os_str()), &[]), None);
        for (name, says) in [
            ("docker", "Docker version 28.1.1, build 4eba377"),
            ("nvidia-ctk", "NVIDIA Container Toolkit CLI version 1.17.4\ncommit: 9b69"),
        ] {
            let file = bin.join(name);
            // Written and closed before it is run: a file open for writing cannot be.
            std::fs::write(&file, format!("#!/bin/sh\necho '{says}'\n")).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::fs::write(cdi.join("nvidia.yaml"), "kind: nvidia.com/gpu\n").unwrap();
        let found = container(Some(bin.as_os_str()), std::slice::from_ref(&cdi)).unwrap();
        assert_eq!((found.name.as_str(), found.version.as_str()), ("docker", "28.1.1"));
        assert_eq!((found.toolkit.as_deref(), found.cdi), (Some("1.17.4"), true));
        std::fs::remove_dir_all(root).unwrap();

        let gpu = |generation, width| ObservedGpu {
            pcie: Some(PcieLink { max_generation: 5, max_width: 16, generation: Some(generation), width: Some(width) }),
            ..ObservedGpu::default()
        };
        let node = |gpu| ObservedNode { gpus: vec![gpu], ..ObservedNode::default() };
        assert!(!differ(&node(gpu(5, 16)), &node(gpu(1, 16))));
        assert!(differ(&node(gpu(5, 16)), &node(ObservedGpu { serial: Some("x".to_owned()), ..gpu(5, 16) })));
    }
}
