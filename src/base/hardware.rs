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
    Mig {
        parent_uuid: String,
        profile: String,
        /// Memory of the whole GPU in bytes; zero where it was not told.
        #[serde(default)]
        parent_bytes: u64,
        /// Where the driver keeps it; `None` where it does not say.
        #[serde(default)]
        place: Option<MigPlace>,
    },
}

/// Which GPU instance of its GPU an instance is, and which compute instance of that, in the driver's numbers: the ones that
/// nvidia-smi lists, and that name the files which open it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigPlace {
    pub gpu_instance: u32,
    pub compute_instance: u32,
}

/// How much of a GPU a unit is. Instances are counted in eighths of their GPU's memory, because that is how the hardware
/// cuts it; prices and shares follow it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Portion {
    #[default]
    Whole,
    /// A MIG instance, 1 to 8; one that has all of the memory is an instance all the same.
    Eighths(u32),
}

impl Portion {
    pub const fn eighths(self) -> u32 {
        match self {
            Self::Whole => 8,
            Self::Eighths(count) => count,
        }
    }

    pub const fn is_instance(self) -> bool {
        matches!(self, Self::Eighths(_))
    }
}

impl UnitShape {
    /// How much of its GPU a unit of this shape with this memory is: the nearest eighth, at least one. An instance of a GPU
    /// whose memory was not told counts as all of it.
    pub fn portion(&self, memory_bytes: u64) -> Portion {
        let Self::Mig { parent_bytes, .. } = self else { return Portion::Whole };
        let (part, whole) = (u128::from(memory_bytes), u128::from(*parent_bytes));
        let nearest = (part * 16 + whole).checked_div(whole * 2).unwrap_or(8);
        Portion::Eighths(u32::try_from(nearest.clamp(1, 8)).unwrap_or(8))
    }

    /// The UUID of the GPU that it is, or that it is a part of.
    pub fn gpu<'a>(&'a self, uuid: &'a str) -> &'a str {
        match self {
            Self::Gpu => uuid,
            Self::Mig { parent_uuid, .. } => parent_uuid,
        }
    }

    /// Where it stands among the units of its GPU: the whole first, then instances by the driver's numbers.
    pub fn place(&self) -> Option<(u32, u32)> {
        let Self::Mig { place, .. } = self else { return None };
        Some(place.map_or((u32::MAX, 0), |place| (place.gpu_instance, place.compute_instance)))
    }

    /// What people book it by: the GPU's model, for an instance with its profile (`H200 1g.18gb`).
    pub fn word(&self, model: &str) -> String {
        match self {
            Self::Gpu => model.to_owned(),
            Self::Mig { profile, .. } => format!("{model} {profile}"),
        }
    }

    /// What it is called on its node: `GPU 3`, and for an instance its GPU and the number that nvidia-smi gives it,
    /// `GPU 3:7`.
    pub fn name(&self, index: u32) -> String {
        match self {
            Self::Gpu => format!("GPU {index}"),
            Self::Mig { place: Some(MigPlace { gpu_instance, compute_instance: 0 }), .. } => {
                format!("GPU {index}:{gpu_instance}")
            }
            Self::Mig { place: Some(MigPlace { gpu_instance, compute_instance }), .. } => {
                format!("GPU {index}:{gpu_instance}.{compute_instance}")
            }
            Self::Mig { profile, .. } => format!("GPU {index} {profile}"),
        }
    }
}

/// One GPU or MIG instance as the driver describes it. Readings the driver did not give are `None`, never zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedGpu {
    /// The driver's UUID (`GPU-…` or `MIG-…`), its identity.
    pub uuid: String,
    /// Marketing name of the GPU without the vendor, such as `H200`; an instance has its GPU's.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(parent_bytes: u64, place: Option<MigPlace>) -> UnitShape {
        UnitShape::Mig { parent_uuid: "GPU-0".to_owned(), profile: "1g.18gb".to_owned(), parent_bytes, place }
    }

    #[test]
    fn instances_are_counted_in_eighths_of_their_gpu() {
        const MIB: u64 = 1 << 20;
        // Memory of real instances in MiB: what the driver keeps for itself makes each a little less than its part.
        for (parent, part, eighths) in [
            (143_771, 16_384, 1),
            (143_771, 33_280, 2),
            (143_771, 71_040, 4),
            (143_771, 142_848, 8),
            (40_536, 4_864, 1),
            (40_536, 19_968, 4),
            (24_576, 5_952, 2),
            (143_771, 1, 1),
            (0, 16_384, 8),
        ] {
            let portion = instance(parent * MIB, None).portion(part * MIB);
            assert_eq!(portion, Portion::Eighths(eighths), "{part} of {parent}");
        }
        assert_eq!(UnitShape::Gpu.portion(1), Portion::Whole);
    }

    #[test]
    fn instances_have_names_and_words_of_their_own() {
        let at = |gpu_instance, compute_instance| instance(0, Some(MigPlace { gpu_instance, compute_instance }));
        assert_eq!(at(7, 0).name(3), "GPU 3:7");
        assert_eq!(at(2, 1).name(0), "GPU 0:2.1");
        assert_eq!(instance(0, None).name(0), "GPU 0 1g.18gb");
        assert_eq!((UnitShape::Gpu.name(3).as_str(), at(7, 0).word("H200").as_str()), ("GPU 3", "H200 1g.18gb"));
        assert_eq!((UnitShape::Gpu.gpu("GPU-9"), at(7, 0).gpu("MIG-1")), ("GPU-9", "GPU-0"));
    }
}
