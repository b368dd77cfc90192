//! Recomputes from the rows alone whether the store can be true: every record reads and lies under its own key, every
//! index row leads somewhere, nothing overlaps on the calendar. Areas bring checks of their own. It refuses to repair.
use std::collections::{HashMap, HashSet};

use super::answers;
use super::events::last_event;
use super::lock;
use super::medium::builder;
use super::occupancy::{self, Occupied};
use super::open::{FILE, OpenError, Store, classify};
use super::read::{Read, StoreError};
use super::record::{Key, Record};
use super::tables::Table;
use super::view::Snapshot;
use super::writer::explain;
use crate::base::ids::{LeaseId, UnitId};
use crate::domain::bookings::booking::Booking;
use crate::domain::bookings::calendar::Slot;
use crate::domain::bookings::lease::Lease;
use crate::domain::event::Recorded;
use crate::domain::fleet::duty::Maintenance;
use crate::domain::fleet::evidence::Evidence;
use crate::domain::fleet::health::GpuHealth;
use crate::domain::fleet::node::{JoinToken, Node, NodeAgent, NodeContact, Pool, Unit};
use crate::domain::fleet::unbooked::{Bill, BilledDay, UnixUser, Use};
use crate::domain::money::account::{AccountRow, Entry};
use crate::domain::money::hold::Hold;
use crate::domain::money::invoice::{Document, Series};
use crate::domain::money::rate::Rate;
use crate::domain::money::transfer::{Link, Transfer};
use crate::domain::people::member::{ApiToken, Invitation, Member, Membership, Notice, Session, Team};

/// Something that cannot be, found by a check.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Breach {
    pub check: &'static str,
    pub what: String,
}

/// One thing to verify; areas hand in their own. It says what is wrong, one line each, as a person should read it.
#[derive(Clone, Copy)]
pub struct Check {
    pub name: &'static str,
    pub run: fn(&Snapshot) -> Result<Vec<String>, StoreError>,
}

/// What was looked at and what was found.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Report {
    /// Names of the checks that ran, in order.
    pub ran: Vec<&'static str>,
    pub breaches: Vec<Breach>,
}

impl Report {
    pub const fn holds(&self) -> bool {
        self.breaches.is_empty()
    }
}

/// Most breaches told per check: a damaged table is not listed row by row.
const MOST_TOLD: usize = 100;

/// The one check that falls into pieces by table.
const RECORDS: &str = "records";

/// The checks that the store itself answers for.
pub fn checks() -> Vec<Check> {
    vec![
        Check { name: RECORDS, run: records },
        Check { name: "events", run: events },
        Check { name: "calendar", run: calendar },
        Check { name: "fleet", run: fleet },
    ]
}

/// Runs checks on one snapshot. A check that cannot be run is a breach.
pub fn run(snapshot: &Snapshot, checks: &[Check]) -> Report {
    let mut report = Report::default();
    for check in checks {
        report.take(check.name, (check.run)(snapshot));
    }
    report
}

/// Runs checks while the mill writes, each on a snapshot of its own and the check of records table by table, for as long
/// as `go_on` says so; `None` when it ended that. Every check is true of every commit, so none needs the same one as
/// another; and what is written meanwhile can take the place of old pages as soon as one piece is done, where one snapshot
/// for the whole night would keep all of them and make the file grow by everything written in it.
pub fn run_apart(store: &Store, checks: &[Check], go_on: &dyn Fn() -> bool) -> Result<Option<Report>, StoreError> {
    let mut report = Report::default();
    for check in checks {
        let tables: &[Table] = if check.name == RECORDS { Table::ALL } else { &[] };
        for &table in tables {
            if !go_on() {
                return Ok(None);
            }
            report.take(check.name, records_of(&store.read()?, table));
        }
        if !go_on() {
            return Ok(None);
        }
        if tables.is_empty() {
            report.take(check.name, (check.run)(&store.read()?));
        }
    }
    Ok(Some(report))
}

impl Report {
    fn take(&mut self, check: &'static str, found: Result<Vec<String>, StoreError>) {
        if self.ran.last() != Some(&check) {
            self.ran.push(check);
        }
        let found = found.unwrap_or_else(|error| vec![format!("the check could not be finished: {}", explain(&error))]);
        let more = found.len().saturating_sub(MOST_TOLD);
        let told = found.into_iter().take(MOST_TOLD);
        let rest = (more > 0).then(|| format!("and {more} more of this kind"));
        self.breaches.extend(told.chain(rest).map(|what| Breach { check, what }));
    }
}

/// Lets the engine check every page of a stopped mill's file, mending what a crash left; names the file if it is damaged.
pub fn check_file(dir: &std::path::Path) -> Result<(), OpenError> {
    let _lock = lock::take(dir)?;
    let path = dir.join(FILE);
    let check = || {
        let mut database = builder().open(&path).map_err(|error| classify(error, &path))?;
        // `false` means that it was mended, which an unclean end explains.
        database.check_integrity().map(|_| ()).map_err(|error| classify(error, &path))
    };
    std::panic::catch_unwind(check).unwrap_or_else(|panic| {
        Err(OpenError::Damaged { path: path.clone(), why: super::writer::panic_text(panic.as_ref()) })
    })
}

