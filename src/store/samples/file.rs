//! The file itself: chunks by key, how many bytes they take, and on which step of the ladder it stands, all changed in one
//! transaction. It refuses to be precious: it can be damaged or missing, and a new one begins.
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, Table, TableDefinition};

use super::pack::{self, Point, SLOTS, Slots};
use super::tiers::{LADDER, Retention, Tier};
use crate::base::ids::UnitId;
use crate::base::window::Instant;
use crate::store::engine::engine;
use crate::store::read::StoreError;
use crate::store::writer::explain;

const CHUNKS: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new("chunks");
const ABOUT: TableDefinition<'static, &'static str, u64> = TableDefinition::new("about");
/// The form of the file; another one is set aside, since nothing in it is worth a migration.
const FORM: u64 = 1;
/// Memory that the engine may use as cache.
const CACHE_BYTES: usize = 16 << 20;
/// Pages are partly empty, and a change writes new ones before the old are free: measured, a file takes up to three times
/// what it holds.
const OVERHEAD: u64 = 4;

/// Fine moments by GPU, as they came.
pub(super) type Fresh = BTreeMap<UnitId, BTreeMap<i64, Point>>;

/// What is known about the file without reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct About {
    pub bytes: u64,
    pub level: u64,
}

/// Why there is no file to write to.
pub(super) enum Unusable {
    /// What lies there is no file of ours, or a broken one.
    Damaged(String),
    /// It cannot be reached: no room, no right, in use.
    Unreachable(String),
}

impl From<redb::Error> for Unusable {
    fn from(error: redb::Error) -> Self {
        use std::io::ErrorKind::{InvalidData, UnexpectedEof};
        match &error {
            redb::Error::Io(source) if !matches!(source.kind(), InvalidData | UnexpectedEof) => {
                Self::Unreachable(explain(&error))
            }
            redb::Error::DatabaseAlreadyOpen => Self::Unreachable(explain(&error)),
            _ => Self::Damaged(explain(&error)),
        }
    }
}

/// Opens the file, or makes one.
pub(super) fn open(path: &Path) -> Result<(Database, About), Unusable> {
    let attempt = || -> Result<_, Unusable> {
        let opened = Database::builder().set_cache_size(CACHE_BYTES).create(path);
        let database = opened.map_err(|error: DatabaseError| Unusable::from(redb::Error::from(error)))?;
        let about = prepare(&database)?;
        Ok((database, about))
    };
    // A file that was altered behind the engine's back may make it panic instead of answering.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(attempt))
        .unwrap_or_else(|_| Err(Unusable::Damaged("the engine gave up on it".to_owned())))
}

fn prepare(database: &Database) -> Result<About, Unusable> {
    let failed = |error: redb::Error| Unusable::from(error);
    let mut writing = database.begin_write().map_err(|error| failed(error.into()))?;
    writing.set_quick_repair(true);
    let about = {
        let mut about = writing.open_table(ABOUT).map_err(|error| failed(error.into()))?;
        writing.open_table(CHUNKS).map_err(|error| failed(error.into()))?;
        let number = |name: &'static str| -> Result<Option<u64>, StorageError> {
            Ok(about.get(name)?.map(|value| value.value()))
        };
        let form = number("form").map_err(|error| failed(error.into()))?;
        let bytes = number("bytes").map_err(|error| failed(error.into()))?.unwrap_or(0);
        let level = number("level").map_err(|error| failed(error.into()))?.unwrap_or(0);
        match form {
            Some(FORM) => {}
            None => {
                about.insert("form", FORM).map_err(|error| failed(error.into()))?;
            }
            Some(other) => return Err(Unusable::Damaged(format!("it has form {other}, this program writes {FORM}"))),
        }
        About { bytes, level: level.min(LADDER.len() as u64 - 1) }
    };
    writing.commit().map_err(|error| failed(error.into()))?;
    Ok(about)
}

/// Puts a damaged file aside, where somebody may look at it; the one put aside before goes.
pub(super) fn set_aside(path: &Path) -> std::io::Result<PathBuf> {
    let aside = path.with_extension("redb.damaged");
    std::fs::rename(path, &aside)?;
    Ok(aside)
}

/// Writes what came, with the minutes and hours that follow from it, and drops what is too old or too much.
pub(super) fn write(database: &Database, fresh: &Fresh, before: About, cap: u64) -> Result<About, StoreError> {
    let mut writing = database.begin_write().map_err(engine)?;
    writing.set_quick_repair(true);
    let after = {
        let table = writing.open_table(CHUNKS).map_err(engine)?;
        let mut chunks = Chunks { table, bytes: before.bytes };
        let mut newest = i64::MIN;
        for (&unit, points) in fresh {
            chunks.take_in(unit, points)?;
            newest = newest.max(points.last_key_value().map_or(i64::MIN, |(slot, _)| *slot));
        }
        let now = if newest == i64::MIN { None } else { Some(Tier::Fine.at(newest)) };
        let level = chunks.shrink(now, before.level, cap)?;
        About { bytes: chunks.bytes, level }
    };
    {
        let mut about = writing.open_table(ABOUT).map_err(engine)?;
        about.insert("bytes", after.bytes).map_err(engine)?;
        about.insert("level", after.level).map_err(engine)?;
    }
    writing.commit().map_err(engine)?;
    Ok(after)
}

