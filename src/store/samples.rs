//! What GPUs read over time: a file of its own beside the mill's database, written in batches by a thread of its own, capped
//! in bytes, and disposable. It refuses to matter: damaged, it is set aside; out of reach, nothing is kept and the mill
//! goes on; too full, it keeps less and says so.
mod file;
mod pack;
mod tiers;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::Database;

use self::file::{About, Fresh, Unusable};
pub use self::pack::Point;
pub use self::tiers::{Retention, Tier};
use super::read::StoreError;
use super::writer::explain;
use crate::base::ids::UnitId;
use crate::base::window::{Instant, Span};

/// The file's name inside the data directory.
pub const FILE: &str = "samples.redb";
/// How often what came is written.
const WRITE_EVERY: Duration = Duration::from_secs(60);
/// Moments of one GPU that may wait for the file: an hour. More are lost.
const MOST_WAITING: usize = 360;

/// What is kept and what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub retention: Retention,
    /// Less than whole retention is kept, because the file would outgrow its limit.
    pub shortened: bool,
    /// Bytes of readings in the file.
    pub bytes: u64,
    /// The limit that was set, bytes of the file.
    pub cap: u64,
    /// Why nothing is kept, if so.
    pub trouble: Option<String>,
}

struct Inner {
    path: PathBuf,
    cap: u64,
    waiting: Mutex<Fresh>,
    file: RwLock<Result<Database, String>>,
    about: Mutex<About>,
    /// Held by who writes.
    writing: Mutex<()>,
}

/// A handle; clones share one file.
#[derive(Clone)]
pub struct Samples {
    inner: Arc<Inner>,
    thread: Arc<Mutex<Option<Writer>>>,
}

/// The thread that writes, and how it is told to end: by dropping the sender.
struct Writer {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Samples {
    /// Opens the file, makes one, or goes without. `cap`: bytes that the file may take.
    pub fn open(path: &Path, cap: u64) -> Self {
        let (file, about) = open(path);
        let inner = Arc::new(Inner {
            path: path.to_owned(),
            cap,
            waiting: Mutex::default(),
            file: RwLock::new(file),
            about: Mutex::new(about),
            writing: Mutex::default(),
        });
        let (stop, stopped) = mpsc::channel();
        let writer = Arc::clone(&inner);
        let thread = std::thread::Builder::new().name("mill-samples".to_owned()).spawn(move || {
            while stopped.recv_timeout(WRITE_EVERY) == Err(RecvTimeoutError::Timeout) {
                writer.write();
            }
            writer.write();
        });
        let thread =
            thread.map_err(|error| tracing::warn!(%error, "readings are not written: no thread can be started"));
        Self { inner, thread: Arc::new(Mutex::new(thread.ok().map(|thread| Writer { stop, thread }))) }
    }

    /// Takes in what a GPU read; it is kept once the next batch is written, and shown at once.
    pub fn add(&self, unit: UnitId, at: Instant, point: Point) {
        if point.is_empty() {
            return;
        }
        let mut waiting = held(&self.inner.waiting);
        let of_unit = waiting.entry(unit).or_default();
        if of_unit.len() < MOST_WAITING {
            of_unit.insert(Tier::Fine.slot(at), point);
        }
    }

    /// What is known of a GPU between two instants, in order; where nothing was read there is nothing.
    pub fn series(
        &self,
        unit: UnitId,
        tier: Tier,
        from: Instant,
        until: Instant,
    ) -> Result<Vec<(Instant, Point)>, StoreError> {
        let reading = self.inner.file.read().unwrap_or_else(PoisonError::into_inner);
        let kept = match &*reading {
            Ok(database) => catch_unwind(AssertUnwindSafe(|| file::series(database, unit, tier, from, until)))
                .unwrap_or_else(|_| {
                    Err(StoreError::Panicked { what: "a chunk of readings could not be read".to_owned() })
                })?,
            Err(_) => Vec::new(),
        };
        drop(reading);
        let mut found: std::collections::BTreeMap<i64, Point> = kept.into_iter().collect();
        if tier == Tier::Fine
            && let Some(waiting) = held(&self.inner.waiting).get(&unit)
        {
            found.extend(waiting.range(tier.slot(from)..tier.slot(until).max(tier.slot(from))));
        }
        Ok(found.into_iter().map(|(slot, point)| (tier.at(slot), point)).collect())
    }

