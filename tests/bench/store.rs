//! Group-committed book-and-hold against the same rows and batches on raw redb, on the same disk, in the same run: once with
//! rows of its shape (`book_and_hold`), which measures the store, and once through the intent that people use
//! (`book_intent`), which measures the mill.
//! `cargo bench --bench store -- [--json] [--on-file N] [--million] [--seconds N] [--clients N] [--dir DIR]`; without a
//! number 0 and 300,000 bookings are on file, with `--million` 1,000,000 as well, and what it takes to open them again.
mod intent;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant as Stopwatch};

use gristmill::base::ids::{BookingId, HoldId, LeaseId, NodeId, TeamId, UnitId};
use gristmill::base::window::{Instant, Span, Window};
use gristmill::domain::event::{Cause, Event};
use gristmill::store::tables::Table;
use gristmill::store::{Changes, Command, IdempotencyKey, OpenOptions, Read, Store};
use redb::{Builder, Database, Durability, TableDefinition};

/// Units in the fleet; each holds an equal part of the bookings on file.
const UNITS: u64 = 1000;
/// Sizes of the rows in bytes, as real ones have them.
const BOOKING: usize = 640;
const LEASE: usize = 420;
const HOLD: usize = 300;
const ACCOUNT: usize = 180;

#[derive(Clone)]
struct Settings {
    json: bool,
    on_file: u64,
    /// Each measured by itself.
    sizes: Vec<u64>,
    seconds: u64,
    clients: u64,
    dir: PathBuf,
}

fn settings() -> Settings {
    let mut settings = Settings {
        json: false,
        on_file: 0,
        sizes: vec![0, 300_000],
        seconds: 5,
        clients: 64,
        dir: std::env::temp_dir().join(format!("gristmill-bench-{}", std::process::id())),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse().ok()).expect("a number follows");
        match argument.as_str() {
            "--json" => settings.json = true,
            "--on-file" => settings.sizes = vec![number()],
            "--million" => settings.sizes.push(1_000_000),
            "--seconds" => settings.seconds = number(),
            "--clients" => settings.clients = number(),
            "--dir" => settings.dir = arguments.next().expect("a directory follows").into(),
            // Cargo adds this one.
            "--bench" => {}
            other => panic!("unknown argument {other}"),
        }
    }
    settings
}

fn clock() -> Instant {
    gristmill::clock::now()
}

/// Everything one booking writes apart from slot, event and answer, for the `number`-th booking.
fn rows(number: u64) -> Changes {
    let wide = u128::from(number);
    let (booking, lease, hold) = (BookingId::from_u128(wide), LeaseId::from_u128(wide), HoldId::from_u128(wide));
    let team = TeamId::from_u128(wide % 50);
    let node = NodeId::from_u128(u128::from(number % UNITS / 8));
    let start = window(number).start();
    let mut changes = Changes::new();
    changes.blob(Table::Bookings, &booking, vec![b'b'; BOOKING]);
    changes.index(Table::BookingsByTeam, &(team, booking), &booking);
    changes.index(Table::BookingsByMember, &(team, booking), &booking);
    changes.index(Table::BookingsByStart, &(start, booking), &booking);
    changes.index(Table::BookingsDue, &(start, booking), &booking);
    changes.index(Table::LiveBookings, &booking, &booking);
    changes.blob(Table::Leases, &lease, vec![b'l'; LEASE]);
    changes.index(Table::LeasesByBooking, &(booking, lease), &lease);
    changes.index(Table::LeasesByNode, &(node, lease), &lease);
    changes.blob(Table::Holds, &hold, vec![b'h'; HOLD]);
    changes.index(Table::HoldsByBooking, &(booking, hold), &hold);
    changes.index(Table::OpenHolds, &hold, &hold);
    changes.blob(Table::Accounts, &team, vec![b'a'; ACCOUNT]);
    changes
}

fn unit(number: u64) -> UnitId {
    UnitId::from_u128(u128::from(number % UNITS) + 1)
}

/// One hour on a unit; the next booking of the same unit follows it.
fn window(number: u64) -> Window {
    let start = Instant::from_seconds(1_800_000_000 + (number / UNITS * 3600) as i64);
    Window::lasting(start, Span::from_hours(1)).expect("an hour is long")
}

fn events(number: u64) -> [Event; 2] {
    let (booking, team) = (BookingId::from_u128(number.into()), TeamId::from_u128((number % 50).into()));
    let hold = HoldId::from_u128(number.into());
    let amount = gristmill::base::credits::Credits::from_micros(7_500_000);
    [Event::BookingPlaced { booking, team, window: window(number) }, Event::Held { hold, team, amount }]
}

fn book(store: &Store, number: u64) {
    let key = IdempotencyKey::new(format!("booking-{number:020}")).expect("short and printable");
    let command = Command::new(Cause::Operator).keyed(key, [7; 32]);
    let answer = store.write_blocking(command, move |view, _| {
        assert!(view.calendar().free(unit(number), window(number)));
        view.raw(Table::Accounts, &TeamId::from_u128((number % 50).into()).to_bytes())?;
        let mut changes = rows(number);
        changes.occupy(unit(number), window(number), LeaseId::from_u128(number.into()));
        for event in events(number) {
            changes.event(Cause::Operator, event);
        }
        Ok((changes, BookingId::from_u128(number.into())))
    });
    answer.expect("a free hour is booked");
}

