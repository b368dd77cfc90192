//! How bookings and leases are stored, and which indexes lead to them. It refuses rules.
//!
//! Indexes: `BookingsByTeam` (team, booking), `BookingsByMember` (member, booking), `BookingsByStart` (start, booking),
//! `LiveBookings` (booking) while a booking is live, `BookingsDue` (due, booking) while the mill has to look at it again,
//! `LeasesByBooking` (booking, lease), and `LeasesByNode` (node, lease) while the lease is not over.
use super::changes::Changes;
use super::record::Record;
use super::tables::Table;
use crate::base::ids::*;
use crate::domain::bookings::booking::Booking;
use crate::domain::bookings::lease::Lease;

impl Record for Booking {
    const TABLE: Table = Table::Bookings;
    type Key = BookingId;

    fn key(&self) -> BookingId {
        self.id
    }
}

impl Record for Lease {
    const TABLE: Table = Table::Leases;
    type Key = LeaseId;

    fn key(&self) -> LeaseId {
        self.id
    }
}

/// Writes a booking and keeps its indexes true; `before` is the row as it was.
pub fn put_booking(changes: &mut Changes, before: Option<&Booking>, booking: &Booking) {
    changes.put(booking);
    if before.is_none() {
        changes.index(Table::BookingsByTeam, &(booking.team, booking.id), &booking.id);
        changes.index(Table::BookingsByMember, &(booking.member, booking.id), &booking.id);
    }
    if before.is_none_or(|b| b.window.start() != booking.window.start()) {
        if let Some(before) = before {
            changes.unindex(Table::BookingsByStart, &(before.window.start(), before.id));
        }
        changes.index(Table::BookingsByStart, &(booking.window.start(), booking.id), &booking.id);
    }
    let due_before = before.and_then(|before| before.due);
    if due_before != booking.due {
        if let Some(due) = due_before {
            changes.unindex(Table::BookingsDue, &(due, booking.id));
        }
        if let Some(due) = booking.due {
            changes.index(Table::BookingsDue, &(due, booking.id), &booking.id);
        }
    }
    match booking.state.is_live() {
        true => changes.index(Table::LiveBookings, &booking.id, &booking.id),
        false => changes.unindex(Table::LiveBookings, &booking.id),
    };
}

/// Writes a lease and keeps its indexes true.
pub fn put_lease(changes: &mut Changes, lease: &Lease) {
    changes.put(lease);
    changes.index(Table::LeasesByBooking, &(lease.booking, lease.id), &lease.id);
    match lease.is_over() {
        true => changes.unindex(Table::LeasesByNode, &(lease.node, lease.id)),
        false => changes.index(Table::LeasesByNode, &(lease.node, lease.id), &lease.id),
    };
}
