//! Bookings against what must stand beside them: leases, holds, the present placement. The store's own checks hold the
//! leases against the calendar. It refuses to mend; it names every breach and leaves it.
use std::collections::HashSet;

use super::leases;
use crate::base::ids::BookingId;
use crate::domain::bookings::booking::Booking;
use crate::domain::bookings::lease::Lease;
use crate::domain::money::hold::Hold;
use crate::store::read::{Order, Read, StoreError};
use crate::store::record::{Key as _, Record as _};
use crate::store::tables::Table;
use crate::store::verify::Check;
use crate::store::view::Snapshot;

/// The checks that bookings answer for.
pub fn checks() -> Vec<Check> {
    vec![Check { name: "bookings", run: bookings }]
}

fn bookings(snapshot: &Snapshot) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    let live: HashSet<Vec<u8>> = snapshot
        .list_via::<Booking>(Table::LiveBookings, &[], Order::Ascending, usize::MAX)?
        .iter()
        .map(|booking| booking.id.bytes())
        .collect();
    snapshot.scan(Table::Bookings, |key, value| {
        let booking = Booking::decode(value)?;
        if live.contains(key) != booking.state.is_live() {
            found.push(format!(
                "{} is {}, and the index of live bookings says otherwise",
                booking.id,
                booking.state.word()
            ));
        }
        found.extend(beside(snapshot, &booking)?);
        Ok(())
    })?;
    snapshot.scan(Table::Leases, |_, value| {
        let lease = Lease::decode(value)?;
        if snapshot.get::<Booking>(&lease.booking)?.is_none() {
            found.push(format!("{} belongs to {}, which does not exist", lease.id, lease.booking));
        }
        Ok(())
    })?;
    Ok(found)
}

fn beside(snapshot: &Snapshot, booking: &Booking) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    let leases = leases::of_booking(snapshot, booking)?;
    if leases.len() != booking.leases.len() || leases.is_empty() {
        found.push(format!("{} names {} leases, of which {} exist", booking.id, booking.leases.len(), leases.len()));
    }
    let units: usize = leases.iter().map(|lease| lease.units.len()).sum();
    if units != booking.ask.gpus as usize {
        found.push(format!("{} was promised {} units and has {units}", booking.id, booking.ask.gpus));
    }
    let holds = holds(snapshot, booking.id)?;
    if holds.is_empty() {
        found.push(format!("{} has nothing held for it", booking.id));
    }
    let open = holds.iter().any(Hold::is_open);
    if open && !booking.state.is_live() {
        found.push(format!("{} is {}, and a part of its price is still held", booking.id, booking.state.word()));
    }
    let held: i128 = holds.iter().map(|hold| i128::from(hold.amount().micros())).sum();
    if held != i128::from(booking.held.micros()) {
        found.push(format!("{} says that {} are held for it, its holds say otherwise", booking.id, booking.held));
    }
    if booking.state.is_live() && booking.due.is_none() {
        found.push(format!("{} is {}, and nobody will look at it again", booking.id, booking.state.word()));
    }
    Ok(found)
}

fn holds(snapshot: &Snapshot, booking: BookingId) -> Result<Vec<Hold>, StoreError> {
    snapshot.list_via(Table::HoldsByBooking, &booking.bytes(), Order::Ascending, usize::MAX)
}
