//! A booking: what a person asks for and how far it has come. Reservation and queued job are the same object with a
//! different *when*. States carry their data; a transition that is not listed is refused.
use serde::{Deserialize, Serialize};

use crate::base::credits::Credits;
use crate::base::hardware::Share;
use crate::base::ids::{BookingId, LeaseId, MemberId, TeamId};
use crate::base::window::{Instant, Span, Window};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Any whole GPUs when `None`; MIG instances are named (`H200 1g.18gb`).
    pub model: Option<String>,
    /// Whole GPUs or instances, as the model says.
    pub gpus: u32,
    pub shape: AskShape,
    pub when: When,
    pub workload: Workload,
    pub title: String,
}

/// How the GPUs or instances must lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum AskShape {
    /// All on one node.
    #[default]
    OneNode,
    /// `per_node` on each of several nodes.
    Spread { per_node: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum When {
    At { window: Window },
    AsSoonAsPossible { duration: Span, not_before: Option<Instant>, deadline: Option<Instant> },
}

/// What runs in the leases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Workload {
    /// A person works in it.
    Workspace,
    Batch {
        command: Vec<String>,
    },
    /// A Ray cluster over all leases.
    Ray,
}

/// A booking as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booking {
    pub id: BookingId,
    pub team: TeamId,
    pub member: MemberId,
    pub ask: Ask,
    /// What is promised.
    pub window: Window,
    /// What is promised to be given out, per lease.
    pub share: Share,
    /// The most it can cost, all holds together.
    pub held: Credits,
    /// The rate version it pins: model, and the version's number.
    pub rate: RatePin,
    pub leases: Vec<LeaseId>,
    /// Counts placements: a booking that is placed anew gets new leases.
    pub attempt: u32,
    pub state: BookingState,
    pub created: Instant,
    /// Which warnings before the end were sent, in minutes.
    #[serde(default)]
    pub warned: Vec<u32>,
    /// When the mill next has to look at it by itself; `None` once there is nothing left to do.
    #[serde(default)]
    pub due: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RatePin {
    pub model: String,
    pub version: u32,
    /// Credits per GPU and hour.
    pub per_gpu_hour: Credits,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum BookingState {
    /// Placed and paid for; its time has not come.
    Booked,
    /// Its time has come; nodes prepare. `late` says why when it takes longer than promised.
    Starting { since: Instant, late: Option<String> },
    /// Handed over: charging since `since`.
    Active { since: Instant },
    /// Being taken back.
    Ending { since: Instant, cause: EndCause },
    /// Over and settled.
    Ended { at: Instant, cause: EndCause, exit: Option<Exit>, cost: Credits },
    /// Given up before it began; nothing was charged.
    Cancelled { at: Instant },
    /// The mill could not deliver; nothing or only what was delivered was charged.
    Failed { at: Instant, why: String, cost: Credits },
}

/// Why a booking ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndCause {
    /// Its window is over.
    TimeUp,
    /// The command came to its end.
    Finished,
    /// Given back early.
    Released,
    /// The node or its workload was lost.
    Lost,
    /// Ended by an admin.
    Stopped,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

impl BookingState {
    /// Occupies time on the calendar.
    pub const fn is_live(&self) -> bool {
        matches!(self, Self::Booked | Self::Starting { .. } | Self::Active { .. } | Self::Ending { .. })
    }

    /// The word people read.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Booked => "booked",
            Self::Starting { .. } => "starting",
            Self::Active { .. } => "active",
            Self::Ending { .. } => "ending",
            Self::Ended { .. } => "ended",
            Self::Cancelled { .. } => "cancelled",
            Self::Failed { .. } => "failed",
        }
    }
}
