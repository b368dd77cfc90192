//! Each call into libcuda, with the reason why it is sound. The wrapper's functions are unsafe because the driver's are: they
//! take addresses and handles that it cannot check. Handles are made here and nowhere else, are never destroyed, and are
//! used on the one thread of a check's process. It refuses calls before [`ready`] has seen that the library has them.
#![allow(unsafe_code)] // libcuda is C: there is no other way to a GPU. Each block says why it holds.

use std::ffi::{CStr, CString, c_void};

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute, CUresult};

use crate::agent::check::device::{DeviceError, Seconds};

/// Every function that is called here. The wrapper panics at the first call of one that the library lacks.
const FUNCTIONS: &[&str] = &[
    "cuInit",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuDevicePrimaryCtxRetain",
    "cuCtxSetCurrent",
    "cuCtxSynchronize",
    "cuModuleLoadData",
    "cuModuleGetFunction",
    "cuLaunchKernel",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemGetInfo_v2",
    "cuMemcpyHtoD_v2",
    "cuMemcpyDtoH_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyPeerAsync",
    "cuMemHostAlloc",
    "cuDeviceCanAccessPeer",
    "cuCtxEnablePeerAccess",
    "cuEventCreate",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuEventElapsedTime",
    "cuGetErrorName",
    "cuGetErrorString",
];

impl From<DriverError> for DeviceError {
    fn from(error: DriverError) -> Self {
        use CUresult as R;
        let text = |found: Result<&CStr, DriverError>| {
            found.map_or_else(|_| "?".to_owned(), |text| text.to_string_lossy().into_owned())
        };
        let said = format!("{}: {}", text(error.error_name()), text(error.error_string()));
        match error.0 {
            R::CUDA_ERROR_OUT_OF_MEMORY => Self::OutOfMemory,
            R::CUDA_ERROR_ECC_UNCORRECTABLE
            | R::CUDA_ERROR_NVLINK_UNCORRECTABLE
            | R::CUDA_ERROR_ILLEGAL_ADDRESS
            | R::CUDA_ERROR_LAUNCH_TIMEOUT
            | R::CUDA_ERROR_LAUNCH_FAILED
            | R::CUDA_ERROR_HARDWARE_STACK_ERROR
            | R::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | R::CUDA_ERROR_MISALIGNED_ADDRESS
            | R::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | R::CUDA_ERROR_INVALID_PC
            | R::CUDA_ERROR_ASSERT
            | R::CUDA_ERROR_CONTEXT_IS_DESTROYED => Self::Faulty(said),
            // No permission, in use, too old, not ready, and whatever else says nothing about the hardware.
            _ => Self::Unavailable(format!("the driver answers {said}")),
        }
    }
}

/// Whether the library is there with all its functions, and starts.
pub(super) fn ready() -> Result<(), DeviceError> {
    // SAFETY: loads a library by its well-known name; what its constructors do is the driver's own affair.
    if !unsafe { sys::is_culib_present() } {
        let why = "there is no NVIDIA driver on this machine (libcuda is missing); install the driver and try again";
        return Err(DeviceError::Unavailable(why.to_owned()));
    }
    // SAFETY: it is present, so this does not panic; the reference lives as long as the process.
    let library = unsafe { sys::culib() };
    for name in FUNCTIONS {
        let symbol = CString::new(*name).map_err(|_| DeviceError::Unavailable("no name".into()))?;
        // SAFETY: the symbol is only looked up, never called through this type.
        if unsafe { library.get::<*const c_void>(symbol.as_bytes_with_nul()) }.is_err() {
            let why = format!("the NVIDIA driver is too old for the checks: it has no {name}; install 525 or newer");
            return Err(DeviceError::Unavailable(why));
        }
    }
    Ok(result::init()?)
}

/// GPUs that this process may see.
pub(super) fn count() -> Result<i32, DeviceError> {
    Ok(result::device::get_count()?)
}

/// A GPU with its context. Made once for each GPU and never released.
#[derive(Clone, Copy)]
pub(super) struct Context {
    device: sys::CUdevice,
    handle: sys::CUcontext,
}

impl Context {
    /// The context becomes the current one of this thread.
    pub(super) fn open(ordinal: i32) -> Result<Self, DeviceError> {
        let device = result::device::get(ordinal)?;
        // SAFETY: the driver just named this device.
        let handle = unsafe { result::primary_ctx::retain(device) }?;
        let opened = Self { device, handle };
        opened.make_current()?;
        Ok(opened)
    }

