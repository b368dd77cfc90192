//! Checks of speed: copies, sustained load, latency. Figures are told as they are; only what has a bar is judged, and a soak
//! judges the GPU beside itself. They refuse datasheets.
use std::collections::BTreeSet;

use super::device::{DeviceError, Region, Route, Seconds, download, upload, zeroed};
use super::kernel::{Kernel, Piece};
use super::{Bench, Done, gigabytes};
use crate::base::check::judge::{About, Bar, Way, median};
use crate::base::check::{Code, Unit, Verdict};
use crate::base::proof::log::{Mismatches, WORDS};
use crate::base::proof::pattern::{Pattern, mix};
use crate::base::proof::product::TILE;
use crate::base::proof::unanimity;
use crate::base::telemetry::GpuReading;

/// Loss of speed under load that is too much, in percent.
const MOST_DRIFT: f64 = 5.0;
/// NVML's reasons that mean heat or power trouble: hardware slowdown, thermal by software and by hardware, power brake.
const TROUBLE: u64 = 0x8 | 0x20 | 0x40 | 0x80;
/// Reached at the power limit, which full load does by design.
const POWER_CAP: u64 = 0x4;
/// One launch of the load works about so long.
const STRIDE: Seconds = 0.5;
/// Warps of a block, each with two rows of tiles.
const LEFT_TILES: u64 = 16;

/// Notes the figure and holds it against its bar.
fn hold_against(bench: &mut Bench<'_>, way: Way, measured: f64, about: About<'_>) -> Verdict {
    bench.figure(way.name(), measured, Unit::GigabytesPerSecond);
    // The node knows no peers of the fleet; the mill judges again with them.
    let bar = Bar::of(way, about, &[]);
    if bar.holds(measured) {
        return Verdict::Passed;
    }
    let Bar::Floor { at_least } = bar else { return Verdict::Passed };
    Verdict::failed(Code::Slow, format!("{} runs at {measured:.1} GB/s, its floor is {at_least:.1}", way.name()))
}

fn two_regions(bench: &mut Bench<'_>) -> Result<(Region, Region), DeviceError> {
    let bytes = (bench.device.memory()?.free / 4).min(bench.device.sizes().copy) & !63;
    Ok((bench.device.take(bytes)?, bench.device.take(bytes)?))
}

/// Within the GPU by our kernel and by the driver, and to and from the host. What was copied is compared.
pub(super) fn bandwidth(bench: &mut Bench<'_>) -> Done {
    const STEPS: u32 = 4;
    let times = bench.order.measure.max(1);
    let log = match bench.log()? {
        Ok(log) => log,
        Err(verdict) => return Ok(verdict),
    };
    let (from, to) = two_regions(bench)?;
    let (blocks, pattern) = (bench.blocks() * 2, Pattern::hashed(bench.order.seed));
    let piece = |region: Region| Piece { at: region.at, pairs: region.pairs(), first: 0 };
    bench.device.run(blocks, &Kernel::Fill { piece: piece(from), pattern })?;
    let kernel = Kernel::Copy { to: to.at, from: from.at, pairs: from.pairs() };
    (bench.say)(0, STEPS, "within the GPU");
    // The first one finds cold clocks.
    bench.device.run(blocks, &kernel)?;
    let mut took = 0.0;
    for _ in 0..times {
        took += bench.device.run(blocks, &kernel)?;
    }
    bench.device.run(blocks, &Kernel::Verify { piece: piece(to), pattern, log: log.at })?;
    let bytes = from.bytes * u64::from(times);
    let model = bench.device.gpu().model.clone();
    let about = About { model: &model, link: None, nvlinks: 0 };
    let mut verdict = hold_against(bench, Way::DeviceToDevice, gigabytes(2 * bytes, took), about);
    (bench.say)(1, STEPS, "within the GPU, by the driver");
    bench.device.copy(Route::Within { to, from }, 1)?;
    let took = bench.device.copy(Route::Within { to, from }, times)?;
    bench.figure("device_to_device_by_driver", gigabytes(2 * bytes, took), Unit::GigabytesPerSecond);
    for (step, way, route) in
        [(2, Way::HostToDevice, Route::FromHost { to }), (3, Way::DeviceToHost, Route::ToHost { from })]
    {
        (bench.say)(step, STEPS, way.name());
        bench.device.copy(route, 1)?;
        let took = bench.device.copy(route, times)?;
        // Asked while it is still awake: an idle link negotiates itself down.
        let link = bench.device.link();
        let about = About { model: &model, link, nvlinks: 0 };
        verdict = verdict.and(hold_against(bench, way, gigabytes(bytes, took), about));
    }
    let found = Mismatches::read(&download(bench.device, log, WORDS)?);
    if !found.is_empty() {
        let said = format!("{} words differ after a copy within the GPU", found.words);
        verdict = verdict.and(Verdict::failed(Code::Memory, said));
    }
    bench.found.mismatches = found;
    Ok(verdict)
}

