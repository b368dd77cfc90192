//! The score of a node: the chance that it gets through a week cleanly, from a failure rate that is shrunken toward the
//! fleet's and forgets with a half-life of 28 days. Every term is told with its evidence. It refuses to count what is
//! simulated, what a tenant caused, what was planned, and what an admin has struck out.
use crate::base::ids::{EvidenceId, UnitId};
use crate::base::window::{Instant, Span, Window};

use super::evidence::{Evidence, Fault};

/// After so long a failure, and a day without one, weighs half.
pub const HALF_LIFE_DAYS: f64 = 28.0;
/// What is assumed before anything is known: one failure in 200 node-days, near the published rates of large fleets.
pub const PRIOR_FAILURES: f64 = 1.0;
pub const PRIOR_DAYS: f64 = 200.0;
/// A rate of so many times the fleet's median is a matter for a person.
pub const PERSON_AT: f64 = 3.0;
/// Beyond this nothing weighs anything.
pub const LOOK_BACK: Span = Span::from_days(365);

/// Why a piece of evidence weighs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weightless {
    Simulated,
    /// An admin has accepted that it does not count.
    Struck,
    /// By its kind.
    Kind,
}

/// One failure and what it adds.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    pub evidence: EvidenceId,
    pub unit: UnitId,
    pub at: Instant,
    pub fault: Fault,
    /// Failures that it counts as, today.
    pub weight: f64,
    pub weightless: Option<Weightless>,
}

/// A node's score and all it is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    pub terms: Vec<Term>,
    /// Sum of the terms' weights.
    pub failures: f64,
    /// Node-days that count, today.
    pub days: f64,
    /// Failures per node-day.
    pub rate: f64,
    /// The chance of a week without a failure, 0 to 1.
    pub chance: f64,
}

/// Computes it from what was seen and when the node was there.
pub fn score(evidence: &[Evidence], present: &[Window], now: Instant) -> Score {
    let mut terms: Vec<Term> = evidence.iter().filter_map(|one| term(one, now)).collect();
    terms.sort_by_key(|term| std::cmp::Reverse((term.at, term.evidence)));
    let failures: f64 = terms.iter().map(|term| term.weight).sum();
    let days: f64 = present.iter().map(|window| weighted_days(*window, now)).sum();
    let rate = (PRIOR_FAILURES + failures) / (PRIOR_DAYS + days);
    Score { terms, failures, days, rate, chance: (-7.0 * rate).exp() }
}

/// The term of a piece of evidence; `None` where it is no fault of anybody.
fn term(one: &Evidence, now: Instant) -> Option<Term> {
    if one.fault == Fault::Nothing || now.since(one.at) > LOOK_BACK {
        return None;
    }
    let weightless = match one.fault.quarters() {
        0 => Some(Weightless::Kind),
        _ if one.simulated => Some(Weightless::Simulated),
        _ if one.is_struck() => Some(Weightless::Struck),
        _ => None,
    };
    let full = f64::from(one.fault.quarters()) / 4.0;
    let weight = if weightless.is_some() { 0.0 } else { full * fades(days(now.since(one.at))) };
    Some(Term { evidence: one.id, unit: one.unit, at: one.at, fault: one.fault, weight, weightless })
}

/// What is left of a weight after so many days.
fn fades(days: f64) -> f64 {
    (-days.max(0.0) / HALF_LIFE_DAYS).exp2()
}

// Milliseconds of millennia are exact in 53 bits.
#[allow(clippy::cast_precision_loss)]
fn days(span: Span) -> f64 {
    span.as_millis() as f64 / 86_400_000.0
}

/// The days of a window, each weighed by its age: the integral of 2^(−age/28).
fn weighted_days(window: Window, now: Instant) -> f64 {
    let newest = days(now.since(window.end().min(now))).max(0.0);
    let oldest = days(now.since(window.start().min(now))).max(0.0);
    HALF_LIFE_DAYS / std::f64::consts::LN_2 * (fades(newest) - fades(oldest))
}

