//! Times and figures as people read them: in the reader's zone, with the zone named. It refuses arithmetic.
use crate::base::hardware::Share;
use crate::base::window::{Instant, Span};
use crate::base::zone;

/// A reader's zone.
#[derive(Clone, Debug)]
pub struct Zone(zone::Zone);

impl Zone {
    /// UTC where the name is unknown, which setup prevents.
    pub fn named(name: &str) -> Self {
        Self(zone::Zone::named(name))
    }

    pub fn name(&self) -> &str {
        self.0.name()
    }

    fn zoned(&self, at: Instant) -> jiff::Zoned {
        self.0.zoned(at)
    }

    /// `Europe/Berlin, UTC+1`.
    pub fn label(&self, at: Instant) -> String {
        let seconds = self.zoned(at).offset().seconds();
        let (sign, hours, minutes) =
            (if seconds < 0 { '-' } else { '+' }, seconds.abs() / 3600, seconds.abs() / 60 % 60);
        match (self.name(), minutes) {
            ("UTC", _) => "UTC".to_owned(),
            (name, 0) => format!("{name}, UTC{sign}{hours}"),
            (name, _) => format!("{name}, UTC{sign}{hours}:{minutes:02}"),
        }
    }

    /// `Tue 24 Nov 18:00`; with the year when it is not `now`'s.
    pub fn moment(&self, at: Instant, now: Instant) -> String {
        let (there, here) = (self.zoned(at), self.zoned(now));
        let pattern = if there.year() == here.year() { "%a %-d %b %H:%M" } else { "%a %-d %b %Y %H:%M" };
        there.strftime(pattern).to_string()
    }

    /// `18:00`.
    pub fn clock(&self, at: Instant) -> String {
        self.zoned(at).strftime("%H:%M").to_string()
    }

    /// `Tue 24 Nov`.
    pub fn day(&self, at: Instant) -> String {
        self.zoned(at).strftime("%a %-d %b").to_string()
    }

    /// The end of a window: the clock alone where it ends on the day it starts, else day and clock.
    pub fn end(&self, start: Instant, end: Instant, now: Instant) -> String {
        if self.date(start) == self.date(end) { self.clock(end) } else { self.moment(end, now) }
    }

    /// Midnight of a written day (`2026-11-24`).
    pub fn read_day(&self, text: &str) -> Option<Instant> {
        let day: jiff::civil::Date = text.trim().parse().ok()?;
        self.0.wall(day.to_datetime(jiff::civil::Time::midnight()))
    }

    /// `2026-11-24`.
    pub fn date(&self, at: Instant) -> String {
        self.zoned(at).strftime("%Y-%m-%d").to_string()
    }

    /// `2026-11`.
    pub fn month(&self, at: Instant) -> String {
        self.zoned(at).strftime("%Y-%m").to_string()
    }

    /// `2026-11-24T18:00`, the value of a date-and-time field; with seconds where there are some.
    pub fn field(&self, at: Instant) -> String {
        let pattern = if at.as_seconds() % 60 == 0 { "%Y-%m-%dT%H:%M" } else { "%Y-%m-%dT%H:%M:%S" };
        self.zoned(at).strftime(pattern).to_string()
    }

    /// Reads a date-and-time field (`2026-11-24T18:00`, seconds allowed) as the reader's wall clock. A time that the clock
    /// skips moves forward; of one that it shows twice the first counts.
    pub fn read(&self, text: &str) -> Option<Instant> {
        self.0.wall(text.trim().parse().ok()?)
    }

    /// Midnight of the day that holds `at`.
    pub fn midnight(&self, at: Instant) -> Instant {
        self.zoned(at).start_of_day().map_or(at, |start| zone::instant(&start))
    }

    /// The same wall-clock midnight `days` later (or earlier).
    pub fn days_later(&self, midnight: Instant, days: i32) -> Instant {
        let moved = self.zoned(midnight).checked_add(jiff::Span::new().days(days));
        moved.map_or(midnight, |moved| zone::instant(&moved))
    }
}

/// `in 3 h`, `12 min ago`, `now`.
pub fn relative(at: Instant, now: Instant) -> String {
    let away = at.since(now);
    let text = crate::base::text::spoken(away);
    match away.as_seconds() {
        0 => "now".to_owned(),
        s if s > 0 => format!("in {text}"),
        _ => format!("{text} ago"),
    }
}

/// `141 GB`, decimal as vendors count.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if value >= 10.0 || unit == 0 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// `32 CPUs, 480 GB of memory and 1.2 TB of scratch`.
pub fn share(share: &Share) -> String {
    let cpus = share.cpu_millis as f64 / 1000.0;
    let noun = if share.cpu_millis == 1000 { "CPU" } else { "CPUs" };
    let mut text = format!("{cpus} {noun}, {} of memory", bytes(share.memory_bytes));
    if share.scratch_bytes > 0 {
        text = format!("{text} and {} of scratch", bytes(share.scratch_bytes));
    }
    text
}

/// `1 GPU`, `3 GPUs`.
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// `3 h`, `1 h 30 min`.
pub fn span(span: Span) -> String {
    crate::base::text::spoken(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_named_and_wall_clocks_read() {
        let berlin = Zone::named("Europe/Berlin");
        let at = berlin.read("2026-11-24T18:00").unwrap();
        assert_eq!(at, Instant::from_seconds(1_795_539_600));
        assert_eq!(berlin.moment(at, at), "Tue 24 Nov 18:00");
        assert_eq!(berlin.label(at), "Europe/Berlin, UTC+1");
        assert_eq!(berlin.field(at), "2026-11-24T18:00");
        assert_eq!(Zone::named("No/Where").label(at), "UTC");
        assert!(berlin.read("24.11.2026").is_none());
    }

    #[test]
    fn a_day_with_a_clock_change_has_25_hours() {
        let berlin = Zone::named("Europe/Berlin");
        let midnight = berlin.midnight(berlin.read("2026-10-25T12:00").unwrap());
        assert_eq!(berlin.days_later(midnight, 1).since(midnight), Span::from_hours(25));
    }

    #[test]
    fn sizes() {
        assert_eq!(
            (bytes(141_000_000_000), bytes(1_500), bytes(12)),
            ("141 GB".into(), "1.5 kB".into(), "12 B".into())
        );
        assert_eq!(relative(Instant::from_seconds(0), Instant::from_seconds(90)), "1 min 30 s ago");
    }
}
