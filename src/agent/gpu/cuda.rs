//! A GPU through the NVIDIA driver: memory, kernels and copies for the checks, in a process that lives for one check. It refuses
//! to start where the driver's library, or a function of it, is missing: the wrapper would panic there. Nothing is torn down;
//! the end of the process is what clears a device after a fault.
mod calls;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::time::Instant;

use self::calls::{Context, Event, Function, HostMemory};
use super::Source;
use super::nvml;
use crate::agent::check::device::{Device, DeviceError, Memory, Region, Route, Seconds, Sizes};
use crate::agent::check::kernel::{Kernel, Module, THREADS};
use crate::base::check::{CheckKind, CheckedGpu};
use crate::base::hardware::{ObservedGpu, PcieLink};
use crate::base::telemetry::GpuReading;

/// bf16 through the tensor cores, and the PTX, begin here.
const OLDEST: (u32, u32) = (8, 0);
/// Memory of the host that the GPU reaches by itself, in bytes; larger copies go round in it.
const HOST_MEMORY: u64 = 256 << 20;

/// The GPU of this process.
pub struct Gpu {
    about: CheckedGpu,
    context: Context,
    functions: BTreeMap<&'static str, Function>,
    began: Event,
    ended: Event,
    host: Option<HostMemory>,
    /// The others, with their contexts and the memory that copies go to.
    others: Vec<Other>,
    /// As the management library knows it.
    unit: Option<ObservedGpu>,
    opened: Instant,
}

struct Other {
    uuid: String,
    context: Context,
    direct: bool,
    memory: Option<Region>,
}

impl Gpu {
    /// Opens the GPU with this UUID; `CUDA_VISIBLE_DEVICES` of this process names it first, then the others. Loads all that
    /// the check needs, because later its memory is full.
    pub fn open(uuid: &str, others: &[String], check: CheckKind) -> Result<Self, DeviceError> {
        let opened = Instant::now();
        calls::ready()?;
        let count = calls::count()?;
        if count == 0 {
            return Err(DeviceError::Unavailable(format!("the driver shows no GPU {uuid}")));
        }
        let context = Context::open(0)?;
        let capability = context.capability()?;
        if capability < OLDEST {
            let (major, minor) = capability;
            let why = format!("its compute capability {major}.{minor} is older than the kernels need (8.0, Ampere)");
            return Err(DeviceError::Unavailable(why));
        }
        let unit = Source::Nvml.observe().ok().and_then(|all| all.into_iter().find(|gpu| gpu.uuid == uuid));
        let about = CheckedGpu {
            uuid: uuid.to_owned(),
            model: unit.as_ref().map_or_else(|| context.name().unwrap_or_default(), |unit| unit.model.clone()),
            processors: context.processors()?,
            capability,
            memory_bytes: context.memory()?.1,
        };
        let mut functions = BTreeMap::new();
        for module in modules(check) {
            let text = CString::new(module.ptx()).map_err(|_| DeviceError::Unavailable("no PTX".into()))?;
            functions.extend(context.load(&text, module_kernels(*module))?);
        }
        let others = if check == CheckKind::Peers { open_others(&context, others)? } else { Vec::new() };
        context.make_current()?;
        let (began, ended) = (Event::new()?, Event::new()?);
        Ok(Self { about, context, functions, began, ended, host: None, others, unit, opened })
    }

    fn launch(&mut self, blocks: u32, kernel: &Kernel) -> Result<(), DeviceError> {
        let missing = || DeviceError::Unavailable(format!("the kernel {} is not loaded", kernel.name()));
        let function = self.functions.get(kernel.name()).ok_or_else(missing)?;
        function.launch(blocks, THREADS, &mut kernel.parameters())
    }

    /// How long the GPU worked on what `work` gave it.
    fn timed(&mut self, work: impl FnOnce(&mut Self) -> Result<(), DeviceError>) -> Result<Seconds, DeviceError> {
        self.began.record()?;
        work(self)?;
        self.ended.record()?;
        self.ended.wait()?;
        Event::between(&self.began, &self.ended)
    }

    fn host_memory(&mut self, most: u64) -> Result<HostMemory, DeviceError> {
        if let Some(host) = self.host {
            return Ok(host);
        }
        let host = HostMemory::take(most.min(HOST_MEMORY))?;
        self.host = Some(host);
        Ok(host)
    }
}

fn open_others(context: &Context, uuids: &[String]) -> Result<Vec<Other>, DeviceError> {
    let visible = calls::count()?;
    let mut opened = Vec::new();
    for (at, uuid) in (1..visible).zip(uuids) {
        let other = Context::open(at)?;
        let direct = context.reaches(&other)?;
        opened.push(Other { uuid: uuid.clone(), context: other, direct, memory: None });
    }
    Ok(opened)
}

