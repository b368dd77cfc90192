//! `/metrics` for a monitoring system. It refuses everybody without a token that was made for it: neither a session nor a
//! member's own token opens it.
use rocket::http::{Header, Status};
use rocket::request::{FromRequest, Outcome, Request};
use rocket::tokio::task::spawn_blocking;
use rocket::{Responder, State, get};

use crate::app::error::AppError;
use crate::app::fleet::metrics::{self, Form};
use crate::app::mill::Mill;
use crate::app::people::tokens;
use crate::domain::people::rights::Actor;
use crate::web::guard::{Turned, Visit};

/// Who came with a token for the metrics, and the text form that they want.
pub struct Scraper {
    actor: Actor,
    form: Form,
}

#[rocket::async_trait]
impl<'r> FromRequest<'r> for Scraper {
    type Error = Turned;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, Turned> {
        let Outcome::Success(_) = request.guard::<Visit>().await else {
            return Outcome::Error((Status::NotFound, Turned::NotThroughTheDoor));
        };
        let Some(mill) = request.rocket().state::<Mill>() else {
            return Outcome::Error((Status::InternalServerError, Turned::Broken));
        };
        let token = request.headers().get_one("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let wants = request.headers().get("accept").any(|accept| accept.contains("application/openmetrics-text"));
        let form = if wants { Form::OpenMetrics } else { Form::Prometheus };
        match tokens::scraper(mill, token.unwrap_or_default().trim(), crate::clock::now()) {
            Ok(actor) => Outcome::Success(Self { actor, form }),
            // A monitoring system that was turned away shall see so, and not a page to sign in.
            Err(AppError::Refused(_)) => Outcome::Forward(Status::Unauthorized),
            Err(_) => Outcome::Error((Status::ServiceUnavailable, Turned::Broken)),
        }
    }
}

/// The figures, or the word that they are for others.
#[derive(Responder)]
pub struct Figures {
    text: String,
    content_type: Header<'static>,
}

/// Labels that name a GPU's machine, by the version of dcgm-exporter that a dashboard was made for.
const HOST_LABELS: [&str; 2] = ["Hostname", "hostname"];

#[get("/metrics?<host_label>")]
pub async fn page(who: Scraper, mill: &State<Mill>, host_label: Option<&str>) -> Result<Figures, Status> {
    let wanted = host_label.unwrap_or(HOST_LABELS[0]);
    let label = HOST_LABELS.into_iter().find(|label| *label == wanted).ok_or(Status::BadRequest)?;
    let (mill, Scraper { actor, form }) = (mill.inner().clone(), who);
    let failed = |error: &dyn std::error::Error| {
        tracing::error!(%error, "the metrics cannot be told");
        Status::ServiceUnavailable
    };
    // Over thousands of GPUs it takes a moment, in which no page shall wait for it.
    let telling = move || metrics::text(&mill, &actor, form, label, crate::clock::now());
    let text = spawn_blocking(telling).await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    Ok(Figures { text, content_type: Header::new("content-type", form.content_type()) })
}

/// Without a token that opens the metrics.
#[get("/metrics", rank = 2)]
pub fn turned_away(_visit: Visit) -> (Status, &'static str) {
    (Status::Unauthorized, "The metrics need a token of their own: an admin makes one in the settings.\n")
}
