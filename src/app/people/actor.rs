//! Who somebody is, read from the store: the actor with its rights, and the views of it. It refuses disabled members.
use crate::app::error::{Answer, AppError};
use crate::base::ids::{MemberId, TeamId};
use crate::domain::notice::Common;
use crate::domain::people::member::{Member, Membership, Role, Team};
use crate::domain::people::rights::Actor;
use crate::store::read::{Order, Read, StoreError};
use crate::store::record::Key as _;
use crate::store::tables::Table;
use crate::wire::api::people::{MemberView, TeamRole};

/// Most teams one person is in; more are cut from menus, not from rights.
const TEAMS_LIMIT: usize = 10_000;

/// The actor behind a member, or `None` when the member is unknown or disabled.
pub fn load(view: &impl Read, member: MemberId) -> Result<Option<(Member, Actor)>, StoreError> {
    let Some(record) = view.get::<Member>(&member)? else { return Ok(None) };
    if record.disabled {
        return Ok(None);
    }
    let memberships = memberships(view, member)?;
    let actor = Actor { member, admin: record.admin, memberships };
    Ok(Some((record, actor)))
}

/// A member's memberships, in the order of the teams' making.
pub fn memberships(view: &impl Read, member: MemberId) -> Result<Vec<Membership>, StoreError> {
    view.list_via(Table::MembershipsByMember, &member.bytes(), Order::Ascending, TEAMS_LIMIT)
}

/// What the member may know of itself.
pub fn view_of(view: &impl Read, member: &Member) -> Result<MemberView, StoreError> {
    let mut teams = Vec::new();
    for membership in memberships(view, member.id)? {
        let team = view.must::<Team>(&membership.team)?;
        teams.push(TeamRole {
            team: team.id,
            name: team.name.to_string(),
            role: role_word(membership.role).to_owned(),
        });
    }
    Ok(MemberView {
        id: member.id,
        name: member.name.to_string(),
        email: member.email.to_string(),
        admin: member.admin,
        teams,
    })
}

/// Finds a team by id or name among those the actor sees; others look as if they did not exist.
pub fn team(view: &impl Read, actor: &Actor, given: &str) -> Answer<Team> {
    let found = match given.parse::<TeamId>() {
        Ok(id) => view.get::<Team>(&id)?,
        Err(_) => view.via::<Team>(Table::TeamsByName, &given.trim().to_lowercase())?,
    };
    found.filter(|team| actor.sees(team.id)).ok_or_else(|| AppError::from(Common::NotFound { what: "team" }))
}

pub const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Member => "member",
        Role::Lead => "lead",
    }
}

/// Reads a role's word.
pub fn role(text: &str) -> Result<Role, Common> {
    match text.trim() {
        "member" => Ok(Role::Member),
        "lead" => Ok(Role::Lead),
        _ => Err(Common::BadField { field: "role", why: "A role is “member” or “lead”".to_owned() }),
    }
}
