//! Lets the runtime watch a descriptor. It exists so that the one promise this takes is made in one place.
use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Watches a descriptor for reading and writing; fails for files that are always ready. Must be called inside a runtime.
pub(super) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` owns its descriptor, always names the same one, and nothing closes it while the `AsyncFd` has it.
    #[allow(unsafe_code)] // tokio asks for this promise in an unsafe call; there is no safe one.
    let watched = unsafe { AsyncFd::register(fd) }?;
    Ok(watched)
}
