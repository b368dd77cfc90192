//! The real way to book: a request is read, planned on a snapshot, decided with its hold, committed and shown, by clients
//! that each wait for their answer. Raw redb is then given the very rows that were written, in the batches they were
//! committed in.
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant as Stopwatch};

use gristmill::app::bookings::{place, show};
use gristmill::app::fleet::hub::Hub;
use gristmill::app::mill::Mill;
use gristmill::app::people::{actor, setup};
use gristmill::app::trust::seal::Seal;
use gristmill::app::upkeep::start;
use gristmill::base::hardware::{ObservedNode, UnitShape};
use gristmill::base::ids::{BookingId, LeaseId, MemberId, NodeId, PoolId, TeamId};
use gristmill::base::secret::SecretHash;
use gristmill::base::window::{Instant, Span, Window};
use gristmill::domain::event::{Cause, Event, Recorded};
use gristmill::domain::fleet::duty::Duty;
use gristmill::domain::fleet::node::{Node, NodeContact, NodeState, Pool, PoolPolicy, Service, Unit};
use gristmill::domain::people::installation::{Installation, Mode, Reality};
use gristmill::domain::people::member::{Member, Membership, Role, Team};
use gristmill::domain::people::rights::Actor;
use gristmill::store::changes::CalendarChange;
use gristmill::store::tables::Table;
use gristmill::store::{Changes, Command, IdempotencyKey, OpenOptions, Store, View};
use gristmill::wire::api::bookings::BookRequest;

use super::{Raw, Rows, Settings, Tally, UNITS, clock, rows, tell, tell_all, unit};

const NAME: &str = "book_intent";
/// Everybody wants the same: the next hour that is free.
const SOON: &str = "book_intent_soon";
const PER_NODE: u64 = 8;
const TEAMS: u64 = 50;
/// Hours ahead that bookings are spread over; less than the horizon, and far more room than is used.
const SPREAD: u64 = 26 * 24;

/// What was decided in one round.
type Recorder = Arc<Mutex<HashMap<BookingId, Changes>>>;

struct House {
    mill: Mill,
    people: Vec<Actor>,
    recorded: Recorder,
}

fn write(store: &Store, fill: impl Fn(&mut Changes, Instant) + Send + 'static) {
    let decide = move |_: &View<'_>, now: Instant| {
        let mut changes = Changes::new();
        fill(&mut changes, now);
        Ok((changes, ()))
    };
    store.write_blocking(Command::new(Cause::Operator), decide).expect("the benchmark's rows are written");
}

/// 1,000 GPUs on nodes of eight, 50 teams, and a member for each client.
fn furnish(store: &Store, clients: u64) {
    let pool = PoolId::from_u128(1);
    write(store, move |changes, now| {
        changes.put(&Installation {
            organisation: "Bench".parse().expect("a name"),
            currency: "EUR".to_owned(),
            time_zone: "Europe/Berlin".to_owned(),
            mode: Mode::Showback,
            reality: Reality::Real,
            created: now,
            smtp: None,
            address: Vec::new(),
        });
        let policy = PoolPolicy::kind(false);
        changes.put(&Pool { id: pool, name: "Main".parse().expect("a name"), auto_admit: true, policy, revision: 0 });
        for number in 0..TEAMS {
            let (id, name) = (TeamId::from_u128(number.into()), format!("Team {number}").parse().expect("a name"));
            setup::put_team(changes, &Team { id, name, cost_centre: None, separate_entity: false, created: now });
        }
        for number in 0..clients {
            let id = MemberId::from_u128(u128::from(number) + 1);
            let member = Member {
                id,
                email: format!("m{number}@lab.example").parse().expect("an address"),
                name: format!("Member {number}").parse().expect("a name"),
                password: String::new(),
                admin: false,
                disabled: false,
                uid: 20_000,
                created: now,
            };
            setup::put_member(changes, &member);
            let team = TeamId::from_u128((number % TEAMS).into());
            setup::put_membership(changes, &Membership { team, member: id, role: Role::Member, since: now });
        }
        for number in 0..UNITS.div_ceil(PER_NODE) {
            machine(changes, pool, number, now);
        }
    });
}

fn machine(changes: &mut Changes, pool: PoolId, number: u64, now: Instant) {
    let node = NodeId::from_u128(u128::from(number) + 1);
    changes.put(&Node {
        id: node,
        name: format!("node-{number}").parse().expect("a name"),
        pool,
        owner: None,
        key: SecretHash::of(&node.to_bytes()),
        certificate_serial: "1".to_owned(),
        certificate_expires: now,
        certificate_next: None,
        state: NodeState::Admitted { since: now },
        duty: Duty::default(),
        observed: ObservedNode { cpus: 128, memory_bytes: 1 << 40, disk_bytes: 1 << 42, ..ObservedNode::default() },
        epoch: 1,
        generation: 1,
        joined: now,
        local: false,
    });
    changes.put(&NodeContact { node, epoch: 1, connected: true, last: now, skew_ms: 0, unattested_since: None });
    for index in 0..PER_NODE {
        let id = unit(number * PER_NODE + index);
        changes.put(&Unit {
            id,
            node,
            pool,
            uuid: format!("GPU-{id}"),
            model: "H200".to_owned(),
            shape: UnitShape::Gpu,
            index: u32::try_from(index).expect("few"),
            minor: None,
            memory_bytes: 141 << 30,
            service: Service::In,
        });
        changes.index(Table::UnitsByNode, &(node, id), &id);
    }
}

