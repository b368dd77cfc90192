//! The shared vocabulary: what every floor may name. It refuses I/O, clocks, randomness and any rule that only the
//! server applies; what server and agent must both compute lives here so that both compute it alike.
pub mod bounded;
pub mod check;
pub mod credits;
pub mod hardware;
pub mod ids;
pub mod preflight;
pub mod program;
pub mod proof;
pub mod secret;
pub mod telemetry;
pub mod text;
pub mod window;
pub mod xid;
pub mod zone;
