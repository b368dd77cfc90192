//! The occupancy table: fixed-width rows (unit, start) → (end, lease), the durable form of the calendar. It refuses a row
//! that overlaps another, whatever the index in memory believes.
use std::ops::Bound;

use redb::{ReadableTable, Table as RedbTable};

use super::changes::CalendarChange;
use super::engine::engine;
use super::read::StoreError;
use super::record::Key;
use crate::base::ids::{LeaseId, UnitId};
use crate::base::window::{Instant, Window};
use crate::domain::bookings::calendar::{Calendar, Clash, Slot};

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupied {
    pub unit: UnitId,
    pub window: Window,
    pub lease: LeaseId,
}

/// Sorts by unit, then by start.
pub fn key(unit: UnitId, start: Instant) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&unit.to_bytes());
    key[16..].copy_from_slice(&start.bytes());
    key
}

fn value(end: Instant, lease: LeaseId) -> [u8; 24] {
    let mut value = [0; 24];
    value[..8].copy_from_slice(&end.bytes());
    value[8..].copy_from_slice(&lease.to_bytes());
    value
}

fn instant(bytes: &[u8]) -> Option<Instant> {
    let raw = i64::from_be_bytes(bytes.try_into().ok()?);
    Some(Instant::from_millis(raw ^ i64::MIN))
}

/// Reads a row; `None` when it is not one.
pub fn decode(key: &[u8], value: &[u8]) -> Option<Occupied> {
    if key.len() != 24 || value.len() != 24 {
        return None;
    }
    let unit = UnitId::from_u128(u128::from_be_bytes(key[..16].try_into().ok()?));
    let lease = LeaseId::from_u128(u128::from_be_bytes(value[8..].try_into().ok()?));
    let window = Window::new(instant(&key[16..])?, instant(&value[..8])?).ok()?;
    Some(Occupied { unit, window, lease })
}

fn must_decode(key: &[u8], value: &[u8]) -> Result<Occupied, StoreError> {
    decode(key, value).ok_or(StoreError::Malformed { table: "occupancy" })
}

type Bytes = &'static [u8];

/// Writes one change after checking it against its neighbours in the table.
pub(super) fn apply(table: &mut RedbTable<'_, Bytes, Bytes>, change: CalendarChange) -> Result<(), StoreError> {
    match change {
        CalendarChange::Occupy { unit, window, lease } => {
            // Rows never overlap, so the last one that starts before our end is the only one that can reach into us.
            let (from, to) = (key(unit, Instant::from_millis(i64::MIN)), key(unit, window.end()));
            let bounds: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Included(&from), Bound::Excluded(&to));
            if let Some(last) = table.range::<&[u8]>(bounds).map_err(engine)?.next_back() {
                let (key, value) = last.map_err(engine)?;
                let there = must_decode(key.value(), value.value())?;
                if there.window.end() > window.start() {
                    let (taken, by) = (there.window, there.lease);
                    return Err(Clash::Taken { unit, wanted: window, taken, by }.into());
                }
            }
            let row = value(window.end(), lease);
            table.insert(&key(unit, window.start())[..], &row[..]).map_err(engine)?;
        }
        CalendarChange::Free { unit, window, lease } => {
            let removed = table.remove(&key(unit, window.start())[..]).map_err(engine)?;
            let same = removed.is_some_and(|row| row.value() == value(window.end(), lease));
            if !same {
                return Err(Clash::NotHeld { unit, window, lease }.into());
            }
        }
    }
    Ok(())
}

/// The same change on the index in memory.
pub(super) fn index(calendar: &mut Calendar, change: CalendarChange) -> Result<(), Clash> {
    match change {
        CalendarChange::Occupy { unit, window, lease } => calendar.occupy(unit, window, lease),
        CalendarChange::Free { unit, window, lease } => calendar.vacate(unit, window, lease),
    }
}

/// Builds the index from the table.
pub(super) fn load(table: &impl ReadableTable<Bytes, Bytes>) -> Result<Calendar, StoreError> {
    Calendar::from_sorted(table.iter().map_err(engine)?.map(|row| {
        let (key, value) = row.map_err(engine)?;
        let row = must_decode(key.value(), value.value())?;
        Ok((row.unit, Slot { window: row.window, lease: row.lease }))
    }))
}
