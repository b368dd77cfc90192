//! Stub.
pub mod assets;
pub mod page;
