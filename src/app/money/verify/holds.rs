//! Holds: each segment resolved once, never beyond what was held, and open only while the booking lives.
use std::collections::BTreeMap;

use super::books::{Books, HoldSums};
use super::{Breach, each};
use crate::base::credits::Credits;
use crate::base::ids::HoldId;
use crate::domain::bookings::booking::Booking;
use crate::domain::money::account::{Account, AccountRow};
use crate::domain::money::hold::Hold;
use crate::store::read::{Read, StoreError};
use crate::store::record::{Key as _, Record};
use crate::store::tables::Table;

/// Answers how many holds there are.
pub fn check(view: &impl Read, books: &Books, breaches: &mut Vec<Breach>) -> Result<u64, StoreError> {
    let mut count = 0;
    let mut known: BTreeMap<HoldId, ()> = BTreeMap::new();
    let mut outstanding: BTreeMap<Account, i128> = BTreeMap::new();
    each(view, Table::Holds, |_, value| {
        count += 1;
        let hold = Hold::decode(value).map_err(StoreError::from)?;
        known.insert(hold.id, ());
        let open = i128::from(hold.outstanding().micros());
        *outstanding.entry(Account::Team(hold.team)).or_default() += open;
        let sums = books.holds.get(&hold.id).copied().unwrap_or_default();
        one(view, &hold, Some(sums), &mut |why| breaches.push(Breach::Hold { hold: hold.id, why }))
    })?;
    for hold in books.holds.keys().filter(|hold| !known.contains_key(hold)) {
        breaches.push(Breach::Hold { hold: *hold, why: "there are transfers about it, but it is not there" });
    }
    for row in books.accounts.values().filter(|row| matches!(row.account, Account::Team(_))) {
        held_total(row, outstanding.get(&row.account).copied().unwrap_or(0), breaches);
    }
    Ok(count)
}

/// One hold against the transfers about it (where all of them are known) and what must stand beside it.
pub fn one(
    view: &impl Read,
    hold: &Hold,
    sums: Option<HoldSums>,
    breach: &mut impl FnMut(&'static str),
) -> Result<(), StoreError> {
    if let Some(sums) = sums {
        against_transfers(hold, sums, breach);
    }
    in_itself(hold, breach);
    let listed = view.raw(Table::OpenHolds, &hold.id.bytes())?.is_some();
    if listed != hold.is_open() {
        breach("it is listed as open and is not, or the other way round");
    }
    if view.raw(Table::HoldsByBooking, &(hold.booking, hold.id).bytes())?.is_none() {
        breach("its booking does not lead to it");
    }
    if hold.is_open() {
        match view.get::<Booking>(&hold.booking)? {
            Some(booking) if booking.state.is_live() => {}
            Some(_) => breach("it is open, but its booking is over"),
            None => breach("its booking is not there"),
        }
    }
    Ok(())
}

fn held_total(row: &AccountRow, outstanding: i128, breaches: &mut Vec<Breach>) {
    if i128::from(row.held().micros()) != outstanding {
        breaches.push(Breach::HeldTotal { account: row.account });
    }
}

fn against_transfers(hold: &Hold, sums: HoldSums, breach: &mut impl FnMut(&'static str)) {
    let micros = |amount: Credits| i128::from(amount.micros());
    if micros(hold.amount()) != sums.held {
        breach("its segments do not sum to what was held");
    }
    let resolved = |part: fn(&crate::domain::money::hold::Resolved) -> Credits| {
        hold.segments.iter().filter_map(|segment| segment.resolved.as_ref()).map(part).map(micros).sum::<i128>()
    };
    if resolved(|r| r.delivered) != sums.delivered {
        breach("what it says was delivered is not what was posted");
    }
    if resolved(|r| r.given_back) != sums.given_back {
        breach("what it says was given back is not what was released");
    }
}

/// What must be true of a hold whatever was posted.
fn in_itself(hold: &Hold, breach: &mut impl FnMut(&'static str)) {
    let micros = |amount: Credits| i128::from(amount.micros());
    for segment in &hold.segments {
        let Some(resolved) = segment.resolved else { continue };
        let parts = micros(resolved.delivered) + micros(resolved.given_back);
        if parts != micros(segment.amount) || resolved.delivered.is_negative() || resolved.given_back.is_negative() {
            breach("a segment was resolved for other than what was held");
        }
    }
    let contiguous = hold.segments.windows(2).all(|pair| pair[0].window.end() == pair[1].window.start());
    let whole = hold.segments.first().zip(hold.segments.last());
    let covers = whole.is_some_and(|(first, last)| {
        first.window.start() == hold.window.start() && last.window.end() == hold.window.end()
    });
    if !contiguous || !covers {
        breach("its segments do not cover its window");
    }
}
