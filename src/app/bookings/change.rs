//! What a person does to a booking that exists: extend, release, cancel. It refuses strangers as if the booking did not
//! exist, and changes that the calendar or the state do not allow.
use super::busy::{self, Busy};
use super::{House, leases, plan, show, with_occasion};
use crate::app::error::Answer;
use crate::app::fleet::maintenance;
use crate::app::mill::Mill;
use crate::app::money::hold::{self, Reserve};
use crate::app::money::price;
use crate::base::ids::BookingId;
use crate::base::window::{Instant, Span, Window};
use crate::domain::bookings::booking::{Booking, BookingState, EndCause, RatePin};
use crate::domain::bookings::lease::Lease;
use crate::domain::bookings::refusal::{NodeNeeded, Offer, Why};
use crate::domain::bookings::search::Want;
use crate::domain::bookings::{schedule, transition};
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::duty::Duty;
use crate::domain::fleet::node::{Node, Unit};
use crate::domain::money::refusal::MoneyRefusal;
use crate::domain::notice::Common;
use crate::domain::people::rights::Actor;
use crate::store::changes::Changes;
use crate::store::command::digest;
use crate::store::read::Read;
use crate::store::{Command, IdempotencyKey, Reject, View};
use crate::wire::api::bookings::{BookingView, ExtendRequest};

/// Adds time at the end, at today's rate; refused when somebody has the GPUs next or the node is needed for something else.
pub async fn extend(
    mill: &Mill,
    actor: &Actor,
    id: BookingId,
    request: ExtendRequest,
    key: Option<IdempotencyKey>,
    now: Instant,
) -> Answer<BookingView> {
    let by = Span::from_seconds(request.by_seconds);
    change(mill, actor, id, Action::Extend { by }, key, now).await
}

/// Gives it back early: what was used is paid, the rest is free at once.
pub async fn release(
    mill: &Mill,
    actor: &Actor,
    id: BookingId,
    key: Option<IdempotencyKey>,
    now: Instant,
) -> Answer<BookingView> {
    change(mill, actor, id, Action::Release, key, now).await
}

/// Gives it up before it is handed over; nothing is charged.
pub async fn cancel(
    mill: &Mill,
    actor: &Actor,
    id: BookingId,
    key: Option<IdempotencyKey>,
    now: Instant,
) -> Answer<BookingView> {
    change(mill, actor, id, Action::Cancel, key, now).await
}

#[derive(Clone, Copy)]
enum Action {
    Extend { by: Span },
    Release,
    Cancel,
}

impl Action {
    const fn word(self) -> &'static str {
        match self {
            Self::Extend { .. } => "extend",
            Self::Release => "release",
            Self::Cancel => "cancel",
        }
    }
}

async fn change(
    mill: &Mill,
    actor: &Actor,
    id: BookingId,
    action: Action,
    key: Option<IdempotencyKey>,
    now: Instant,
) -> Answer<BookingView> {
    let cause = Cause::Member(actor.member);
    let mut command = Command::new(cause);
    if let Some(key) = key {
        let by = if let Action::Extend { by } = action { by } else { Span::ZERO };
        command = command.keyed(key, digest(&(action.word(), id, by)));
    }
    let asking = actor.clone();
    let decide = move |view: &View<'_>, now| {
        let house = House::read(view)?;
        let booking = owned(view, &asking, id, action)?;
        let mut deciding = Deciding { view, changes: Changes::new(), house: &house, now, cause };
        match action {
            Action::Extend { by } => deciding.extend(booking, by),
            Action::Release => deciding.release(booking),
            Action::Cancel => deciding.cancel(booking),
        }?;
        Ok((deciding.changes, ()))
    };
    mill.store.write(command, decide).await?;
    show::show(mill, actor, id, now)
}

