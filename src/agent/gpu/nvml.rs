//! GPUs as the NVIDIA driver describes them. It refuses to fill gaps: what the driver does not say stays `None`, and a
//! GPU that does not answer makes the whole look fail, so that it is never mistaken for one that is gone.
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use super::{GpuProblem, Observed};
use crate::base::hardware::{ObservedGpu, UnitShape};

impl From<NvmlError> for GpuProblem {
    fn from(cause: NvmlError) -> Self {
        match cause {
            NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound => Self::NoLibrary,
            NvmlError::DriverNotLoaded => Self::NotLoaded,
            other => Self::Driver(other),
        }
    }
}

/// The library's name with its version: machines without the development package have no other.
const LIBRARY: &str = "libnvidia-ml.so.1";

pub(super) fn look() -> Result<Observed, GpuProblem> {
    let nvml = Nvml::builder().lib_path(LIBRARY.as_ref()).init()?;
    let driver = Some(nvml.sys_driver_version()?);
    let mut gpus = Vec::new();
    for index in 0..nvml.device_count()? {
        let device = nvml.device_by_index(index)?;
        let whole = whole(&device, index)?;
        let slices = slices(&device, &whole)?;
        // A GPU in MIG mode is bookable by its instances; the parent is then no unit of its own.
        if slices.is_empty() { gpus.push(whole) } else { gpus.extend(slices) }
    }
    Ok(Observed { driver, gpus })
}

fn whole(device: &Device<'_>, index: u32) -> Result<ObservedGpu, GpuProblem> {
    Ok(ObservedGpu {
        uuid: device.uuid()?,
        model: model(&device.name()?),
        shape: UnitShape::Gpu,
        index,
        minor: device.minor_number().ok(),
        memory_bytes: device.memory_info()?.total,
        serial: device.serial().ok(),
        vbios: device.vbios_version().ok(),
        pci_bus: device.pci_info().ok().map(|pci| pci.bus_id),
        ..ObservedGpu::default()
    })
}

/// The MIG instances of a GPU; none where MIG is off or unknown to the driver.
fn slices(device: &Device<'_>, parent: &ObservedGpu) -> Result<Vec<ObservedGpu>, GpuProblem> {
    let enabled = device.mig_mode().is_ok_and(|mode| mode.current != 0);
    let places = if enabled { device.mig_device_count()? } else { 0 };
    let mut found = Vec::new();
    for place in 0..places {
        // Places without an instance answer "not found".
        let Ok(slice) = device.mig_device_by_index(place) else { continue };
        let name = slice.name()?;
        found.push(ObservedGpu {
            uuid: slice.uuid()?,
            model: parent.model.clone(),
            shape: UnitShape::Mig { parent_uuid: parent.uuid.clone(), profile: profile(&name) },
            index: parent.index,
            memory_bytes: slice.memory_info()?.total,
            ..parent.clone()
        });
    }
    Ok(found)
}

/// The marketing name without the vendor.
fn model(name: &str) -> String {
    name.trim().trim_start_matches("NVIDIA ").to_owned()
}

/// `NVIDIA H200 MIG 1g.18gb` names its profile last.
fn profile(name: &str) -> String {
    name.rsplit_once("MIG ").map_or(name, |(_, profile)| profile).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(model("NVIDIA H200"), "H200");
        assert_eq!(model("Tesla T4"), "Tesla T4");
        assert_eq!(profile("NVIDIA H200 MIG 1g.18gb"), "1g.18gb");
    }

    #[test]
    fn a_machine_answers_with_gpus_or_a_named_problem() {
        match look() {
            Ok(observed) => assert!(observed.driver.is_some()),
            Err(problem) => assert!(problem.to_string().contains("driver")),
        }
    }
}
