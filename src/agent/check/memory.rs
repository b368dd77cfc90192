//! Checks of memory: patterns by place, moving inversions, and the wipe between tenants. All that can be had is taken first;
//! what could not be had is said in bytes. They refuse to pass on less than 97 % of the free memory.
use super::device::{Device, DeviceError, Region, Seconds, download, zeroed};
use super::kernel::{Kernel, Piece};
use super::{Bench, Done, gigabytes};
use crate::base::check::{Code, Unit, Verdict};
use crate::base::proof::log::{Mismatches, WORDS};
use crate::base::proof::pattern::{Pattern, inversion, mix};
use crate::wire::check::Plant;

/// Of the free memory, in percent.
const AT_LEAST: f64 = 97.0;

/// All memory that could be had.
struct Held {
    regions: Vec<Region>,
    /// Bytes that were free before.
    free: u64,
}

impl Held {
    /// Takes large pieces first and smaller ones for what is left.
    fn take(device: &mut dyn Device) -> Result<Self, DeviceError> {
        let memory = device.memory()?;
        let grain = (memory.total >> 16).max(64) & !63;
        let mut regions = Vec::new();
        // A hundredth stays with the driver, which may need memory of its own meanwhile.
        let mut left = (memory.free - memory.free / 100) & !63;
        let mut piece = left;
        while piece >= grain && left >= grain {
            let wanted = piece.min(left) & !63;
            match device.take(wanted) {
                Ok(region) => {
                    left -= region.bytes;
                    regions.push(region);
                }
                Err(DeviceError::OutOfMemory) => piece = (piece / 2) & !63,
                Err(other) => return Err(other),
            }
        }
        Ok(Self { regions, free: memory.free })
    }

    fn give(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        self.regions.into_iter().try_for_each(|region| device.give(region))
    }

    fn bytes(&self) -> u64 {
        self.regions.iter().map(|region| region.bytes).sum()
    }

    /// The pieces with the number of the first word of each in the whole.
    fn pieces(&self) -> impl Iterator<Item = Piece> + '_ {
        let mut first = 0;
        self.regions.iter().map(move |region| {
            let piece = Piece { at: region.at, pairs: region.pairs(), first };
            first += region.words();
            piece
        })
    }

    /// The device's address of a byte of the whole.
    fn address(&self, byte: u64) -> Option<u64> {
        let piece =
            self.pieces().find(|piece| (piece.first * 8..piece.first * 8 + piece.pairs * 16).contains(&byte))?;
        Some(piece.at + byte - piece.first * 8)
    }

    /// Says what is covered; `None` where it is enough.
    fn lacking(&self, bench: &mut Bench<'_>) -> Option<Verdict> {
        let covered = self.bytes();
        #[allow(clippy::cast_precision_loss)]
        let percent = if self.free == 0 { 0.0 } else { covered as f64 * 100.0 / self.free as f64 };
        bench.count("covered_bytes", covered, Unit::Bytes);
        bench.count("uncovered_bytes", self.free.saturating_sub(covered), Unit::Bytes);
        bench.figure("covered", percent, Unit::Percent);
        (percent < AT_LEAST).then(|| {
            Verdict::unknown(format!("only {percent:.1} % of the free memory could be had, {AT_LEAST} % are needed"))
        })
    }
}

/// A pass over all pieces; answers how long the GPU worked.
fn sweep(bench: &mut Bench<'_>, held: &Held, kernel: impl Fn(Piece) -> Kernel) -> Result<Seconds, DeviceError> {
    // Memory wants more threads than arithmetic does.
    let blocks = bench.blocks() * 2;
    held.pieces().try_fold(0.0, |sum, piece| Ok(sum + bench.device.run(blocks, &kernel(piece))?))
}

/// Reads the log and empties nothing: one log serves a whole check.
fn judged(bench: &mut Bench<'_>, log: Region) -> Done {
    let found = Mismatches::read(&download(bench.device, log, WORDS)?);
    let verdict = match found.first.first() {
        _ if found.is_empty() => Verdict::Passed,
        None => Verdict::failed(Code::Memory, format!("{} words differ", found.words)),
        Some(first) => Verdict::failed(
            Code::Memory,
            format!(
                "{} words differ in {} bits; at byte {:#x} stands {:016x} instead of {:016x}",
                found.words, found.bits, first.address, first.got, first.expected
            ),
        ),
    };
    bench.found.mismatches = found;
    Ok(verdict)
}

/// Turns bits over where the order says so.
fn plant(bench: &mut Bench<'_>, held: &Held) -> Result<(), DeviceError> {
    let Some(Plant::Memory { address, bits }) = bench.plant.take() else { return Ok(()) };
    let Some(at) = held.address(address & !7) else { return Ok(()) };
    let mut word = [0; 8];
    bench.device.read(at, &mut word)?;
    bench.device.write(at, &(u64::from_le_bytes(word) ^ bits).to_le_bytes())?;
    bench.note(format!("bits {bits:016x} were turned over on purpose at byte {:#x}", address & !7));
    Ok(())
}

