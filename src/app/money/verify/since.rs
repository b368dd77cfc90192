//! What was posted after a checkpoint, against the chain, the entries and balances, the holds and the documents it speaks
//! of: cheap enough for every start. It refuses to vouch for what came before; that is the whole check's.
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::books::{HoldSums, in_table};
use super::{Breach, documents, holds};
use crate::base::ids::{DocumentId, HoldId};
use crate::domain::money::account::{Account, AccountRow, Entry};
use crate::domain::money::hold::Hold;
use crate::domain::money::invoice::Document;
use crate::domain::money::table::{Kind, Side};
use crate::domain::money::transfer::{LedgerHead, Link, Transfer};
use crate::store::money::LEDGER_HEAD;
use crate::store::read::{Order, Read, StoreError};
use crate::store::record::{Key as _, Record as _};
use crate::store::tables::Table;

/// What was found of the newest part of the books.
#[derive(Debug, Default)]
pub struct Since {
    /// Transfers checked.
    pub transfers: u64,
    /// Whether there were more than `most`, so that the older ones of them were not checked.
    pub cut_short: bool,
    pub breaches: Vec<Breach>,
}

/// Checks the transfers after `from`, at most the newest `most`.
pub fn since(view: &impl Read, from: &LedgerHead, most: u64) -> Result<Since, StoreError> {
    let recorded = view.get::<LedgerHead>(&LEDGER_HEAD)?.unwrap_or_default();
    let first_allowed = recorded.sequence.saturating_sub(most);
    let cut_short = first_allowed > from.sequence;
    let mut found = Since { cut_short, ..Since::default() };
    let start = match cut_short {
        false => LedgerHead { sequence: from.sequence, hash: from.hash },
        true => match view.get::<Link>(&first_allowed)? {
            Some(link) => LedgerHead { sequence: link.sequence, hash: link.hash },
            None => {
                found.breaches.push(Breach::ChainGap { expected: first_allowed, found: recorded.sequence });
                return Ok(found);
            }
        },
    };
    let transfers = chain(view, start, &recorded, &mut found.breaches)?;
    found.transfers = transfers.len() as u64;
    accounts(view, &transfers, &mut found.breaches)?;
    // Where the oldest were left out, a hold may have been made by one of them.
    about(view, &transfers, cut_short, &mut found.breaches)?;
    Ok(found)
}

/// Follows the chain from a link that is trusted to its end.
fn chain(
    view: &impl Read,
    start: LedgerHead,
    recorded: &LedgerHead,
    breaches: &mut Vec<Breach>,
) -> Result<Vec<Transfer>, StoreError> {
    if start.sequence > 0 {
        match view.get::<Link>(&start.sequence)? {
            Some(link) if link.hash == start.hash => {}
            Some(link) => {
                breaches.push(Breach::ChainBroken { sequence: start.sequence, transfer: link.transfer });
            }
            None => breaches.push(Breach::ChainEnd { found: start.sequence, recorded: recorded.sequence }),
        }
    }
    let after = Bound::Excluded(start.sequence.bytes());
    let rows = view.raw_range(Table::Chain, after, Bound::Unbounded, Order::Ascending, usize::MAX)?;
    let mut transfers = Vec::with_capacity(rows.len());
    let mut head = start;
    for (_, value) in rows {
        let link = Link::decode(&value)?;
        if link.sequence != head.sequence + 1 {
            breaches.push(Breach::ChainGap { expected: head.sequence + 1, found: link.sequence });
        }
        let stored = view.raw(Table::Transfers, &link.transfer.bytes())?;
        let transfer = stored.as_ref().and_then(|bytes| Transfer::decode(bytes).ok());
        match (stored, transfer) {
            (Some(bytes), Some(transfer)) if transfer.id == link.transfer && transfer.sequence == link.sequence => {
                if Link::next(&head.hash, &bytes) != link.hash {
                    breaches.push(Breach::ChainBroken { sequence: link.sequence, transfer: transfer.id });
                }
                if !in_table(&transfer) {
                    breaches.push(Breach::NotInTable { transfer: transfer.id });
                }
                transfers.push(transfer);
            }
            _ => breaches.push(Breach::TransferMissing { sequence: link.sequence, transfer: link.transfer }),
        }
        head = LedgerHead { sequence: link.sequence, hash: link.hash };
    }
    if *recorded != head {
        breaches.push(Breach::ChainEnd { found: head.sequence, recorded: recorded.sequence });
    }
    Ok(transfers)
}

