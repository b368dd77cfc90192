//! What is new in what a node tells: Xids that were not told before, counters that rose, flags that went up. In memory and
//! bounded; a mill that starts anew hears everything again, and the evidence on file tells what it knew. It refuses to see a
//! rise where it does not know the value before.
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Told;
use crate::base::ids::NodeId;
use crate::base::telemetry::GpuReading;
use crate::base::text::without_control;
use crate::base::window::{Instant, Span};
use crate::base::xid::{LONGEST_TEXT, MOST_XIDS, XidFact};
use crate::domain::fleet::evidence::Fault;
use crate::domain::fleet::hardware::MOST_GPUS;
use crate::domain::fleet::health::{Remedy, Signal};

/// Xids that are remembered of a node, so that they are told once.
const REMEMBERED: usize = 4 * MOST_XIDS;
/// News that are taken from a node within [`PACE`]: enough for a machine whose every GPU fails, too few to fill a disk.
const MOST_NEWS: usize = 100;
const PACE: Span = Span::from_hours(1);
/// Moments at which a GPU answered that are remembered.
const ALIVE: usize = 32;
/// NVML's bits for being slowed by the hardware: slowdown, heat, power brake.
const SLOWED: u64 = 0x8 | 0x40 | 0x80;
/// So many slowed readings within [`SLOWED_WITHIN`] are a sign.
const SLOWED_TIMES: usize = 6;
const SLOWED_WITHIN: Span = Span::from_minutes(10);
/// Replays of a PCIe link in a minute above which it is a sign (the formula of NVIDIA's monitor for 16 lanes of the fifth
/// generation; slower links have less).
const REPLAYS_PER_MINUTE: u64 = 31;

/// Something new about one GPU.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// The GPU's UUID, by the node's word; instances of it are found by their parent.
    pub uuid: String,
    /// By the mill's clock, never in the future.
    pub at: Instant,
    /// When the GPU last answered before that; `None` where it was not heard of.
    pub proof: Option<Instant>,
    pub what: What,
}

/// What it is.
#[derive(Clone, Debug)]
pub enum What {
    Xid(XidFact),
    Counter {
        what: &'static str,
        before: u64,
        after: u64,
        signal: Signal,
        fault: Fault,
        /// Its rule is on trial.
        trial: bool,
    },
}

/// All nodes.
#[derive(Default)]
pub struct Sieve(Mutex<HashMap<NodeId, Heard>>);

/// One node.
#[derive(Default)]
struct Heard {
    xids: VecDeque<(String, u32, Instant)>,
    gpus: HashMap<String, Last>,
    kernel_log: Option<String>,
    news: VecDeque<Instant>,
}

/// One GPU.
#[derive(Default)]
struct Last {
    alive: VecDeque<Instant>,
    ecc_uncorrected: Option<u64>,
    pending: bool,
    failed: bool,
    slowed: VecDeque<Instant>,
    replays: Option<(u64, Instant)>,
}

impl Sieve {
    fn nodes(&self) -> MutexGuard<'_, HashMap<NodeId, Heard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn kernel_log(&self, node: NodeId) -> Option<String> {
        self.nodes().get(&node).and_then(|heard| heard.kernel_log.clone())
    }

    /// What is new.
    pub fn sift(&self, node: NodeId, told: Told<'_>, offset: Span, now: Instant) -> Vec<Sighting> {
        let mut nodes = self.nodes();
        let heard = nodes.entry(node).or_default();
        heard.kernel_log = told.kernel_log.map(|why| without_control(&why).chars().take(LONGEST_TEXT).collect());
        let mut news = Vec::new();
        // Before the readings of the same moment: what answered after the fault is no proof of life before it.
        for fact in told.xids.into_iter().take(MOST_XIDS) {
            news.extend(heard.xid(fact, offset, now));
        }
        for reading in told.gpus.iter().take(MOST_GPUS) {
            if heard.gpus.len() < 2 * MOST_GPUS || heard.gpus.contains_key(&reading.uuid) {
                heard.gpus.entry(reading.uuid.clone()).or_default().read(reading, now, &mut news);
            }
        }
        heard.paced(node, news, now)
    }
}

