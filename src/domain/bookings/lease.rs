//! A lease: units of one node handed to one booking for one half-open window, with an attempt number. The node enforces its
//! end by itself. Rows of their own, because a booking over three nodes has three.
use serde::{Deserialize, Serialize};

use super::booking::{EndCause, Exit};
use crate::base::hardware::Share;
use crate::base::ids::{BookingId, LeaseId, NodeId, UnitId};
use crate::base::window::{Instant, Span, Window};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub id: LeaseId,
    pub booking: BookingId,
    pub node: NodeId,
    pub units: Vec<UnitId>,
    /// Granted time. Billing never exceeds it.
    pub window: Window,
    /// Also kept free on the calendar, after the window: the turnaround.
    pub turnaround: Span,
    pub share: Share,
    pub attempt: u32,
    /// Raised with each change of the window or a stop; the node acknowledges it.
    pub revision: u32,
    /// The revision that the node has acknowledged.
    pub acknowledged: u32,
    pub state: LeaseState,
    /// What its sandbox could not enforce, in the node's words.
    #[serde(default)]
    pub lacking: Vec<String>,
    /// The hardware failed: nothing after its last sign of life is billed.
    #[serde(default)]
    pub proof: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum LeaseState {
    /// On the calendar; the node may prepare.
    Granted,
    /// The node prepares.
    Starting { since: Instant },
    /// Ready by the node's word, since then.
    Ready { since: Instant },
    /// Told to stop.
    Stopping { ready: Option<Instant>, since: Instant, cause: EndCause },
    /// Over: ready from `ready` (if ever) to `at`.
    Ended { ready: Option<Instant>, at: Instant, cause: EndCause, exit: Option<Exit> },
    /// Never became ready.
    Failed { at: Instant, why: String },
}

impl Lease {
    /// What the calendar keeps for it.
    pub fn occupied(&self) -> Window {
        Window::new(self.window.start(), self.window.end().plus(self.turnaround)).unwrap_or(self.window)
    }

    pub const fn is_over(&self) -> bool {
        matches!(self.state, LeaseState::Ended { .. } | LeaseState::Failed { .. })
    }
}
