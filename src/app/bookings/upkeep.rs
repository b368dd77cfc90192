//! What the mill does with bookings by its own clock: starts them, warns before the end, settles days, ends them, and
//! gives up on what does not come. A task woken by the next due instant and by commits; every step looks at the booking
//! anew, so that running it twice changes nothing. It refuses to skip: what is due is done, however late.
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;

use super::leases::{self, Close};
use super::settle::Scene;
use super::{House, Message, Voice, settle, with_occasion};
use crate::app::error::Answer;
use crate::app::fleet::brake;
use crate::app::mail::letter::{Letter, Near, Reminder};
use crate::app::mill::Mill;
use crate::app::money::hold;
use crate::base::ids::BookingId;
use crate::base::window::{Instant, Span, Window};
use crate::clock;
use crate::domain::bookings::booking::{Booking, BookingState, EndCause};
use crate::domain::bookings::lease::{Lease, LeaseState};
use crate::domain::bookings::schedule::{self, SILENCE_LIMIT};
use crate::domain::bookings::{say, transition};
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::node::Node;
use crate::domain::money::period;
use crate::store::bookings::put_booking;
use crate::store::changes::Changes;
use crate::store::read::{Order, Read, StoreError};
use crate::store::tables::Table;
use crate::store::{Command, Reject, View};

/// Bookings looked at in one go.
const BATCH: usize = 256;
/// The longest sleep: a clock that was set meanwhile is noticed after that.
const LONGEST_SLEEP: Span = Span::from_seconds(30);
/// Nodes get this long after the mill's start to come back and speak for what they did while it was away.
pub const FORBEARANCE: Span = Span::from_seconds(60);
/// What is forborne is looked at again after this.
const LOOK_AGAIN: Span = Span::from_seconds(10);
/// After a failure of the store.
const RETRY: Duration = Duration::from_secs(5);

/// When the next booking is due, at or after `now` or long since.
pub fn next_due(view: &impl Read) -> Result<Option<Instant>, StoreError> {
    Ok(due(view, 1)?.first().map(|(at, _)| *at))
}

fn due(view: &impl Read, limit: usize) -> Result<Vec<(Instant, BookingId)>, StoreError> {
    let bookings: Vec<Booking> = view.list_via(Table::BookingsDue, &[], Order::Ascending, limit)?;
    Ok(bookings.into_iter().filter_map(|booking| Some((booking.due?, booking.id))).collect())
}

/// Does everything that is due at `now`; answers how many bookings it looked at.
pub async fn run(mill: &Mill, now: Instant) -> Answer<usize> {
    run_with(mill, now, false).await
}

/// The same; with `forbear`, as in the first minute after the mill's start, nothing is given up for want of a node's word.
pub async fn run_with(mill: &Mill, now: Instant, forbear: bool) -> Answer<usize> {
    let mut done = 0;
    // Where many nodes vanished at once, nothing is concluded from their silence.
    let forbear = forbear || brake::engaged(&mill.store.read()?)?.is_some();
    loop {
        let waiting = due(&mill.store.read()?, BATCH)?;
        let waiting: Vec<_> = waiting.into_iter().filter(|(at, _)| *at <= now).map(|(_, id)| id).collect();
        let writes = waiting.iter().map(|&id| {
            let voice = Voice::of(mill);
            mill.store.write(Command::new(Cause::Mill), move |view, decided| {
                // The store's own time never lags behind what it decided before; ours may lead it by a moment.
                Ok((step(view, &voice, id, decided.max(now), forbear)?, ()))
            })
        });
        for outcome in futures_util::future::join_all(writes).await {
            outcome?;
        }
        done += waiting.len();
        if waiting.len() < BATCH {
            return Ok(done);
        }
    }
}

