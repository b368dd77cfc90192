//! Members, teams, and how they belong together. It refuses to decide rights; those are in `rights`.
use serde::{Deserialize, Serialize};

use crate::base::ids::{InvitationId, MemberId, NoticeId, SessionId, TeamId, TokenId};
use crate::base::secret::SecretHash;
use crate::base::text::{Email, Name};
use crate::base::window::Instant;

/// A person with an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub id: MemberId,
    pub email: Email,
    pub name: Name,
    /// PHC string of argon2id.
    pub password: String,
    /// Administers the installation.
    pub admin: bool,
    pub disabled: bool,
    /// Unix uid and gid on nodes: one per member, so that files keep their owner. From 20000 upward.
    pub uid: u32,
    pub created: Instant,
}

/// What a member may do within a team.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Books and works.
    Member,
    /// Also invites, and ends the team's bookings.
    Lead,
}

/// Who pays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Team {
    pub id: TeamId,
    pub name: Name,
    pub cost_centre: Option<String>,
    /// A legal entity of its own gets tax invoices; everyone else internal charges.
    pub separate_entity: bool,
    pub created: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    pub team: TeamId,
    pub member: MemberId,
    pub role: Role,
    pub since: Instant,
}

/// A link that lets one person join one team in one role, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    pub id: InvitationId,
    pub email: Email,
    pub team: TeamId,
    pub role: Role,
    pub token: SecretHash,
    pub invited_by: MemberId,
    pub expires: Instant,
    pub state: InvitationState,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum InvitationState {
    Open,
    Accepted { member: MemberId, at: Instant },
    Revoked { at: Instant },
}

/// A browser that is signed in. The token itself is only in its cookie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub id: SessionId,
    pub member: MemberId,
    pub token: SecretHash,
    pub created: Instant,
    pub last_seen: Instant,
    pub expires: Instant,
    /// What the browser called itself, for the list of sessions.
    pub agent: String,
}

/// What a token is good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// What the member can.
    #[default]
    Everything,
    /// Reading /metrics, as long as its maker is an admin.
    Scrape,
}

/// An API token of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiToken {
    pub id: TokenId,
    pub member: MemberId,
    pub label: String,
    pub token: SecretHash,
    pub created: Instant,
    pub expires: Instant,
    #[serde(default)]
    pub scope: Scope,
}

/// A message to one member, always on the page, by mail where SMTP is set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    pub id: NoticeId,
    pub member: MemberId,
    pub at: Instant,
    pub subject: String,
    pub text: String,
    /// Path on this server where the matter can be dealt with.
    pub link: Option<String>,
    pub read: bool,
}
