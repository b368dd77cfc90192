//! The active checks of a GPU: what is done to it and what is compared. Each runs in a process of its own ([`child`]), which
//! the agent watches and kills ([`parent`]), because a fault of a GPU leaves its process unusable, and a driver may hang. It
//! refuses to judge a GPU by itself: what is compared comes from `base::proof`.
//!
//! Nothing here decides when a check runs. It must not run on a GPU that is leased.
pub mod child;
mod compute;
pub mod device;
pub mod kernel;
mod load;
mod memory;
pub mod parent;
pub mod simulator;

use self::device::{Device, DeviceError, Region, Seconds};
use crate::base::check::{CheckKind, CheckOrder, Code, Figure, Unit, Verdict, clipped};
use crate::base::check::{MOST_FIGURES, MOST_NOTES};
use crate::base::proof::log::Mismatches;
use crate::base::telemetry::GpuReading;
use crate::wire::check::Plant;

/// What a check saw.
#[derive(Debug, Default)]
pub struct Found {
    pub figures: Vec<Figure>,
    pub mismatches: Mismatches,
    pub notes: Vec<String>,
    pub answer: Vec<u64>,
}

/// A check at work: the device, the order, and what was found so far.
pub(crate) struct Bench<'a> {
    pub device: &'a mut dyn Device,
    pub order: &'a CheckOrder,
    pub plant: Option<Plant>,
    pub found: Found,
    pub say: &'a mut dyn FnMut(u32, u32, &str),
}

impl Bench<'_> {
    #[allow(clippy::cast_precision_loss)] // Figures are for people; beyond 2^53 they are rounded.
    pub(crate) fn count(&mut self, name: &str, value: u64, unit: Unit) {
        self.figure(name, value as f64, unit);
    }

    pub(crate) fn figure(&mut self, name: &str, value: f64, unit: Unit) {
        if self.found.figures.len() < MOST_FIGURES {
            self.found.figures.push(Figure::new(name, value, unit));
        }
    }

    pub(crate) fn note(&mut self, text: String) {
        if self.found.notes.len() < MOST_NOTES {
            self.found.notes.push(clipped(text));
        }
    }

    /// An empty log, or the verdict where the memory for it is broken already.
    pub(crate) fn log(&mut self) -> Result<Result<Region, Verdict>, DeviceError> {
        Ok(device::log(self.device)?.map_err(|found| {
            let said = format!("{} words differ in the first memory that was taken", found.words);
            self.found.mismatches = found;
            Verdict::failed(Code::Memory, said)
        }))
    }

    /// Blocks that fill every processor.
    pub(crate) fn blocks(&self) -> u32 {
        self.device.gpu().processors.max(1).saturating_mul(self.device.sizes().blocks)
    }
}

/// Runs one check on a device. `say` is told of each step: how many are done, of how many, and what comes.
pub fn perform(
    device: &mut dyn Device,
    order: &CheckOrder,
    plant: Option<Plant>,
    say: &mut dyn FnMut(u32, u32, &str),
) -> (Verdict, Found) {
    let before = device.reading();
    let mut bench = Bench { device, order, plant, found: Found::default(), say };
    let run = match order.check {
        CheckKind::Context => compute::context,
        CheckKind::Wipe => memory::wipe,
        CheckKind::Memory => memory::patterns,
        CheckKind::MemoryDeep => memory::inversions,
        CheckKind::Compute => compute::products,
        CheckKind::Unanimity => compute::unanimity,
        CheckKind::Bandwidth => load::bandwidth,
        CheckKind::Peers => load::peers,
        CheckKind::Soak => load::soak,
        CheckKind::Latency => load::latency,
        CheckKind::Probe => compute::probe,
    };
    let verdict = run(&mut bench).unwrap_or_else(Verdict::from);
    let after = bench.device.reading();
    let verdict = verdict.and(counted_errors(&mut bench, before.as_ref(), after.as_ref()));
    (verdict, bench.found)
}

/// Errors that the GPU's own memory protection counted meanwhile: with it, a mismatch needs more flipped bits than it sees,
/// so the counters say more than the comparison.
fn counted_errors(bench: &mut Bench<'_>, before: Option<&GpuReading>, after: Option<&GpuReading>) -> Verdict {
    let (Some(before), Some(after)) = (before, after) else { return Verdict::Passed };
    let grown = |was: Option<u64>, is: Option<u64>| Some(is?.saturating_sub(was?));
    if let Some(corrected) = grown(before.ecc_corrected, after.ecc_corrected) {
        bench.count("ecc_corrected", corrected, Unit::Count);
    }
    match grown(before.ecc_uncorrected, after.ecc_uncorrected) {
        Some(uncorrected) if uncorrected > 0 => {
            bench.count("ecc_uncorrected", uncorrected, Unit::Count);
            Verdict::failed(Code::Memory, format!("{uncorrected} uncorrected memory errors were counted meanwhile"))
        }
        _ => Verdict::Passed,
    }
}

/// GB/s of so many bytes in that time.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn gigabytes(bytes: u64, took: Seconds) -> f64 {
    if took > 0.0 { bytes as f64 / took / 1e9 } else { 0.0 }
}

/// What every check ends with, or why it could not go on.
pub(crate) type Done = Result<Verdict, DeviceError>;

#[cfg(test)]
mod tests;
