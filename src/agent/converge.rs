//! What a node does next: the desired state held against what is there, on the boot clock. Pure, so that every case is a
//! line in a table. It makes no choices of its own, and refuses to start anything twice: one attempt of a lease runs once.
use crate::base::ids::LeaseId;
use crate::base::window::{Instant, Span};
use crate::wire::lease::{Deadline, EndCause, ExitKind, LeaseState, Phase};
use crate::wire::node::{DesiredLease, FactCause, FactState, LeaseFact, MOST_LACKS};

/// The mill's clock minus this machine's boot clock, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset(pub i64);

impl Offset {
    /// From what the two clocks show at the same moment.
    pub const fn between(mill: Instant, boot_ms: i64) -> Self {
        Self(mill.as_millis().saturating_sub(boot_ms))
    }

    /// The boot clock at an instant of the mill.
    pub const fn boot_ms(self, mill: Instant) -> i64 {
        mill.as_millis().saturating_sub(self.0)
    }

    /// The mill's clock when the boot clock shows this.
    pub const fn mill(self, boot_ms: i64) -> Instant {
        Instant::from_millis(boot_ms.saturating_add(self.0))
    }
}

/// A lease that has a directory on this node, or one whose start failed.
#[derive(Clone, Debug, PartialEq)]
pub enum Local {
    /// A shim keeps it or has left its end.
    Kept(Box<LeaseState>),
    /// It is being started now.
    Starting { lease: LeaseId, attempt: u32, revision: u32 },
    /// It could not be started.
    Broken { lease: LeaseId, attempt: u32, revision: u32, why: String },
}

impl Local {
    pub fn lease(&self) -> LeaseId {
        match self {
            Self::Kept(state) => state.lease,
            Self::Starting { lease, .. } | Self::Broken { lease, .. } => *lease,
        }
    }

    pub fn attempt(&self) -> u32 {
        match self {
            Self::Kept(state) => state.attempt,
            Self::Starting { attempt, .. } | Self::Broken { attempt, .. } => *attempt,
        }
    }

    /// Whether anything of it may still run.
    fn is_live(&self) -> bool {
        match self {
            Self::Kept(state) => !state.is_ended(),
            Self::Starting { .. } => true,
            Self::Broken { .. } => false,
        }
    }

    /// The revision of its deadline.
    fn revision(&self) -> u32 {
        match self {
            Self::Kept(state) => u32::try_from(state.deadline.generation).unwrap_or(u32::MAX),
            Self::Starting { revision, .. } | Self::Broken { revision, .. } => *revision,
        }
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Spawn {
        lease: DesiredLease,
        deadline: Deadline,
    },
    SetEnd {
        lease: LeaseId,
        attempt: u32,
        deadline: Deadline,
    },
    Stop {
        lease: LeaseId,
        attempt: u32,
        reason: &'static str,
    },
    /// Over and not wanted any more: remove what it left.
    Forget {
        lease: LeaseId,
        attempt: u32,
    },
}

/// What to do now, and when to look again at the latest (boot clock) if nothing happens before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub actions: Vec<Action>,
    pub look_at: Option<i64>,
}

/// Desired against local.
pub fn plan(desired: &[DesiredLease], locals: &[Local], offset: Offset, boot_ms: i64) -> Plan {
    let mut plan = Plan::default();
    for local in locals {
        let wanted = desired.iter().find(|want| want.lease == local.lease());
        if let Some(action) = keep(wanted, local, offset) {
            plan.actions.push(action);
        }
    }
    for want in desired.iter().filter(|want| want.run) {
        // An older attempt must be over and gone before the next one starts.
        if locals.iter().any(|local| local.lease() == want.lease) {
            continue;
        }
        let (start, end) = (offset.boot_ms(want.start), offset.boot_ms(want.end));
        if boot_ms < start {
            plan.look_at = Some(plan.look_at.map_or(start, |at| at.min(start)));
        } else if boot_ms < end {
            plan.actions.push(Action::Spawn { lease: want.clone(), deadline: deadline(want, offset) });
        }
    }
    plan
}

/// What to do about a lease that is here.
fn keep(wanted: Option<&DesiredLease>, local: &Local, offset: Offset) -> Option<Action> {
    let (lease, attempt) = (local.lease(), local.attempt());
    let same = wanted.filter(|want| want.attempt == attempt);
    let Some(want) = same else {
        let reason =
            if wanted.is_some() { "the booking was placed anew" } else { "the mill does not list it any more" };
        return match local {
            Local::Starting { .. } => None,
            _ if ending(local) => None,
            _ if local.is_live() => Some(Action::Stop { lease, attempt, reason }),
            _ => Some(Action::Forget { lease, attempt }),
        };
    };
    if !local.is_live() || matches!(local, Local::Starting { .. }) {
        return None;
    }
    if !want.run {
        let reason = "the booking was given back or cancelled";
        return (!ending(local)).then_some(Action::Stop { lease, attempt, reason });
    }
    // Once SIGTERM is out, more time would come too late; the mill hears that it was not put into force.
    let newer = want.revision > local.revision() && !ending(local);
    newer.then(|| Action::SetEnd { lease, attempt, deadline: deadline(want, offset) })
}

