//! What a GPU did between two looks: how much of the time its parts were busy, by the driver's profiler where there is one
//! (GPM, from Hopper on), and what passed over its links. Both are differences, so the look before is remembered. It
//! refuses to say anything of a first look, and of one that is too long ago to be of the same time.
use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Monotonic};

use nvml_wrapper::enums::gpm::GpmMetricId;
use nvml_wrapper::gpm::gpm_metrics_get;
use nvml_wrapper::struct_wrappers::gpm::GpmMetricResult;
use nvml_wrapper::{Device, GpmSample, Nvml};

use super::links;
use crate::base::telemetry::{Activity, GpuReading};

/// Closer samples than this mean nothing (nvml.h).
const NEAREST: Duration = Duration::from_millis(100);
/// A look before this is of another time: readings were away meanwhile.
const FARTHEST: Duration = Duration::from_secs(60);
/// What is asked of the profiler.
const METRICS: [GpmMetricId; 8] = [
    GpmMetricId::GraphicsUtil,
    GpmMetricId::SmUtil,
    GpmMetricId::AnyTensorUtil,
    GpmMetricId::DramBwUtil,
    GpmMetricId::PcieTxPerSec,
    GpmMetricId::PcieRxPerSec,
    GpmMetricId::NvlinkTotalTxPerSec,
    GpmMetricId::NvlinkTotalRxPerSec,
];
const MIB: f64 = 1_048_576.0;

/// The looks before, by UUID.
#[derive(Default)]
pub(super) struct Looks(Mutex<HashMap<String, Look>>);

struct Look {
    at: Monotonic,
    sample: Option<Kept>,
    /// Bytes over all links since the driver was loaded, sent and received.
    linked: Option<(u64, u64)>,
}

impl Looks {
    fn known(&self) -> MutexGuard<'_, HashMap<String, Look>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives back what belongs to a library that is to be closed.
    pub fn forget(&self) {
        let known = std::mem::take(&mut *self.known());
        drop(known);
    }

    /// Adds to a whole GPU's reading what it did since the look before.
    pub fn add_to(&self, nvml: &Arc<Nvml>, device: &Device<'_>, reading: GpuReading) -> GpuReading {
        let sample = device.gpm_support().is_ok_and(|there| there).then(|| device.gpm_sample().ok()).flatten();
        let sample = sample.map(|sample| Kept::of(nvml, sample));
        let look = Look { at: Monotonic::now(), sample, linked: links::bytes(nvml, device) };
        // Nothing is locked while the driver is asked: it may hang.
        let before = self.known().remove(&reading.uuid);
        let activity = before.map(|before| since(&before, &look)).unwrap_or_default();
        let (sent, received) = look.linked.unzip();
        self.known().insert(reading.uuid.clone(), look);
        GpuReading { activity, nvlink_sent_bytes: sent, nvlink_received_bytes: received, ..reading }
    }
}

fn since(before: &Look, now: &Look) -> Activity {
    let between = now.at.saturating_duration_since(before.at);
    if !(NEAREST..=FARTHEST).contains(&between) {
        return Activity::default();
    }
    let mut activity = match (&before.sample, &now.sample) {
        (Some(before), Some(now)) => now.after(before),
        _ => Activity::default(),
    };
    // The profiler's own word comes first; a counter that fell was set to zero by somebody.
    let rate = |before: u64, now: u64| Some((now.checked_sub(before)? as f64 / between.as_secs_f64()) as u64);
    if let (Some(before), Some(now)) = (before.linked, now.linked) {
        activity.nvlink_sent = activity.nvlink_sent.or_else(|| rate(before.0, now.0));
        activity.nvlink_received = activity.nvlink_received.or_else(|| rate(before.1, now.1));
    }
    activity
}

/// A sample with the library that it belongs to.
struct Kept {
    nvml: Arc<Nvml>,
    /// NVML's handle as an address: it is handed from one thread of the watchdog to the next, never used by two.
    handle: usize,
}

impl Kept {
    fn of(nvml: &Arc<Nvml>, sample: GpmSample<'_>) -> Self {
        Self { nvml: Arc::clone(nvml), handle: sample.into_handle().expose_provenance() }
    }

    /// To be dropped once at most: that gives the sample back to the library.
    #[allow(unsafe_code)]
    fn sample(&self) -> GpmSample<'_> {
        // SAFETY: `handle` came from `into_handle` of a sample of this very library, which `nvml` keeps open, and is given
        // back by nobody but `Drop`.
        unsafe { GpmSample::from_handle(&self.nvml, std::ptr::with_exposed_provenance_mut(self.handle)) }
    }

    /// What the profiler says of the time between an earlier sample and this one.
    fn after(&self, before: &Self) -> Activity {
        if !Arc::ptr_eq(&self.nvml, &before.nvml) {
            return Activity::default();
        }
        let (first, second) = (ManuallyDrop::new(before.sample()), ManuallyDrop::new(self.sample()));
        let Ok(answers) = gpm_metrics_get(&self.nvml, &first, &second, &METRICS) else { return Activity::default() };
        let answers: Vec<GpmMetricResult> = answers.into_iter().flatten().filter(|one| one.value.is_finite()).collect();
        let find = |id| answers.iter().find(|one| one.metric_id == id);
        let share = |id| find(id).map(|one| (one.value.clamp(0.0, 100.0) * 10.0).round() as u32);
        // nvml.h counts MiB; a driver that counts otherwise says so.
        let bytes = |id| {
            find(id).map(|one| (one.value.max(0.0) * if one.metric_info.unit == "B/s" { 1.0 } else { MIB }) as u64)
        };
        Activity {
            graphics: share(GpmMetricId::GraphicsUtil),
            sm: share(GpmMetricId::SmUtil),
            tensor: share(GpmMetricId::AnyTensorUtil),
            dram: share(GpmMetricId::DramBwUtil),
            pcie_sent: bytes(GpmMetricId::PcieTxPerSec),
            pcie_received: bytes(GpmMetricId::PcieRxPerSec),
            nvlink_sent: bytes(GpmMetricId::NvlinkTotalTxPerSec),
            nvlink_received: bytes(GpmMetricId::NvlinkTotalRxPerSec),
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop(self.sample());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(at: Monotonic, seconds: u64, linked: Option<(u64, u64)>) -> Look {
        Look { at: at + Duration::from_secs(seconds), sample: None, linked }
    }

    #[test]
    fn counters_become_rates_and_one_that_fell_says_nothing() {
        let at = Monotonic::now();
        let first = look(at, 0, Some((1000, 500)));
        let rates = |next: &Look| {
            let Activity { nvlink_sent, nvlink_received, .. } = since(&first, next);
            (nvlink_sent, nvlink_received)
        };
        assert_eq!(rates(&look(at, 10, Some((21_000, 500)))), (Some(2000), Some(0)));
        assert_eq!(rates(&look(at, 10, Some((0, 600)))), (None, Some(10)));
        assert_eq!(rates(&look(at, 10, None)), (None, None));
        assert_eq!(rates(&look(at, 0, Some((9000, 9000)))), (None, None), "too near");
        assert_eq!(rates(&look(at, 61, Some((9000, 9000)))), (None, None), "too far");
    }
}
