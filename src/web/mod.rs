//! Stub.
pub mod assets;
pub mod gateway;
pub mod page;
