//! Changing what holds in a pool: which figures a pool may have, what differs between before and after in words, and what
//! follows for what is booked. Pure. It refuses to let a change reach back: what was promised stays.
use super::node::{Pool, PoolPolicy};
use super::unbooked::refusal::PoolRefusal;
use super::unbooked::{AFTER, Deed, UnbookedPolicy};
use crate::base::credits::Credits;
use crate::base::text::spoken;
use crate::base::window::{Instant, Span, Window};

/// What shall hold, as far as it is to change; lengths in seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub auto_admit: Option<bool>,
    pub turnaround: Option<i64>,
    pub grace: Option<i64>,
    pub longest: Option<i64>,
    pub horizon: Option<i64>,
    /// `notify`, `end` or `bill`.
    pub unbooked: Option<String>,
    /// With `end`: how long after the first sight.
    pub after: Option<i64>,
    pub clear: Option<bool>,
    pub system: Option<bool>,
    pub most_a_day: Option<Credits>,
}

/// A lease that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Booked {
    pub window: Window,
    pub runs: bool,
}

const DAY: i64 = 86_400;
/// What is ended gets this long without another word.
const AFTER_AT_FIRST: Span = Span::from_minutes(15);

/// The word of a deed, and its time.
pub const fn deed_word(deed: Deed) -> (&'static str, Option<Span>) {
    match deed {
        Deed::Notify => ("notify", None),
        Deed::End { after } => ("end", Some(after)),
        Deed::Bill => ("bill", None),
    }
}

fn figure(
    field: &'static str,
    wanted: Option<i64>,
    before: Span,
    allowed: std::ops::RangeInclusive<i64>,
) -> Result<Span, PoolRefusal> {
    let Some(seconds) = wanted else { return Ok(before) };
    if allowed.contains(&seconds) {
        return Ok(Span::from_seconds(seconds));
    }
    let (least, most) = (Span::from_seconds(*allowed.start()), Span::from_seconds(*allowed.end()));
    Err(PoolRefusal::BadFigure { field, why: format!("It lies between {} and {}", spoken(least), spoken(most)) })
}

/// The pool as it would be.
pub fn after(before: &Pool, wanted: &Wanted) -> Result<Pool, PoolRefusal> {
    let PoolPolicy { turnaround, grace, longest, horizon, unbooked } = before.policy;
    let policy = PoolPolicy {
        turnaround: figure("turnaround", wanted.turnaround, turnaround, 0..=DAY)?,
        grace: figure("grace", wanted.grace, grace, 1..=3600)?,
        longest: figure("longest", wanted.longest, longest, 60..=366 * DAY)?,
        horizon: figure("horizon", wanted.horizon, horizon, 3600..=366 * DAY)?,
        unbooked: UnbookedPolicy {
            deed: deed(unbooked.deed, wanted)?,
            clear: wanted.clear.unwrap_or(unbooked.clear),
            system: wanted.system.unwrap_or(unbooked.system),
            most_a_day: wanted.most_a_day.unwrap_or(unbooked.most_a_day),
        },
    };
    if policy.unbooked.most_a_day.is_negative() {
        let why = "It is an amount of zero or more".to_owned();
        return Err(PoolRefusal::BadFigure { field: "unbooked_most_a_day", why });
    }
    let auto_admit = wanted.auto_admit.unwrap_or(before.auto_admit);
    Ok(Pool { policy, auto_admit, ..before.clone() })
}

fn deed(before: Deed, wanted: &Wanted) -> Result<Deed, PoolRefusal> {
    let (word, since) = deed_word(before);
    match wanted.unbooked.as_deref().unwrap_or(word) {
        "notify" => Ok(Deed::Notify),
        "bill" => Ok(Deed::Bill),
        "end" => {
            let after = figure("unbooked_after", wanted.after, since.unwrap_or(AFTER_AT_FIRST), AFTER)?;
            Ok(Deed::End { after })
        }
        _ => Err(PoolRefusal::BadFigure { field: "unbooked", why: "It is one of notify, end or bill".to_owned() }),
    }
}

fn yes(on: bool) -> String {
    if on { "yes" } else { "no" }.to_owned()
}

fn deed_said(deed: Deed) -> String {
    match deed {
        Deed::Notify => "people are told".to_owned(),
        Deed::End { after } => format!("processes are ended after {}", spoken(after)),
        Deed::Bill => "the time is billed".to_owned(),
    }
}

/// Each figure that differs, before and after.
pub fn differences(before: &Pool, after: &Pool) -> Vec<String> {
    let (old, new) = (&before.policy, &after.policy);
    let (was, is) = (&old.unbooked, &new.unbooked);
    let rows = [
        ("Name", before.name.to_string(), after.name.to_string()),
        ("Admits by itself", yes(before.auto_admit), yes(after.auto_admit)),
        ("Turnaround", spoken(old.turnaround), spoken(new.turnaround)),
        ("Grace", spoken(old.grace), spoken(new.grace)),
        ("Longest booking", spoken(old.longest), spoken(new.longest)),
        ("Bookable ahead", spoken(old.horizon), spoken(new.horizon)),
        ("Use outside bookings", deed_said(was.deed), deed_said(is.deed)),
        ("Cleared before bookings", yes(was.clear), yes(is.clear)),
        ("System processes ended too", yes(was.system), yes(is.system)),
        ("Billed at most a day and person", was.most_a_day.to_string(), is.most_a_day.to_string()),
    ];
    rows.into_iter().filter(|(_, was, is)| was != is).map(|(what, was, is)| format!("{what}: {was} → {is}")).collect()
}

fn leases(count: usize) -> String {
    if count == 1 { "1 lease".to_owned() } else { format!("{count} leases") }
}

