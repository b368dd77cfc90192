//! Machines and their bookable units. It refuses to believe what a node says beyond what was admitted.
pub mod duty;
pub mod evidence;
pub mod hardware;
pub mod health;
pub mod node;
pub mod policy;
pub mod probe;
pub mod refusal;
pub mod roll;
pub mod score;
pub mod unbooked;
pub mod xid;
