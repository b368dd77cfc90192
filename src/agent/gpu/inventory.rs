//! What one GPU is, as the driver describes it: identity, memory, instances, links. It refuses to guess what the driver does
//! not say; without identity and memory there is no GPU to speak of.
use std::collections::BTreeSet;

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use crate::base::hardware::{MigPlace, ObservedGpu, PcieLink, UnitShape};

/// Most NVLinks of a GPU so far (NVML_NVLINK_MAX_LINKS).
const MOST_LINKS: u32 = 18;
/// NVML's number for a link that ends at a switch.
const SWITCH: u32 = 2;

/// A GPU, its MIG instances, and where its NVLinks lead.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub whole: ObservedGpu,
    pub slices: Vec<ObservedGpu>,
    pub links: Links,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Links {
    /// Buses (see [`bus_key`]) of what the active links lead to.
    pub to_gpus: BTreeSet<String>,
    pub to_switch: bool,
}

pub(super) fn gpu(nvml: &Nvml, index: u32) -> Result<Found, NvmlError> {
    let device = nvml.device_by_index(index)?;
    let whole = whole(&device, index)?;
    let slices = slices(&device, &whole)?;
    Ok(Found { whole, slices, links: links(&device) })
}

fn whole(device: &Device<'_>, index: u32) -> Result<ObservedGpu, NvmlError> {
    let pci_bus = device.pci_info().ok().map(|pci| pci.bus_id);
    let capability = device.cuda_compute_capability().ok();
    let numa = device.numa_node_id().ok().or_else(|| numa_of(pci_bus.as_deref()?));
    Ok(ObservedGpu {
        uuid: device.uuid()?,
        model: model(&device.name()?),
        shape: UnitShape::Gpu,
        index,
        minor: device.minor_number().ok(),
        memory_bytes: device.memory_info()?.total,
        serial: device.serial().ok(),
        vbios: device.vbios_version().ok(),
        mig: mig(device)?,
        pcie: pcie(device),
        nvlink_peers: Vec::new(),
        nvswitch: false,
        numa_node: numa,
        compute_capability: capability
            .and_then(|found| Some((u32::try_from(found.major).ok()?, u32::try_from(found.minor).ok()?))),
        pci_bus,
    })
}

/// Whether MIG mode is on. Only a GPU or a driver that knows no MIG leaves it open: any other failure fails the look, because
/// a GPU that is cut into instances must never be taken for a whole one.
fn mig(device: &Device<'_>) -> Result<Option<bool>, NvmlError> {
    match device.mig_mode() {
        Ok(mode) => Ok(Some(mode.current != 0)),
        Err(NvmlError::NotSupported | NvmlError::FunctionNotFound | NvmlError::FailedToLoadSymbol(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn pcie(device: &Device<'_>) -> Option<PcieLink> {
    Some(PcieLink {
        max_generation: device.max_pcie_link_gen().ok()?,
        max_width: device.max_pcie_link_width().ok()?,
        generation: device.current_pcie_link_gen().ok(),
        width: device.current_pcie_link_width().ok(),
    })
}

/// The MIG instances of a GPU; none where MIG is off or unknown to the driver.
fn slices(device: &Device<'_>, parent: &ObservedGpu) -> Result<Vec<ObservedGpu>, NvmlError> {
    let places = if parent.mig == Some(true) { device.mig_device_count()? } else { 0 };
    let mut found = Vec::new();
    for place in 0..places {
        let slice = match device.mig_device_by_index(place) {
            Ok(slice) => slice,
            // Places without an instance answer so.
            Err(NvmlError::NotFound | NvmlError::InvalidArg) => continue,
            Err(error) => return Err(error),
        };
        let name = slice.name()?;
        let shape = UnitShape::Mig {
            parent_uuid: parent.uuid.clone(),
            profile: profile(&name),
            parent_bytes: parent.memory_bytes,
            place: place_of(&slice),
        };
        found.push(ObservedGpu {
            uuid: slice.uuid()?,
            shape,
            memory_bytes: slice.memory_info()?.total,
            ..parent.clone()
        });
    }
    Ok(found)
}

/// Which instance of its GPU it is. The wrapper has no call for it (0.13.0), so the library is asked directly.
#[allow(unsafe_code)]
fn place_of(slice: &Device<'_>) -> Option<MigPlace> {
    let library = slice.nvml().lib();
    let (gpu, compute) = (&library.nvmlDeviceGetGpuInstanceId, &library.nvmlDeviceGetComputeInstanceId);
    let (gpu, compute) = (gpu.as_ref().ok()?, compute.as_ref().ok()?);
    let (mut gpu_instance, mut compute_instance) = (0, 0);
    // SAFETY: the handle is live as long as `slice`; each call writes one number to where it is told.
    let answers = unsafe { (gpu(slice.handle(), &mut gpu_instance), compute(slice.handle(), &mut compute_instance)) };
    (answers == (0, 0)).then_some(MigPlace { gpu_instance, compute_instance })
}

fn links(device: &Device<'_>) -> Links {
    let mut links = Links::default();
    for number in 0..MOST_LINKS {
        let link = device.link_wrapper_for(number);
        match link.is_active() {
            Ok(true) => {}
            Ok(false) => continue,
            // No such link, or no NVLink at all: there are none behind it either.
            Err(_) => break,
        }
        if leads_to_switch(device, number) {
            links.to_switch = true;
        } else if let Ok(remote) = link.remote_pci_info() {
            links.to_gpus.insert(bus_key(&remote.bus_id));
        }
    }
    links
}

/// The wrapper's own function reads the answer from the wrong place (0.13.0: always "unknown"), so the library is asked
/// directly.
#[allow(unsafe_code)]
fn leads_to_switch(device: &Device<'_>, link: u32) -> bool {
    let Ok(ask) = device.nvml().lib().nvmlDeviceGetNvLinkRemoteDeviceType.as_ref() else { return false };
    let mut kind = u32::MAX;
    // SAFETY: the handle is live as long as `device`; the library writes one number to where it is told.
    let answer = unsafe { ask(device.handle(), link, &mut kind) };
    answer == 0 && kind == SWITCH
}

/// A bus in one form: NVML writes eight digits of domain, and a legacy form four.
pub(super) fn bus_key(bus: &str) -> String {
    let bus = bus.trim().to_ascii_lowercase();
    match bus.split_once(':') {
        Some((domain, rest)) if rest.contains(':') => format!("{:0>4}:{rest}", domain.trim_start_matches('0')),
        _ => bus,
    }
}

/// What the kernel says about the bus; negative where it does not know.
fn numa_of(bus: &str) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/sys/bus/pci/devices/{}/numa_node", bus_key(bus))).ok()?;
    text.trim().parse::<i64>().ok().and_then(|node| u32::try_from(node).ok())
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
    fn one_bus_has_one_key() {
        assert_eq!(bus_key("00000000:1B:00.0"), "0000:1b:00.0");
        assert_eq!(bus_key("0000:1b:00.0"), "0000:1b:00.0");
        assert_eq!(bus_key("00000005:01:00.0"), "0005:01:00.0");
        assert_eq!(bus_key("nonsense"), "nonsense");
    }
}