/// The same bytes without anything around them.
struct Raw {
    database: Database,
    events: u64,
}

type Rows = Vec<(&'static str, Vec<u8>, Vec<u8>)>;

impl Raw {
    fn open(dir: &Path) -> Self {
        std::fs::create_dir_all(dir).expect("the benchmark's directory can be made");
        let database = Builder::new().set_cache_size(64 << 20).create(dir.join("raw.redb")).expect("a new file opens");
        Self { database, events: 0 }
    }

    /// All rows of one booking, made before the time is taken.
    fn gather(&mut self, number: u64) -> Rows {
        let mut rows: Rows = rows(number)
            .rows
            .into_iter()
            .map(|row| (row.table.name(), row.key, row.value.unwrap_or_default()))
            .collect();
        let mut slot = unit(number).to_bytes().to_vec();
        slot.extend(window(number).start().as_millis().to_be_bytes());
        rows.push(("occupancy", slot, vec![0; 24]));
        for event in events(number) {
            self.events += 1;
            let recorded = gristmill::domain::event::Recorded {
                seq: self.events,
                at: window(number).start(),
                cause: Cause::Operator,
                event,
            };
            let json = serde_json::to_vec(&recorded).expect("events serialise");
            rows.push(("events", self.events.to_be_bytes().to_vec(), [&[1], json.as_slice()].concat()));
        }
        let key = format!("0123456789abcdefbooking-{number:020}").into_bytes();
        rows.push(("answers", key, vec![9; 72]));
        rows
    }

    fn commit(&self, batch: &[Rows]) {
        let mut transaction = self.database.begin_write().expect("a transaction begins");
        transaction.set_durability(Durability::Immediate).expect("nothing is in the way");
        transaction.set_two_phase_commit(true);
        transaction.set_quick_repair(true);
        {
            let mut open = std::collections::HashMap::new();
            for (table, key, value) in batch.iter().flatten() {
                let definition = TableDefinition::<&[u8], &[u8]>::new(table);
                let table =
                    open.entry(*table).or_insert_with(|| transaction.open_table(definition).expect("a table opens"));
                table.insert(key.as_slice(), value.as_slice()).expect("a row is written");
            }
            // Some rows are of that table too, and it can be open once only.
            drop(open);
            let time = TableDefinition::<&[u8], &[u8]>::new("meta");
            let mut time = transaction.open_table(time).expect("a table opens");
            time.insert(&b"time"[..], &[1; 20][..]).expect("a row is written");
        }
        transaction.commit().expect("the disk takes it");
    }
}

/// What several rounds came to.
#[derive(Default)]
struct Tally {
    latencies: Vec<Duration>,
    done: u64,
    took: Duration,
}

impl Tally {
    fn add(&mut self, latencies: Vec<Duration>, done: u64, took: Duration) {
        self.latencies.extend(latencies);
        self.done += done;
        self.took += took;
    }

    fn per_second(&self) -> f64 {
        self.done as f64 / self.took.as_secs_f64()
    }

    /// In milliseconds; the share of requests that were answered within.
    fn within(&mut self, share: f64) -> f64 {
        self.latencies.sort_unstable();
        self.latencies[((self.latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3
    }
}

/// Clients that each wait for their answer before they ask again; returns how many bookings shared a commit.
fn drive(store: &Store, first: u64, settings: &Settings, seconds: u64, tally: &mut Tally) -> f64 {
    let commits = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let mut told = store.subscribe();
    let begun = Stopwatch::now();
    let until = begun + Duration::from_secs(seconds);
    let clients: Vec<_> = (0..settings.clients)
        .map(|client| {
            let (store, clients) = (store.clone(), settings.clients);
            std::thread::spawn(move || {
                let mut latencies = Vec::new();
                let mut number = first + client;
                while Stopwatch::now() < until {
                    let asked = Stopwatch::now();
                    book(&store, number);
                    latencies.push(asked.elapsed());
                    number += clients;
                }
                latencies
            })
        })
        .collect();
    let counter = {
        let commits = std::sync::Arc::clone(&commits);
        std::thread::spawn(move || {
            use tokio::sync::broadcast::error::RecvError;
            loop {
                let seen = match told.blocking_recv() {
                    Ok(_) => 1,
                    Err(RecvError::Lagged(missed)) => missed,
                    Err(RecvError::Closed) => return,
                };
                commits.fetch_add(seen, std::sync::atomic::Ordering::Relaxed);
                if Stopwatch::now() > until {
                    return;
                }
            }
        })
    };
    let latencies: Vec<Duration> =
        clients.into_iter().flat_map(|client| client.join().expect("a client ends")).collect();
    let took = begun.elapsed();
    let done = latencies.len() as u64;
    // One more commit, so that the counter sees the end.
    book(store, first + 1_000_000_000);
    counter.join().expect("the counter ends");
    let commits = commits.load(std::sync::atomic::Ordering::Relaxed).max(1);
    tally.add(latencies, done, took);
    done as f64 / commits as f64
}

fn drive_raw(raw: &mut Raw, first: u64, batch: u64, seconds: u64, tally: &mut Tally) {
    let mut latencies = Vec::new();
    let mut number = first;
    let mut took = Duration::ZERO;
    while took < Duration::from_secs(seconds) {
        let rows: Vec<Rows> = (number..number + batch).map(|number| raw.gather(number)).collect();
        let begun = Stopwatch::now();
        raw.commit(&rows);
        let elapsed = begun.elapsed();
        latencies.push(elapsed);
        took += elapsed;
        number += batch;
    }
    tally.add(latencies, number - first, took);
}

/// Puts bookings on file, in large batches that are not timed.
fn preload(store: &Store, raw: &mut Raw, count: u64) {
    const CHUNK: u64 = 2000;
    let mut number = 0;
    while number < count {
        let end = count.min(number + CHUNK);
        let answer = store.write_blocking(Command::new(Cause::Operator), move |_, _| {
            let mut all = Changes::new();
            for number in number..end {
                let mut changes = rows(number);
                changes.occupy(unit(number), window(number), LeaseId::from_u128(number.into()));
                all.rows.append(&mut changes.rows);
                all.calendar.append(&mut changes.calendar);
                all.events.extend(events(number).map(|event| (Cause::Operator, event)));
            }
            Ok((all, ()))
        });
        answer.expect("free hours are booked");
        let rows: Vec<Rows> = (number..end).map(|number| raw.gather(number)).collect();
        raw.commit(&rows);
        number = end;
    }
}

fn tell(settings: &Settings, name: &str, figure: &str, value: f64, unit: &str) {
    let bench = format!("{name}/{}_on_file", settings.on_file);
    if settings.json {
        let line = serde_json::json!({ "bench": bench, "figure": figure, "value": value, "unit": unit });
        println!("{line}");
    } else {
        println!("{bench:<32} {figure:<28} {value:>12.2} {unit}");
    }
}

/// The figures that both ways of booking have in common.
fn tell_all(settings: &Settings, name: &str, ours: &mut Tally, peer: &mut Tally, batch: f64) {
    tell(settings, name, "bookings", ours.per_second(), "1/s");
    tell(settings, name, "raw_redb_same_rows", peer.per_second(), "1/s");
    tell(settings, name, "ratio_to_raw", ours.per_second() / peer.per_second(), "1");
    tell(settings, name, "batch", batch, "bookings/commit");
    tell(settings, name, "p50", ours.within(0.5), "ms");
    tell(settings, name, "p99", ours.within(0.99), "ms");
    tell(settings, name, "raw_commit_p50", peer.within(0.5), "ms");
    tell(settings, name, "raw_commit_p99", peer.within(0.99), "ms");
    tell(settings, name, "p99_ratio_to_raw", ours.within(0.99) / peer.within(0.99), "1");
}

fn main() {
    let asked = settings();
    for on_file in asked.sizes.clone() {
        let settings = Settings { on_file, ..asked.clone() };
        shape(&settings);
        intent::measure(&settings);
    }
}

/// Rows shaped like those of a booking, without the mill around them.
fn shape(settings: &Settings) {
    const NAME: &str = "book_and_hold";
    let store = Store::open_with(&settings.dir.join("mill"), clock, OpenOptions::default()).expect("a new store opens");
    let mut raw = Raw::open(&settings.dir);
    preload(&store, &mut raw, settings.on_file);
    let first = settings.on_file.div_ceil(UNITS) * UNITS;
    // Warm both before either is timed.
    let mut batch = drive(&store, first, settings, 1, &mut Tally::default());
    drive_raw(&mut raw, first, batch.round() as u64, 1, &mut Tally::default());
    // They take turns, so that neither has the better minute of a shared machine.
    let (mut ours, mut peer) = (Tally::default(), Tally::default());
    for round in 1..=settings.seconds {
        let from = first + round * 10_000_000 * UNITS;
        batch = drive(&store, from, settings, 1, &mut ours);
        drive_raw(&mut raw, from, batch.round().max(1.0) as u64, 1, &mut peer);
    }
    tell_all(settings, NAME, &mut ours, &mut peer, batch);
    let begun = Stopwatch::now();
    store.stop();
    let stopped = begun.elapsed();
    let begun = Stopwatch::now();
    let again = Store::open_with(&settings.dir.join("mill"), clock, OpenOptions::default()).expect("it opens again");
    tell(settings, NAME, "open", begun.elapsed().as_secs_f64() * 1e3, "ms");
    tell(settings, NAME, "stop", stopped.as_secs_f64() * 1e3, "ms");
    again.stop();
    drop(raw);
    std::fs::remove_dir_all(&settings.dir).expect("the benchmark's directory can be removed");
}