/// Runs for as long as the store does. `clock` is the mill's.
pub async fn watch(mill: Mill, clock: fn() -> Instant) {
    let mut commits = mill.store.subscribe();
    let patient_until = clock().plus(FORBEARANCE);
    loop {
        let now = clock();
        let pause =
            match run_with(&mill, now, now < patient_until).await.and_then(|_| Ok(next_due(&mill.store.read()?)?)) {
                Ok(next) => until(next, clock()),
                Err(error) => {
                    tracing::error!(%error, "what is due for bookings could not be done; it is tried again");
                    RETRY
                }
            };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            told = commits.recv() => match told {
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
        }
    }
}

/// [`watch`] by the mill's clock.
pub async fn start(mill: Mill) {
    watch(mill, clock::now).await;
}

fn until(next: Option<Instant>, now: Instant) -> Duration {
    let wait = next.map_or(LONGEST_SLEEP, |next| next.since(now));
    let millis = wait.as_millis().clamp(0, LONGEST_SLEEP.as_millis());
    Duration::from_millis(millis.unsigned_abs())
}

/// What is due of one booking.
fn step(view: &View<'_>, voice: &Voice, id: BookingId, now: Instant, forbear: bool) -> Result<Changes, Reject> {
    let booking: Booking = view.must(&id)?;
    let house = House::read(view)?;
    let scene = Scene { view, house: &house, voice, now, cause: MILL };
    let mut stepping = Stepping { scene, view, changes: Changes::new(), house: &house, now, forbear };
    if booking.due.is_none_or(|due| due > now) {
        return Ok(stepping.changes);
    }
    let leases = leases::of_booking(view, &booking)?;
    match booking.state {
        BookingState::Booked => stepping.booked(booking, leases)?,
        BookingState::Starting { since, .. } => stepping.starting(booking, leases, since)?,
        BookingState::Active { .. } => stepping.active(booking, leases)?,
        BookingState::Ending { since, .. } => stepping.ending(booking, leases, since)?,
        _ => stepping.leftover(booking, leases)?,
    }
    Ok(stepping.changes)
}

const MILL: Cause = Cause::Mill;

struct Stepping<'a, 'b> {
    scene: Scene<'a, View<'b>>,
    view: &'a View<'b>,
    changes: Changes,
    house: &'a House,
    now: Instant,
    forbear: bool,
}

impl Stepping<'_, '_> {
    fn put(&mut self, before: &Booking, after: Booking) -> Booking {
        self.house.put(&mut self.changes, Some(before), after, self.now)
    }

    /// Shortly before the start the nodes are told; at the start they must begin.
    fn booked(&mut self, before: Booking, leases: Vec<Lease>) -> Result<(), Reject> {
        for lease in leases {
            self.changes.wake(lease.node);
            if self.now >= before.window.start() && lease.state == LeaseState::Granted {
                let starting = Lease { state: LeaseState::Starting { since: self.now }, ..lease };
                leases::put(&mut self.changes, MILL, &starting);
            }
        }
        let after = if self.now >= before.window.start() {
            transition::start(before.clone(), self.now)?
        } else {
            before.clone()
        };
        self.put(&before, after);
        Ok(())
    }

    /// Not ready yet: at first that is explained, in the end it is given up.
    fn starting(&mut self, before: Booking, leases: Vec<Lease>, since: Instant) -> Result<(), Reject> {
        let why = self.why_late(&leases)?;
        if self.now < schedule::start_limit(since, &before) {
            let after = transition::late(before.clone(), why)?;
            self.put(&before, after);
            return Ok(());
        }
        if self.forbear {
            return self.later(&before);
        }
        let mut open = None;
        for lease in leases {
            let stopped = leases::stop(&mut self.changes, MILL, lease, self.now, EndCause::Lost, None);
            if !stopped.is_over() {
                open = open.max(Some(stopped.occupied().end()));
            }
        }
        let why = format!("It was not ready in time. {why}");
        let after = settle::give_up(&self.scene, &mut self.changes, &before, &why)?;
        // The node may still be at it: its units stay taken until it confirms, or the lease's end has passed.
        put_booking(&mut self.changes, Some(&after), &Booking { due: open, ..after.clone() });
        Ok(())
    }

