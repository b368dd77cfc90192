//! What people ask for, what they get, and when. It refuses clocks, storage and prices.
pub mod booking;
pub mod calendar;
pub mod explain;
pub mod grant;
pub mod lease;
pub mod refusal;
pub mod say;
pub mod schedule;
pub mod search;
pub mod supply;
pub mod transition;
