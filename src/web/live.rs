//! What pages hear of: one stream per browser that names what was touched, never what it became. The page fetches itself
//! again under its reader's own rights. It refuses to name what the reader may not see, and more streams at once than a
//! person needs.
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rocket::http::Status;
use rocket::response::stream::{Event as Sent, EventStream};
use rocket::{Shutdown, State, get};
use serde_json::json;
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;

use super::guard::{self, SignedIn};
use crate::app::mill::Mill;
use crate::base::ids::{BookingId, MemberId, SessionId, TeamId};
use crate::domain::bookings::booking::Booking;
use crate::domain::event::Event;
use crate::domain::people::rights::Actor;
use crate::store::{Committed, Read, StoreError};

/// Streams of one session at once: a browser holds one for all its tabs. One more ends the oldest, because a browser that
/// left is only noticed at the next heartbeat.
const MOST: usize = 8;
/// So that front doors and browsers know that the stream lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often session and rights are looked at again.
const RECHECK: Duration = Duration::from_secs(60);

/// The open streams by session, the oldest first; managed by Rocket.
#[derive(Clone, Default)]
pub struct Listeners(Arc<Mutex<HashMap<SessionId, VecDeque<Arc<Notify>>>>>);

/// One open stream; it counts until it is dropped.
struct Listening {
    all: Listeners,
    session: SessionId,
    /// Told when a newer stream takes its place.
    give_way: Arc<Notify>,
}

impl Listeners {
    fn open(&self) -> MutexGuard<'_, HashMap<SessionId, VecDeque<Arc<Notify>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, session: SessionId) -> Listening {
        let give_way = Arc::new(Notify::new());
        let mut open = self.open();
        let streams = open.entry(session).or_default();
        if streams.len() >= MOST
            && let Some(oldest) = streams.pop_front()
        {
            oldest.notify_one();
        }
        streams.push_back(Arc::clone(&give_way));
        Listening { all: self.clone(), session, give_way }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut open = self.all.open();
        if let Some(streams) = open.get_mut(&self.session) {
            streams.retain(|stream| !Arc::ptr_eq(stream, &self.give_way));
            if streams.is_empty() {
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
    let place = listeners.enter(session);
    Ok(events(mill.inner().clone(), who, place, end).heartbeat(HEARTBEAT))
}

fn events(mill: Mill, who: SignedIn, place: Listening, mut end: Shutdown) -> EventStream![Sent] {
    let mut commits = mill.store.subscribe();
    EventStream! {
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
                () = place.give_way.notified() => break,
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
        | Event::NodeDoubled { .. }
        | Event::NodeReturned { .. }
        | Event::NodeUpgradeAsked { .. }
        | Event::NodeVersionChanged { .. }
        | Event::PoolAdmissionChanged { .. }
        | Event::PoolMade { .. }
        | Event::PoolRenamed { .. }
        | Event::PoolChanged { .. }
        | Event::UnbookedSeen { .. }
        | Event::UnbookedOrdered { .. }
        | Event::UnbookedRefused { .. }
        | Event::UnbookedOver { .. }
        | Event::JoinTokenSeen { .. }
        | Event::NodeRevoked { .. }
        | Event::NodeRetired { .. }
        | Event::NodeRenamed { .. }
        | Event::NodeMoved { .. }
        | Event::NodeDuty { .. }
        | Event::MaintenanceAnnounced { .. }
        | Event::MaintenanceCancelled { .. }
        | Event::GpuMoved { .. }
        | Event::EvidenceContested { .. }
        | Event::ContestDecided { .. }
        | Event::BrakePulled { .. }
        | Event::BrakeReleased => Ears::Everybody("nodes"),
        Event::BookingPlaced { booking, .. }
        | Event::BookingMoved { booking, .. }
        | Event::BookingRelocated { booking, .. }
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
        Event::UnbookedVoided { team, .. } => Ears::Team("money", team),
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
    use rocket::futures::FutureExt as _;

    #[test]
    fn a_session_has_a_few_streams_and_the_oldest_gives_way() {
        let listeners = Listeners::default();
        let session = SessionId::from_u128(1);
        let open: Vec<_> = (0..MOST).map(|_| listeners.enter(session)).collect();
        let told = |place: &Listening| place.give_way.notified().now_or_never().is_some();
        assert!(!told(&open[0]));
        let other = listeners.enter(SessionId::from_u128(2));
        assert!(!told(&open[0]), "another session has its own");
        let newest = listeners.enter(session);
        assert!(told(&open[0]) && !told(&open[1]) && !told(&newest));
        drop((open, other, newest));
        assert!(listeners.open().is_empty(), "nothing is kept of who left");
    }

    #[test]
    fn people_and_secrets_are_not_told() {
        let member = MemberId::from_u128(1);
        assert!(matches!(ears(&Event::SignedIn { member }), Ears::Nobody));
        assert!(matches!(ears(&Event::PasswordChanged { member }), Ears::Nobody));
    }
}
