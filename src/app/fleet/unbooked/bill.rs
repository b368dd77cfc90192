//! What use outside bookings costs, and taking it back. A bill lies under its GPU and its beginning, so that posting the
//! same time twice is impossible, also after a crash between two readings. It refuses to bill beyond the pool's limit of
//! a day, time that a booking has, and whoever is not in the team that would pay.
use crate::app::error::Answer;
use crate::app::fleet::duty::reason;
use crate::app::fleet::manage::admins_only;
use crate::app::ids;
use crate::app::mill::Mill;
use crate::app::money::unbooked::{self as money, Charge};
use crate::app::money::{Occasion, price};
use crate::base::credits::Credits;
use crate::base::ids::{UnitId, UseId};
use crate::base::window::{Instant, Span, Window};
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::node::{Node, Pool, Unit};
use crate::domain::fleet::unbooked::refusal::PoolRefusal;
use crate::domain::fleet::unbooked::{self as rules, Bill, BilledDay, Payer, Stretch, Use, Voided};
use crate::domain::money::rate;
use crate::domain::money::refusal::MoneyRefusal;
use crate::domain::notice::Common;
use crate::domain::people::rights::Actor;
use crate::store::changes::Changes;
use crate::store::command::Command;
use crate::store::read::{Order, Overlaid, Read, StoreError};
use crate::store::record::{Key as _, Record as _};
use crate::store::tables::Table;
use crate::store::{Reject, View};

/// Bills of one GPU that are looked at: more than there are in a month of hours.
const MANY: usize = 5000;

/// Posts what is to be billed of a stretch.
pub fn post(
    view: &View<'_>,
    changes: &mut Changes,
    known: &Use,
    stretch: &Stretch,
    now: Instant,
) -> Result<(), Reject> {
    let node: Node = view.must(&known.node)?;
    let Some(unit) = view.get::<Unit>(&stretch.unit)?.filter(|unit| unit.node == known.node) else { return Ok(()) };
    let Ok(whole) = Window::new(stretch.from, stretch.to) else { return Ok(()) };
    let booked = view.calendar().busy(unit.id, whole).iter().map(|slot| slot.window);
    let billed: Vec<Window> =
        of_unit(&Overlaid::new(view, changes), unit.id, whole)?.iter().map(|b| b.window).collect();
    let taken: Vec<Window> = booked.chain(billed).collect();
    for piece in rules::left(stretch, &taken) {
        let rate = match node.owner {
            // A team's use of its own node is free, and still counted.
            Some(owner) if owner == stretch.payer.team => rate::OWN,
            _ => price::pin_unit(view, &unit.model, unit.shape.portion(unit.memory_bytes))?.per_gpu_hour,
        };
        let place = Place { node: &node, unit: &unit, rate };
        one(view, changes, known, stretch.payer, &place, piece, now)?;
    }
    Ok(())
}

/// Where time was used, and at which rate.
struct Place<'a> {
    node: &'a Node,
    unit: &'a Unit,
    rate: Credits,
}

fn one(
    view: &View<'_>,
    changes: &mut Changes,
    known: &Use,
    payer: Payer,
    place: &Place<'_>,
    piece: Window,
    now: Instant,
) -> Result<(), Reject> {
    let Place { node, unit, rate } = *place;
    let seen = Overlaid::new(view, changes);
    let policy = seen.must::<Pool>(&node.pool)?.policy.unbooked;
    let day = rules::day(piece.start());
    let so_far = seen.get::<BilledDay>(&(payer.member, node.pool, day))?.map_or(Credits::ZERO, |day| day.amount);
    let most = policy.most_a_day.checked_sub(so_far).map_err(MoneyRefusal::from)?;
    let seconds = rules::affordable(piece.span().as_seconds(), rate, most);
    if seconds <= 0 {
        return Ok(());
    }
    let window =
        Window::lasting(piece.start(), Span::from_seconds(seconds)).expect("seconds above zero are no empty time");
    let amount = rate.for_duration(1, seconds).map_err(MoneyRefusal::from)?;
    let user = known.user.clone().or(known.uid.map(|uid| format!("user {uid}"))).unwrap_or_default();
    let memo = format!("GPU {} of {}, by {user}", unit.index, node.name);
    let charge = Charge { team: payer.team, window, seconds, rate, amount, memo };
    let mut fresh = ids::fresh;
    let mut occasion = Occasion { now, cause: Cause::Mill, ids: &mut fresh };
    let transfer = money::charge(view, changes, &charge, &mut occasion)?;
    let amount_of_day = so_far.checked_add(amount).map_err(MoneyRefusal::from)?;
    changes.put(&BilledDay { member: payer.member, pool: node.pool, day, amount: amount_of_day });
    let used = known.id;
    let (unit, pool) = (unit.id, node.pool);
    changes.put(&Bill { unit, window, used, pool, payer, seconds, rate, amount, transfer, voided: None });
    Ok(())
}

