//! The ledger while an intent decides: loads the accounts it touches, sees its own postings, and hands all rows over at the
//! end. It refuses postings that are not in the posting table, and amounts below zero.
use std::collections::BTreeMap;

use super::{Occasion, Reject};
use crate::base::credits::Credits;
use crate::base::ids::TransferId;
use crate::domain::event::Event;
use crate::domain::money::account::{Account, AccountRow, Balance, Entry};
use crate::domain::money::refusal::MoneyRefusal;
use crate::domain::money::table::{Kind, Parties, Phase, Place, Side};
use crate::domain::money::transfer::{About, LedgerHead, Link, Transfer};
use crate::store::changes::Changes;
use crate::store::money::LEDGER_HEAD;
use crate::store::read::Read;
use crate::store::record::Record;

/// What is to be posted: a row of the table, who takes part, how much, and what it is about.
#[derive(Clone, Debug)]
pub struct Posting {
    pub kind: Kind,
    pub parties: Parties,
    pub amount: Credits,
    pub about: About,
}

/// The working state. Nothing is written before [`Ledger::finish`]; dropping it drops everything.
pub struct Ledger<'a, R: Read> {
    view: &'a R,
    head: LedgerHead,
    accounts: BTreeMap<Account, AccountRow>,
    entries: Vec<Entry>,
    transfers: Vec<(Transfer, Link)>,
}

impl<'a, R: Read> Ledger<'a, R> {
    pub fn open(view: &'a R) -> Result<Self, Reject> {
        let head = view.get::<LedgerHead>(&LEDGER_HEAD)?.unwrap_or_default();
        Ok(Self { view, head, accounts: BTreeMap::new(), entries: Vec::new(), transfers: Vec::new() })
    }

    fn account(&mut self, account: Account) -> Result<&mut AccountRow, Reject> {
        use std::collections::btree_map::Entry as Slot;
        Ok(match self.accounts.entry(account) {
            Slot::Occupied(slot) => slot.into_mut(),
            Slot::Vacant(slot) => {
                let row = self.view.get::<AccountRow>(&account)?;
                slot.insert(row.unwrap_or_else(|| AccountRow::new(account)))
            }
        })
    }

    /// What an account has, this intent's postings included.
    pub fn balance(&mut self, account: Account) -> Result<Balance, Reject> {
        Ok(Balance::from(&*self.account(account)?))
    }

    /// Where the chain ends, this intent's postings included.
    pub const fn sequence(&self) -> u64 {
        self.head.sequence
    }

    /// Posts one row of the table.
    pub fn post(&mut self, posting: Posting, occasion: &mut Occasion) -> Result<TransferId, Reject> {
        let Posting { kind, parties, amount, about } = posting;
        if amount.is_negative() || (amount.is_zero() && !kind.is_delivery()) {
            return Err(MoneyRefusal::NotPositive { field: "amount" }.into());
        }
        let row = kind.row();
        let account = |place: Place| {
            place.account(parties).ok_or_else(|| MoneyRefusal::Inconsistent {
                what: format!("a posting of the kind {} does not say whose {place:?} account it moves", kind.word()),
            })
        };
        let (debit, credit) = (account(row.debit)?, account(row.credit)?);
        let id = TransferId::from_u128((occasion.ids)());
        for (account, side) in [(debit, Side::Debit), (credit, Side::Credit)] {
            let entry = self.account(account)?.book(id, row.phase, side, amount).map_err(MoneyRefusal::from)?;
            self.entries.push(entry);
        }
        let sequence = self.head.sequence + 1;
        let transfer = Transfer { id, sequence, kind, debit, credit, amount, at: occasion.now, about };
        let hash = Link::next(&self.head.hash, &transfer.encode());
        self.head = LedgerHead { sequence, hash };
        self.transfers.push((transfer, Link { sequence, transfer: id, hash }));
        Ok(id)
    }

    /// Hands everything over: rows, chain, events.
    pub fn finish(self, changes: &mut Changes, occasion: &Occasion) {
        if self.transfers.is_empty() {
            return;
        }
        for (transfer, link) in &self.transfers {
            changes.put(transfer).put(link);
            // What is held and let go is told by the events of the hold.
            if matches!(transfer.kind.row().phase, Phase::Post | Phase::PostHeld) {
                let team = transfer.debit.team().or(transfer.credit.team());
                changes.event(occasion.cause, Event::Posted { transfer: transfer.id, team, amount: transfer.amount });
            }
        }
        for entry in &self.entries {
            changes.put(entry);
        }
        for row in self.accounts.values().filter(|row| row.sequence > 0) {
            changes.put(row);
        }
        changes.put(&self.head);
    }
}
