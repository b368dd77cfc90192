//! Keeps the fleet's summaries true to its rows: built from the tables at the start, changed with every row that is written.
//! It refuses to forget a row that is deleted piece by piece: then everything is built anew.
use super::read::{Order, Read, StoreError};
use super::record::Record;
use super::tables::Table;
use crate::domain::bookings::supply::FleetSummary;
use crate::domain::fleet::node::{Node, NodeContact, Pool, Unit};

/// The tables whose rows are summed up.
const TABLES: [Table; 4] = [Table::Pools, Table::Nodes, Table::NodeContacts, Table::Units];

pub(super) const fn concerns(table: Table) -> bool {
    matches!(table, Table::Pools | Table::Nodes | Table::NodeContacts | Table::Units)
}

/// Takes in one row as it is now.
pub(super) fn take(fleet: &mut FleetSummary, table: Table, value: &[u8]) -> Result<(), StoreError> {
    match table {
        Table::Pools => fleet.pool(&Pool::decode(value)?),
        Table::Nodes => fleet.node(&Node::decode(value)?),
        Table::NodeContacts => fleet.contact(&NodeContact::decode(value)?),
        Table::Units => fleet.unit(&Unit::decode(value)?),
        _ => {}
    }
    Ok(())
}

/// Builds the summaries from the rows.
pub(super) fn load(view: &impl Read) -> Result<FleetSummary, StoreError> {
    let mut fleet = FleetSummary::default();
    for table in TABLES {
        let (from, to) = super::read::prefix_bounds(&[]);
        for (_, value) in view.raw_range(table, from, to, Order::Ascending, usize::MAX)? {
            take(&mut fleet, table, &value)?;
        }
    }
    Ok(fleet)
}
