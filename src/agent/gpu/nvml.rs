//! The NVIDIA driver as one thing that may hang, lose a GPU or go away: every call runs under the watchdog, one GPU at a
//! time, so that a GPU that does not answer costs its own readings and no others'. It refuses to fill gaps: what the
//! driver does not say stays `None`.
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::inventory::{self, Found, Links};
use super::profile::Looks;
use super::watchdog::{Hangs, Watchdog};
use super::{GpuProblem, LIBRARY_ENV, Observed, events, read};
use crate::base::hardware::ObservedGpu;
use crate::base::telemetry::GpuReading;

/// The library's name with its version: machines without the development package have no other.
const LIBRARY: &str = "libnvidia-ml.so.1";
/// A driver without persistence mode wakes its GPUs first, which takes seconds.
const LOOK_PATIENCE: Duration = Duration::from_secs(30);
/// Readings of one GPU take milliseconds.
const READ_PATIENCE: Duration = Duration::from_secs(5);
/// What the watchdog calls a call that is about no GPU in particular.
const WHOLE: &str = "the driver";

impl From<NvmlError> for GpuProblem {
    fn from(cause: NvmlError) -> Self {
        match cause {
            NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound => Self::NoLibrary,
            NvmlError::DriverNotLoaded => Self::NotLoaded,
            other => Self::Driver(other),
        }
    }
}

impl From<Hangs> for GpuProblem {
    fn from(_: Hangs) -> Self {
        Self::Hangs
    }
}

/// How long calls may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub look: Duration,
    pub read: Duration,
}

/// The driver's library, opened when it is first needed and kept open.
pub struct Driver {
    library: OsString,
    patience: Patience,
    dog: Arc<Watchdog>,
    state: Mutex<State>,
    /// Held while the library is being opened, so that a second caller waits for it and is not told that it hangs.
    opening: Mutex<()>,
    xids: Arc<Mutex<events::Heard>>,
    looks: Arc<Looks>,
}

#[derive(Default)]
struct State {
    open: Option<Arc<Nvml>>,
    /// What each place held when it last answered: a GPU that hangs is still there.
    known: BTreeMap<u32, Found>,
    /// What was logged and still holds.
    troubles: BTreeSet<String>,
}

