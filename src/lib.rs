//! Gristmill.
pub mod agent;
pub mod app;
pub mod base;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod edge;
pub mod launch;
pub mod store;
pub mod web;
pub mod wire;
