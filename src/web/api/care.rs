//! Looking after nodes, for admins: what they take, maintenance, names, pools, retiring.
use rocket::serde::json::Json;
use rocket::{State, post};

use super::body::{Body, Nothing};
use super::fleet::{changed_node, known};
use crate::app::error::AppError;
use crate::app::fleet::duty::{self as duties, Wish};
use crate::app::fleet::{maintenance as plans, pools as groups};
use crate::app::mill::Mill;
use crate::base::ids::MaintenanceId;
use crate::base::window::Window;
use crate::domain::fleet::refusal::FleetRefusal;
use crate::domain::notice::{Common, Kind};
use crate::web::error::ApiError;
use crate::web::guard::Bearer;
use crate::wire::api::Problem;
use crate::wire::api::fleet::{DutyRequest, MaintenanceRequest, MoveRequest, NodeView, RenameRequest, RetireRequest};

const fn none() -> Common {
    Common::NotFound { what: "maintenance" }
}

/// Open a node to new bookings, cordon it, or let it run empty; admins only
#[utoipa::path(context_path = "/api/v1", tag = "fleet", request_body = DutyRequest, params(("node" = String, Path)),
    responses((status = 200, body = NodeView), (status = "default", body = Problem)))]
#[post("/nodes/<node>/duty", data = "<body>")]
pub async fn duty(
    who: Bearer,
    mill: &State<Mill>,
    node: &str,
    body: Body<DutyRequest>,
) -> Result<Json<NodeView>, ApiError> {
    let id = known(mill, &who.0.actor, node)?;
    let wish = match body.0.duty.as_str() {
        "open" => Wish::Open,
        "cordoned" => Wish::Cordon,
        "draining" => Wish::Drain,
        _ => {
            let why = "It is one of open, cordoned or draining".to_owned();
            return Err(Common::BadField { field: "duty", why }.into());
        }
    };
    let changed = duties::set(mill, &who.0.actor, id, wish, &body.0.why).await;
    changed_node(mill, &who, id, changed)
}

/// Announce maintenance: its time leaves the calendar, and what is in the way is moved or told; admins only
#[utoipa::path(context_path = "/api/v1", tag = "fleet", request_body = MaintenanceRequest,
    params(("node" = String, Path)),
    responses((status = 200, body = NodeView), (status = "default", body = Problem)))]
#[post("/nodes/<node>/maintenance", data = "<body>")]
pub async fn announce(
    who: Bearer,
    mill: &State<Mill>,
    node: &str,
    body: Body<MaintenanceRequest>,
) -> Result<Json<NodeView>, ApiError> {
    let id = known(mill, &who.0.actor, node)?;
    let window = Window::new(body.0.start.0, body.0.end.0)
        .map_err(|_| FleetRefusal::BadMaintenance { why: "It would end before it starts." })?;
    let changed = plans::announce(mill, &who.0.actor, id, window, &body.0.why).await;
    changed_node(mill, &who, id, changed.map(|_| ()))
}

/// Call announced maintenance off; admins only
#[utoipa::path(context_path = "/api/v1", tag = "fleet", request_body = Nothing,
    params(("node" = String, Path), ("maintenance" = String, Path)),
    responses((status = 200, body = NodeView), (status = "default", body = Problem)))]
#[post("/nodes/<node>/maintenance/<maintenance>/cancel", data = "<_body>")]
pub async fn cancel(
    who: Bearer,
    mill: &State<Mill>,
    node: &str,
    maintenance: &str,
    _body: Body<Nothing>,
) -> Result<Json<NodeView>, ApiError> {
    // Neither node nor maintenance: the answer is the same.
    let id = known(mill, &who.0.actor, node).map_err(|error| match error {
        AppError::Refused(why) if why.reason().kind() == Kind::NotFound => none().into(),
        other => other,
    })?;
    let row: MaintenanceId = maintenance.parse().map_err(|_| none())?;
    let changed = plans::cancel(mill, &who.0.actor, id, row).await;
    changed_node(mill, &who, id, changed)
}

/// Give a node another name; admins only
#[utoipa::path(context_path = "/api/v1", tag = "fleet", request_body = RenameRequest, params(("node" = String, Path)),
    responses((status = 200, body = NodeView), (status = "default", body = Problem)))]
#[post("/nodes/<node>/rename", data = "<body>")]
pub async fn rename(
    who: Bearer,
    mill: &State<Mill>,
    node: &str,
    body: Body<RenameRequest>,
) -> Result<Json<NodeView>, ApiError> {
    let id = known(mill, &who.0.actor, node)?;
    let name = body
        .0
        .name
        .parse()
        .map_err(|why: crate::base::text::BadText| Common::BadField { field: "name", why: why.to_string() })?;
    let changed = duties::rename(mill, &who.0.actor, id, name).await;
    changed_node(mill, &who, id, changed)
}

/// Put a node into another pool; what is booked keeps what it was promised; admins only
#[utoipa::path(context_path = "/api/v1", tag = "fleet", request_body = MoveRequest, params(("node" = String, Path)),
    responses((status = 200, body = NodeView), (status = "default", body = Problem)))]
#[post("/nodes/<node>/move", data = "<body>")]
pub async fn move_to(
    who: Bearer,
    mill: &State<Mill>,
    node: &str,
    body: Body<MoveRequest>,
) -> Result<Json<NodeView>, ApiError> {
    let id = known(mill, &who.0.actor, node)?;
    let pool = groups::named(&mill.store.read()?, &body.0.pool)?;
    let changed = duties::move_to(mill, &who.0.actor, id, pool).await;
    changed_node(mill, &who, id, changed)
}

/// Take an empty node out for good; admins only
#[utoipa::path(context_path = "/api/v1", tag = "fleet", request_body = RetireRequest, params(("node" = String, Path)),
    responses((status = 200, body = NodeView), (status = "default", body = Problem)))]
#[post("/nodes/<node>/retire", data = "<body>")]
pub async fn retire(
    who: Bearer,
    mill: &State<Mill>,
    node: &str,
    body: Body<RetireRequest>,
) -> Result<Json<NodeView>, ApiError> {
    let id = known(mill, &who.0.actor, node)?;
    let changed = duties::retire(mill, &who.0.actor, id, &body.0.why).await;
    changed_node(mill, &who, id, changed)
}
