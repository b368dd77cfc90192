//! A GPU that the CPU plays: the same kernels on a little memory, with faults planted by order, and a clock that counts what
//! the work would take. It refuses to look real: its reports are marked, and its figures are made up.
mod kernels;
mod memory;

use self::memory::Cells;
use super::device::{Device, DeviceError, Memory, Region, Route, Seconds, Sizes};
use super::kernel::{Kernel, THREADS};
use crate::base::check::CheckedGpu;
use crate::base::hardware::PcieLink;
use crate::base::telemetry::GpuReading;
use crate::wire::check::{SimulatedFault as Fault, SimulatedGpu};

/// Bytes in a second that its memory moves, read and written counted.
const MEMORY_SPEED: f64 = 4.3e12;
/// Bytes in a second over its link.
const LINK_SPEED: f64 = 55e9;
const PEER_SPEED: f64 = 400e9;

/// A simulated GPU.
pub struct Simulator {
    gpu: CheckedGpu,
    faults: Vec<Fault>,
    cells: Cells,
    /// Calls so far.
    operations: u32,
    /// Whether this process is the simulator's own: only then does it hang, panic or die for real.
    alone: bool,
    /// How long it has been under load, and at work at all.
    worked: Seconds,
    spent: Seconds,
}

impl Simulator {
    /// `alone`: faults that end a process may end this one.
    pub fn new(gpu: &SimulatedGpu, alone: bool) -> Self {
        let checked = CheckedGpu {
            uuid: gpu.uuid.clone(),
            model: gpu.model.clone(),
            processors: gpu.processors,
            capability: (9, 0),
            memory_bytes: gpu.memory_bytes,
        };
        let cells = Cells::new(gpu.memory_bytes, &gpu.faults);
        Self { gpu: checked, faults: gpu.faults.clone(), cells, operations: 0, alone, worked: 0.0, spent: 0.0 }
    }