struct Chunks<'a> {
    table: Table<'a, &'static [u8], &'static [u8]>,
    bytes: u64,
}

impl Chunks<'_> {
    fn get(&self, tier: Tier, chunk: i64, unit: UnitId) -> Result<Box<Slots>, StoreError> {
        let found = self.table.get(tier.key(chunk, unit).as_slice()).map_err(engine)?;
        // A chunk that cannot be read begins anew.
        Ok(found.and_then(|row| pack::unpack(row.value())).unwrap_or_else(|| Box::new(pack::empty())))
    }

    fn put(&mut self, tier: Tier, chunk: i64, unit: UnitId, slots: &Slots) -> Result<(), StoreError> {
        let (key, packed) = (tier.key(chunk, unit), pack::pack(slots));
        let old = self.table.insert(key.as_slice(), packed.as_slice()).map_err(engine)?.map(|row| row.value().len());
        let old = old.map_or(0, |length| (length + key.len()) as u64);
        self.bytes = self.bytes.saturating_sub(old) + (packed.len() + key.len()) as u64;
        Ok(())
    }

    /// Puts moments into a tier; answers the moments of the next coarser tier that changed, each with its new point.
    fn merge(
        &mut self,
        tier: Tier,
        unit: UnitId,
        points: &BTreeMap<i64, Point>,
        into: Option<Tier>,
    ) -> Result<BTreeMap<i64, Point>, StoreError> {
        let mut coarser = BTreeMap::new();
        let touched: BTreeSet<i64> = points.keys().map(|&slot| tier.place(slot).0).collect();
        for chunk in touched {
            let mut slots = self.get(tier, chunk, unit)?;
            let first = chunk * SLOTS as i64;
            for (&slot, point) in points.range(first..first + SLOTS as i64) {
                slots[tier.place(slot).1] = *point;
            }
            self.put(tier, chunk, unit, &slots)?;
            let Some(next) = into else { continue };
            let many = next.step().as_millis() / tier.step().as_millis();
            let changed: BTreeSet<i64> =
                points.range(first..first + SLOTS as i64).map(|(slot, _)| slot.div_euclid(many)).collect();
            for moment in changed {
                let from = tier.place(moment * many).1;
                let over = &slots[from..from + usize::try_from(many).unwrap_or(1)];
                coarser.insert(moment, Point::over(over));
            }
        }
        Ok(coarser)
    }

    fn take_in(&mut self, unit: UnitId, points: &BTreeMap<i64, Point>) -> Result<(), StoreError> {
        let minutes = self.merge(Tier::Fine, unit, points, Some(Tier::Minute))?;
        let hours = self.merge(Tier::Minute, unit, &minutes, Some(Tier::Hour))?;
        self.merge(Tier::Hour, unit, &hours, None)?;
        Ok(())
    }

    /// Drops what is older than the ladder's step keeps; steps down while there is too much, and up again when there is
    /// room for more than twice as much.
    fn shrink(&mut self, now: Option<Instant>, level: u64, cap: u64) -> Result<u64, StoreError> {
        let Some(now) = now else { return Ok(level) };
        let budget = cap / OVERHEAD;
        let last = LADDER.len() as u64 - 1;
        let mut level = level.min(last);
        self.drop_older(now, step(level))?;
        while self.bytes > budget && level < last {
            level += 1;
            self.drop_older(now, step(level))?;
        }
        if level > 0 && self.bytes.saturating_mul(4) < budget {
            level -= 1;
        }
        Ok(level)
    }

    fn drop_older(&mut self, now: Instant, keep: Retention) -> Result<(), StoreError> {
        for tier in Tier::ALL {
            // A chunk goes when all of it is too old.
            let (from, to) = tier.before(tier.place(tier.slot(now.minus(keep.of(tier)))).0);
            let gone = self.table.extract_from_if(from.as_slice()..to.as_slice(), |_, _| true).map_err(engine)?;
            let mut freed = 0;
            for row in gone {
                let (key, value) = row.map_err(engine)?;
                freed += (key.value().len() + value.value().len()) as u64;
            }
            self.bytes = self.bytes.saturating_sub(freed);
        }
        Ok(())
    }
}

/// A step of the ladder.
pub(super) fn step(level: u64) -> Retention {
    LADDER[usize::try_from(level).unwrap_or(usize::MAX).min(LADDER.len() - 1)]
}

/// The kept moments of one GPU between two instants, in order; gaps are left out.
pub(super) fn series(
    database: &Database,
    unit: UnitId,
    tier: Tier,
    from: Instant,
    until: Instant,
) -> Result<Vec<(i64, Point)>, StoreError> {
    let reading = database.begin_read().map_err(engine)?;
    let table = reading.open_table(CHUNKS).map_err(engine)?;
    let (first, end) = (tier.slot(from), tier.slot(until));
    let mut found = Vec::new();
    for chunk in tier.place(first).0..=tier.place(end).0 {
        let Some(row) = table.get(tier.key(chunk, unit).as_slice()).map_err(engine)? else { continue };
        let Some(slots) = pack::unpack(row.value()) else { continue };
        let numbered = slots.iter().enumerate().map(|(place, point)| (chunk * SLOTS as i64 + place as i64, *point));
        found.extend(numbered.filter(|(slot, point)| (first..end).contains(slot) && !point.is_empty()));
    }
    Ok(found)
}
