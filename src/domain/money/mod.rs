//! Money: double entry, append-only, integers. It refuses floats, edits, and postings that its table does not list.
pub mod account;
pub mod currency;
pub mod hold;
pub mod invoice;
pub mod payout;
pub mod period;
pub mod rate;
pub mod refusal;
pub mod table;
pub mod transfer;
