//! Gives large blocks back to the system as soon as they are free. Each check of a password works in 19 MiB for a moment; by
//! itself glibc takes that as the new usual size and keeps it for good. It refuses to tune anything else.

/// Blocks from this size on are mapped by themselves, in bytes, and unmapped when they are freed.
const MAPPED_FROM: libc::c_int = 1 << 20;

/// Fixes the size, which would otherwise grow with the largest block that was ever freed. To be called once, at the start.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)] // The allocator is tuned by a call of C alone; it takes two numbers and touches no memory of ours.
pub fn give_back_large_blocks() {
    // Where it is refused, memory is kept as it always was: nothing to report.
    let _ = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM) };
}

/// Other C libraries do so anyway.
#[cfg(not(target_env = "gnu"))]
pub const fn give_back_large_blocks() {}
