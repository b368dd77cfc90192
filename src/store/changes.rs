//! What an intent decided, as data: rows to put and delete, events to append, calendar deltas. It refuses to touch the
//! database; the one writer applies it or drops it whole.
use super::record::{Key, Record};
use super::tables::Table;
use crate::base::ids::{LeaseId, UnitId};
use crate::base::window::Window;
use crate::domain::event::{Cause, Event};

/// One row written or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    pub table: Table,
    pub key: Vec<u8>,
    /// `None` deletes.
    pub value: Option<Vec<u8>>,
}

impl RowChange {
    /// The row of a record.
    pub fn of<R: Record>(record: &R) -> Self {
        Self { table: R::TABLE, key: record.key().bytes(), value: Some(record.encode()) }
    }
}

/// A change of who occupies a unit when; kept in the occupancy table and in the calendar index alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalendarChange {
    Occupy { unit: UnitId, window: Window, lease: LeaseId },
    Free { unit: UnitId, window: Window, lease: LeaseId },
}

/// Everything one intent changes; applied in order, in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    pub rows: Vec<RowChange>,
    pub calendar: Vec<CalendarChange>,
    pub events: Vec<(Cause, Event)>,
    /// Whether nodes' desired states may have changed, so that links re-read them after the commit.
    pub wake_nodes: Vec<crate::base::ids::NodeId>,
}

impl Changes {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn put<R: Record>(&mut self, record: &R) -> &mut Self {
        self.rows.push(RowChange::of(record));
        self
    }

    pub fn delete<R: Record>(&mut self, key: &R::Key) -> &mut Self {
        self.rows.push(RowChange { table: R::TABLE, key: key.bytes(), value: None });
        self
    }

    /// Writes an index row: `key` leads to the primary key `to`.
    pub fn index(&mut self, table: Table, key: &impl Key, to: &impl Key) -> &mut Self {
        self.rows.push(RowChange { table, key: key.bytes(), value: Some(to.bytes()) });
        self
    }

    pub fn unindex(&mut self, table: Table, key: &impl Key) -> &mut Self {
        self.rows.push(RowChange { table, key: key.bytes(), value: None });
        self
    }

    /// Bytes that are not a record: an issued PDF, a sealed key.
    pub fn blob(&mut self, table: Table, key: &impl Key, bytes: Vec<u8>) -> &mut Self {
        self.rows.push(RowChange { table, key: key.bytes(), value: Some(bytes) });
        self
    }

    pub fn occupy(&mut self, unit: UnitId, window: Window, lease: LeaseId) -> &mut Self {
        self.calendar.push(CalendarChange::Occupy { unit, window, lease });
        self
    }

    pub fn free(&mut self, unit: UnitId, window: Window, lease: LeaseId) -> &mut Self {
        self.calendar.push(CalendarChange::Free { unit, window, lease });
        self
    }

    pub fn event(&mut self, cause: Cause, event: Event) -> &mut Self {
        self.events.push((cause, event));
        self
    }

    pub fn wake(&mut self, node: crate::base::ids::NodeId) -> &mut Self {
        self.wake_nodes.push(node);
        self
    }
}
