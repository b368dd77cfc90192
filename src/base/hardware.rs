//! What hardware is, as the agent observes it and the server admits it. It refuses opinions: no price, no health, no owner.
use serde::{Deserialize, Serialize};

/// Whether a bookable unit is a whole GPU or a slice of one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitShape {
    /// A whole GPU.
    #[default]
    Gpu,
    /// A MIG instance: its parent's UUID and the profile's name, such as `1g.18gb`. It excludes its parent.
    Mig { parent_uuid: String, profile: String },
}

/// One GPU or MIG instance as the driver describes it. Readings the driver did not give are `None`, never zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedGpu {
    /// The driver's UUID (`GPU-…` or `MIG-…`), its identity.
    pub uuid: String,
    /// Marketing name without the vendor, such as `H200`.
    pub model: String,
    pub shape: UnitShape,
    /// Position on the node, as the driver counts.
    pub index: u32,
    /// Device file number in /dev/nvidiaN, where there is one.
    pub minor: Option<u32>,
    pub memory_bytes: u64,
    pub serial: Option<String>,
    pub vbios: Option<String>,
    pub pci_bus: Option<String>,
    /// Whether MIG mode is on; `None` where the GPU or its driver knows no MIG.
    #[serde(default)]
    pub mig: Option<bool>,
    #[serde(default)]
    pub pcie: Option<PcieLink>,
    /// UUIDs of the GPUs that it reaches over NVLink without a switch.
    #[serde(default)]
    pub nvlink_peers: Vec<String>,
    /// Whether its NVLinks end at a switch, which joins all GPUs of the node.
    #[serde(default)]
    pub nvswitch: bool,
    #[serde(default)]
    pub numa_node: Option<u32>,
    /// CUDA compute capability, major and minor.
    #[serde(default)]
    pub compute_capability: Option<(u32, u32)>,
}

/// A GPU's link to its host: generation and width that it could reach, and those in force now (idle links slow down).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PcieLink {
    pub max_generation: u32,
    pub max_width: u32,
    pub generation: Option<u32>,
    pub width: Option<u32>,
}

/// What a node is made of, as its agent observes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedNode {
    pub hostname: String,
    pub kernel: String,
    pub cpus: u32,
    pub memory_bytes: u64,
    /// What leases may share as scratch.
    pub disk_bytes: u64,
    /// The NVIDIA driver's version; `None` where there is no driver or the installation is simulated.
    pub driver: Option<String>,
    /// What the sandbox can enforce here.
    pub sandbox: SandboxAbilities,
    pub gpus: Vec<ObservedGpu>,
    /// `x86_64`, `aarch64`.
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub container: Option<ContainerEngine>,
}

/// The container engine that was found on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerEngine {
    /// `podman` or `docker`.
    pub name: String,
    pub version: String,
    /// Version of the NVIDIA container toolkit, where it is installed.
    pub toolkit: Option<String>,
    /// Whether a CDI description of the GPUs is on file.
    pub cdi: bool,
}

/// What the kernel and the installed tools let the sandbox do. A lacking ability is shown, never pretended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxAbilities {
    /// Whether workloads can run at all (bubblewrap and namespaces); the reason when not.
    pub problem: Option<String>,
    /// Whether workloads reach the network (slirp4netns or pasta).
    pub network: bool,
    /// Whether the CPU share is enforced (cgroup cpu controller).
    pub cpu: bool,
    /// Whether the memory share is enforced (cgroup memory controller).
    pub memory: bool,
    /// Whether scratch space is a file system of its own (root, loop devices, mkfs.ext4); otherwise it is measured.
    #[serde(default)]
    pub scratch: bool,
}

/// What part of a node besides its GPUs a lease gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Share {
    /// Thousandths of a CPU.
    pub cpu_millis: u64,
    pub memory_bytes: u64,
    /// Scratch space in bytes.
    pub scratch_bytes: u64,
}

impl Share {
    /// `units` of `of` equal parts of a node, rounded down, so that all parts together never exceed the node.
    pub fn proportional(cpus: u32, memory_bytes: u64, scratch_bytes: u64, units: u32, of: u32) -> Self {
        let part = |whole: u64| match of {
            0 => 0,
            _ => u64::try_from(u128::from(whole) * u128::from(units.min(of)) / u128::from(of)).unwrap_or(whole),
        };
        Self {
            cpu_millis: part(u64::from(cpus) * 1000),
            memory_bytes: part(memory_bytes),
            scratch_bytes: part(scratch_bytes),
        }
    }
}