/// Bills of a GPU that reach into a window, in the order of time.
pub fn of_unit(view: &impl Read, unit: UnitId, window: Window) -> Result<Vec<Bill>, StoreError> {
    use std::ops::Bound;
    // A bill is an hour and a reading long at most; the ones before the window that reach into it begin shortly before.
    let from = window.start().minus(Span::from_hours(2));
    let (from, to) = (Bound::Included((unit, from).bytes()), Bound::Excluded((unit, window.end()).bytes()));
    let rows = view.raw_range(Table::UseBills, from, to, Order::Ascending, MANY)?;
    let bills: Result<Vec<Bill>, _> = rows.iter().map(|(_, row)| Bill::decode(row)).collect();
    Ok(bills?.into_iter().filter(|bill| bill.window.overlaps(window)).collect())
}

/// The bills of a use, in the order of its GPUs and of time.
pub fn of_use(view: &impl Read, known: &Use) -> Result<Vec<Bill>, StoreError> {
    let mut bills = Vec::new();
    for &unit in &known.units {
        bills.extend(of_unit(view, unit, known.window())?.into_iter().filter(|bill| bill.used == known.id));
    }
    Ok(bills)
}

/// Gives back everything that is billed of a use and that no document lists; answers how much. Admins only.
pub async fn void(mill: &Mill, who: &Actor, id: UseId, why: &str) -> Answer<Credits> {
    admins_only(who, "give bills back")?;
    let why = reason(why)?;
    let (by, cause) = (who.member, Cause::Member(who.member));
    let decide = move |view: &View<'_>, now: Instant| {
        let known: Use = view.get(&id)?.ok_or(Common::NotFound { what: "use" })?;
        let bills: Vec<Bill> = of_use(view, &known)?.into_iter().filter(|bill| bill.voided.is_none()).collect();
        let mut changes = Changes::new();
        let (mut given, mut listed) = (Credits::ZERO, false);
        for mut bill in bills {
            let mut fresh = ids::fresh;
            let mut occasion = Occasion { now, cause, ids: &mut fresh };
            let seen = Overlaid::new(view, &changes);
            if !money::waits(&seen, &seen.must(&bill.transfer)?)? {
                listed = true;
                continue;
            }
            let transfer = money::give_back(view, &mut changes, bill.transfer, &why, &mut occasion)?;
            given = given.checked_add(bill.amount).map_err(MoneyRefusal::from)?;
            forget_day(view, &mut changes, &bill)?;
            changes.event(cause, Event::UnbookedVoided { used: id, team: bill.payer.team, why: why.clone() });
            bill.voided = Some(Voided { at: now, by, why: why.clone(), transfer });
            changes.put(&bill);
        }
        match (given.is_zero(), listed) {
            (true, true) => Err(PoolRefusal::OnDocument.into()),
            (true, false) => Err(PoolRefusal::NothingBilled.into()),
            _ => Ok((changes, given)),
        }
    };
    Ok(mill.store.write(Command::new(cause), decide).await?)
}

/// What was given back does not count towards the day's limit.
fn forget_day(view: &View<'_>, changes: &mut Changes, bill: &Bill) -> Result<(), Reject> {
    let seen = Overlaid::new(view, changes);
    let key = (bill.payer.member, bill.pool, rules::day(bill.window.start()));
    if let Some(day) = seen.get::<BilledDay>(&key)? {
        let amount = day.amount.checked_sub(bill.amount).map_err(MoneyRefusal::from)?;
        changes.put(&BilledDay { amount: amount.max(Credits::ZERO), ..day });
    }
    Ok(())
}
