//! Instants and windows in sentences: always in a named zone, so that nobody has to guess. It refuses to choose the zone;
//! the caller passes the reader's or the organisation's.
use jiff::tz::TimeZone;

use crate::base::window::{Instant, Window};

fn zoned(at: Instant, zone: &TimeZone) -> jiff::Zoned {
    jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or(jiff::Timestamp::MAX).to_zoned(zone.clone())
}

/// `Tue 1 Dec 2026 09:00 CET`; with seconds where they are not zero.
pub fn moment(at: Instant, zone: &TimeZone) -> String {
    let pattern =
        if at.as_seconds().rem_euclid(60) == 0 { "%a %-d %b %Y %H:%M %Z" } else { "%a %-d %b %Y %H:%M:%S %Z" };
    zoned(at, zone).strftime(pattern).to_string()
}

/// `Tue 1 Dec 2026 09:00 to 12:00 CET`, with the second date where it differs.
pub fn window(window: Window, zone: &TimeZone) -> String {
    let (start, end) = (zoned(window.start(), zone), zoned(window.end(), zone));
    let clock = |at: &jiff::Zoned| at.strftime(if at.second() == 0 { "%H:%M" } else { "%H:%M:%S" }).to_string();
    let from = format!("{} {}", start.strftime("%a %-d %b %Y"), clock(&start));
    if start.date() == end.date() && start.offset() == end.offset() {
        format!("{from} to {} {}", clock(&end), end.strftime("%Z"))
    } else {
        format!("{from} {} to {}", start.strftime("%Z"), moment(window.end(), zone))
    }
}

/// `1 GPU`, `4 GPUs`.
pub fn gpus(count: u64) -> String {
    if count == 1 { "1 GPU".to_owned() } else { format!("{count} GPUs") }
}

/// The instant as RFC 3339 in UTC, as the API writes it.
pub fn rfc3339(at: Instant) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or(jiff::Timestamp::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_is_always_named() {
        let at = |text: &str| Instant::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let day = Window::new(at("2026-12-01T08:00:00Z"), at("2026-12-01T11:00:00Z")).unwrap();
        assert_eq!(window(day, &berlin), "Tue 1 Dec 2026 09:00 to 12:00 CET");
        assert_eq!(moment(at("2026-12-01T08:00:30Z"), &TimeZone::UTC), "Tue 1 Dec 2026 08:00:30 UTC");
        // Across the change to winter time both offsets are named.
        let night = Window::new(at("2026-10-25T00:00:00Z"), at("2026-10-25T02:00:00Z")).unwrap();
        assert_eq!(window(night, &berlin), "Sun 25 Oct 2026 02:00 CEST to Sun 25 Oct 2026 03:00 CET");
        assert_eq!(rfc3339(day.start()), "2026-12-01T08:00:00Z");
    }
}
