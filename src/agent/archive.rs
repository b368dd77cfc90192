//! Logs of leases that are over, kept so that they can be read afterwards: for thirty days, and while they take less than a
//! share of space together. It refuses to keep anything else of a lease.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::lease::{self, LeaseError};
use super::shim::LOG;
use crate::base::ids::LeaseId;
use crate::wire::lease::{ExitKind, LeaseKind, Phase};

/// How long a log is kept.
const KEPT: Duration = Duration::from_secs(30 * 86_400);
/// Bytes that all kept logs may take together; the oldest go first.
const ROOM: u64 = 10 << 30;

/// The directory of one attempt of a lease.
pub fn dir_name(lease: LeaseId, attempt: u32) -> String {
    format!("{lease}-{attempt}")
}

/// What [`dir_name`] made.
pub fn parse_dir_name(name: &str) -> Option<(LeaseId, u32)> {
    let (lease, attempt) = name.rsplit_once('-')?;
    Some((lease.parse().ok()?, attempt.parse().ok()?))
}

fn log_path(logs: &Path, lease: LeaseId, attempt: u32) -> PathBuf {
    logs.join(dir_name(lease, attempt)).with_extension("log")
}

fn exit_path(logs: &Path, lease: LeaseId, attempt: u32) -> PathBuf {
    logs.join(dir_name(lease, attempt)).with_extension("json")
}

/// Removes what a lease that is over has left, after its log is put aside.
pub fn put_aside(dir: &Path, logs: &Path, lease: LeaseId, attempt: u32) -> Result<(), LeaseError> {
    if let Ok(seen) = lease::inspect(dir)
        && matches!(seen.spec.kind, LeaseKind::Batch { .. })
        && let Phase::Ended { exit, .. } = &seen.state.phase
    {
        // First how it ended, whole, and then the log: whoever finds the log finds the end too.
        let (path, exit) = (exit_path(logs, lease, attempt), serde_json::to_vec(exit).expect("an exit is plain data"));
        let draft = path.with_extension("new");
        let kept = fs::write(&draft, exit)
            .and_then(|()| fs::rename(&draft, &path))
            .and_then(|()| fs::rename(dir.join(LOG), log_path(logs, lease, attempt)));
        if let Err(error) = kept {
            tracing::warn!(%lease, %error, "a lease's log could not be kept");
        }
    }
    lease::collect(dir)
}

/// The newest attempt of a lease whose log is kept.
pub fn newest(logs: &Path, lease: LeaseId) -> io::Result<Option<u32>> {
    let attempts = fs::read_dir(logs)?.flatten().filter_map(|entry| {
        let path = entry.path();
        let (found, attempt) = parse_dir_name(path.file_stem()?.to_str()?)?;
        (found == lease && path.extension().is_some_and(|e| e == "log")).then_some(attempt)
    });
    Ok(attempts.max())
}

/// The kept log of one attempt, opened, so that it can be read to its end whatever is removed meanwhile.
pub fn open(logs: &Path, lease: LeaseId, attempt: u32) -> io::Result<fs::File> {
    fs::File::open(log_path(logs, lease, attempt))
}

/// How the command of a kept log ended.
pub fn exit(logs: &Path, lease: LeaseId, attempt: u32) -> ExitKind {
    let exit = fs::read(exit_path(logs, lease, attempt)).ok().and_then(|json| serde_json::from_slice(&json).ok());
    exit.unwrap_or(ExitKind::None)
}

/// Removes what is too old or too much.
pub fn prune(logs: &Path) -> io::Result<()> {
    let mut kept: Vec<(Duration, u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(logs)? {
        let entry = entry?;
        let facts = entry.metadata()?;
        // A file from the future counts as new.
        let age = facts.modified()?.elapsed().unwrap_or(Duration::ZERO);
        kept.push((age, facts.len(), entry.path()));
    }
    kept.sort();
    let mut bytes = 0u64;
    for (age, length, path) in kept {
        bytes = bytes.saturating_add(length);
        if age > KEPT || bytes > ROOM {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_return() {
        let lease = LeaseId::from_u128(77);
        assert_eq!(parse_dir_name(&dir_name(lease, 3)), Some((lease, 3)));
        for bad in ["", "x", "ls_x-1", "-1"] {
            assert_eq!(parse_dir_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_newest_attempt_is_found() {
        let logs = std::env::temp_dir().join(format!("gristmill-logs-{}", std::process::id()));
        fs::create_dir_all(&logs).unwrap();
        let lease = LeaseId::from_u128(5);
        assert_eq!(newest(&logs, lease).unwrap(), None);
        for attempt in [1, 2] {
            fs::write(log_path(&logs, lease, attempt), format!("{attempt}")).unwrap();
        }
        fs::write(exit_path(&logs, lease, 2), serde_json::to_vec(&ExitKind::Code(3)).unwrap()).unwrap();
        assert_eq!(newest(&logs, lease).unwrap(), Some(2));
        let text = io::read_to_string(open(&logs, lease, 2).unwrap()).unwrap();
        assert_eq!(
            (text.as_str(), exit(&logs, lease, 2), exit(&logs, lease, 1)),
            ("2", ExitKind::Code(3), ExitKind::None)
        );
        prune(&logs).unwrap();
        assert!(newest(&logs, lease).unwrap().is_some());
        fs::remove_dir_all(&logs).unwrap();
    }
}