/// An hour that is over: most of what a mill has on file is history.
fn past(number: u64, now: Instant) -> Window {
    let back = i64::try_from(number / UNITS + 2).expect("small");
    let start = now.ceil_second().minus(Span::from_hours(back));
    Window::lasting(start, Span::from_hours(1)).expect("an hour is long")
}

/// Bookings on file, in both databases; the accounts stay as the real ones are.
fn preload(store: &Store, raw: &mut Raw, count: u64) {
    const CHUNK: u64 = 2000;
    let base = clock();
    let shaped = |number: u64| {
        let mut changes = rows(number);
        changes.rows.retain(|row| row.table != Table::Accounts);
        let lease = LeaseId::from_u128(number.into());
        changes.occupy(unit(number), past(number, base), lease);
        changes
    };
    for first in (0..count).step_by(CHUNK as usize) {
        let numbers = first..count.min(first + CHUNK);
        let mut all = Changes::new();
        let mut theirs: Vec<Rows> = Vec::new();
        for number in numbers {
            let mut one = shaped(number);
            theirs.push(raw.written(&one, &number.to_string()));
            all.rows.append(&mut one.rows);
            all.calendar.append(&mut one.calendar);
        }
        raw.commit(&theirs);
        let decide = move |_: &View<'_>, _: Instant| Ok((all.clone(), ()));
        store.write_blocking(Command::new(Cause::Operator), decide).expect("free hours are booked");
    }
}

impl Raw {
    /// The rows of one intent as the writer puts them: its own, its slots, its events, its kept answer.
    fn written(&mut self, changes: &Changes, key: &str) -> Rows {
        let put =
            |row: &gristmill::store::changes::RowChange| Some((row.table.name(), row.key.clone(), row.value.clone()?));
        let mut rows: Rows = changes.rows.iter().filter_map(put).collect();
        for change in &changes.calendar {
            let CalendarChange::Occupy { unit, window, .. } = change else { continue };
            let mut slot = unit.to_bytes().to_vec();
            slot.extend(window.start().as_millis().to_be_bytes());
            rows.push(("occupancy", slot, vec![0; 24]));
        }
        for (cause, event) in &changes.events {
            self.events += 1;
            let recorded = Recorded { seq: self.events, at: clock(), cause: *cause, event: event.clone() };
            let json = serde_json::to_vec(&recorded).expect("events serialise");
            rows.push(("events", self.events.to_be_bytes().to_vec(), [&[1], json.as_slice()].concat()));
        }
        rows.push(("answers", format!("0123456789abcdef{key}").into_bytes(), vec![9; 72]));
        rows
    }
}

/// A small generator with a seed of its own for each client and round.
fn roll(dice: &mut u64, limit: u64) -> u64 {
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    (*dice >> 11) % limit
}

fn request(dice: &mut u64, soon: bool) -> BookRequest {
    let at = (!soon).then(|| clock().plus(Span::from_minutes(60 + roll(dice, SPREAD * 60) as i64)).into());
    BookRequest {
        gpus: 1 + roll(dice, 2),
        model: None,
        duration_seconds: 3600,
        at,
        by: None,
        team: None,
        title: None,
        command: None,
    }
}

impl House {
    fn open(settings: &Settings, raw: &mut Raw) -> Self {
        let dir = settings.dir.join("intent");
        let store = Store::open_with(&dir, clock, OpenOptions::default()).expect("a new store opens");
        furnish(&store, settings.clients);
        preload(&store, raw, settings.on_file);
        let mill = mill(store, &dir);
        let view = mill.store.read().expect("an open store is read");
        let person = |number: u64| {
            let id = MemberId::from_u128(u128::from(number) + 1);
            actor::load(&view, id).expect("it is read").expect("it is there").1
        };
        let people = (0..settings.clients).map(person).collect();
        drop(view);
        Self { mill, people, recorded: Recorder::default() }
    }