    pub(super) fn make_current(&self) -> Result<(), DeviceError> {
        // SAFETY: the handle was retained and is never released.
        Ok(unsafe { result::ctx::set_current(self.handle) }?)
    }

    fn attribute(&self, which: Attribute) -> Result<u32, DeviceError> {
        // SAFETY: the device was named by the driver.
        let value = unsafe { result::device::get_attribute(self.device, which) }?;
        Ok(u32::try_from(value).unwrap_or(0))
    }

    pub(super) fn processors(&self) -> Result<u32, DeviceError> {
        self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
    }

    pub(super) fn capability(&self) -> Result<(u32, u32), DeviceError> {
        Ok((
            self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ))
    }

    pub(super) fn name(&self) -> Result<String, DeviceError> {
        Ok(result::device::get_name(self.device)?)
    }

    /// Free and whole memory of the current context's GPU.
    pub(super) fn memory(&self) -> Result<(u64, u64), DeviceError> {
        let (free, total) = result::mem_get_info()?;
        Ok((free as u64, total as u64))
    }

    /// Has the driver compile PTX and answers its kernels by name.
    pub(super) fn load(
        &self,
        ptx: &CStr,
        names: &'static [&'static str],
    ) -> Result<Vec<(&'static str, Function)>, DeviceError> {
        // SAFETY: a text that ends with a zero byte, which the driver reads as PTX and refuses where it is none.
        let module = unsafe { result::module::load_data(ptx.as_ptr().cast::<c_void>()) }?;
        let find = |name: &&'static str| {
            let text = CString::new(*name).map_err(|_| DeviceError::Unavailable("no name".into()))?;
            // SAFETY: the module was just loaded and is never unloaded.
            Ok((*name, Function(unsafe { result::module::get_function(module, text) }?)))
        };
        names.iter().map(find).collect()
    }

    /// Whether this GPU reaches the other's memory by itself; turns that on.
    pub(super) fn reaches(&self, other: &Self) -> Result<bool, DeviceError> {
        let mut can = 0;
        // SAFETY: both devices were named by the driver, and `can` outlives the call.
        unsafe { sys::cuDeviceCanAccessPeer(&raw mut can, self.device, other.device) }.result()?;
        if can == 0 {
            return Ok(false);
        }
        self.make_current()?;
        // SAFETY: the handle was retained and is never released.
        match unsafe { sys::cuCtxEnablePeerAccess(other.handle, 0) } {
            CUresult::CUDA_SUCCESS | CUresult::CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED => Ok(true),
            failed => Err(DriverError(failed).into()),
        }
    }

    pub(super) fn copy_to(&self, other: &Self, to: u64, from: u64, bytes: u64) -> Result<(), DeviceError> {
        let stream = result::stream::null();
        let count = length(bytes)?;
        // SAFETY: both pieces were taken from their contexts with at least so many bytes, and are given back by none.
        Ok(unsafe { result::memcpy_peer_async(other.handle, to, self.handle, from, count, stream) }?)
    }
}

/// A loaded kernel.
#[derive(Clone, Copy)]
pub(super) struct Function(sys::CUfunction);

impl Function {
    /// Starts it; the parameters are copied before this returns.
    pub(super) fn launch(&self, blocks: u32, threads: u32, parameters: &mut [u64]) -> Result<(), DeviceError> {
        let mut places: Vec<*mut c_void> =
            parameters.iter_mut().map(|parameter| std::ptr::from_mut(parameter).cast::<c_void>()).collect();
        let (grid, block) = ((blocks, 1, 1), (threads, 1, 1));
        // SAFETY: a test holds that each kernel has as many 64-bit parameters as its list. Addresses among them come from
        // `take`; a wrong one is the GPU's fault to report, and cannot reach this process's own memory.
        Ok(unsafe { result::launch_kernel(self.0, grid, block, 0, result::stream::null(), &mut places) }?)
    }
}

/// Takes memory of the current GPU by the plain allocator: the pooled one keeps what is given back.
pub(super) fn take(bytes: u64) -> Result<u64, DeviceError> {
    // SAFETY: its content is read by kernels alone, as plain words.
    Ok(unsafe { result::malloc_sync(length(bytes)?) }?)
}

