//! What a browser or a client gets when something did not go: a page or a JSON problem with what happened, why, and what to
//! do next. Causes go to the log with a number that the person can quote. It refuses to show them.
use askama::Template;
use rocket::http::{Method, Status};
use rocket::request::Request;
use rocket::response::{self, Redirect, Responder};
use rocket::serde::json::Json;

use super::page::{Html, Page};
use crate::app::error::{AppError, with_causes};
use crate::app::ids;
use crate::domain::notice::{Kind, Refusal, Sentence};
use crate::store::StoreError;
use crate::wire::api::Problem;

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    page: Page,
    said: Sentence,
}

/// Any failure on its way to a browser.
#[derive(Debug)]
pub struct PageError(pub AppError);

/// Any failure on its way to a client of the API.
#[derive(Debug)]
pub struct ApiError(pub AppError);

impl<E: Into<AppError>> From<E> for PageError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl<E: Into<AppError>> From<E> for ApiError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

/// The status of each kind of refusal.
pub const fn status(kind: Kind) -> Status {
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

/// What is said of a failure, and how it is answered. Logs the cause of what is not a refusal.
pub fn explain(error: &AppError) -> (Status, Problem) {
    match error {
        AppError::Refused(refusal) => (status(refusal.reason().kind()), problem(refusal)),
        AppError::Store(StoreError::Closed { why }) => {
            tracing::error!(%why, "a write was refused");
            let said = Sentence::new(
                "The mill takes no changes at the moment.",
                format!("It cannot write at the moment: {why}."),
                "Nothing was changed. An admin has to mend what is named there; then try again.",
            );
            (Status::ServiceUnavailable, from_sentence("store_closed", said))
        }
        other => {
            let number = format!("{:08x}", ids::fresh() as u32);
            tracing::error!(number, error = %with_causes(other), "a request failed");
            let said = Sentence::new(
                "Something went wrong in the mill itself.",
                "The cause is in the server's log.",
                format!("Try again; if it stays, give an admin the number {number}."),
            );
            (Status::InternalServerError, from_sentence("broken", said))
        }
    }
}

fn problem(refusal: &Refusal) -> Problem {
    let reason = refusal.reason();
    Problem {
        field: reason.field().map(str::to_owned),
        offer: reason.offer(),
        ..from_sentence(reason.code(), reason.sentence())
    }
}

fn from_sentence(code: &str, said: Sentence) -> Problem {
    Problem { code: code.to_owned(), what: said.what, why: said.why, next: said.next, field: None, offer: None }
}

impl<'r> Responder<'r, 'static> for PageError {
    fn respond_to(self, request: &'r Request<'_>) -> response::Result<'static> {
        let (status, said) = explain(&self.0);
        page(request, status, Sentence::new(said.what, said.why, said.next))
    }
}

impl<'r> Responder<'r, 'static> for ApiError {
    fn respond_to(self, request: &'r Request<'_>) -> response::Result<'static> {
        let (status, said) = explain(&self.0);
        (status, Json(said)).respond_to(request)
    }
}

/// A page that says no more than this.
pub fn page(request: &Request<'_>, status: Status, said: Sentence) -> response::Result<'static> {
    let page = Page { title: said.what.trim_end_matches('.').to_owned(), ..Page::default() };
    (status, Html(ErrorPage { page, said })).respond_to(request)
}

/// The sentence for a status that Rocket itself or a guard answered.
pub fn sentence(status: Status) -> Sentence {
    let (what, why, next) = match status.code {
        401 => ("You are not signed in.", "There is no session, or it has ended.", "Sign in and try again."),
        403 => (
            "This form was not taken.",
            "It did not come from a page of your present session: perhaps you signed in again in another tab.",
            "Go back, reload the page and send it again.",
        ),
        404 => (
            "There is nothing here.",
            "The address is wrong, or it is not yours to see.",
            "Go back, or start from the first page.",
        ),
        413 => ("That was too much at once.", "The request's body is larger than it may be.", "Send less."),
        503 => (
            "The mill is not available at the moment.",
            "It is starting, stopping, or cannot use its disk.",
            "Try again in a minute.",
        ),
        400..=499 => (
            "The request could not be understood.",
            "Something about it is not as it should be.",
            "Go back, reload the page and try again.",
        ),
        _ => (
            "Something went wrong in the mill itself.",
            "The cause is in the server's log.",
            "Try again; if it stays, tell an admin when it happened.",
        ),
    };
    Sentence::new(what, why, next)
}

/// Answers whatever no handler answered, in the form of the part of the site that was asked.
#[rocket::catch(default)]
pub fn caught(status: Status, request: &Request<'_>) -> Caught {
    let uri = request.uri();
    if uri.path().starts_with("/api/") {
        return Caught::Api(status);
    }
    // A page that needs a session: sign in, then come back. Only what was shown can be come back to.
    match (status, request.method()) {
        (Status::Unauthorized, Method::Get) => {
            let address = uri.to_string();
            let back = rocket::http::RawStr::new(&address).percent_encode();
            Caught::SignIn(Box::new(Redirect::to(format!("/sign-in?next={back}"))))
        }
        (Status::Unauthorized, _) => Caught::SignIn(Box::new(Redirect::to("/sign-in"))),
        _ => Caught::Page(status),
    }
}

/// What [`caught`] answers.
pub enum Caught {
    Api(Status),
    SignIn(Box<Redirect>),
    Page(Status),
}

impl<'r> Responder<'r, 'static> for Caught {
    fn respond_to(self, request: &'r Request<'_>) -> response::Result<'static> {
        match self {
            Self::SignIn(there) => there.respond_to(request),
            Self::Page(status) => page(request, status, sentence(status)),
            Self::Api(status) => {
                let code = match status {
                    Status::Unauthorized => "signed_out".to_owned(),
                    other => format!("http_{}", other.code),
                };
                (status, Json(from_sentence(&code, sentence(status)))).respond_to(request)
            }
        }
    }
}
