//! Starts each role and wires the floors together: the only place that names them all. It refuses rules.
pub mod agent;
pub mod clients;
pub mod door;
pub mod local_node;
pub mod logs;
pub mod memory;
pub mod restore;
pub mod selftest;
pub mod serve;
pub mod service;
pub mod setup;
pub mod simulate;
pub mod verify;
