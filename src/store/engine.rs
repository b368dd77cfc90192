//! The few lines that every other file here needs of redb: table definitions, bytes in and out, errors. It refuses
//! meaning: keys and values are bytes.
use std::ops::Bound;

use redb::{ReadableTable, TableDefinition};

use super::read::{Order, RawRow, StoreError};
use super::tables::Table;

pub(super) type Bytes = &'static [u8];

pub(super) const fn definition(table: Table) -> TableDefinition<'static, Bytes, Bytes> {
    TableDefinition::new(table.name())
}

/// Wraps whatever the engine says.
pub(super) fn engine(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Engine(Box::new(error.into()))
}

pub(super) fn get(table: &impl ReadableTable<Bytes, Bytes>, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(table.get(key).map_err(engine)?.map(|row| row.value().to_vec()))
}

pub(super) fn range(
    table: &impl ReadableTable<Bytes, Bytes>,
    bounds: (Bound<Vec<u8>>, Bound<Vec<u8>>),
    order: Order,
    limit: usize,
) -> Result<Vec<RawRow>, StoreError> {
    let (from, to) = (bounds.0.as_ref().map(Vec::as_slice), bounds.1.as_ref().map(Vec::as_slice));
    if is_void(from, to) {
        return Ok(Vec::new());
    }
    let mut rows = table.range::<&[u8]>((from, to)).map_err(engine)?;
    let mut found = Vec::new();
    while found.len() < limit {
        let next = match order {
            Order::Ascending => rows.next(),
            Order::Descending => rows.next_back(),
        };
        let Some(row) = next else { break };
        let (key, value) = row.map_err(engine)?;
        found.push((key.value().to_vec(), value.value().to_vec()));
    }
    Ok(found)
}

/// Bounds that meet nothing: asked for without a thought, and answered without asking the engine.
fn is_void(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to))
        | (Bound::Excluded(from), Bound::Included(to)) => from >= to,
        _ => false,
    }
}