/// The booking, if the actor may change it.
fn owned(view: &impl Read, actor: &Actor, id: BookingId, action: Action) -> Result<Booking, Reject> {
    let booking = view
        .get::<Booking>(&id)?
        .filter(|booking| actor.sees(booking.team))
        .ok_or(Common::NotFound { what: "booking" })?;
    let spends = matches!(action, Action::Extend { .. });
    // More time costs the team more, which is never an admin's decision alone.
    let may = actor.manages_booking(booking.team, booking.member) && (!spends || actor.books_for(booking.team));
    if may {
        Ok(booking)
    } else {
        Err(Why::NotYours { action: action.word() }.into_refusal(&jiff::tz::TimeZone::UTC).into())
    }
}

struct Deciding<'a, 'b> {
    view: &'a View<'b>,
    changes: Changes,
    house: &'a House,
    now: Instant,
    cause: Cause,
}

impl Deciding<'_, '_> {
    fn extend(&mut self, before: Booking, by: Span) -> Result<(), Reject> {
        let now = self.now;
        if by.as_millis() <= 0 {
            return Err(Why::NoDuration.into_refusal(&self.house.zone).into());
        }
        let added =
            Window::lasting(before.window.end(), by).map_err(|_| Why::NoDuration.into_refusal(&self.house.zone))?;
        let mut after = transition::extend(before.clone(), added.end())?;
        let leases = leases::of_booking(self.view, &before)?;
        for lease in &leases {
            let longest = leases::policy(self.view, lease.node)?.longest;
            if after.window.span() > longest {
                return Err(Why::TooLong { longest }.into_refusal(&self.house.zone).into());
            }
            self.free_until(&before, lease, added.end())?;
        }
        let pin = self.rate_today(&before, &leases)?;
        let reserve = Reserve {
            booking: before.id,
            team: before.team,
            window: added,
            gpus: before.ask.gpus,
            pin: &pin,
            zone: &self.house.zone,
            mode: self.house.installation.mode,
        };
        let held = with_occasion(now, self.cause, |o| hold::place(self.view, &mut self.changes, reserve, o))?;
        after.held = before.held.checked_add(held).map_err(MoneyRefusal::from)?;
        for mut lease in leases {
            let turnaround = lease.turnaround;
            leases::reshape(&mut self.changes, &mut lease, after.window, turnaround);
            lease.revision += 1;
            leases::put(&mut self.changes, self.cause, &lease);
        }
        schedule::forget_warnings(&mut after, now);
        self.changes.event(self.cause, Event::BookingExtended { booking: after.id, window: after.window });
        self.house.put(&mut self.changes, Some(&before), after, now);
        Ok(())
    }

    /// The rate in force for what the booking has; of an instance it is found by how much of its GPU that is.
    fn rate_today(&self, booking: &Booking, leases: &[Lease]) -> Result<RatePin, Reject> {
        let unit = leases.iter().flat_map(|lease| &lease.units).next();
        let unit = unit.map(|unit| self.view.get::<Unit>(unit)).transpose()?.flatten();
        match unit.map(|unit| unit.shape.portion(unit.memory_bytes)) {
            Some(portion) if portion.is_instance() => price::pin_unit(self.view, &booking.rate.model, portion),
            _ => price::pin(self.view, &booking.rate.model),
        }
    }

