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
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn reading(mebibytes: u64) -> Reading {
        Reading { used: mebibytes * MIB, disk_nearly_full: false, pause: PAUSE }
    }

    fn is_warning(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Warn(_))
    }

    #[test]
    fn a_word_early_and_once() {
        let mut gauge = Gauge::new(100 * MIB);
        assert_eq!(gauge.judge(reading(79), 0), Verdict::Fine);
        assert!(is_warning(&gauge.judge(reading(85), 1)));
        for used in [90, 75, 85, 100] {
            assert_eq!(gauge.judge(reading(used), 2), Verdict::Fine, "{used}");
        }
        assert_eq!(gauge.judge(reading(10), 3), Verdict::Fine);
        assert!(is_warning(&gauge.judge(reading(80), 4)));
    }

    #[test]
    fn time_to_tidy_up() {
        let mut gauge = Gauge::new(100 * MIB);
        assert!(is_warning(&gauge.judge(reading(120), 0)));
        assert_eq!(gauge.judge(reading(130), PATIENCE_MS - 1), Verdict::Fine);
        assert_eq!(gauge.judge(reading(60), PATIENCE_MS), Verdict::Fine);
        // Tidied up, the time begins anew.
        assert!(is_warning(&gauge.judge(reading(101), 2 * PATIENCE_MS)));
        let end = gauge.judge(reading(101), 3 * PATIENCE_MS);
        assert_eq!(end, Verdict::End("scratch held 101.0 MiB, more than its share of 100.0 MiB".to_owned()));
    }

    #[test]
    fn what_endangers_neighbours_ends_at_once() {
        assert!(matches!(Gauge::new(100 * MIB).judge(reading(200), 0), Verdict::End(_)));
        let full = |mebibytes| Reading { disk_nearly_full: true, ..reading(mebibytes) };
        assert!(matches!(Gauge::new(100 * MIB).judge(full(101), 0), Verdict::End(_)));
        // Whoever keeps to the share is not ended for what others did.
        assert_eq!(Gauge::new(100 * MIB).judge(full(50), 0), Verdict::Fine);
    }

    #[test]
    fn links_count_once_and_are_not_followed() {
        let dir = std::env::temp_dir().join(format!("gristmill-measure-{}", std::process::id()));
        fs::create_dir_all(dir.join("below")).unwrap();
        fs::write(dir.join("file"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(dir.join("file"), dir.join("below/again")).unwrap();
        std::os::unix::fs::symlink("/usr", dir.join("link")).unwrap();
        let reading = read(&dir);
        assert!((MIB..MIB + MIB / 2).contains(&reading.used), "{reading:?}");
        assert!(reading.pause >= PAUSE);
        fs::remove_dir_all(dir).unwrap();
    }
}
