//! Leases on paper: what `converge` plans is done to rows instead of processes, on the boot clock and by nothing else, with
//! the same facts in the end. It refuses to be kinder than a real node: work runs to its very deadline unless it is told to
//! stop, and takes a moment to start and to stop.
use std::collections::BTreeMap;

use crate::agent::converge::{self, Action, Local, Offset};
use crate::agent::gpu::Work;
use crate::base::ids::LeaseId;
use crate::base::window::{Instant, Span};
use crate::wire::lease::{Deadline, EndCause, Enforcement, ExitKind, LeaseState, LogFacts, Phase, ProcessMark};
use crate::wire::node::{DesiredLease, DesiredWorkload, LeaseFact};

/// From the order to start until the workload is ready, in milliseconds.
pub const START_MS: i64 = 300;
/// From SIGTERM until it is gone.
pub const STOP_MS: i64 = 1000;
/// How long a command runs that does not say `sleep SECONDS`.
pub const COMMAND_MS: i64 = 10_000;

/// The leases of one node.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    pub generation: u64,
    offset: Option<Offset>,
    desired: Vec<DesiredLease>,
    kept: BTreeMap<(LeaseId, u32), Paper>,
    next: Option<i64>,
}

/// One lease on paper.
#[derive(Clone, Debug)]
struct Paper {
    state: LeaseState,
    /// When the next thing happens to it, on the boot clock.
    next: Option<i64>,
    /// How long its command runs; `None` for a workspace.
    runs_ms: Option<i64>,
    gpus: Vec<String>,
}

impl Leases {
    /// The mill's clock was compared with this node's.
    pub fn clock(&mut self, offset: Offset) {
        self.offset = Some(offset);
    }

    /// The newest desired state.
    pub fn order(&mut self, generation: u64, leases: Vec<DesiredLease>) {
        (self.generation, self.desired) = (generation, leases);
    }

    /// Does all that is due when the boot clock shows this; answers when something is due next.
    pub fn step(&mut self, boot_ms: i64) -> Option<i64> {
        let offset = self.offset?;
        loop {
            for paper in self.kept.values_mut() {
                paper.pass(boot_ms, offset);
            }
            let plan = converge::plan(&self.desired, &self.locals(), offset, boot_ms);
            if plan.actions.is_empty() {
                let own = self.kept.values().filter_map(|paper| paper.next);
                self.next = own.chain(plan.look_at).min();
                return self.next;
            }
            for action in plan.actions {
                self.act(action, boot_ms, offset);
            }
        }
    }

    fn act(&mut self, action: Action, boot_ms: i64, offset: Offset) {
        match action {
            Action::Spawn { lease, deadline } => {
                self.kept.insert((lease.lease, lease.attempt), Paper::start(&lease, deadline, boot_ms, offset));
            }
            Action::SetEnd { lease, attempt, deadline } => {
                if let Some(paper) = self.kept.get_mut(&(lease, attempt)) {
                    paper.state.deadline = deadline;
                    paper.plan();
                }
            }
            Action::Stop { lease, attempt, reason } => {
                if let Some(paper) = self.kept.get_mut(&(lease, attempt)) {
                    paper.stop(reason, boot_ms, offset);
                }
            }
            Action::Forget { lease, attempt } => {
                self.kept.remove(&(lease, attempt));
            }
        }
    }

    /// What is here, as `converge` sees it.
    pub fn locals(&self) -> Vec<Local> {
        self.kept.values().map(|paper| Local::Kept(Box::new(paper.state.clone()))).collect()
    }

    pub fn desired(&self) -> &[DesiredLease] {
        &self.desired
    }

    pub fn offset(&self) -> Offset {
        self.offset.unwrap_or(Offset(0))
    }

    /// Everything the node has, as it would say now.
    pub fn facts(&self, boot_ms: i64) -> Vec<LeaseFact> {
        converge::facts(&self.desired, &self.locals(), self.offset(), boot_ms)
    }

    /// The leases whose work may be on a GPU now, and on which.
    pub fn at_work(&self) -> impl Iterator<Item = (LeaseId, &[String])> {
        let live = self.kept.values().filter(|paper| !paper.state.is_ended());
        live.map(|paper| (paper.state.lease, paper.gpus.as_slice()))
    }

    /// What works on a GPU now.
    pub(super) fn work_on(&self, uuid: &str) -> Option<Work> {
        let on_it = |paper: &&Paper| !paper.state.is_ended() && paper.gpus.iter().any(|gpu| gpu == uuid);
        let paper = self.kept.values().find(on_it)?;
        Some(Work { lease: paper.state.lease, since: paper.state.started?.0 })
    }

