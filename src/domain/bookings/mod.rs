//! What people ask for, what they get, and when. It refuses clocks, storage and prices.
pub mod booking;
pub mod calendar;
pub mod lease;
pub mod search;
