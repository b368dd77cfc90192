//! The store as everybody holds it: opened once per data directory, shared by clones, stopped once. It refuses a second
//! server on the same directory, a file from a newer program, and to put a new database over a damaged one.
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::{Database, ReadTransaction, ReadableDatabase};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::changes::Changes;
use super::command::{Command, Reject, WriteError};
use super::engine::engine;
use super::events::{Committed, Subscription, events_after, last_event};
use super::medium::{FileMedium, Medium, MemoryMedium};
use super::read::{Read, StoreError};
use super::schema::{self, FormError, MillTime};
use super::tables::Table;
use super::view::{Snapshot, View};
use super::writer::{Message, State, Waiting, explain, panic_text, run};
use super::{lock, occupancy, supply};
use crate::base::window::Instant;
use crate::domain::bookings::calendar::Calendar;
use crate::domain::bookings::supply::FleetSummary;
use crate::domain::event::Recorded;

/// The database's name inside the data directory.
pub const FILE: &str = "mill.redb";
/// Intents that may wait; more callers wait to be let in.
const QUEUE: usize = 1024;
/// Commits that a slow subscriber may fall behind before it must read the events table.
const BACKLOG: usize = 1024;

/// What can be set about a store.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    /// Free bytes under which writes are refused, so that the file can still be mended and copied.
    pub floor: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { floor: 256 * 1024 * 1024 }
    }
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} is in use by the process {pid}. Only one server may use a data directory: stop that one first, or choose another directory.", dir.display())]
    Locked { dir: PathBuf, pid: String },
    #[error("{} was written by a newer Gristmill (form {found}; this program knows up to {known}). Nothing was changed. Start the newer program, or restore a backup made by this one.", path.display())]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("{} is damaged or is no mill's database: {why}. It was not overwritten. Restore a backup into an empty directory with `gristmill restore`, and keep this file for inspection.", path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("{} cannot be read or written. Check that the directory exists, belongs to you and has room.", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// Whether the store takes writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    Closed { why: String },
}

/// What the writer's thread and all handles share.
pub(super) struct Inner {
    medium: Box<dyn Medium>,
    options: OpenOptions,
    clock: fn() -> Instant,
    database: RwLock<Option<Database>>,
    /// What views need beside the rows: published together, so that no reader sees one without the other.
    indexes: RwLock<(Calendar, FleetSummary)>,
    trouble: RwLock<Option<String>>,
    /// Why nothing but what tells of it may be written: what is on file cannot be. Unlike trouble it does not mend itself.
    breach: RwLock<Option<String>>,
    latest: AtomicI64,
    /// Odd while a commit may be on disk and not yet published.
    turn: AtomicU64,
    told: broadcast::Sender<Arc<Committed>>,
    lock: Mutex<Option<File>>,
}

fn held<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn set<T>(lock: &RwLock<T>, value: T) {
    *lock.write().unwrap_or_else(PoisonError::into_inner) = value;
}

impl Inner {
    pub fn now(&self) -> Instant {
        (self.clock)()
    }

