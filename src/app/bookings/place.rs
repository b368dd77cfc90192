//! Quote and book. A quote promises nothing; booking places and holds the money in one transaction, and re-plans inside it
//! when somebody was faster. It refuses to book on a plan that no longer holds.
use super::ask::{self, Wanted};
use super::busy::{self, Busy};
use super::{House, Voice, leases, plan, show, tell, with_occasion};
use crate::app::error::Answer;
use crate::app::fleet::maintenance;
use crate::app::ids;
use crate::app::mill::Mill;
use crate::app::money::hold::{self, Reserve};
use crate::app::money::{balance, price};
use crate::base::ids::BookingId;
use crate::base::window::{Instant, Span, Window};
use crate::domain::bookings::booking::{Ask, Booking, BookingState, When};
use crate::domain::bookings::search::Placement;
use crate::domain::bookings::supply::{NodeFacts, Supply};
use crate::domain::event::{Cause, Event};
use crate::domain::money::refusal::MoneyRefusal;
use crate::domain::people::rights::Actor;
use crate::store::changes::Changes;
use crate::store::command::digest;
use crate::store::read::StoreError;
use crate::store::{Command, IdempotencyKey, Reject, View, answers};
use crate::wire::api::bookings::{BookRequest, BookingView, QuoteView};

/// A plan older than this has a start in the past; it is made anew.
const STALE: Span = Span::from_seconds(2);

/// What it would be and cost, as of now. Promises nothing.
pub fn quote(mill: &Mill, actor: &Actor, request: &BookRequest, now: Instant) -> Answer<QuoteView> {
    let view = mill.store.read()?;
    let house = House::read(&view)?;
    let Wanted { team, ask } = ask::read(&view, actor, request, now, &house.zone)?;
    let supply = view.supply();
    let busy = Busy::read(&view, view.calendar(), &supply, now)?;
    let placement = plan::choose(&supply, &busy, &ask, now, &house.zone)?;
    let node = facts(&supply, &placement)?;
    let pin = price::pin_unit(&view, &placement.model, placement.portion)?;
    let price = price::price(&pin, ask.gpus, placement.window)?;
    let balance = balance::balance(&view, team.id)?.available;
    let after = balance.checked_sub(price).map_err(MoneyRefusal::from)?;
    Ok(QuoteView {
        team: team.id,
        team_name: team.name.to_string(),
        gpus: ask.gpus,
        start: placement.window.start().into(),
        end: placement.window.end().into(),
        duration_seconds: placement.window.span().as_seconds(),
        lines: price::quote_lines(&pin, ask.gpus, placement.portion, placement.window)?,
        price: price.into(),
        balance: balance.into(),
        balance_after: after.into(),
        share: node.share(ask.gpus, placement.portion),
        node: placement.node,
        node_name: node.name.clone(),
        model: placement.model,
    })
}

/// Places a booking and holds its price, or refuses with the nearest slot that works.
pub async fn book(
    mill: &Mill,
    actor: &Actor,
    request: BookRequest,
    key: Option<IdempotencyKey>,
    now: Instant,
) -> Answer<BookingView> {
    let (command, decide) = intent(mill, actor, request, key, now)?;
    let id = mill.store.write(command, decide).await?;
    show::show(mill, actor, id, now)
}