/// Whether a rate is so far above the fleet's median that a person should look. Alone a node has no median.
pub fn is_striking(rate: f64, fleet: &[f64]) -> bool {
    let mut rates = fleet.to_vec();
    rates.sort_by(f64::total_cmp);
    let Some(median) = rates.get(rates.len() / 2) else { return false };
    rates.len() >= 3 && rate >= PERSON_AT * median
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{MemberId, NodeId};
    use crate::domain::fleet::evidence::{Contest, Decided, Seen};
    use proptest::prelude::*;

    fn day(number: i64) -> Instant {
        Instant::from_seconds(number * 86_400)
    }

    fn evidence(number: u128, fault: Fault, at: Instant) -> Evidence {
        Evidence {
            id: EvidenceId::from_u128(number),
            unit: UnitId::from_u128(1),
            node: NodeId::from_u128(1),
            at,
            seen: Seen::Noted { what: "x".to_owned() },
            fault,
            simulated: false,
            contest: None,
        }
    }

    fn years(now: Instant) -> [Window; 1] {
        [Window::new(now.minus(Span::from_days(3650)), now).unwrap()]
    }

    fn near(score: &Score, chance: f64) {
        assert!((score.chance - chance).abs() < 0.0005, "{} is not {chance}", score.chance);
    }

    #[test]
    fn the_four_figures_of_the_reference() {
        let now = day(20_000);
        near(&score(&[], &[], now), 0.966);
        near(&score(&[], &years(now), now), 0.971);
        near(&score(&[evidence(1, Fault::Hardware, now)], &years(now), now), 0.943);
        let three: Vec<Evidence> = (1..=3).map(|number| evidence(number, Fault::LostMidLease, now)).collect();
        near(&score(&three, &years(now), now), 0.890);
    }

    #[test]
    fn weights_are_one_one_half_a_quarter_and_nothing() {
        let now = day(20_000);
        for (fault, weight) in [
            (Fault::Hardware, 1.0),
            (Fault::LostMidLease, 1.0),
            (Fault::ProbeFailed, 0.5),
            (Fault::Degraded, 0.25),
            (Fault::Tenant, 0.0),
            (Fault::Planned, 0.0),
        ] {
            let fresh = score(&[evidence(1, fault, now)], &[], now);
            assert!((fresh.failures - weight).abs() < 1e-9, "{fault:?}");
            assert_eq!(fresh.terms.len(), 1, "{fault:?} is told");
            let month = score(&[evidence(1, fault, now.minus(Span::from_days(28)))], &[], now);
            assert!((month.failures - weight / 2.0).abs() < 1e-9, "{fault:?} after 28 days");
        }
        assert!(score(&[evidence(1, Fault::Nothing, now)], &[], now).terms.is_empty());
    }

    #[test]
    fn what_is_simulated_or_struck_out_is_told_and_weighs_nothing() {
        let now = day(20_000);
        let simulated = Evidence { simulated: true, ..evidence(1, Fault::Hardware, now) };
        let scored = score(&[simulated], &[], now);
        assert_eq!((scored.terms[0].weightless, scored.failures), (Some(Weightless::Simulated), 0.0));
        let by = MemberId::from_u128(1);
        let mut contested = evidence(2, Fault::Hardware, now);
        contested.contest = Some(Contest { by, at: now, why: "a cable".to_owned(), decided: None });
        assert!(score(&[contested.clone()], &[], now).failures > 0.99, "until an admin has said so");
        for (accepted, weightless) in [(false, None), (true, Some(Weightless::Struck))] {
            let decided = Some(Decided { by, at: now, accepted, why: "seen".to_owned() });
            contested.contest = contested.contest.map(|contest| Contest { decided, ..contest });
            assert_eq!(score(&[contested.clone()], &[], now).terms[0].weightless, weightless);
        }
    }

    #[test]
    fn a_person_looks_where_a_rate_stands_out_of_a_fleet() {
        let (calm, two) = (1.0 / 240.0, 3.0 / 240.0);
        assert!(is_striking(two, &[calm, calm, calm, two]));
        assert!(!is_striking(2.0 / 240.0, &[calm, calm, calm]));
        assert!(!is_striking(two, &[calm]) && !is_striking(two, &[]));
    }

    proptest! {
        #[test]
        fn more_failures_never_raise_it_and_more_days_never_lower_it(
            ages in prop::collection::vec(0i64..400, 0..8),
            more in 0i64..400,
            present in 1i64..400,
        ) {
            let now = day(20_000);
            let mut seen: Vec<Evidence> = (1..).zip(&ages)
                .map(|(number, age)| evidence(number, Fault::Hardware, now.minus(Span::from_days(*age))))
                .collect();
            let window = |days: i64| [Window::new(now.minus(Span::from_days(days)), now).unwrap()];
            let before = score(&seen, &window(present), now);
            prop_assert!(before.chance > 0.0 && before.chance < 1.0);
            prop_assert!(score(&seen, &window(present + more + 1), now).chance >= before.chance);
            seen.push(evidence(99, Fault::Degraded, now.minus(Span::from_days(more))));
            prop_assert!(score(&seen, &window(present), now).chance <= before.chance);
            let sum: f64 = before.terms.iter().map(|term| term.weight).sum();
            prop_assert!((sum - before.failures).abs() < 1e-9);
        }
    }
}