    /// When something is due next, as the last step saw it.
    pub fn next(&self) -> Option<i64> {
        self.next
    }

    /// How long the work of each lease that began has run, in milliseconds.
    pub fn ran(&self, boot_ms: i64) -> impl Iterator<Item = (LeaseId, i64)> {
        self.kept.values().filter_map(move |paper| match (&paper.state.phase, paper.state.started) {
            (Phase::Ended { ran, .. }, Some(_)) => Some((paper.state.lease, ran.as_millis())),
            (_, Some((_, began))) => Some((paper.state.lease, boot_ms - began)),
            (_, None) => None,
        })
    }

    /// The machine restarts: whatever ran is over since now, and nobody can say more.
    pub fn crash(&mut self, boot_ms: i64) {
        let offset = self.offset();
        for paper in self.kept.values_mut().filter(|paper| !paper.state.is_ended()) {
            paper.end(ExitKind::Failed("the machine restarted".to_owned()), EndCause::Lost, boot_ms, offset);
        }
    }
}

impl Paper {
    fn start(want: &DesiredLease, deadline: Deadline, boot_ms: i64, offset: Offset) -> Self {
        let now = offset.mill(boot_ms);
        let state = LeaseState {
            lease: want.lease,
            attempt: want.attempt,
            phase: Phase::Starting,
            started: None,
            deadline,
            boot_id: String::new(),
            shim: ProcessMark::default(),
            enforcement: Enforcement::default(),
            log: LogFacts::default(),
            note: None,
            seen: now,
            seen_boot_ms: boot_ms,
        };
        let runs_ms = match &want.workload {
            DesiredWorkload::Workspace => None,
            DesiredWorkload::Batch { command } => Some(runs_ms(command)),
        };
        let gpus = want.gpus.iter().map(|gpu| gpu.uuid.clone()).collect();
        Self { state, next: Some((boot_ms + START_MS).min(deadline.boot_ms)), runs_ms, gpus }
    }

    /// Everything that happens to it until the boot clock shows this.
    fn pass(&mut self, boot_ms: i64, offset: Offset) {
        while let Some(at) = self.next.filter(|&at| at <= boot_ms) {
            let deadline = self.state.deadline.boot_ms;
            match self.state.phase.clone() {
                Phase::Starting if at < deadline => {
                    self.state.started = Some((offset.mill(at), at));
                    self.state.phase = Phase::Running { pid: 1, since: offset.mill(at) };
                    self.plan();
                }
                Phase::Ending { cause, .. } => self.end(ExitKind::Signal(15), cause, at, offset),
                Phase::Running { .. } if at < deadline => {
                    self.end(ExitKind::Code(0), EndCause::Finished, at, offset);
                }
                Phase::Starting | Phase::Running { .. } => {
                    self.end(ExitKind::Signal(9), EndCause::Deadline, at, offset);
                }
                Phase::Ended { .. } => self.next = None,
            }
        }
    }

    /// Sets when the next thing happens to work that runs.
    fn plan(&mut self) {
        let deadline = self.state.deadline.boot_ms;
        if let (Phase::Running { .. }, Some((_, began))) = (&self.state.phase, self.state.started) {
            let done = self.runs_ms.map_or(deadline, |runs| began.saturating_add(runs));
            self.next = Some(done.min(deadline));
        }
    }

    fn stop(&mut self, reason: &str, boot_ms: i64, offset: Offset) {
        let cause = EndCause::Stopped { reason: reason.to_owned() };
        self.state.phase = Phase::Ending { cause, since: offset.mill(boot_ms) };
        self.next = Some((boot_ms + STOP_MS).min(self.state.deadline.boot_ms).max(boot_ms));
    }

    fn end(&mut self, exit: ExitKind, cause: EndCause, at_boot_ms: i64, offset: Offset) {
        let at: Instant = offset.mill(at_boot_ms);
        let ran = self.state.started.map_or(Span::ZERO, |(_, began)| Span::from_millis(at_boot_ms - began));
        self.state.phase = Phase::Ended { exit, cause, at, at_boot_ms, ran };
        (self.state.seen, self.state.seen_boot_ms, self.next) = (at, at_boot_ms, None);
    }
}

