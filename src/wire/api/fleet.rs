//! Machines in the API.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Moment;
use crate::base::hardware::ObservedNode;
use crate::base::ids::{BookingId, MaintenanceId, NodeId, PoolId, UnitId};

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NodeView {
    pub id: NodeId,
    pub name: String,
    pub pool: String,
    pub owner: Option<String>,
    /// `pending`, `admitted`, `closed`, `revoked` or `retired`.
    pub state: String,
    /// Why, in a sentence, where there is something to say.
    pub state_note: Option<String>,
    /// `open`, `cordoned` (takes no new bookings) or `draining` (runs empty besides).
    pub duty: String,
    /// Announced and not over, by start.
    pub maintenance: Vec<MaintenanceView>,
    /// Leases on it that are not over, and when the last of them has left it.
    pub leases: u32,
    pub last_lease_ends: Option<Moment>,
    pub connected: bool,
    pub last_contact: Option<Moment>,
    pub local: bool,
    pub simulated: bool,
    pub gpus: Vec<GpuView>,
    #[schema(value_type = Object)]
    pub observed: ObservedNode,
}

/// A stretch in which a node is out of the calendar.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MaintenanceView {
    pub id: MaintenanceId,
    pub start: Moment,
    pub end: Moment,
    pub why: String,
}

/// A change of what a node takes.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DutyRequest {
    /// `open`, `cordoned` or `draining`.
    pub duty: String,
    /// Why; needed unless it opens.
    #[serde(default)]
    pub why: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceRequest {
    pub start: Moment,
    pub end: Moment,
    pub why: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameRequest {
    pub name: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveRequest {
    /// The pool's name or id.
    pub pool: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetireRequest {
    pub why: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PoolView {
    pub id: PoolId,
    pub name: String,
    /// Nodes that join it are bookable without an admin's word.
    pub auto_admit: bool,
    pub nodes: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct GpuView {
    pub id: UnitId,
    pub node: NodeId,
    pub node_name: String,
    pub index: u32,
    pub uuid: String,
    pub model: String,
    pub memory_bytes: u64,
    /// `free`, `leased`, `unknown` (its node is away) or `out_of_service`.
    pub state: String,
    pub state_note: Option<String>,
    /// Whose lease it is in now, where the reader may know.
    pub booking: Option<BookingId>,
    /// Until when it stays as it is.
    pub until: Option<Moment>,
}
