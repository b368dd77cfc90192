//! GPUs used outside bookings, and whose the Unix users are.
use rocket::serde::json::Json;
use rocket::{State, get, post};

use super::body::{Body, Nothing};
use crate::app::fleet::unbooked::{bill, show, users as owners};
use crate::app::mill::Mill;
use crate::base::ids::UseId;
use crate::domain::notice::Common;
use crate::domain::people::refusal::PeopleRefusal;
use crate::web::error::ApiError;
use crate::web::guard::Bearer;
use crate::wire::api::Problem;
use crate::wire::api::unbooked::{UnixUserNamed, UnixUserRequest, UnixUserView, UseView, VoidAnswer, VoidRequest};

/// Processes on GPUs without a booking, now and in the last month: an admin's all, others' their own
#[utoipa::path(context_path = "/api/v1", tag = "fleet",
    responses((status = 200, body = [UseView]), (status = "default", body = Problem)))]
#[get("/unbooked")]
pub fn list(who: Bearer, mill: &State<Mill>) -> Result<Json<Vec<UseView>>, ApiError> {
    Ok(Json(show::list(mill, &who.0.actor, crate::clock::now())?))
}

/// Give back what was billed of a use and stands on no document; admins only
#[utoipa::path(context_path = "/api/v1", tag = "fleet", request_body = VoidRequest, params(("used" = String, Path)),
    responses((status = 200, body = VoidAnswer), (status = "default", body = Problem)))]
#[post("/unbooked/<used>/void", data = "<body>")]
pub async fn void(
    who: Bearer,
    mill: &State<Mill>,
    used: &str,
    body: Body<VoidRequest>,
) -> Result<Json<VoidAnswer>, ApiError> {
    if !who.0.actor.admin {
        return Err(PeopleRefusal::Denied { what: "give bills back", who_may: "admins" }.into());
    }
    let id: UseId = used.parse().map_err(|_| Common::NotFound { what: "use" })?;
    let given_back = bill::void(mill, &who.0.actor, id, &body.0.why).await?.into();
    Ok(Json(VoidAnswer { given_back }))
}

/// Whose the Unix users of the machines are; admins only
#[utoipa::path(context_path = "/api/v1", tag = "fleet",
    responses((status = 200, body = [UnixUserView]), (status = "default", body = Problem)))]
#[get("/unix-users")]
pub fn users(who: Bearer, mill: &State<Mill>) -> Result<Json<Vec<UnixUserView>>, ApiError> {
    Ok(Json(owners::list(mill, &who.0.actor)?))
}

/// Say whose a Unix user is; admins only
#[utoipa::path(context_path = "/api/v1", tag = "fleet", request_body = UnixUserRequest,
    responses((status = 200, body = UnixUserView), (status = "default", body = Problem)))]
#[post("/unix-users", data = "<body>")]
pub async fn assign(
    who: Bearer,
    mill: &State<Mill>,
    body: Body<UnixUserRequest>,
) -> Result<Json<UnixUserView>, ApiError> {
    Ok(Json(owners::set(mill, &who.0.actor, &body.0).await?))
}

/// Take that word back; admins only
#[utoipa::path(context_path = "/api/v1", tag = "fleet", request_body = UnixUserNamed,
    responses((status = 200, body = Nothing), (status = "default", body = Problem)))]
#[post("/unix-users/remove", data = "<body>")]
pub async fn remove(who: Bearer, mill: &State<Mill>, body: Body<UnixUserNamed>) -> Result<Json<Nothing>, ApiError> {
    owners::remove(mill, &who.0.actor, &body.0.user, body.0.pool.as_deref()).await?;
    Ok(Json(Nothing {}))
}
