//! Money's intents: grant, statement, rates, documents; and the steps that bookings compose into theirs (price, hold,
//! settle). It refuses postings outside the posting table and amounts that were not checked.
pub mod balance;
pub mod document;
pub mod grant;
pub mod hold;
pub mod invoices;
pub mod journal;
pub mod ledger;
pub mod paper;
pub mod price;
pub mod print;
pub mod rates;
pub mod statement;
pub mod unbooked;
pub mod verify;

#[cfg(test)]
mod tests;

use crate::base::window::Instant;
use crate::domain::event::Cause;
use crate::store::Reject;

/// What a deciding run gives its steps: when, on whose behalf, and where new ids come from (a run may be repeated, so
/// ids are drawn outside the rules).
pub struct Occasion<'a> {
    pub now: Instant,
    pub cause: Cause,
    pub ids: &'a mut dyn FnMut() -> u128,
}
