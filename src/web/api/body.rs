//! What comes with a request: a JSON body that is read strictly, and the idempotency key. What is wrong with them is said
//! with the place where it is wrong. It refuses to read more than 64 KiB.
use rocket::catch;
use rocket::data::{Data, FromData, Outcome, ToByteUnit as _};
use rocket::http::Status;
use rocket::request::{self, FromRequest, Request};
use rocket::response::{self, Responder};
use rocket::serde::json::Json;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::store::IdempotencyKey;
use crate::web::error::sentence;
use crate::wire::api::Problem;

/// Longest body, in KiB.
const LIMIT_KIB: u64 = 64;

/// A JSON body.
pub struct Body<T>(pub T);

/// A body that says nothing: none at all, or `{}`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// The key under which a change is carried out once, however often it is sent.
pub struct Key(pub Option<IdempotencyKey>);

/// What the catcher shall say; kept with the request, because Rocket hands a status alone to it.
struct Said(Option<Problem>);

fn turn_away(request: &Request<'_>, status: Status, problem: Problem) -> (Status, ()) {
    request.local_cache(|| Said(Some(problem)));
    (status, ())
}

fn problem(code: &str, what: &str, why: String, next: &str) -> Problem {
    Problem { code: code.to_owned(), what: what.to_owned(), why, next: next.to_owned(), field: None, offer: None }
}

#[rocket::async_trait]
impl<'r, T: DeserializeOwned> FromData<'r> for Body<T> {
    type Error = ();

    async fn from_data(request: &'r Request<'_>, data: Data<'r>) -> Outcome<'r, Self> {
        let bytes = match data.open(LIMIT_KIB.kibibytes()).into_bytes().await {
            Ok(bytes) if bytes.is_complete() => bytes.into_inner(),
            Ok(_) => {
                let why = format!("The body is longer than {LIMIT_KIB} KiB.");
                let said = problem("too_large", "That was too much at once.", why, "Send less; nothing was changed.");
                return Outcome::Error(turn_away(request, Status::PayloadTooLarge, said));
            }
            Err(_) => {
                let why = "The body broke off.".to_owned();
                let said = problem("bad_body", "The request was not read.", why, "Send it again; nothing was changed.");
                return Outcome::Error(turn_away(request, Status::BadRequest, said));
            }
        };
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        match serde_json::from_slice(text) {
            Ok(value) => Outcome::Success(Self(value)),
            Err(wrong) => {
                let (status, said) = unreadable(&wrong);
                Outcome::Error(turn_away(request, status, said))
            }
        }
    }
}

/// Not JSON is 400; JSON that does not fit is 422.
fn unreadable(wrong: &serde_json::Error) -> (Status, Problem) {
    // serde's words name the field and the place: "unknown field `gpu`, expected … at line 1 column 7".
    let why = format!("It says: {wrong}.");
    if wrong.is_data() {
        let next = "Compare it with /api/v1/openapi.json and send again; nothing was changed.";
        return (
            Status::UnprocessableEntity,
            problem("bad_body", "The body does not have the right fields.", why, next),
        );
    }
    let next = "Mend it there and send again; nothing was changed.";
    (Status::BadRequest, problem("bad_json", "The body is not JSON.", why, next))
}

#[rocket::async_trait]
impl<'r> FromRequest<'r> for Key {
    type Error = ();

    async fn from_request(request: &'r Request<'_>) -> request::Outcome<Self, ()> {
        let given: Vec<&str> = request.headers().get("idempotency-key").collect();
        let key = match given.as_slice() {
            [] => return request::Outcome::Success(Self(None)),
            [one] => IdempotencyKey::new(*one).map_err(|why| why.to_string()),
            _ => Err("it was given more than once".to_owned()),
        };
        match key {
            Ok(key) => request::Outcome::Success(Self(Some(key))),
            Err(why) => {
                let next = "Send a random text such as a UUID; nothing was changed.";
                let said = problem("bad_key", "The header Idempotency-Key cannot be used.", format!("{why}."), next);
                request::Outcome::Error(turn_away(request, Status::BadRequest, said))
            }
        }
    }
}

/// Answers whatever no handler answered.
#[catch(default)]
pub fn caught(status: Status, _request: &Request<'_>) -> Caught {
    Caught(status)
}

/// What [`caught`] answers.
pub struct Caught(Status);

impl<'r> Responder<'r, 'static> for Caught {
    fn respond_to(self, request: &'r Request<'_>) -> response::Result<'static> {
        let Self(status) = self;
        let said = request.local_cache(|| Said(None)).0.clone().unwrap_or_else(|| {
            let spoken = sentence(status);
            let code = match status.code {
                401 => "signed_out".to_owned(),
                404 => "not_found".to_owned(),
                other => format!("http_{other}"),
            };
            Problem { next: spoken.next, ..problem(&code, &spoken.what, spoken.why, "") }
        });
        (status, Json(said)).respond_to(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::api::bookings::ExtendRequest;

    fn read(text: &str) -> (u16, String) {
        let wrong = serde_json::from_str::<ExtendRequest>(text).unwrap_err();
        let (status, said) = unreadable(&wrong);
        (status.code, said.why)
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let (status, why) = read("{\"by_seconds\":1,\"as_admin\":true}");
        assert!(status == 422 && why.contains("as_admin"), "{why}");
        let (status, why) = read("{\"by_seconds\":");
        assert!(status == 400 && why.contains("line 1"), "{why}");
        let (status, why) = read("{}");
        assert!(status == 422 && why.contains("by_seconds"), "{why}");
    }
}