    pub fn database(&self) -> RwLockReadGuard<'_, Option<Database>> {
        held(&self.database)
    }

    pub fn trouble(&self) -> Option<String> {
        held(&self.trouble).clone()
    }

    pub fn close(&self, why: String) {
        set(&self.trouble, Some(why));
    }

    pub fn breach(&self) -> Option<String> {
        held(&self.breach).clone()
    }

    pub fn reopened(&self) {
        set(&self.trouble, None);
    }

    /// Marks the stretch between a commit and its publication.
    pub fn turning(&self, turning: bool) {
        let turn = self.turn.load(Ordering::SeqCst);
        self.turn.store(if turning { turn | 1 } else { (turn | 1) + 1 }, Ordering::SeqCst);
    }

    pub fn retry(&self) -> Duration {
        self.medium.retry()
    }

    pub fn lacks_room(&self) -> Option<String> {
        let room = self.medium.room()?;
        (room < self.options.floor).then(|| {
            let mebibyte = 1024 * 1024;
            let (room, floor) = (room / mebibyte, self.options.floor.div_ceil(mebibyte));
            format!("only {room} MiB are free where the database lies, and {floor} MiB must stay free")
        })
    }

    pub fn publish(&self, state: &State, told: Option<Committed>) {
        let Some(told) = told else { return };
        set(&self.indexes, (state.calendar.clone(), state.fleet.clone()));
        self.latest.store(state.latest.as_millis(), Ordering::Relaxed);
        if !(told.events.is_empty() && told.wake_nodes.is_empty()) {
            // Without subscribers there is nobody to tell.
            let _ = self.told.send(Arc::new(told));
        }
    }

    /// Closes the engine, opens it anew and lets `load` look at it before anybody else does.
    pub fn replace_database<T>(&self, load: impl Fn(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut place = self.database.write().unwrap_or_else(PoisonError::into_inner);
        drop(place.take());
        let attempt = || {
            let database = self.medium.open().map_err(engine)?;
            let loaded = load(&database)?;
            Ok((database, loaded))
        };
        let attempted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(attempt));
        let (database, loaded) =
            attempted.unwrap_or_else(|panic| Err(StoreError::Panicked { what: panic_text(panic.as_ref()) }))?;
        *place = Some(database);
        Ok(loaded)
    }

    /// The writer's last act.
    pub fn shut(&self) {
        self.close("the mill is stopping".into());
        set(&self.database, None);
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// What is read from a database before it is used: the calendar, the counters, and the events from `known` on.
pub(super) fn load(database: &Database, known: u64) -> Result<(State, Vec<Recorded>), StoreError> {
    let transaction = database.begin_read().map_err(engine)?;
    let snapshot = Snapshot::new(transaction, Calendar::new(), FleetSummary::default(), false);
    let calendar = occupancy::load(snapshot.table(Table::Occupancy)?)?;
    let next_seq = last_event(&snapshot)? + 1;
    let latest = snapshot.get::<MillTime>(&"time")?.map_or(Instant::from_millis(i64::MIN), |time| time.latest);
    let missed = if known < next_seq { events_after(&snapshot, known - 1, BACKLOG)? } else { Vec::new() };
    let fleet = supply::load(&snapshot)?;
    Ok((State { calendar, fleet, next_seq, latest }, missed))
}

/// A handle; clones share one store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    queue: mpsc::Sender<Message>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("readiness", &self.readiness()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the data directory, making it (for its owner alone) and an empty database where there is none.
    pub fn open(dir: &Path, clock: fn() -> Instant) -> Result<Self, OpenError> {
        Self::open_with(dir, clock, OpenOptions::default())
    }

    pub fn open_with(dir: &Path, clock: fn() -> Instant, options: OpenOptions) -> Result<Self, OpenError> {
        let lock = lock::take(dir)?;
        let path = dir.join(FILE);
        if !path.try_exists().map_err(|source| OpenError::Io { path: path.clone(), source })? {
            super::create::create(dir, &path)?;
        }
        Self::start(Box::new(FileMedium { path: path.clone() }), clock, options, Some(lock), false, &path)
    }

    /// A store in memory, for tests.
    pub fn memory(clock: fn() -> Instant) -> Self {
        Self::on(MemoryMedium, clock, OpenOptions::default(), true).expect("an empty database in memory always opens")
    }

    /// A store on any medium; `fresh` says that it is new.
    pub fn on(
        medium: impl Medium,
        clock: fn() -> Instant,
        options: OpenOptions,
        fresh: bool,
    ) -> Result<Self, OpenError> {
        Self::start(Box::new(medium), clock, options, None, fresh, Path::new("the database"))
    }

    fn start(
        medium: Box<dyn Medium>,
        clock: fn() -> Instant,
        options: OpenOptions,
        lock: Option<File>,
        fresh: bool,
        path: &Path,
    ) -> Result<Self, OpenError> {
        let (database, state) = open_database(medium.as_ref(), fresh, path)?;
        let inner = Arc::new(Inner {
            medium,
            options,
            clock,
            database: RwLock::new(Some(database)),
            indexes: RwLock::new((state.calendar.clone(), state.fleet.clone())),
            trouble: RwLock::new(None),
            breach: RwLock::new(None),
            latest: AtomicI64::new(state.latest.as_millis()),
            turn: AtomicU64::new(0),
            told: broadcast::Sender::new(BACKLOG),
            lock: Mutex::new(lock),
        });
        let (queue, waiting) = mpsc::channel(QUEUE);
        let shared = Arc::clone(&inner);
        let thread = std::thread::Builder::new()
            .name("mill-writer".into())
            .spawn(move || run(&shared, state, waiting))
            .map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        Ok(Self { inner, queue, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// Has an intent decided, and answers when it is on disk. `decide` may run several times and must do nothing but
    /// decide. Dropping the future does not stop the intent.
    pub async fn write<T, F>(&self, command: Command, decide: F) -> Result<T, WriteError>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(&View<'_>, Instant) -> Result<(Changes, T), Reject> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let waiting = Box::new(Waiting { command, decide, outcome: None, reply });
        self.queue.send(Message::Intent(waiting)).await.map_err(|_| self.stopped())?;
        answer.await.map_err(|_| self.stopped())?
    }

    /// The same for threads that may block; panics on a thread that drives asynchronous tasks.
    pub fn write_blocking<T, F>(&self, command: Command, decide: F) -> Result<T, WriteError>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(&View<'_>, Instant) -> Result<(Changes, T), Reject> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let waiting = Box::new(Waiting { command, decide, outcome: None, reply });
        self.queue.blocking_send(Message::Intent(waiting)).map_err(|_| self.stopped())?;
        answer.blocking_recv().map_err(|_| self.stopped())?
    }

    fn stopped(&self) -> StoreError {
        StoreError::Closed { why: self.inner.trouble().unwrap_or_else(|| "the mill is stopping".into()) }
    }

    /// The state as of the last commit. Never waits for writers; to be dropped before the page is sent.
    pub fn read(&self) -> Result<Snapshot, StoreError> {
        let before = self.inner.turn.load(Ordering::SeqCst);
        let transaction = self.transaction()?;
        let (calendar, fleet) = held(&self.inner.indexes).clone();
        let after = self.inner.turn.load(Ordering::SeqCst);
        Ok(Snapshot::new(transaction, calendar, fleet, before == after && before.is_multiple_of(2)))
    }

    pub(super) fn transaction(&self) -> Result<ReadTransaction, StoreError> {
        let database = self.inner.database();
        database.as_ref().ok_or_else(|| self.stopped())?.begin_read().map_err(engine)
    }

    /// The mill's time: never earlier than what it has decided at before, also after a restart.
    pub fn now(&self) -> Instant {
        self.inner.now().max(self.latest())
    }

    /// What is told after each commit from now on.
    pub fn subscribe(&self) -> Subscription {
        self.inner.told.subscribe()
    }

    /// The latest instant that the mill has decided at; before the first decision, the distant past.
    pub fn latest(&self) -> Instant {
        Instant::from_millis(self.inner.latest.load(Ordering::Relaxed))
    }

    /// Commits since the start, those under way left out.
    pub fn commits(&self) -> u64 {
        self.inner.turn.load(Ordering::Relaxed) / 2
    }

    pub fn readiness(&self) -> Readiness {
        match self.inner.trouble().or_else(|| self.inner.breach()).or_else(|| self.inner.lacks_room()) {
            None => Readiness::Ready,
            Some(why) => Readiness::Closed { why },
        }
    }

    /// Refuses writes from now on, because a check found what cannot be; reading goes on. Only a check that finds
    /// everything true again, or a restart that does, ends it.
    pub fn stop_writes(&self, why: String) {
        set(&self.inner.breach, Some(why));
    }

    /// Ends what [`Store::stop_writes`] began.
    pub fn allow_writes(&self) {
        set(&self.inner.breach, None);
    }

    /// Finishes what waits, closes the file and gives the directory back. Blocks until done.
    pub fn stop(self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        let mut message = Message::Stop;
        // Not `blocking_send`: this may be called where tasks are driven. The writer empties a full queue in a moment.
        while let Err(mpsc::error::TrySendError::Full(returned)) = self.queue.try_send(message) {
            message = returned;
            std::thread::sleep(Duration::from_millis(1));
        }
        if thread.join().is_err() {
            tracing::error!("the writer had stopped by a fault in the program");
        }
    }
}

/// Opens the engine and reads what the writer needs; everything that can be wrong with a file is named here.
fn open_database(medium: &dyn Medium, fresh: bool, path: &Path) -> Result<(Database, State), OpenError> {
    let damaged = |why: String| OpenError::Damaged { path: path.to_owned(), why };
    let attempt = || {
        let database = medium.open().map_err(|error| classify(error, path))?;
        schema::prepare(&database, fresh, schema::MIGRATIONS).map_err(|error| match error {
            FormError::Newer { found, needs: _, known } => OpenError::Newer { path: path.to_owned(), found, known },
            error => damaged(explain(&error)),
        })?;
        let (state, _) = load(&database, u64::MAX).map_err(|error| damaged(explain(&error)))?;
        Ok((database, state))
    };
    // A file that was altered behind the engine's back may make it panic instead of answering.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(attempt))
        .unwrap_or_else(|panic| Err(damaged(panic_text(panic.as_ref()))))
}

/// What the engine says of a file, as an error that names it.
pub(super) fn classify(error: redb::DatabaseError, path: &Path) -> OpenError {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    match error {
        redb::DatabaseError::Storage(redb::StorageError::Io(source))
            if !matches!(source.kind(), InvalidData | UnexpectedEof) =>
        {
            OpenError::Io { path: path.to_owned(), source }
        }
        redb::DatabaseError::DatabaseAlreadyOpen => {
            OpenError::Locked { dir: path.to_owned(), pid: "that has it open".into() }
        }
        error => OpenError::Damaged { path: path.to_owned(), why: explain(&error) },
    }
}
