//! Machines in the API.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Moment;
use crate::base::hardware::ObservedNode;
use crate::base::ids::{BookingId, JoinTokenId, MaintenanceId, NodeId, PoolId, UnitId};
use crate::base::preflight::Finding;

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
    /// What the sandboxes of its present leases could not enforce, in sentences, each once.
    #[serde(default)]
    pub lacking: Vec<String>,
    #[schema(value_type = Object)]
    pub observed: ObservedNode,
    /// The node's program; `None` before it connected.
    #[serde(default)]
    pub agent: Option<AgentView>,
}

/// What program a node's agent is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentView {
    pub version: String,
    /// `same`, `other`, `other_protocol` (it cannot connect like this), `upgrading` or `failed`.
    pub state: String,
    /// What that means, where there is something to say.
    pub note: Option<String>,
    /// Machines that came with this node's key while it was there, since the server started.
    pub doubles: u64,
}

/// Wish that a node's agent become the mill's version.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpgradeRequest {
    /// Also when it says that it is that version.
    #[serde(default)]
    pub again: bool,
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
    /// What it is called on its node: `GPU 3`, for a MIG instance its GPU and the driver's number of it, `GPU 3:7`.
    #[serde(default)]
    pub name: String,
    pub uuid: String,
    /// What it is booked by; for a MIG instance the GPU's model and the profile, `H200 1g.18gb`.
    pub model: String,
    /// Of a MIG instance: how many eighths of its GPU it is, in price and in its share of the node.
    #[serde(default)]
    pub eighths: Option<u32>,
    pub memory_bytes: u64,
    /// `free`, `leased`, `unknown` (its node is away), `out_of_service`, or `replaced` (a GPU that is cut into MIG
    /// instances, or an instance whose GPU is whole again).
    pub state: String,
    pub state_note: Option<String>,
    /// Whose lease it is in now, where the reader may know.
    pub booking: Option<BookingId>,
    /// Until when it stays as it is.
    pub until: Option<Moment>,
}

/// What a new machine shall be.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinTokenRequest {
    /// Id or name of the pool; empty where there is one.
    pub pool: String,
    /// Id or name of the team that owns the machine; the organisation without it.
    #[serde(default)]
    pub owner_team: Option<String>,
    /// The node's name; its host name without it.
    #[serde(default)]
    pub name: Option<String>,
}

/// How far the machine is that a join token was made for.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct JoinTokenView {
    pub id: JoinTokenId,
    pub pool: String,
    /// Whether the node is admitted as soon as it joins.
    pub auto_admit: bool,
    pub owner_team: Option<String>,
    pub name: Option<String>,
    /// `waiting`, `contacted`, `checked`, `stopped` (something on the machine is in the way), `pending` (joined, waits for
    /// an admin), `admitted`, `revoked` or `expired`.
    pub state: String,
    pub expires: Moment,
    /// The machine that showed it.
    pub hostname: Option<String>,
    pub last_heard: Option<Moment>,
    pub findings: Vec<Finding>,
    pub node: Option<JoinedNode>,
    /// The token itself; only in the answer that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The line to paste on the machine; only in the answer that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JoinedNode {
    pub id: NodeId,
    pub name: String,
}

/// Join tokens for several machines.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinTokensRequest {
    /// 1 to 1000.
    pub count: u32,
    /// Id or name of the pool; the first one without it.
    #[serde(default)]
    pub pool: Option<String>,
    /// Id or name of the team that will own the machines.
    #[serde(default)]
    pub owner: Option<String>,
    /// Whether they are admitted without another word.
    #[serde(default)]
    pub admit: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct JoinTokensAnswer {
    /// Each good for one machine, once; shown here alone.
    pub tokens: Vec<String>,
    pub expires: Moment,
    /// SHA-256 of the mill's root, for agents to pin.
    pub ca_fingerprint: String,
}
