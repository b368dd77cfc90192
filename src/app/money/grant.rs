//! Grants: credits that a team gets to spend. It refuses grants without a reason, and of nothing.
use super::balance::balance;
use super::ledger::{Ledger, Posting};
use super::{Occasion, Reject};
use crate::app::error::Answer;
use crate::app::ids;
use crate::app::mill::Mill;
use crate::app::people::actor;
use crate::base::credits::{AmountError, Credits};
use crate::base::ids::{TeamId, TransferId};
use crate::base::text;
use crate::domain::event::Cause;
use crate::domain::money::refusal::MoneyRefusal;
use crate::domain::money::table::{Kind, Parties};
use crate::domain::money::transfer::About;
use crate::domain::notice::Common;
use crate::domain::people::refusal::PeopleRefusal;
use crate::domain::people::rights::Actor;
use crate::store::read::{Overlaid, Read};
use crate::store::{Changes, Command, IdempotencyKey, View};
use crate::wire::api::money::{GrantAnswer, GrantRequest};

/// The longest reason, in characters.
const REASON_LIMIT: usize = 200;

/// Grants a team credits; admins only.
pub async fn grant(
    mill: &Mill,
    who: &Actor,
    request: GrantRequest,
    key: Option<IdempotencyKey>,
) -> Answer<GrantAnswer> {
    if !who.admin {
        return Err(PeopleRefusal::Denied { what: "grant credits", who_may: "admins" }.into());
    }
    let amount = read_amount(&request.amount)?;
    let reason = read_reason(&request.reason)?;
    let team = actor::team(&mill.store.read()?, who, &request.team)?.id;
    let cause = Cause::Member(who.member);
    let command = Command::new(cause).maybe_keyed(key, &("grant", team, amount, &reason));
    let decide = move |view: &View<'_>, now| {
        let mut changes = Changes::new();
        let mut occasion = Occasion { now, cause, ids: &mut ids::fresh };
        let transfer = post(view, &mut changes, team, amount, &reason, &mut occasion)?;
        let after = balance(&Overlaid::new(view, &changes), team)?;
        Ok((changes, GrantAnswer { transfer, team, amount: amount.into(), balance: after.available.into() }))
    };
    Ok(mill.store.write(command, decide).await?)
}

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
