//! A full disk: writes are refused, nothing acknowledged is lost, reading goes on, and the store recovers by itself. Needs
//! a small file system of its own, hence the right to mount one.
use std::fs;
use std::path::PathBuf;
use std::process::Command as Process;
use std::time::Duration;

use gristmill::base::window::Instant;
use gristmill::domain::event::Cause;
use gristmill::store::events::{Cursor, cursor};
use gristmill::store::tables::Table;
use gristmill::store::{Changes, Command, OpenOptions, Readiness, Store, StoreError, WriteError};

const MEBIBYTE: u64 = 1024 * 1024;

fn clock() -> Instant {
    Instant::from_seconds(1)
}

fn floor(floor: u64) -> OpenOptions {
    OpenOptions { floor }
}

/// A file system of 24 MiB, unmounted at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gristmill-disk-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let mounted = Process::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "gristmill"]).arg(&path).output();
        let mounted = mounted.expect("this test needs the command mount");
        let why = String::from_utf8_lossy(&mounted.stderr);
        assert!(mounted.status.success(), "this test mounts a small file system and needs root for it: {why}");
        Self(path)
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Takes all room but `left` bytes.
    fn fill(&self, left: u64) {
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        let free = stat.f_bavail * stat.f_frsize;
        fs::write(self.ballast(), vec![1; (free - left) as usize]).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Process::new("umount").arg("-l").arg(&self.0).status();
        let _ = fs::remove_dir(&self.0);
    }
}

/// Writes 64 kB under the next number.
fn add(store: &Store) -> Result<u64, WriteError> {
    store.write_blocking(Command::new(Cause::Mill), |view, _| {
        let next = cursor(view, "n")? + 1;
        let mut changes = Changes::new();
        changes.put(&Cursor { name: "n".into(), seq: next }).blob(Table::Papers, &next, vec![7; 64 * 1024]);
        Ok((changes, next))
    })
}

fn papers(store: &Store) -> u64 {
    let mut papers = 0;
    let counting = |_: &[u8], value: &[u8]| {
        papers += u64::from(value.len() == 64 * 1024);
        Ok(())
    };
    store.read().unwrap().scan(Table::Papers, counting).unwrap();
    papers
}

#[test]
fn a_disk_that_runs_full_loses_nothing_and_recovers_by_itself() {
    let disk = SmallDisk::mount("full");
    let dir = disk.0.join("mill");
    // No floor: the file system itself says no, in the middle of a commit.
    let store = Store::open_with(&dir, clock, floor(0)).unwrap();
    let mut acknowledged = 0;
    while acknowledged < 20 {
        acknowledged = add(&store).unwrap();
    }
    disk.fill(MEBIBYTE);
    let refused = loop {
        match add(&store) {
            Ok(number) => acknowledged = number,
            Err(error) => break error,
        }
        assert!(acknowledged < 1000, "24 MiB hold no 1000 papers of 64 kB");
    };
    assert!(matches!(refused, WriteError::Store(StoreError::Closed { .. })), "{refused:?}");
    fs::remove_file(disk.ballast()).unwrap();
    let mut tries = 0;
    let next = loop {
        match add(&store) {
            Ok(number) => break number,
            Err(WriteError::Store(StoreError::Closed { .. })) => tries += 1,
            Err(error) => panic!("{error:?}"),
        }
        assert!(tries < 600, "the store did not recover: {:?}", store.readiness());
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(store.readiness(), Readiness::Ready);
    // Refused papers may have reached the disk unsaid; acknowledged ones must have.
    assert!(next > acknowledged);
    assert_eq!(papers(&store), next);
    store.stop();
    let store = Store::open_with(&dir, clock, floor(0)).unwrap();
    assert_eq!(papers(&store), next);
    store.stop();
}

#[test]
fn under_the_floor_writes_are_refused_and_reading_goes_on() {
    let disk = SmallDisk::mount("floor");
    let store = Store::open_with(&disk.0.join("mill"), clock, floor(8 * MEBIBYTE)).unwrap();
    assert_eq!(add(&store).unwrap(), 1);
    disk.fill(5 * MEBIBYTE);
    let refused = add(&store).unwrap_err();
    assert!(
        refused.to_string().contains("only 5 MiB are free") || refused.to_string().contains("only 4 MiB are free"),
        "{refused}"
    );
    assert!(matches!(store.readiness(), Readiness::Closed { .. }));
    assert_eq!(papers(&store), 1);
    fs::remove_file(disk.ballast()).unwrap();
    assert_eq!(store.readiness(), Readiness::Ready);
    assert_eq!(add(&store).unwrap(), 2);
    store.stop();
}
