//! Intents of bookings.