/// Hash of the place, its inverse, then stripes; each over the whole before any of it is read.
pub(super) fn patterns(bench: &mut Bench<'_>) -> Done {
    let log = match bench.log()? {
        Ok(log) => log,
        Err(verdict) => return Ok(verdict),
    };
    let held = Held::take(bench.device)?;
    let lacking = held.lacking(bench);
    let hashed = Pattern::hashed(bench.order.seed);
    let stripes = Pattern::constant(0x5555_5555_5555_5555);
    let all = [hashed, hashed.inverted(), stripes, stripes.inverted()];
    let count = all.len().min(bench.order.measure as usize + 1);
    let (mut took, mut bytes) = (0.0, 0);
    for (done, pattern) in (0u32..).zip(&all[..count]) {
        (bench.say)(done, u32::try_from(count).unwrap_or(4), "patterns");
        took += sweep(bench, &held, |piece| Kernel::Fill { piece, pattern: *pattern })?;
        plant(bench, &held)?;
        took += sweep(bench, &held, |piece| Kernel::Verify { piece, pattern: *pattern, log: log.at })?;
        bytes += 2 * held.bytes();
    }
    bench.figure("written_and_read", gigabytes(bytes, took), Unit::GigabytesPerSecond);
    let verdict = judged(bench, log)?;
    Ok(verdict.and(lacking.unwrap_or(Verdict::Passed)))
}

/// Each pattern is written, read and inverted upward, read and inverted downward, and read; then the hash of the place.
pub(super) fn inversions(bench: &mut Bench<'_>) -> Done {
    let log = match bench.log()? {
        Ok(log) => log,
        Err(verdict) => return Ok(verdict),
    };
    let held = Held::take(bench.device)?;
    let lacking = held.lacking(bench);
    let rounds = bench.order.measure.max(1);
    let at = log.at;
    let (mut took, mut bytes) = (0.0, 0);
    for round in 0..=rounds {
        (bench.say)(round, rounds + 1, "moving inversions");
        let last = round == rounds;
        let pattern = if last { Pattern::hashed(bench.order.seed) } else { Pattern::constant(inversion(round)) };
        took += sweep(bench, &held, |piece| Kernel::Fill { piece, pattern })?;
        plant(bench, &held)?;
        took += sweep(bench, &held, |piece| Kernel::Invert { piece, pattern, log: at, down: false })?;
        let pattern = pattern.inverted();
        took += sweep(bench, &held, |piece| Kernel::Invert { piece, pattern, log: at, down: true })?;
        let pattern = pattern.inverted();
        took += sweep(bench, &held, |piece| Kernel::Verify { piece, pattern, log: at })?;
        bytes += 6 * held.bytes();
    }
    bench.figure("written_and_read", gigabytes(bytes, took), Unit::GigabytesPerSecond);
    let verdict = judged(bench, log)?;
    Ok(verdict.and(lacking.unwrap_or(Verdict::Passed)))
}

/// A canary everywhere, everything overwritten and verified; then all is given back, taken anew, and looked through for the
/// canary. What is neither zero nor of the wipe is counted too, but not judged: nobody has measured yet what a driver leaves
/// there itself.
pub(super) fn wipe(bench: &mut Bench<'_>) -> Done {
    const STEPS: u32 = 4;
    let log = match bench.log()? {
        Ok(log) => log,
        Err(verdict) => return Ok(verdict),
    };
    let counts = zeroed(bench.device, 4)?;
    let held = Held::take(bench.device)?;
    let lacking = held.lacking(bench);
    let seed = bench.order.seed;
    let canary = [mix(seed ^ 0x6361_6E61), mix(seed ^ 0x7279)];
    (bench.say)(0, STEPS, "canary");
    sweep(bench, &held, |piece| Kernel::Sow { at: piece.at, pairs: piece.pairs, every: 1, canary })?;
    (bench.say)(1, STEPS, "overwriting");
    let pattern = Pattern::hashed(seed);
    let wiped = sweep(bench, &held, |piece| Kernel::Fill { piece, pattern })?;
    plant(bench, &held)?;
    (bench.say)(2, STEPS, "verifying");
    let verified = sweep(bench, &held, |piece| Kernel::Verify { piece, pattern, log: log.at })?;
    let bytes = held.bytes();
    bench.figure("wipe_and_verify", (wiped + verified) * 1e3, Unit::Milliseconds);
    bench.figure("written", gigabytes(bytes, wiped), Unit::GigabytesPerSecond);
    bench.figure("read", gigabytes(bytes, verified), Unit::GigabytesPerSecond);
    bench.figure("wiped_and_verified", gigabytes(2 * bytes, wiped + verified), Unit::GigabytesPerSecond);
    let verdict = judged(bench, log)?;
    held.give(bench.device)?;
    (bench.say)(3, STEPS, "looking for residue");
    let anew = Held::take(bench.device)?;
    let seen = zeroed_log(bench.device, log)?;
    sweep(bench, &anew, |piece| Kernel::Residue { piece, canary, counts: counts.at, log: seen.at })?;
    let pairs = download(bench.device, counts, 4)?;
    for (name, pairs) in ["residue", "zero", "own_pattern", "foreign"].iter().zip(&pairs) {
        bench.count(&format!("{name}_bytes"), pairs.saturating_mul(16), Unit::Bytes);
    }
    let residue = if pairs[0] == 0 {
        Verdict::Passed
    } else {
        bench.found.mismatches = Mismatches::read(&download(bench.device, seen, WORDS)?);
        Verdict::failed(Code::Residue, format!("{} bytes of before were found after the wipe", pairs[0] * 16))
    };
    Ok(verdict.and(residue).and(lacking.unwrap_or(Verdict::Passed)))
}

/// The same log, empty again.
fn zeroed_log(device: &mut dyn Device, log: Region) -> Result<Region, DeviceError> {
    device.write(log.at, &vec![0; WORDS * 8])?;
    Ok(log)
}
