//! Invitations: a link that lets one person join one team in one role, once, soon. It refuses to reuse a link and to let
//! anybody invite above their own role.
use serde::{Deserialize, Serialize};

use crate::app::error::Answer;
use crate::app::ids;
use crate::app::mail::letter::{self, Letter};
use crate::app::mill::Mill;
use crate::app::people::notices::Post;
use crate::app::people::{actor, notices, setup};
use crate::base::ids::{InvitationId, MemberId, NoticeId, TeamId};
use crate::base::secret::{Secret, SecretHash};
use crate::base::text::{Email, Name};
use crate::base::window::{Instant, Span};
use crate::domain::event::{Cause, Event};
use crate::domain::notice::Common;
use crate::domain::people::member::{Invitation, InvitationState, Member, Membership, Team};
use crate::domain::people::refusal::PeopleRefusal;
use crate::domain::people::rights::Actor;
use crate::store::changes::Changes;
use crate::store::people::{FIRST_UID, NextUid};
use crate::store::read::Read;
use crate::store::tables::Table;
use crate::store::{Command, IdempotencyKey, Reject, View};
use crate::wire::api::people::{InvitationView, InviteRequest};

/// An invitation waits so long: over a weekend and a holiday.
pub const VALID: Span = Span::from_days(7);

/// What an invitation's page shows before it is accepted.
#[derive(Clone, Debug)]
pub struct Offer {
    pub email: Email,
    pub team_name: String,
    pub invited_by: String,
    pub expires: Instant,
    /// Somebody with this address has an account already: they only confirm with their password.
    pub known: bool,
}

/// Invites a person; the answer holds the link, which is shown once and mailed where mail is set up.
pub async fn invite(
    mill: &Mill,
    who: &Actor,
    request: InviteRequest,
    key: Option<IdempotencyKey>,
) -> Answer<InvitationView> {
    let email: Email = request
        .email
        .parse()
        .map_err(|why: crate::base::text::BadText| Common::BadField { field: "email", why: why.to_string() })?;
    let role = actor::role(&request.role)?;
    let team = actor::team(&mill.store.read()?, who, &request.team)?;
    if !who.invites(team.id, role) {
        return Err(
            PeopleRefusal::Denied { what: "invite people into this team", who_may: "its leads and admins" }.into()
        );
    }
    let secret = Secret::from_bytes(&ids::random_256());
    let id = InvitationId::from_u128(ids::fresh());
    let path = format!("/join/{id}.{}", secret.expose());
    let link = mill.url(&path);
    let command = Command::new(Cause::Member(who.member)).maybe_keyed(key, &("invite", &email, team.id, role));
    let (inviter, token, mill_then) = (who.member, secret.hash(), mill.clone());
    let decide = move |view: &View<'_>, now: Instant| {
        let offer = Invitation {
            id,
            email: email.clone(),
            team: team.id,
            role,
            token,
            invited_by: inviter,
            expires: now.plus(VALID),
            state: InvitationState::Open,
        };
        decide_invite(view, &team, &offer, mill_then.post(), &path)
    };
    let mut made: InvitationView = mill.store.write(command, decide).await?;
    // A replayed request gets the stored answer, whose link was never stored: only the first answer carries one.
    made.link = (made.id == id).then_some(link);
    mill.outbox.notify_one();
    Ok(made)
}

fn decide_invite(
    view: &impl Read,
    team: &Team,
    offer: &Invitation,
    post: Post<'_>,
    path: &str,
) -> Result<(Changes, InvitationView), Reject> {
    let known: Option<Member> = view.via(Table::MembersByEmail, &offer.email.as_str())?;
    if let Some(member) = known
        && view.get::<Membership>(&(team.id, member.id))?.is_some()
    {
        return Err(PeopleRefusal::AlreadyMember.into());
    }
    let mut changes = Changes::new();
    changes.put(offer).index(Table::InvitationsByTeam, &(team.id, offer.id), &offer.id);
    let inviter = view.must::<Member>(&offer.invited_by)?;
    let letter = Letter::Invitation(letter::Invitation {
        inviter: inviter.name.as_str().into(),
        team: team.name.as_str().into(),
        role: actor::role_word(offer.role).into(),
        expires: format!("{} days from now", VALID.as_seconds() / 86_400).into(),
        path: path.to_owned(),
    });
    let id = NoticeId::from_u128(ids::fresh());
    let mailed = notices::queue(view, &mut changes, post, id, ("", &offer.email), &letter)?;
    changes.event(Cause::Member(offer.invited_by), Event::MemberInvited { invitation: offer.id, team: team.id });
    Ok((changes, shown(offer, mailed)))
}

/// How an invitation is listed; without its link.
pub fn shown(invitation: &Invitation, mailed: bool) -> InvitationView {
    InvitationView {
        id: invitation.id,
        email: invitation.email.to_string(),
        team: invitation.team,
        role: actor::role_word(invitation.role).to_owned(),
        expires: invitation.expires.into(),
        link: None,
        mailed,
    }
}

