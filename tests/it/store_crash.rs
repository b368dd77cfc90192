//! kill -9 under load, again and again: whatever was acknowledged is there after each reopening, and half a transfer never.
//! The writing process is this test binary started anew with an environment variable.
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use gristmill::base::ids::{LeaseId, UnitId};
use gristmill::base::window::{Instant, Span, Window};
use gristmill::domain::event::{Cause, Event};
use gristmill::store::events::{Cursor, cursor, last_event};
use gristmill::store::tables::Table;
use gristmill::store::{
    Changes, Command, IdempotencyKey, OpenOptions as Settings, Read, Reject, Snapshot, Store, verify,
};

use crate::store_open::Scratch;

const DRIVEN: &str = "GRISTMILL_STORE_DRIVEN";
const ROUNDS: u64 = 180;
const CLIENTS: u64 = 8;

fn clock() -> Instant {
    gristmill::clock::now()
}

fn open(dir: &Path) -> Store {
    Store::open_with(dir, clock, Settings { floor: 0 }).unwrap()
}

/// Like a transfer: debit and credit, a row of its own, an event, a slot, and a kept answer.
fn transfer(store: &Store, name: &str) -> u64 {
    let key = IdempotencyKey::new(name).unwrap();
    let name = format!("t/{name}");
    store
        .write_blocking(Command::new(Cause::Operator).keyed(key, [1; 32]), move |view, now| {
            let number = cursor(view, "count/all")? + 1;
            let mut changes = Changes::new();
            changes.put(&Cursor { name: "count/all".into(), seq: number });
            changes.put(&Cursor { name: "debit/all".into(), seq: cursor(view, "debit/all")? + number });
            changes.put(&Cursor { name: "credit/all".into(), seq: cursor(view, "credit/all")? + number });
            changes.put(&Cursor { name: name.clone(), seq: number });
            changes.event(Cause::Operator, Event::SettingsChanged { what: name.clone() });
            let slot = Window::lasting(Instant::from_seconds(number as i64), Span::from_seconds(1));
            changes.occupy(UnitId::from_u128(1), slot.expect("a second is long"), LeaseId::from_u128(number.into()));
            let _ = now;
            Ok((changes, number))
        })
        .unwrap()
}

/// The process that is killed: clients that write down what was acknowledged, for ever.
fn drive(dir: &Path, round: &str) -> ! {
    let store = open(&dir.join("mill"));
    let log = OpenOptions::new().append(true).create(true).open(dir.join("acknowledged")).unwrap();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (store, round, mut log) = (store.clone(), round.to_owned(), log.try_clone().unwrap());
            std::thread::spawn(move || {
                for number in 0u64.. {
                    let name = format!("{round}-{client}-{number}");
                    let answer = transfer(&store, &name);
                    log.write_all(format!("{name} {answer}\n").as_bytes()).unwrap();
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    unreachable!("clients write until they are killed")
}

/// Complete lines only: the last one may have been cut by the kill, and then nobody saw it.
fn acknowledged(dir: &Path) -> Vec<(String, u64)> {
    let text = fs::read_to_string(dir.join("acknowledged")).unwrap_or_default();
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    whole.lines().map(|line| line.split_once(' ').unwrap()).map(|(name, n)| (name.into(), n.parse().unwrap())).collect()
}

fn holds(snapshot: &Snapshot, acknowledged: &[(String, u64)]) {
    for (name, number) in acknowledged {
        let there = snapshot.get::<Cursor>(&format!("t/{name}")).unwrap();
        assert_eq!(there.map(|row| row.seq), Some(*number), "{name} was acknowledged and is gone");
    }
    let count = cursor(snapshot, "count/all").unwrap();
    assert!(count >= acknowledged.len() as u64);
    assert_eq!(cursor(snapshot, "debit/all").unwrap(), count * (count + 1) / 2);
    assert_eq!(cursor(snapshot, "credit/all").unwrap(), count * (count + 1) / 2);
    assert_eq!(last_event(snapshot).unwrap(), count);
    assert_eq!(snapshot.calendar().len() as u64, count);
}

fn whole(snapshot: &Snapshot, count: u64) {
    let mut answers = 0;
    let counting = |_: &[u8], _: &[u8]| {
        answers += 1;
        Ok(())
    };
    snapshot.scan(Table::Answers, counting).unwrap();
    assert_eq!(answers, count, "an answer for each transfer, and none without");
    let report = verify::run(snapshot, &verify::checks());
    // The driver's slots belong to no lease; everything else must hold.
    let real: Vec<_> = report.breaches.iter().filter(|breach| breach.check != "calendar").collect();
    assert!(real.is_empty(), "{real:?}");
}

#[test]
fn acknowledged_work_survives_kill_nine() {
    if let Ok(driven) = std::env::var(DRIVEN) {
        let (dir, round) = driven.rsplit_once('#').unwrap();
        drive(Path::new(dir), round);
    }
    let dir = Scratch::new("kill");
    fs::create_dir_all(&dir.0).unwrap();
    let mut checked = 0;
    for round in 0..ROUNDS {
        let mut child = Process::new(std::env::current_exe().unwrap())
            .args(["--exact", "store_crash::acknowledged_work_survives_kill_nine", "--nocapture"])
            .env(DRIVEN, format!("{}#{round}", dir.0.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while acknowledged(&dir.0).len() == checked {
            assert!(child.try_wait().unwrap().is_none(), "round {round}: the writer ended by itself");
            std::thread::sleep(Duration::from_millis(1));
        }
        // Somewhere inside the next few commits, differently each time.
        std::thread::sleep(Duration::from_micros(round * 7919 % 20_011));
        child.kill().unwrap();
        child.wait().unwrap();
        let store = open(&dir.0.join("mill"));
        let log = acknowledged(&dir.0);
        {
            let snapshot = store.read().unwrap();
            holds(&snapshot, &log[checked..]);
            if round % 30 == 29 {
                holds(&snapshot, &log);
                whole(&snapshot, cursor(&snapshot, "count/all").unwrap());
            }
        }
        // Asked again, an acknowledged transfer is answered and not repeated.
        let (name, number) = log.last().unwrap();
        let again = Command::new(Cause::Operator).keyed(IdempotencyKey::new(name).unwrap(), [1; 32]);
        let refused = |_: &gristmill::store::View<'_>, _| -> Result<(Changes, u64), Reject> { panic!("decided anew") };
        assert_eq!(store.write_blocking(again, refused).unwrap(), *number);
        store.stop();
        checked = log.len();
    }
    verify::check_file(&dir.0.join("mill")).unwrap();
    eprintln!("{ROUNDS} kills, {checked} transfers acknowledged and found");
}
