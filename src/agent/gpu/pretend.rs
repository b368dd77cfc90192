//! What simulated GPUs read, so that an evaluation's charts show something that follows its own bookings: idle without work,
//! busy with it, warm slowly and cold slowly. It refuses randomness: the same GPU at the same moment with the same work
//! reads the same.
use std::collections::HashMap;

use crate::base::hardware::ObservedGpu;
use crate::base::ids::LeaseId;
use crate::base::telemetry::{Activity, GpuReading, RemappedRows, SAMPLE_EVERY};
use crate::base::window::Instant;

/// Seconds in which a GPU comes two thirds nearer to the temperature of its work.
const WARMING: f64 = 75.0;
/// Watts of an idle H200 and what full work adds, roughly.
const IDLE_WATTS: f64 = 74.0;
const WORK_WATTS: f64 = 560.0;
/// Loading takes so many seconds, every checkpoint so many of each so many.
const LOADING: i64 = 40;
const CHECKPOINT: (i64, i64) = (20, 420);
/// NVML's bits: idle, and held back by the power limit.
const REASON_IDLE: u64 = 0x1;
const REASON_POWER: u64 = 0x4;

/// What runs on a GPU on paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    pub lease: LeaseId,
    pub since: Instant,
}

/// Remembers how warm each GPU is and what it has used.
#[derive(Default)]
pub struct Pretence {
    known: HashMap<String, Warmth>,
}

#[derive(Clone, Copy)]
struct Warmth {
    at: Instant,
    /// From 0 (as cold as the room lets it) to 1.
    heat: f64,
    joules: f64,
}

impl Pretence {
    /// What the GPU reads at `at`; to be asked in the order of time.
    pub fn read(&mut self, gpu: &ObservedGpu, work: Option<Work>, at: Instant) -> GpuReading {
        let own = seed(&gpu.uuid, 0);
        let load = work.map_or(0.0, |work| load(&gpu.uuid, work, at));
        let watts = IDLE_WATTS + 12.0 * own + load * (WORK_WATTS - 40.0 * own) + 9.0 * (noise(&gpu.uuid, at, 1) - 0.5);
        let before = self.known.get(&gpu.uuid).copied();
        let warm = before.map_or(Warmth { at, heat: load, joules: 0.0 }, |before| {
            let seconds = at.since(before.at).as_millis().clamp(0, 600_000) as f64 / 1000.0;
            let nearer = 1.0 - (-seconds / WARMING).exp();
            Warmth { at, heat: before.heat + (load - before.heat) * nearer, joules: before.joules + watts * seconds }
        });
        self.known.insert(gpu.uuid.clone(), warm);
        let celsius = 28.0 + 4.0 * own + (31.0 + 5.0 * own) * warm.heat + noise(&gpu.uuid, at, 2);
        let used = held(gpu, work, at);
        GpuReading {
            uuid: gpu.uuid.clone(),
            utilisation: Some((load * 100.0).round() as u32),
            memory_activity: Some((load * (38.0 + 20.0 * own)).round() as u32),
            memory_used_bytes: Some(used),
            memory_free_bytes: Some(gpu.memory_bytes.saturating_sub(used)),
            temperature: Some(celsius.round() as u32),
            memory_temperature: Some((celsius + 5.0 + 7.0 * warm.heat).round() as u32),
            power_milliwatts: Some((watts * 1000.0).round() as u64),
            energy_millijoules: Some((warm.joules * 1000.0).round() as u64),
            sm_clock_mhz: Some(if load > 0.0 { 1980 - (60.0 * load * own) as u32 } else { 345 }),
            memory_clock_mhz: Some(3201),
            throttle_reasons: Some(match load {
                0.0 => REASON_IDLE,
                _ if watts > 620.0 => REASON_POWER,
                _ => 0,
            }),
            ecc_corrected: Some(0),
            ecc_uncorrected: Some(0),
            remapped: Some(RemappedRows::default()),
            pcie_replays: Some(0),
            last_xid: None,
            nvlink_sent_bytes: None,
            nvlink_received_bytes: None,
            activity: activity(gpu, load, own),
            processes: Some(Vec::new()),
        }
    }
}

/// What a profiler would say of this load: training, mostly on the tensor cores, which talks to its peers where there are any.
fn activity(gpu: &ObservedGpu, load: f64, own: f64) -> Activity {
    let share = |part: f64| Some((load * part * 1000.0).round() as u32);
    let bytes = |part: f64| Some((load * part * 1e9).round() as u64);
    let linked = (!gpu.nvlink_peers.is_empty() || gpu.nvswitch).then_some(());
    Activity {
        graphics: share(1.0),
        sm: share(0.86 + 0.1 * own),
        tensor: share(0.42 + 0.2 * own),
        dram: share(0.38 + 0.2 * own),
        pcie_sent: bytes(0.4),
        pcie_received: bytes(1.6),
        nvlink_sent: linked.and_then(|()| bytes(90.0 + 40.0 * own)),
        nvlink_received: linked.and_then(|()| bytes(90.0 + 40.0 * own)),
    }
}

