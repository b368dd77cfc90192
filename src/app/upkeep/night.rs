//! The whole check, once in each local night. It refuses to disturb the day: a mill that was off at night is checked soon
//! after it is on again, and a check that could not be made is tried again an hour later.
use std::time::Duration;

use jiff::ToSpan as _;
use jiff::tz::TimeZone;

use super::{breach, start::Started, whole};
use crate::app::bookings::House;
use crate::app::error::Answer;
use crate::app::mill::Mill;
use crate::base::window::{Instant, Span};
use crate::clock;
use crate::store::checkpoint::newest;

/// The hour of the night, by the organisation's clock.
const HOUR: i8 = 3;
/// A start has other things to do first.
const AFTER_START: Span = Span::from_seconds(60);
const TRY_AGAIN: Span = Span::from_hours(1);
/// The longest sleep: a clock that was set meanwhile is noticed after that.
const LONGEST_SLEEP: Span = Span::from_minutes(10);

/// Checks every night, for as long as the mill runs.
pub async fn run(mill: Mill, started: Started) {
    let ready = clock::now().plus(AFTER_START);
    // What the start left out, and what it found wrong, is looked at as soon as it may.
    let mut soon = started.behind || !started.breaches.is_empty();
    let mut not_before = ready;
    loop {
        let now = clock::now();
        let due = match next(&mill, soon).map(|due| due.map(|due| due.max(not_before))) {
            Ok(Some(due)) if due <= now => {
                soon = false;
                not_before = clock::now().plus(TRY_AGAIN);
                if let Err(problem) = once(&mill).await {
                    tracing::error!(%problem, "the mill could not be checked; it is tried again in an hour");
                }
                continue;
            }
            Ok(due) => due,
            Err(problem) => {
                tracing::error!(%problem, "whether the mill is to be checked could not be read");
                None
            }
        };
        let wait = due.map_or(LONGEST_SLEEP, |due| due.since(now)).as_millis();
        let wait = wait.clamp(0, LONGEST_SLEEP.as_millis()).unsigned_abs();
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
}

/// Checks everything now, and acts on what is found.
pub async fn once(mill: &Mill) -> Answer<()> {
    let found = whole::run(&mill.store).await?;
    breach::conclude(mill, &found).await;
    Ok(())
}

/// When to check next; `None` before setup.
fn next(mill: &Mill, soon: bool) -> Answer<Option<Instant>> {
    let view = mill.store.read()?;
    if crate::app::people::setup::installation(&view)?.is_none() {
        return Ok(None);
    }
    let house = House::read(&view)?;
    let last = newest(&view)?.map(|check| check.at);
    Ok(Some(match last {
        Some(last) if !soon => due(last, &house.zone),
        _ => Instant::from_millis(0),
    }))
}

/// The first night's hour after the last check.
fn due(last: Instant, zone: &TimeZone) -> Instant {
    let stamp = jiff::Timestamp::from_millisecond(last.as_millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let date = zone.to_datetime(stamp).date();
    let night = |date: jiff::civil::Date| {
        // An hour that a change of the clocks leaves out is taken as the one after it.
        let zoned = date.at(HOUR, 0, 0, 0).to_zoned(zone.clone()).ok()?;
        Some(Instant::from_millis(zoned.timestamp().as_millisecond()))
    };
    let nights = [Some(date), date.checked_add(1.day()).ok()].into_iter().flatten().filter_map(night);
    nights.into_iter().find(|&at| at > last).unwrap_or_else(|| last.plus(Span::from_days(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Instant {
        Instant::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    #[test]
    fn each_local_night_has_one() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        for (last, next) in [
            // Before and after three in the morning, and at it.
            ("2026-11-22T01:59:59Z", "2026-11-22T02:00:00Z"),
            ("2026-11-22T02:00:00Z", "2026-11-23T02:00:00Z"),
            ("2026-11-22T19:00:00Z", "2026-11-23T02:00:00Z"),
            // A day earlier by UTC, the same night by the clock on the wall.
            ("2026-11-21T23:30:00Z", "2026-11-22T02:00:00Z"),
            // The nights of 2026 in which the clocks change: one of 23 hours, one of 25.
            ("2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"),
            ("2026-10-24T12:00:00Z", "2026-10-25T02:00:00Z"),
        ] {
            assert_eq!(due(at(last), &berlin), at(next), "after {last}");
        }
    }
}
