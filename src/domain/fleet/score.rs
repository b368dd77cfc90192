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
    // The sum of nothing is minus zero, which reads as a fault of ours.
    let failures = terms.iter().map(|term| term.weight).sum::<f64>() + 0.0;
    let days = present.iter().map(|window| weighted_days(*window, now)).sum::<f64>() + 0.0;
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
mod tests;
