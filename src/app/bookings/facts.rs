//! What a node reports of its leases, and what follows for their bookings: handed over, over, failed. It refuses facts
//! about leases of other nodes, of an earlier attempt, and of what is over already; they change nothing.
use std::collections::BTreeMap;

use super::leases::{self, Close};
use super::settle::Scene;
use super::{House, Voice, settle};
use crate::app::error::Answer;
use crate::app::mill::Mill;
use crate::base::ids::{BookingId, LeaseId, NodeId};
use crate::base::text;
use crate::base::window::{Instant, Span};
use crate::domain::bookings::booking::{Booking, BookingState, EndCause, Exit};
use crate::domain::bookings::lease::{Lease, LeaseState};
use crate::domain::bookings::schedule::SILENCE_LIMIT;
use crate::domain::bookings::{grant, transition};
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::node::NodeContact;
use crate::store::changes::Changes;
use crate::store::read::{Read, StoreError};
use crate::store::{Command, Reject, View};
use crate::wire::node::{FactCause, FactState, LeaseFact};

/// Longest reason of a node that is kept, in characters.
const REASON: usize = 400;

/// Takes in what a node says it has. `complete`: it has seen the newest orders, so what it does not list is not there.
pub async fn apply_facts(mill: &Mill, node: NodeId, facts: Vec<LeaseFact>, complete: bool) -> Answer<()> {
    let cause = Cause::Node(node);
    let voice = Voice::of(mill);
    let decide = move |view: &View<'_>, now: Instant| {
        let house = House::read(view)?;
        let scene = Scene { view, house: &house, voice: &voice, now, cause };
        let mut taking = Taking { scene, view, changes: Changes::new(), now, cause };
        let row = view.get::<NodeContact>(&node)?.filter(|row| complete && row.unattested_since.is_some());
        if let Some(row) = row {
            taking.changes.put(&NodeContact { unattested_since: None, ..row });
        }
        let mut touched: BTreeMap<BookingId, BTreeMap<LeaseId, Lease>> = BTreeMap::new();
        for lease in leases::on_node(view, node)? {
            let fact = facts.iter().find(|fact| fact.lease == lease.id && fact.attempt == lease.attempt);
            let after = match fact {
                Some(fact) => taking.lease(lease, fact)?,
                None if complete => taking.missing(lease)?,
                None => None,
            };
            if let Some(after) = after {
                touched.entry(after.booking).or_default().insert(after.id, after);
            }
        }
        for (booking, leases) in touched {
            taking.booking(booking, &leases)?;
        }
        Ok((taking.changes, ()))
    };
    Ok(mill.store.write(Command::new(cause), decide).await?)
}

/// A node is silent: nothing more is charged than it will attest. Those who watch its bookings are told.
pub async fn node_lost(mill: &Mill, node: NodeId) -> Answer<()> {
    let decide = move |view: &View<'_>, now: Instant| {
        let house = House::read(view)?;
        let mut changes = Changes::new();
        for lease in leases::on_node(view, node)? {
            changes.event(Cause::Mill, Event::LeaseChanged { lease: lease.id, booking: lease.booking });
            let booking: Booking = view.must(&lease.booking)?;
            if booking.state.is_live() {
                let given_up = leases::attested(view, node)?.1.plus(SILENCE_LIMIT);
                house.put_by(&mut changes, &booking, booking.clone(), now, Some(given_up));
            }
        }
        Ok((changes, ()))
    };
    Ok(mill.store.write(Command::new(Cause::Mill), decide).await?)
}

struct Taking<'a, 'b> {
    scene: Scene<'a, View<'b>>,
    view: &'a View<'b>,
    changes: Changes,
    now: Instant,
    cause: Cause,
}

