//! The only file that reads the time of day. Everything else takes `now` as an argument, so that rules can be tested
//! at any instant. It refuses to format, to compare zones and to run backward.
use std::sync::atomic::{AtomicI64, Ordering};

use crate::base::window::Instant;

static LATEST_MS: AtomicI64 = AtomicI64::new(i64::MIN);

/// The present, in whole milliseconds since the Unix epoch; never earlier than an answer given before in this process.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Instant {
    let read = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX));
    let before = LATEST_MS.fetch_max(read, Ordering::Relaxed);
    Instant::from_millis(read.max(before))
}

/// Raises the floor under [`now`], so that a restarted mill does not fall behind what it has already written.
pub fn not_before(floor: Instant) {
    LATEST_MS.fetch_max(floor.as_millis(), Ordering::Relaxed);
}
