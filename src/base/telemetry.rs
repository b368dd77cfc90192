//! What a GPU reads at one moment, as its driver says it. It refuses to fill gaps: a reading that the driver did not give is
//! `None`, never zero.
use serde::{Deserialize, Serialize};

use super::ids::LeaseId;
use super::window::Span;

/// How often a node reads its GPUs.
pub const SAMPLE_EVERY: Span = Span::from_seconds(10);
/// Most processes that are told per GPU.
pub const MOST_PROCESSES: usize = 32;

/// The readings of one GPU or MIG instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuReading {
    pub uuid: String,
    /// Time in which a kernel ran, percent.
    pub utilisation: Option<u32>,
    /// Time in which memory was read or written, percent.
    pub memory_activity: Option<u32>,
    pub memory_used_bytes: Option<u64>,
    pub memory_free_bytes: Option<u64>,
    /// Degrees Celsius.
    pub temperature: Option<u32>,
    pub memory_temperature: Option<u32>,
    pub power_milliwatts: Option<u64>,
    /// Since the driver was loaded.
    pub energy_millijoules: Option<u64>,
    pub sm_clock_mhz: Option<u32>,
    pub memory_clock_mhz: Option<u32>,
    /// NVML's bits of `nvmlClocksEventReasons`.
    pub throttle_reasons: Option<u64>,
    /// Since the driver was loaded.
    pub ecc_corrected: Option<u64>,
    pub ecc_uncorrected: Option<u64>,
    pub remapped: Option<RemappedRows>,
    pub pcie_replays: Option<u64>,
    /// The last Xid that this agent heard of for this GPU.
    pub last_xid: Option<u64>,
    /// Over all NVLinks since the driver was loaded, protocol overhead left out.
    pub nvlink_sent_bytes: Option<u64>,
    pub nvlink_received_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Activity::is_empty")]
    pub activity: Activity,
    #[serde(deserialize_with = "super::bounded::some_at_most::<MOST_PROCESSES, _, _>")]
    pub processes: Option<Vec<GpuProcess>>,
}

/// What a GPU did since the reading before, as far as its driver measures it (GPM, from Hopper on; NVLink's also from
/// counters). Shares are parts of a thousand of the time, the others bytes in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Activity {
    /// Any engine was busy.
    pub graphics: Option<u32>,
    /// A multiprocessor had work, averaged over all of them.
    pub sm: Option<u32>,
    /// The tensor cores were busy.
    pub tensor: Option<u32>,
    /// Memory moved data.
    pub dram: Option<u32>,
    pub pcie_sent: Option<u64>,
    pub pcie_received: Option<u64>,
    pub nvlink_sent: Option<u64>,
    pub nvlink_received: Option<u64>,
}

impl Activity {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What passed over NVLink in both directions, bytes in a second.
    pub fn nvlink(&self) -> Option<u64> {
        Some(self.nvlink_sent?.saturating_add(self.nvlink_received?))
    }
}

/// Rows of memory that were replaced by spare ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemappedRows {
    pub corrected: u32,
    pub uncorrected: u32,
    pub pending: bool,
    pub failed: bool,
}

/// A process on a GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuProcess {
    pub pid: u32,
    /// The Unix user it runs as, where it could be told.
    pub user: Option<String>,
    pub uid: Option<u32>,
    /// The program's name.
    pub name: Option<String>,
    pub memory_bytes: Option<u64>,
    /// When it began, in clock ticks since the boot: with the number it names the process for good.
    pub started: Option<u64>,
    /// The lease whose process tree it belongs to.
    pub lease: Option<LeaseId>,
}
