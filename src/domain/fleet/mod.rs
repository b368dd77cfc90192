//! Machines and their bookable units. It refuses to believe what a node says beyond what was admitted.
pub mod node;
