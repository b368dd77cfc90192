//! Machines and their bookable units. It refuses to believe what a node says beyond what was admitted.
pub mod duty;
pub mod hardware;
pub mod node;
pub mod refusal;
pub mod roll;
