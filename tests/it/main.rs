//! The one integration-test binary.
// The lint that spares test functions does not reach their helpers, and all of this binary is test.
#![allow(clippy::unwrap_used)]
mod api;
mod bookings;
mod browser;
mod check;
mod cli;
mod edge;
mod enrol;
mod fleet;
mod hostile;
mod mail;
mod metrics;
mod mig;
mod mill;
mod money;
mod nvml;
mod paper;
mod partition;
mod people;
mod routes;
mod rules;
mod samples;
mod sandbox;
mod server_crash;
mod smtp_sink;
mod store_backup;
mod store_checks;
mod store_crash;
mod store_disk;
mod store_faults;
mod store_fixture;
mod store_open;
mod store_writer;
mod unbooked;