impl Driver {
    /// This machine's driver; one for the whole process, as NVML itself is.
    pub fn of_this_machine() -> &'static Arc<Self> {
        static DRIVER: OnceLock<Arc<Driver>> = OnceLock::new();
        DRIVER.get_or_init(|| {
            let library = std::env::var_os(LIBRARY_ENV).unwrap_or_else(|| LIBRARY.into());
            Self::new(&library, Patience { look: LOOK_PATIENCE, read: READ_PATIENCE })
        })
    }

    /// A driver by the path or name of its library; nothing is opened yet.
    pub fn new(library: &OsStr, patience: Patience) -> Arc<Self> {
        Arc::new(Self {
            library: library.to_owned(),
            patience,
            dog: Arc::default(),
            state: Mutex::default(),
            opening: Mutex::default(),
            xids: Arc::default(),
            looks: Arc::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open library. Events are listened to from its opening on.
    fn open(&self) -> Result<Arc<Nvml>, GpuProblem> {
        let _turn = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &self.state().open {
            return Ok(Arc::clone(open));
        }
        let library = self.library.clone();
        let opened =
            self.dog.ask(WHOLE, self.patience.look, move || Nvml::builder().lib_path(&library).init().map(Arc::new))?;
        let nvml = opened?;
        events::listen(&nvml, &self.xids);
        self.state().open = Some(Arc::clone(&nvml));
        Ok(nvml)
    }

    /// The library says that it is not what the kernel runs any more: it is opened anew next time.
    fn reopen(&self) {
        let gone = self.state().open.take();
        let looks = Arc::clone(&self.looks);
        // Closing it may hang like any other call.
        let _ = self.dog.ask("closing the driver", self.patience.read, move || {
            looks.forget();
            drop(gone);
        });
    }

    /// All GPUs. One that fell off the bus is left out; one that hangs is told as it last was; any other failure fails
    /// the whole look, so that a GPU is never mistaken for one that is gone.
    pub fn look(&self) -> Result<Observed, GpuProblem> {
        let nvml = self.open()?;
        let looked = self.look_with(&nvml);
        if let Err(
            GpuProblem::NotLoaded | GpuProblem::Driver(NvmlError::Uninitialized | NvmlError::LibRmVersionMismatch),
        ) = &looked
        {
            self.reopen();
        }
        looked
    }

    fn look_with(&self, nvml: &Arc<Nvml>) -> Result<Observed, GpuProblem> {
        let asked = Arc::clone(nvml);
        let about = self.dog.ask(WHOLE, self.patience.look, move || -> Result<(String, u32), NvmlError> {
            Ok((asked.sys_driver_version()?, asked.device_count()?))
        })?;
        let (driver, count) = about?;
        let mut found = BTreeMap::new();
        for index in 0..count {
            let asked = Arc::clone(nvml);
            let question = format!("what GPU {index} is");
            match self.dog.ask(&question, self.patience.look, move || inventory::gpu(&asked, index)) {
                Ok(Ok(gpu)) => {
                    self.fine(&question, index);
                    found.insert(index, gpu);
                }
                Ok(Err(NvmlError::GpuLost | NvmlError::NotFound)) => {
                    self.trouble(&question, index, "is lost: it fell off the bus or its driver gave it up");
                }
                Ok(Err(error)) => return Err(error.into()),
                Err(Hangs) => {
                    self.trouble(&question, index, "hangs: the driver does not answer for it");
                    let known = self.state().known.get(&index).cloned();
                    found.insert(index, known.ok_or(GpuProblem::Hangs)?);
                }
            }
        }
        self.state().known.clone_from(&found);
        Ok(Observed { driver: Some(driver), gpus: units(found) })
    }

    /// What is there under this UUID now.
    pub fn find(&self, uuid: &str) -> Result<Option<ObservedGpu>, GpuProblem> {
        Ok(self.look()?.gpus.into_iter().find(|unit| unit.uuid == uuid))
    }

    /// What the units read now, in their order. Where the driver says nothing, nothing is said.
    pub fn read(&self, units: &[ObservedGpu]) -> Vec<GpuReading> {
        let Ok(nvml) = self.open() else {
            return units.iter().map(|unit| self.silent(unit)).collect();
        };
        units.iter().map(|unit| self.read_one(&nvml, unit)).collect()
    }

    fn read_one(&self, nvml: &Arc<Nvml>, unit: &ObservedGpu) -> GpuReading {
        let question = format!("what GPU {} reads", unit.index);
        let (asked, wanted, looks) = (Arc::clone(nvml), unit.clone(), Arc::clone(&self.looks));
        match self.dog.ask(&question, self.patience.read, move || read::unit(&asked, &wanted, &looks)) {
            Ok(Ok(reading)) => {
                self.fine(&question, unit.index);
                GpuReading { last_xid: self.last_xid(unit), ..reading }
            }
            Ok(Err(error)) => {
                self.trouble(&question, unit.index, &format!("cannot be read: {error}"));
                self.silent(unit)
            }
            Err(Hangs) => {
                self.trouble(&question, unit.index, "hangs: the driver does not answer for it");
                self.silent(unit)
            }
        }
    }

    fn silent(&self, unit: &ObservedGpu) -> GpuReading {
        GpuReading { uuid: unit.uuid.clone(), last_xid: self.last_xid(unit), ..GpuReading::default() }
    }

    /// The last Xid of the unit's GPU.
    fn last_xid(&self, unit: &ObservedGpu) -> Option<u64> {
        let gpu = unit.shape.gpu(&unit.uuid);
        self.xids.lock().unwrap_or_else(PoisonError::into_inner).last.get(gpu).copied()
    }

    /// The last events of all GPUs, oldest first.
    pub fn announced(&self) -> Vec<events::Announced> {
        self.xids.lock().unwrap_or_else(PoisonError::into_inner).recent.iter().cloned().collect()
    }

    /// Logs a trouble once, until it is over.
    fn trouble(&self, question: &str, index: u32, what: &str) {
        if self.state().troubles.insert(question.to_owned()) {
            tracing::error!("GPU {index} {what}");
        }
    }

    fn fine(&self, question: &str, index: u32) {
        if self.state().troubles.remove(question) {
            tracing::info!("GPU {index} answers again");
        }
    }
}

/// The bookable units, with the peers that each reaches: links name buses, units name UUIDs.
fn units(found: BTreeMap<u32, Found>) -> Vec<ObservedGpu> {
    let buses: Vec<(String, String)> = found
        .values()
        .filter_map(|gpu| Some((gpu.whole.pci_bus.as_deref().map(inventory::bus_key)?, gpu.whole.uuid.clone())))
        .collect();
    let mut units = Vec::new();
    for Found { whole, slices, links } in found.into_values() {
        let Links { to_gpus, to_switch } = links;
        let mut peers: Vec<String> = buses
            .iter()
            .filter(|(bus, uuid)| to_gpus.contains(bus) && *uuid != whole.uuid)
            .map(|(_, uuid)| uuid.clone())
            .collect();
        peers.sort();
        let linked = |unit: ObservedGpu| ObservedGpu { nvlink_peers: peers.clone(), nvswitch: to_switch, ..unit };
        // A GPU in MIG mode is bookable by its instances; the parent is then no unit of its own. One that has none is told as
        // it is, and the mill takes it out of service.
        if slices.is_empty() { units.push(linked(whole)) } else { units.extend(slices.into_iter().map(linked)) }
    }
    units
}

#[cfg(test)]
mod tests {
    use super::super::Source;

    #[test]
    fn a_machine_answers_with_gpus_or_a_named_problem() {
        match Source::Nvml.look() {
            Ok(observed) => assert!(observed.driver.is_some()),
            Err(problem) => assert!(problem.to_string().contains("driver")),
        }
    }
}
