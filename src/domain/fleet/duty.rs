//! What admins ask of a node beside its membership: to take no new leases, to run empty, to be out of the calendar for a
//! while. All of it is the mill's own state, with who asked and why. It refuses to touch work that runs; bookings decide
//! what becomes of theirs.
use serde::{Deserialize, Serialize};

use crate::base::ids::{BookingId, MaintenanceId, MemberId, NodeId};
use crate::base::window::{Instant, Span, Window};

/// Shortest and longest reason, in characters: long enough to say something, short enough for a table.
pub const REASON: std::ops::RangeInclusive<usize> = 3..=200;

/// Whether a node takes new leases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Duty {
    #[default]
    Open,
    /// Takes no new leases; what is booked on it stays and runs.
    Cordoned { since: Instant, by: MemberId, why: String },
    /// Takes no new leases, and what is booked on it moves to equal hardware where there is room; what runs, runs out.
    Draining { since: Instant, by: MemberId, why: String },
}

impl Duty {
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// The word people read.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Cordoned { .. } => "cordoned",
            Self::Draining { .. } => "draining",
        }
    }
}

/// A stretch in which a node is out of the calendar, announced ahead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    pub id: MaintenanceId,
    pub node: NodeId,
    pub window: Window,
    pub why: String,
    pub by: MemberId,
    pub announced: Instant,
    pub cancelled: Option<Instant>,
    /// Whose bookings were in the way and could not be moved at once: they were told, and are not told again.
    pub told: Vec<BookingId>,
}

/// A booking in the way of maintenance is tried elsewhere until so long before it; then it is given back free of charge.
pub const LAST_CALL: Span = Span::from_hours(1);
/// The longest maintenance: longer than that is a node that should be retired.
pub const LONGEST: Span = Span::from_days(31);

impl Maintenance {
    /// Blocks the calendar now or later.
    pub fn stands(&self, now: Instant) -> bool {
        self.cancelled.is_none() && self.window.end() > now
    }
}

/// The brake: nodes that vanish in such number at once are a fault of the network or of the mill, not of the nodes.
/// Counted over [`BRAKE_WITHIN`], from three nodes up and above a fifth of the fleet.
pub const BRAKE_WITHIN: Span = Span::from_minutes(5);
const BRAKE_NODES: usize = 3;
const BRAKE_SHARE: usize = 5;

/// Whether so many losses within [`BRAKE_WITHIN`] stop automatic consequences in a fleet of `nodes`.
pub const fn brakes(lost: usize, nodes: usize) -> bool {
    lost >= BRAKE_NODES && lost * BRAKE_SHARE > nodes
}

/// The brake is on: nothing is ended or given up for want of a node's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brake {
    pub since: Instant,
    /// How many nodes were lost, of how many.
    pub lost: usize,
    pub nodes: usize,
}

#[cfg(test)]
mod tests {
    use super::brakes;

    #[test]
    fn the_brake_counts_from_three_nodes_and_above_a_fifth() {
        for (lost, nodes, stops) in [
            (1, 1, false),
            (2, 2, false),
            (3, 3, true),
            (3, 14, true),
            (3, 15, false),
            (20, 100, false),
            (21, 100, true),
        ] {
            assert_eq!(brakes(lost, nodes), stops, "{lost} of {nodes}");
        }
    }
}
