//! Where logs go: to standard error, as text or JSON. It refuses to log secrets, which `Secret`'s debug form ensures.
use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Quiet about the framework, clear about the mill; `GRISTMILL_LOG` overrides it.
const DEFAULT: &str = "info,rocket=error,hyper=warn,rustls=warn,_=error";

/// For a process that is thousands of nodes: what goes well is not worth a line of each.
const QUIET: &str = "warn,rustls=error";

/// Starts logging; a second call changes nothing.
pub fn start(json: bool) {
    start_at(json, DEFAULT);
}

/// Starts logging of what is not as it should be.
pub fn start_quiet() {
    start_at(false, QUIET);
}

fn start_at(json: bool, otherwise: &str) {
    let filter = EnvFilter::try_from_env("GRISTMILL_LOG").unwrap_or_else(|_| EnvFilter::new(otherwise));
    let built = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // Colours are for eyes; a file would keep their codes.
    let built = built.with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    let _ = if json { built.json().try_init() } else { built.compact().try_init() };
}
