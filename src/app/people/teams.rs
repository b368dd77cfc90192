//! Teams: making one, and its page. It refuses two teams of one name.
use crate::app::error::Answer;
use crate::app::ids;
use crate::app::mill::Mill;
use crate::app::people::{actor, invite, setup};
use crate::base::ids::TeamId;
use crate::base::text::Name;
use crate::base::window::Instant;
use crate::domain::event::{Cause, Event};
use crate::domain::people::member::{Invitation, Member, Membership, Role, Team};
use crate::domain::people::refusal::PeopleRefusal;
use crate::domain::people::rights::Actor;
use crate::store::changes::Changes;
use crate::store::read::{Order, Read};
use crate::store::record::Key as _;
use crate::store::tables::Table;
use crate::store::{Command, IdempotencyKey, View};
use crate::wire::api::people::{TeamMember, TeamRole, TeamView};

const LIMIT: usize = 10_000;

/// The teams that the actor sees: all for an admin, else its own.
pub fn list(view: &impl Read, who: &Actor) -> Answer<Vec<TeamRole>> {
    let teams: Vec<Team> = view.list(&[], Order::Ascending, LIMIT)?;
    let shown = teams.into_iter().filter(|team| who.sees(team.id)).map(|team| TeamRole {
        team: team.id,
        role: who.role_in(team.id).map_or("", actor::role_word).to_owned(),
        name: team.name.to_string(),
    });
    Ok(shown.collect())
}

/// A team with its people and open invitations.
pub fn show(view: &impl Read, who: &Actor, given: &str, now: Instant) -> Answer<TeamView> {
    let team = actor::team(view, who, given)?;
    let mut members = Vec::new();
    for membership in view.list::<Membership>(&team.id.bytes(), Order::Ascending, LIMIT)? {
        let member: Member = view.must(&membership.member)?;
        members.push(TeamMember {
            id: member.id,
            name: member.name.to_string(),
            email: member.email.to_string(),
            role: actor::role_word(membership.role).to_owned(),
            since: membership.since.into(),
        });
    }
    let open: Vec<Invitation> = view.list_via(Table::InvitationsByTeam, &team.id.bytes(), Order::Ascending, LIMIT)?;
    let may_see = who.invites(team.id, Role::Member);
    let invitations = open
        .iter()
        .filter(|invitation| may_see && now < invitation.expires)
        .map(|invitation| invite::shown(invitation, false))
        .collect();
    Ok(TeamView { id: team.id, name: team.name.to_string(), cost_centre: team.cost_centre, members, invitations })
}

/// Makes a team; admins only. Its maker is its first lead.
pub async fn create(
    mill: &Mill,
    who: &Actor,
    name: Name,
    cost_centre: Option<String>,
    key: Option<IdempotencyKey>,
) -> Answer<TeamId> {
    if !who.admin {
        return Err(PeopleRefusal::Denied { what: "make teams", who_may: "admins" }.into());
    }
    let (id, member) = (TeamId::from_u128(ids::fresh()), who.member);
    let command = Command::new(Cause::Member(member)).maybe_keyed(key, &("team", &name, &cost_centre));
    let decide = move |view: &View<'_>, now| {
        if view.via::<Team>(Table::TeamsByName, &name.key())?.is_some() {
            return Err(PeopleRefusal::NameTaken { field: "name" }.into());
        }
        let mut changes = Changes::new();
        let team =
            Team { id, name: name.clone(), cost_centre: cost_centre.clone(), separate_entity: false, created: now };
        setup::put_team(&mut changes, &team);
        setup::put_membership(&mut changes, &Membership { team: id, member, role: Role::Lead, since: now });
        changes.event(Cause::Member(member), Event::TeamCreated { team: id });
        Ok((changes, id))
    };
    Ok(mill.store.write(command, decide).await?)
}
