//! The health of GPUs.
use rocket::serde::json::Json;
use rocket::{State, get, post};

use super::body::Body;
use crate::app::fleet::health::{show, word};
use crate::app::mill::Mill;
use crate::base::ids::UnitId;
use crate::domain::fleet::health::Word;
use crate::domain::notice::Common;
use crate::web::error::ApiError;
use crate::web::guard::Bearer;
use crate::wire::api::Problem;
use crate::wire::api::health::{FleetHealthView, GpuHealthDetail, NodeHealthView, WordRequest};

/// The fleet's health: what needs a person first
#[utoipa::path(context_path = "/api/v1", tag = "fleet",
    responses((status = 200, body = FleetHealthView), (status = "default", body = Problem)))]
#[get("/health")]
pub fn fleet(_who: Bearer, mill: &State<Mill>) -> Result<Json<FleetHealthView>, ApiError> {
    Ok(Json(show::fleet(mill, crate::clock::now())?))
}

/// The health of a node's GPUs, or of one GPU, with evidence and score
#[utoipa::path(context_path = "/api/v1", tag = "fleet", params(("given" = String, Path)),
    responses((status = 200, body = NodeHealthView), (status = "default", body = Problem)))]
#[get("/health/<given>")]
pub fn one(who: Bearer, mill: &State<Mill>, given: &str) -> Result<Json<NodeHealthView>, ApiError> {
    Ok(Json(show::find(mill, &who.0.actor, given, crate::clock::now())?))
}

/// Put a GPU back into service, or take it out, with a reason; admins only
#[utoipa::path(context_path = "/api/v1", tag = "fleet", request_body = WordRequest, params(("gpu" = String, Path)),
    responses((status = 200, body = GpuHealthDetail), (status = "default", body = Problem)))]
#[post("/gpus/<gpu>/word", data = "<body>")]
pub async fn say(
    who: Bearer,
    mill: &State<Mill>,
    gpu: &str,
    body: Body<WordRequest>,
) -> Result<Json<GpuHealthDetail>, ApiError> {
    let id: UnitId = gpu.parse().map_err(|_| Common::NotFound { what: "GPU" })?;
    let word = match body.0.word.as_str() {
        "put_back" => Word::PutBack,
        "take_out" => Word::TakeOut,
        _ => {
            return Err(Common::BadField { field: "word", why: "It is put_back or take_out".to_owned() }.into());
        }
    };
    word::say(mill, &who.0.actor, id, word, &body.0.why).await?;
    Ok(Json(show::gpu(mill, &who.0.actor, id, crate::clock::now())?))
}