impl Heard {
    fn xid(&mut self, mut fact: XidFact, offset: Span, now: Instant) -> Option<Sighting> {
        let key = (fact.uuid.clone(), fact.code, fact.at);
        if self.xids.contains(&key) {
            return None;
        }
        if self.xids.len() == REMEMBERED {
            self.xids.pop_front();
        }
        self.xids.push_back(key);
        let at = fact.at.plus(offset).min(now);
        fact.text = without_control(&fact.text).replace(['\t', '\n'], " ").chars().take(LONGEST_TEXT).collect();
        fact.at = at;
        let alive = self.gpus.get(&fact.uuid).map(|last| &last.alive);
        let proof = alive.and_then(|alive| alive.iter().rev().find(|alive| **alive <= at).copied());
        Some(Sighting { uuid: fact.uuid.clone(), at, proof, what: What::Xid(fact) })
    }

    /// No more than is believed of one node.
    fn paced(&mut self, node: NodeId, mut news: Vec<Sighting>, now: Instant) -> Vec<Sighting> {
        self.news.retain(|at| now.since(*at) < PACE);
        let room = MOST_NEWS - self.news.len().min(MOST_NEWS);
        if news.len() > room {
            tracing::warn!(%node, left_out = news.len() - room, "a node tells more of its GPUs than is written down");
            news.truncate(room);
        }
        self.news.extend(news.iter().map(|_| now));
        news
    }
}

/// A reading in which the driver said anything at all.
const fn answered(reading: &GpuReading) -> bool {
    reading.temperature.is_some() || reading.memory_used_bytes.is_some() || reading.utilisation.is_some()
}

