//! Intents of bookings: quote, book, watch, change; what each node shall run, what it reports back, and what the mill
//! does by its own clock. It refuses to promise in two places: a plan is made on a snapshot, and the transaction decides.
pub mod ask;
pub mod busy;
pub mod change;
pub mod desired;
pub mod facts;
pub mod fault;
pub mod leases;
pub mod orders;
pub mod outlook;
pub mod place;
pub mod plan;
pub mod relocate;
pub mod settle;
pub mod show;
pub mod tell;
pub mod timeline;
pub mod upkeep;
pub mod verify;

use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::app::ids;
use crate::app::mail::letter::Letter;
use crate::app::mill::Mill;
use crate::app::money::Occasion;
use crate::app::people::notices::{self, Post, Telling};
use crate::app::trust::seal::Seal;
use crate::base::ids::BookingId;
use crate::base::window::{Instant, Span, Window};
use crate::domain::bookings::booking::Booking;
use crate::domain::bookings::schedule;
use crate::domain::event::Cause;
use crate::domain::money::period;
use crate::domain::people::installation::Installation;
use crate::store::Reject;
use crate::store::bookings::put_booking;
use crate::store::changes::Changes;
use crate::store::people::INSTALLATION;
use crate::store::read::{Read, StoreError};

/// Ids for the steps of money.
pub(crate) fn with_occasion<T>(now: Instant, cause: Cause, act: impl FnOnce(&mut Occasion<'_>) -> T) -> T {
    let mut ids = ids::fresh;
    act(&mut Occasion { now, cause, ids: &mut ids })
}

/// What a member is told of a booking.
pub struct Message {
    pub subject: String,
    pub text: String,
    /// How a mail says it; without one it says the same.
    pub letter: Option<Letter>,
}

/// How people are told: on the page always, by mail where that is set up.
#[derive(Clone)]
pub struct Voice {
    seal: Arc<Seal>,
    url: String,
}

impl Voice {
    pub fn of(mill: &Mill) -> Self {
        Self { seal: Arc::clone(&mill.seal), url: mill.public_url.clone() }
    }

    /// Tells the booking's member something, in the transaction of what it tells.
    pub fn tell(
        &self,
        view: &impl Read,
        changes: &mut Changes,
        booking: &Booking,
        Message { subject, text, letter }: Message,
        now: Instant,
    ) -> Result<(), Reject> {
        let telling = Telling { member: booking.member, subject, text, link: Some(path(booking.id)), letter };
        notices::tell(view, changes, self.post(), telling, now)
    }

    /// The same for what they have just done themselves: it stands among their notices and does not count as new.
    pub fn note(
        &self,
        view: &impl Read,
        changes: &mut Changes,
        booking: &Booking,
        Message { subject, text, letter }: Message,
        now: Instant,
    ) -> Result<(), Reject> {
        let telling = Telling { member: booking.member, subject, text, link: Some(path(booking.id)), letter };
        notices::note(view, changes, self.post(), telling, now)
    }

    fn post(&self) -> Post<'_> {
        Post { seal: &self.seal, public_url: &self.url }
    }
}

/// What holds for the whole installation.
pub struct House {
    pub installation: Installation,
    pub zone: TimeZone,
}

impl House {
    pub fn read(view: &impl Read) -> Result<Self, StoreError> {
        let installation: Installation = view.must(&INSTALLATION)?;
        let zone = period::zone(&installation.time_zone);
        Ok(Self { installation, zone })
    }

    /// The next local midnight after `now`: there, holds are cut into segments.
    pub fn midnight(&self, now: Instant) -> Instant {
        let ahead = Window::lasting(now, Span::from_days(3)).expect("three days are not empty");
        period::days(ahead, &self.zone).first().map_or(ahead.end(), |today| today.end())
    }

    /// Writes a booking after setting when the mill has to look at it next.
    pub fn put(&self, changes: &mut Changes, before: Option<&Booking>, mut booking: Booking, now: Instant) -> Booking {
        booking.due = schedule::next_due(&booking, now, self.midnight(now));
        put_booking(changes, before, &booking);
        booking
    }

    /// The same, but not later than `latest`.
    pub fn put_by(
        &self,
        changes: &mut Changes,
        before: &Booking,
        mut booking: Booking,
        now: Instant,
        latest: Option<Instant>,
    ) -> Booking {
        let due = schedule::next_due(&booking, now, self.midnight(now));
        booking.due = due.into_iter().chain(latest).min();
        put_booking(changes, Some(before), &booking);
        booking
    }
}

/// Where a booking's page is.
pub fn path(booking: BookingId) -> String {
    format!("/bookings/{booking}")
}