/// What the rows of a table are.
enum Form {
    Record(fn(&[u8], &[u8]) -> Result<(), String>),
    /// Values are primary keys of that table.
    Leads(Table),
    /// Checked elsewhere, or bytes without a form of their own.
    Bytes,
}

fn record<R: Record>(key: &[u8], value: &[u8]) -> Result<(), String> {
    let record = R::decode(value).map_err(|error| explain(&error))?;
    if record.key().bytes() == key { Ok(()) } else { Err("the record lies under another's key".into()) }
}

fn answer(_: &[u8], value: &[u8]) -> Result<(), String> {
    answers::decode(value).map(|_| ()).map_err(|error| explain(&error))
}

/// Whoever adds a table says here what its rows are.
fn form(table: Table) -> Form {
    use Form::{Bytes, Leads};
    match table {
        Table::Events => Form::Record(record::<Recorded>),
        Table::EventsByNode => Leads(Table::Events),
        Table::Answers => Form::Record(answer),
        Table::Cursors => Form::Record(record::<super::events::Cursor>),
        Table::Members => Form::Record(record::<Member>),
        Table::MembersByEmail => Leads(Table::Members),
        Table::Teams => Form::Record(record::<Team>),
        Table::TeamsByName => Leads(Table::Teams),
        Table::Memberships => Form::Record(record::<Membership>),
        Table::MembershipsByMember => Leads(Table::Memberships),
        Table::Invitations => Form::Record(record::<Invitation>),
        Table::InvitationsByTeam => Leads(Table::Invitations),
        Table::Sessions => Form::Record(record::<Session>),
        Table::SessionsByMember => Leads(Table::Sessions),
        Table::Tokens => Form::Record(record::<ApiToken>),
        Table::TokensByMember => Leads(Table::Tokens),
        Table::Notices => Form::Record(record::<Notice>),
        Table::Outbox => Form::Record(record::<super::people::OutboxMail>),
        Table::Pools => Form::Record(record::<Pool>),
        Table::Nodes => Form::Record(record::<Node>),
        Table::NodesByKey | Table::NodesByName => Leads(Table::Nodes),
        Table::Units => Form::Record(record::<Unit>),
        Table::UnitsByNode => Leads(Table::Units),
        Table::JoinTokens => Form::Record(record::<JoinToken>),
        Table::NodeContacts => Form::Record(record::<NodeContact>),
        Table::Maintenance => Form::Record(record::<Maintenance>),
        Table::GpuHealth => Form::Record(record::<GpuHealth>),
        Table::Evidence => Form::Record(record::<Evidence>),
        Table::NodeAgents => Form::Record(record::<NodeAgent>),
        Table::Bookings => Form::Record(record::<Booking>),
        Table::BookingsDue
        | Table::BookingsByTeam
        | Table::BookingsByStart
        | Table::BookingsByMember
        | Table::LiveBookings => Leads(Table::Bookings),
        Table::Leases => Form::Record(record::<Lease>),
        Table::LeasesByBooking | Table::LeasesByNode => Leads(Table::Leases),
        Table::Accounts => Form::Record(record::<AccountRow>),
        Table::Entries => Form::Record(record::<Entry>),
        Table::Transfers => Form::Record(record::<Transfer>),
        Table::Holds => Form::Record(record::<Hold>),
        Table::HoldsByBooking | Table::OpenHolds => Leads(Table::Holds),
        Table::Rates => Form::Record(record::<Rate>),
        Table::Chain => Form::Record(record::<Link>),
        Table::Unbilled | Table::Billed => Leads(Table::Transfers),
        Table::DocumentsByTeam => Leads(Table::Documents),
        Table::Meta | Table::Sealed | Table::Papers | Table::Occupancy => Bytes,
        Table::Documents => Form::Record(record::<Document>),
        Table::Series => Form::Record(record::<Series>),
        Table::Uses => Form::Record(record::<Use>),
        Table::OpenUses => Leads(Table::Uses),
        Table::UseBills => Form::Record(record::<Bill>),
        Table::UseDays => Form::Record(record::<BilledDay>),
        Table::UnixUsers => Form::Record(record::<UnixUser>),
        Table::Checkpoints => Form::Record(record::<super::checkpoint::Checkpoint>),
    }
}

fn records(snapshot: &Snapshot) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    for &table in Table::ALL {
        found.extend(records_of(snapshot, table)?);
    }
    Ok(found)
}

/// One table's part of the check "records".
fn records_of(snapshot: &Snapshot, table: Table) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    let name = table.name();
    match form(table) {
        Form::Bytes => {}
        Form::Record(check) => snapshot.scan(table, |key, value| {
            if let Err(why) = check(key, value) {
                found.push(format!("{name}, key {}: {why}", hex(key)));
            }
            Ok(())
        })?,
        Form::Leads(to) => snapshot.scan(table, |key, value| {
            if snapshot.raw(to, value)?.is_none() {
                found.push(format!("{name}, key {}: it leads to no row of {}", hex(key), to.name()));
            }
            Ok(())
        })?,
    }
    Ok(found)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Numbered from 1 without gaps, and time does not run backward.
