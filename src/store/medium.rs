//! Where the bytes lie: a file in the data directory, memory, or whatever a test puts there. It refuses to make a new
//! database where one should already be.
use std::path::{Path, PathBuf};
use std::time::Duration;

use redb::{Builder, Database, DatabaseError};

/// Memory that the engine may use as cache.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// A place that a database can be opened from, again and again.
pub trait Medium: Send + Sync + 'static {
    fn open(&self) -> Result<Database, DatabaseError>;

    /// Bytes still free; `None` where nobody can say.
    fn room(&self) -> Option<u64> {
        None
    }

    /// How long a store that closed itself waits between two attempts to open again.
    fn retry(&self) -> Duration {
        Duration::from_millis(500)
    }
}

/// The file of a running mill.
pub(super) struct FileMedium {
    pub path: PathBuf,
}

impl Medium for FileMedium {
    fn open(&self) -> Result<Database, DatabaseError> {
        // The engine would take an empty file for a new one; a mill's file is never empty.
        if std::fs::metadata(&self.path)?.len() == 0 {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "the file is empty").into());
        }
        builder().open(&self.path)
    }

    fn room(&self) -> Option<u64> {
        room(&self.path)
    }
}

/// Bytes that an unprivileged writer may still put beside `path`.
pub(super) fn room(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// For tests and dry runs: gone when closed.
pub(super) struct MemoryMedium;

impl Medium for MemoryMedium {
    fn open(&self) -> Result<Database, DatabaseError> {
        builder().create_with_backend(redb::backends::InMemoryBackend::new())
    }
}
