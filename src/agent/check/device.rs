//! A GPU as the checks use it: memory, kernels, copies, readings. The driver is one, the simulator another, and the checks
//! know neither. It refuses to hide how a call failed: what the GPU did wrong and what could not be asked are different
//! answers.
use super::kernel::Kernel;
use crate::base::check::{CheckedGpu, Code, Verdict};
use crate::base::hardware::PcieLink;
use crate::base::proof::log::{Mismatches, WORDS};
use crate::base::proof::pattern::{Pattern, STEP};
use crate::base::proof::product::Shape;
use crate::base::telemetry::GpuReading;

/// Why a call to a device failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    #[error("there is not enough free memory on the GPU for this check")]
    OutOfMemory,
    /// It could not be asked: no driver, no permission, in use by somebody else, a driver that is too old.
    #[error("{0}")]
    Unavailable(String),
    #[error("the driver reports a fault of the GPU: {0}")]
    Faulty(String),
    #[error("the GPU is gone: {0}")]
    Lost(String),
    /// Only the simulator can say so of itself; a real one says nothing, and its process is killed.
    #[error("the GPU does not come to an end")]
    Hangs,
}

impl From<DeviceError> for Verdict {
    fn from(error: DeviceError) -> Self {
        let said = error.to_string();
        match error {
            DeviceError::OutOfMemory | DeviceError::Unavailable(_) => Self::unknown(said),
            DeviceError::Faulty(_) => Self::failed(Code::Device, said),
            DeviceError::Lost(_) => Self::failed(Code::Lost, said),
            DeviceError::Hangs => Self::failed(Code::Hang, said),
        }
    }
}

/// A piece of a device's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    pub at: u64,
    pub bytes: u64,
}

impl Region {
    /// Pairs of 64-bit words: what kernels move.
    pub const fn pairs(self) -> u64 {
        self.bytes / 16
    }

    /// The words of it.
    pub const fn words(self) -> u64 {
        self.bytes / 8
    }
}

/// Free and whole memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub free: u64,
    pub total: u64,
}

/// How long a GPU worked, in seconds. Not a `Duration`: a simulated copy of a few bytes takes less than its nanosecond.
pub type Seconds = f64;

/// Where bytes are copied by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Within {
        to: Region,
        from: Region,
    },
    /// From memory of the host that the GPU reaches by itself.
    FromHost {
        to: Region,
    },
    ToHost {
        from: Region,
    },
    /// To memory of the peer with this number, which is taken for it.
    Peer {
        from: Region,
        peer: usize,
    },
}

/// How large the work of one launch is: a CPU that plays a GPU does less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub product: Shape,
    /// Steps of the scalar chain.
    pub steps: u32,
    /// Tiles that the tensor cores add up, and how often.
    pub deep: u32,
    pub repeats: u32,
    /// Bytes of a copy, at most.
    pub copy: u64,
    /// Blocks for each processor.
    pub blocks: u32,
}

impl Sizes {
    pub const REAL: Self = Self {
        product: Shape { rows: 128, columns: 128, depth: 1024 },
        steps: 4096,
        deep: 64,
        repeats: 64,
        copy: 4 << 30,
        blocks: 4,
    };
    /// The CPU plays all threads one after another.
    pub const SIMULATED: Self = Self {
        product: Shape { rows: 16, columns: 16, depth: 32 },
        steps: 2,
        deep: 1,
        repeats: 1,
        copy: 4096,
        blocks: 1,
    };
}

/// A GPU under test. Calls return when their work is done.
pub trait Device {
    fn gpu(&self) -> &CheckedGpu;
    fn simulated(&self) -> bool;
    fn sizes(&self) -> Sizes;
    fn memory(&mut self) -> Result<Memory, DeviceError>;
    /// Takes memory with whatever content it has.
    fn take(&mut self, bytes: u64) -> Result<Region, DeviceError>;
    fn give(&mut self, region: Region) -> Result<(), DeviceError>;
    fn write(&mut self, to: u64, bytes: &[u8]) -> Result<(), DeviceError>;
    fn read(&mut self, from: u64, bytes: &mut [u8]) -> Result<(), DeviceError>;
    /// Since it was opened, its own work and everything between counted.
    fn clock(&self) -> Seconds;
    /// Runs a kernel in so many blocks of 256 threads and answers how long the GPU worked.
    fn run(&mut self, blocks: u32, kernel: &Kernel) -> Result<Seconds, DeviceError>;
    /// Copies so many times and answers how long that took.
    fn copy(&mut self, route: Route, times: u32) -> Result<Seconds, DeviceError>;
    /// From the host's view: a tiny kernel launched and waited for.
    fn round_trip(&mut self, kernel: &Kernel) -> Result<Seconds, DeviceError>;
    /// The other GPUs that were ordered, by UUID, and whether this one reaches them by itself.
    fn peers(&mut self) -> Result<Vec<(String, bool)>, DeviceError>;
    /// What it reads now, where the driver says it.
    fn reading(&mut self) -> Option<GpuReading>;
    /// Its link to the host now.
    fn link(&mut self) -> Option<PcieLink>;
}

/// Words as they lie in a device's memory.
pub fn bytes_of(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The inverse of [`bytes_of`].
pub fn words_of(bytes: &[u8]) -> Vec<u64> {
    let word = |eight: &[u8]| u64::from_le_bytes(eight.try_into().unwrap_or_default());
    bytes.chunks_exact(8).map(word).collect()
}

/// Takes memory for these words and writes them.
pub fn upload(device: &mut dyn Device, bytes: &[u8]) -> Result<Region, DeviceError> {
    let region = device.take(bytes.len().next_multiple_of(16) as u64)?;
    device.write(region.at, bytes)?;
    Ok(region)
}

/// Memory for so many words, all zero.
pub fn zeroed(device: &mut dyn Device, words: usize) -> Result<Region, DeviceError> {
    upload(device, &vec![0; words * 8])
}

/// An empty log, in memory that has just shown that it keeps what is written to it: errors noted in a broken place would be
/// lost. What differed there otherwise.
pub fn log(device: &mut dyn Device) -> Result<Result<Region, Mismatches>, DeviceError> {
    let wanted: Vec<u64> = (0..WORDS as u64).map(|place| Pattern::hashed(place ^ STEP).word(place)).collect();
    let region = upload(device, &bytes_of(&wanted))?;
    let mut found = Mismatches::default();
    for (place, (wanted, got)) in (0u64..).zip(wanted.iter().zip(download(device, region, WORDS)?)) {
        found.compare(place * 8, *wanted, got, None);
    }
    if !found.is_empty() {
        return Ok(Err(found));
    }
    device.write(region.at, &[0; WORDS * 8])?;
    Ok(Ok(region))
}

/// Reads so many words from the start of a region.
pub fn download(device: &mut dyn Device, region: Region, words: usize) -> Result<Vec<u64>, DeviceError> {
    let mut bytes = vec![0; words * 8];
    device.read(region.at, &mut bytes)?;
    Ok(words_of(&bytes))
}