    async fn book(&self, number: usize, key: &str, request: BookRequest) {
        let (who, now) = (&self.people[number], clock());
        let key = IdempotencyKey::new(key).expect("short and printable");
        let (command, decide) = place::intent(&self.mill, who, request, Some(key), now).expect("there is room");
        let recorded = Arc::clone(&self.recorded);
        let decide = move |view: &View<'_>, now: Instant| {
            let (changes, id) = decide(view, now)?;
            recorded.lock().expect("nobody panics").insert(id, changes.clone());
            Ok((changes, id))
        };
        let id = self.mill.store.write(command, decide).await.expect("there is room");
        show::show(&self.mill, who, id, now).expect("what was booked is shown");
    }

    /// One round of all clients; answers which bookings each commit had.
    fn drive(
        self: &Arc<Self>,
        runtime: &tokio::runtime::Runtime,
        round: u64,
        soon: bool,
        tally: &mut Tally,
    ) -> Vec<Vec<BookingId>> {
        let mut told = self.mill.store.subscribe();
        let begun = Stopwatch::now();
        let until = begun + Duration::from_secs(1);
        let clients: Vec<_> = (0..self.people.len())
            .map(|number| {
                let house = Arc::clone(self);
                runtime.spawn(async move {
                    let mut dice = (round * 1000 + number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                    let mut latencies = Vec::new();
                    while Stopwatch::now() < until {
                        let key = format!("r{round}-{soon}-{number}-{}", latencies.len());
                        let asked = Stopwatch::now();
                        house.book(number, &key, request(&mut dice, soon)).await;
                        latencies.push(asked.elapsed());
                    }
                    latencies
                })
            })
            .collect();
        let latencies: Vec<Duration> = runtime.block_on(async {
            let mut all = Vec::new();
            for client in clients {
                all.extend(client.await.expect("a client ends"));
            }
            all
        });
        let (took, done) = (begun.elapsed(), latencies.len() as u64);
        tally.add(latencies, done, took);
        let mut batches = Vec::new();
        while let Ok(committed) = told.try_recv() {
            let placed = |event: &Recorded| match event.event {
                Event::BookingPlaced { booking, .. } => Some(booking),
                _ => None,
            };
            batches.push(committed.events.iter().filter_map(placed).collect::<Vec<_>>());
        }
        batches.retain(|batch| !batch.is_empty());
        batches
    }

    /// The rows of what was committed, in the batches in which it was.
    fn replay(&self, raw: &mut Raw, batches: &[Vec<BookingId>], tally: &mut Tally) {
        let recorded = std::mem::take(&mut *self.recorded.lock().expect("nobody panics"));
        let (mut latencies, mut took, mut done) = (Vec::new(), Duration::ZERO, 0);
        for batch in batches {
            let written = |id: &BookingId| raw.written(&recorded[id], &id.to_string());
            let rows: Vec<Rows> = batch.iter().map(written).collect();
            let begun = Stopwatch::now();
            raw.commit(&rows);
            let elapsed = begun.elapsed();
            latencies.push(elapsed);
            took += elapsed;
            done += rows.len() as u64;
        }
        tally.add(latencies, done, took);
    }
}

fn mill(store: Store, dir: &std::path::Path) -> Mill {
    let seal = Arc::new(Seal::load_or_create(&dir.join("keys/seal.key")).expect("a key is made"));
    Mill::new(store, seal, Arc::new(Hub::default()), "http://localhost", dir)
}

pub fn measure(settings: &Settings) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let mut raw = Raw::open(&settings.dir);
    let house = Arc::new(House::open(settings, &mut raw));
    let (mut ours, mut peer, mut batches) = (Tally::default(), Tally::default(), Vec::new());
    // The first round warms both.
    for round in 0..=settings.seconds {
        if round == 1 {
            (ours, peer) = (Tally::default(), Tally::default());
        }
        batches = house.drive(&runtime, round, false, &mut ours);
        house.replay(&mut raw, &batches, &mut peer);
    }
    let mean =
        |batches: &[Vec<BookingId>]| batches.iter().map(Vec::len).sum::<usize>() as f64 / batches.len().max(1) as f64;
    tell_all(settings, NAME, &mut ours, &mut peer, mean(&batches));
    let (mut ours, mut peer) = (Tally::default(), Tally::default());
    for round in 0..settings.seconds.min(3) {
        batches = house.drive(&runtime, round, true, &mut ours);
        house.replay(&mut raw, &batches, &mut peer);
    }
    tell_all(settings, SOON, &mut ours, &mut peer, mean(&batches));
    house.mill.store.clone().stop();
    let dir = settings.dir.join("intent");
    let begun = Stopwatch::now();
    let store = Store::open_with(&dir, clock, OpenOptions::default()).expect("it opens again");
    tell(settings, NAME, "open", begun.elapsed().as_secs_f64() * 1e3, "ms");
    let again = mill(store, &dir);
    let started = runtime.block_on(start::check(&again)).expect("the start looks at it");
    tell(settings, NAME, "ready", begun.elapsed().as_secs_f64() * 1e3, "ms");
    assert!(started.breaches.is_empty(), "{:?}", started.breaches);
    again.store.clone().stop();
    drop(raw);
    std::fs::remove_dir_all(&settings.dir).expect("the benchmark's directory can be removed");
}
