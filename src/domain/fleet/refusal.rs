//! Why the mill says no to a machine, or to a person in matters of machines.
use crate::domain::notice::{Kind, Reason, Sentence};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FleetRefusal {
    /// The join token cannot be used (any more).
    TokenSpent(Spent),
    /// A simulated node for a real mill, or the other way round.
    WrongReality { mill_simulated: bool },
    /// The certificate request cannot be read or is not signed by its own key.
    BadRequest,
    /// Agent and mill speak different versions of the node protocol.
    Protocol { theirs: u32, ours: u32 },
    /// The key belongs to a node that was revoked.
    Revoked,
    /// No certificate, one that is not in force, or one of a revoked node: one answer for all.
    UnknownCertificate,
    /// A newer connection or a decision came in between.
    Overtaken,
    /// Pending or closed nodes can be admitted, others not.
    NotWaiting,
    /// A reason is missing, or longer than a line.
    NoReason,
    /// The node is revoked or retired.
    Gone,
    /// There are leases on it still, the last of which ends then.
    StillBooked { leases: usize },
    /// A maintenance that lies in the past, has no length, or is too long.
    BadMaintenance { why: &'static str },
    /// The maintenance is over or was cancelled.
    MaintenanceOver,
    /// The number to sign is not ours, too old, or was used.
    ChallengeSpent,
    /// No node has this key.
    UnknownKey,
    /// More returns than are looked at.
    TooManyReturns,
    /// The local node's agent is the server's own program.
    LocalUpgrade,
    /// The node is another kind of machine than the server.
    OtherArchitecture { theirs: String, ours: &'static str },
    /// The node's agent is this version already.
    SameVersion,
    /// Nothing is known of the node's agent yet.
    NeverConnected,
}

/// What became of a join token. Whoever shows one holds a secret of 256 bits, so that telling it apart helps nobody guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// This mill made no such token, or cleared it away long ago.
    Unknown,
    Expired,
    /// Another machine joined with it.
    Used,
}

impl Spent {
    const fn why(self) -> &'static str {
        match self {
            Self::Unknown => "This mill made no such join token: it was mistyped, or it is another mill’s.",
            Self::Expired => "The join token has expired; it works for 15 minutes.",
            Self::Used => "Another machine has joined with this token already; each lets in one.",
        }
    }
}

impl FleetRefusal {
    /// Why an agent does not become another program.
    fn upgrade_sentence(&self) -> Sentence {
        let (why, next) = match self {
            Self::LocalUpgrade => (
                "It runs on the server’s own machine, and is the server’s own program.".to_owned(),
                "Upgrade the server; it starts this agent anew.",
            ),
            Self::OtherArchitecture { theirs, ours } => (
                format!("It is a machine with {theirs}, and the mill’s program is for {ours}."),
                "Install gristmill built for that machine, of the mill’s version, and restart the agent.",
            ),
            Self::SameVersion => (
                "Its agent is the mill’s version already.".to_owned(),
                "To install the same version again: gristmill node upgrade NODE --again",
            ),
            _ => (
                "Its agent has not connected since this mill keeps versions.".to_owned(),
                "Wait until it is connected, then ask again.",
            ),
        };
        Sentence::new("The node was not upgraded.", why, next)
    }
}

