//! Every state meets every signal, then long lives of random signals.
use proptest::prelude::*;

use super::*;

const UNIT: UnitId = UnitId::from_u128(1);
const NODE: NodeId = NodeId::from_u128(2);

fn at(seconds: i64) -> Instant {
    Instant::from_seconds(seconds)
}

fn calm(now: Instant) -> Scene {
    Scene { now, busy: false, brake: false, trial: false }
}

fn gpu(state: State) -> GpuHealth {
    GpuHealth::new(UNIT, NODE, state)
}

fn in_service() -> GpuHealth {
    gpu(State::InService { since: at(0) })
}

fn states() -> Vec<State> {
    let (since, why, remedy) = (at(0), "x".to_owned(), Remedy::Reset);
    vec![
        State::Enrolling { since },
        State::InService { since },
        State::Suspect { since, why: why.clone() },
        State::Draining { since, why: why.clone(), remedy },
        State::Quarantined { since, why: why.clone(), remedy, person: None },
        State::Remediating { since, why: why.clone(), remedy, done: None, passed: None },
        State::Remediating { since, why: why.clone(), remedy, done: Some(since), passed: Some(since) },
        State::Probation { since, until: since.plus(PROBATION), why: why.clone() },
        State::Out { since, why },
    ]
}

fn hard(remedy: Remedy) -> Signal {
    Signal::Hard { what: "Xid 79".to_owned(), remedy }
}

fn check(suite: Suite, verdict: Verdict) -> Signal {
    Signal::Check { suite, verdict, what: format!("{} suite {}", verdict.word(), suite.word()) }
}

/// Takes signals in one after the other, an hour apart.
fn live(mut health: GpuHealth, signals: &[Signal]) -> (GpuHealth, Vec<Outcome>) {
    let mut outcomes = Vec::new();
    for (hour, signal) in (1..).zip(signals) {
        let (after, outcome) = step(health, signal, &calm(at(hour * 3600)));
        health = after;
        outcomes.push(outcome);
    }
    (health, outcomes)
}

#[test]
fn a_hard_fault_takes_every_gpu_out_that_is_not_out_already() {
    for state in states() {
        let was = state.stage();
        for (busy, brake, trial) in [(false, false, false), (true, true, true), (false, true, true)] {
            let scene = Scene { now: at(9), busy, brake, trial };
            let (after, outcome) = step(gpu(state.clone()), &hard(Remedy::Reboot), &scene);
            let stage = after.state.stage();
            assert!(!stage.is_bookable(), "{was:?} {busy}");
            match was {
                Stage::Draining | Stage::Quarantined => assert_eq!(outcome, Outcome::Noted, "the stronger remedy"),
                Stage::Out => assert_eq!(outcome, Outcome::Nothing),
                _ => assert!(matches!(outcome, Outcome::Moved { .. }), "{was:?} {outcome:?}"),
            }
            if busy && was.is_bookable() {
                assert_eq!(stage, Stage::Draining);
            }
        }
    }
}

#[test]
fn it_comes_back_by_two_full_passes_an_hour_apart_and_a_day_of_probation() {
    let (pass, deep) = (check(Suite::Enroll, Verdict::Passed), check(Suite::Deep, Verdict::Passed));
    let path =
        [hard(Remedy::Reset), Signal::RemedyBegun { automatic: true }, Signal::RemedyDone, pass.clone(), deep.clone()];
    let (back, _) = live(in_service(), &path);
    let State::Probation { until, .. } = back.state else { panic!("{:?}", back.state) };
    assert_eq!(until, at(5 * 3600).plus(PROBATION));
    let (still, _) = step(back.clone(), &Signal::Tick, &calm(until.minus(Span::from_millis(1))));
    assert_eq!(still.state.stage(), Stage::Probation);
    assert_eq!(step(back, &Signal::Tick, &calm(until)).0.state.stage(), Stage::InService);

    // Too soon, too small, too early.
    let (begun, _) = live(in_service(), &path[..3]);
    let once = step(begun.clone(), &pass, &calm(at(20_000))).0;
    let soon = step(once.clone(), &deep, &calm(at(20_000 + 3599))).0;
    assert_eq!(soon.state.stage(), Stage::Remediating);
    assert_eq!(step(soon, &deep, &calm(at(20_000 + 3600))).0.state.stage(), Stage::Probation);
    let small = step(once, &check(Suite::Probe, Verdict::Passed), &calm(at(30_000))).0;
    assert_eq!(small.state.stage(), Stage::Remediating, "a probe is no full pass");
    let (undone, _) = live(in_service(), &[hard(Remedy::Reset), Signal::RemedyBegun { automatic: true }, pass, deep]);
    assert_eq!(undone.state.stage(), Stage::Remediating, "a pass before the remedy is done proves nothing");
}

