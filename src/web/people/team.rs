//! The team's page: its people, its open invitations, inviting. It refuses to show a link twice.
use askama::Template;
use rocket::response::Redirect;
use rocket::{State, get, post};

use crate::app::error::AppError;
use crate::app::mill::Mill;
use crate::app::people::{invite as invitations, teams};
use crate::base::ids::InvitationId;
use crate::domain::notice::{Common, Refusal};
use crate::domain::people::member::Role;
use crate::web::error::PageError;
use crate::web::form::{Again, Posted};
use crate::web::guard::SignedIn;
use crate::web::page::{Flash, Html, Page, Place, Typed};
use crate::web::site::{self, Frame};
use crate::wire::api::people::{InvitationView, InviteRequest, TeamRole, TeamView};

#[derive(Template)]
#[template(path = "people/team.html")]
pub struct TeamPage {
    page: Page,
    form: Typed,
    teams: Vec<TeamRole>,
    team: Option<TeamView>,
    rows: Vec<PersonRow>,
    open: Vec<OpenRow>,
    may_invite: bool,
    may_make: bool,
    /// Made just now: shown once.
    made: Option<InvitationView>,
}

pub struct PersonRow {
    name: String,
    email: String,
    role: String,
    since: String,
}

pub struct OpenRow {
    revoke: String,
    email: String,
    role: String,
    expires: String,
}

fn show(
    mill: &Mill,
    who: &SignedIn,
    given: Option<&str>,
    form: Typed,
    made: Option<InvitationView>,
) -> Result<TeamPage, PageError> {
    let Frame { mut page, zone, now, .. } = site::frame(mill, who, Place::People, "Members")?;
    let view = mill.store.read()?;
    let teams = teams::list(&view, &who.who.actor)?;
    let first = who.who.actor.memberships.first().map(|membership| membership.team.to_string());
    let chosen = given.map(str::to_owned).or(first).or_else(|| teams.first().map(|team| team.team.to_string()));
    let team = chosen.map(|id| teams::show(&view, &who.who.actor, &id, now)).transpose()?;
    let rows = team.iter().flat_map(|team| &team.members).map(|member| PersonRow {
        name: member.name.clone(),
        email: member.email.clone(),
        role: member.role.clone(),
        since: zone.day(member.since.0),
    });
    let open = team.iter().flat_map(|team| &team.invitations).map(|invitation| OpenRow {
        revoke: format!("/people/invitations/{}/revoke", invitation.id),
        email: invitation.email.clone(),
        role: invitation.role.clone(),
        expires: zone.moment(invitation.expires.0, now),
    });
    if let Some(made) = &made {
        page.flash = Some(Flash::done(format!("{} is invited.", made.email)));
    }
    let may_invite = team.as_ref().is_some_and(|team| who.who.actor.invites(team.id, Role::Member));
    let (rows, open) = (rows.collect(), open.collect());
    Ok(TeamPage { page, form, teams, rows, open, may_invite, may_make: who.who.actor.admin, made, team })
}

#[get("/people?<team>")]
pub fn page(who: SignedIn, mill: &State<Mill>, team: Option<&str>) -> Result<Html<TeamPage>, PageError> {
    show(mill, &who, team, Typed::default().with("role", "member"), None).map(Html)
}

#[post("/people/invite", data = "<posted>")]
pub async fn invite(who: SignedIn, mill: &State<Mill>, posted: Posted) -> Result<Html<TeamPage>, Again<TeamPage>> {
    let request = InviteRequest {
        email: posted.text("email").to_owned(),
        team: posted.text("team").to_owned(),
        role: posted.text("role").to_owned(),
    };
    match invitations::invite(mill, &who.who.actor, request, posted.key()).await {
        Ok(made) => {
            Ok(Html(show(mill, &who, Some(posted.text("team")), Typed::default(), Some(made)).map_err(Again::Page)?))
        }
        Err(AppError::Refused(why)) => Err(again(mill, &who, &posted, &why)),
        Err(other) => Err(other.into()),
    }
}

fn again(mill: &Mill, who: &SignedIn, posted: &Posted, why: &Refusal) -> Again<TeamPage> {
    Again::form(why, show(mill, who, posted.given("team"), posted.refused(why), None))
}

#[post("/people/invitations/<id>/revoke", data = "<_posted>")]
pub async fn revoke(who: SignedIn, mill: &State<Mill>, id: &str, _posted: Posted) -> Result<Redirect, PageError> {
    let id: InvitationId = id.parse().map_err(|_| Common::NotFound { what: "invitation" })?;
    invitations::revoke(mill, &who.who.actor, id).await?;
    Ok(Redirect::to("/people"))
}

#[post("/people/teams", data = "<posted>")]
pub async fn create(who: SignedIn, mill: &State<Mill>, posted: Posted) -> Result<Redirect, Again<TeamPage>> {
    let made = match posted.name("name") {
        Ok(name) => {
            let cost_centre = posted.given("cost_centre").map(|text| text.chars().take(80).collect());
            teams::create(mill, &who.who.actor, name, cost_centre, posted.key()).await
        }
        Err(bad) => Err(bad.into()),
    };
    match made {
        Ok(team) => Ok(Redirect::to(format!("/people?team={team}"))),
        Err(AppError::Refused(why)) => Err(again(mill, &who, &posted, &why)),
        Err(other) => Err(other.into()),
    }
}
