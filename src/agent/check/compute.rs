//! Checks of arithmetic: exact products, unanimity of full mantissas, the probe. Each notes on which processors its blocks
//! ran, and passes only when every processor has answered. They refuse any tolerance.
use std::collections::BTreeSet;

use super::device::{Device, DeviceError, Region, Seconds, Sizes, download, upload, zeroed};
use super::kernel::{Factors, Kernel, NOWHERE, Planted};
use super::{Bench, Done};
use crate::base::check::{Code, Unit, Verdict};
use crate::base::proof::log::{Mismatches, NO_SM, WORDS};
use crate::base::proof::pattern::mix;
use crate::base::proof::probe::Challenge;
use crate::base::proof::product::{self, Number, TILE};
use crate::base::proof::unanimity::{self, TENSOR_SEED};
use crate::wire::check::Plant;

/// So often blocks are sent again until every processor has had one.
const ATTEMPTS: u32 = 4;
const WARPS: u64 = 8;

/// A word is written by the smallest kernel. Faults and hangs of the context show themselves here.
pub(super) fn context(bench: &mut Bench<'_>) -> Done {
    (bench.say)(0, 1, "a tiny kernel");
    let word = zeroed(bench.device, 2)?;
    if matches!(bench.plant, Some(Plant::Stray)) {
        // An address that no allocation has: the driver ends this process's context for it.
        bench.device.run(1, &Kernel::Stray { at: 0x10 })?;
    }
    bench.device.run(1, &Kernel::Answer { at: word.at, word: bench.order.seed })?;
    let got = download(bench.device, word, 1)?[0];
    bench.found.mismatches.compare(0, mix(bench.order.seed), got, None);
    Ok(if bench.found.mismatches.is_empty() {
        Verdict::Passed
    } else {
        Verdict::failed(Code::Arithmetic, "the smallest kernel gave a wrong answer")
    })
}

/// Sums of blocks and the processors they ran on.
struct Answers {
    sums: Region,
    who: Region,
    blocks: u32,
}

impl Answers {
    fn take(device: &mut dyn Device, blocks: u32) -> Result<Self, DeviceError> {
        let count = blocks as usize;
        let who = upload(device, &vec![0xff; count * 8])?;
        Ok(Self { sums: zeroed(device, count)?, who, blocks })
    }

    fn clear(&self, device: &mut dyn Device) -> Result<(), DeviceError> {
        device.write(self.who.at, &vec![0xff; self.blocks as usize * 8])?;
        device.write(self.sums.at, &vec![0; self.blocks as usize * 8])
    }

    /// Each block's processor and sum.
    fn read(&self, device: &mut dyn Device) -> Result<Vec<(u64, u64)>, DeviceError> {
        let sums = download(device, self.sums, self.blocks as usize)?;
        Ok(download(device, self.who, self.blocks as usize)?.into_iter().zip(sums).collect())
    }
}

/// Whether every processor has answered.
fn all_answered(bench: &mut Bench<'_>, seen: &BTreeSet<u64>) -> Verdict {
    let (answered, all) = (seen.len(), bench.device.gpu().processors as usize);
    bench.count("processors_answered", answered as u64, Unit::Count);
    if answered >= all {
        return Verdict::Passed;
    }
    Verdict::unknown(format!("only {answered} of {all} processors were given work, however often it was sent"))
}

/// Is given the answers of a launch: each block's processor and sum.
type Judge<'a> = &'a mut dyn FnMut(&[(u64, u64)]);

/// Launches until every processor has had a block; each launch's answers go to `judge`. Answers who was seen, and the time.
fn everywhere(
    bench: &mut Bench<'_>,
    answers: &Answers,
    kernel: &Kernel,
    judge: Judge<'_>,
) -> Result<(BTreeSet<u64>, Seconds), DeviceError> {
    let (mut seen, mut took) = (BTreeSet::new(), 0.0);
    for attempt in 0..ATTEMPTS {
        answers.clear(bench.device)?;
        let once = bench.device.run(answers.blocks, kernel)?;
        took = if attempt == 0 { once } else { once.min(took) };
        let answered = answers.read(bench.device)?;
        judge(&answered);
        seen.extend(answered.iter().map(|(who, _)| *who).filter(|who| *who != NO_SM));
        if seen.len() >= bench.device.gpu().processors as usize {
            break;
        }
    }
    Ok((seen, took))
}

