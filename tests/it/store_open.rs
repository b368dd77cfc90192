//! Opening a data directory: what survives, who is refused, which files are named and left alone.
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use gristmill::base::ids::{LeaseId, UnitId};
use gristmill::base::window::{Instant, Span, Window};
use gristmill::domain::event::{Cause, Event};
use gristmill::store::events::{Cursor, cursor, last_event};
use gristmill::store::{Changes, Command, OpenError, Store};

fn clock() -> Instant {
    Instant::from_seconds(1_000_000)
}

fn earlier() -> Instant {
    Instant::from_seconds(5)
}

/// A directory of its own, removed at the end.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gristmill-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn fill(dir: &Path) {
    let store = Store::open(dir, clock).unwrap();
    store
        .write_blocking(Command::new(Cause::Operator), |_, _| {
            let mut changes = Changes::new();
            let hour = Window::lasting(Instant::from_seconds(0), Span::from_hours(1)).unwrap();
            changes.put(&Cursor { name: "a".into(), seq: 7 }).event(Cause::Operator, Event::InstallationCreated);
            changes.occupy(UnitId::from_u128(1), hour, LeaseId::from_u128(1));
            Ok((changes, ()))
        })
        .unwrap();
    store.stop();
}

#[test]
fn what_was_written_is_there_again() {
    let dir = Scratch::new("again");
    fill(&dir.0);
    assert_eq!(std::fs::metadata(&dir.0).unwrap().permissions().mode() & 0o777, 0o700);
    let store = Store::open(&dir.0, earlier).unwrap();
    {
        let snapshot = store.read().unwrap();
        assert_eq!((cursor(&snapshot, "a").unwrap(), last_event(&snapshot).unwrap()), (7, 1));
        assert_eq!(snapshot.calendar().len(), 1);
    }
    let now = store.write_blocking(Command::new(Cause::Mill), |_, now| Ok((Changes::new(), now))).unwrap();
    assert_eq!(now, clock(), "a restarted mill does not fall behind what it wrote");
    store.stop();
}

#[test]
fn a_second_server_is_refused_and_told_who_is_there() {
    let dir = Scratch::new("second");
    let first = Store::open(&dir.0, clock).unwrap();
    let refused = Store::open(&dir.0, clock).unwrap_err();
    assert!(matches!(&refused, OpenError::Locked { pid, .. } if *pid == std::process::id().to_string()), "{refused}");
    first.stop();
    Store::open(&dir.0, clock).unwrap().stop();
}

#[test]
fn damaged_files_are_named_and_left_as_they_are() {
    let dir = Scratch::new("damaged");
    fill(&dir.0);
    let path = dir.0.join("mill.redb");
    let whole = std::fs::read(&path).unwrap();
    let mut garbled = whole.clone();
    garbled[..4096].fill(0xA5);
    let mut foreign = b"SQLite format 3\0".to_vec();
    foreign.resize(8192, 0);
    for (what, bytes) in
        [("empty", vec![]), ("short", whole[..whole.len() / 3].to_vec()), ("garbled", garbled), ("foreign", foreign)]
    {
        std::fs::write(&path, &bytes).unwrap();
        let error = Store::open(&dir.0, clock).map(Store::stop).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{what}: {error}");
        assert!(error.to_string().contains("mill.redb"), "{what}: {error}");
        assert!(std::fs::read(&path).unwrap() == bytes, "{what}: the file was changed");
    }
    std::fs::write(&path, &whole).unwrap();
    Store::open(&dir.0, clock).unwrap().stop();
}

#[test]
fn a_draft_left_by_a_crash_is_no_obstacle() {
    let dir = Scratch::new("draft");
    std::fs::create_dir_all(&dir.0).unwrap();
    std::fs::write(dir.0.join("mill.redb.new"), b"half").unwrap();
    fill(&dir.0);
    assert!(!dir.0.join("mill.redb.new").exists());
}
