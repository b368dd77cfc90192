//! Accounting periods: calendar months of the installation's time zone, and the local midnights at which holds are cut. It
//! refuses arithmetic in local time: a day that loses an hour has 23.
use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::base::window::{Instant, Window};

/// A month, such as `2026-11`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period {
    year: i16,
    month: i8,
}

/// Not a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a period is a month such as 2026-11")]
pub struct NotAPeriod;

impl FromStr for Period {
    type Err = NotAPeriod;

    fn from_str(text: &str) -> Result<Self, NotAPeriod> {
        let (year, month) = text.trim().split_once('-').ok_or(NotAPeriod)?;
        let digits = |part: &str, count: usize| part.len() == count && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(year, 4) || !digits(month, 2) {
            return Err(NotAPeriod);
        }
        let (year, month) = (year.parse().map_err(|_| NotAPeriod)?, month.parse().map_err(|_| NotAPeriod)?);
        // The years that both sides of every conversion can express, with room to spare.
        if !(1970..=9000).contains(&year) || !(1..=12).contains(&month) {
            return Err(NotAPeriod);
        }
        Ok(Self { year, month })
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

impl Period {
    /// The month in which an instant lies, in a zone.
    pub fn of(instant: Instant, zone: &TimeZone) -> Self {
        let date = local_date(instant, zone);
        Self { year: date.year(), month: date.month() }
    }

    pub const fn year(self) -> i16 {
        self.year
    }

    /// `November 2026`.
    pub fn spoken(self) -> String {
        format!("{} {}", MONTHS[usize::from(self.month.unsigned_abs()) - 1], self.year)
    }

    /// From its first local midnight to that of the next month.
    pub fn window(self, zone: &TimeZone) -> Window {
        let (next_year, next_month) = if self.month == 12 { (self.year + 1, 1) } else { (self.year, self.month + 1) };
        let first = |year, month| midnight(Date::constant(year, month, 1), zone);
        Window::new(first(self.year, self.month), first(next_year, next_month)).expect("a month ends after it starts")
    }
}

/// `1 December 2026`, in a zone.
pub fn spoken_date(instant: Instant, zone: &TimeZone) -> String {
    let date = local_date(instant, zone);
    format!("{} {} {}", date.day(), MONTHS[usize::from(date.month().unsigned_abs()) - 1], date.year())
}

/// `1 December 2026, 09:30`, in a zone.
pub fn spoken_minute(instant: Instant, zone: &TimeZone) -> String {
    let time = stamp(instant).to_zoned(zone.clone());
    format!("{}, {:02}:{:02}", spoken_date(instant, zone), time.hour(), time.minute())
}

/// From when to when, short: `20 Nov 2026 09:00 to 11:00`, with the second date where it is another.
pub fn spoken_window(window: Window, zone: &TimeZone) -> String {
    let [from, to] = [window.start(), window.end()].map(|instant| zone.to_datetime(stamp(instant)));
    let day = |date: Date| {
        format!("{} {} {}", date.day(), &MONTHS[usize::from(date.month().unsigned_abs()) - 1][..3], date.year())
    };
    let second = if from.date() == to.date() { String::new() } else { day(to.date()) + " " };
    let (h, m) = (from.hour(), from.minute());
    format!("{} {h:02}:{m:02} to {second}{:02}:{:02}", day(from.date()), to.hour(), to.minute())
}

/// A zone by its IANA name; UTC when this build does not know it, which setup refuses to store.
pub fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap_or(TimeZone::UTC)
}

/// The pieces of a window between the local midnights inside it. Ends of periods are midnights too.
pub fn days(window: Window, zone: &TimeZone) -> Vec<Window> {
    let mut cuts = Vec::new();
    let mut date = local_date(window.start(), zone);
    while let Ok(next) = date.tomorrow() {
        let cut = midnight(next, zone);
        if cut >= window.end() {
            break;
        }
        cuts.push(cut);
        date = next;
    }
    window.cut_at(cuts)
}

fn stamp(instant: Instant) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(instant.as_millis()).unwrap_or(jiff::Timestamp::MAX)
}

fn local_date(instant: Instant, zone: &TimeZone) -> Date {
    zone.to_datetime(stamp(instant)).date()
}

/// The first instant of a day; where the clocks skip midnight, the instant they skip to.
fn midnight(date: Date, zone: &TimeZone) -> Instant {
    match date.to_zoned(zone.clone()) {
        Ok(start) => Instant::from_millis(start.timestamp().as_millisecond()),
        Err(_) => Instant::from_millis(i64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Instant {
        Instant::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn hours(zone_name: &str, start: &str, end: &str) -> Vec<i64> {
        let window = Window::new(at(start), at(end)).unwrap();
        days(window, &zone(zone_name)).iter().map(|piece| piece.span().as_seconds() / 3600).collect()
    }

    #[test]
    fn days_have_their_real_hours() {
        // Clocks go back on 25 October 2026 and forward on 29 March 2026 in Berlin; Beirut skips midnight itself.
        for (zone, start, end, expected) in [
            ("Europe/Berlin", "2026-10-24T10:00:00Z", "2026-10-26T10:00:00Z", vec![12, 25, 11]),
            ("Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-30T10:00:00Z", vec![11, 23, 12]),
            ("Europe/Berlin", "2026-10-31T22:00:00Z", "2026-11-01T01:00:00Z", vec![1, 2]),
            ("UTC", "2026-11-30T23:00:00Z", "2026-12-01T01:00:00Z", vec![1, 1]),
            ("UTC", "2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z", vec![24]),
            ("Asia/Beirut", "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z", vec![10, 14]),
        ] {
            assert_eq!(hours(zone, start, end), expected, "{zone} {start}");
        }
    }

    #[test]
    fn months() {
        let berlin = zone("Europe/Berlin");
        let november: Period = "2026-11".parse().unwrap();
        assert_eq!(november.window(&berlin).start(), at("2026-10-31T23:00:00Z"));
        assert_eq!(november.window(&berlin).end(), at("2026-11-30T23:00:00Z"));
        assert_eq!(Period::of(at("2026-10-31T23:00:00Z"), &berlin), november);
        assert_eq!((november.to_string().as_str(), november.spoken().as_str()), ("2026-11", "November 2026"));
        assert_eq!("2026-12".parse::<Period>().unwrap().window(&TimeZone::UTC).end(), at("2027-01-01T00:00:00Z"));
        let spoken = |start, end| spoken_window(Window::new(at(start), at(end)).unwrap(), &berlin);
        assert_eq!(spoken("2026-11-20T08:00:00Z", "2026-11-20T10:30:00Z"), "20 Nov 2026 09:00 to 11:30");
        assert_eq!(spoken("2026-11-20T22:00:00Z", "2026-11-20T23:00:00Z"), "20 Nov 2026 23:00 to 21 Nov 2026 00:00");
        for bad in ["", "2026", "2026-13", "2026-00", "26-11", "2026-1", "2026-11-01", "+026-11", "9999-12"] {
            assert!(bad.parse::<Period>().is_err(), "{bad}");
        }
    }
}
