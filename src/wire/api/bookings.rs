//! Bookings in the API: quote, book, watch, change.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Amount, Moment};
use crate::base::hardware::Share;
use crate::base::ids::{BookingId, LeaseId, MemberId, NodeId, TeamId, UnitId};

/// What is asked for; the same body asks for a quote and for the booking.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BookRequest {
    /// Whole GPUs, or MIG instances where `model` names some.
    pub gpus: u64,
    /// Any whole GPU when absent. A MIG instance is named by its GPU's model and its profile: `H200 1g.18gb`.
    #[serde(default)]
    pub model: Option<String>,
    pub duration_seconds: i64,
    /// Start exactly then. Without it: as soon as possible.
    #[serde(default)]
    pub at: Option<Moment>,
    /// With as soon as possible: be over by then.
    #[serde(default)]
    pub by: Option<Moment>,
    /// Id or name; may be absent for a member of exactly one team.
    #[serde(default)]
    pub team: Option<String>,
    #[serde(default)]
    pub title: Option<String>,
    /// A command makes it a batch; without one it is a workspace.
    #[serde(default)]
    pub command: Option<Vec<String>>,
}

/// What it would be and cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuoteView {
    pub team: TeamId,
    pub team_name: String,
    pub gpus: u32,
    pub model: String,
    pub start: Moment,
    pub end: Moment,
    pub duration_seconds: i64,
    pub lines: Vec<QuoteLine>,
    /// Held until it ends, at most.
    pub price: Amount,
    /// What the team has now, and after this booking.
    pub balance: Amount,
    pub balance_after: Amount,
    /// What comes with the GPUs.
    pub share: Share,
    /// Node on which it would run; provisional.
    pub node: NodeId,
    pub node_name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuoteLine {
    pub text: String,
    pub amount: Amount,
}

/// A slot that would work, offered with a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotOffer {
    pub start: Moment,
    pub end: Moment,
    pub gpus: u32,
    pub model: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BookingView {
    pub id: BookingId,
    pub team: TeamId,
    pub team_name: String,
    pub member: MemberId,
    pub member_name: String,
    pub title: String,
    pub gpus: u32,
    pub model: String,
    pub start: Moment,
    pub end: Moment,
    /// `workspace`, `batch` or `ray`.
    pub workload: String,
    #[serde(default)]
    pub command: Option<Vec<String>>,
    /// `booked`, `starting`, `active`, `ending`, `ended`, `cancelled` or `failed`.
    pub state: String,
    /// Why it is in this state, and what comes next, in a sentence.
    pub explanation: String,
    /// Why it ended.
    #[serde(default)]
    pub cause: Option<String>,
    /// What its command returned; 128 + the signal when one ended it.
    #[serde(default)]
    pub exit_code: Option<i32>,
    pub price: Amount,
    /// Known once it has ended.
    #[serde(default)]
    pub cost: Option<Amount>,
    pub rate_per_gpu_hour: Amount,
    pub share: Share,
    pub leases: Vec<LeaseView>,
    pub created: Moment,
    /// What the reader may do with it now: of `extend`, `release`, `cancel`, `attach`, `logs`.
    pub allowed: Vec<String>,
    pub simulated: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LeaseView {
    pub id: LeaseId,
    pub node: NodeId,
    pub node_name: String,
    pub units: Vec<UnitId>,
    /// Positions on the node.
    pub gpu_indexes: Vec<u32>,
    /// What they are called on the node: `GPU 3`, for a MIG instance `GPU 3:7`.
    #[serde(default)]
    pub gpu_names: Vec<String>,
    /// What its sandbox could not enforce, in sentences; known once it started.
    #[serde(default)]
    pub lacking: Vec<String>,
    pub state: String,
    pub ready_since: Option<Moment>,
    pub ended_at: Option<Moment>,
    pub attempt: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtendRequest {
    pub by_seconds: i64,
}

/// The calendar: who holds which GPU when, as far as the reader may know.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CalendarView {
    pub from: Moment,
    pub until: Moment,
    pub now: Moment,
    pub nodes: Vec<CalendarNode>,
    pub free_now: u32,
    pub total: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CalendarNode {
    pub id: NodeId,
    pub name: String,
    pub model: String,
    pub connected: bool,
    pub units: Vec<CalendarUnit>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CalendarUnit {
    pub id: UnitId,
    pub index: u32,
    /// What it is called on its node: `GPU 3`, for a MIG instance `GPU 3:7`.
    pub name: String,
    pub model: String,
    /// Of a MIG instance: how many eighths of its GPU it is.
    #[serde(default)]
    pub eighths: Option<u32>,
    /// Set while it cannot be booked.
    pub out_of_service: Option<String>,
    pub busy: Vec<CalendarBusy>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CalendarBusy {
    pub start: Moment,
    pub end: Moment,
    /// Of the reader's own or teams' bookings the title; of others the team's name.
    pub label: String,
    pub mine: bool,
    /// Only where the reader may open it.
    pub booking: Option<BookingId>,
    /// Nobody's booking: the node is out of the calendar then.
    #[serde(default)]
    pub maintenance: bool,
    /// Nobody's booking: a process was on the GPU without one. It can be booked all the same.
    #[serde(default)]
    pub outside: bool,
}

/// A one-use ticket for a terminal's WebSocket, good for 30 seconds.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TicketAnswer {
    /// Path and query to connect to on this server.
    pub path: String,
}

/// A piece of a booking's log: the data of `event: log` while it is followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogChunk {
    /// Where in the log its first byte stands.
    pub offset: u64,
    /// The bytes themselves, in base 64: a log need not be text.
    pub bytes: String,
}

/// Nothing more comes: the data of `event: end`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogEnd {
    /// What the command returned; 128 + the signal when one ended it. `null` where there is none.
    pub exit_code: Option<i32>,
    pub said: String,
}
