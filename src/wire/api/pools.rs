//! Pools in the API.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Amount, Moment};
use crate::base::ids::{BookingId, NodeId, PoolId};

/// A pool with everything that holds in it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PoolDetail {
    pub id: PoolId,
    pub name: String,
    /// Counts the changes; a change may name the one that it was made to.
    pub revision: u32,
    pub policy: PolicyView,
    pub nodes: Vec<PoolNode>,
    pub models: Vec<PoolModel>,
    /// Who is on it now, as far as the reader may know.
    pub now: Vec<PoolUser>,
}

/// What holds in a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyView {
    /// Nodes that join are bookable without an admin's word.
    pub auto_admit: bool,
    /// Kept free after each lease, billed to nobody.
    pub turnaround_seconds: i64,
    /// From SIGTERM to SIGKILL.
    pub grace_seconds: i64,
    /// The longest booking.
    pub longest_seconds: i64,
    /// How far ahead a booking may start.
    pub horizon_seconds: i64,
    /// What becomes of use outside bookings: `notify`, `end` or `bill`.
    pub unbooked: String,
    /// With `end`: how long after it was first seen.
    pub unbooked_after_seconds: Option<i64>,
    /// Processes are ended on a GPU whose booking is about to start or runs.
    pub unbooked_clear: bool,
    /// Processes of root and of system accounts are ended like others.
    pub unbooked_system: bool,
    /// With `bill`: the most that one person is billed in a day (UTC).
    pub unbooked_most_a_day: Amount,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolNode {
    pub id: NodeId,
    pub name: String,
    pub state: String,
    pub connected: bool,
    pub gpus: u32,
}

/// GPUs of one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolModel {
    pub model: String,
    pub gpus: u32,
    pub free_now: u32,
    /// Credits per GPU and hour.
    pub rate: Amount,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolUser {
    pub team: String,
    /// Only where the reader may open it.
    pub booking: Option<BookingId>,
    pub title: Option<String>,
    pub node: NodeId,
    pub node_name: String,
    pub gpus: u32,
    pub until: Moment,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolRequest {
    pub name: String,
    #[serde(default)]
    pub auto_admit: bool,
}

/// A change of a pool: what is named is changed, the rest stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolChange {
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub auto_admit: Option<bool>,
    #[serde(default)]
    pub turnaround_seconds: Option<i64>,
    #[serde(default)]
    pub grace_seconds: Option<i64>,
    #[serde(default)]
    pub longest_seconds: Option<i64>,
    #[serde(default)]
    pub horizon_seconds: Option<i64>,
    /// `notify`, `end` or `bill`.
    #[serde(default)]
    pub unbooked: Option<String>,
    #[serde(default)]
    pub unbooked_after_seconds: Option<i64>,
    #[serde(default)]
    pub unbooked_clear: Option<bool>,
    #[serde(default)]
    pub unbooked_system: Option<bool>,
    /// Credits, such as `100` or `12.50`.
    #[serde(default)]
    pub unbooked_most_a_day: Option<String>,
    /// Why; it stays in the pool's history.
    #[serde(default)]
    pub why: String,
    /// The revision that was looked at; where it is given and another holds by now, nothing is changed.
    #[serde(default)]
    pub revision: Option<u32>,
    /// Only say what it would change.
    #[serde(default)]
    pub preview: bool,
}

/// What a change does, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolChanged {
    pub id: PoolId,
    pub name: String,
    pub revision: u32,
    /// Each figure that changes, before and after.
    pub changes: Vec<String>,
    /// What follows for what is booked and for what runs, a sentence each.
    pub follows: Vec<String>,
    /// Whether it was done.
    pub done: bool,
}
