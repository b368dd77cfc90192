//! What this node is made of and what its sandbox can do, tried and not assumed. It refuses to judge.
use std::fs::File;
use std::path::Path;

use super::gpu::{GpuProblem, Source};
use super::runtime::{cgroup, network, sandbox, scratch};
use crate::base::hardware::{ObservedNode, SandboxAbilities};

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
        container: None,
    })
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
}
