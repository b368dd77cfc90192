//! One step of a GPU's standing: a signal comes in, and either something moves, with its reason, or it does not. It refuses
//! moves that are not written here.
use super::*;

/// Takes in a signal. Pure: the same health, signal and scene come to the same.
pub fn step(before: GpuHealth, signal: &Signal, scene: &Scene) -> (GpuHealth, Outcome) {
    let mut health = forget(before, scene.now);
    let outcome = match signal {
        Signal::Hard { what, remedy } => hard(&mut health, what, *remedy, scene),
        Signal::Soft { what } => soft(&mut health, what, scene),
        Signal::Links { what } => {
            let news = health.look.replace(what.clone()).as_ref() != Some(what);
            match soft(&mut health, what, scene) {
                Outcome::Nothing if news => Outcome::Noted,
                other => other,
            }
        }
        Signal::Tenant { what } => want_check(&mut health, what, scene.now),
        Signal::Boundary { what } => {
            let news = health.reset_wanted.replace(what.clone()).is_none();
            if news { Outcome::Noted } else { Outcome::Nothing }
        }
        Signal::Measured { bad, what } => measured(&mut health, *bad, what, scene),
        Signal::Check { suite, verdict, what } => checked(&mut health, *suite, *verdict, what, scene),
        Signal::RemedyBegun { automatic } => begun(&mut health, *automatic, scene.now),
        Signal::RemedyDone => done(&mut health, scene.now),
        Signal::RemedyFailed { what } => match health.state.stage() {
            Stage::Remediating => leave(&mut health, what, Remedy::Person, scene.now, false),
            _ => Outcome::Nothing,
        },
        Signal::Tick => tick(&mut health, scene),
        Signal::Admin { word, why } => admin(&mut health, *word, why, scene.now),
    };
    (health, outcome)
}

/// What happened too long ago to count.
fn forget(mut health: GpuHealth, now: Instant) -> GpuHealth {
    health.remedies.retain(|at| now.since(*at) < REMEDIES_WITHIN);
    health.quarantines.retain(|at| now.since(*at) < QUARANTINES_WITHIN);
    health
}

fn move_to(health: &mut GpuHealth, to: State, why: &str) -> Outcome {
    let from = health.state.stage();
    health.state = to;
    Outcome::Moved { from, to: health.state.stage(), why: why.to_owned() }
}

/// Out of the calendar: at once, or when what runs on it has ended.
fn leave(health: &mut GpuHealth, why: &str, remedy: Remedy, now: Instant, busy: bool) -> Outcome {
    let (since, text) = (now, why.to_owned());
    health.measured.clear();
    if busy {
        return move_to(health, State::Draining { since, why: text, remedy }, why);
    }
    health.quarantines.push(now);
    let person = match health.quarantines.len() {
        MOST_QUARANTINES.. => Some(format!("quarantined {} times within 28 days", health.quarantines.len())),
        _ => (remedy == Remedy::Person).then(|| text.clone()),
    };
    move_to(health, State::Quarantined { since, why: text, remedy, person }, why)
}

fn hard(health: &mut GpuHealth, what: &str, remedy: Remedy, scene: &Scene) -> Outcome {
    match &mut health.state {
        State::Enrolling { .. }
        | State::InService { .. }
        | State::Suspect { .. }
        | State::Probation { .. }
        | State::Remediating { .. } => leave(health, what, remedy, scene.now, scene.busy),
        State::Draining { remedy: before, .. } => {
            let more = remedy > *before;
            *before = remedy.max(*before);
            if more { Outcome::Noted } else { Outcome::Nothing }
        }
        State::Quarantined { remedy: before, person, .. } => {
            let more = remedy > *before;
            *before = remedy.max(*before);
            if more && remedy == Remedy::Person {
                *person = Some(what.to_owned());
            }
            if more { Outcome::Noted } else { Outcome::Nothing }
        }
        State::Out { .. } => Outcome::Nothing,
    }
}

/// What is not beyond doubt: on trial it is written down, and the brake holds it where it takes a GPU out of the calendar.
fn doubtful(health: &mut GpuHealth, why: &str, would: Stage, scene: &Scene) -> Option<Outcome> {
    let why = why.to_owned();
    if scene.trial {
        return Some(Outcome::Trial { would, why });
    }
    let leaves = health.state.stage().is_bookable() && !would.is_bookable();
    (scene.brake && leaves).then_some(Outcome::Held { would, why })
}

fn outside(scene: &Scene) -> Stage {
    if scene.busy { Stage::Draining } else { Stage::Quarantined }
}

fn soft(health: &mut GpuHealth, what: &str, scene: &Scene) -> Outcome {
    match health.state.stage() {
        Stage::InService => doubtful(health, what, Stage::Suspect, scene).unwrap_or_else(|| {
            want_check(health, what, scene.now);
            move_to(health, State::Suspect { since: scene.now, why: what.to_owned() }, what)
        }),
        Stage::Probation => doubtful(health, what, outside(scene), scene)
            .unwrap_or_else(|| leave(health, what, Remedy::Recheck, scene.now, scene.busy)),
        _ => Outcome::Nothing,
    }
}