fn events(snapshot: &Snapshot) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    let mut before: Option<Recorded> = None;
    snapshot.scan(Table::Events, |_, value| {
        let event = Recorded::decode(value)?;
        let (expected, since) = before.as_ref().map_or((1, event.at), |last| (last.seq + 1, last.at));
        if event.seq != expected {
            found.push(format!("event {} stands where {expected} should", event.seq));
        }
        if event.at < since {
            found.push(format!("event {} is dated before the one it follows", event.seq));
        }
        before = Some(event);
        Ok(())
    })?;
    let last = last_event(snapshot)?;
    snapshot.scan(Table::Cursors, |_, value| {
        let cursor = super::events::Cursor::decode(value)?;
        // Cursors over other things than events share the table; those names carry a slash.
        if cursor.seq > last && !cursor.name.contains('/') {
            found.push(format!("“{}” has followed to event {}, and there are {last}", cursor.name, cursor.seq));
        }
        Ok(())
    })?;
    Ok(found)
}

/// The same of the events after `seq` alone, which is the last that is known to stand in its place.
pub fn events_since(view: &impl Read, seq: u64) -> Result<Vec<String>, StoreError> {
    const PAGE: usize = 4096;
    let mut found = Vec::new();
    let mut before = view.get::<Recorded>(&seq)?;
    if seq > 0 && before.is_none() {
        found.push(format!("event {seq} was there and is gone"));
    }
    let mut expected = seq;
    loop {
        let page = super::events::events_after(view, expected, PAGE)?;
        for event in &page {
            expected += 1;
            if event.seq != expected {
                found.push(format!("event {} stands where {expected} should", event.seq));
                expected = event.seq;
            }
            if before.as_ref().is_some_and(|last| event.at < last.at) {
                found.push(format!("event {} is dated before the one it follows", event.seq));
            }
            before = Some(event.clone());
        }
        if page.len() < PAGE {
            return Ok(found);
        }
    }
}

/// No unit is taken twice; what the calendar holds belongs to a lease, and what a running lease has is on the calendar.
fn calendar(snapshot: &Snapshot) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    let mut before: Option<Occupied> = None;
    let mut rows: HashMap<LeaseId, Vec<Occupied>> = HashMap::new();
    let mut total = 0;
    snapshot.scan(Table::Occupancy, |key, value| {
        total += 1;
        let Some(row) = occupancy::decode(key, value) else {
            found.push(format!("occupancy, key {}: it is no such row", hex(key)));
            return Ok(());
        };
        if let Some(last) = before.filter(|last| last.unit == row.unit && last.window.end() > row.window.start()) {
            found.push(format!("{} is taken by {} and {} at once", row.unit, last.lease, row.lease));
        }
        before = Some(row);
        rows.entry(row.lease).or_default().push(row);
        let indexed = snapshot.calendar().busy(row.unit, row.window);
        if snapshot.is_exact() && indexed != [Slot { window: row.window, lease: row.lease }] {
            found.push(format!("{} is taken by {}, and the index says {indexed:?}", row.unit, row.lease));
        }
        Ok(())
    })?;
    if snapshot.is_exact() && snapshot.calendar().len() != total {
        found.push(format!("the index holds {} slots, the table {total}", snapshot.calendar().len()));
    }
    snapshot.scan(Table::Leases, |_, value| {
        let lease = Lease::decode(value)?;
        let taken = rows.remove(&lease.id).unwrap_or_default();
        found.extend(compare(&lease, &taken));
        Ok(())
    })?;
    found.extend(rows.into_iter().map(|(lease, taken)| format!("{lease} is no lease and holds {} slots", taken.len())));
    Ok(found)
}

/// What the search knows of the fleet is what the rows say.
fn fleet(snapshot: &Snapshot) -> Result<Vec<String>, StoreError> {
    let same = !snapshot.is_exact() || super::supply::load(snapshot)? == *snapshot.fleet();
    Ok(if same { Vec::new() } else { vec!["what the search knows of the fleet is not what its rows say".into()] })
}

/// A lease that is over may have given its time back, wholly or from some instant on; a lease that is not has all of it.
fn compare(lease: &Lease, taken: &[Occupied]) -> Vec<String> {
    let mut found = Vec::new();
    let units: HashSet<UnitId> = lease.units.iter().copied().collect();
    let whole = lease.occupied();
    for row in taken {
        if !units.contains(&row.unit) {
            found.push(format!("{} holds {}, which is not its unit", lease.id, row.unit));
        }
        if !lease.is_over() && row.window != whole {
            found.push(format!("{} holds {} for {:?} instead of {whole:?}", lease.id, row.unit, row.window));
        }
    }
    if !lease.is_over() && taken.len() != units.len() {
        found.push(format!("{} has {} units and holds {} of them", lease.id, units.len(), taken.len()));
    }
    found
}
