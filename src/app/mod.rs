//! One function per intent: read, decide, write, then tell. Each takes the mill, who asks, and typed input, and answers
//! with the API's types, so that pages, JSON API and command line show the same facts. It refuses HTTP and HTML.
//! It may use `wire`: the API's types are its answers, the node protocol's its orders.
pub mod bookings;
pub mod error;
pub mod fleet;
pub mod ids;
pub mod mail;
pub mod mill;
pub mod money;
pub mod outbox;
pub mod people;
pub mod status;
pub mod trust;
pub mod upkeep;
