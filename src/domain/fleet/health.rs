//! Whether a GPU may be given out, by what is known of it and nothing else: states that carry their data, moved by typed
//! signals, each move with its reason. What could not be run is unknown and moves nothing; one bad measurement is none; and
//! nothing comes back into service straight from quarantine. It refuses to call a GPU healthy: it says what passed, and when.
use serde::{Deserialize, Serialize};

use super::duty::brakes;
use crate::base::ids::{BookingId, NodeId, UnitId};
use crate::base::window::{Instant, Span};

mod refusal;
mod step;

pub use refusal::HealthRefusal;
pub use step::step;

/// Between the two full passes after which a GPU comes back.
pub const PASSES_APART: Span = Span::from_hours(1);
/// How long it is on probation then.
pub const PROBATION: Span = Span::from_days(1);
/// The longest lease on a GPU on probation.
pub const PROBATION_LEASE: Span = Span::from_hours(4);
/// Automatic remedies within [`REMEDIES_WITHIN`]; then a person.
pub const MOST_REMEDIES: usize = 2;
pub const REMEDIES_WITHIN: Span = Span::from_days(7);
/// So many quarantines within [`QUARANTINES_WITHIN`] are a matter for a person.
pub const MOST_QUARANTINES: usize = 3;
pub const QUARANTINES_WITHIN: Span = Span::from_days(28);
/// Performance counts when so many of the last [`MEASUREMENTS`] were bad.
pub const BAD_MEASUREMENTS: usize = 3;
pub const MEASUREMENTS: usize = 5;
/// Over what time the nodes are counted that would go out of service; see [`held_back`].
pub const BRAKE_WITHIN: Span = Span::from_minutes(10);

/// Whether so many nodes with automatic quarantines within [`BRAKE_WITHIN`] hold further ones back: the fault is then in
/// the check, a driver's new version, the power or the network, and not in each GPU.
pub const fn held_back(going: usize, nodes: usize) -> bool {
    brakes(going, nodes)
}

/// A set of checks, as it is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Suite {
    /// Between two tenants.
    Boundary,
    /// At a random moment, seconds.
    Probe,
    Nightly,
    Enroll,
    Deep,
}

impl Suite {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Boundary => "boundary",
            Self::Probe => "probe",
            Self::Nightly => "nightly",
            Self::Enroll => "enroll",
            Self::Deep => "deep",
        }
    }

    /// Whether a pass counts toward coming back.
    pub const fn is_full(self) -> bool {
        matches!(self, Self::Enroll | Self::Deep)
    }
}

/// What a suite came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Passed,
    Failed,
    /// It could not run, or was ended for a booking.
    Unknown,
}

impl Verdict {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// What has to be done to a GPU that is out of the calendar; the later, the more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// Full suites alone.
    Recheck,
    Reset,
    /// Reset, and its whole memory is checked.
    DeepReset,
    Reboot,
    /// A person has to look: nothing is tried by itself.
    Person,
}

impl Remedy {
    /// What to do, for the person who does it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Recheck => "run a full suite twice, an hour apart",
            Self::Reset => "reset the GPU, then run a full suite twice, an hour apart",
            Self::DeepReset => "reset the GPU, then run the suite deep twice, an hour apart",
            Self::Reboot => "restart the machine, then run a full suite twice, an hour apart",
            Self::Person => "look at the hardware; its maker may have to replace it",
        }
    }
}

/// Where a GPU stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum State {
    /// Waits for its first full pass.
    Enrolling {
        since: Instant,
    },
    InService {
        since: Instant,
    },
    /// In service and watched; a check is wanted.
    Suspect {
        since: Instant,
        why: String,
    },
    /// Takes nothing new; what runs, runs out.
    Draining {
        since: Instant,
        why: String,
        remedy: Remedy,
    },
    /// Out of the calendar. `person`: why somebody has to look before anything else happens.
    Quarantined {
        since: Instant,
        why: String,
        remedy: Remedy,
        person: Option<String>,
    },
    /// The remedy is at work (`done` is `None`), or done and on its way through two full passes.
    Remediating {
        since: Instant,
        why: String,
        remedy: Remedy,
        done: Option<Instant>,
        passed: Option<Instant>,
    },
    /// Back, with short leases only.
    Probation {
        since: Instant,
        until: Instant,
        why: String,
    },
    /// By an admin's word.
    Out {
        since: Instant,
        why: String,
    },
}

/// The state's name without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Enrolling,
    InService,
    Suspect,
    Draining,
    Quarantined,
    Remediating,
    Probation,
    Out,
}

impl Stage {
    /// As pages say it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Enrolling => "enrolling",
            Self::InService => "in service",
            Self::Suspect => "suspect",
            Self::Draining => "draining",
            Self::Quarantined => "quarantined",
            Self::Remediating => "remediating",
            Self::Probation => "probation",
            Self::Out => "out",
        }
    }

    /// May be given new leases.
    pub const fn is_bookable(self) -> bool {
        matches!(self, Self::InService | Self::Suspect | Self::Probation)
    }
}