/// `sleep 30` anywhere in a command runs for 30 s.
fn runs_ms(command: &[String]) -> i64 {
    let words: Vec<&str> = command.iter().flat_map(|part| part.split_whitespace()).collect();
    let said = words.windows(2).find(|pair| pair[0] == "sleep");
    let said = said.and_then(|pair| pair[1].trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().ok());
    said.map_or(COMMAND_MS, |seconds| i64::from(seconds) * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hardware::Share;
    use crate::wire::node::{DesiredGpu, DesiredMember, FactCause, FactState};

    /// The boot clock of these tests is the mill's clock less this.
    const OFFSET: i64 = 1_000_000;

    fn want(workload: DesiredWorkload, start: i64, end: i64) -> DesiredLease {
        DesiredLease {
            lease: LeaseId::from_u128(1),
            attempt: 1,
            revision: 1,
            start: Instant::from_millis(OFFSET + start),
            end: Instant::from_millis(OFFSET + end),
            grace: Span::from_seconds(30),
            run: true,
            gpus: vec![DesiredGpu { uuid: "SIM-1".to_owned(), minor: None }],
            share: Share::default(),
            workload,
            member: DesiredMember { home: "mb_1".to_owned(), name: "Ada".to_owned(), uid: 20_000 },
            title: "test".to_owned(),
        }
    }

    fn node(want: DesiredLease) -> Leases {
        let mut leases = Leases::default();
        leases.clock(Offset(OFFSET));
        leases.order(1, vec![want]);
        leases
    }

    fn state(leases: &Leases, boot_ms: i64) -> FactState {
        leases.facts(boot_ms)[0].state.clone()
    }

    #[test]
    fn a_workspace_runs_from_its_start_to_its_end() {
        let mut leases = node(want(DesiredWorkload::Workspace, 5_000, 60_000));
        assert_eq!(leases.step(0), Some(5_000));
        assert_eq!(state(&leases, 0), FactState::Waiting);
        assert_eq!(leases.step(5_000), Some(5_000 + START_MS));
        assert_eq!(state(&leases, 5_000), FactState::Preparing);
        assert_eq!(leases.step(6_000), Some(60_000));
        assert_eq!(state(&leases, 7_300), FactState::Ready { elapsed: Span::from_seconds(2) });
        assert_eq!(leases.at_work().count(), 1);
        // Also when it is looked at long after.
        assert_eq!(leases.step(90_000), None);
        let elapsed = Span::from_millis(60_000 - 5_000 - START_MS);
        let (ago, cause) = (Span::from_seconds(30), FactCause::TimeUp);
        assert_eq!(state(&leases, 90_000), FactState::Ended { elapsed, ago, code: None, signal: Some(9), cause });
        leases.order(2, Vec::new());
        leases.step(90_000);
        assert!(leases.facts(90_000).is_empty());
    }

    #[test]
    fn a_command_ends_by_itself_and_what_is_stopped_ends_soon() {
        let command = ["sh", "-c", "sleep 20; echo done"].map(str::to_owned).into();
        let mut leases = node(want(DesiredWorkload::Batch { command }, 0, 60_000));
        leases.step(0);
        leases.step(30_000);
        assert!(matches!(
            state(&leases, 30_000),
            FactState::Ended { elapsed, code: Some(0), cause: FactCause::Finished, .. } if elapsed == Span::from_seconds(20)
        ));
        let stopping = want(DesiredWorkload::Workspace, 0, 60_000);
        let mut leases = node(stopping.clone());
        leases.step(0);
        leases.step(1_000);
        leases.order(2, vec![DesiredLease { run: false, revision: 2, ..stopping }]);
        assert_eq!(leases.step(10_000), Some(10_000 + STOP_MS));
        leases.step(12_000);
        let fact = leases.facts(12_000).remove(0);
        assert_eq!(fact.revision, 2);
        assert!(matches!(fact.state, FactState::Ended { cause: FactCause::Stopped, .. }), "{fact:?}");
    }

    #[test]
    fn a_longer_end_counts_and_a_crash_loses_what_ran() {
        let short = want(DesiredWorkload::Workspace, 0, 60_000);
        let mut leases = node(short.clone());
        leases.step(0);
        leases.step(1_000);
        let end = Instant::from_millis(OFFSET + 90_000);
        leases.order(2, vec![DesiredLease { end, revision: 2, ..short }]);
        assert_eq!(leases.step(1_000), Some(90_000));
        leases.crash(50_000);
        assert!(matches!(state(&leases, 50_000), FactState::Ended { cause: FactCause::Lost, .. }));
        assert_eq!(leases.step(50_000), None);
    }
}