impl Last {
    fn read(&mut self, reading: &GpuReading, now: Instant, news: &mut Vec<Sighting>) {
        let proof = self.alive.back().copied();
        let mut see = |what, before, after, signal, fault, trial| {
            let what = What::Counter { what, before, after, signal, fault, trial };
            news.push(Sighting { uuid: reading.uuid.clone(), at: now, proof, what });
        };
        if let Some(after) = reading.ecc_uncorrected {
            // A driver that was loaded anew counts from zero.
            if let Some(before) = self.ecc_uncorrected.filter(|before| *before < after) {
                let what = format!("{} errors of memory that could not be corrected", after - before);
                see("uncorrected memory errors", before, after, Signal::Soft { what }, Fault::Degraded, false);
            }
            self.ecc_uncorrected = Some(after);
        }
        if let Some(rows) = reading.remapped {
            if rows.failed && !self.failed {
                let what = "rows of memory can no longer be replaced".to_owned();
                let signal = Signal::Hard { what, remedy: Remedy::Person };
                see("failed row remapping", 0, 1, signal, Fault::Hardware, false);
            }
            if rows.pending && !self.pending {
                let what = "a row of memory waits for a reset to be replaced".to_owned();
                see("pending row remapping", 0, 1, Signal::Boundary { what }, Fault::Nothing, false);
            }
            (self.failed, self.pending) = (rows.failed, rows.pending);
        }
        if reading.throttle_reasons.is_some_and(|reasons| reasons & SLOWED != 0) {
            self.slowed.push_back(now);
            self.slowed.retain(|at| now.since(*at) < SLOWED_WITHIN);
            if self.slowed.len() >= SLOWED_TIMES {
                let count = self.slowed.len() as u64;
                let what = format!("slowed by its hardware in {count} readings of ten minutes");
                self.slowed.clear();
                see("hardware slowdowns", 0, count, Signal::Soft { what }, Fault::Nothing, true);
            }
        }
        if let Some(after) = reading.pcie_replays {
            if let Some((before, since)) = self.replays {
                let millis = now.since(since).as_millis().max(1).unsigned_abs();
                let rose = after.saturating_sub(before);
                if rose.saturating_mul(60_000) / millis > REPLAYS_PER_MINUTE && rose > REPLAYS_PER_MINUTE {
                    let what = format!("its PCIe link repeated {rose} packets in {} s", millis / 1000);
                    see("PCIe replays", before, after, Signal::Soft { what }, Fault::Nothing, true);
                }
            }
            let due = self.replays.is_none_or(|(_, since)| now.since(since) >= Span::from_minutes(1));
            if due {
                self.replays = Some((after, now));
            }
        }
        if answered(reading) {
            if self.alive.len() == ALIVE {
                self.alive.pop_front();
            }
            self.alive.push_back(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::telemetry::RemappedRows;
    use crate::base::xid::{Detail, Told as Source};

    const NODE: NodeId = NodeId::from_u128(1);

    fn at(seconds: i64) -> Instant {
        Instant::from_seconds(seconds)
    }

    fn xid(code: u32, seconds: i64) -> XidFact {
        let (uuid, told, text) = ("GPU-a".to_owned(), Source::Kernel, "gone\u{7}".to_owned());
        XidFact { uuid, code, at: at(seconds), told, pid: None, detail: Detail::Plain, text }
    }

    fn reading() -> GpuReading {
        GpuReading { uuid: "GPU-a".to_owned(), temperature: Some(40), ..GpuReading::default() }
    }

    fn sift(sieve: &Sieve, gpus: &[GpuReading], xids: Vec<XidFact>, now: i64) -> Vec<Sighting> {
        let told = Told { gpus, xids, kernel_log: None, clock: at(now) };
        sieve.sift(NODE, told, Span::ZERO, at(now))
    }

    fn counters(sightings: &[Sighting]) -> Vec<&'static str> {
        let name = |sighting: &Sighting| match sighting.what {
            What::Counter { what, .. } => Some(what),
            What::Xid(_) => None,
        };
        sightings.iter().filter_map(name).collect()
    }

    #[test]
    fn an_xid_is_news_once_with_the_last_proof_of_life_before_it() {
        let sieve = Sieve::default();
        for now in [100, 110, 120] {
            assert!(sift(&sieve, &[reading()], Vec::new(), now).is_empty());
        }
        let silent = GpuReading { uuid: "GPU-a".to_owned(), ..GpuReading::default() };
        assert!(sift(&sieve, std::slice::from_ref(&silent), Vec::new(), 300).is_empty());
        let news = sift(&sieve, std::slice::from_ref(&silent), vec![xid(79, 299)], 310);
        assert_eq!((news.len(), news[0].at, news[0].proof), (1, at(299), Some(at(120))));
        let What::Xid(fact) = &news[0].what else { panic!("{news:?}") };
        assert_eq!(fact.text, "gone");
        assert!(sift(&sieve, &[silent], vec![xid(79, 299)], 320).is_empty(), "told again");
        let early = sift(&sieve, &[], vec![xid(48, 115)], 330);
        assert_eq!(early[0].proof, Some(at(110)));
        assert_eq!(sift(&sieve, &[], vec![xid(48, 9999)], 340)[0].at, at(340), "never in the future");
    }

    #[test]
    fn counters_count_by_their_change_and_flags_once() {
        let sieve = Sieve::default();
        let rows = |pending, failed| Some(RemappedRows { corrected: 1, uncorrected: 1, pending, failed });
        let read = |ecc, remapped| GpuReading { ecc_uncorrected: Some(ecc), remapped, ..reading() };
        assert!(sift(&sieve, &[read(7, rows(false, false))], Vec::new(), 10).is_empty(), "what was before is no rise");
        let seen = sift(&sieve, &[read(8, rows(true, false))], Vec::new(), 20);
        assert_eq!(counters(&seen), ["uncorrected memory errors", "pending row remapping"]);
        assert!(sift(&sieve, &[read(8, rows(true, false))], Vec::new(), 30).is_empty());
        assert!(sift(&sieve, &[read(0, rows(true, false))], Vec::new(), 40).is_empty(), "the driver was loaded anew");
        assert_eq!(counters(&sift(&sieve, &[read(0, rows(true, true))], Vec::new(), 50)), ["failed row remapping"]);
    }

    #[test]
    fn slowdowns_and_replays_are_seen_by_rules_on_trial() {
        let sieve = Sieve::default();
        let slow = GpuReading { throttle_reasons: Some(0x40), ..reading() };
        let mut seen = Vec::new();
        for now in 0..6 {
            seen.extend(sift(&sieve, std::slice::from_ref(&slow), Vec::new(), now * 10));
        }
        assert_eq!(counters(&seen), ["hardware slowdowns"]);
        assert!(matches!(seen[0].what, What::Counter { trial: true, .. }));
        let replays = |count| GpuReading { pcie_replays: Some(count), ..reading() };
        assert!(sift(&sieve, &[replays(1000)], Vec::new(), 100).is_empty());
        assert!(sift(&sieve, &[replays(1010)], Vec::new(), 160).is_empty());
        assert_eq!(counters(&sift(&sieve, &[replays(1100)], Vec::new(), 220)), ["PCIe replays"]);
    }

    #[test]
    fn a_node_that_talks_without_end_is_not_written_down_without_end() {
        let sieve = Sieve::default();
        let mut news = 0;
        for round in 0..1000u32 {
            let xids = (0..64).map(|number| xid(1 + round * 64 + number, i64::from(round))).collect();
            news += sift(&sieve, &[], xids, i64::from(round)).len();
        }
        assert_eq!(news, MOST_NEWS);
        assert!(sieve.nodes()[&NODE].xids.len() <= REMEMBERED);
    }
}