    /// What is kept, for people.
    pub fn kept(&self) -> Kept {
        let about = *held(&self.inner.about);
        let trouble = self.inner.file.read().unwrap_or_else(PoisonError::into_inner).as_ref().err().cloned();
        Kept {
            retention: file::step(about.level),
            shortened: about.level > 0,
            bytes: about.bytes,
            cap: self.inner.cap,
            trouble,
        }
    }

    /// The finest tier that still reaches back so far.
    pub fn tier_for(&self, back: Span) -> Tier {
        let kept = self.kept().retention;
        Tier::ALL.into_iter().find(|&tier| kept.of(tier) >= back).unwrap_or(Tier::Hour)
    }

    /// Writes what waits now.
    pub fn write(&self) {
        self.inner.write();
    }

    /// Writes what waits and ends the thread.
    pub fn stop(&self) {
        let Some(Writer { stop, thread }) = held(&self.thread).take() else { return };
        drop(stop);
        if thread.join().is_err() {
            tracing::warn!("the writer of readings had stopped by a fault in the program");
        }
    }
}

impl Inner {
    fn write(&self) {
        let _turn = held(&self.writing);
        // What waits stays visible until it is in the file.
        let fresh = held(&self.waiting).clone();
        let before = *held(&self.about);
        let reading = self.file.read().unwrap_or_else(PoisonError::into_inner);
        let Ok(database) = &*reading else {
            drop(reading);
            held(&self.waiting).clear();
            return self.open_again(false);
        };
        let wrote = catch_unwind(AssertUnwindSafe(|| file::write(database, &fresh, before, self.cap)));
        drop(reading);
        let forget = || {
            let mut waiting = held(&self.waiting);
            for (unit, points) in &fresh {
                let Some(left) = waiting.get_mut(unit) else { continue };
                left.retain(|slot, point| points.get(slot) != Some(point));
                if left.is_empty() {
                    waiting.remove(unit);
                }
            }
        };
        match wrote {
            Ok(Ok(after)) => {
                if after.level != before.level {
                    tracing::warn!(kept = ?file::step(after.level), "readings are kept for another time, by the limit of the file");
                }
                *held(&self.about) = after;
                forget();
            }
            Ok(Err(error)) => {
                tracing::warn!(error = explain(&error), "readings could not be written; their file is opened again");
                forget();
                let damaged = matches!(&error, StoreError::Engine(cause)
                    if matches!(cause.downcast_ref(), Some(redb::Error::Corrupted(_))));
                self.open_again(damaged);
            }
            Err(_) => {
                tracing::warn!("the engine gave up on the file of readings");
                forget();
                self.open_again(true);
            }
        }
    }

    fn open_again(&self, damaged: bool) {
        let mut file = self.file.write().unwrap_or_else(PoisonError::into_inner);
        let was_open = file.is_ok();
        // Closed first: two at once are refused.
        *file = Err("the file is being opened again".to_owned());
        if damaged {
            put_aside(&self.path, "the engine found it broken");
        }
        let (opened, about) = open(&self.path);
        if !was_open && opened.is_ok() {
            tracing::info!("readings are kept again");
        }
        *file = opened;
        *held(&self.about) = about;
    }
}

fn open(path: &Path) -> (Result<Database, String>, About) {
    let attempt = || match file::open(path) {
        Err(Unusable::Damaged(why)) => {
            put_aside(path, &why);
            file::open(path)
        }
        other => other,
    };
    match attempt() {
        Ok((database, about)) => (Ok(database), about),
        Err(Unusable::Damaged(why) | Unusable::Unreachable(why)) => {
            tracing::warn!(path = %path.display(), why, "readings are not kept");
            (Err(why), About::default())
        }
    }
}

fn put_aside(path: &Path, why: &str) {
    match file::set_aside(path) {
        Ok(aside) => {
            tracing::warn!(why, aside = %aside.display(), "the file of readings is damaged; it was set aside and a new one begins");
        }
        Err(error) => tracing::warn!(why, %error, "the file of readings is damaged and cannot be set aside"),
    }
}

#[cfg(test)]
mod tests;