/// What each check runs.
const fn modules(check: CheckKind) -> &'static [Module] {
    match check {
        CheckKind::Compute | CheckKind::Probe => &[Module::Product],
        CheckKind::Unanimity | CheckKind::Soak => &[Module::Unanimity],
        _ => &[Module::Memory],
    }
}

const fn module_kernels(module: Module) -> &'static [&'static str] {
    match module {
        Module::Memory => &["fill", "verify", "invert", "sow", "residue", "copy", "answer", "stray"],
        Module::Product => &["product_bf16", "product_fp16", "product_int8", "generate", "probe"],
        Module::Unanimity => &["scalar", "tensor", "load"],
    }
}

impl Device for Gpu {
    fn gpu(&self) -> &CheckedGpu {
        &self.about
    }

    fn simulated(&self) -> bool {
        false
    }

    fn sizes(&self) -> Sizes {
        Sizes::REAL
    }

    fn memory(&mut self) -> Result<Memory, DeviceError> {
        let (free, total) = self.context.memory()?;
        Ok(Memory { free, total })
    }

    fn take(&mut self, bytes: u64) -> Result<Region, DeviceError> {
        Ok(Region { at: calls::take(bytes)?, bytes })
    }

    fn give(&mut self, region: Region) -> Result<(), DeviceError> {
        calls::give(region.at)
    }

    fn write(&mut self, to: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        calls::write(to, bytes)
    }

    fn read(&mut self, from: u64, bytes: &mut [u8]) -> Result<(), DeviceError> {
        calls::read(from, bytes)
    }

    fn clock(&self) -> Seconds {
        self.opened.elapsed().as_secs_f64()
    }

    fn run(&mut self, blocks: u32, kernel: &Kernel) -> Result<Seconds, DeviceError> {
        self.timed(|gpu| gpu.launch(blocks, kernel))
    }

    fn copy(&mut self, route: Route, times: u32) -> Result<Seconds, DeviceError> {
        if let Route::Peer { from, peer } = route {
            return self.copy_to_peer(from, peer, times);
        }
        let host = match route {
            Route::FromHost { to: region } | Route::ToHost { from: region } => Some(self.host_memory(region.bytes)?),
            _ => None,
        };
        self.timed(|_| {
            (0..times).try_for_each(|_| match (route, host) {
                (Route::Within { to, from }, _) => calls::copy_within(to.at, from.at, from.bytes),
                (Route::FromHost { to }, Some(host)) => host.copy_to(to.at, to.bytes),
                (Route::ToHost { from }, Some(host)) => host.copy_from(from.at, from.bytes),
                _ => Ok(()),
            })
        })
    }

    fn round_trip(&mut self, kernel: &Kernel) -> Result<Seconds, DeviceError> {
        let began = Instant::now();
        self.launch(1, kernel)?;
        calls::wait()?;
        Ok(began.elapsed().as_secs_f64())
    }

    fn peers(&mut self) -> Result<Vec<(String, bool)>, DeviceError> {
        Ok(self.others.iter().map(|other| (other.uuid.clone(), other.direct)).collect())
    }

    fn reading(&mut self) -> Option<GpuReading> {
        let unit = self.unit.as_ref()?;
        nvml::Driver::of_this_machine().read(std::slice::from_ref(unit)).pop()
    }

    fn link(&mut self) -> Option<PcieLink> {
        let mut all = Source::Nvml.observe().ok()?.into_iter();
        all.find(|gpu| gpu.uuid == self.about.uuid)?.pcie
    }
}

impl Gpu {
    fn copy_to_peer(&mut self, from: Region, peer: usize, times: u32) -> Result<Seconds, DeviceError> {
        let gone = || DeviceError::Unavailable("there is no such peer".to_owned());
        let other = self.others.get_mut(peer).ok_or_else(gone)?;
        let to = if let Some(memory) = other.memory {
            memory
        } else {
            other.context.make_current()?;
            let memory = Region { at: calls::take(from.bytes)?, bytes: from.bytes };
            other.memory = Some(memory);
            memory
        };
        let there = other.context;
        self.context.make_current()?;
        let here = self.context;
        self.timed(|_| (0..times).try_for_each(|_| here.copy_to(&there, to.at, from.at, from.bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_driver_is_told_apart_from_a_broken_gpu() {
        let opened = Gpu::open("GPU-none", &[], CheckKind::Context);
        assert!(matches!(opened.err(), Some(DeviceError::Unavailable(_))), "no GPU of that name is anywhere");
    }

    #[test]
    fn every_kernel_is_loaded_by_name() {
        for module in Module::ALL {
            for name in module_kernels(module) {
                assert!(module.ptx().contains(&format!(".entry {name}(")), "{name}");
            }
            assert_eq!(module.ptx().matches(".entry ").count(), module_kernels(module).len());
        }
    }
}
