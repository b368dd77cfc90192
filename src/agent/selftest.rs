//! A suite on this machine's GPUs, on demand and without a mill: what `gristmill agent --selftest` runs. It refuses to touch a
//! GPU that somebody uses, and to call simulated GPUs real.
use serde::Serialize;

use super::check::parent::{Launcher, Stop};
use super::gpu::{GpuProblem, Source, nvml, simulated};
use crate::base::check::{CheckKind, CheckReport, Suite, SuiteReport, Verdict};
use crate::base::hardware::{ObservedGpu, UnitShape};
use crate::base::proof::probe::Challenge;
use crate::wire::check::{OrderedGpu, SimulatedFault, SimulatedGpu};

/// Memory and processors of a GPU on paper: enough to exercise every check within a second.
const SIMULATED_MEMORY: u64 = 64 << 10;
const SIMULATED_PROCESSORS: u32 = 16;
/// Side of the probe on a real GPU, and on one that a CPU plays.
const PROBE: u32 = 4096;
const SIMULATED_PROBE: u32 = 32;

/// What to test.
#[derive(Clone, Debug)]
pub struct Wish {
    pub suite: Suite,
    /// Only the GPU with this number.
    pub gpu: Option<u32>,
    /// So many GPUs on paper instead of the machine's.
    pub simulated: Option<u32>,
    /// With something wrong with them, for seeing how that looks.
    pub faults: Vec<SimulatedFault>,
    pub launcher: Launcher,
}

/// Why nothing was tested.
#[derive(Debug, thiserror::Error)]
pub enum SelftestProblem {
    #[error(transparent)]
    Gpus(#[from] GpuProblem),
    #[error("the NVIDIA driver shows no GPU; look whether the card is seated and listed by lspci")]
    None,
    #[error("there is no GPU {0} here; the numbers run from 0 to {1}")]
    NoSuch(u32, u32),
    #[error("no random numbers can be had from this machine; try again")]
    Chance,
}

/// One GPU's part of the result.
#[derive(Clone, Debug, Serialize)]
pub struct Tested {
    pub index: u32,
    pub uuid: String,
    pub model: String,
    #[serde(flatten)]
    pub report: SuiteReport,
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub struct Selftest {
    /// Raised when a field changes meaning.
    pub version: u32,
    pub suite: Suite,
    pub simulated: bool,
    pub gpus: Vec<Tested>,
}

impl Selftest {
    /// The gravest verdict of all.
    pub fn verdict(&self) -> Verdict {
        let nothing = || Verdict::unknown("nothing was tested");
        self.gpus.iter().map(|gpu| gpu.report.verdict()).reduce(Verdict::and).unwrap_or_else(nothing)
    }
}

/// What is going on, for whoever watches.
pub enum News<'a> {
    Step { gpu: u32, check: CheckKind, done: u32, of: u32, doing: &'a str },
    Done { gpu: u32, check: &'a CheckReport },
}

/// Tests; blocks until it is over or stopped.
pub fn run(wish: &Wish, stop: &Stop, tell: &mut dyn FnMut(News<'_>)) -> Result<Selftest, SelftestProblem> {
    let gpus = found(wish)?;
    let last = u32::try_from(gpus.len()).unwrap_or(u32::MAX) - 1;
    if let Some(wanted) = wish.gpu.filter(|wanted| *wanted > last) {
        return Err(SelftestProblem::NoSuch(wanted, last));
    }
    let mut tested = Vec::new();
    for (index, gpu) in (0u32..).zip(&gpus).filter(|(index, _)| wish.gpu.is_none_or(|wanted| wanted == *index)) {
        // A GPU that somebody uses is not copied to either.
        let free = |other: &&ObservedGpu| other.uuid != gpu.uuid && in_use(wish, other).is_none();
        let others: Vec<&ObservedGpu> = gpus.iter().filter(free).collect();
        let report = if let Some(why) = in_use(wish, gpu) {
            unused_only(wish, gpu, &others, &why)?
        } else {
            let mut progress = |check, done, of, doing: &str| tell(News::Step { gpu: index, check, done, of, doing });
            wish.launcher.suite(&ordered(wish, gpu, &others), wish.suite, challenge(wish)?, stop, &mut progress)
        };
        for check in &report.checks {
            tell(News::Done { gpu: index, check });
        }
        tested.push(Tested { index, uuid: gpu.uuid.clone(), model: gpu.model.clone(), report });
    }
    Ok(Selftest { version: 1, suite: wish.suite, simulated: wish.simulated.is_some(), gpus: tested })
}

fn found(wish: &Wish) -> Result<Vec<ObservedGpu>, SelftestProblem> {
    let gpus = match wish.simulated {
        Some(count) => simulated::gpus("selftest", count),
        None => Source::Nvml.observe()?,
    };
    if gpus.is_empty() { Err(SelftestProblem::None) } else { Ok(gpus) }
}

/// Who is on it, in words; `None` where nobody is or nobody can tell.
fn in_use(wish: &Wish, gpu: &ObservedGpu) -> Option<String> {
    if wish.simulated.is_some() {
        return None;
    }
    let reading = nvml::Driver::of_this_machine().read(std::slice::from_ref(gpu)).pop()?;
    let processes = reading.processes?;
    let first = processes.first()?;
    let name = first.name.clone().unwrap_or_else(|| "a program".to_owned());
    Some(format!("in use by {} process(es), the first is {name} ({}); nothing was tested", processes.len(), first.pid))
}

/// The suite's checks, none of which ran.
fn unused_only(
    wish: &Wish,
    gpu: &ObservedGpu,
    others: &[&ObservedGpu],
    why: &str,
) -> Result<SuiteReport, SelftestProblem> {
    let stopped = Stop::default();
    stopped.now();
    let ordered = ordered(wish, gpu, others);
    let mut report = wish.launcher.suite(&ordered, wish.suite, challenge(wish)?, &stopped, &mut |_, _, _, _| ());
    for check in &mut report.checks {
        check.verdict = Verdict::unknown(why);
    }
    Ok(report)
}

fn ordered(wish: &Wish, gpu: &ObservedGpu, others: &[&ObservedGpu]) -> OrderedGpu {
    if wish.simulated.is_some() {
        return OrderedGpu::Simulated(SimulatedGpu {
            uuid: gpu.uuid.clone(),
            model: gpu.model.clone(),
            processors: SIMULATED_PROCESSORS,
            memory_bytes: SIMULATED_MEMORY,
            faults: wish.faults.clone(),
        });
    }
    // Instances of a divided GPU do not copy to others.
    let whole = |unit: &&&ObservedGpu| unit.shape == UnitShape::Gpu && gpu.shape == UnitShape::Gpu;
    let others = others.iter().filter(whole).map(|other| other.uuid.clone()).collect();
    OrderedGpu::Real { uuid: gpu.uuid.clone(), model: gpu.model.clone(), others }
}

/// This machine asks itself, which proves that the GPU computes, and nothing to anybody else.
fn challenge(wish: &Wish) -> Result<Challenge, SelftestProblem> {
    let mut bytes = [0; 16];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes)
        .map_err(|_| SelftestProblem::Chance)?;
    let number = |from: usize| u64::from_le_bytes(bytes[from..from + 8].try_into().unwrap_or_default());
    let size = if wish.simulated.is_some() { SIMULATED_PROBE } else { PROBE };
    Ok(Challenge { seed: number(0), nonce: number(8), size })
}
