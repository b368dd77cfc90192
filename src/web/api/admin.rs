//! Upkeep by an admin: verify and back up. It refuses to wait for anybody: both work on a snapshot.
use rocket::http::{ContentType, Header};
use rocket::serde::json::Json;
use rocket::tokio::fs::File;
use rocket::{Responder, State, post};

use super::body::{Body, Nothing};
use crate::app::mill::Mill;
use crate::app::upkeep;
use crate::web::error::ApiError;
use crate::web::guard::Bearer;
use crate::wire::api::Problem;
use crate::wire::api::money::VerifyAnswer;

/// Recompute ledger and calendar from nothing; admins only
#[utoipa::path(context_path = "/api/v1", tag = "admin", request_body = Nothing,
    responses((status = 200, body = VerifyAnswer), (status = "default", body = Problem)))]
#[post("/verify", data = "<_body>")]
pub async fn verify(who: Bearer, mill: &State<Mill>, _body: Body<Nothing>) -> Result<Json<VerifyAnswer>, ApiError> {
    Ok(Json(upkeep::verify(mill, &who.0.actor).await?))
}

/// A backup as a download.
#[derive(Responder)]
pub struct Backup {
    file: File,
    content_type: ContentType,
    disposition: Header<'static>,
}

/// A backup of the running mill, without its keys; admins only
#[utoipa::path(context_path = "/api/v1", tag = "admin", request_body = Nothing,
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "default", body = Problem)))]
#[post("/backup", data = "<_body>")]
pub async fn backup(who: Bearer, mill: &State<Mill>, _body: Body<Nothing>) -> Result<Backup, ApiError> {
    let made = upkeep::backup(mill, &who.0.actor).await?;
    Ok(Backup {
        file: File::from_std(made.file),
        content_type: ContentType::Binary,
        disposition: Header::new("content-disposition", format!("attachment; filename=\"{}\"", made.name)),
    })
}
