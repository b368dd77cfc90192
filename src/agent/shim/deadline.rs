//! When a lease must be warned, asked to end, and ended: arithmetic on the boot clock alone. It refuses clocks and signals,
//! so that every case can be tested at any instant.
use crate::wire::lease::{Deadline, LeaseSpec};

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Tell the workload that so many minutes are left.
    Warn { minutes: u32 },
    /// Send SIGTERM.
    Terminate,
    /// Send SIGKILL.
    Kill,
}

/// The course of one lease toward its end.
#[derive(Clone, Debug)]
pub struct Course {
    deadline: Deadline,
    grace_ms: i64,
    /// Minutes before the end, longest first.
    warnings: Vec<u32>,
    /// Everything due at or before this moment was handled.
    handled_ms: i64,
    /// Set once SIGTERM was sent: the moment of SIGKILL if that is before the deadline.
    kill_ms: Option<i64>,
}

/// A changed deadline came too late or out of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Late {
    #[error("a newer deadline is already in force (generation {0})")]
    Older(u64),
    #[error("the workload is already ending")]
    Ending,
}

impl Course {
    /// Warnings whose moment has already passed at `now_ms` are left out.
    pub fn new(spec: &LeaseSpec, now_ms: i64) -> Self {
        let mut warnings = spec.warnings.clone();
        warnings.sort_unstable_by(|a, b| b.cmp(a));
        warnings.dedup();
        let grace_ms = i64::from(spec.grace_seconds) * 1000;
        Self { deadline: spec.deadline, grace_ms, warnings, handled_ms: now_ms, kill_ms: None }
    }

    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    fn warning_ms(&self, minutes: u32) -> i64 {
        self.deadline.boot_ms.saturating_sub(i64::from(minutes) * 60_000)
    }

    fn terminate_ms(&self) -> i64 {
        self.deadline.boot_ms.saturating_sub(self.grace_ms)
    }

    /// Puts a newer deadline into force; the same one again is accepted and changes nothing.
    pub fn change(&mut self, deadline: Deadline) -> Result<(), Late> {
        if deadline == self.deadline {
            return Ok(());
        }
        if deadline.generation <= self.deadline.generation {
            return Err(Late::Older(self.deadline.generation));
        }
        // An end that is brought forward is obeyed even while ending; a later one cannot call SIGTERM back.
        if self.kill_ms.is_some() && deadline.boot_ms > self.deadline.boot_ms {
            return Err(Late::Ending);
        }
        self.deadline = deadline;
        Ok(())
    }

    /// SIGTERM was sent at `now_ms`, for whatever cause: SIGKILL follows after the grace, at the latest at the end.
    pub fn terminated(&mut self, now_ms: i64) {
        self.kill_ms.get_or_insert(now_ms.saturating_add(self.grace_ms));
    }

    /// What became due since the last call; only the most urgent of several.
    pub fn due(&mut self, now_ms: i64) -> Option<Due> {
        let since = self.handled_ms;
        self.handled_ms = now_ms.max(since);
        let kill = self.kill_ms.map_or(self.deadline.boot_ms, |kill| kill.min(self.deadline.boot_ms));
        if now_ms >= kill {
            return Some(Due::Kill);
        }
        if self.kill_ms.is_some() {
            return None;
        }
        if now_ms >= self.terminate_ms() {
            return Some(Due::Terminate);
        }
        let fresh = |&&minutes: &&u32| (since + 1..=now_ms).contains(&self.warning_ms(minutes));
        self.warnings.iter().rfind(fresh).map(|&minutes| Due::Warn { minutes })
    }

    /// When [`Course::due`] must be asked again at the latest.
    pub fn next_ms(&self) -> i64 {
        if let Some(kill) = self.kill_ms {
            return kill.min(self.deadline.boot_ms);
        }
        let warnings = self.warnings.iter().map(|&minutes| self.warning_ms(minutes)).filter(|&at| at > self.handled_ms);
        warnings.chain([self.terminate_ms(), self.deadline.boot_ms]).min().unwrap_or(self.deadline.boot_ms)
    }
}

#[cfg(test)]
mod tests;
