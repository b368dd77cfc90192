//! What one GPU or MIG instance reads at this moment. It refuses to fill gaps: each value that the driver does not give stays
//! `None`; only a GPU that is gone fails as a whole.
use std::collections::BTreeMap;
use std::sync::Arc;

use nvml_wrapper::enum_wrappers::device::{Clock, EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::enums::device::{SampleValue, UsedGpuMemory};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::{Device, Nvml};

use super::profile::Looks;
use crate::base::hardware::{ObservedGpu, UnitShape};
use crate::base::telemetry::{GpuProcess, GpuReading, RemappedRows};

/// Numbers of fields that have no call of their own (nvml.h).
const MEMORY_TEMPERATURE: u32 = 82;
const REMAPPED_CORRECTED: u32 = 142;
const REMAPPED_UNCORRECTED: u32 = 143;
const REMAP_PENDING: u32 = 144;
const REMAP_FAILED: u32 = 145;

pub(super) fn unit(nvml: &Arc<Nvml>, unit: &ObservedGpu, looks: &Looks) -> Result<GpuReading, NvmlError> {
    match &unit.shape {
        UnitShape::Gpu => {
            let device = nvml.device_by_uuid(unit.uuid.as_str())?;
            let reading = whole(&device, &unit.uuid)?;
            Ok(looks.add_to(nvml, &device, reading))
        }
        UnitShape::Mig { parent_uuid, .. } => {
            let parent = nvml.device_by_uuid(parent_uuid.as_str())?;
            let slice = nvml.device_by_uuid(unit.uuid.as_str())?;
            slice_of(&whole(&parent, &unit.uuid)?, &slice)
        }
    }
}

fn whole(device: &Device<'_>, uuid: &str) -> Result<GpuReading, NvmlError> {
    // Asked first and not forgiven: a GPU that is gone answers everything else with the same.
    let memory = match device.memory_info() {
        Err(gone @ (NvmlError::GpuLost | NvmlError::ResetRequired | NvmlError::Uninitialized)) => return Err(gone),
        other => other.ok(),
    };
    let used = device.utilization_rates().ok();
    let fields = fields(device);
    let flag = |number| fields.get(&number).map(|value| *value != 0);
    let count = |number| fields.get(&number).and_then(|value| u32::try_from(*value).ok());
    let remapped = || {
        Some(RemappedRows {
            corrected: count(REMAPPED_CORRECTED)?,
            uncorrected: count(REMAPPED_UNCORRECTED)?,
            pending: flag(REMAP_PENDING)?,
            failed: flag(REMAP_FAILED)?,
        })
    };
    let ecc = |kind| device.total_ecc_errors(kind, EccCounter::Volatile).ok();
    Ok(GpuReading {
        uuid: uuid.to_owned(),
        utilisation: used.as_ref().map(|used| used.gpu),
        memory_activity: used.as_ref().map(|used| used.memory),
        memory_used_bytes: memory.as_ref().map(|memory| memory.used),
        memory_free_bytes: memory.as_ref().map(|memory| memory.free),
        temperature: device.temperature(TemperatureSensor::Gpu).ok(),
        memory_temperature: count(MEMORY_TEMPERATURE),
        power_milliwatts: device.power_usage().ok().map(u64::from),
        energy_millijoules: device.total_energy_consumption().ok(),
        sm_clock_mhz: device.clock_info(Clock::SM).ok(),
        memory_clock_mhz: device.clock_info(Clock::Memory).ok(),
        throttle_reasons: device.current_throttle_reasons().ok().map(|reasons| reasons.bits()),
        ecc_corrected: ecc(MemoryError::Corrected),
        ecc_uncorrected: ecc(MemoryError::Uncorrected),
        remapped: remapped(),
        pcie_replays: device.pcie_replay_counter().ok().map(u64::from),
        processes: processes(device),
        // What the driver tells by other ways: events, counters, a profiler.
        ..GpuReading::default()
    })
}

/// What an instance shares with its siblings is the parent's; what is measured for the parent as a whole (use, power,
/// energy) is nobody's, since the parts would add up to more than there is.
fn slice_of(parent: &GpuReading, slice: &Device<'_>) -> Result<GpuReading, NvmlError> {
    let memory = slice.memory_info().ok();
    Ok(GpuReading {
        utilisation: None,
        memory_activity: None,
        memory_used_bytes: memory.as_ref().map(|memory| memory.used),
        memory_free_bytes: memory.as_ref().map(|memory| memory.free),
        power_milliwatts: None,
        energy_millijoules: None,
        processes: processes(slice),
        ..parent.clone()
    })
}

/// The fields that the driver answers; a driver that does not know one says so for that one alone.
fn fields(device: &Device<'_>) -> BTreeMap<u32, u64> {
    let wanted = [MEMORY_TEMPERATURE, REMAPPED_CORRECTED, REMAPPED_UNCORRECTED, REMAP_PENDING, REMAP_FAILED];
    let answers = device.field_values_for(&wanted.map(FieldId)).unwrap_or_default();
    let number = |value: SampleValue| match value {
        SampleValue::U32(value) => Some(u64::from(value)),
        SampleValue::U64(value) => Some(value),
        SampleValue::I64(value) => u64::try_from(value).ok(),
        SampleValue::F64(_) => None,
    };
    let answers = answers.into_iter().flatten();
    answers.filter_map(|answer| Some((answer.field.0, number(answer.value.ok()?)?))).collect()
}

/// Everything that computes or draws on it; `None` where the driver does not say who computes. The owner of each is found
/// elsewhere.
fn processes(device: &Device<'_>) -> Option<Vec<GpuProcess>> {
    let computing = device.running_compute_processes().ok()?;
    let others = [device.running_graphics_processes(), device.mps_running_compute_processes()];
    let mut all: BTreeMap<u32, GpuProcess> = BTreeMap::new();
    let bytes = |process: &ProcessInfo| match process.used_gpu_memory {
        UsedGpuMemory::Used(bytes) => Some(bytes),
        UsedGpuMemory::Unavailable => None,
    };
    for process in computing.iter().chain(others.iter().flatten().flatten()) {
        let found = GpuProcess { pid: process.pid, memory_bytes: bytes(process), ..GpuProcess::default() };
        all.entry(process.pid).or_insert(found);
    }
    Some(all.into_values().collect())
}
