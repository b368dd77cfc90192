//! The score against the figures of its source, and what must never weigh.
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
