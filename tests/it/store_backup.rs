//! Backup while the mill writes, preview, restore; and verify, which must see what is wrong.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gristmill::base::ids::{LeaseId, MemberId, UnitId};
use gristmill::base::window::{Instant, Span, Window};
use gristmill::domain::event::{Cause, Event};
use gristmill::store::backup::BackupError;
use gristmill::store::events::{Cursor, cursor, last_event};
use gristmill::store::restore::{preview, restore};
use gristmill::store::schema::MillTime;
use gristmill::store::tables::Table;
use gristmill::store::{Changes, Command, Store, verify};

use crate::store_open::Scratch;

fn clock() -> Instant {
    Instant::from_seconds(77)
}

fn step(store: &Store) -> u64 {
    store
        .write_blocking(Command::new(Cause::Mill), |view, _| {
            let next = cursor(view, "n")? + 1;
            let mut changes = Changes::new();
            changes.put(&Cursor { name: "n".into(), seq: next }).event(Cause::Mill, Event::BackupMade);
            Ok((changes, next))
        })
        .unwrap()
}

#[test]
fn a_backup_under_writes_is_one_moment_and_comes_back_whole() {
    let dir = Scratch::new("backup");
    let store = Store::open(&dir.0.join("mill"), clock).unwrap();
    let go_on = Arc::new(AtomicBool::new(true));
    for _ in 0..20 {
        step(&store);
    }
    let writer = {
        let (store, go_on) = (store.clone(), Arc::clone(&go_on));
        std::thread::spawn(move || {
            while go_on.load(Ordering::Relaxed) {
                step(&store);
            }
        })
    };
    let file = dir.0.join("mill.backup");
    let made = store.backup(&file).unwrap();
    go_on.store(false, Ordering::Relaxed);
    writer.join().unwrap();
    assert!(matches!(store.backup(&file), Err(BackupError::Exists { .. })));
    store.stop();

    let seen = preview(&file).unwrap();
    assert_eq!(seen, made);
    assert_eq!(seen.meta::<MillTime>(&"time").unwrap(), Some(MillTime { latest: clock() }));
    assert!(seen.counts["events"] >= 20);

    let target = dir.0.join("elsewhere");
    assert_eq!(restore(&file, &target).unwrap(), made);
    assert!(matches!(restore(&file, &target), Err(BackupError::NotEmpty { .. })));
    let restored = Store::open(&target, clock).unwrap();
    {
        let snapshot = restored.read().unwrap();
        let last = last_event(&snapshot).unwrap();
        assert_eq!((last, cursor(&snapshot, "n").unwrap()), (seen.counts["events"], last), "one moment, not two");
        let report = verify::run(&snapshot, &verify::checks());
        assert!(report.holds(), "{report:?}");
    }
    restored.stop();
    verify::check_file(&target).unwrap();
    let left: Vec<_> = std::fs::read_dir(&dir.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "no drafts are left: {left:?}");
}

#[test]
fn damaged_cut_and_foreign_backups_change_nothing() {
    let dir = Scratch::new("badbackup");
    let store = Store::open(&dir.0.join("mill"), clock).unwrap();
    for _ in 0..50 {
        step(&store);
    }
    let file = dir.0.join("good");
    store.backup(&file).unwrap();
    store.stop();
    let good = std::fs::read(&file).unwrap();
    let mut flipped = good.clone();
    let middle = good.len() - 200;
    flipped[middle] ^= 0x40;
    let text = String::from_utf8_lossy(&good[12..]).into_owned();
    let header_end = 12 + u32::from_be_bytes(good[8..12].try_into().unwrap()) as usize;
    let newer = text[..header_end - 12].replacen("\"min_reader\":1", "\"min_reader\":9", 1);
    let newer = [&good[..12], newer.as_bytes(), &good[header_end..]].concat();
    let cut = good[..good.len() - 100].to_vec();
    let header_cut = good[..40].to_vec();
    for (what, bytes) in
        [("flipped", flipped), ("cut", cut), ("header cut", header_cut), ("newer", newer), ("foreign", vec![b'x'; 500])]
    {
        let bad = dir.0.join("bad");
        std::fs::write(&bad, bytes).unwrap();
        let target = dir.0.join("target");
        let error = restore(&bad, &target).unwrap_err();
        match what {
            "newer" => assert!(matches!(error, BackupError::Newer { .. }), "{error}"),
            _ => assert!(matches!(error, BackupError::Unusable { .. }), "{what}: {error}"),
        }
        assert!(preview(&bad).is_err(), "{what}");
        assert!(!target.join("mill.redb").exists() && !target.join("mill.redb.new").exists(), "{what}");
        let _ = std::fs::remove_dir_all(&target);
    }
}

#[test]
fn verify_names_what_cannot_be() {
    let store = Store::memory(clock);
    store
        .write_blocking(Command::new(Cause::Mill), |_, _| {
            let mut changes = Changes::new();
            let member = MemberId::from_u128(5);
            let hour = Window::lasting(clock(), Span::from_hours(1)).unwrap();
            changes.blob(Table::Members, &member, b"\x01{}".to_vec());
            changes.index(Table::TeamsByName, &"ghost", &gristmill::base::ids::TeamId::from_u128(1));
            changes.occupy(UnitId::from_u128(1), hour, LeaseId::from_u128(3));
            changes.put(&Cursor { name: "ahead".into(), seq: 10 });
            Ok((changes, ()))
        })
        .unwrap();
    let report = verify::run(&store.read().unwrap(), &verify::checks());
    let told: Vec<&str> = report.breaches.iter().map(|breach| breach.what.as_str()).collect();
    assert_eq!(told.len(), 4, "{told:#?}");
    for part in ["members, key", "teams_by_name, key", "“ahead” has followed", "is no lease"] {
        assert!(told.iter().any(|what| what.contains(part)), "{part}: {told:#?}");
    }
}
