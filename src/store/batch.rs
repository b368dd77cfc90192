//! One open write transaction: the tables it has touched, what was numbered so far, and the working copy of the calendar.
//! It refuses to half-apply: after an error the whole batch is thrown away.
use std::cell::RefCell;
use std::ops::Bound;

use redb::{Durability, Table as RedbTable, WriteTransaction};

use super::changes::{Changes, RowChange};
use super::engine::{Bytes, definition, engine, get, range};
use super::events::Committed;
use super::read::{Order, RawRow, StoreError};
use super::tables::Table;
use super::view::{Rows, View};
use super::{occupancy, supply};
use crate::base::window::Instant;
use crate::domain::bookings::calendar::Calendar;
use crate::domain::bookings::supply::FleetSummary;
use crate::domain::event::Recorded;

type Open<'t> = RedbTable<'t, Bytes, Bytes>;

/// Begins a transaction with the guarantees that the mill promises: two phases, on disk, reopened without a walk.
pub(super) fn begin(database: &redb::Database) -> Result<WriteTransaction, StoreError> {
    let mut transaction = database.begin_write().map_err(engine)?;
    transaction.set_durability(Durability::Immediate).map_err(engine)?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// Tables of an open transaction. The engine lends each table once, so they are opened on first use and kept.
pub(super) struct Tables<'t> {
    transaction: &'t WriteTransaction,
    open: RefCell<Vec<Option<Open<'t>>>>,
}

impl<'t> Tables<'t> {
    pub fn new(transaction: &'t WriteTransaction) -> Self {
        let open = RefCell::new(Table::ALL.iter().map(|_| None).collect());
        Self { transaction, open }
    }

    pub fn with<T>(
        &self,
        table: Table,
        act: impl FnOnce(&mut Open<'t>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut open = self.open.borrow_mut();
        let slot = &mut open[table as usize];
        let opened = match slot {
            Some(opened) => opened,
            None => slot.insert(self.transaction.open_table(definition(table)).map_err(engine)?),
        };
        act(opened)
    }

    pub fn set(&self, row: &RowChange) -> Result<(), StoreError> {
        self.with(row.table, |open| {
            match &row.value {
                Some(value) => open.insert(row.key.as_slice(), value.as_slice()).map_err(engine)?,
                None => open.remove(row.key.as_slice()).map_err(engine)?,
            };
            Ok(())
        })
    }
}

impl Rows for Tables<'_> {
    fn row(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.with(table, |open| get(open, key))
    }

    fn rows(
        &self,
        table: Table,
        bounds: (Bound<Vec<u8>>, Bound<Vec<u8>>),
        order: Order,
        limit: usize,
    ) -> Result<Vec<RawRow>, StoreError> {
        self.with(table, |open| range(open, bounds, order, limit))
    }
}

/// A batch in the making.
pub(super) struct Batch<'t> {
    pub tables: Tables<'t>,
    pub calendar: Calendar,
    pub fleet: FleetSummary,
    pub next_seq: u64,
    pub now: Instant,
    pub told: Committed,
    /// Whether anything was written; a batch of refusals commits nothing.
    pub dirty: bool,
}

impl Batch<'_> {
    pub fn view(&self) -> View<'_> {
        View { rows: &self.tables, calendar: &self.calendar, fleet: &self.fleet, now: self.now }
    }

    /// Gives the tables back to the engine, which commits only what nobody holds.
    pub fn close(self) -> (Calendar, FleetSummary, u64, Committed) {
        (self.calendar, self.fleet, self.next_seq, self.told)
    }

    /// Applies what one intent decided, so that the next one sees it.
    pub fn apply(&mut self, changes: Changes) -> Result<(), StoreError> {
        self.dirty |= !(changes.rows.is_empty() && changes.calendar.is_empty() && changes.events.is_empty());
        for row in &changes.rows {
            if row.table == Table::Events || row.table == Table::Occupancy {
                return Err(StoreError::Reserved { table: row.table.name() });
            }
            self.tables.set(row)?;
            if supply::concerns(row.table) {
                match &row.value {
                    Some(value) => supply::take(&mut self.fleet, row.table, value)?,
                    None => self.fleet = supply::load(&self.view())?,
                }
            }
        }
        for &change in &changes.calendar {
            occupancy::index(&mut self.calendar, change)?;
            self.tables.with(Table::Occupancy, |open| occupancy::apply(open, change))?;
        }
        for (cause, event) in changes.events {
            let recorded = Recorded { seq: self.next_seq, at: self.now, cause, event };
            self.next_seq += 1;
            self.tables.set(&RowChange::of(&recorded))?;
            self.told.events.push(recorded);
        }
        for node in changes.wake_nodes {
            if !self.told.wake_nodes.contains(&node) {
                self.told.wake_nodes.push(node);
            }
        }
        Ok(())
    }
}
