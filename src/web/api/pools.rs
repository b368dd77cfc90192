//! Pools: what holds in them, who is on them, and changing that.
use rocket::serde::json::Json;
use rocket::{State, get, post};

use super::body::Body;
use crate::app::fleet::pools as groups;
use crate::app::mill::Mill;
use crate::base::ids::PoolId;
use crate::base::text::BadText;
use crate::domain::notice::Common;
use crate::domain::people::refusal::PeopleRefusal;
use crate::web::error::ApiError;
use crate::web::guard::Bearer;
use crate::wire::api::Problem;
use crate::wire::api::fleet::PoolView;
use crate::wire::api::pools::{PoolChange, PoolChanged, PoolDetail, PoolRequest};

/// All pools
#[utoipa::path(context_path = "/api/v1", tag = "fleet",
    responses((status = 200, body = [PoolView]), (status = "default", body = Problem)))]
#[get("/pools")]
pub fn list(_who: Bearer, mill: &State<Mill>) -> Result<Json<Vec<PoolView>>, ApiError> {
    Ok(Json(groups::views(&mill.store.read()?)?))
}

/// Make a pool with the policy that every pool begins with; admins only
#[utoipa::path(context_path = "/api/v1", tag = "fleet", request_body = PoolRequest,
    responses((status = 200, body = PoolDetail), (status = "default", body = Problem)))]
#[post("/pools", data = "<body>")]
pub async fn make(who: Bearer, mill: &State<Mill>, body: Body<PoolRequest>) -> Result<Json<PoolDetail>, ApiError> {
    let bad = |why: BadText| Common::BadField { field: "name", why: why.to_string() };
    let name = body.0.name.parse().map_err(bad)?;
    let id = groups::make(mill, &who.0.actor, name, body.0.auto_admit).await?;
    Ok(Json(groups::detail(mill, &who.0.actor, id, crate::clock::now())?))
}

/// One pool: its policy, its nodes, its GPUs and their rates, and who is on it
#[utoipa::path(context_path = "/api/v1", tag = "fleet",
    params(("pool" = String, Path, description = "Id or name")),
    responses((status = 200, body = PoolDetail), (status = "default", body = Problem)))]
#[get("/pools/<pool>")]
pub fn show(who: Bearer, mill: &State<Mill>, pool: &str) -> Result<Json<PoolDetail>, ApiError> {
    let id: PoolId = groups::named(&mill.store.read()?, pool)?;
    Ok(Json(groups::detail(mill, &who.0.actor, id, crate::clock::now())?))
}

/// Change a pool's name or policy, or say what that would change; what is booked keeps what it was promised. Admins only
#[utoipa::path(context_path = "/api/v1", tag = "fleet", request_body = PoolChange,
    params(("pool" = String, Path, description = "Id or name")),
    responses((status = 200, body = PoolChanged), (status = "default", body = Problem)))]
#[post("/pools/<pool>", data = "<body>")]
pub async fn change(
    who: Bearer,
    mill: &State<Mill>,
    pool: &str,
    body: Body<PoolChange>,
) -> Result<Json<PoolChanged>, ApiError> {
    if !who.0.actor.admin {
        return Err(PeopleRefusal::Denied { what: "change pools", who_may: "admins" }.into());
    }
    let id: PoolId = groups::named(&mill.store.read()?, pool)?;
    Ok(Json(groups::change(mill, &who.0.actor, id, body.0).await?))
}