impl Reason for FleetRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::TokenSpent(_) => "join_token_spent",
            Self::WrongReality { .. } => "wrong_reality",
            Self::BadRequest => "bad_certificate_request",
            Self::Protocol { .. } => "node_protocol",
            Self::Revoked => "node_revoked",
            Self::UnknownCertificate => "unknown_certificate",
            Self::Overtaken => "overtaken",
            Self::NotWaiting => "node_not_waiting",
            Self::NoReason => "reason_missing",
            Self::Gone => "node_gone",
            Self::StillBooked { .. } => "node_still_booked",
            Self::BadMaintenance { .. } => "bad_maintenance",
            Self::MaintenanceOver => "maintenance_over",
            Self::ChallengeSpent => "challenge_spent",
            Self::UnknownKey => "unknown_key",
            Self::TooManyReturns => "too_many_returns",
            Self::LocalUpgrade => "local_upgrade",
            Self::OtherArchitecture { .. } => "other_architecture",
            Self::SameVersion => "same_version",
            Self::NeverConnected => "never_connected",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::TokenSpent(_) | Self::UnknownCertificate | Self::ChallengeSpent | Self::UnknownKey => Kind::SignedOut,
            Self::TooManyReturns => Kind::Throttled,
            Self::Revoked => Kind::Denied,
            Self::BadRequest | Self::Protocol { .. } | Self::NoReason | Self::BadMaintenance { .. } => Kind::Invalid,
            Self::WrongReality { .. }
            | Self::Overtaken
            | Self::NotWaiting
            | Self::Gone
            | Self::StillBooked { .. }
            | Self::MaintenanceOver
            | Self::LocalUpgrade
            | Self::OtherArchitecture { .. }
            | Self::SameVersion
            | Self::NeverConnected => Kind::Conflict,
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::NoReason => Some("why"),
            Self::BadMaintenance { .. } => Some("until"),
            _ => None,
        }
    }

    fn sentence(&self) -> Sentence {
        match self {
            Self::TokenSpent(spent) => Sentence::new(
                "This machine did not join.",
                spent.why(),
                "Make a new one (Nodes, Add node, or gristmill node add) and paste its line within 15 minutes.",
            ),
            Self::WrongReality { mill_simulated: true } => Sentence::new(
                "This machine did not join.",
                "This mill is simulated, and a machine with real GPUs may not join it.",
                "Set up a real mill for it, or start the agent with --simulated-gpus.",
            ),
            Self::WrongReality { mill_simulated: false } => Sentence::new(
                "This machine did not join.",
                "Its GPUs are simulated, and this mill is a real one.",
                "Start the agent without --simulated-gpus.",
            ),
            Self::BadRequest => Sentence::new(
                "This machine did not join.",
                "Its certificate request cannot be read, or is not signed by its own key.",
                "Remove the agent's key from its directory and join again with a new token.",
            ),
            Self::Protocol { theirs, ours } => Sentence::new(
                "Agent and mill do not understand each other.",
                format!("The agent speaks version {theirs} of the node protocol, the mill version {ours}."),
                "Install the same version of gristmill on both.",
            ),
            Self::Revoked => Sentence::new(
                "This machine did not join.",
                "Its key belongs to a node that was revoked.",
                "Start the agent with an empty directory and a new join token.",
            ),
            Self::UnknownCertificate => Sentence::new(
                "The mill does not know this machine.",
                "It showed no certificate that is in force.",
                "Join with a new token; the nodes page makes one.",
            ),
            Self::Overtaken => Sentence::new(
                "This came too late.",
                "The node has connected again or was changed in the meantime.",
                "Look at the node's page and try again.",
            ),
            Self::NotWaiting => Sentence::new(
                "There is nothing to admit.",
                "The node has not joined yet, is admitted already, or was revoked.",
                "Look at the node's page.",
            ),
            Self::ChallengeSpent => Sentence::new(
                "This machine did not come back.",
                "The number that it signed is older than a minute, was used, or is not this mill’s.",
                "Ask for a new one; the agent does so by itself.",
            ),
            Self::UnknownKey => Sentence::new(
                "The mill does not know this machine.",
                "No node has its key: it joined another mill, or this one was restored from before it joined.",
                "Remove the agent’s directory and join with a new line (Nodes, Add node).",
            ),
            Self::TooManyReturns => Sentence::new(
                "This machine did not come back yet.",
                "Too many machines come back at once, or this one did a moment ago.",
                "Try again in a while; the agent does so by itself.",
            ),
            Self::LocalUpgrade | Self::OtherArchitecture { .. } | Self::SameVersion | Self::NeverConnected => {
                self.upgrade_sentence()
            }
            Self::NoReason
            | Self::Gone
            | Self::StillBooked { .. }
            | Self::BadMaintenance { .. }
            | Self::MaintenanceOver => self.care(),
        }
    }
}

impl FleetRefusal {
    /// What is said when a node is looked after.
    fn care(&self) -> Sentence {
        match self {
            Self::NoReason => Sentence::new(
                "Nothing was changed.",
                "A reason is missing: those whose work it touches read it, and so does the audit.",
                "Say why in 3 to 200 characters.",
            ),
            Self::Gone => Sentence::new(
                "Nothing was changed.",
                "This node was revoked or retired.",
                "A machine comes back by joining with a new token.",
            ),
            Self::StillBooked { leases } => Sentence::new(
                "The node was not retired.",
                format!("There is still something on it: {leases} of its leases are not over."),
                "Drain it first, and retire it when it is empty. Revoking it does not wait.",
            ),
            Self::BadMaintenance { why } => Sentence::new(
                "No maintenance was announced.",
                *why,
                "Choose a start and an end that lie ahead, 31 days apart at most.",
            ),
            _ => Sentence::new(
                "Nothing was changed.",
                "This maintenance is over, or was cancelled already.",
                "Look at the node's page.",
            ),
        }
    }
}
