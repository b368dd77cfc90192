//! Reading, alike for a snapshot and for the view that an intent decides on (which includes the batch so far). It refuses
//! to write and to outlive a page.
use std::ops::Bound;

use super::changes::Changes;
use super::record::{Key, Record, RecordError};
use super::tables::Table;

/// Why the store could not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("the database could not be read or written")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the store refuses writes: {why}")]
    Closed { why: String },
    #[error("a row that must exist is missing in {table}")]
    Missing { table: &'static str },
    #[error("a row in {table} does not have the form it must have")]
    Malformed { table: &'static str },
    /// An intent tried to book what is booked: a fault in the program, since rules check before they decide.
    #[error(transparent)]
    Clash(#[from] crate::domain::bookings::calendar::Clash),
    #[error("an intent wrote a row to {table}, which only the writer may fill")]
    Reserved { table: &'static str },
    #[error("an intent stopped with a fault in the program: {what}")]
    Panicked { what: String },
}

/// In which order a range is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Ascending,
    Descending,
}

/// A row as bytes: key and value.
pub type RawRow = (Vec<u8>, Vec<u8>);

/// What both snapshot and deciding view can do.
pub trait Read {
    fn raw(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    fn raw_range(
        &self,
        table: Table,
        from: Bound<Vec<u8>>,
        to: Bound<Vec<u8>>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<RawRow>, StoreError>;

    fn get<R: Record>(&self, key: &R::Key) -> Result<Option<R>, StoreError>
    where
        Self: Sized,
    {
        self.raw(R::TABLE, &key.bytes())?.map(|bytes| R::decode(&bytes)).transpose().map_err(Into::into)
    }

    /// A row that other rows promise to be there.
    fn must<R: Record>(&self, key: &R::Key) -> Result<R, StoreError>
    where
        Self: Sized,
    {
        self.get(key)?.ok_or(StoreError::Missing { table: R::TABLE.name() })
    }

    /// Follows an index row to its record.
    fn via<R: Record>(&self, index: Table, key: &impl Key) -> Result<Option<R>, StoreError>
    where
        Self: Sized,
    {
        let Some(primary) = self.raw(index, &key.bytes())? else { return Ok(None) };
        self.raw(R::TABLE, &primary)?.map(|bytes| R::decode(&bytes)).transpose().map_err(Into::into)
    }

    /// All records whose key begins with `prefix` (empty for all), in key order, at most `limit`.
    fn list<R: Record>(&self, prefix: &[u8], order: Order, limit: usize) -> Result<Vec<R>, StoreError>
    where
        Self: Sized,
    {
        let (from, to) = prefix_bounds(prefix);
        let rows = self.raw_range(R::TABLE, from, to, order, limit)?;
        rows.iter().map(|(_, value)| R::decode(value).map_err(Into::into)).collect()
    }

    /// The records that index rows under `prefix` lead to.
    fn list_via<R: Record>(&self, index: Table, prefix: &[u8], order: Order, limit: usize) -> Result<Vec<R>, StoreError>
    where
        Self: Sized,
    {
        let (from, to) = prefix_bounds(prefix);
        let rows = self.raw_range(index, from, to, order, limit)?;
        rows.iter()
            .map(|(_, primary)| {
                let bytes = self.raw(R::TABLE, primary)?.ok_or(StoreError::Missing { table: R::TABLE.name() })?;
                R::decode(&bytes).map_err(Into::into)
            })
            .collect()
    }
}

/// A view on which an intent has already decided something: what it put and deleted is read back before the base. Lets
/// one intent be composed of steps that see each other.
pub struct Overlaid<'a, B: Read> {
    base: &'a B,
    rows: std::collections::BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>,
}

impl<'a, B: Read> Overlaid<'a, B> {
    pub fn new(base: &'a B, changes: &Changes) -> Self {
        let rows = changes.rows.iter().map(|row| ((row.table, row.key.clone()), row.value.clone())).collect();
        Self { base, rows }
    }
}

impl<B: Read> Read for Overlaid<'_, B> {
    fn raw(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.rows.get(&(table, key.to_vec())) {
            Some(value) => Ok(value.clone()),
            None => self.base.raw(table, key),
        }
    }

    fn raw_range(
        &self,
        table: Table,
        from: Bound<Vec<u8>>,
        to: Bound<Vec<u8>>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<RawRow>, StoreError> {
        let own: Vec<_> = self
            .rows
            .range((table, Vec::new())..)
            .take_while(|((t, _), _)| *t == table)
            .filter(|((_, key), _)| std::ops::RangeBounds::contains(&(from.clone(), to.clone()), key))
            .collect();
        let deletions = own.len();
        let base = self.base.raw_range(table, from.clone(), to.clone(), order, limit.saturating_add(deletions))?;
        let mut merged: std::collections::BTreeMap<Vec<u8>, Vec<u8>> = base.into_iter().collect();
        for ((_, key), value) in own {
            match value {
                Some(value) => merged.insert(key.clone(), value.clone()),
                None => merged.remove(key),
            };
        }
        Ok(match order {
            Order::Ascending => merged.into_iter().take(limit).collect(),
            Order::Descending => merged.into_iter().rev().take(limit).collect(),
        })
    }
}

/// The bounds of all keys that begin with `prefix`.
pub fn prefix_bounds(prefix: &[u8]) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return (Bound::Included(prefix.to_vec()), Bound::Excluded(end));
        }
    }
    (Bound::Included(prefix.to_vec()), Bound::Unbounded)
}