impl Taking<'_, '_> {
    /// The lease after a fact about it; `None` when the fact says nothing new.
    fn lease(&mut self, lease: Lease, fact: &LeaseFact) -> Result<Option<Lease>, StoreError> {
        let mut after = lease.clone();
        after.acknowledged = lease.acknowledged.max(fact.revision.min(lease.revision));
        if !fact.lacking.is_empty() {
            after.lacking = fact.lacking.iter().map(|lack| lack_words(lack)).collect();
        }
        match &fact.state {
            FactState::Waiting | FactState::Preparing => {}
            FactState::Ready { elapsed } | FactState::Stopping { elapsed } => {
                let since = grant::ready_since(after.window, *elapsed, self.now);
                match &mut after.state {
                    state @ (LeaseState::Granted | LeaseState::Starting { .. }) => *state = LeaseState::Ready { since },
                    LeaseState::Stopping { ready: ready @ None, .. } => *ready = Some(since),
                    _ => {}
                }
            }
            FactState::Ended { .. } | FactState::Failed { .. } => return self.over(after, &fact.state).map(Some),
        }
        if after == lease {
            return Ok(None);
        }
        // Acknowledging needs no word to anybody: nothing that people or the node see has changed.
        if after.state == lease.state && after.lacking == lease.lacking {
            crate::store::bookings::put_lease(&mut self.changes, &after);
            return Ok(None);
        }
        leases::put(&mut self.changes, self.cause, &after);
        Ok((after.state != lease.state).then_some(after))
    }

    fn over(&mut self, lease: Lease, fact: &FactState) -> Result<Lease, StoreError> {
        let (view, calendar, now, cause) = (self.view, self.view.calendar(), self.now, self.cause);
        let known = leases::ready(&lease);
        match fact {
            FactState::Ended { elapsed, ago, code, signal, cause: why } => {
                // A command may be done before a millisecond has passed; it ran all the same.
                let ran = elapsed.as_millis() > 0 || matches!(why, FactCause::Finished);
                let known = known.or_else(|| ran.then(|| first_ready(&lease, *elapsed, *ago, now)));
                let at = match known {
                    Some(ready) => grant::ended_at(ready, *elapsed, *ago, now),
                    None => now.minus(*ago).min(now).max(lease.window.start()),
                };
                let why = match (*why, &lease.state) {
                    (FactCause::Stopped, LeaseState::Stopping { cause, .. }) => *cause,
                    (FactCause::Stopped, _) => EndCause::Stopped,
                    (FactCause::TimeUp, _) => EndCause::TimeUp,
                    (FactCause::Finished, _) => EndCause::Finished,
                    (FactCause::Lost, _) => EndCause::Lost,
                };
                let exit = code.map(Exit::Code).or(signal.map(Exit::Signal));
                leases::end(
                    view,
                    &mut self.changes,
                    calendar,
                    cause,
                    lease,
                    Close { at, ready: known, cause: why, exit },
                )
            }
            FactState::Failed { why } if known.is_none() => {
                let why = text::without_control(why).chars().take(REASON).collect();
                leases::fail(view, &mut self.changes, calendar, cause, lease, now, why)
            }
            // It was ready and is now said never to have been: nobody attests anything after the last word.
            _ => {
                let at = self.last_word(&lease, known)?;
                let close = Close { at, ready: known, cause: EndCause::Lost, exit: None };
                leases::end(view, &mut self.changes, calendar, cause, lease, close)
            }
        }
    }

    /// A lease that the node does not have although it knows that it should.
    fn missing(&mut self, lease: Lease) -> Result<Option<Lease>, StoreError> {
        let ready = leases::ready(&lease);
        let (at, why) = match lease.state {
            LeaseState::Stopping { since, cause, .. } => (since, cause),
            // It was there and is gone: nobody attests anything after the last word.
            LeaseState::Ready { .. } => (self.last_word(&lease, ready)?, EndCause::Lost),
            _ => return Ok(None),
        };
        let close = Close { at, ready, cause: why, exit: None };
        leases::end(self.view, &mut self.changes, self.view.calendar(), self.cause, lease, close).map(Some)
    }

    fn last_word(&self, lease: &Lease, ready: Option<Instant>) -> Result<Instant, StoreError> {
        let last = leases::attested(self.view, lease.node)?.1;
        Ok(last.min(self.now).max(ready.unwrap_or(lease.window.start())))
    }