/// Whether it was told to end already.
fn ending(local: &Local) -> bool {
    matches!(local, Local::Kept(state) if matches!(state.phase, Phase::Ending { .. }))
}

fn deadline(want: &DesiredLease, offset: Offset) -> Deadline {
    Deadline { generation: u64::from(want.revision), end: want.end, boot_ms: offset.boot_ms(want.end) }
}

/// Everything the node has, as facts. Leases that are here and not desired are told too: the mill hears of what it forgot.
pub fn facts(desired: &[DesiredLease], locals: &[Local], offset: Offset, boot_ms: i64) -> Vec<LeaseFact> {
    let mut facts: Vec<LeaseFact> = locals.iter().map(|local| fact(desired, local, boot_ms)).collect();
    let absent = desired.iter().filter(|want| !locals.iter().any(|local| local.lease() == want.lease));
    facts.extend(absent.map(|want| LeaseFact {
        lease: want.lease,
        attempt: want.attempt,
        revision: want.revision,
        state: absent_state(want, offset, boot_ms),
        lacking: Vec::new(),
    }));
    facts.sort_by_key(|fact| fact.lease);
    facts
}

fn absent_state(want: &DesiredLease, offset: Offset, boot_ms: i64) -> FactState {
    if !want.run {
        let cause = FactCause::Stopped;
        return FactState::Ended { elapsed: Span::ZERO, ago: Span::ZERO, code: None, signal: None, cause };
    }
    if boot_ms >= offset.boot_ms(want.end) {
        let why = "its time was over before this node could start it".to_owned();
        return FactState::Failed { why };
    }
    FactState::Waiting
}

fn fact(desired: &[DesiredLease], local: &Local, boot_ms: i64) -> LeaseFact {
    let (lease, attempt) = (local.lease(), local.attempt());
    let want = desired.iter().find(|want| want.lease == lease && want.attempt == attempt);
    let stopping = ending(local) || !local.is_live();
    // A stop is in force once the shim has it; so is any deadline of a lease that is over.
    let revision = match want {
        Some(want) if stopping && (!want.run || !local.is_live()) => want.revision,
        _ => local.revision(),
    };
    let lacking = match local {
        Local::Kept(state) => state.enforcement.lacking.iter().take(MOST_LACKS).cloned().collect(),
        Local::Starting { .. } | Local::Broken { .. } => Vec::new(),
    };
    LeaseFact { lease, attempt, revision, state: fact_state(local, boot_ms), lacking }
}

fn fact_state(local: &Local, boot_ms: i64) -> FactState {
    let state = match local {
        Local::Starting { .. } => return FactState::Preparing,
        Local::Broken { why, .. } => return FactState::Failed { why: why.clone() },
        Local::Kept(state) => state,
    };
    let since = |then: i64| Span::from_millis(boot_ms.saturating_sub(then).max(0));
    let elapsed = state.started.map_or(Span::ZERO, |(_, then)| since(then));
    match &state.phase {
        Phase::Starting => FactState::Preparing,
        Phase::Running { .. } => FactState::Ready { elapsed },
        Phase::Ending { .. } => FactState::Stopping { elapsed },
        Phase::Ended { exit: ExitKind::Failed(why), cause: EndCause::Failed, .. } if state.started.is_none() => {
            FactState::Failed { why: why.clone() }
        }
        Phase::Ended { exit, cause, at_boot_ms, ran, .. } => {
            let (code, signal) = match exit {
                ExitKind::Code(code) => (Some(*code), None),
                ExitKind::Signal(signal) => (None, Some(*signal)),
                ExitKind::Failed(_) | ExitKind::None => (None, None),
            };
            FactState::Ended { elapsed: *ran, ago: since(*at_boot_ms), code, signal, cause: fact_cause(cause) }
        }
    }
}

fn fact_cause(cause: &EndCause) -> FactCause {
    match cause {
        EndCause::Finished => FactCause::Finished,
        EndCause::Deadline => FactCause::TimeUp,
        EndCause::Stopped { .. } => FactCause::Stopped,
        EndCause::Failed | EndCause::Lost => FactCause::Lost,
    }
}

/// Whether two lists of facts say the same but for the passing of time.
pub fn same_but_for_time(one: &[LeaseFact], other: &[LeaseFact]) -> bool {
    let timeless = |fact: &LeaseFact| {
        let state = match fact.state.clone() {
            FactState::Ready { .. } => FactState::Ready { elapsed: Span::ZERO },
            FactState::Stopping { .. } => FactState::Stopping { elapsed: Span::ZERO },
            FactState::Ended { elapsed, code, signal, cause, .. } => {
                FactState::Ended { elapsed, ago: Span::ZERO, code, signal, cause }
            }
            other => other,
        };
        LeaseFact { state, ..fact.clone() }
    };
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| timeless(one) == timeless(other))
}

#[cfg(test)]
mod tests;