    fn later(&mut self, before: &Booking) -> Result<(), Reject> {
        let due = Some(self.now.plus(LOOK_AGAIN));
        put_booking(&mut self.changes, Some(before), &Booking { due, ..before.clone() });
        Ok(())
    }

    fn why_late(&self, leases: &[Lease]) -> Result<String, StoreError> {
        let Some(lease) = leases.iter().find(|lease| leases::ready(lease).is_none()) else {
            return Ok("Its nodes are preparing it.".to_owned());
        };
        let node = self.view.must::<Node>(&lease.node)?.name;
        let (connected, last) = leases::contact(self.view, lease.node)?;
        Ok(if !connected {
            format!("{node} is not connected (last heard of {}).", say::moment(last, &self.house.zone))
        } else if lease.acknowledged == 0 {
            format!("{node} has not taken it up yet.")
        } else {
            format!("{node} is still preparing it.")
        })
    }

    fn active(&mut self, before: Booking, leases: Vec<Lease>) -> Result<(), Reject> {
        if self.now >= before.window.end() {
            for lease in leases {
                leases::stop(&mut self.changes, MILL, lease, self.now, EndCause::TimeUp, None);
            }
            let after = transition::stop(before.clone(), self.now, EndCause::TimeUp)?;
            self.put(&before, after);
            return Ok(());
        }
        if let Some(last) = self.silent_for_good(&leases)? {
            return self.settle_silent(&before, leases, last);
        }
        let again = self.settle_days(&before, &leases)?;
        let after = self.warn(before.clone())?;
        let given_up = self.given_up(&leases)?;
        let latest = given_up.into_iter().chain(again).min();
        self.house.put_by(&mut self.changes, &before, after, self.now, latest);
        Ok(())
    }

    fn warn(&mut self, mut booking: Booking) -> Result<Booking, Reject> {
        let due = schedule::warnings_due(&booking, self.now);
        let Some(minutes) = due.last().copied() else { return Ok(booking) };
        booking.warned.extend(&due);
        let end = say::moment(booking.window.end(), &self.house.zone);
        let text = format!(
            "“{}” ends {end}. Save your work, or extend it while its GPUs are free after that; at the end everything in it \
             is stopped.",
            booking.ask.title
        );
        let subject = format!("“{}” ends in {minutes} minutes", booking.ask.title);
        let letter = Letter::Reminder(Reminder {
            near: Near::End,
            lead: format!("{minutes} minutes").into(),
            at: end.into(),
            booking: (&booking.ask.title).into(),
            units: format!("{} × {}", booking.ask.gpus, booking.rate.model).into(),
            path: super::path(booking.id),
        });
        let message = Message { subject, text, letter: Some(letter) };
        self.scene.voice.tell(self.view, &mut self.changes, &booking, message, self.now)?;
        Ok(booking)
    }

    /// Posts what the days that are over delivered. Of a node that is away nothing is known; it waits for its return. And of
    /// one that counts as connected because the mill itself was away, nothing after its last word: answers when to look
    /// again.
    fn settle_days(&mut self, booking: &Booking, leases: &[Lease]) -> Result<Option<Instant>, Reject> {
        let mut heard = self.now;
        for lease in leases {
            let (connected, last) = leases::attested(self.view, lease.node)?;
            if !connected {
                return Ok(None);
            }
            heard = heard.min(last);
        }
        // The last piece is today, even when today has just begun; the one before it ends at the last midnight.
        let today = self.now.plus(Span::from_millis(1));
        let Ok(passed) = Window::new(booking.window.start(), today) else { return Ok(None) };
        let days = period::days(passed, &self.house.zone);
        let Some(midnight) = days.last().map(|today| today.start()).filter(|&at| at > booking.window.start()) else {
            return Ok(None);
        };
        if heard < midnight {
            return Ok(Some(self.now.plus(LOOK_AGAIN)));
        }
        let delivered = settle::delivered(self.view, leases, midnight)?;
        let (view, now, id) = (self.view, self.now, booking.id);
        with_occasion(now, MILL, |o| hold::settle_through(view, &mut self.changes, id, &delivered, midnight, o))?;
        Ok(None)
    }

