//! Machines and GPUs.
use rocket::serde::json::Json;
use rocket::{State, get};

use crate::app::fleet::show;
use crate::app::mill::Mill;
use crate::web::error::ApiError;
use crate::web::guard::Bearer;
use crate::wire::api::Problem;
use crate::wire::api::fleet::{GpuView, NodeView};

/// All nodes
#[utoipa::path(context_path = "/api/v1", tag = "fleet",
    responses((status = 200, body = [NodeView]), (status = "default", body = Problem)))]
#[get("/nodes")]
pub fn nodes(who: Bearer, mill: &State<Mill>) -> Result<Json<Vec<NodeView>>, ApiError> {
    Ok(Json(show::nodes(mill, &who.0.actor, crate::clock::now())?))
}

/// All GPUs, and which are free
#[utoipa::path(context_path = "/api/v1", tag = "fleet",
    responses((status = 200, body = [GpuView]), (status = "default", body = Problem)))]
#[get("/gpus")]
pub fn gpus(who: Bearer, mill: &State<Mill>) -> Result<Json<Vec<GpuView>>, ApiError> {
    Ok(Json(show::gpus(mill, &who.0.actor, crate::clock::now())?))
}
