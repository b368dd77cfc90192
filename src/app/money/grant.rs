//! Grants: credits that a team gets to spend. It refuses grants without a reason, and of nothing.
use super::ledger::{Ledger, Posting};
use super::{Occasion, Reject};
use crate::base::credits::{AmountError, Credits};
use crate::base::ids::{TeamId, TransferId};
use crate::base::text;
use crate::domain::money::refusal::MoneyRefusal;
use crate::domain::money::table::{Kind, Parties};
use crate::domain::money::transfer::About;
use crate::domain::notice::Common;
use crate::store::changes::Changes;
use crate::store::read::{Overlaid, Read};

/// The longest reason, in characters.
const REASON_LIMIT: usize = 200;

/// Reads a typed amount above zero.
pub fn read_amount(typed: &str) -> Result<Credits, Reject> {
    let bad = |bad: AmountError| Common::BadField { field: "amount", why: bad.to_string() };
    let amount: Credits = typed.parse().map_err(bad)?;
    if amount.is_zero() || amount.is_negative() {
        return Err(MoneyRefusal::NotPositive { field: "amount" }.into());
    }
    Ok(amount)
}

/// Reads a typed reason.
pub fn read_reason(typed: &str) -> Result<String, Reject> {
    Ok(text::line(typed, REASON_LIMIT).map_err(|bad| Common::BadField { field: "reason", why: bad.to_string() })?)
}

/// Grants a team credits: a step of the grant intent, and of the first setup.
pub fn post(
    view: &impl Read,
    changes: &mut Changes,
    team: TeamId,
    amount: Credits,
    reason: &str,
    occasion: &mut Occasion,
) -> Result<TransferId, Reject> {
    let memo = Some(read_reason(reason)?);
    let seen = Overlaid::new(view, changes);
    let mut ledger = Ledger::open(&seen)?;
    let parties = Parties { team: Some(team), owner: None };
    let about = About { memo, ..About::default() };
    let transfer = ledger.post(Posting { kind: Kind::Grant, parties, amount, about }, occasion)?;
    ledger.finish(changes, occasion);
    Ok(transfer)
}