    /// Counts a call, and lets the faults have it whose time has come.
    fn step(&mut self) -> Result<(), DeviceError> {
        self.operations += 1;
        let now = self.operations;
        for fault in self.faults.clone() {
            match fault {
                Fault::Sticky { after } if now > after => {
                    return Err(DeviceError::Faulty("CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure".into()));
                }
                Fault::Vanish { after } if now > after => {
                    return Err(DeviceError::Lost("it fell off the bus".into()));
                }
                Fault::Hang { after } if now > after => {
                    if self.alone {
                        loop {
                            std::thread::park();
                        }
                    }
                    return Err(DeviceError::Hangs);
                }
                Fault::Panic { after } if now > after && self.alone => {
                    panic!("a library panics, as one does that misses a symbol");
                }
                Fault::Segfault { after } if now > after && self.alone => {
                    let me = rustix::process::getpid();
                    // As a bad pointer would end it.
                    let _ = rustix::process::kill_process(me, rustix::process::Signal::SEGV);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn fault(&self, which: impl Fn(&Fault) -> Option<u32>) -> Option<u32> {
        self.faults.iter().find_map(which)
    }

    /// Which processor each block runs on.
    fn placed(&self, blocks: u32) -> Vec<u64> {
        let idle = |processor: u32| {
            self.faults.iter().any(|f| matches!(f, Fault::IdleProcessor { processor: it } if *it == processor))
        };
        let busy: Vec<u32> = (0..self.gpu.processors).filter(|processor| !idle(*processor)).collect();
        (0..blocks as usize).map(|block| u64::from(busy[block % busy.len().max(1)])).collect()
    }

    /// The bit that a processor turns over in what it computes, if it does.
    fn wrong_bit(&self, processor: u64) -> Option<u8> {
        self.faults.iter().find_map(|fault| match fault {
            Fault::WrongProcessor { processor: it, bit } if u64::from(*it) == processor => Some(*bit),
            _ => None,
        })
    }

    /// How long that many bytes take at this speed.
    fn moving(&self, bytes: u64, speed: f64) -> Seconds {
        let slow = self.fault(|fault| match fault {
            Fault::SlowCopy { times } => Some(*times),
            _ => None,
        });
        #[allow(clippy::cast_precision_loss)]
        {
            bytes as f64 / speed * f64::from(slow.unwrap_or(1))
        }
    }

    /// How long a kernel takes, by the made-up clock. Load and full mantissas take long, so that few launches fill a soak.
    fn cost(&mut self, kernel: &Kernel) -> Seconds {
        match kernel {
            Kernel::Fill { piece, .. } | Kernel::Verify { piece, .. } | Kernel::Residue { piece, .. } => {
                self.moving(piece.pairs * 16, MEMORY_SPEED)
            }
            Kernel::Invert { piece, .. } => self.moving(piece.pairs * 32, MEMORY_SPEED),
            Kernel::Copy { pairs, .. } => self.moving(pairs * 32, MEMORY_SPEED),
            Kernel::Load { rounds, .. } => {
                let fading = self.fault(|fault| match fault {
                    Fault::Fading { percent } => Some(*percent),
                    _ => None,
                });
                // It fades evenly over the first ten seconds.
                let part = (self.worked / 10.0).min(1.0) * f64::from(fading.unwrap_or(0)) / 100.0;
                #[allow(clippy::cast_precision_loss)]
                let took = *rounds as f64 * 1e-4 / (1.0 - part.min(0.9));
                self.worked += took;
                took
            }
            Kernel::Tensor { .. } => 15.0,
            _ => 50e-6,
        }
    }
}

impl Device for Simulator {
    fn gpu(&self) -> &CheckedGpu {
        &self.gpu
    }

    fn simulated(&self) -> bool {
        true
    }

    fn sizes(&self) -> Sizes {
        Sizes::SIMULATED
    }

    fn memory(&mut self) -> Result<Memory, DeviceError> {
        self.step()?;
        Ok(Memory { free: self.gpu.memory_bytes - self.cells.taken(), total: self.gpu.memory_bytes })
    }

    fn take(&mut self, bytes: u64) -> Result<Region, DeviceError> {
        self.step()?;
        let most = self.fault(|fault| match fault {
            Fault::OutOfMemory { percent } => Some(*percent),
            _ => None,
        });
        let limit = self.gpu.memory_bytes * u64::from(most.unwrap_or(100)) / 100;
        self.cells.take(bytes, limit).ok_or(DeviceError::OutOfMemory)
    }

    fn give(&mut self, region: Region) -> Result<(), DeviceError> {
        self.step()?;
        self.cells.give(region);
        Ok(())
    }

    fn write(&mut self, to: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.step()?;
        if self.cells.write(to, bytes) { Ok(()) } else { Err(bad_address()) }
    }

    fn read(&mut self, from: u64, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.step()?;
        if self.cells.read(from, bytes) { Ok(()) } else { Err(bad_address()) }
    }

    fn clock(&self) -> Seconds {
        self.spent
    }

    fn run(&mut self, blocks: u32, kernel: &Kernel) -> Result<Seconds, DeviceError> {
        self.step()?;
        let placed = self.placed(blocks);
        if !self.play(kernel, &placed) {
            return Err(bad_address());
        }
        let took = self.cost(kernel);
        self.spent += took;
        Ok(took)
    }

    fn copy(&mut self, route: Route, times: u32) -> Result<Seconds, DeviceError> {
        self.step()?;
        let (bytes, speed) = match route {
            Route::Within { from, .. } => (from.bytes * 2, MEMORY_SPEED),
            Route::FromHost { to: region } | Route::ToHost { from: region } => (region.bytes, LINK_SPEED),
            Route::Peer { from, .. } => (from.bytes, PEER_SPEED),
        };
        if let Route::Within { to, from } = route {
            let kernel = Kernel::Copy { to: to.at, from: from.at, pairs: from.pairs() };
            self.play(&kernel, &[]);
        }
        Ok(self.moving(bytes * u64::from(times), speed))
    }

    fn round_trip(&mut self, kernel: &Kernel) -> Result<Seconds, DeviceError> {
        self.run(1, kernel)?;
        Ok(6e-6)
    }

    fn peers(&mut self) -> Result<Vec<(String, bool)>, DeviceError> {
        self.step()?;
        Ok(vec![("SIM-PEER".to_owned(), true)])
    }

    fn reading(&mut self) -> Option<GpuReading> {
        Some(GpuReading {
            uuid: self.gpu.uuid.clone(),
            temperature: Some(61),
            memory_temperature: Some(72),
            power_milliwatts: Some(640_000),
            sm_clock_mhz: Some(1755),
            throttle_reasons: Some(0x4),
            ecc_corrected: Some(0),
            ecc_uncorrected: Some(0),
            ..GpuReading::default()
        })
    }

    fn link(&mut self) -> Option<PcieLink> {
        Some(PcieLink { max_generation: 5, max_width: 16, generation: Some(5), width: Some(16) })
    }
}

fn bad_address() -> DeviceError {
    DeviceError::Faulty("CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered".into())
}

/// Threads that play a block.
const PLAYED: u32 = THREADS;
