//! Measuring scratch space that the kernel does not limit, and judging what was measured: a word early, time to tidy up, and
//! an end only for what goes on or endangers the neighbours. It refuses to touch a file.
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use super::in_words;

/// How long a lease may hold more than its share.
const PATIENCE_MS: i64 = 5 * 60_000;
/// Entries that one measurement looks at; trees with more count as what was seen of them.
const ENTRIES: usize = 2_000_000;
/// The shortest pause between two measurements, and how much longer than a measurement a pause is.
const PAUSE: Duration = Duration::from_secs(5);
const PAUSES: u32 = 20;
/// Below one part in so many of free space, a disk is nearly full.
const NEARLY_FULL: u64 = 20;

/// What follows from a measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Fine,
    /// To be told to the member.
    Warn(String),
    /// The lease must end; why.
    End(String),
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    pub used: u64,
    /// Whether others on the same disk will soon have nowhere to write.
    pub disk_nearly_full: bool,
    /// When to measure again at the earliest.
    pub pause: Duration,
}

/// The course of one lease's use.
#[derive(Clone, Debug)]
pub struct Gauge {
    limit: u64,
    /// Whether the member knows that it is getting tight.
    told: bool,
    over_since: Option<i64>,
}

impl Gauge {
    pub fn new(limit: u64) -> Self {
        Self { limit, told: false, over_since: None }
    }

    /// Judges a measurement made at `now_ms` of the boot clock.
    pub fn judge(&mut self, reading: Reading, now_ms: i64) -> Verdict {
        let (used, limit) = (in_words(reading.used), in_words(self.limit));
        if reading.used <= self.limit {
            self.over_since = None;
            // A little below the mark is not news either way.
            let (high, low) = (self.limit / 10 * 8, self.limit / 10 * 7);
            let news = reading.used >= high && !self.told;
            self.told = reading.used >= if self.told { low } else { high };
            return if news {
                Verdict::Warn(format!("Scratch holds {used} of its {limit}. What goes beyond ends this lease."))
            } else {
                Verdict::Fine
            };
        }
        self.told = true;
        let why = || format!("scratch held {used}, more than its share of {limit}");
        // Twice the share is no accident, and on a full disk the neighbours' work fails.
        if reading.used / 2 >= self.limit || reading.disk_nearly_full {
            return Verdict::End(why());
        }
        match self.over_since {
            None => {
                self.over_since = Some(now_ms);
                let minutes = PATIENCE_MS / 60_000;
                let text = format!("Scratch holds {used}, more than its share of {limit}.");
                Verdict::Warn(format!("{text} Delete files within {minutes} minutes, or this lease ends."))
            }
            Some(since) if now_ms - since >= PATIENCE_MS => Verdict::End(why()),
            Some(_) => Verdict::Fine,
        }
    }
}

/// Measures what a directory holds on its disk; blocks as long as it takes to look at every entry once.
pub fn read(dir: &Path) -> Reading {
    let begun = std::time::Instant::now();
    let used = used(dir);
    let disk_nearly_full = rustix::fs::statvfs(dir).is_ok_and(|disk| disk.f_bavail < disk.f_blocks / NEARLY_FULL);
    Reading { used, disk_nearly_full, pause: PAUSE.max(begun.elapsed() * PAUSES) }
}

/// What cannot be looked into, or vanishes meanwhile, counts nothing.
fn used(dir: &Path) -> u64 {
    let (mut dirs, mut linked, mut seen, mut bytes) = (vec![dir.to_owned()], HashSet::new(), 0, 0u64);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            seen += 1;
            if seen > ENTRIES {
                return bytes;
            }
            // Of the link itself, never of what it points to.
            let Ok(facts) = entry.metadata() else { continue };
            if facts.is_dir() {
                dirs.push(entry.path());
            }
            if facts.is_dir() || facts.nlink() == 1 || linked.insert(facts.ino()) {
                bytes = bytes.saturating_add(facts.blocks() * 512);
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests;
