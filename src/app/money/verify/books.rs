//! The chain, the transfers, and the balances they make.
use std::collections::{BTreeMap, BTreeSet};

use super::{Breach, each};
use crate::base::credits::Credits;
use crate::base::ids::{DocumentId, HoldId, TeamId, TransferId};
use crate::domain::money::account::{Account, AccountRow, Entry};
use crate::domain::money::table::{Kind, Side};
use crate::domain::money::transfer::{LedgerHead, Link, Transfer};
use crate::store::money::LEDGER_HEAD;
use crate::store::read::{Read, StoreError};
use crate::store::record::{Key as _, Record};
use crate::store::tables::Table;

/// What the transfers make, folded from nothing.
#[derive(Default)]
pub struct Books {
    pub transfers: u64,
    pub entries: u64,
    pub accounts: BTreeMap<Account, AccountRow>,
    /// Per hold: held, delivered, given back.
    pub holds: BTreeMap<HoldId, HoldSums>,
    /// Every delivery that a document must list or will.
    pub deliveries: BTreeMap<TransferId, (TeamId, Credits)>,
    /// Per document: charged, settled, rounding.
    pub documents: BTreeMap<DocumentId, DocumentSums>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct HoldSums {
    pub held: i128,
    pub delivered: i128,
    pub given_back: i128,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct DocumentSums {
    pub charged: i128,
    pub settled: i128,
    pub rounding: i128,
}

/// Walks the chain once.
pub fn fold(view: &impl Read, breaches: &mut Vec<Breach>) -> Result<Books, StoreError> {
    let mut books = Books::default();
    let mut head = LedgerHead::default();
    let mut seen = BTreeSet::new();
    each(view, Table::Chain, |_, value| {
        let link = Link::decode(value).map_err(StoreError::from)?;
        if link.sequence != head.sequence + 1 {
            breaches.push(Breach::ChainGap { expected: head.sequence + 1, found: link.sequence });
        }
        let stored = view.raw(Table::Transfers, &link.transfer.bytes())?;
        let transfer = stored.as_ref().and_then(|bytes| Transfer::decode(bytes).ok());
        match (stored, transfer) {
            (Some(bytes), Some(transfer))
                if transfer.id == link.transfer && transfer.sequence == link.sequence && seen.insert(transfer.id) =>
            {
                if Link::next(&head.hash, &bytes) != link.hash {
                    breaches.push(Breach::ChainBroken { sequence: link.sequence, transfer: transfer.id });
                }
                books.book(view, &transfer, breaches)?;
            }
            _ => breaches.push(Breach::TransferMissing { sequence: link.sequence, transfer: link.transfer }),
        }
        head = LedgerHead { sequence: link.sequence, hash: link.hash };
        Ok(())
    })?;
    let recorded = view.get::<LedgerHead>(&LEDGER_HEAD)?.unwrap_or_default();
    if recorded != head {
        breaches.push(Breach::ChainEnd { found: head.sequence, recorded: recorded.sequence });
    }
    books.compare(view, seen.len() as u64, breaches)?;
    Ok(books)
}

/// Whether a transfer follows the posting table.
pub fn in_table(transfer: &Transfer) -> bool {
    let row = transfer.kind.row();
    let zero_is_fine = transfer.kind.is_delivery();
    let amount_fits = !transfer.amount.is_negative() && (zero_is_fine || !transfer.amount.is_zero());
    row.debit.fits(transfer.debit) && row.credit.fits(transfer.credit) && amount_fits
}

impl HoldSums {
    pub fn note(&mut self, kind: Kind, amount: i128) {
        match kind {
            Kind::Hold => self.held += amount,
            Kind::Delivery | Kind::OwnDelivery => self.delivered += amount,
            Kind::Void | Kind::Expire => self.given_back += amount,
            _ => {}
        }
    }
}

impl Books {
    fn book(&mut self, view: &impl Read, transfer: &Transfer, breaches: &mut Vec<Breach>) -> Result<(), StoreError> {
        self.transfers += 1;
        let row = transfer.kind.row();
        if !in_table(transfer) {
            breaches.push(Breach::NotInTable { transfer: transfer.id });
        }
        for (account, side) in [(transfer.debit, Side::Debit), (transfer.credit, Side::Credit)] {
            let own = self.accounts.entry(account).or_insert_with(|| AccountRow::new(account));
            match own.book(transfer.id, row.phase, side, transfer.amount) {
                Ok(entry) => {
                    self.entries += 1;
                    if view.get::<Entry>(&(account, entry.sequence))? != Some(entry.clone()) {
                        breaches.push(Breach::Entry { account, sequence: entry.sequence });
                    }
                }
                Err(why) => breaches.push(Breach::Unbookable { transfer: transfer.id, why: why.to_string() }),
            }
        }
        self.note(transfer);
        if transfer.kind == Kind::UnbookedVoid && !self.take_back(transfer) {
            breaches.push(Breach::TakenBack { transfer: transfer.id });
        }
        Ok(())
    }

    /// Use outside bookings that is given back is no delivery any more: no document lists it.
    fn take_back(&mut self, transfer: &Transfer) -> bool {
        let of = transfer.about.reverses.and_then(|of| self.deliveries.remove(&of));
        of == transfer.credit.team().map(|team| (team, transfer.amount))
    }

    /// Gathers what the later checks compare holds and documents with.
    fn note(&mut self, transfer: &Transfer) {
        let amount = i128::from(transfer.amount.micros());
        if let Some(hold) = transfer.about.hold {
            self.holds.entry(hold).or_default().note(transfer.kind, amount);
        }
        if let (true, Some(team)) = (transfer.kind.is_delivery(), transfer.debit.team()) {
            self.deliveries.insert(transfer.id, (team, transfer.amount));
        }
        if let Some(document) = transfer.about.document {
            let sums = self.documents.entry(document).or_default();
            match transfer.kind {
                Kind::Issue => sums.charged += amount,
                Kind::Settle | Kind::WriteOff => sums.settled += amount,
                Kind::RoundingUp => sums.rounding += amount,
                Kind::RoundingDown => sums.rounding -= amount,
                _ => {}
            }
        }
    }

    fn compare(&self, view: &impl Read, linked: u64, breaches: &mut Vec<Breach>) -> Result<(), StoreError> {
        let mut transfers = 0;
        each(view, Table::Transfers, |_, _| {
            transfers += 1;
            Ok(())
        })?;
        if transfers != linked {
            breaches.push(Breach::TransferCount { transfers, links: linked });
        }
        let mut entries = 0;
        each(view, Table::Entries, |_, _| {
            entries += 1;
            Ok(())
        })?;
        if entries != self.entries {
            breaches.push(Breach::EntryCount { entries, expected: self.entries });
        }
        let mut stored = 0;
        each(view, Table::Accounts, |_, value| {
            stored += 1;
            let row = AccountRow::decode(value).map_err(StoreError::from)?;
            if self.accounts.get(&row.account) != Some(&row) {
                breaches.push(Breach::AccountTotals { account: row.account });
            }
            Ok(())
        })?;
        if stored != self.accounts.len() {
            for account in self.accounts.keys() {
                if view.get::<AccountRow>(account)?.is_none() {
                    breaches.push(Breach::AccountTotals { account: *account });
                }
            }
        }
        let net = |row: &AccountRow| {
            i128::from(row.debits) - i128::from(row.credits) + i128::from(row.debits_held)
                - i128::from(row.credits_held)
        };
        let difference: i128 = self.accounts.values().map(net).sum();
        if difference != 0 {
            breaches.push(Breach::Unbalanced { difference });
        }
        Ok(())
    }
}
