//! People: a token for a password, the mill at a glance, invitations, teams.
use rocket::serde::json::Json;
use rocket::{State, get, post};

use super::body::{Body, Key};
use crate::app::mill::Mill;
use crate::app::people::{invite as invitations, teams as all_teams, tokens};
use crate::app::status as glance;
use crate::web::error::ApiError;
use crate::web::guard::{Bearer, Visit};
use crate::wire::api::Problem;
use crate::wire::api::people::{InvitationView, InviteRequest, LoginAnswer, LoginRequest, StatusAnswer, TeamRole};

/// Sign in for a token; it works for 90 days
#[utoipa::path(context_path = "/api/v1", tag = "people", request_body = LoginRequest, security(()),
    responses((status = 200, body = LoginAnswer), (status = "default", body = Problem)))]
#[post("/login", data = "<body>")]
pub async fn login(visit: Visit, mill: &State<Mill>, body: Body<LoginRequest>) -> Result<Json<LoginAnswer>, ApiError> {
    Ok(Json(tokens::login(mill, body.0, visit.address).await?))
}

/// The mill at a glance, and who is asking
#[utoipa::path(context_path = "/api/v1", tag = "people",
    responses((status = 200, body = StatusAnswer), (status = "default", body = Problem)))]
#[get("/status")]
pub fn status(who: Bearer, mill: &State<Mill>) -> Result<Json<StatusAnswer>, ApiError> {
    Ok(Json(glance::status(mill, &who.0, crate::clock::now())?))
}

/// Invite a person into a team; the link is in this answer alone
#[utoipa::path(context_path = "/api/v1", tag = "people", request_body = InviteRequest,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = InvitationView), (status = "default", body = Problem)))]
#[post("/invitations", data = "<body>")]
pub async fn invite(
    who: Bearer,
    mill: &State<Mill>,
    key: Key,
    body: Body<InviteRequest>,
) -> Result<Json<InvitationView>, ApiError> {
    Ok(Json(invitations::invite(mill, &who.0.actor, body.0, key.0).await?))
}

/// The teams you see: all for an admin, else your own
#[utoipa::path(context_path = "/api/v1", tag = "people",
    responses((status = 200, body = [TeamRole]), (status = "default", body = Problem)))]
#[get("/teams")]
pub fn teams(who: Bearer, mill: &State<Mill>) -> Result<Json<Vec<TeamRole>>, ApiError> {
    Ok(Json(all_teams::list(&mill.store.read()?, &who.0.actor)?))
}
