//! The rules, pure: no I/O, no clock, no randomness, no async. Same input, same output. Ids and `now` are arguments.
//! It refuses to know how anything is stored, shown or sent.
pub mod bookings;
pub mod event;
pub mod fleet;
pub mod money;
pub mod notice;
pub mod people;