impl State {
    pub const fn stage(&self) -> Stage {
        match self {
            Self::Enrolling { .. } => Stage::Enrolling,
            Self::InService { .. } => Stage::InService,
            Self::Suspect { .. } => Stage::Suspect,
            Self::Draining { .. } => Stage::Draining,
            Self::Quarantined { .. } => Stage::Quarantined,
            Self::Remediating { .. } => Stage::Remediating,
            Self::Probation { .. } => Stage::Probation,
            Self::Out { .. } => Stage::Out,
        }
    }

    pub const fn since(&self) -> Instant {
        match self {
            Self::Enrolling { since }
            | Self::InService { since }
            | Self::Suspect { since, .. }
            | Self::Draining { since, .. }
            | Self::Quarantined { since, .. }
            | Self::Remediating { since, .. }
            | Self::Probation { since, .. }
            | Self::Out { since, .. } => *since,
        }
    }

    /// Why it is where it is; empty where no reason is needed.
    pub fn why(&self) -> &str {
        match self {
            Self::Enrolling { .. } | Self::InService { .. } => "",
            Self::Suspect { why, .. }
            | Self::Draining { why, .. }
            | Self::Quarantined { why, .. }
            | Self::Remediating { why, .. }
            | Self::Probation { why, .. }
            | Self::Out { why, .. } => why,
        }
    }
}

/// What is known of one GPU's standing. A GPU without a row is in service and nothing was ever seen of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuHealth {
    pub unit: UnitId,
    pub node: NodeId,
    pub state: State,
    /// The last measurements, oldest first: whether they were bad.
    #[serde(default)]
    pub measured: Vec<bool>,
    /// When automatic remedies began, within [`REMEDIES_WITHIN`].
    #[serde(default)]
    pub remedies: Vec<Instant>,
    /// When it was quarantined, within [`QUARANTINES_WITHIN`].
    #[serde(default)]
    pub quarantines: Vec<Instant>,
    /// Our own check is wanted since then, and why.
    #[serde(default)]
    pub check_wanted: Option<(Instant, String)>,
    /// A reset is wanted when the present lease is over, and why.
    #[serde(default)]
    pub reset_wanted: Option<String>,
    /// Somebody should look, although it stays in service; why.
    #[serde(default)]
    pub look: Option<String>,
    /// Whose bookings on it could not be moved at once: they were told, and are not told again.
    #[serde(default)]
    pub told: Vec<BookingId>,
}

impl GpuHealth {
    pub const fn new(unit: UnitId, node: NodeId, state: State) -> Self {
        Self {
            unit,
            node,
            state,
            measured: Vec::new(),
            remedies: Vec::new(),
            quarantines: Vec::new(),
            check_wanted: None,
            reset_wanted: None,
            look: None,
            told: Vec::new(),
        }
    }

    /// Why a person is needed now; `None` where nobody is.
    pub fn needs_person(&self) -> Option<&str> {
        match &self.state {
            State::Quarantined { person: Some(why), .. } => Some(why),
            State::Quarantined { remedy: Remedy::Person, why, .. } => Some(why),
            _ => self.look.as_deref(),
        }
    }
}

/// Something that was seen, done or said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A fault that leaves no doubt. Always acted on.
    Hard {
        what: String,
        remedy: Remedy,
    },
    /// A sign that something is wrong.
    Soft {
        what: String,
    },
    /// As [`Signal::Soft`], and a person should look at its links.
    Links {
        what: String,
    },
    /// Most likely the tenant's program; our own check decides.
    Tenant {
        what: String,
    },
    /// A reset is wanted when the present lease is over; work is not affected.
    Boundary {
        what: String,
    },
    /// A measurement of performance.
    Measured {
        bad: bool,
        what: String,
    },
    Check {
        suite: Suite,
        verdict: Verdict,
        what: String,
    },
    RemedyBegun {
        automatic: bool,
    },
    RemedyDone,
    RemedyFailed {
        what: String,
    },
    /// Time has passed, or a lease has ended.
    Tick,
    /// An admin's word, with a reason.
    Admin {
        word: Word,
        why: String,
    },
}

/// What an admin says of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    PutBack,
    TakeOut,
}

/// What is the case besides the GPU itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scene {
    pub now: Instant,
    /// Something runs on it.
    pub busy: bool,
    /// Too many nodes go at once; see [`held_back`].
    pub brake: bool,
    /// The rule behind the signal is on trial: what it would do is written down and not done.
    pub trial: bool,
}

/// What a signal came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing that was not so before.
    Nothing,
    /// Written down; the state is the same.
    Noted,
    Moved {
        from: Stage,
        to: Stage,
        why: String,
    },
    /// The brake held it.
    Held {
        would: Stage,
        why: String,
    },
    /// The rule is on trial.
    Trial {
        would: Stage,
        why: String,
    },
    /// It does not go together with the state, or the limit of automatic remedies is reached.
    Refused(Refused),
}

/// Why something that was asked for was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("it is there already")]
    AlreadyThere,
    #[error("it is not out of service")]
    NotOut,
    #[error("two automatic remedies within seven days did not last: a person has to look")]
    Spent,
    #[error("a person has to look before anything is tried")]
    Person,
}

#[cfg(test)]
mod tests;