fn named(processors: &BTreeSet<u64>) -> String {
    let shown: Vec<String> = processors.iter().take(8).map(u64::to_string).collect();
    let more = if processors.len() > shown.len() { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// Every processor multiplies the same matrices in every format; each value is compared, and each block's fingerprint.
pub(super) fn products(bench: &mut Bench<'_>) -> Done {
    let shape = bench.device.sizes().product;
    let rounds = u64::from(bench.order.measure.max(1));
    let (left, right) = product::factors(shape, bench.order.seed);
    let values = product::product(shape, &left, &right);
    let print = product::fingerprint(&values).wrapping_mul(rounds);
    let expected: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let expected = upload(bench.device, &expected)?;
    let log = match bench.log()? {
        Ok(log) => log,
        Err(verdict) => return Ok(verdict),
    };
    let blocks = bench.blocks();
    let answers = Answers::take(bench.device, blocks)?;
    let mut verdict = Verdict::Passed;
    for (done, number) in (0..).zip(Number::ALL) {
        (bench.say)(done, 3, number.name());
        let pack = |values: &[i8]| number.encode(&product::tiled(values, shape.depth));
        let (a, b) = (upload(bench.device, &pack(&left))?, upload(bench.device, &pack(&right))?);
        let factors = Factors {
            left: a.at,
            right: b.at,
            expected: expected.at,
            rows: u64::from(shape.rows),
            columns: u64::from(shape.columns),
            depth: u64::from(shape.depth),
        };
        let planted = match bench.plant {
            Some(Plant::Product { processor, place, bits }) => {
                Planted { sm: u64::from(processor), at: place, bits: u64::from(bits) }
            }
            _ => Planted::NOTHING,
        };
        let (prints, who) = (answers.sums.at, answers.who.at);
        let kernel = Kernel::Product { number, factors, rounds, log: log.at, prints, who, planted };
        let mut wrong = BTreeSet::new();
        let (seen, took) = everywhere(bench, &answers, &kernel, &mut |answered| {
            wrong.extend(answered.iter().filter(|(_, sum)| *sum != print).map(|(who, _)| *who));
        })?;
        bench.device.give(a)?;
        bench.device.give(b)?;
        let operations = shape.operations() * rounds * u64::from(answers.blocks);
        bench.figure(number.name(), super::gigabytes(operations, took) / 1e3, Unit::TeraopsPerSecond);
        verdict = verdict.and(product_verdict(bench, log, number, &wrong)?).and(all_answered(bench, &seen));
    }
    Ok(verdict)
}

fn product_verdict(bench: &mut Bench<'_>, log: Region, number: Number, wrong: &BTreeSet<u64>) -> Done {
    let found = Mismatches::read(&download(bench.device, log, WORDS)?);
    bench.device.write(log.at, &vec![0; WORDS * 8])?;
    let name = number.name();
    let verdict = match found.first.first() {
        _ if found.is_empty() && wrong.is_empty() => Verdict::Passed,
        None => Verdict::failed(
            Code::Product,
            format!("fingerprints of {name} products are wrong on processor {}", named(wrong)),
        ),
        Some(first) => Verdict::failed(
            Code::Product,
            format!(
                "{} values of {name} products differ; value {} on processor {} is {:08x} instead of {:08x}",
                found.words,
                first.address,
                first.sm.map_or_else(|| "?".to_owned(), |sm| sm.to_string()),
                first.got,
                first.expected
            ),
        ),
    };
    bench.found.mismatches.absorb(&found, 0);
    Ok(verdict)
}

/// Full mantissas until the time is over: scalar arithmetic against the CPU, the tensor cores against each other and, with
/// the first seed, against what is known of the architecture.
pub(super) fn unanimity(bench: &mut Bench<'_>) -> Done {
    let sizes = bench.device.sizes();
    let blocks = bench.blocks();
    let answers = Answers::take(bench.device, blocks)?;
    let wanted = f64::from(bench.order.measure);
    let (began, mut worked) = (bench.device.clock(), 0.0);
    let (mut round, mut seen) = (0u64, BTreeSet::new());
    let mut verdict = Verdict::Passed;
    while round == 0 || worked < wanted {
        let share = if wanted > 0.0 { worked / wanted * 100.0 } else { 0.0 };
        (bench.say)(share as u32, 100, "full mantissas on every processor");
        let key = if round == 0 { TENSOR_SEED } else { mix(bench.order.seed ^ round) };
        let again = scalar_round(bench, &answers, sizes.steps, key, &mut verdict)?;
        seen.extend(again);
        tensor_round(bench, &answers, key, round == 0, &mut verdict)?;
        worked = bench.device.clock() - began;
        round += 1;
        if !matches!(verdict, Verdict::Passed) {
            break;
        }
    }
    bench.count("rounds", round, Unit::Count);
    let verdict = verdict.and(all_answered(bench, &seen));
    Ok(verdict)
}

fn scalar_round(
    bench: &mut Bench<'_>,
    answers: &Answers,
    steps: u32,
    key: u64,
    verdict: &mut Verdict,
) -> Result<BTreeSet<u64>, DeviceError> {
    let right = unanimity::block(super::kernel::THREADS, steps, key);
    let kernel = Kernel::Scalar {
        steps: u64::from(steps),
        key,
        sums: answers.sums.at,
        who: answers.who.at,
        planted: Planted::NOTHING,
    };
    let mut wrong = BTreeSet::new();
    let (seen, _) = everywhere(bench, answers, &kernel, &mut |answered| {
        wrong.extend(answered.iter().filter(|(_, sum)| *sum != right).map(|(who, _)| *who));
    })?;
    if !wrong.is_empty() {
        let said = format!("scalar arithmetic differs from the CPU's on processor {}", named(&wrong));
        *verdict = std::mem::replace(verdict, Verdict::Passed).and(Verdict::failed(Code::Arithmetic, said));
    }
    Ok(seen)
}

fn tensor_round(
    bench: &mut Bench<'_>,
    answers: &Answers,
    key: u64,
    known: bool,
    verdict: &mut Verdict,
) -> Result<(), DeviceError> {
    let Sizes { deep, repeats, .. } = bench.device.sizes();
    let tile = u64::from(TILE * TILE);
    let halves = |tiles: u64, key| -> Vec<u8> {
        unanimity::mantissas(tiles * tile, key).iter().flat_map(|half| half.to_le_bytes()).collect()
    };
    let left = upload(bench.device, &halves(WARPS * u64::from(deep), mix(key ^ 1)))?;
    let right = upload(bench.device, &halves(u64::from(deep), mix(key ^ 2)))?;
    let kernel = Kernel::Tensor {
        left: left.at,
        right: right.at,
        deep: u64::from(deep),
        rounds: u64::from(repeats),
        sums: answers.sums.at,
        who: answers.who.at,
        planted: Planted { sm: NOWHERE, at: 0, bits: 0 },
    };
    let mut all = Vec::new();
    everywhere(bench, answers, &kernel, &mut |answered| all.extend_from_slice(answered))?;
    bench.device.give(left)?;
    bench.device.give(right)?;
    let sums: Vec<u64> = all.iter().map(|(_, sum)| *sum).collect();
    let Some((most, others)) = unanimity::dissenters(&sums) else { return Ok(()) };
    let failed = |said| Verdict::failed(Code::Dissent, said);
    if !others.is_empty() {
        let who: BTreeSet<u64> = others.iter().map(|at| all[*at].0).collect();
        let said = format!("tensor cores disagree with most on processor {}", named(&who));
        *verdict = std::mem::replace(verdict, Verdict::Passed).and(failed(said));
    }
    if known {
        let capability = bench.device.gpu().capability;
        bench.note(format!("tensor answer {most:016x} at compute capability {}.{}", capability.0, capability.1));
        match unanimity::golden(capability) {
            Some(golden) if golden != most && !bench.device.simulated() => {
                let said = format!("tensor cores answer {most:016x}, the architecture is known for {golden:016x}");
                *verdict = std::mem::replace(verdict, Verdict::Passed).and(failed(said));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Answers the mill's challenge. Whether the answer is right is the mill's to say.
pub(super) fn probe(bench: &mut Bench<'_>) -> Done {
    let Some(challenge) = bench.order.challenge.filter(|challenge| challenge.sound()) else {
        return Ok(Verdict::unknown("the probe names no size that can be asked"));
    };
    (bench.say)(0, 1, "the mill’s product");
    let Challenge { size, .. } = challenge;
    let (side, (left_key, right_key)) = (u64::from(size), product::keys(challenge.seed));
    let (left, right) = (bench.device.take(side * side)?, bench.device.take(side * side)?);
    let sums = zeroed(bench.device, size as usize)?;
    let blocks = bench.blocks();
    let answers = Answers::take(bench.device, blocks)?;
    for (factor, key) in [(left, left_key), (right, right_key)] {
        bench.device.run(blocks, &Kernel::Generate { at: factor.at, sides: side, depth: side, key })?;
    }
    let kernel = Kernel::Probe {
        left: left.at,
        right: right.at,
        size: side,
        salt: challenge.salt(),
        sums: sums.at,
        who: answers.who.at,
    };
    let took = bench.device.run(blocks, &kernel)?;
    let seen: BTreeSet<u64> = answers.read(bench.device)?.iter().map(|(who, _)| *who).collect();
    bench.found.answer = download(bench.device, sums, size as usize)?;
    bench.count("processors_answered", seen.len() as u64, Unit::Count);
    bench.figure("product", took * 1e3, Unit::Milliseconds);
    Ok(Verdict::Passed)
}