    /// What the new state of some of its leases means for a booking.
    fn booking(&mut self, id: BookingId, changed: &BTreeMap<LeaseId, Lease>) -> Result<(), Reject> {
        let before: Booking = self.view.must(&id)?;
        if !before.state.is_live() {
            return self.forget(before, changed);
        }
        let leases: Vec<Lease> = leases::of_booking(self.view, &before)?
            .into_iter()
            .map(|lease| changed.get(&lease.id).cloned().unwrap_or(lease))
            .collect();
        let failure = leases.iter().find_map(|lease| match &lease.state {
            LeaseState::Failed { why, .. } => Some(why.clone()),
            LeaseState::Ended { ready: None, cause: EndCause::Lost, .. } => {
                Some("The node lost it before it was ready".to_owned())
            }
            _ => None,
        });
        let waiting = matches!(before.state, BookingState::Booked | BookingState::Starting { .. });
        if let Some(why) = failure.filter(|_| waiting) {
            return self.give_up(&before, leases, &why);
        }
        let mut current = before.clone();
        if waiting && leases.iter().all(|lease| leases::ready(lease).is_some()) {
            current = self.hand_over(current, &leases)?;
        }
        if leases.iter().all(Lease::is_over) {
            self.finish(&before, current, &leases)?;
        } else if current != before {
            self.scene.house.put(&mut self.changes, Some(&before), current, self.now);
        }
        Ok(())
    }

    fn hand_over(&mut self, mut booking: Booking, leases: &[Lease]) -> Result<Booking, Reject> {
        let since = leases.iter().filter_map(leases::ready).max().unwrap_or(self.now);
        if matches!(booking.state, BookingState::Booked) {
            booking = transition::start(booking, self.now)?;
        }
        self.changes.event(self.cause, Event::BookingStarted { booking: booking.id });
        Ok(transition::hand_over(booking, since)?)
    }

    fn finish(&mut self, before: &Booking, current: Booking, leases: &[Lease]) -> Result<(), Reject> {
        let limit = settle::limit(&current, self.now);
        if matches!(current.state, BookingState::Booked | BookingState::Starting { .. }) {
            // Over without ever having been ready, and not by a failure: the node refused to begin.
            return self.give_up(before, leases.to_vec(), "The node ended it before it was ready");
        }
        // The index of due instants is kept against the row as it is on file.
        let current = Booking { due: before.due, ..current };
        settle::finish(&self.scene, &mut self.changes, &current, leases, limit)?;
        Ok(())
    }

    /// One lease cannot be delivered: all stop free of charge.
    fn give_up(&mut self, before: &Booking, leases: Vec<Lease>, why: &str) -> Result<(), Reject> {
        for lease in leases {
            leases::stop(&mut self.changes, self.cause, lease, self.now, EndCause::Lost, None);
        }
        settle::give_up(&self.scene, &mut self.changes, before, why)?;
        Ok(())
    }

    /// The last word on leases of a booking that was settled without it: nothing is charged any more.
    fn forget(&mut self, before: Booking, changed: &BTreeMap<LeaseId, Lease>) -> Result<(), Reject> {
        let open = leases::of_booking(self.view, &before)?
            .into_iter()
            .any(|lease| !changed.get(&lease.id).unwrap_or(&lease).is_over());
        if !open && before.due.is_some() {
            let after = Booking { due: None, ..before.clone() };
            crate::store::bookings::put_booking(&mut self.changes, Some(&before), &after);
        }
        Ok(())
    }
}

/// What a lease goes without as a sentence, whatever the node wrote.
fn lack_words(said: &str) -> String {
    let line: String = text::without_control(said).chars().filter(|c| !c.is_control()).take(REASON).collect();
    let mut letters = line.trim().trim_end_matches('.').chars();
    letters.next().map(|first| format!("{}{}.", first.to_uppercase(), letters.as_str())).unwrap_or_default()
}

/// Since when a lease was ready that is heard of only after its end.
fn first_ready(lease: &Lease, elapsed: Span, ago: Span, now: Instant) -> Instant {
    grant::ready_since(lease.window, elapsed, now.minus(ago).min(now))
}
