//! The life of a booking's payment: held when it is placed, posted as it is delivered, given back for the rest. These are
//! steps of other intents, composed inside one deciding run. They refuse to resolve a segment twice, to post more than was
//! held, and, in chargeback, to hold what the team does not have.
use jiff::tz::TimeZone;

use super::ledger::{Ledger, Posting};
use super::{Occasion, Reject};
use crate::base::credits::Credits;
use crate::base::ids::{BookingId, HoldId, TeamId};
use crate::base::window::{Instant, Window};
use crate::domain::bookings::booking::RatePin;
use crate::domain::event::Event;
use crate::domain::money::account::Account;
use crate::domain::money::hold::{self as rules, Hold, Resolved};
use crate::domain::money::refusal::MoneyRefusal;
use crate::domain::money::table::{Kind, Parties};
use crate::domain::money::transfer::About;
use crate::domain::money::{payout, period, rate};
use crate::domain::people::installation::Mode;
use crate::store::changes::Changes;
use crate::store::money::{put_hold, unbilled_key};
use crate::store::read::{Order, Overlaid, Read};
use crate::store::tables::Table;

pub use crate::domain::money::hold::Delivered;

/// More holds than a booking can come to: one per extension.
const MANY: usize = 100_000;

/// What is to be reserved.
#[derive(Clone, Copy, Debug)]
pub struct Reserve<'a> {
    pub booking: BookingId,
    pub team: TeamId,
    pub window: Window,
    pub gpus: u32,
    pub pin: &'a RatePin,
    /// The installation's zone (`period::zone(&installation.time_zone)`): segments end at its midnights.
    pub zone: &'a TimeZone,
    pub mode: Mode,
}

/// Reserves the price of a window, in segments. Used when a booking is placed, and again for each extension (with the
/// window that is added and the rate of that day). Answers what is held by this.
pub fn place(
    view: &impl Read,
    changes: &mut Changes,
    reserve: Reserve,
    occasion: &mut Occasion,
) -> Result<Credits, Reject> {
    let Reserve { booking, team, window, gpus, pin, zone, mode } = reserve;
    let pieces = period::days(window, zone);
    let segments = rules::segments(pin.per_gpu_hour, gpus, &pieces).map_err(MoneyRefusal::from)?;
    let id = HoldId::from_u128((occasion.ids)());
    let hold = Hold { id, booking, team, window, gpus, rate: pin.clone(), segments, made: occasion.now };
    let amount = hold.amount();
    let seen = Overlaid::new(view, changes);
    let mut ledger = Ledger::open(&seen)?;
    if mode == Mode::Chargeback {
        let available = ledger.balance(Account::Team(team))?.available;
        if amount > available {
            return Err(MoneyRefusal::NotEnough { price: amount, available }.into());
        }
    }
    // Time at a rate of zero holds nothing, but its segments still have to be resolved, so that it is counted.
    if !amount.is_zero() {
        let parties = Parties { team: Some(team), owner: None };
        let about = About { booking: Some(booking), hold: Some(id), window: Some(window), ..About::default() };
        ledger.post(Posting { kind: Kind::Hold, parties, amount, about }, occasion)?;
    }
    ledger.finish(changes, occasion);
    put_hold(changes, &hold);
    changes.event(occasion.cause, Event::Held { hold: id, team, amount });
    Ok(amount)
}

/// Settles everything that is still open of a booking: posts what was delivered, gives back the rest; with nothing
/// delivered it gives back all. Answers what the booking cost altogether. Calling it again changes nothing.
pub fn settle(
    view: &impl Read,
    changes: &mut Changes,
    booking: BookingId,
    delivered: &[Delivered],
    occasion: &mut Occasion,
) -> Result<Credits, Reject> {
    resolve(view, changes, booking, delivered, None, Kind::Void, occasion)
}

/// Settles the segments that end at or before `until` and leaves the others open: how a booking over several days is
/// settled daily. Answers what the booking has cost so far.
pub fn settle_through(
    view: &impl Read,
    changes: &mut Changes,
    booking: BookingId,
    delivered: &[Delivered],
    until: Instant,
    occasion: &mut Occasion,
) -> Result<Credits, Reject> {
    resolve(view, changes, booking, delivered, Some(until), Kind::Void, occasion)
}

