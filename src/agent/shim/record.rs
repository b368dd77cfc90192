//! The files by which a lease outlives its processes: the spec, written once, and the state, replaced whole. It refuses to
//! leave half a file behind.
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::wire::lease::{LeaseSpec, LeaseState};

pub const SPEC: &str = "spec.json";
pub const STATE: &str = "state.json";
pub const LOG: &str = "log";

/// Replaces a file by rename; `durable` waits for the disk.
pub(super) fn write<T: Serialize>(dir: &Path, name: &str, value: &T, durable: bool) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.new"));
    let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&serde_json::to_vec_pretty(value)?)?;
    if durable {
        file.sync_all()?;
    }
    fs::rename(&temporary, dir.join(name))?;
    if durable { fs::File::open(dir)?.sync_all() } else { Ok(()) }
}

fn read<T: DeserializeOwned>(dir: &Path, name: &str) -> io::Result<T> {
    Ok(serde_json::from_slice(&fs::read(dir.join(name))?)?)
}

pub fn read_spec(dir: &Path) -> io::Result<LeaseSpec> {
    read(dir, SPEC)
}

pub fn read_state(dir: &Path) -> io::Result<LeaseState> {
    read(dir, STATE)
}

/// Writes the spec of a new lease.
pub fn write_spec(dir: &Path, spec: &LeaseSpec) -> io::Result<()> {
    write(dir, SPEC, spec, true)
}
