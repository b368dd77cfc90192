//! Money: grants, statements, rates, documents.
use rocket::http::{ContentType, Header};
use rocket::serde::json::Json;
use rocket::{Responder, State, get, post};

use super::body::{Body, Key, Nothing};
use crate::app::mill::Mill;
use crate::app::money::{grant as grants, invoices as documents, rates as all_rates, statement as statements};
use crate::base::ids::DocumentId;
use crate::domain::notice::Common;
use crate::web::error::ApiError;
use crate::web::guard::Bearer;
use crate::wire::api::Problem;
use crate::wire::api::money::{
    DocumentView, DraftRequest, GrantAnswer, GrantRequest, RateRequest, RateView, StatementView,
};

fn id(given: &str) -> Result<DocumentId, Common> {
    given.parse().map_err(|_| Common::NotFound { what: "document" })
}

/// Grant a team credits; admins only
#[utoipa::path(context_path = "/api/v1", tag = "money", request_body = GrantRequest,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = GrantAnswer), (status = "default", body = Problem)))]
#[post("/grants", data = "<body>")]
pub async fn grant(
    who: Bearer,
    mill: &State<Mill>,
    key: Key,
    body: Body<GrantRequest>,
) -> Result<Json<GrantAnswer>, ApiError> {
    Ok(Json(grants::grant(mill, &who.0.actor, body.0, key.0).await?))
}

/// A team's account, the newest line first; `before` reads on
#[utoipa::path(context_path = "/api/v1", tag = "money",
    params(("team" = String, Path, description = "Id or name"), ("before" = Option<u64>, Query),
        ("limit" = Option<usize>, Query)),
    responses((status = 200, body = StatementView), (status = "default", body = Problem)))]
#[get("/teams/<team>/statement?<before>&<limit>")]
pub fn statement(
    who: Bearer,
    mill: &State<Mill>,
    team: &str,
    before: Option<u64>,
    limit: Option<usize>,
) -> Result<Json<StatementView>, ApiError> {
    let limit = limit.unwrap_or(statements::PAGE).clamp(1, statements::LONGEST_PAGE);
    Ok(Json(statements::statement(&mill.store.read()?, &who.0.actor, team, before, limit)?))
}

/// The rates in force
#[utoipa::path(context_path = "/api/v1", tag = "money",
    responses((status = 200, body = [RateView]), (status = "default", body = Problem)))]
#[get("/rates")]
pub fn rates(_who: Bearer, mill: &State<Mill>) -> Result<Json<Vec<RateView>>, ApiError> {
    Ok(Json(all_rates::list(&mill.store.read()?)?))
}

/// Put a new rate in force for bookings from now on; admins only
#[utoipa::path(context_path = "/api/v1", tag = "money", request_body = RateRequest,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = RateView), (status = "default", body = Problem)))]
#[post("/rates", data = "<body>")]
pub async fn set_rate(
    who: Bearer,
    mill: &State<Mill>,
    key: Key,
    body: Body<RateRequest>,
) -> Result<Json<RateView>, ApiError> {
    Ok(Json(all_rates::set(mill, &who.0.actor, body.0, key.0).await?))
}

/// The documents that you may see
#[utoipa::path(context_path = "/api/v1", tag = "money",
    responses((status = 200, body = [DocumentView]), (status = "default", body = Problem)))]
#[get("/invoices")]
pub fn invoices(who: Bearer, mill: &State<Mill>) -> Result<Json<Vec<DocumentView>>, ApiError> {
    Ok(Json(documents::list(&mill.store.read()?, &who.0.actor)?))
}

/// One document
#[utoipa::path(context_path = "/api/v1", tag = "money", params(("document" = String, Path)),
    responses((status = 200, body = DocumentView), (status = "default", body = Problem)))]
#[get("/invoices/<document>")]
pub fn invoice(who: Bearer, mill: &State<Mill>, document: &str) -> Result<Json<DocumentView>, ApiError> {
    Ok(Json(documents::show(&mill.store.read()?, &who.0.actor, id(document)?)?))
}

/// Draw up a team's document for a month; admins only
#[utoipa::path(context_path = "/api/v1", tag = "money", request_body = DraftRequest,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = DocumentView), (status = "default", body = Problem)))]
#[post("/invoices", data = "<body>")]
pub async fn draft(
    who: Bearer,
    mill: &State<Mill>,
    key: Key,
    body: Body<DraftRequest>,
) -> Result<Json<DocumentView>, ApiError> {
    Ok(Json(documents::draft(mill, &who.0.actor, body.0, key.0).await?))
}

/// Give a draft its number; it never changes again; admins only
#[utoipa::path(context_path = "/api/v1", tag = "money", request_body = Nothing,
    params(("document" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = DocumentView), (status = "default", body = Problem)))]
#[post("/invoices/<document>/issue", data = "<_body>")]
pub async fn issue(
    who: Bearer,
    mill: &State<Mill>,
    document: &str,
    key: Key,
    _body: Body<Nothing>,
) -> Result<Json<DocumentView>, ApiError> {
    Ok(Json(documents::issue(mill, &who.0.actor, id(document)?, key.0).await?))
}

/// Mark an issued document as settled; admins only
#[utoipa::path(context_path = "/api/v1", tag = "money", request_body = Nothing,
    params(("document" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = DocumentView), (status = "default", body = Problem)))]
#[post("/invoices/<document>/settle", data = "<_body>")]
pub async fn settle(
    who: Bearer,
    mill: &State<Mill>,
    document: &str,
    key: Key,
    _body: Body<Nothing>,
) -> Result<Json<DocumentView>, ApiError> {
    Ok(Json(documents::settle(mill, &who.0.actor, id(document)?, key.0).await?))
}

/// A file under a name that was made here.
#[derive(Responder)]
pub struct File {
    bytes: Vec<u8>,
    content_type: ContentType,
    disposition: Header<'static>,
    /// The hash under which an issued document is kept.
    etag: Header<'static>,
}

/// A document as PDF: of an issued one exactly what was kept
#[utoipa::path(context_path = "/api/v1", tag = "money", params(("document" = String, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/pdf"),
        (status = "default", body = Problem)))]
#[get("/invoices/<document>/pdf")]
pub fn pdf(who: Bearer, mill: &State<Mill>, document: &str) -> Result<File, ApiError> {
    let file = documents::pdf(&mill.store.read()?, &who.0.actor, id(document)?)?;
    Ok(File {
        bytes: file.bytes,
        content_type: ContentType::PDF,
        disposition: Header::new("content-disposition", format!("attachment; filename=\"{}\"", file.name)),
        etag: Header::new("etag", format!("\"{}\"", file.sha256)),
    })
}