/// Every account stands where its last entry left it, and the entries of these transfers carry the balances they make,
/// on top of the entry before them.
fn accounts(view: &impl Read, transfers: &[Transfer], breaches: &mut Vec<Breach>) -> Result<(), StoreError> {
    let mut moved: BTreeMap<Account, Vec<(Side, &Transfer)>> = BTreeMap::new();
    for transfer in transfers {
        moved.entry(transfer.debit).or_default().push((Side::Debit, transfer));
        moved.entry(transfer.credit).or_default().push((Side::Credit, transfer));
    }
    for row in view.list::<AccountRow>(&[], Order::Ascending, usize::MAX)? {
        let sides = moved.remove(&row.account).unwrap_or_default();
        let before = row.sequence.checked_sub(sides.len() as u64);
        let (Some(before), Some(last)) = (before, view.get::<Entry>(&(row.account, row.sequence))?) else {
            breaches.push(Breach::AccountTotals { account: row.account });
            continue;
        };
        let beyond = view.get::<Entry>(&(row.account, row.sequence + 1))?.is_some();
        if beyond || last.posted != row.posted() || last.held != row.held() {
            breaches.push(Breach::AccountTotals { account: row.account });
        }
        entries(view, row.account, before, &sides, breaches)?;
    }
    breaches.extend(moved.into_keys().map(|account| Breach::AccountTotals { account }));
    Ok(())
}

fn entries(
    view: &impl Read,
    account: Account,
    before: u64,
    sides: &[(Side, &Transfer)],
    breaches: &mut Vec<Breach>,
) -> Result<(), StoreError> {
    if sides.is_empty() {
        return Ok(());
    }
    let (mut posted, mut held) = match before {
        0 => (0, 0),
        _ => match view.get::<Entry>(&(account, before))? {
            Some(entry) => (i128::from(entry.posted.micros()), i128::from(entry.held.micros())),
            None => {
                breaches.push(Breach::Entry { account, sequence: before });
                return Ok(());
            }
        },
    };
    for (sequence, (side, transfer)) in (before + 1..).zip(sides) {
        let (total, pending) = transfer.kind.row().phase.moves();
        let amount = i128::from(transfer.amount.micros());
        let (total, pending) = (amount * i128::from(total), amount * i128::from(pending));
        match side {
            Side::Debit => (posted, held) = (posted - total, held + pending),
            Side::Credit => (posted, held) = (posted + total, held - pending),
        }
        let there = view.get::<Entry>(&(account, sequence))?;
        let same = there.is_some_and(|entry| {
            let (has, holds) = (i128::from(entry.posted.micros()), i128::from(entry.held.micros()));
            entry.transfer == transfer.id && (has, holds) == (posted, held)
        });
        if !same {
            breaches.push(Breach::Entry { account, sequence });
        }
    }
    Ok(())
}

/// The holds and documents that these transfers are about.
fn about(
    view: &impl Read,
    transfers: &[Transfer],
    cut_short: bool,
    breaches: &mut Vec<Breach>,
) -> Result<(), StoreError> {
    let mut sums: BTreeMap<HoldId, HoldSums> = BTreeMap::new();
    let mut papers: BTreeSet<DocumentId> = BTreeSet::new();
    for transfer in transfers {
        if let Some(hold) = transfer.about.hold {
            sums.entry(hold).or_default().note(transfer.kind, i128::from(transfer.amount.micros()));
        }
        papers.extend(transfer.about.document.filter(|_| transfer.kind == Kind::Issue));
    }
    for (id, sums) in sums {
        let Some(hold) = view.get::<Hold>(&id)? else {
            breaches.push(Breach::Hold { hold: id, why: "there are transfers about it, but it is not there" });
            continue;
        };
        // All that was posted about a hold is known when its making is.
        let whole = sums.held > 0 && (!cut_short || sums.held >= i128::from(hold.amount().micros()));
        holds::one(view, &hold, whole.then_some(sums), &mut |why| breaches.push(Breach::Hold { hold: id, why }))?;
    }
    for id in papers {
        let document = view.get::<Document>(&id)?;
        match document.as_ref().and_then(|document| Some((document, document.issue()?))) {
            Some((document, issue)) => documents::paper(view, document, issue, &mut |why| {
                breaches.push(Breach::Document { document: id, why });
            })?,
            None => breaches
                .push(Breach::Document { document: id, why: "postings name it, but it is not there or a draft" }),
        }
    }
    Ok(())
}
