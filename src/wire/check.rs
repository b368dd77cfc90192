//! What crosses the pipe between an agent and the process of one check: an order in, lines out. One JSON object a line, with
//! a version, because an agent that was just upgraded may still hear an older child. It refuses long lines.
use serde::{Deserialize, Serialize};

use crate::base::check::{CheckOrder, CheckReport};

/// Raised when a line changes meaning.
pub const CHILD_PROTOCOL: u32 = 1;
/// Longest line, in bytes: a report with the answer of the largest probe.
pub const LONGEST_LINE: usize = 512 << 10;
/// Most lines of one check.
pub const MOST_LINES: usize = 10_000;

/// What a child is told on standard input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChildOrder {
    pub protocol: u32,
    pub order: CheckOrder,
    pub gpu: OrderedGpu,
    /// Something is broken on purpose, to show that it is found.
    #[serde(default)]
    pub plant: Option<Plant>,
}

/// Which GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum OrderedGpu {
    /// The driver's, by UUID; the others of the node are for copies between GPUs.
    Real { uuid: String, model: String, others: Vec<String> },
    /// One on paper.
    Simulated(SimulatedGpu),
}

impl OrderedGpu {
    pub fn uuid(&self) -> &str {
        match self {
            Self::Real { uuid, .. } => uuid,
            Self::Simulated(gpu) => &gpu.uuid,
        }
    }

    pub fn model(&self) -> &str {
        match self {
            Self::Real { model, .. } => model,
            Self::Simulated(gpu) => &gpu.model,
        }
    }
}

/// A GPU that a CPU plays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SimulatedGpu {
    pub uuid: String,
    pub model: String,
    pub processors: u32,
    pub memory_bytes: u64,
    #[serde(default)]
    pub faults: Vec<SimulatedFault>,
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fault")]
pub enum SimulatedFault {
    /// A bit of memory that always reads the other way than it was written.
    FlippedBit {
        byte: u64,
        bit: u8,
    },
    /// A bit that stays as it is.
    StuckBit {
        byte: u64,
        bit: u8,
        value: bool,
    },
    /// An address line is dead: both halves of a power of two are the same memory.
    DeadLine {
        bytes: u64,
    },
    /// A processor turns a bit over in what it computes.
    WrongProcessor {
        processor: u32,
        bit: u8,
    },
    /// A processor never gets work.
    IdleProcessor {
        processor: u32,
    },
    /// Copies take so many times as long.
    SlowCopy {
        times: u32,
    },
    /// It slows down under load, by so many percent.
    Fading {
        percent: u32,
    },
    /// Memory keeps its old content here whatever is written by kernels that wipe.
    Unwipeable {
        byte: u64,
    },
    /// Only so many percent of its memory can be had.
    OutOfMemory {
        percent: u32,
    },
    /// From this operation on each one ends with the same error.
    Sticky {
        after: u32,
    },
    /// From this operation on it is not there any more.
    Vanish {
        after: u32,
    },
    /// This operation never ends.
    Hang {
        after: u32,
    },
    /// The process panics, is killed as by a bad pointer, or writes nonsense.
    Panic {
        after: u32,
    },
    Segfault {
        after: u32,
    },
    Garbage,
}

/// Something broken on purpose in a real check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "plant")]
pub enum Plant {
    /// After the first fill, these bits of the word at this byte are turned over.
    Memory { address: u64, bits: u64 },
    /// On this processor, this value of the product gets these bits turned over.
    Product { processor: u32, place: u64, bits: u32 },
    /// A kernel writes to an address that is nobody's.
    Stray,
}

/// What a child says, a line each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "say")]
pub enum FromChild {
    /// First of all.
    Began { protocol: u32, program: String },
    /// So many of so many steps are done.
    Progress { done: u32, of: u32, doing: String },
    /// Last of all.
    Report(Box<CheckReport>),
}