/// Decides one booking, as often as it is asked.
pub type Decide = Box<dyn Fn(&View<'_>, Instant) -> Result<(Changes, BookingId), Reject> + Send>;

/// A booking before it is decided: planned on a snapshot, with what decides it in the transaction.
pub fn intent(
    mill: &Mill,
    actor: &Actor,
    request: BookRequest,
    key: Option<IdempotencyKey>,
    now: Instant,
) -> Answer<(Command, Decide)> {
    let mut command = Command::new(Cause::Member(actor.member));
    if let Some(key) = key {
        command = command.keyed(key, digest(&("book", &request)));
    }
    let proposal = propose(mill, actor, &request, &command, now)?;
    let (owner, voice) = (actor.clone(), Voice::of(mill));
    let decide = move |view: &View<'_>, now| decide(view, (&owner, &voice), &request, proposal.as_ref(), now);
    Ok((command, Box::new(decide)))
}

/// A plan made on a snapshot. A request that was answered before needs none.
fn propose(
    mill: &Mill,
    actor: &Actor,
    request: &BookRequest,
    command: &Command,
    now: Instant,
) -> Answer<Option<Placement>> {
    let view = mill.store.read()?;
    if answers::given(&view, command)? {
        return Ok(None);
    }
    let house = House::read(&view)?;
    let wanted = ask::read(&view, actor, request, now, &house.zone)?;
    let supply = view.supply();
    let busy = Busy::read(&view, view.calendar(), &supply, now)?;
    Ok(Some(plan::choose(&supply, &busy, &wanted.ask, now, &house.zone)?))
}

fn facts<'a>(supply: &'a Supply, placement: &Placement) -> Result<&'a NodeFacts, StoreError> {
    supply.nodes.get(&placement.node).ok_or(StoreError::Missing { table: "nodes" })
}

fn decide(
    view: &View<'_>,
    (actor, voice): (&Actor, &Voice),
    request: &BookRequest,
    proposal: Option<&Placement>,
    now: Instant,
) -> Result<(Changes, BookingId), Reject> {
    let house = House::read(view)?;
    let Wanted { team, ask } = ask::read(view, actor, request, now, &house.zone)?;
    let supply = view.supply();
    let placement = match proposal {
        Some(placement) if holds(view, &supply, placement, now)? => placement.clone(),
        _ => plan::choose(&supply, &Busy::read(view, view.calendar(), &supply, now)?, &ask, now, &house.zone)?,
    };
    let node = facts(&supply, &placement)?;
    let cause = Cause::Member(actor.member);
    let mut changes = Changes::new();
    let booking = BookingId::from_u128(ids::fresh());
    let pin = price::pin_unit(view, &placement.model, placement.portion)?;
    let reserve = Reserve {
        booking,
        team: team.id,
        window: placement.window,
        gpus: ask.gpus,
        pin: &pin,
        zone: &house.zone,
        mode: house.installation.mode,
    };
    let held = with_occasion(now, cause, |o| hold::place(view, &mut changes, reserve, o))?;
    let lease = leases::grant(&mut changes, cause, booking, &placement, node, 1);
    changes.event(cause, Event::BookingPlaced { booking, team: team.id, window: placement.window });
    let booking = Booking {
        id: booking,
        team: team.id,
        member: actor.member,
        ask: settled(ask, placement.window),
        window: placement.window,
        share: lease.share,
        held,
        rate: pin,
        leases: vec![lease.id],
        attempt: 1,
        state: BookingState::Booked,
        created: now,
        warned: Vec::new(),
        due: None,
    };
    let booking = house.put(&mut changes, None, booking, now);
    tell::placed(view, &mut changes, (&house, voice), &booking, now)?;
    Ok((changes, booking.id))
}

/// What was asked for stays as it was asked, but a start that lay a moment back is the one that was promised.
fn settled(mut ask: Ask, promised: Window) -> Ask {
    if let When::At { window } = &mut ask.when {
        *window = promised;
    }
    ask
}

/// Whether a plan still holds: its units are free and in service, its node is open, its start is not past.
fn holds(view: &View<'_>, supply: &Supply, plan: &Placement, now: Instant) -> Result<bool, StoreError> {
    let until = plan.window.end().plus(plan.turnaround);
    let Ok(occupied) = Window::new(plan.window.start(), until) else { return Ok(false) };
    let start = plan.window.start();
    if start < now.minus(STALE) || !busy::is_free(view.calendar(), &supply.excluded, &plan.units, occupied) {
        return Ok(false);
    }
    let Some(group) = supply.group(plan.node, &plan.model, plan.portion) else { return Ok(false) };
    // A moment passes between plan and decision; a start at once stays one, a node that went away keeps its lead.
    let opens = if group.lead == Span::ZERO { start } else { group.opens(now) };
    if start < opens || group.turnaround != plan.turnaround || !plan.units.iter().all(|unit| group.units.contains(unit))
    {
        return Ok(false);
    }
    Ok(!maintenance::of_node(view, plan.node, now)?.iter().any(|one| one.window.overlaps(occupied)))
}
