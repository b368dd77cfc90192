//! What survives no reboot: the boot clock, the boot's id, and marks by which a process is told from a later one with the
//! same number. It refuses the time of day.
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};

use crate::wire::lease::ProcessMark;

/// Milliseconds of CLOCK_BOOTTIME: it never jumps, and it goes on while the machine sleeps.
pub fn boot_ms() -> i64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec.saturating_mul(1000).saturating_add(now.tv_nsec / 1_000_000)
}

/// The kernel's random name for this boot; empty where it gives none.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// The fields of /proc/PID/stat after the command's name, which may itself contain spaces and brackets.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// Number and start time of a process that exists now.
pub fn mark(pid: u32) -> Option<ProcessMark> {
    // Field 22 of the whole line; the first one left after the name is field 3.
    let started = stat_fields(pid)?.get(19)?.parse().ok()?;
    Some(ProcessMark { pid, started })
}

/// Whether the marked process still runs. One that waits to be reaped does not.
pub fn is_alive(marked: ProcessMark) -> bool {
    let state = stat_fields(marked.pid).and_then(|fields| fields.first().cloned());
    mark(marked.pid) == Some(marked) && !matches!(state.as_deref(), None | Some("Z" | "X"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_no_other_with_its_number() {
        let me = mark(std::process::id()).unwrap();
        assert!(is_alive(me));
        assert!(!is_alive(ProcessMark { started: me.started + 1, ..me }));
        assert!(!is_alive(ProcessMark { pid: 0, started: 0 }));
        assert!(!boot_id().is_empty() && boot_ms() > 0);
    }
}