    /// Whether all units of a lease stay free for it until `end` and its turnaround; else how far it could go.
    fn free_until(&self, booking: &Booking, lease: &Lease, end: Instant) -> Result<(), Reject> {
        let Ok(added) = Window::new(lease.occupied().end(), end.plus(lease.turnaround)) else { return Ok(()) };
        let (view, zone) = (self.view, &self.house.zone);
        let node: Node = view.must(&lease.node)?;
        let excluded = view.excluded(lease.node);
        let units = lease.units.iter().flat_map(|&unit| busy::with_excluded(&excluded, unit));
        let taken = units.filter_map(|unit| view.calendar().busy(unit, added).first()).map(|s| s.window.start()).min();
        let closed = maintenance::of_node(view, lease.node, self.now)?;
        let closed = closed.into_iter().find(|one| one.window.overlaps(added));
        let needed = |why: &str, from: Option<Instant>, until: Option<Instant>| -> Result<(), Reject> {
            let (node, why) = (node.name.to_string(), why.to_owned());
            let offer = if until.is_none() { self.after(booking, lease, end)? } else { None };
            let needed = NodeNeeded { node, why, from, until, offer };
            Err(Why::NodeNeeded(Box::new(needed)).into_refusal(zone).into())
        };
        if let Duty::Draining { why, .. } = &node.duty {
            return needed(why, None, None);
        }
        let latest = |next: Instant| {
            let latest = Instant::from_seconds(next.minus(lease.turnaround).as_seconds());
            Some(latest).filter(|&latest| latest > booking.window.end())
        };
        if let Some(closed) = closed.filter(|one| taken.is_none_or(|taken| one.window.start() <= taken)) {
            let from = closed.window.start();
            return needed(&closed.why, Some(from), latest(from));
        }
        let Some(next) = taken else { return Ok(()) };
        let offer = latest(next).and_then(|latest| {
            let window = Window::new(booking.window.start(), latest).ok()?;
            Some(Offer { window, gpus: booking.ask.gpus, model: booking.rate.model.clone() })
        });
        Err(Why::CannotExtend { next, offer }.into_refusal(zone).into())
    }

    /// What could be booked to follow a booking, for as long as it was to be extended.
    fn after(&self, booking: &Booking, lease: &Lease, end: Instant) -> Result<Option<Offer>, Reject> {
        let unit = lease.units.first().map(|unit| self.view.get::<Unit>(unit)).transpose()?.flatten();
        let supply = self.view.supply();
        let want = Want {
            gpus: booking.ask.gpus,
            model: Some(unit.map_or_else(|| booking.rate.model.clone(), |unit| unit.model)),
            duration: end.since(booking.window.end()),
            now: self.now,
            not_before: booking.window.end(),
            latest_start: self.now.plus(supply.horizon),
        };
        Ok(plan::soonest(&supply, &Busy::read(self.view, self.view.calendar(), &supply, self.now)?, &want))
    }

    fn release(&mut self, before: Booking) -> Result<(), Reject> {
        let after = transition::release(before.clone(), self.now)?;
        self.changes.event(self.cause, Event::BookingReleased { booking: after.id });
        self.take_back(&before, after)
    }

    fn cancel(&mut self, before: Booking) -> Result<(), Reject> {
        let now = self.now;
        let after = transition::cancel(before.clone(), now)?;
        if matches!(after.state, BookingState::Ending { .. }) {
            self.changes.event(self.cause, Event::BookingReleased { booking: after.id });
            return self.take_back(&before, after);
        }
        for lease in leases::of_booking(self.view, &before)? {
            let close =
                leases::Close { at: lease.window.start().min(now), ready: None, cause: EndCause::Released, exit: None };
            leases::end(self.view, &mut self.changes, self.view.calendar(), self.cause, lease, close)?;
        }
        with_occasion(now, self.cause, |o| hold::settle(self.view, &mut self.changes, before.id, &[], o))?;
        self.changes.event(self.cause, Event::BookingCancelled { booking: after.id });
        self.house.put(&mut self.changes, Some(&before), after, now);
        Ok(())
    }

    /// Tells the nodes to stop. On nodes that are connected, the rest of the time is free for others at once.
    fn take_back(&mut self, before: &Booking, after: Booking) -> Result<(), Reject> {
        let now = self.now;
        for lease in leases::of_booking(self.view, before)? {
            let (connected, _) = leases::contact(self.view, lease.node)?;
            let policy = if connected { Some(leases::policy(self.view, lease.node)?) } else { None };
            leases::stop(&mut self.changes, self.cause, lease, now, EndCause::Released, policy);
        }
        self.house.put(&mut self.changes, Some(before), after, now);
        Ok(())
    }
}