#[test]
fn a_failed_check_on_the_way_back_begins_anew_and_the_third_time_is_a_persons() {
    let again = [
        Signal::RemedyBegun { automatic: true },
        Signal::RemedyDone,
        check(Suite::Deep, Verdict::Passed),
        check(Suite::Deep, Verdict::Failed),
    ];
    let (gpu, _) = live(in_service(), &[hard(Remedy::Reset)]);
    let (gpu, _) = live(gpu, &again);
    assert_eq!((gpu.state.stage(), gpu.needs_person()), (Stage::Quarantined, None));
    let (gpu, _) = live(gpu, &again);
    assert!(gpu.needs_person().unwrap().contains("3 times"));
    let (gpu, outcome) = step(gpu, &again[0], &calm(at(9 * 3600)));
    assert_eq!(outcome, Outcome::Refused(Refused::Person));
    // A person may; and nothing but a person.
    let (gpu, outcome) = step(gpu, &Signal::RemedyBegun { automatic: false }, &calm(at(9 * 3600)));
    assert!(matches!(outcome, Outcome::Moved { to: Stage::Remediating, .. }), "{outcome:?}");
    assert_eq!(gpu.remedies.len(), MOST_REMEDIES);
}

#[test]
fn one_slow_measurement_is_none_and_three_of_five_are_a_sign() {
    let slow = |bad| Signal::Measured { bad, what: "copies at 80 % of its peers".to_owned() };
    let (gpu, _) = live(in_service(), &[true, false, true, false, false, true].map(slow));
    assert_eq!(gpu.state.stage(), Stage::InService, "two of the last five");
    let (gpu, outcomes) = live(gpu, &[slow(true)]);
    assert_eq!(gpu.state.stage(), Stage::Suspect, "three of the last five: {outcomes:?}");
    assert!(gpu.check_wanted.is_some());
    let (gpu, _) = live(gpu, &[check(Suite::Nightly, Verdict::Passed)]);
    assert_eq!((gpu.state.stage(), gpu.measured.len(), gpu.check_wanted), (Stage::InService, 0, None));
}

#[test]
fn what_a_tenant_causes_asks_for_a_check_and_counts_only_if_that_fails() {
    let xid = Signal::Tenant { what: "Xid 13".to_owned() };
    let (gpu, outcomes) = live(in_service(), &[xid.clone(), xid]);
    assert_eq!(outcomes, [Outcome::Noted, Outcome::Nothing]);
    assert_eq!(gpu.state.stage(), Stage::InService);
    let passed = live(gpu.clone(), &[check(Suite::Probe, Verdict::Passed)]).0;
    assert_eq!((passed.state.stage(), passed.check_wanted), (Stage::InService, None));
    let failed = live(gpu.clone(), &[check(Suite::Probe, Verdict::Failed)]).0;
    assert_eq!(failed.state.stage(), Stage::Quarantined);
    let unknown = live(gpu.clone(), &[check(Suite::Probe, Verdict::Unknown)]).0;
    assert_eq!(unknown, gpu, "could not run");
}

#[test]
fn the_brake_and_a_trial_hold_what_is_not_beyond_doubt() {
    let failed = check(Suite::Nightly, Verdict::Failed);
    let braked = Scene { brake: true, ..calm(at(1)) };
    let (gpu, outcome) = step(in_service(), &failed, &braked);
    assert!(matches!(outcome, Outcome::Held { would: Stage::Quarantined, .. }));
    assert_eq!(gpu.state.stage(), Stage::InService);
    let (_, outcome) = step(in_service(), &failed, &Scene { trial: true, ..calm(at(1)) });
    assert!(matches!(outcome, Outcome::Trial { would: Stage::Quarantined, .. }));
    // Watching a GPU more closely takes nothing from anybody.
    let (gpu, _) = step(in_service(), &Signal::Soft { what: "x".to_owned() }, &braked);
    assert_eq!(gpu.state.stage(), Stage::Suspect);
    assert!(!held_back(2, 2) && held_back(3, 14) && !held_back(3, 15));
}

#[test]
fn an_admins_word_is_final_and_never_skips_probation() {
    let word = |word| Signal::Admin { word, why: "card was replaced".to_owned() };
    for state in states() {
        let was = state.stage();
        let (back, outcome) = step(gpu(state.clone()), &word(Word::PutBack), &calm(at(9)));
        match was {
            Stage::InService | Stage::Probation => assert_eq!(outcome, Outcome::Refused(Refused::NotOut)),
            Stage::Suspect => assert_eq!(back.state.stage(), Stage::InService),
            _ => assert_eq!(back.state.stage(), Stage::Probation),
        }
        let (out, _) = step(gpu(state), &word(Word::TakeOut), &calm(at(9)));
        assert_eq!(out.state.stage(), Stage::Out);
        for signal in [hard(Remedy::Person), check(Suite::Deep, Verdict::Passed), Signal::Tick] {
            assert_eq!(step(out.clone(), &signal, &calm(at(1 << 30))).0.state.stage(), Stage::Out);
        }
    }
}