/// To each other GPU of the node. Figures alone: how many links two GPUs share is not known here.
pub(super) fn peers(bench: &mut Bench<'_>) -> Done {
    let peers = bench.device.peers()?;
    if peers.is_empty() {
        return Ok(Verdict::unknown("there is no other GPU to copy to"));
    }
    let times = bench.order.measure.max(1);
    let (from, _) = two_regions(bench)?;
    for (peer, (uuid, direct)) in peers.iter().enumerate() {
        (bench.say)(u32::try_from(peer).unwrap_or(0), u32::try_from(peers.len()).unwrap_or(1), "between GPUs");
        bench.device.copy(Route::Peer { from, peer }, 1)?;
        let took = bench.device.copy(Route::Peer { from, peer }, times)?;
        bench.figure("peer", gigabytes(from.bytes * u64::from(times), took), Unit::GigabytesPerSecond);
        let way = if *direct { "directly" } else { "over the host" };
        bench.note(format!("peer {} of {}: {uuid}, {way}", peer + 1, peers.len()));
    }
    Ok(Verdict::Passed)
}

/// What a soak saw besides the speed.
#[derive(Default)]
struct Weather {
    hottest: Option<u32>,
    hottest_memory: Option<u32>,
    most_power: Option<u64>,
    slowest_clock: Option<u32>,
    reasons: u64,
}

impl Weather {
    fn note(&mut self, reading: &GpuReading) {
        self.hottest = self.hottest.max(reading.temperature);
        self.hottest_memory = self.hottest_memory.max(reading.memory_temperature);
        self.most_power = self.most_power.max(reading.power_milliwatts);
        self.slowest_clock = match (self.slowest_clock, reading.sm_clock_mhz) {
            (Some(before), Some(now)) => Some(before.min(now)),
            (before, now) => before.or(now),
        };
        self.reasons |= reading.throttle_reasons.unwrap_or(0);
    }

    fn tell(&self, bench: &mut Bench<'_>) {
        let figures = [
            ("temperature", self.hottest.map(u64::from), Unit::Celsius),
            ("memory_temperature", self.hottest_memory.map(u64::from), Unit::Celsius),
            ("power", self.most_power.map(|milli| milli / 1000), Unit::Watts),
            ("lowest_clock", self.slowest_clock.map(u64::from), Unit::Megahertz),
        ];
        for (name, value, unit) in figures {
            if let Some(value) = value {
                bench.count(name, value, unit);
            }
        }
        if self.reasons & POWER_CAP != 0 {
            bench.note("the power limit was reached, as full load does".to_owned());
        }
    }
}

