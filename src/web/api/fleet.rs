//! Machines and GPUs.
use rocket::serde::json::Json;
use rocket::{State, get, post};

use super::body::{Body, Nothing};
use crate::app::error::Answer;
use crate::app::fleet::{manage, show, tokens, upgrade as upgrades};
use crate::app::mill::Mill;
use crate::base::ids::{JoinTokenId, NodeId};
use crate::base::secret::Secret;
use crate::domain::notice::Common;
use crate::domain::people::refusal::PeopleRefusal;
use crate::domain::people::rights::Actor;
use crate::web::error::ApiError;
use crate::web::fleet::install;
use crate::web::guard::Bearer;
use crate::wire::api::Problem;
use crate::wire::api::fleet::{
    GpuView, JoinTokenRequest, JoinTokenView, JoinTokensAnswer, JoinTokensRequest, NodeView, UpgradeRequest,
};

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

/// Make join tokens for several machines; admins only
#[utoipa::path(context_path = "/api/v1", tag = "fleet", request_body = JoinTokensRequest,
    responses((status = 200, body = JoinTokensAnswer), (status = "default", body = Problem)))]
#[post("/join-tokens/many", data = "<body>")]
pub async fn make_tokens(
    who: Bearer,
    mill: &State<Mill>,
    body: Body<JoinTokensRequest>,
) -> Result<Json<JoinTokensAnswer>, ApiError> {
    Ok(Json(tokens::make_many(mill, &who.0.actor, body.0).await?))
}

/// Make a join token; token and install line are in this answer alone. Admins only
#[utoipa::path(context_path = "/api/v1", tag = "fleet", request_body = JoinTokenRequest,
    responses((status = 200, body = JoinTokenView), (status = "default", body = Problem)))]
#[post("/join-tokens", data = "<body>")]
pub async fn make_token(
    who: Bearer,
    mill: &State<Mill>,
    body: Body<JoinTokenRequest>,
) -> Result<Json<JoinTokenView>, ApiError> {
    let (view, token): (JoinTokenView, Secret) = tokens::make_named(mill, &who.0.actor, &body.0).await?;
    let command = Some(install::line(mill, &token)?);
    Ok(Json(JoinTokenView { token: Some(token.expose().to_owned()), command, ..view }))
}

/// The join tokens of the last day and how far their machines are; admins only
#[utoipa::path(context_path = "/api/v1", tag = "fleet",
    responses((status = 200, body = [JoinTokenView]), (status = "default", body = Problem)))]
#[get("/join-tokens")]
pub fn join_tokens(who: Bearer, mill: &State<Mill>) -> Result<Json<Vec<JoinTokenView>>, ApiError> {
    Ok(Json(tokens::list(mill, &who.0.actor, crate::clock::now())?))
}

/// How far the machine of one join token is; admins only
#[utoipa::path(context_path = "/api/v1", tag = "fleet", params(("token" = String, Path)),
    responses((status = 200, body = JoinTokenView), (status = "default", body = Problem)))]
#[get("/join-tokens/<token>")]
pub fn join_token(who: Bearer, mill: &State<Mill>, token: &str) -> Result<Json<JoinTokenView>, ApiError> {
    let id: JoinTokenId = token.parse().map_err(|_| Common::NotFound { what: "join token" })?;
    Ok(Json(tokens::show(mill, &who.0.actor, id, crate::clock::now())?))
}

/// Admit a node that waits, or accept the hardware of one that was closed for it; admins only
#[utoipa::path(context_path = "/api/v1", tag = "fleet", params(("node" = String, Path)), request_body = Nothing,
    responses((status = 200, body = NodeView), (status = "default", body = Problem)))]
#[post("/nodes/<node>/admit", data = "<_body>")]
pub async fn admit(
    who: Bearer,
    mill: &State<Mill>,
    node: &str,
    _body: Body<Nothing>,
) -> Result<Json<NodeView>, ApiError> {
    let id = known(mill, &who.0.actor, node)?;
    let changed = manage::admit(mill, &who.0.actor, id).await;
    changed_node(mill, &who, id, changed)
}

/// End a node's membership for good; admins only
#[utoipa::path(context_path = "/api/v1", tag = "fleet", params(("node" = String, Path)), request_body = Nothing,
    responses((status = 200, body = NodeView), (status = "default", body = Problem)))]
#[post("/nodes/<node>/revoke", data = "<_body>")]
pub async fn revoke(
    who: Bearer,
    mill: &State<Mill>,
    node: &str,
    _body: Body<Nothing>,
) -> Result<Json<NodeView>, ApiError> {
    let id = known(mill, &who.0.actor, node)?;
    let changed = manage::revoke(mill, &who.0.actor, id).await;
    changed_node(mill, &who, id, changed)
}

/// Let a node's agent become the mill's version; its leases go on. Admins only
#[utoipa::path(context_path = "/api/v1", tag = "fleet", params(("node" = String, Path)), request_body = UpgradeRequest,
    responses((status = 200, body = NodeView), (status = "default", body = Problem)))]
#[post("/nodes/<node>/upgrade", data = "<body>")]
pub async fn upgrade(
    who: Bearer,
    mill: &State<Mill>,
    node: &str,
    body: Body<UpgradeRequest>,
) -> Result<Json<NodeView>, ApiError> {
    let id = known(mill, &who.0.actor, node)?;
    let changed = upgrades::ask(mill, &who.0.actor, id, body.0.again).await;
    changed_node(mill, &who, id, changed)
}

/// The node that an admin names by id or name; for others there is nothing to name.
pub(super) fn known(mill: &Mill, who: &Actor, given: &str) -> Answer<NodeId> {
    if !who.admin {
        return Err(PeopleRefusal::Denied { what: "decide about nodes", who_may: "admins" }.into());
    }
    show::find(mill, given)
}

/// The node as a change left it.
pub(super) fn changed_node(
    mill: &Mill,
    who: &Bearer,
    id: NodeId,
    changed: Answer<()>,
) -> Result<Json<NodeView>, ApiError> {
    changed?;
    Ok(Json(show::node(mill, &who.0.actor, id, crate::clock::now())?))
}
