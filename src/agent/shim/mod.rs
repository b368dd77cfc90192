//! The process that keeps one lease: it owns terminals, log, exit code and deadline, in a session of its own, so that
//! neither a restart of the agent nor of the server ends work or loses an end. It refuses choices: it does what its spec
//! and the agent's orders say, and when nobody is left to give orders it still ends the lease on time.
mod alarm;
pub mod client;
mod courier;
mod deadline;
mod environment;
mod inner;
pub mod journal;
mod keeper;
mod ready;
mod record;
mod serve;
pub mod stream;
mod tabs;

use std::path::Path;
use std::process::ExitCode;

pub use record::{LOG, SPEC, STATE, read_spec, read_state, write_spec};

/// `gristmill shim --dir LEASE_DIR`: keeps the lease until it is over. The outcome is in the lease's `state.json`; the exit
/// code only says whether the shim itself could do its work.
pub fn run(dir: &Path) -> ExitCode {
    // In a session of its own, what happens to the agent's terminal or process group does not concern it. It already leads
    // one when it was started by hand in a special way; that is as good.
    let _ = rustix::process::setsid();
    match keeper::keep(dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("gristmill shim: {cause}");
            ExitCode::FAILURE
        }
    }
}

/// `gristmill inner`: the first process inside a sandbox; only the shim starts it.
pub fn inner(arguments: &[String]) -> ExitCode {
    inner::main(arguments)
}