fn any_signal() -> impl Strategy<Value = Signal> {
    let text = || Just("x".to_owned());
    let suite = prop::sample::select(vec![Suite::Boundary, Suite::Probe, Suite::Nightly, Suite::Enroll, Suite::Deep]);
    let verdict = prop::sample::select(vec![Verdict::Passed, Verdict::Passed, Verdict::Failed, Verdict::Unknown]);
    let remedy =
        prop::sample::select(vec![Remedy::Recheck, Remedy::Reset, Remedy::DeepReset, Remedy::Reboot, Remedy::Person]);
    prop_oneof![
        (text(), remedy).prop_map(|(what, remedy)| Signal::Hard { what, remedy }),
        text().prop_map(|what| Signal::Soft { what }),
        text().prop_map(|what| Signal::Links { what }),
        text().prop_map(|what| Signal::Tenant { what }),
        text().prop_map(|what| Signal::Boundary { what }),
        (any::<bool>(), text()).prop_map(|(bad, what)| Signal::Measured { bad, what }),
        (suite, verdict, text()).prop_map(|(suite, verdict, what)| Signal::Check { suite, verdict, what }),
        any::<bool>().prop_map(|automatic| Signal::RemedyBegun { automatic }),
        Just(Signal::RemedyDone),
        text().prop_map(|what| Signal::RemedyFailed { what }),
        Just(Signal::Tick),
        Just(Signal::Tick),
        (any::<bool>(), text())
            .prop_map(|(back, why)| Signal::Admin { word: if back { Word::PutBack } else { Word::TakeOut }, why }),
    ]
}

type Moment = (Signal, i64, bool, bool, bool);

fn any_life() -> impl Strategy<Value = Vec<Moment>> {
    prop::collection::vec((any_signal(), 0i64..20_000, any::<bool>(), any::<bool>(), any::<bool>()), 1..120)
}

/// All that must hold of one step.
fn holds(
    before: &GpuHealth,
    after: &GpuHealth,
    signal: &Signal,
    outcome: &Outcome,
    scene: &Scene,
) -> Result<(), TestCaseError> {
    let (from, to) = (before.state.stage(), after.state.stage());
    match outcome {
        Outcome::Moved { from: said_from, to: said_to, why } => {
            prop_assert_eq!((*said_from, *said_to), (from, to));
            prop_assert!(!why.is_empty(), "a move without a reason");
            prop_assert_eq!(after.state.since(), scene.now);
        }
        Outcome::Nothing | Outcome::Noted | Outcome::Held { .. } | Outcome::Trial { .. } | Outcome::Refused(_) => {
            prop_assert_eq!(from, to, "moved without saying so");
        }
    }
    if matches!(from, Stage::Quarantined | Stage::Remediating | Stage::Draining | Stage::Out) {
        prop_assert!(to != Stage::InService, "straight back into service");
    }
    let unknown = matches!(signal, Signal::Check { verdict: Verdict::Unknown, .. });
    prop_assert!(!unknown || before.state == after.state, "unknown moved something");
    if scene.brake && from.is_bookable() && !to.is_bookable() {
        let beyond_doubt = matches!(signal, Signal::Hard { .. } | Signal::Admin { .. });
        prop_assert!(beyond_doubt, "the brake did not hold {:?}", signal);
    }
    if matches!(signal, Signal::Hard { .. }) {
        prop_assert!(!to.is_bookable(), "a hard fault was not acted on");
    }
    if let Signal::RemedyBegun { automatic: true } = signal
        && to == Stage::Remediating
        && from != to
    {
        prop_assert!(after.remedies.len() <= MOST_REMEDIES);
        prop_assert!(before.needs_person().is_none() || before.look.is_some(), "a person was waited for");
    }
    prop_assert!(after.measured.len() <= MEASUREMENTS);
    Ok(())
}

proptest! {
    #[test]
    fn whatever_happens_the_rules_hold(life in any_life()) {
        let mut health = in_service();
        let mut now = at(0);
        let mut remedies: Vec<Instant> = Vec::new();
        for (signal, passed, busy, brake, trial) in life {
            now = now.plus(Span::from_seconds(passed));
            let scene = Scene { now, busy, brake, trial };
            let (after, outcome) = step(health.clone(), &signal, &scene);
            holds(&health, &after, &signal, &outcome, &scene)?;
            if matches!(signal, Signal::RemedyBegun { automatic: true }) && matches!(outcome, Outcome::Moved { .. }) {
                remedies.push(now);
            }
            let week = remedies.iter().filter(|began| now.since(**began) < REMEDIES_WITHIN).count();
            prop_assert!(week <= MOST_REMEDIES, "{} automatic remedies within seven days", week);
            let text = serde_json::to_string(&after).unwrap();
            prop_assert_eq!(&serde_json::from_str::<GpuHealth>(&text).unwrap(), &after);
            health = after;
        }
    }
}
