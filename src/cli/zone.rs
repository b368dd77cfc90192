//! Times of the command line: read and shown in the installation's zone. It refuses to guess the zone of this machine, which
//! may stand elsewhere.
use super::failure::Failure;
use crate::base::window::Instant;
use crate::base::zone;
use crate::wire::api::Moment;

/// The installation's zone.
#[derive(Clone, Debug)]
pub struct Zone(zone::Zone);

impl Zone {
    /// UTC where this machine does not know the name.
    pub fn named(name: &str) -> Self {
        Self(zone::Zone::named(name))
    }

    pub fn name(&self) -> &str {
        self.0.name()
    }

    fn zoned(&self, at: Moment) -> jiff::Zoned {
        self.0.zoned(at.0)
    }

    /// `2026-11-24 18:00`.
    pub fn minute(&self, at: Moment) -> String {
        self.zoned(at).strftime("%Y-%m-%d %H:%M").to_string()
    }

    /// `2026-11-24 18:00:05 Europe/Berlin`.
    pub fn exact(&self, at: Moment) -> String {
        format!("{} {}", self.zoned(at).strftime("%Y-%m-%d %H:%M:%S"), self.name())
    }

    /// Reads `2026-12-01T09:00` as the zone's wall clock, or a time that carries its own offset. A time that the clock
    /// skips moves forward; of one that it shows twice the first counts.
    pub fn read(&self, flag: &str, text: &str) -> Result<Moment, Failure> {
        let text = text.trim();
        if let Ok(stamp) = text.parse::<jiff::Timestamp>() {
            return Ok(Moment(Instant::from_millis(stamp.as_millisecond())));
        }
        let wall = text.parse::<jiff::civil::DateTime>().ok().filter(|_| text.contains([':', 'T', 't']));
        match wall.and_then(|wall| self.0.wall(wall)) {
            Some(at) => Ok(Moment(at)),
            None => Err(Failure::Usage {
                what: format!("“{text}” is no time that {flag} can use."),
                why: format!(
                    "A time looks like 2026-12-01T09:00 (in the mill's zone, {}) or 2026-12-01T09:00:00Z.",
                    self.name()
                ),
                next: "Correct it and try again; nothing was sent.".to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_time_is_the_mills_and_an_offset_wins() {
        let berlin = Zone::named("Europe/Berlin");
        let read = |text| berlin.read("--at", text).unwrap().to_string();
        assert_eq!(read("2026-12-01T09:00"), "2026-12-01T08:00:00Z");
        assert_eq!(read("2026-07-01 09:00"), "2026-07-01T07:00:00Z");
        assert_eq!(read("2026-12-01T09:00:00Z"), "2026-12-01T09:00:00Z");
        assert_eq!(read("2026-12-01T09:00-05:00"), "2026-12-01T14:00:00Z");
        for bad in ["", "tomorrow", "2026-12-01", "2026-13-01T09:00"] {
            assert!(berlin.read("--at", bad).is_err(), "{bad}");
        }
        assert_eq!(berlin.minute("2026-12-01T08:00:00Z".parse().unwrap()), "2026-12-01 09:00");
    }
}