/// Tensor cores busy from registers on random data, until the time is over. Answers must agree, speed must hold.
pub(super) fn soak(bench: &mut Bench<'_>) -> Done {
    let blocks = bench.blocks();
    let tile = u64::from(TILE * TILE);
    let halves = |tiles: u64, key| -> Vec<u8> {
        unanimity::mantissas(tiles * tile, key).iter().flat_map(|half| half.to_le_bytes()).collect()
    };
    let seed = bench.order.seed;
    let (left, right) =
        (upload(bench.device, &halves(LEFT_TILES, mix(seed)))?, upload(bench.device, &halves(2, mix(!seed)))?);
    let count = blocks as usize;
    let (sums, who) = (zeroed(bench.device, count)?, zeroed(bench.device, count)?);
    let kernel = |rounds| Kernel::Load { left: left.at, right: right.at, rounds, sums: sums.at, who: who.at };
    let trial = bench.device.run(blocks, &kernel(1))?;
    let trial = bench.device.run(blocks, &kernel(16))?.min(trial * 16.0);
    let rounds = (16.0 * STRIDE / trial.max(1e-7)).clamp(1.0, 1e9) as u64;
    let wanted = f64::from(bench.order.measure.max(1));
    let (mut worked, mut rates, mut weather) = (0.0, Vec::new(), Weather::default());
    let began = bench.device.clock();
    let mut wrong = BTreeSet::new();
    while worked < wanted {
        let share = (worked / wanted * 100.0) as u32;
        (bench.say)(share, 100, "load");
        bench.device.write(sums.at, &vec![0; count * 8])?;
        let took = bench.device.run(blocks, &kernel(rounds))?.max(1e-6);
        worked = bench.device.clock() - began;
        // Eight warps, four products of 64 a round, 2 · 16³ operations each.
        let operations = rounds * u64::from(blocks) * 8 * 4 * 64 * 8192;
        rates.push(gigabytes(operations, took) / 1e3);
        let answers = download(bench.device, sums, count)?;
        if let Some((_, others)) = unanimity::dissenters(&answers).filter(|(_, others)| !others.is_empty()) {
            let processors = download(bench.device, who, count)?;
            wrong.extend(others.iter().map(|at| processors[*at]));
        }
        if let Some(reading) = bench.device.reading() {
            weather.note(&reading);
        }
    }
    weather.tell(bench);
    bench.figure("load", median(&rates).unwrap_or(0.0), Unit::TeraopsPerSecond);
    let drift = drift(&rates);
    bench.figure("drift", drift, Unit::Percent);
    let mut verdict = Verdict::Passed;
    if !wrong.is_empty() {
        let processors: Vec<String> = wrong.iter().take(8).map(u64::to_string).collect();
        let said = format!("under load, processor {} disagrees with most", processors.join(", "));
        verdict = verdict.and(Verdict::failed(Code::Dissent, said));
    }
    if weather.reasons & TROUBLE != 0 {
        let said = format!("it throttled for heat or power trouble (reasons {:#x})", weather.reasons & TROUBLE);
        verdict = verdict.and(Verdict::failed(Code::Drift, said));
    } else if drift > MOST_DRIFT {
        verdict = verdict.and(Verdict::failed(Code::Drift, format!("it grew slower by {drift:.1} % under load")));
    }
    Ok(verdict)
}

/// How much slower the last third is than the second one, in percent; the first third warms up. Never negative.
fn drift(rates: &[f64]) -> f64 {
    let third = rates.len() / 3;
    if third == 0 {
        return 0.0;
    }
    let middle = median(&rates[third..2 * third]).unwrap_or(0.0);
    let last = median(&rates[2 * third..]).unwrap_or(0.0);
    if middle > 0.0 { ((middle - last) / middle * 100.0).max(0.0) } else { 0.0 }
}

/// A tiny kernel launched and waited for, many times.
pub(super) fn latency(bench: &mut Bench<'_>) -> Done {
    let word = zeroed(bench.device, 2)?;
    let launches = bench.order.measure.clamp(10, 100_000);
    (bench.say)(0, 1, "launches");
    let kernel = Kernel::Answer { at: word.at, word: 1 };
    bench.device.round_trip(&kernel)?;
    let mut took = Vec::new();
    for _ in 0..launches {
        took.push(bench.device.round_trip(&kernel)? * 1e6);
    }
    took.sort_unstable_by(f64::total_cmp);
    bench.figure("launch_and_wait", median(&took).unwrap_or(0.0), Unit::Microseconds);
    let rare = took.len() * 99 / 100;
    bench.figure("launch_and_wait_99", took.get(rare).copied().unwrap_or(0.0), Unit::Microseconds);
    Ok(Verdict::Passed)
}

#[cfg(test)]
mod tests {
    use super::drift;

    #[test]
    fn drift_is_the_loss_after_warming_up() {
        let rates = |last: f64| [[5.0; 10], [10.0; 10], [last; 10]].concat();
        assert!(drift(&rates(10.0)).abs() < 1e-9 && drift(&rates(11.0)).abs() < 1e-9);
        assert!((drift(&rates(9.0)) - 10.0).abs() < 1e-9);
        assert!(drift(&[]).abs() < 1e-9);
    }
}
