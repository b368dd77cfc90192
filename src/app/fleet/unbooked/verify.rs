//! Bills of use outside bookings against the ledger, against each other and against the calendar's promise that a second
//! of a GPU is paid once. It refuses to mend; it names what does not hold.
use std::collections::{HashMap, HashSet};

use crate::base::credits::Credits;
use crate::base::ids::{MemberId, PoolId, TransferId};
use crate::domain::fleet::unbooked::{Bill, BilledDay, Use, day};
use crate::domain::money::account::Account;
use crate::domain::money::table::Kind;
use crate::domain::money::transfer::Transfer;
use crate::store::read::{Read, StoreError};
use crate::store::record::Record as _;
use crate::store::tables::Table;
use crate::store::verify::Check;
use crate::store::view::Snapshot;

/// The checks of it.
pub fn checks() -> Vec<Check> {
    vec![Check { name: "use outside bookings", run: bills }]
}

fn bills(snapshot: &Snapshot) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    let mut billed: HashSet<TransferId> = HashSet::new();
    let mut given_back: HashSet<TransferId> = HashSet::new();
    let mut days: HashMap<(MemberId, PoolId, u64), i128> = HashMap::new();
    let mut before: Option<Bill> = None;
    snapshot.scan(Table::UseBills, |_, value| {
        let bill = Bill::decode(value)?;
        if before.as_ref().is_some_and(|last| last.unit == bill.unit && last.window.end() > bill.window.start()) {
            found.push(format!("{} is billed twice from {:?} on", bill.unit, bill.window.start()));
        }
        found.extend(against_ledger(snapshot, &bill)?);
        billed.insert(bill.transfer);
        given_back.extend(bill.voided.as_ref().and_then(|voided| voided.transfer));
        if bill.voided.is_none() {
            let key = (bill.payer.member, bill.pool, day(bill.window.start()));
            *days.entry(key).or_default() += i128::from(bill.amount.micros());
        }
        before = Some(bill);
        Ok(())
    })?;
    snapshot.scan(Table::UseDays, |_, value| {
        let row = BilledDay::decode(value)?;
        let sum = days.remove(&(row.member, row.pool, row.day)).unwrap_or(0);
        if sum != i128::from(row.amount.micros()) {
            found.push(format!("{} was billed other than its day {} says", row.member, row.day));
        }
        Ok(())
    })?;
    found.extend(
        days.into_keys().map(|(member, _, day)| format!("{member} was billed on day {day}, which is not kept")),
    );
    snapshot.scan(Table::Transfers, |_, value| {
        let transfer = Transfer::decode(value)?;
        let known = match transfer.kind {
            Kind::Unbooked => billed.contains(&transfer.id),
            Kind::UnbookedVoid => given_back.contains(&transfer.id),
            _ => true,
        };
        if !known {
            found.push(format!("{} is about use outside bookings, and no bill names it", transfer.id));
        }
        Ok(())
    })?;
    Ok(found)
}

fn against_ledger(snapshot: &Snapshot, bill: &Bill) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    let what = format!("the bill of {} from {:?} on", bill.unit, bill.window.start());
    if bill.window.span().as_seconds() != bill.seconds || bill.rate.for_duration(1, bill.seconds) != Ok(bill.amount) {
        found.push(format!("{what} does not add up"));
    }
    if snapshot.get::<Use>(&bill.used)?.is_none() {
        found.push(format!("{what} is of a use that is not there"));
    }
    match snapshot.get::<Transfer>(&bill.transfer)? {
        Some(transfer)
            if transfer.kind == Kind::Unbooked
                && transfer.amount == bill.amount
                && transfer.debit == Account::Team(bill.payer.team)
                && transfer.about.gpu_seconds == Some(bill.seconds) => {}
        _ => found.push(format!("{what} is not what was posted")),
    }
    let Some(voided) = &bill.voided else { return Ok(found) };
    let back = voided.transfer.map(|id| snapshot.get::<Transfer>(&id)).transpose()?.flatten();
    let same = match back {
        Some(back) => back.about.reverses == Some(bill.transfer) && back.amount == bill.amount,
        None => voided.transfer.is_none() && bill.amount == Credits::ZERO,
    };
    if !same {
        found.push(format!("{what} was not given back as it says"));
    }
    Ok(found)
}
