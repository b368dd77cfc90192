//! The agent's directory: who this node is, what it was told to run, what runs. Files are replaced whole, so that a crash
//! leaves the old or the new one. It refuses a second agent on the same directory.
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("another agent works in {0} already; stop it first, or give this one another directory with --data")]
    InUse(PathBuf),
    #[error("{path} cannot be {doing}: {source}")]
    Io { path: PathBuf, doing: &'static str, source: io::Error },
    #[error("{path} is damaged: {source}. Restore it, or remove it and join again with a new token")]
    Damaged { path: PathBuf, source: serde_json::Error },
}

/// The directory, held by a lock for the life of this value.
#[derive(Debug)]
pub struct Place {
    root: PathBuf,
    _lock: File,
}

impl Place {
    /// Takes the directory, making it (for its owner alone) where there is none.
    pub fn take(root: &Path) -> Result<Self, PlaceError> {
        let failed = |doing| move |source| PlaceError::Io { path: root.to_owned(), doing, source };
        for dir in [root.to_owned(), root.join("leases"), root.join("homes"), root.join("logs")] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(failed("made"))?;
        }
        let root = root.canonicalize().map_err(failed("opened"))?;
        let path = root.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let lock = lock.map_err(|source| PlaceError::Io { path: path.clone(), doing: "opened", source })?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { root, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(PlaceError::InUse(root)),
            Err(error) => Err(PlaceError::Io { path, doing: "locked", source: error.into() }),
        }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn leases(&self) -> PathBuf {
        self.root.join("leases")
    }

    pub fn homes(&self) -> PathBuf {
        self.root.join("homes")
    }

    /// Logs of leases that are over.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// A file's text; `None` when it is not there.
    pub fn read(&self, name: &str) -> Result<Option<String>, PlaceError> {
        let path = self.root.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(PlaceError::Io { path, doing: "read", source }),
        }
    }

    /// Replaces a file (0600) whole; it is on disk when this answers.
    pub fn write(&self, name: &str, text: &str) -> Result<(), PlaceError> {
        let (path, draft) = (self.root.join(name), self.root.join(format!("{name}.new")));
        let put = || {
            let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(&self.root)?.sync_all()
        };
        put().map_err(|source| PlaceError::Io { path, doing: "written", source })
    }

    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, PlaceError> {
        let Some(text) = self.read(name)? else { return Ok(None) };
        let read = serde_json::from_str(&text);
        read.map(Some).map_err(|source| PlaceError::Damaged { path: self.root.join(name), source })
    }

    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), PlaceError> {
        self.write(name, &serde_json::to_string(value).expect("the agent's files are plain data"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_agent_per_directory_and_files_whole() {
        let root = std::env::temp_dir().join(format!("gristmill-place-{}", std::process::id()));
        let place = Place::take(&root).unwrap();
        assert!(matches!(Place::take(&root), Err(PlaceError::InUse(_))));
        assert_eq!(place.read("a").unwrap(), None);
        place.write("a", "1").unwrap();
        place.write("a", "2").unwrap();
        assert_eq!(place.read_json::<u8>("a").unwrap(), Some(2));
        place.write("a", "{").unwrap();
        assert!(matches!(place.read_json::<u8>("a"), Err(PlaceError::Damaged { .. })));
        drop(place);
        assert!(Place::take(&root).is_ok());
        fs::remove_dir_all(&root).unwrap();
    }
}
