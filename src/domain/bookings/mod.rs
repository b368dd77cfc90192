//! Rules of bookings.