/// Gives back all that is still open because its time ran out unused. Answers what the booking has cost.
pub fn expire(
    view: &impl Read,
    changes: &mut Changes,
    booking: BookingId,
    occasion: &mut Occasion,
) -> Result<Credits, Reject> {
    resolve(view, changes, booking, &[], None, Kind::Expire, occasion)
}

/// All holds of a booking, oldest first.
pub fn of_booking(view: &impl Read, booking: BookingId) -> Result<Vec<Hold>, Reject> {
    Ok(view.list_via::<Hold>(Table::HoldsByBooking, &booking.to_bytes(), Order::Ascending, MANY)?)
}

fn resolve(
    view: &impl Read,
    changes: &mut Changes,
    booking: BookingId,
    delivered: &[Delivered],
    until: Option<Instant>,
    leftover: Kind,
    occasion: &mut Occasion,
) -> Result<Credits, Reject> {
    let seen = Overlaid::new(view, changes);
    let mut holds = of_booking(&seen, booking)?;
    let mut ledger = Ledger::open(&seen)?;
    let mut touched = Vec::new();
    for hold in &mut holds {
        let before = hold.clone();
        for index in 0..hold.segments.len() {
            let segment = &hold.segments[index];
            if segment.resolved.is_some() || until.is_some_and(|until| segment.window.end() > until) {
                continue;
            }
            let resolved = resolve_segment(&mut ledger, changes, hold, index, delivered, leftover, occasion)?;
            hold.segments[index].resolved = Some(resolved);
        }
        if *hold != before {
            touched.push(hold.clone());
        }
    }
    ledger.finish(changes, occasion);
    for hold in &touched {
        put_hold(changes, hold);
        changes.event(occasion.cause, Event::HoldResolved { hold: hold.id, team: hold.team });
    }
    Ok(holds.iter().map(Hold::delivered).sum())
}

fn resolve_segment<R: Read>(
    ledger: &mut Ledger<R>,
    changes: &mut Changes,
    hold: &Hold,
    index: usize,
    delivered: &[Delivered],
    leftover: Kind,
    occasion: &mut Occasion,
) -> Result<Resolved, Reject> {
    let segment = &hold.segments[index];
    let mut posted = Credits::ZERO;
    for part in rules::parts(hold, segment, delivered, rate::OWN).map_err(MoneyRefusal::from)? {
        post_part(ledger, changes, hold, &part, occasion)?;
        posted = posted.checked_add(part.cost).map_err(MoneyRefusal::from)?;
    }
    let given_back = segment.amount.checked_sub(posted).map_err(MoneyRefusal::from)?;
    if !given_back.is_zero() {
        let parties = Parties { team: Some(hold.team), owner: None };
        let about = About {
            booking: Some(hold.booking),
            hold: Some(hold.id),
            window: Some(segment.window),
            ..About::default()
        };
        ledger.post(Posting { kind: leftover, parties, amount: given_back, about }, occasion)?;
    }
    Ok(Resolved { delivered: posted, given_back, at: occasion.now })
}

/// Posts delivered time, and shares it with the node's owner where that is another team.
fn post_part<R: Read>(
    ledger: &mut Ledger<R>,
    changes: &mut Changes,
    hold: &Hold,
    part: &rules::Part,
    occasion: &mut Occasion,
) -> Result<(), Reject> {
    let own = part.delivered.owner == Some(hold.team);
    let owner = part.delivered.owner.filter(|_| !own);
    let parties = Parties { team: Some(hold.team), owner };
    let about = About {
        booking: Some(hold.booking),
        hold: Some(hold.id),
        lease: part.delivered.lease,
        window: Some(part.window),
        gpu_seconds: Some(part.gpu_seconds),
        rate: Some(if own { rate::OWN } else { hold.rate.per_gpu_hour }),
        ..About::default()
    };
    let kind = if own { Kind::OwnDelivery } else { Kind::Delivery };
    let id = ledger.post(Posting { kind, parties, amount: part.cost, about: about.clone() }, occasion)?;
    changes.index(Table::Unbilled, &unbilled_key(hold.team, part.window.start(), id), &id);
    if owner.is_some() {
        let split = payout::split(part.cost, payout::OPERATOR_FEE_BPS).map_err(MoneyRefusal::from)?;
        for (kind, amount) in [(Kind::Fee, split.fee), (Kind::Payout, split.owner)] {
            if !amount.is_zero() {
                ledger.post(Posting { kind, parties, amount, about: about.clone() }, occasion)?;
            }
        }
    }
    Ok(())
}
