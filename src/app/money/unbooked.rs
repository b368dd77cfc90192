//! Postings of GPU time used outside bookings: after the fact, without a hold, and without a share for the node's owner.
//! Whoever runs a machine could invent processes on it; so its owner earns nothing from them, and an admin can give each
//! amount back while no document lists it. It refuses to give back twice.
use super::ledger::{Ledger, Posting};
use super::{Occasion, Reject};
use crate::base::credits::Credits;
use crate::base::ids::{TeamId, TransferId};
use crate::base::window::Window;
use crate::domain::fleet::unbooked::refusal::PoolRefusal;
use crate::domain::money::table::{Kind, Parties};
use crate::domain::money::transfer::{About, Transfer};
use crate::store::changes::Changes;
use crate::store::money::unbilled_key;
use crate::store::read::{Overlaid, Read};
use crate::store::record::Key as _;
use crate::store::tables::Table;

/// Time of one GPU that a team is billed.
pub struct Charge {
    pub team: TeamId,
    pub window: Window,
    pub seconds: i64,
    /// Credits per GPU and hour.
    pub rate: Credits,
    pub amount: Credits,
    /// What the statement says of it: machine, GPU, Unix user.
    pub memo: String,
}

/// Posts it, and puts it where the team's next document finds it.
pub fn charge(
    view: &impl Read,
    changes: &mut Changes,
    charge: &Charge,
    occasion: &mut Occasion,
) -> Result<TransferId, Reject> {
    let seen = Overlaid::new(view, changes);
    let mut ledger = Ledger::open(&seen)?;
    let about = About {
        window: Some(charge.window),
        gpu_seconds: Some(charge.seconds),
        rate: Some(charge.rate),
        memo: Some(charge.memo.clone()),
        ..About::default()
    };
    let parties = Parties { team: Some(charge.team), owner: None };
    let posting = Posting { kind: Kind::Unbooked, parties, amount: charge.amount, about };
    let id = ledger.post(posting, occasion)?;
    ledger.finish(changes, occasion);
    changes.index(Table::Unbilled, &unbilled_key(charge.team, charge.window.start(), id), &id);
    Ok(id)
}

/// Whether no document lists it yet.
pub fn waits(view: &impl Read, transfer: &Transfer) -> Result<bool, Reject> {
    let Some(team) = transfer.debit.team() else { return Ok(false) };
    let start = transfer.about.window.map_or(transfer.at, Window::start);
    Ok(view.raw(Table::Unbilled, &unbilled_key(team, start, transfer.id).bytes())?.is_some())
}

/// Gives back what was billed; answers the posting, where there was something to post.
pub fn give_back(
    view: &impl Read,
    changes: &mut Changes,
    of: TransferId,
    why: &str,
    occasion: &mut Occasion,
) -> Result<Option<TransferId>, Reject> {
    let seen = Overlaid::new(view, changes);
    let transfer: Transfer = seen.must(&of)?;
    let Some(team) = transfer.debit.team().filter(|_| transfer.kind == Kind::Unbooked) else {
        return Err(PoolRefusal::NothingBilled.into());
    };
    if !waits(&seen, &transfer)? {
        return Err(PoolRefusal::OnDocument.into());
    }
    if transfer.amount.is_zero() {
        return Ok(None);
    }
    let mut ledger = Ledger::open(&seen)?;
    let about =
        About { window: transfer.about.window, reverses: Some(of), memo: Some(why.to_owned()), ..About::default() };
    let parties = Parties { team: Some(team), owner: None };
    let posting = Posting { kind: Kind::UnbookedVoid, parties, amount: transfer.amount, about };
    let id = ledger.post(posting, occasion)?;
    ledger.finish(changes, occasion);
    let start = transfer.about.window.map_or(transfer.at, Window::start);
    changes.unindex(Table::Unbilled, &unbilled_key(team, start, of));
    Ok(Some(id))
}