    /// When the silence of a node will have been too long.
    fn given_up(&self, leases: &[Lease]) -> Result<Option<Instant>, StoreError> {
        let mut first: Option<Instant> = None;
        for lease in leases.iter().filter(|lease| !lease.is_over()) {
            let (connected, last) = leases::attested(self.view, lease.node)?;
            let limit = (!connected).then(|| last.plus(SILENCE_LIMIT));
            first = first.into_iter().chain(limit).min();
        }
        Ok(first)
    }

    /// The last word of a node that has been silent for too long.
    fn silent_for_good(&self, leases: &[Lease]) -> Result<Option<Instant>, StoreError> {
        for lease in leases.iter().filter(|lease| !lease.is_over()) {
            let (connected, last) = leases::attested(self.view, lease.node)?;
            if !connected && self.now >= last.plus(SILENCE_LIMIT) {
                return Ok(Some(last));
            }
        }
        Ok(None)
    }

    /// Settles up to the last contact, for good. The units stay unknown until the leases' end.
    fn settle_silent(&mut self, before: &Booking, leases: Vec<Lease>, last: Instant) -> Result<(), Reject> {
        if self.forbear {
            return self.later(before);
        }
        let mut stopped = Vec::new();
        for lease in leases {
            stopped.push(leases::stop(&mut self.changes, MILL, lease, self.now, EndCause::Lost, None));
        }
        let mut current = before.clone();
        if matches!(current.state, BookingState::Active { .. }) {
            current = transition::stop(current, self.now, EndCause::Lost)?;
        }
        let limit = last.min(settle::limit(&current, self.now));
        let after = settle::finish(&self.scene, &mut self.changes, &current, &stopped, limit)?;
        let open = stopped.iter().filter(|lease| !lease.is_over()).map(|lease| lease.occupied().end()).max();
        put_booking(&mut self.changes, Some(&after), &Booking { due: open, ..after.clone() });
        Ok(())
    }

    fn ending(&mut self, before: Booking, leases: Vec<Lease>, since: Instant) -> Result<(), Reject> {
        if leases.iter().all(Lease::is_over) {
            let limit = settle::limit(&before, self.now);
            settle::finish(&self.scene, &mut self.changes, &before, &leases, limit)?;
            return Ok(());
        }
        if let Some(last) = self.silent_for_good(&leases)? {
            return self.settle_silent(&before, leases, last);
        }
        if self.now >= since.plus(SILENCE_LIMIT) {
            // Connected, and yet no word on this lease for a day: what was attested until it was told to end counts.
            return self.settle_silent(&before, leases, since);
        }
        for lease in &leases {
            self.changes.wake(lease.node);
        }
        self.put(&before, before.clone());
        Ok(())
    }

    /// The leases of a booking that was settled without its node's word: once their end has passed they are over.
    fn leftover(&mut self, before: Booking, leases: Vec<Lease>) -> Result<(), Reject> {
        let mut open = None;
        for lease in leases.into_iter().filter(|lease| !lease.is_over()) {
            let end = lease.occupied().end();
            if end > self.now {
                open = open.max(Some(end));
                continue;
            }
            let close =
                Close { at: lease.window.end(), ready: leases::ready(&lease), cause: EndCause::Lost, exit: None };
            leases::end(self.view, &mut self.changes, self.view.calendar(), MILL, lease, close)?;
        }
        if open.is_none() {
            self.changes.event(MILL, Event::BookingEnded { booking: before.id });
        }
        put_booking(&mut self.changes, Some(&before), &Booking { due: open, ..before.clone() });
        Ok(())
    }
}
