//! Desired against local, case by case.
use super::*;
use crate::base::hardware::Share;
use crate::wire::lease::{Enforcement, LogFacts, ProcessMark};
use crate::wire::node::{DesiredMember, DesiredWorkload};

const LEASE: LeaseId = LeaseId::from_u128(1);
/// The mill is 1,000 s ahead of the boot clock.
const OFFSET: Offset = Offset(1_000_000);

/// An instant of the mill, in seconds of this machine's boot clock.
fn at(boot_seconds: i64) -> Instant {
    OFFSET.mill(boot_seconds * 1000)
}

/// Wanted from second 100 to 200 of the boot clock.
fn want() -> DesiredLease {
    DesiredLease {
        lease: LEASE,
        attempt: 1,
        revision: 1,
        start: at(100),
        end: at(200),
        grace: Span::from_seconds(30),
        run: true,
        gpus: Vec::new(),
        share: Share::default(),
        workload: DesiredWorkload::Workspace,
        member: DesiredMember { home: "mb".to_owned(), name: "Ada".to_owned(), uid: 20_000 },
        title: String::new(),
    }
}

fn kept(attempt: u32, phase: Phase) -> Local {
    let started = (!matches!(phase, Phase::Starting)).then(|| (at(101), 101_000));
    Local::Kept(Box::new(LeaseState {
        lease: LEASE,
        attempt,
        phase,
        started,
        deadline: Deadline { generation: 1, end: at(200), boot_ms: 200_000 },
        boot_id: "b".to_owned(),
        shim: ProcessMark::default(),
        enforcement: Enforcement::default(),
        log: LogFacts::default(),
        note: None,
        seen: at(101),
        seen_boot_ms: 101_000,
    }))
}

fn running() -> Phase {
    Phase::Running { pid: 1, since: at(101) }
}

fn ending_phase() -> Phase {
    Phase::Ending { cause: EndCause::Deadline, since: at(150) }
}

fn ended(exit: ExitKind, cause: EndCause) -> Phase {
    Phase::Ended { exit, cause, at: at(150), at_boot_ms: 150_000, ran: Span::from_seconds(49) }
}

fn starting() -> Local {
    Local::Starting { lease: LEASE, attempt: 1, revision: 1 }
}

fn broken() -> Local {
    Local::Broken { lease: LEASE, attempt: 1, revision: 1, why: "no bubblewrap".to_owned() }
}

fn deadline_of(want: &DesiredLease, boot_ms: i64) -> Deadline {
    Deadline { generation: u64::from(want.revision), end: want.end, boot_ms }
}

fn planned(desired: &[DesiredLease], locals: &[Local], boot_seconds: i64) -> Vec<Action> {
    plan(desired, locals, OFFSET, boot_seconds * 1000).actions
}

#[test]
fn a_lease_starts_at_its_start_and_only_once() {
    let wanted = [want()];
    assert_eq!(plan(&wanted, &[], OFFSET, 99_999), Plan { actions: vec![], look_at: Some(100_000) });
    let spawn = Action::Spawn { lease: want(), deadline: deadline_of(&want(), 200_000) };
    for second in [100, 150, 199] {
        assert_eq!(planned(&wanted, &[], second), std::slice::from_ref(&spawn), "at {second}");
    }
    assert_eq!(plan(&wanted, &[], OFFSET, 200_000), Plan::default(), "its time is over");
    let here = [starting(), broken(), kept(1, Phase::Starting), kept(1, running()), kept(1, ending_phase())];
    for local in here.into_iter().chain([kept(1, ended(ExitKind::Code(0), EndCause::Finished))]) {
        assert_eq!(planned(&wanted, std::slice::from_ref(&local), 150), [], "{local:?}");
    }
    assert_eq!(planned(&[DesiredLease { run: false, ..want() }], &[], 150), [], "cancelled before it began");
}

#[test]
fn what_is_not_wanted_stops_and_goes() {
    let stop = |reason| Action::Stop { lease: LEASE, attempt: 1, reason };
    let forget = Action::Forget { lease: LEASE, attempt: 1 };
    let unlisted = "the mill does not list it any more";
    for (local, action) in [
        (kept(1, Phase::Starting), vec![stop(unlisted)]),
        (kept(1, running()), vec![stop(unlisted)]),
        (kept(1, ending_phase()), vec![]),
        (kept(1, ended(ExitKind::Code(0), EndCause::Finished)), vec![forget.clone()]),
        (starting(), vec![]),
        (broken(), vec![forget.clone()]),
    ] {
        assert_eq!(planned(&[], std::slice::from_ref(&local), 150), action, "{local:?}");
    }
    let released = [DesiredLease { run: false, revision: 2, ..want() }];
    let given_back = "the booking was given back or cancelled";
    assert_eq!(planned(&released, &[kept(1, running())], 150), [stop(given_back)]);
    assert_eq!(planned(&released, &[kept(1, ending_phase())], 150), []);
    let over = kept(1, ended(ExitKind::None, EndCause::Deadline));
    assert_eq!(planned(&released, &[over], 150), [], "its end is told until the mill has heard it");
}

