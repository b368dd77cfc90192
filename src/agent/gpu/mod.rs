//! What GPUs this node has and what they read. It refuses to pretend: without a driver there is a typed problem, never an
//! empty list, and simulated GPUs come only when they are asked for.
pub mod cuda;
pub mod events;
mod inventory;
mod links;
pub mod nvml;
mod pretend;
mod profile;
mod read;
pub mod simulated;
pub mod watchdog;

use crate::base::hardware::ObservedGpu;

pub use self::pretend::{Pretence, Work};

/// Names another library than the driver's own: for tests, and for drivers that lie in an unusual place.
pub const LIBRARY_ENV: &str = "GRISTMILL_NVML_LIBRARY";

/// Why the GPUs could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum GpuProblem {
    #[error("there is no NVIDIA driver on this machine (libnvidia-ml is missing); install the driver and try again")]
    NoLibrary,
    #[error(
        "the NVIDIA driver is installed but not loaded; load the kernel module nvidia (a reboot does) and try again"
    )]
    NotLoaded,
    #[error("the NVIDIA driver does not answer: {0}")]
    Driver(#[source] nvml_wrapper::error::NvmlError),
    #[error("the NVIDIA driver hangs: a call to it does not return; look at the kernel's log (dmesg), a reboot helps")]
    Hangs,
}

/// Where a node's GPUs come from. Fixed for the life of an agent: a real node never turns into a simulated one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The NVIDIA driver.
    Nvml,
    /// `count` GPUs on paper, told apart from other nodes' by the seed.
    Simulated { seed: String, count: u32 },
}

/// The GPUs and, with a driver, its version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    pub driver: Option<String>,
    pub gpus: Vec<ObservedGpu>,
}

impl Source {
    /// Asks for all GPUs; takes up to seconds when the driver was asleep.
    pub fn look(&self) -> Result<Observed, GpuProblem> {
        match self {
            Self::Nvml => nvml::Driver::of_this_machine().look(),
            Self::Simulated { seed, count } => Ok(Observed { driver: None, gpus: simulated::gpus(seed, *count) }),
        }
    }

    /// The GPUs alone.
    pub fn observe(&self) -> Result<Vec<ObservedGpu>, GpuProblem> {
        Ok(self.look()?.gpus)
    }
}
