//! What was seen of a GPU, kept for as long as anybody may ask: Xids, counters, checks, moves, words. One row each, with
//! what it weighs, and whether somebody contests that. It refuses to be changed afterwards, apart from the contest.
use serde::{Deserialize, Serialize};

use super::health::{Stage, Suite, Verdict};
use super::xid::Action;
use crate::base::ids::{EvidenceId, LeaseId, MemberId, NodeId, UnitId};
use crate::base::window::Instant;
use crate::base::xid::Told;

/// What it counts as, for the node's score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The hardware failed.
    Hardware,
    /// The node was lost while a lease ran on it.
    LostMidLease,
    /// A probe failed, and failed again when it was repeated.
    ProbeFailed,
    /// It works, more slowly than it should.
    Degraded,
    /// The tenant's program.
    Tenant,
    /// Announced ahead.
    Planned,
    /// Says nothing about the node.
    Nothing,
}

impl Fault {
    /// Quarters of a failure that it counts as.
    pub const fn quarters(self) -> u32 {
        match self {
            Self::Hardware | Self::LostMidLease => 4,
            Self::ProbeFailed => 2,
            Self::Degraded => 1,
            Self::Tenant | Self::Planned | Self::Nothing => 0,
        }
    }

    /// As pages say it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hardware => "hardware",
            Self::LostMidLease => "lost during a lease",
            Self::ProbeFailed => "failed probe",
            Self::Degraded => "slower than it should be",
            Self::Tenant => "the tenant’s program",
            Self::Planned => "planned",
            Self::Nothing => "no fault",
        }
    }
}

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub id: EvidenceId,
    pub unit: UnitId,
    pub node: NodeId,
    /// When it happened, by the mill's clock.
    pub at: Instant,
    pub seen: Seen,
    pub fault: Fault,
    /// Of a simulated installation: shown, and never scored.
    pub simulated: bool,
    #[serde(default)]
    pub contest: Option<Contest>,
}

/// What it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Seen {
    Xid {
        code: u32,
        section: String,
        says: String,
        text: String,
        action: Action,
        told: Told,
    },
    /// A counter or flag of the driver that changed.
    Counter {
        what: String,
        before: u64,
        after: u64,
    },
    /// A suite that ran, or could not.
    Check {
        suite: Suite,
        verdict: Verdict,
        report: String,
    },
    /// A lease ended by a fault; nothing after `proof` was charged.
    LeaseEnded {
        lease: LeaseId,
        proof: Instant,
        why: String,
    },
    Moved {
        from: Stage,
        to: Stage,
        why: String,
    },
    /// Would have moved; the brake held it, or the rule is on trial.
    NotMoved {
        would: Stage,
        why: String,
        trial: bool,
    },
    /// Written down, without a move.
    Noted {
        what: String,
    },
}

/// Somebody says that it should not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contest {
    pub by: MemberId,
    pub at: Instant,
    pub why: String,
    #[serde(default)]
    pub decided: Option<Decided>,
}

/// An admin's word on a contest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    pub by: MemberId,
    pub at: Instant,
    /// It does not count.
    pub accepted: bool,
    pub why: String,
}

impl Evidence {
    /// An admin accepted that it does not count.
    pub fn is_struck(&self) -> bool {
        self.contest.as_ref().and_then(|contest| contest.decided.as_ref()).is_some_and(|decided| decided.accepted)
    }
}