pub(super) fn give(at: u64) -> Result<(), DeviceError> {
    // SAFETY: `at` came from `take`; the driver refuses an address that it does not know.
    Ok(unsafe { result::free_sync(at) }?)
}

pub(super) fn write(to: u64, bytes: &[u8]) -> Result<(), DeviceError> {
    // SAFETY: returns when it is done; the driver refuses a range that was not taken.
    Ok(unsafe { result::memcpy_htod_sync(to, bytes) }?)
}

pub(super) fn read(from: u64, bytes: &mut [u8]) -> Result<(), DeviceError> {
    // SAFETY: returns when it is done; any byte is a `u8`.
    Ok(unsafe { result::memcpy_dtoh_sync(bytes, from) }?)
}

pub(super) fn copy_within(to: u64, from: u64, bytes: u64) -> Result<(), DeviceError> {
    // SAFETY: both ranges are the device's own; nothing of this process is touched.
    Ok(unsafe { result::memcpy_dtod_async(to, from, length(bytes)?, result::stream::null()) }?)
}

/// Waits for all work of the current context.
pub(super) fn wait() -> Result<(), DeviceError> {
    Ok(result::ctx::synchronize()?)
}

/// A point in the GPU's work.
pub(super) struct Event(sys::CUevent);

impl Event {
    pub(super) fn new() -> Result<Self, DeviceError> {
        Ok(Self(result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT)?))
    }

    pub(super) fn record(&self) -> Result<(), DeviceError> {
        // SAFETY: the event was created and is never destroyed.
        Ok(unsafe { result::event::record(self.0, result::stream::null()) }?)
    }

    pub(super) fn wait(&self) -> Result<(), DeviceError> {
        // SAFETY: as above.
        Ok(unsafe { result::event::synchronize(self.0) }?)
    }

    /// Both have been reached.
    pub(super) fn between(earlier: &Self, later: &Self) -> Result<Seconds, DeviceError> {
        // SAFETY: as above, and both are on the same stream.
        let millis = unsafe { result::event::elapsed(earlier.0, later.0) }?;
        Ok(f64::from(millis).max(0.0) / 1e3)
    }
}

/// Memory of the host that stays where it is, so that the GPU can copy from and to it by itself.
#[derive(Clone, Copy)]
pub(super) struct HostMemory {
    at: *mut u8,
    bytes: u64,
}

impl HostMemory {
    pub(super) fn take(bytes: u64) -> Result<Self, DeviceError> {
        let count = length(bytes)?;
        // SAFETY: the memory is never given back while the process lives.
        let at = unsafe { result::malloc_host(count, 0) }?.cast::<u8>();
        // SAFETY: the driver gave so many bytes; zeroes make them initialised.
        unsafe { std::ptr::write_bytes(at, 0, count) };
        Ok(Self { at, bytes })
    }

    /// Offsets and lengths that together are `bytes`, none longer than this memory.
    fn pieces(self, bytes: u64) -> impl Iterator<Item = (u64, u64)> {
        let step = self.bytes.max(1);
        (0..bytes.div_ceil(step)).map(move |piece| (piece * step, step.min(bytes - piece * step)))
    }

    pub(super) fn copy_to(self, to: u64, bytes: u64) -> Result<(), DeviceError> {
        for (offset, count) in self.pieces(bytes) {
            // SAFETY: initialised at its taking, never given back; only the GPU touches it until the copies are waited for.
            let from = unsafe { std::slice::from_raw_parts(self.at, length(count)?) };
            // SAFETY: as above, and the target was taken with at least so many bytes.
            unsafe { result::memcpy_htod_async(to + offset, from, result::stream::null()) }?;
        }
        Ok(())
    }

    pub(super) fn copy_from(self, from: u64, bytes: u64) -> Result<(), DeviceError> {
        for (offset, count) in self.pieces(bytes) {
            // SAFETY: as above; the slice lives no longer than the call that hands its address to the GPU.
            let to = unsafe { std::slice::from_raw_parts_mut(self.at, length(count)?) };
            // SAFETY: as above.
            unsafe { result::memcpy_dtoh_async(to, from + offset, result::stream::null()) }?;
        }
        Ok(())
    }
}

fn length(bytes: u64) -> Result<usize, DeviceError> {
    usize::try_from(bytes).map_err(|_| DeviceError::OutOfMemory)
}