#[test]
fn a_changed_end_is_told_once() {
    let longer = DesiredLease { revision: 2, end: at(300), ..want() };
    let told = Action::SetEnd { lease: LEASE, attempt: 1, deadline: deadline_of(&longer, 300_000) };
    for phase in [running(), Phase::Starting] {
        assert_eq!(planned(std::slice::from_ref(&longer), &[kept(1, phase)], 150), std::slice::from_ref(&told));
    }
    assert_eq!(planned(std::slice::from_ref(&longer), &[kept(1, ending_phase())], 150), [], "too late");
    let Local::Kept(mut state) = kept(1, running()) else { panic!("a kept lease") };
    state.deadline = deadline_of(&longer, 300_000);
    assert_eq!(planned(&[longer], &[Local::Kept(state.clone())], 150), []);
    assert_eq!(planned(&[want()], &[Local::Kept(state)], 150), [], "an older revision changes nothing");
}

#[test]
fn a_new_attempt_waits_for_the_end_of_the_old() {
    let anew = [DesiredLease { attempt: 2, revision: 3, ..want() }];
    let reason = "the booking was placed anew";
    assert_eq!(planned(&anew, &[kept(1, running())], 150), [Action::Stop { lease: LEASE, attempt: 1, reason }]);
    let over = kept(1, ended(ExitKind::None, EndCause::Lost));
    assert_eq!(planned(&anew, &[over], 150), [Action::Forget { lease: LEASE, attempt: 1 }]);
    assert!(matches!(planned(&anew, &[], 150)[..], [Action::Spawn { .. }]));
}

#[test]
fn facts_say_what_is_there() {
    let second = Span::from_seconds;
    let finished = FactState::Ended {
        elapsed: second(49),
        ago: second(10),
        code: Some(3),
        signal: None,
        cause: FactCause::Finished,
    };
    for (local, state) in [
        (starting(), FactState::Preparing),
        (kept(1, Phase::Starting), FactState::Preparing),
        (kept(1, running()), FactState::Ready { elapsed: second(59) }),
        (kept(1, ending_phase()), FactState::Stopping { elapsed: second(59) }),
        (kept(1, ended(ExitKind::Code(3), EndCause::Finished)), finished),
        (broken(), FactState::Failed { why: "no bubblewrap".to_owned() }),
    ] {
        let told = facts(&[want()], std::slice::from_ref(&local), OFFSET, 160_000);
        assert_eq!(told, [LeaseFact { lease: LEASE, attempt: 1, revision: 1, state, lacking: Vec::new() }]);
    }
    let waiting = facts(&[want()], &[], OFFSET, 50_000);
    assert_eq!(
        waiting,
        [LeaseFact { lease: LEASE, attempt: 1, revision: 1, state: FactState::Waiting, lacking: Vec::new() }]
    );
    assert!(matches!(facts(&[want()], &[], OFFSET, 200_000)[0].state, FactState::Failed { .. }));
}

#[test]
fn a_stop_is_acknowledged_when_it_is_in_force() {
    let released = [DesiredLease { run: false, revision: 2, ..want() }];
    let revision = |local| facts(&released, &[local], OFFSET, 160_000)[0].revision;
    assert_eq!(revision(kept(1, running())), 1);
    assert_eq!(revision(kept(1, ending_phase())), 2);
    assert_eq!(revision(kept(1, ended(ExitKind::None, EndCause::Deadline))), 2);
    assert_eq!(facts(&released, &[], OFFSET, 160_000)[0].revision, 2);
    let extended = [DesiredLease { revision: 2, end: at(300), ..want() }];
    assert_eq!(facts(&extended, &[kept(1, ending_phase())], OFFSET, 160_000)[0].revision, 1);
}

#[test]
fn time_alone_is_no_news() {
    let ready = |seconds: i64| facts(&[want()], &[kept(1, running())], OFFSET, seconds * 1000);
    assert!(same_but_for_time(&ready(110), &ready(150)));
    assert!(!same_but_for_time(&ready(110), &facts(&[want()], &[kept(1, ending_phase())], OFFSET, 150_000)));
    assert!(!same_but_for_time(&ready(110), &[]));
}
