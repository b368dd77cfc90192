//! The Xids of this node's GPUs from both sources, one fact for each occurrence: the kernel's log, which knows buses, and
//! the driver's events, which know UUIDs and a number. A GPU that is gone is told of by the name it had. It refuses to
//! judge, and to tell of a GPU that was never seen here.
use std::collections::BTreeMap;

use super::gpu::events::Announced;
use super::kernel_log::Written;
use crate::base::hardware::{ObservedGpu, UnitShape};
use crate::base::xid::{Detail, MOST_XIDS, Told, XidFact};

/// Which GPU sits where, for as long as the agent runs: one that fell off the bus is not seen any more.
#[derive(Debug, Default)]
pub struct Buses(BTreeMap<String, String>);

impl Buses {
    /// Remembers where the GPUs are.
    pub fn learn(&mut self, gpus: &[ObservedGpu]) {
        for gpu in gpus {
            let Some(bus) = &gpu.pci_bus else { continue };
            let whole = match &gpu.shape {
                UnitShape::Gpu => &gpu.uuid,
                UnitShape::Mig { parent_uuid, .. } => parent_uuid,
            };
            self.0.insert(key(bus), whole.clone());
        }
    }

    fn gpu(&self, bus: &str) -> Option<&String> {
        self.0.get(&key(bus))
    }
}

/// A bus in one form: NVML writes `00000000:3B:00.0`, the log `0000:3b:00`.
fn key(bus: &str) -> String {
    let bus = bus.to_ascii_lowercase();
    let bus = bus.split('.').next().unwrap_or_default();
    let mut parts: Vec<&str> = bus.split(':').collect();
    let domain = if parts.len() == 3 { parts.remove(0).trim_start_matches('0') } else { "" };
    format!("{domain}:{}", parts.join(":"))
}

/// What both sources tell, oldest first, at most [`MOST_XIDS`].
pub fn gather(buses: &Buses, log: Vec<Written>, announced: Vec<Announced>) -> Vec<XidFact> {
    let mut facts: Vec<XidFact> = log
        .into_iter()
        .filter_map(|Written { at, line }| {
            let uuid = buses.gpu(&line.bus)?.clone();
            let told = Told::Kernel;
            Some(XidFact { uuid, code: line.code, at, told, pid: line.pid, detail: line.detail, text: line.text })
        })
        .collect();
    for Announced { uuid, number, at } in announced {
        let Ok(code) = u32::try_from(number) else { continue };
        let (detail, text) = (Detail::Plain, String::new());
        let fact = XidFact { uuid, code, at, told: Told::Driver, pid: None, detail, text };
        // The log says more of the same.
        if !facts.iter().any(|known| known.is_same(&fact)) {
            facts.push(fact);
        }
    }
    facts.sort_by_key(|fact| fact.at);
    facts.drain(..facts.len().saturating_sub(MOST_XIDS));
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::window::Instant;
    use crate::base::xid;

    fn gpu(bus: &str, uuid: &str) -> ObservedGpu {
        ObservedGpu { pci_bus: Some(bus.to_owned()), uuid: uuid.to_owned(), ..ObservedGpu::default() }
    }

    fn written(seconds: i64, bus: &str, said: &str) -> Written {
        let line = xid::line(&format!("NVRM: Xid (PCI:{bus}): {said}")).unwrap();
        Written { at: Instant::from_seconds(seconds), line }
    }

    fn announced(seconds: i64, uuid: &str, number: u64) -> Announced {
        Announced { uuid: uuid.to_owned(), number, at: Instant::from_seconds(seconds) }
    }

    #[test]
    fn one_occurrence_is_one_fact_with_the_logs_words() {
        let mut buses = Buses::default();
        buses.learn(&[gpu("00000000:3B:00.0", "GPU-a"), gpu("00000001:3B:00.0", "GPU-b")]);
        // It fell off the bus, and the next look does not see it.
        buses.learn(&[gpu("00000001:3B:00.0", "GPU-b")]);
        let log = vec![
            written(100, "0000:3b:00", "79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."),
            written(101, "0001:3b:00", "145, RLW_REMAP Nonfatal XC0 i0 Link 05 (0x00000004 0x00000001)"),
            written(102, "0000:ff:00", "79, nobody's"),
        ];
        let events = vec![announced(101, "GPU-a", 79), announced(103, "GPU-b", 145), announced(300, "GPU-b", 31)];
        let facts = gather(&buses, log, events);
        let told: Vec<(&str, u32, Told)> =
            facts.iter().map(|fact| (fact.uuid.as_str(), fact.code, fact.told)).collect();
        assert_eq!(told, [("GPU-a", 79, Told::Kernel), ("GPU-b", 145, Told::Kernel), ("GPU-b", 31, Told::Driver)]);
        assert!(matches!(facts[1].detail, Detail::NvLink { .. }));
    }

    #[test]
    fn a_storm_leaves_the_last_ones() {
        let events = (0..1000).map(|number| announced(i64::try_from(number).unwrap() * 10, "GPU-a", number)).collect();
        let facts = gather(&Buses::default(), Vec::new(), events);
        assert_eq!((facts.len(), facts.last().map(|fact| fact.code)), (MOST_XIDS, Some(999)));
    }
}
