//! People in the API: signing in, status, invitations.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Moment;
use crate::base::ids::{InvitationId, MemberId, TeamId};

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    pub email: String,
    #[schema(format = Password)]
    pub password: String,
    /// What the token is called in the list of tokens; the host's name, say.
    #[serde(default)]
    pub label: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LoginAnswer {
    /// Shown once; send it as `Authorization: Bearer …`.
    pub token: String,
    pub expires: Moment,
    pub member: MemberView,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemberView {
    pub id: MemberId,
    pub name: String,
    pub email: String,
    pub admin: bool,
    pub teams: Vec<TeamRole>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TeamRole {
    pub team: TeamId,
    pub name: String,
    /// `member` or `lead`.
    pub role: String,
}

/// Team with its people, for the team page.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TeamView {
    pub id: TeamId,
    pub name: String,
    pub cost_centre: Option<String>,
    pub members: Vec<TeamMember>,
    pub invitations: Vec<InvitationView>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TeamMember {
    pub id: MemberId,
    pub name: String,
    pub email: String,
    pub role: String,
    pub since: Moment,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StatusAnswer {
    pub organisation: String,
    /// Whether the whole installation only simulates GPUs.
    pub simulated: bool,
    /// `showback` or `chargeback`.
    pub mode: String,
    pub currency: String,
    pub time_zone: String,
    pub version: String,
    pub now: Moment,
    pub nodes: u32,
    pub nodes_connected: u32,
    pub gpus: u32,
    pub gpus_free_now: u32,
    pub gpus_out_of_service: u32,
    pub writable: bool,
    pub member: MemberView,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InviteRequest {
    pub email: String,
    /// Id or name of the team.
    pub team: String,
    /// `member` or `lead`.
    pub role: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct InvitationView {
    pub id: InvitationId,
    pub email: String,
    pub team: TeamId,
    pub role: String,
    pub expires: Moment,
    /// Only in the answer that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Whether a mail was queued as well.
    pub mailed: bool,
}
