//! Storage that fails at any operation, and forgets what was not yet synced, held against a plain map: each write happens
//! once or not at all, an acknowledged one always, and the store finds its way back.
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gristmill::base::window::Instant;
use gristmill::domain::event::{Cause, Event};
use gristmill::store::events::{Cursor, cursor, last_event};
use gristmill::store::{
    Changes, Command, IdempotencyKey, Medium, OpenOptions, Snapshot, Store, StoreError, WriteError, verify,
};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use redb::{Builder, Database, DatabaseError, StorageBackend};

fn clock() -> Instant {
    Instant::from_seconds(1)
}

/// What the platter holds and what lies in front of it.
#[derive(Debug, Default)]
struct Platter {
    /// What every reader sees.
    bytes: Vec<u8>,
    /// As of the last sync.
    synced: Vec<u8>,
    /// Since then.
    unsynced: Vec<(usize, Vec<u8>)>,
    /// Operations until the next failure; `None` for never.
    countdown: Option<u32>,
    /// Operations that fail once it is reached.
    failing: u32,
    /// Which unsynced writes are lost when the storage is opened anew: one bit each, in turn.
    lost: u64,
    failures: u32,
}

impl Platter {
    fn operate(&mut self) -> io::Result<()> {
        match self.countdown {
            None => Ok(()),
            Some(0) => {
                self.failing = self.failing.saturating_sub(1);
                if self.failing == 0 {
                    self.countdown = None;
                }
                self.failures += 1;
                Err(io::Error::other("the disk does not answer"))
            }
            Some(left) => {
                self.countdown = Some(left - 1);
                Ok(())
            }
        }
    }

    /// The lights went out: of what was not synced, some writes arrived and some did not, in any order.
    fn forget(&mut self) {
        let mut bytes = std::mem::take(&mut self.synced);
        bytes.resize(self.bytes.len().max(bytes.len()), 0);
        for (number, (offset, data)) in self.unsynced.drain(..).enumerate() {
            if self.lost >> (number % 64) & 1 == 0 {
                bytes[offset..offset + data.len()].copy_from_slice(&data);
            }
        }
        self.bytes.clone_from(&bytes);
        self.synced = bytes;
    }
}

#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<Platter>>);

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        let mut disk = self.0.lock().unwrap();
        disk.operate()?;
        Ok(disk.bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.operate()?;
        let from = offset as usize;
        let there = disk.bytes.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(there);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.operate()?;
        let len = len as usize;
        disk.bytes.resize(len, 0);
        disk.unsynced.retain(|(offset, data)| offset + data.len() <= len);
        if disk.synced.len() > len {
            disk.synced.truncate(len);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.operate()?;
        let bytes = disk.bytes.clone();
        disk.synced = bytes;
        disk.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        let from = offset as usize;
        if let Err(error) = disk.operate() {
            // Half of it arrived.
            let half = data[..data.len() / 2].to_vec();
            disk.bytes[from..from + half.len()].copy_from_slice(&half);
            disk.unsynced.push((from, half));
            return Err(error);
        }
        disk.bytes[from..from + data.len()].copy_from_slice(data);
        disk.unsynced.push((from, data.to_vec()));
        Ok(())
    }
}

struct Faulty(Disk);

impl Medium for Faulty {
    fn open(&self) -> Result<Database, DatabaseError> {
        self.0.0.lock().unwrap().forget();
        Builder::new().create_with_backend(self.0.clone())
    }

    fn retry(&self) -> Duration {
        Duration::from_millis(1)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add { key: u8, amount: u8 },
    Fail { after: u32, times: u32, lost: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let add = (0u8..6, 1u8..9).prop_map(|(key, amount)| Step::Add { key, amount });
    let fail = (0u32..60, 1u32..4, any::<u64>()).prop_map(|(after, times, lost)| Step::Fail { after, times, lost });
    proptest::collection::vec(prop_oneof![4 => add, 1 => fail], 1..40)
}

/// Adds to a row under an idempotency key, again and again until the store says yes.
fn add(store: &Store, number: usize, key: u8, amount: u8) -> u64 {
    for _ in 0..400 {
        let name = format!("row/{key}");
        let once = IdempotencyKey::new(format!("step-{number}")).unwrap();
        let command = Command::new(Cause::Mill).keyed(once, [key; 32]);
        let answer = store.write_blocking(command, move |view, _| {
            let sum = cursor(view, &name)? + u64::from(amount);
            let mut changes = Changes::new();
            changes.put(&Cursor { name: name.clone(), seq: sum }).event(Cause::Mill, Event::BackupMade);
            Ok((changes, sum))
        });
        match answer {
            Ok(sum) => return sum,
            Err(WriteError::Store(StoreError::Closed { .. })) => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("the store did not come back: {:?}", store.readiness());
}

fn compare(snapshot: &Snapshot, model: &BTreeMap<u8, u64>, count: u64) {
    for (key, sum) in model {
        assert_eq!(cursor(snapshot, &format!("row/{key}")).unwrap(), *sum);
    }
    assert_eq!(last_event(snapshot).unwrap(), count);
    let report = verify::run(snapshot, &verify::checks());
    assert!(report.holds(), "{report:?}");
}

fn run(disk: &Disk, steps: Vec<Step>) {
    let store = Store::on(Faulty(disk.clone()), clock, OpenOptions::default(), true).unwrap();
    let mut model = BTreeMap::new();
    let mut count = 0;
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Add { key, amount } => {
                let sum = model.entry(key).or_insert(0);
                *sum += u64::from(amount);
                count += 1;
                assert_eq!(add(&store, number, key, amount), *sum);
            }
            Step::Fail { after, times, lost } => {
                let mut disk = disk.0.lock().unwrap();
                (disk.countdown, disk.failing, disk.lost) = (Some(after), times, lost);
            }
        }
    }
    disk.0.lock().unwrap().countdown = None;
    *model.entry(0).or_insert(0) += 1;
    assert_eq!(add(&store, usize::MAX, 0, 1), model[&0]);
    compare(&store.read().unwrap(), &model, count + 1);
    store.stop();
    let store = Store::on(Faulty(disk.clone()), clock, OpenOptions::default(), false).unwrap();
    compare(&store.read().unwrap(), &model, count + 1);
    store.stop();
}

#[test]
fn every_write_happens_once_or_is_not_acknowledged() {
    let failures = Cell::new(0);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(150));
    let result = runner.run(&steps(), |steps| {
        let disk = Disk::default();
        run(&disk, steps);
        failures.set(failures.get() + disk.0.lock().unwrap().failures);
        Ok(())
    });
    result.unwrap();
    assert!(failures.get() >= 150, "the disk failed only {} times: this proved little", failures.get());
    eprintln!("the disk failed {} times", failures.get());
}