/// Reads what a link offers, when it still works.
pub fn offer(view: &impl Read, link: &str, now: Instant) -> Answer<Offer> {
    let (id, token) = parse(link)?;
    let invitation = open(view, id, token, now)?;
    let known = view.via::<Member>(Table::MembersByEmail, &invitation.email.as_str())?.is_some();
    Ok(Offer {
        team_name: view.must::<Team>(&invitation.team)?.name.to_string(),
        invited_by: view.must::<Member>(&invitation.invited_by)?.name.to_string(),
        email: invitation.email,
        expires: invitation.expires,
        known,
    })
}

/// Who joined where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    pub member: MemberId,
    pub team: TeamId,
}

/// Accepts an invitation: a new person chooses name and password, a known one proves to be it with theirs.
pub async fn accept(mill: &Mill, link: &str, name: Option<Name>, password: Secret) -> Answer<Joined> {
    let now = crate::clock::now();
    let (id, token) = parse(link)?;
    let (invitation, known) = {
        let view = mill.store.read()?;
        let invitation = open(&view, id, token, now)?;
        let known: Option<Member> = view.via(Table::MembersByEmail, &invitation.email.as_str())?;
        (invitation, known)
    };
    let hashed = match &known {
        Some(_) => {
            super::signin::check_credentials(mill, invitation.email.as_str(), password, None).await?;
            None
        }
        None => Some(mill.passwords.hash(password).await?),
    };
    let newcomer = match (hashed, name) {
        (Some(password), Some(name)) => Some((password, name)),
        (Some(_), None) => return Err(Common::BadField { field: "name", why: "Your name is needed".to_owned() }.into()),
        (None, _) => None,
    };
    let fresh = MemberId::from_u128(ids::fresh());
    let decide = move |view: &View<'_>, now: Instant| decide_accept(view, id, token, newcomer.clone(), fresh, now);
    Ok(mill.store.write(Command::new(Cause::Anonymous), decide).await?)
}

fn decide_accept(
    view: &impl Read,
    id: InvitationId,
    token: SecretHash,
    newcomer: Option<(String, Name)>,
    fresh: MemberId,
    now: Instant,
) -> Result<(Changes, Joined), Reject> {
    let mut invitation = open(view, id, token, now)?;
    let mut changes = Changes::new();
    let known: Option<Member> = view.via(Table::MembersByEmail, &invitation.email.as_str())?;
    let member = match (known, newcomer) {
        (Some(member), None) => member.id,
        // Somebody took the address in between: start over, as a known person.
        (Some(_), Some(_)) => return Err(PeopleRefusal::EmailTaken.into()),
        (None, None) => return Err(PeopleRefusal::LinkSpent.into()),
        (None, Some((password, name))) => {
            let uid = view.get::<NextUid>(&NextUid::KEY)?.map_or(FIRST_UID, |next| next.0);
            changes.put(&NextUid(uid + 1));
            let email = invitation.email.clone();
            let member = Member { id: fresh, email, name, password, admin: false, disabled: false, uid, created: now };
            setup::put_member(&mut changes, &member);
            fresh
        }
    };
    let membership = Membership { team: invitation.team, member, role: invitation.role, since: now };
    setup::put_membership(&mut changes, &membership);
    invitation.state = InvitationState::Accepted { member, at: now };
    changes.put(&invitation).unindex(Table::InvitationsByTeam, &(invitation.team, invitation.id));
    changes.event(Cause::Member(member), Event::MemberJoined { member, team: invitation.team });
    Ok((changes, Joined { member, team: invitation.team }))
}

/// Withdraws an invitation.
pub async fn revoke(mill: &Mill, who: &Actor, id: InvitationId) -> Answer<()> {
    let (cause, who) = (Cause::Member(who.member), who.clone());
    let decide = move |view: &View<'_>, now| {
        let found: Option<Invitation> = view.get(&id)?;
        let mut invitation = found
            .filter(|invitation| who.invites(invitation.team, invitation.role))
            .ok_or(Common::NotFound { what: "invitation" })?;
        let mut changes = Changes::new();
        if invitation.state == InvitationState::Open {
            invitation.state = InvitationState::Revoked { at: now };
            changes.put(&invitation).unindex(Table::InvitationsByTeam, &(invitation.team, id));
            changes.event(cause, Event::InvitationRevoked { invitation: id });
        }
        Ok((changes, ()))
    };
    Ok(mill.store.write(Command::new(cause), decide).await?)
}

fn open(view: &impl Read, id: InvitationId, token: SecretHash, now: Instant) -> Result<Invitation, Reject> {
    let found: Option<Invitation> = view.get(&id)?;
    let works = |i: &Invitation| i.token == token && i.state == InvitationState::Open && now < i.expires;
    Ok(found.filter(works).ok_or(PeopleRefusal::LinkSpent)?)
}

fn parse(link: &str) -> Result<(InvitationId, SecretHash), PeopleRefusal> {
    let (id, secret) = link.split_once('.').ok_or(PeopleRefusal::LinkSpent)?;
    let id = id.parse().map_err(|_| PeopleRefusal::LinkSpent)?;
    Ok((id, Secret::new(secret).hash()))
}