fn want_check(health: &mut GpuHealth, what: &str, now: Instant) -> Outcome {
    if health.check_wanted.is_some() || !health.state.stage().is_bookable() {
        return Outcome::Nothing;
    }
    health.check_wanted = Some((now, what.to_owned()));
    Outcome::Noted
}

fn measured(health: &mut GpuHealth, bad: bool, what: &str, scene: &Scene) -> Outcome {
    health.measured.push(bad);
    let over = health.measured.len().saturating_sub(MEASUREMENTS);
    health.measured.drain(..over);
    let count = health.measured.iter().filter(|bad| **bad).count();
    if bad && count >= BAD_MEASUREMENTS { soft(health, what, scene) } else { Outcome::Nothing }
}

fn checked(health: &mut GpuHealth, suite: Suite, verdict: Verdict, what: &str, scene: &Scene) -> Outcome {
    let now = scene.now;
    match verdict {
        Verdict::Unknown => Outcome::Nothing,
        Verdict::Failed => match health.state.stage() {
            Stage::Draining | Stage::Quarantined | Stage::Out => Outcome::Nothing,
            // Out of the calendar already: neither brake nor trial keeps it from going back.
            Stage::Remediating => leave(health, what, Remedy::DeepReset, now, false),
            _ => doubtful(health, what, outside(scene), scene).unwrap_or_else(|| {
                health.check_wanted = None;
                leave(health, what, Remedy::DeepReset, now, scene.busy)
            }),
        },
        Verdict::Passed => {
            let wanted = health.check_wanted.take().is_some();
            match &mut health.state {
                State::Enrolling { .. } if suite.is_full() => move_to(health, State::InService { since: now }, what),
                State::Suspect { .. } => {
                    health.measured.clear();
                    move_to(health, State::InService { since: now }, what)
                }
                State::Remediating { done: Some(_), passed, .. } if suite.is_full() => match *passed {
                    None => {
                        *passed = Some(now);
                        Outcome::Noted
                    }
                    Some(first) if now.since(first) < PASSES_APART => Outcome::Noted,
                    Some(_) => probation(health, what, now),
                },
                _ if wanted => Outcome::Noted,
                _ => Outcome::Nothing,
            }
        }
    }
}

fn probation(health: &mut GpuHealth, why: &str, now: Instant) -> Outcome {
    (health.reset_wanted, health.look, health.check_wanted) = (None, None, None);
    health.measured.clear();
    move_to(health, State::Probation { since: now, until: now.plus(PROBATION), why: why.to_owned() }, why)
}

fn begun(health: &mut GpuHealth, automatic: bool, now: Instant) -> Outcome {
    let State::Quarantined { why, remedy, person, .. } = &mut health.state else {
        return Outcome::Refused(Refused::NotOut);
    };
    if automatic {
        if person.is_some() || *remedy == Remedy::Person {
            return Outcome::Refused(Refused::Person);
        }
        if health.remedies.len() >= MOST_REMEDIES {
            *person = Some(Refused::Spent.to_string());
            return Outcome::Refused(Refused::Spent);
        }
        health.remedies.push(now);
    }
    let (why, remedy) = (why.clone(), *remedy);
    let said = format!("{}: {why}", remedy.words());
    move_to(health, State::Remediating { since: now, why, remedy, done: None, passed: None }, &said)
}

fn done(health: &mut GpuHealth, now: Instant) -> Outcome {
    match &mut health.state {
        State::Remediating { done: done @ None, .. } => {
            *done = Some(now);
            Outcome::Noted
        }
        _ => Outcome::Nothing,
    }
}

fn tick(health: &mut GpuHealth, scene: &Scene) -> Outcome {
    match &health.state {
        State::Probation { until, .. } if *until <= scene.now => {
            move_to(health, State::InService { since: scene.now }, "a day on probation passed without a sign")
        }
        State::Draining { why, remedy, .. } if !scene.busy => {
            let (why, remedy) = (why.clone(), *remedy);
            leave(health, &why, remedy, scene.now, false)
        }
        _ => Outcome::Nothing,
    }
}

fn admin(health: &mut GpuHealth, word: Word, why: &str, now: Instant) -> Outcome {
    match (word, health.state.stage()) {
        (Word::TakeOut, Stage::Out) => Outcome::Refused(Refused::AlreadyThere),
        (Word::TakeOut, _) => move_to(health, State::Out { since: now, why: why.to_owned() }, why),
        (Word::PutBack, Stage::InService) if health.look.take().is_some() => Outcome::Noted,
        (Word::PutBack, Stage::InService | Stage::Probation) => Outcome::Refused(Refused::NotOut),
        (Word::PutBack, Stage::Suspect) => {
            (health.look, health.check_wanted) = (None, None);
            health.measured.clear();
            move_to(health, State::InService { since: now }, why)
        }
        (Word::PutBack, _) => probation(health, why, now),
    }
}
