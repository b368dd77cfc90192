//! Use of GPUs outside bookings in the API.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Amount, Moment};
use crate::base::ids::{MemberId, NodeId, TeamId, TransferId, UnitId, UseId};

/// A process that is, or was, on GPUs without a booking.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UseView {
    pub id: UseId,
    pub node: NodeId,
    pub node_name: String,
    pub pool: String,
    pub gpus: Vec<UsedGpu>,
    pub pid: u32,
    /// The Unix user, by name and by number, where the node could tell.
    pub user: Option<String>,
    pub uid: Option<u32>,
    pub program: Option<String>,
    /// Whose Unix user it is, by an admin's word.
    pub member: Option<MemberId>,
    pub member_name: Option<String>,
    pub first: Moment,
    pub last: Moment,
    /// `here`, `ending` (its node was told to end it), `refused` (its node did not), `unheard` (its node is silent),
    /// `gone`, `ended`, `restarted` or `forgotten`.
    pub state: String,
    /// What that means, and what becomes of it.
    pub note: String,
    /// What is billed of it and was not given back.
    pub billed: Amount,
    pub bills: Vec<UseBillView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsedGpu {
    pub id: UnitId,
    pub index: u32,
    pub model: String,
}

/// Time of one GPU that was billed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UseBillView {
    pub gpu: UnitId,
    pub start: Moment,
    pub end: Moment,
    pub seconds: i64,
    pub rate: Amount,
    pub amount: Amount,
    pub team: TeamId,
    pub team_name: String,
    pub transfer: TransferId,
    /// Why it was given back, where it was.
    pub voided: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VoidRequest {
    pub why: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct VoidAnswer {
    pub given_back: Amount,
}

/// Whose a Unix user is.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UnixUserView {
    /// Number or name.
    pub user: String,
    /// The pool that it holds in; everywhere without one.
    pub pool: Option<String>,
    pub member: MemberId,
    pub member_name: String,
    /// Who pays.
    pub team: TeamId,
    pub team_name: String,
    /// Whether the member may still sign in and is in that team; otherwise nobody is billed.
    pub holds: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnixUserRequest {
    /// A number or a name.
    pub user: String,
    /// Id or address of the member.
    pub member: String,
    /// Id or name of the team that pays; the member's first one without it.
    #[serde(default)]
    pub team: Option<String>,
    /// Id or name of the pool that it holds in; everywhere without one.
    #[serde(default)]
    pub pool: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnixUserNamed {
    /// A number or a name.
    pub user: String,
    #[serde(default)]
    pub pool: Option<String>,
}
