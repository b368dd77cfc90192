//! Recomputes the books from nothing: every transfer from the chain, every balance from the transfers, every hold and
//! document from both. It refuses to repair; it names what does not hold.
mod books;
mod documents;
mod holds;
mod since;

pub use since::{Since, since};

use std::ops::Bound;

use crate::base::ids::{DocumentId, HoldId, TransferId};
use crate::domain::money::account::Account;
use crate::store::read::{Order, Read, StoreError};
use crate::store::tables::Table;
use crate::store::verify::Check;
use crate::store::view::Snapshot;

/// What does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    #[error("the chain has a gap: position {expected} is missing, {found} comes next")]
    ChainGap { expected: u64, found: u64 },
    #[error("the chain breaks at position {sequence}: {transfer} is not as it was written")]
    ChainBroken { sequence: u64, transfer: TransferId },
    #[error("the chain ends at position {found}, but its end is recorded as {recorded}")]
    ChainEnd { found: u64, recorded: u64 },
    #[error("{transfer} stands at position {sequence} of the chain but is not there, or says otherwise")]
    TransferMissing { sequence: u64, transfer: TransferId },
    #[error("there are {transfers} transfers and {links} links in the chain")]
    TransferCount { transfers: u64, links: u64 },
    #[error("{transfer} does not follow the posting table")]
    NotInTable { transfer: TransferId },
    #[error("{transfer} cannot be booked: {why}")]
    Unbookable { transfer: TransferId, why: String },
    #[error("entry {sequence} of {account} is missing or does not carry the balance its transfers make")]
    Entry { account: Account, sequence: u64 },
    #[error("there are {entries} entries, but the transfers make {expected}")]
    EntryCount { entries: u64, expected: u64 },
    #[error("{account} does not stand where its transfers put it")]
    AccountTotals { account: Account },
    #[error("debits and credits differ by {difference} micro-credits")]
    Unbalanced { difference: i128 },
    #[error("{hold} does not agree with the transfers about it: {why}")]
    Hold { hold: HoldId, why: &'static str },
    #[error("{account} holds other than the open holds make")]
    HeldTotal { account: Account },
    #[error("{document} does not agree with its postings: {why}")]
    Document { document: DocumentId, why: &'static str },
    #[error("series {series} has a gap or a number twice at {number}")]
    Number { series: String, number: u32 },
    #[error("{transfer} is listed by other than exactly one document or the list of what waits for one")]
    Listed { transfer: TransferId },
    #[error("{transfer} takes back what was not billed, was taken back before, or stands on a document")]
    TakenBack { transfer: TransferId },
    #[error("{account} carries other rounding than its team's documents make")]
    Rounding { account: Account },
}

/// The checks that money answers for.
pub fn checks() -> Vec<Check> {
    vec![Check { name: "ledger", run: ledger }]
}

fn ledger(snapshot: &Snapshot) -> Result<Vec<String>, StoreError> {
    let (_, breaches) = recompute(snapshot)?;
    Ok(breaches.iter().map(ToString::to_string).collect())
}

/// What was looked at, with counts.
pub type Counts = Vec<(&'static str, u64)>;

/// Recomputes everything. An error means that it could not be read at all.
pub fn recompute(view: &impl Read) -> Result<(Counts, Vec<Breach>), StoreError> {
    let mut breaches = Vec::new();
    let books = books::fold(view, &mut breaches)?;
    let holds = holds::check(view, &books, &mut breaches)?;
    let documents = documents::check(view, &books, &mut breaches)?;
    let counts = vec![
        ("transfers", books.transfers),
        ("entries", books.entries),
        ("accounts", books.accounts.len() as u64),
        ("holds", holds),
        ("documents", documents),
    ];
    Ok((counts, breaches))
}

/// Calls `visit` with every row of a table, in key order, a page at a time.
fn each(
    view: &impl Read,
    table: Table,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    const PAGE: usize = 4096;
    let mut from = Bound::Unbounded;
    loop {
        let rows = view.raw_range(table, from, Bound::Unbounded, Order::Ascending, PAGE)?;
        for (key, value) in &rows {
            visit(key, value)?;
        }
        match rows.last() {
            Some((key, _)) if rows.len() == PAGE => from = Bound::Excluded(key.clone()),
            _ => return Ok(()),
        }
    }
}

/// An id as an index row leads to it.
fn transfer_id(value: &[u8], table: &'static str) -> Result<TransferId, StoreError> {
    let bytes: [u8; 16] = value.try_into().map_err(|_| StoreError::Missing { table })?;
    Ok(TransferId::from_u128(u128::from_be_bytes(bytes)))
}
