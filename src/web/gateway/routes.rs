//! Joining and renewing. The handlers only carry; who may do what is decided in `app::fleet::join`.
use rocket::http::{ContentType, Header, Status};
use rocket::response::{self, Responder, Response};
use rocket::serde::json::{self, Json};
use rocket::tokio::fs::File;
use rocket::{Request, State, catch, get, post};

use super::guard::NodeKey;
use crate::app::error::AppError;
use crate::app::fleet::{Fleet, comeback, join as intents, program, tokens};
use crate::domain::notice::{Common, Kind, Sentence};
use crate::wire::api::Problem;
use crate::wire::node::{Arrival, Challenge, JoinAnswer, JoinRequest, MillFacts, RenewRequest, ReturnRequest};

/// A refusal or failure as machines read it.
pub struct Refused(AppError);

impl From<AppError> for Refused {
    fn from(error: AppError) -> Self {
        Self(error)
    }
}

impl<'r> Responder<'r, 'static> for Refused {
    fn respond_to(self, request: &'r Request<'_>) -> response::Result<'static> {
        let (status, problem) = match self.0 {
            AppError::Refused(refusal) => {
                let reason = refusal.reason();
                let Sentence { what, why, next } = reason.sentence();
                let field = reason.field().map(str::to_owned);
                (status(reason.kind()), Problem { code: reason.code().to_owned(), what, why, next, field, offer: None })
            }
            error => {
                tracing::error!(%error, cause = ?std::error::Error::source(&error), "the gateway could not answer");
                (Status::ServiceUnavailable, problem("unavailable", "The mill cannot answer now.", "Try again soon."))
            }
        };
        Response::build_from(Json(problem).respond_to(request)?).status(status).ok()
    }
}

fn status(kind: Kind) -> Status {
    match kind {
        Kind::Invalid => Status::UnprocessableEntity,
        Kind::Conflict => Status::Conflict,
        Kind::NotFound => Status::NotFound,
        Kind::SignedOut => Status::Unauthorized,
        Kind::Denied => Status::Forbidden,
        Kind::Throttled => Status::TooManyRequests,
        Kind::Unavailable => Status::ServiceUnavailable,
    }
}

fn problem(code: &str, what: &str, next: &str) -> Problem {
    Problem {
        code: code.to_owned(),
        what: what.to_owned(),
        why: "The mill's log says more.".to_owned(),
        next: next.to_owned(),
        field: None,
        offer: None,
    }
}

fn unreadable(error: &json::Error<'_>) -> AppError {
    let why = match error {
        json::Error::Io(_) => "the request is too long or broke off".to_owned(),
        json::Error::Parse(_, error) => error.to_string(),
    };
    Common::BadField { field: "request", why }.into()
}

type Answered = Result<Json<JoinAnswer>, Refused>;

/// The mill's root, for agents that know its fingerprint and people who want to trust it.
#[get("/root.pem")]
pub fn root(fleet: &State<Fleet>) -> (ContentType, String) {
    (ContentType::new("application", "x-pem-file"), fleet.root.certificate_pem().to_owned())
}

/// What a machine has to know before it joins.
#[get("/mill")]
pub fn mill(fleet: &State<Fleet>) -> Result<Json<MillFacts>, Refused> {
    Ok(Json(tokens::facts(fleet)?))
}

/// A machine with a join token tells the people who wait for it how far it is.
#[post("/arrive", data = "<request>")]
pub async fn arrive(
    request: Result<Json<Arrival>, json::Error<'_>>,
    fleet: &State<Fleet>,
) -> Result<Json<MillFacts>, Refused> {
    let request = request.map_err(|error| unreadable(&error))?.into_inner();
    Ok(Json(tokens::arrive(fleet, request).await?))
}

#[post("/join", data = "<request>")]
pub async fn join(request: Result<Json<JoinRequest>, json::Error<'_>>, fleet: &State<Fleet>) -> Answered {
    let request = request.map_err(|error| unreadable(&error))?.into_inner();
    Ok(Json(intents::join(fleet, request).await?))
}

#[post("/renew", data = "<request>")]
pub async fn renew(
    key: NodeKey,
    request: Result<Json<RenewRequest>, json::Error<'_>>,
    fleet: &State<Fleet>,
) -> Answered {
    let request = request.map_err(|error| unreadable(&error))?.into_inner();
    Ok(Json(intents::renew(fleet, key.node, request).await?))
}

/// A number to sign, good for one return within a minute.
#[get("/challenge")]
pub fn challenge(fleet: &State<Fleet>) -> Json<Challenge> {
    Json(fleet.mill.hub.challenges.issue(std::time::Instant::now()))
}

/// A node whose certificate has ended proves that it has its key.
#[post("/return", data = "<request>")]
pub async fn come_back(request: Result<Json<ReturnRequest>, json::Error<'_>>, fleet: &State<Fleet>) -> Answered {
    let request = request.map_err(|error| unreadable(&error))?.into_inner();
    Ok(Json(comeback::come_back(fleet, request).await?))
}

/// This mill's program, for agents that were offered it.
#[get("/program")]
pub async fn binary(_key: NodeKey, fleet: &State<Fleet>) -> Result<Program, Refused> {
    let length = Header::new("content-length", fleet.mill.program.program().await?.bytes.to_string());
    Ok(Program { file: File::from_std(program::open()?), content_type: ContentType::Binary, length })
}

/// The program on its way.
#[derive(Responder)]
pub struct Program {
    file: File,
    content_type: ContentType,
    length: Header<'static>,
}

/// Everything that no route answers.
#[catch(default)]
pub fn refuse(status: Status, _: &Request<'_>) -> (Status, Json<Problem>) {
    let code = match status.code {
        401 => "unknown_certificate",
        404 => "not_found",
        _ => "refused",
    };
    let what = format!("The gateway refused: {}.", status.reason_lossy().to_lowercase());
    (status, Json(problem(code, &what, "Only a gristmill agent has business here.")))
}
