//! Who may do what: the ladder of rights, decided from an actor's memberships. It refuses exceptions by name or id.
use crate::base::ids::{MemberId, TeamId};
use crate::domain::people::member::{Membership, Role};

/// The person (or the host's operator) on whose behalf something happens, with what rights follow from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    pub member: MemberId,
    pub admin: bool,
    pub memberships: Vec<Membership>,
}

impl Actor {
    pub fn role_in(&self, team: TeamId) -> Option<Role> {
        self.memberships.iter().find(|m| m.team == team).map(|m| m.role)
    }

    /// Sees the team's bookings and money.
    pub fn sees(&self, team: TeamId) -> bool {
        self.admin || self.role_in(team).is_some()
    }

    /// Books at the team's cost. Admins need membership too: spending a team's credits is the team's right.
    pub fn books_for(&self, team: TeamId) -> bool {
        self.role_in(team).is_some()
    }

    /// Changes a booking made by `owner` for `team`.
    pub fn manages_booking(&self, team: TeamId, owner: MemberId) -> bool {
        self.admin || self.role_in(team).is_some_and(|role| owner == self.member || role == Role::Lead)
    }

    /// Opens a shell in a booking: its own member alone, since the home is theirs.
    pub fn works_in(&self, team: TeamId, owner: MemberId) -> bool {
        owner == self.member && self.role_in(team).is_some()
    }

    /// Invites into the team with the given role; never above one's own.
    pub fn invites(&self, team: TeamId, role: Role) -> bool {
        self.admin || self.role_in(team).is_some_and(|own| own == Role::Lead && role <= own)
    }
}
