//! The lock on a data directory. It refuses a second holder and says who the first one is; it ends with its process,
//! however that ends.
use std::fs::{self, DirBuilder, File};
use std::io::{Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::open::OpenError;

/// Makes the directory where it is missing (for its owner alone) and takes its lock.
pub(super) fn take(dir: &Path) -> Result<File, OpenError> {
    let io = |source| OpenError::Io { path: dir.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
    let path = dir.join("lock");
    let mut file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let pid = fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
            let pid = if pid.is_empty() { "that just started".to_owned() } else { pid };
            return Err(OpenError::Locked { dir: dir.to_owned(), pid });
        }
        Err(fs::TryLockError::Error(source)) => return Err(io(source)),
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(io)?;
    writeln!(file, "{}", std::process::id()).map_err(io)?;
    Ok(file)
}