/// How busy the work keeps the GPU: little while it loads, nearly full then, with a dip at each checkpoint.
fn load(uuid: &str, work: Work, at: Instant) -> f64 {
    let seconds = at.since(work.since).as_seconds().max(0);
    let jitter = noise(uuid, at, 3);
    let into = (seconds - LOADING) % CHECKPOINT.1;
    match seconds {
        early if early < LOADING => 0.08 + 0.2 * jitter,
        _ if into < CHECKPOINT.0 && seconds > CHECKPOINT.1 => 0.2 + 0.25 * jitter,
        _ => 0.9 + 0.09 * jitter,
    }
}

/// Bytes in use: little without work, a share of the memory that is the work's own with it, filled while it loads.
fn held(gpu: &ObservedGpu, work: Option<Work>, at: Instant) -> u64 {
    let idle = (gpu.memory_bytes as f64 * 0.004) as u64;
    let Some(work) = work else { return idle };
    let share = 0.55 + 0.37 * seed(&work.lease.to_string(), 4);
    let filled = (at.since(work.since).as_seconds().clamp(0, LOADING) as f64 / LOADING as f64).max(0.05);
    idle + (gpu.memory_bytes as f64 * share * filled) as u64
}

/// Between 0 and 1, another one at each sample.
fn noise(of: &str, at: Instant, salt: u64) -> f64 {
    seed(of, salt ^ (at.as_millis() / SAMPLE_EVERY.as_millis()).unsigned_abs().wrapping_mul(0x9e37_79b9))
}

/// Between 0 and 1, always the same for the same text and salt (FNV-1a, then splitmix64's finish).
fn seed(of: &str, salt: u64) -> f64 {
    let mut hash = of.bytes().fold(0xcbf2_9ce4_8422_2325_u64 ^ salt, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((hash ^ (hash >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::super::simulated;
    use super::*;

    fn hour_of(work: Option<Work>) -> Vec<GpuReading> {
        let gpu = &simulated::gpus("test", 1)[0];
        let mut pretence = Pretence::default();
        (0..360).map(|step| pretence.read(gpu, work, Instant::from_seconds(1_000_000 + step * 10))).collect()
    }

    #[test]
    fn an_idle_gpu_is_cold_and_empty() {
        for reading in hour_of(None) {
            assert_eq!(reading.utilisation, Some(0));
            assert!(reading.temperature.unwrap() < 36 && reading.power_milliwatts.unwrap() < 100_000);
            assert_eq!(reading.processes, Some(Vec::new()));
        }
    }

    #[test]
    fn work_shows_within_reason_and_the_same_each_time() {
        let work = Some(Work { lease: LeaseId::from_u128(5), since: Instant::from_seconds(1_000_000) });
        let hour = hour_of(work);
        assert_eq!(hour, hour_of(work));
        let late = &hour[350];
        assert!(late.utilisation.unwrap() > 15 && late.temperature.unwrap() > 50, "{late:?}");
        for reading in &hour {
            assert!(reading.utilisation.unwrap() <= 100 && reading.power_milliwatts.unwrap() < 700_000);
            assert!(reading.temperature.unwrap() < 85);
            let both = reading.memory_used_bytes.unwrap() + reading.memory_free_bytes.unwrap();
            assert_eq!(both, simulated::gpus("test", 1)[0].memory_bytes);
        }
        let energy: Vec<u64> = hour.iter().map(|reading| reading.energy_millijoules.unwrap()).collect();
        assert!(energy.is_sorted() && energy[359] > 1_000_000_000, "about 600 W for an hour are 2 MJ");
    }

    #[test]
    fn what_worked_cools_slowly() {
        let gpu = &simulated::gpus("test", 1)[0];
        let start = Instant::from_seconds(1_000_000);
        let at = |seconds| start.plus(crate::base::window::Span::from_seconds(seconds));
        let mut pretence = Pretence::default();
        let work = Work { lease: LeaseId::from_u128(5), since: start.minus(crate::base::window::Span::from_hours(1)) };
        let hot = pretence.read(gpu, Some(work), at(0)).temperature.unwrap();
        let after = pretence.read(gpu, None, at(10)).temperature.unwrap();
        let cold = pretence.read(gpu, None, at(610)).temperature.unwrap();
        assert!(hot - after < 10 && after > cold + 15, "{hot}, {after}, {cold}");
    }
}
