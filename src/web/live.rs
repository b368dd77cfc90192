//! What pages hear of: one stream per browser that names what was touched, never what it became. The page fetches itself
//! again under its reader's own rights. It refuses to name what the reader may not see, and more streams than a person
//! can have open.
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rocket::http::Status;
use rocket::response::stream::{Event as Sent, EventStream};
use rocket::{Shutdown, State, get};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use super::guard::{self, SignedIn};
use crate::app::mill::Mill;
use crate::base::ids::{BookingId, MemberId, SessionId, TeamId};
use crate::domain::bookings::booking::Booking;
use crate::domain::event::Event;
use crate::domain::people::rights::Actor;
use crate::store::{Committed, Read, StoreError};

/// Streams of one session at once: a browser holds one for all its tabs.
const MOST: usize = 6;
/// So that front doors and browsers know that the stream lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often session and rights are looked at again.
const RECHECK: Duration = Duration::from_secs(60);

/// The open streams by session; managed by Rocket.
#[derive(Clone, Default)]
pub struct Listeners(Arc<Mutex<HashMap<SessionId, usize>>>);

/// One open stream; it counts until it is dropped.
struct Listening {
    all: Listeners,
    session: SessionId,
}

impl Listeners {
    fn enter(&self, session: SessionId) -> Option<Listening> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(session).or_default();
        if *count >= MOST {
            return None;
        }
        *count += 1;
        drop(open);
        Some(Listening { all: self.clone(), session })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut open = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.session) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.session);
            }
        }
    }
}

#[get("/live")]
pub fn stream(
    who: SignedIn,
    mill: &State<Mill>,
    listeners: &State<Listeners>,
    end: Shutdown,
) -> Result<EventStream![Sent], Status> {
    let session = who.who.session.ok_or(Status::Unauthorized)?;
    let place = listeners.enter(session).ok_or(Status::TooManyRequests)?;
    Ok(events(mill.inner().clone(), who, place, end).heartbeat(HEARTBEAT))
}

fn events(mill: Mill, who: SignedIn, place: Listening, mut end: Shutdown) -> EventStream![Sent] {
    let mut commits = mill.store.subscribe();
    EventStream! {
        let _place = place;
        let mut actor = who.who.actor.clone();
        let mut recheck = tokio::time::interval(RECHECK);
        recheck.tick().await;
        loop {
            let topics = tokio::select! {
                commit = commits.recv() => match commit {
                    Ok(commit) => touched(&mill, &actor, &commit).unwrap_or_default(),
                    // Too much at once: anything may have changed.
                    Err(RecvError::Lagged(_)) => BTreeSet::from(["*".to_owned()]),
                    Err(RecvError::Closed) => break,
                },
                _ = recheck.tick() => match guard::still(&mill, &who.who, crate::clock::now()) {
                    Ok(Some(fresh)) => { actor = fresh; continue }
                    Ok(None) => break,
                    Err(_) => continue,
                },
                _ = &mut end => break,
            };
            if !topics.is_empty() {
                yield Sent::json(&json!({ "topics": topics })).event("touched");
            }
        }
    }
}

/// Who may hear of an event, with the class of pages that it touches.
enum Ears {
    Everybody(&'static str),
    /// The class everybody, the ids those who see the booking.
    Booking(&'static str, BookingId),
    Team(&'static str, TeamId),
    Member(&'static str, MemberId),
    Nobody,
}

fn ears(event: &Event) -> Ears {
    match *event {
        Event::NoticeSent { member, .. } => Ears::Member("notices", member),
        Event::MemberJoined { team, .. } | Event::MemberInvited { team, .. } | Event::TeamCreated { team } => {
            Ears::Team("people", team)
        }
        Event::NodeJoined { .. }
        | Event::NodeAdmitted { .. }
        | Event::NodeConnected { .. }
        | Event::NodeLost { .. }
        | Event::NodeHardwareChanged { .. }
        | Event::NodeRevoked { .. } => Ears::Everybody("nodes"),
        Event::BookingPlaced { booking, .. }
        | Event::BookingMoved { booking, .. }
        | Event::BookingExtended { booking, .. }
        | Event::BookingReleased { booking }
        | Event::BookingCancelled { booking }
        | Event::BookingStarted { booking }
        | Event::BookingEnded { booking }
        | Event::BookingFailed { booking }
        | Event::LeaseChanged { booking, .. } => Ears::Booking("bookings", booking),
        Event::Posted { team: Some(team), .. }
        | Event::Held { team, .. }
        | Event::HoldResolved { team, .. }
        | Event::InvoiceDrafted { team, .. }
        | Event::InvoiceIssued { team, .. }
        | Event::InvoiceSettled { team, .. } => Ears::Team("money", team),
        Event::RateSet { .. } => Ears::Everybody("money"),
        _ => Ears::Nobody,
    }
}

/// The topics of a commit that this reader may hear.
fn touched(mill: &Mill, actor: &Actor, commit: &Committed) -> Result<BTreeSet<String>, StoreError> {
    let mut topics = BTreeSet::new();
    let mut view = None;
    for recorded in &commit.events {
        let (class, ids) = match ears(&recorded.event) {
            Ears::Nobody => continue,
            Ears::Everybody(class) => (class, true),
            Ears::Team(class, team) if actor.sees(team) => (class, true),
            Ears::Member(class, member) if actor.member == member => (class, true),
            Ears::Team(..) | Ears::Member(..) => continue,
            Ears::Booking(class, booking) => {
                if view.is_none() {
                    view = Some(mill.store.read()?);
                }
                let found = view.as_ref().map(|view| view.get::<Booking>(&booking)).transpose()?.flatten();
                (class, found.is_some_and(|booking| actor.sees(booking.team)))
            }
        };
        topics.insert(class.to_owned());
        if ids {
            topics.extend(recorded.event.topics());
        }
    }
    Ok(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_a_few_streams_and_gets_them_back() {
        let listeners = Listeners::default();
        let session = SessionId::from_u128(1);
        let mut open: Vec<_> = (0..MOST).map(|_| listeners.enter(session).expect("room")).collect();
        assert!(listeners.enter(session).is_none());
        assert!(listeners.enter(SessionId::from_u128(2)).is_some(), "another session has its own");
        open.pop();
        assert!(listeners.enter(session).is_some());
        drop(open);
        assert!(listeners.0.lock().unwrap().is_empty(), "nothing is kept of who left");
    }

    #[test]
    fn people_and_secrets_are_not_told() {
        let member = MemberId::from_u128(1);
        assert!(matches!(ears(&Event::SignedIn { member }), Ears::Nobody));
        assert!(matches!(ears(&Event::PasswordChanged { member }), Ears::Nobody));
    }
}
