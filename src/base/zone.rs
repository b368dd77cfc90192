//! A named time zone: instants as its wall clock shows them, and back. It refuses to guess the zone of this machine, which
//! may stand elsewhere, and to choose how a time is written.
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::window::Instant;

/// A zone with the name that people know it by.
#[derive(Clone, Debug)]
pub struct Zone {
    zone: TimeZone,
    name: String,
}

impl Zone {
    /// UTC where this machine does not know the name.
    pub fn named(name: &str) -> Self {
        match TimeZone::get(name) {
            Ok(zone) => Self { zone, name: name.to_owned() },
            Err(_) => Self { zone: TimeZone::UTC, name: "UTC".to_owned() },
        }
    }

    /// Such as `Europe/Berlin`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the wall clock shows at an instant.
    pub fn zoned(&self, at: Instant) -> jiff::Zoned {
        let stamp = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        stamp.to_zoned(self.zone.clone())
    }

    /// The instant at which the wall clock shows this. A time that the clock skips moves forward; of one that it shows twice
    /// the first counts. `None` beyond what a clock can show.
    pub fn wall(&self, shown: DateTime) -> Option<Instant> {
        self.zone.to_ambiguous_zoned(shown).compatible().ok().map(|zoned| instant(&zoned))
    }
}

/// The instant of a zoned time.
pub fn instant(zoned: &jiff::Zoned) -> Instant {
    Instant::from_millis(zoned.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skipped_time_moves_forward_and_of_a_repeated_one_the_first_counts() {
        let berlin = Zone::named("Europe/Berlin");
        let read = |text: &str| berlin.wall(text.parse().unwrap()).unwrap();
        let utc = |text: &str| Instant::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
        assert_eq!(read("2026-12-01T09:00"), utc("2026-12-01T08:00:00Z"));
        assert_eq!(read("2026-03-29T02:30"), utc("2026-03-29T01:30:00Z"));
        assert_eq!(read("2026-10-25T02:30"), utc("2026-10-25T00:30:00Z"));
        assert_eq!(berlin.zoned(utc("2026-07-01T07:00:00Z")).to_string(), "2026-07-01T09:00:00+02:00[Europe/Berlin]");
        assert_eq!((Zone::named("No/Where").name(), berlin.name()), ("UTC", "Europe/Berlin"));
    }
}