/// What a change means for what is booked and for what runs, a sentence each.
pub fn follows(before: &Pool, after: &Pool, booked: &[Booked], now: Instant) -> Vec<String> {
    let (old, new) = (&before.policy, &after.policy);
    let running = booked.iter().filter(|lease| lease.runs).count();
    let waiting = booked.len() - running;
    let mut said = Vec::new();
    if before.auto_admit != after.auto_admit {
        said.push("It holds for nodes that join from now on; those that wait for an admin go on waiting.".to_owned());
    }
    if old.turnaround != new.turnaround {
        said.push(format!(
            "Leases that stand ({}) keep the {} that they were placed with; bookings from now on get {}.",
            booked.len(),
            spoken(old.turnaround),
            spoken(new.turnaround)
        ));
    }
    if old.grace != new.grace {
        said.push(format!(
            "Leases that run ({running}) and those to come ({waiting}) get {} between SIGTERM and SIGKILL, from now on.",
            spoken(new.grace)
        ));
    }
    if new.longest != old.longest {
        let beyond = booked.iter().filter(|lease| lease.window.span() > new.longest).count();
        said.push(match beyond {
            0 => "No lease that stands is longer; it holds for new bookings and extensions.".to_owned(),
            many => {
                format!("Longer than that already: {}. They keep their time, and cannot be extended.", leases(many))
            }
        });
    }
    if new.horizon != old.horizon {
        let beyond = booked.iter().filter(|lease| lease.window.start() > now.plus(new.horizon)).count();
        said.push(match beyond {
            0 => "No lease that stands begins later than that; it holds for new bookings.".to_owned(),
            many => format!("Beginning later than that: {}. They stay as they are.", leases(many)),
        });
    }
    said.extend(unbooked(&old.unbooked, &new.unbooked));
    said
}

fn unbooked(was: &UnbookedPolicy, is: &UnbookedPolicy) -> Vec<String> {
    let mut said = Vec::new();
    if was.deed != is.deed {
        said.push(match is.deed {
            Deed::Notify => "Nothing is ended or billed any more for use outside bookings; people are told.".to_owned(),
            Deed::End { after } => format!(
                "Processes outside bookings are ended {} after they were first seen, those that run now included. What \
                 belongs to a booking is never touched.",
                spoken(after)
            ),
            Deed::Bill => "Time outside bookings is billed from now on, at the rate of the model, to the member whose \
                           Unix user it is; nobody else pays."
                .to_owned(),
        });
    }
    if is.clear && !was.clear {
        said.push("Processes outside bookings are ended on a GPU before a booking of it begins.".to_owned());
    }
    if is.system && !was.system {
        said.push("That includes processes of root and of system accounts.".to_owned());
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::PoolId;

    fn pool() -> Pool {
        let policy = PoolPolicy::kind(false);
        Pool { id: PoolId::from_u128(1), name: "main".parse().unwrap(), auto_admit: false, policy, revision: 3 }
    }

    #[test]
    fn nothing_wanted_changes_nothing() {
        let same = after(&pool(), &Wanted::default()).unwrap();
        assert_eq!(same, pool());
        assert!(
            differences(&pool(), &same).is_empty() && follows(&pool(), &same, &[], Instant::from_seconds(0)).is_empty()
        );
    }

    #[test]
    fn figures_that_no_pool_may_have_are_refused() {
        for (field, wanted) in [
            ("turnaround", Wanted { turnaround: Some(-1), ..Wanted::default() }),
            ("grace", Wanted { grace: Some(0), ..Wanted::default() }),
            ("grace", Wanted { grace: Some(3601), ..Wanted::default() }),
            ("longest", Wanted { longest: Some(59), ..Wanted::default() }),
            ("horizon", Wanted { horizon: Some(i64::MAX), ..Wanted::default() }),
            ("unbooked", Wanted { unbooked: Some("kill".to_owned()), ..Wanted::default() }),
            ("unbooked_after", Wanted { unbooked: Some("end".to_owned()), after: Some(59), ..Wanted::default() }),
            ("unbooked_most_a_day", Wanted { most_a_day: Some(Credits::from_micros(-1)), ..Wanted::default() }),
        ] {
            let refused = after(&pool(), &wanted).unwrap_err();
            assert!(matches!(&refused, PoolRefusal::BadFigure { field: of, .. } if *of == field), "{refused:?}");
        }
    }

    #[test]
    fn what_is_booked_keeps_what_it_was_promised_and_is_counted() {
        let wanted = Wanted {
            longest: Some(3600),
            horizon: Some(7200),
            grace: Some(60),
            unbooked: Some("end".to_owned()),
            clear: Some(true),
            ..Wanted::default()
        };
        let changed = after(&pool(), &wanted).unwrap();
        assert_eq!(changed.policy.unbooked.deed, Deed::End { after: AFTER_AT_FIRST });
        let lease = |from: i64, hours: i64, runs| Booked {
            window: Window::lasting(Instant::from_seconds(from), Span::from_hours(hours)).unwrap(),
            runs,
        };
        let now = Instant::from_seconds(1000);
        let said = follows(&pool(), &changed, &[lease(0, 1, true), lease(9000, 2, false)], now);
        assert_eq!(said.len(), 5, "{said:?}");
        assert!(said[0].starts_with("Leases that run (1) and those to come (1) get 1 min"), "{said:?}");
        assert!(said[1].starts_with("Longer than that already: 1 lease."), "{said:?}");
        assert!(said[2].starts_with("Beginning later than that: 1 lease."), "{said:?}");
        let rows = differences(&pool(), &changed);
        assert!(rows.contains(&"Grace: 30 s → 1 min".to_owned()) && rows.len() == 5, "{rows:?}");
    }
}
