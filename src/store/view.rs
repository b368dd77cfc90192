//! The two ways to look: a snapshot, which never waits and never changes, and the view that an intent decides on, which
//! includes the batch so far. It refuses to let a snapshot cross an await: a long one makes the file grow.
use std::cell::OnceCell;
use std::marker::PhantomData;
use std::ops::Bound;
use std::sync::Arc;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable};

use super::engine::{Bytes, definition, engine, get, range};
use super::read::{Order, RawRow, Read, StoreError};
use super::tables::Table;
use crate::base::ids::NodeId;
use crate::base::window::Instant;
use crate::domain::bookings::calendar::Calendar;
use crate::domain::bookings::supply::{Excluded, FleetSummary, Supply};
use crate::domain::fleet::roll::Roll;

/// The state as of one commit. Not `Send`: a handler that holds one across an await does not compile.
pub struct Snapshot {
    transaction: ReadTransaction,
    tables: Vec<OnceCell<ReadOnlyTable<Bytes, Bytes>>>,
    calendar: Calendar,
    fleet: FleetSummary,
    exact: bool,
    _stays_here: PhantomData<*const ()>,
}

impl Snapshot {
    pub(super) fn new(transaction: ReadTransaction, calendar: Calendar, fleet: FleetSummary, exact: bool) -> Self {
        let tables = Table::ALL.iter().map(|_| OnceCell::new()).collect();
        Self { transaction, tables, calendar, fleet, exact, _stays_here: PhantomData }
    }

    /// The calendar as of (nearly) the same commit: good enough to propose, never to decide.
    pub const fn calendar(&self) -> &Calendar {
        &self.calendar
    }

    /// What there is to book, as of the same moment as the calendar; no row is read for it.
    pub fn supply(&self) -> Arc<Supply> {
        self.fleet.supply()
    }

    /// The fleet as pages list it, as of the same moment; no row is read for it.
    pub const fn roll(&self) -> &Roll {
        self.fleet.roll()
    }

    /// The same as an intent would see it that decided now: to find out what it would do without doing it.
    pub fn as_view(&self, now: Instant) -> View<'_> {
        View { rows: self, calendar: &self.calendar, fleet: &self.fleet, now }
    }

    /// Nodes that have a unit out of service; no row is read for it.
    pub fn out_of_service(&self) -> Vec<NodeId> {
        self.fleet.out_of_service()
    }

    pub(super) const fn fleet(&self) -> &FleetSummary {
        &self.fleet
    }

    /// Whether rows and calendar are certainly of the same commit; otherwise one was on its way while both were taken.
    pub const fn is_exact(&self) -> bool {
        self.exact
    }

    /// Every row of a table in key order, one at a time: for checks and statistics over more than fits a page.
    pub fn scan(
        &self,
        table: Table,
        mut look: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for row in self.table(table)?.iter().map_err(engine)? {
            let (key, value) = row.map_err(engine)?;
            look(key.value(), value.value())?;
        }
        Ok(())
    }

    pub(super) fn table(&self, table: Table) -> Result<&ReadOnlyTable<Bytes, Bytes>, StoreError> {
        let cell = &self.tables[table as usize];
        if let Some(open) = cell.get() {
            return Ok(open);
        }
        let open = self.transaction.open_table(definition(table)).map_err(engine)?;
        Ok(cell.get_or_init(|| open))
    }
}

impl Read for Snapshot {
    fn raw(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        get(self.table(table)?, key)
    }

    fn raw_range(
        &self,
        table: Table,
        from: Bound<Vec<u8>>,
        to: Bound<Vec<u8>>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<RawRow>, StoreError> {
        range(self.table(table)?, (from, to), order, limit)
    }
}

/// Rows of an open transaction, without its lifetimes.
pub(super) trait Rows {
    fn row(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    fn rows(
        &self,
        table: Table,
        bounds: (Bound<Vec<u8>>, Bound<Vec<u8>>),
        order: Order,
        limit: usize,
    ) -> Result<Vec<RawRow>, StoreError>;
}

impl Rows for Snapshot {
    fn row(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.raw(table, key)
    }

    fn rows(
        &self,
        table: Table,
        (from, to): (Bound<Vec<u8>>, Bound<Vec<u8>>),
        order: Order,
        limit: usize,
    ) -> Result<Vec<RawRow>, StoreError> {
        self.raw_range(table, from, to, order, limit)
    }
}

/// What an intent decides on: everything committed, and what the intents before it in the batch decided.
pub struct View<'b> {
    pub(super) rows: &'b dyn Rows,
    pub(super) calendar: &'b Calendar,
    pub(super) fleet: &'b FleetSummary,
    pub(super) now: Instant,
}

impl View<'_> {
    /// A clone is cheap, and may be changed to try something out.
    pub const fn calendar(&self) -> &Calendar {
        self.calendar
    }

    /// What there is to book, with what the batch has decided so far.
    pub fn supply(&self) -> Arc<Supply> {
        self.fleet.supply()
    }

    /// What excludes what on one node.
    pub fn excluded(&self, node: NodeId) -> Excluded {
        self.fleet.excluded(node)
    }

    /// The instant that this batch decides at.
    pub const fn now(&self) -> Instant {
        self.now
    }
}

impl Read for View<'_> {
    fn raw(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.rows.row(table, key)
    }

    fn raw_range(
        &self,
        table: Table,
        from: Bound<Vec<u8>>,
        to: Bound<Vec<u8>>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<RawRow>, StoreError> {
        self.rows.rows(table, (from, to), order, limit)
    }
}
