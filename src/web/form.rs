//! Forms: a POST proves where it comes from before anything reads it, and keeps what was typed. It refuses requests of
//! other sites, forms of other sessions, and bodies beyond 64 KiB.
use std::collections::BTreeMap;

use rocket::data::{Data, FromData, Outcome, ToByteUnit as _};
use rocket::http::Status;
use rocket::request::Request;

use super::guard::{SignedIn, Visit};
use rocket::response::Responder;

use super::error::PageError;
use super::page::{CSRF_FIELD, Html, KEY_FIELD, Typed};
use crate::app::error::AppError;
use crate::base::credits::Credits;
use crate::base::secret::Secret;
use crate::base::text::{self, Name};
use crate::base::window::Span;
use crate::domain::notice::{Common, Refusal};
use crate::store::IdempotencyKey;

/// Why a form was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOurs {
    /// Sent by a page of another site.
    ForeignOrigin,
    /// Not from a page of this session: an old tab, or a forgery.
    WrongToken,
    /// Too long or not a form.
    Unreadable,
}

/// A form that came from a page of this very session.
#[derive(Clone, Debug)]
pub struct Posted {
    fields: BTreeMap<String, Vec<String>>,
}

/// Fields that are never shown again.
const SECRET_FIELDS: &[&str] = &["password", "old_password", CSRF_FIELD, KEY_FIELD];

impl Posted {
    /// What was typed; empty when the field is missing.
    pub fn text(&self, field: &str) -> &str {
        self.fields.get(field).and_then(|values| values.first()).map_or("", |value| value.trim())
    }

    /// Like [`Posted::text`], but `None` when nothing was typed.
    pub fn given(&self, field: &str) -> Option<&str> {
        Some(self.text(field)).filter(|text| !text.is_empty())
    }

    pub fn secret(&self, field: &str) -> Secret {
        Secret::new(self.fields.get(field).and_then(|values| values.first()).cloned().unwrap_or_default())
    }

    /// Makes sending the form twice the same as sending it once.
    pub fn key(&self) -> Option<IdempotencyKey> {
        self.given(KEY_FIELD).and_then(|key| IdempotencyKey::new(key).ok())
    }

    pub fn name(&self, field: &'static str) -> Result<Name, Common> {
        self.text(field).parse().map_err(|why: text::BadText| bad(field, why))
    }

    pub fn duration(&self, field: &'static str) -> Result<Span, Common> {
        text::duration(self.text(field)).map_err(|why| bad(field, why))
    }

    pub fn amount(&self, field: &'static str) -> Result<Credits, Common> {
        self.text(field).parse().map_err(|why: crate::base::credits::AmountError| bad(field, why))
    }

    pub fn number(&self, field: &'static str) -> Result<u64, Common> {
        self.text(field).parse().map_err(|_| bad(field, "It is a whole number"))
    }

    /// What was typed, to show the form again; secrets are left out.
    pub fn typed(&self) -> Typed {
        let shown = self.fields.iter().filter(|(name, _)| !SECRET_FIELDS.contains(&name.as_str()));
        shown
            .fold(Typed::default(), |typed, (name, values)| typed.with(name, values.first().map_or("", String::as_str)))
    }

    /// The form again, with what was wrong.
    pub fn refused(&self, refusal: &Refusal) -> Typed {
        self.typed().refused(refusal.reason().field(), refusal.reason().sentence())
    }
}

fn bad(field: &'static str, why: impl std::fmt::Display) -> Common {
    Common::BadField { field, why: why.to_string() }
}

/// Whether the browser says that a page of this very site sent the request. Old browsers say nothing at all and are
/// judged by their session-bound token alone.
fn same_origin(request: &Request<'_>, visit: &Visit) -> bool {
    match request.headers().get_one("sec-fetch-site") {
        Some("same-origin" | "none") => true,
        Some(_) => false,
        None => match request.headers().get_one("origin") {
            None => true,
            Some(origin) => {
                let scheme = if visit.https { "https" } else { "http" };
                request.host().is_some_and(|host| origin == format!("{scheme}://{host}"))
            }
        },
    }
}

#[rocket::async_trait]
impl<'r> FromData<'r> for Posted {
    type Error = NotOurs;

    async fn from_data(request: &'r Request<'_>, data: Data<'r>) -> Outcome<'r, Self> {
        let rocket::request::Outcome::Success(visit) = request.guard::<Visit>().await else {
            return Outcome::Error((Status::NotFound, NotOurs::ForeignOrigin));
        };
        if !same_origin(request, &visit) {
            return Outcome::Error((Status::Forbidden, NotOurs::ForeignOrigin));
        }
        let body = match data.open(64.kibibytes()).into_string().await {
            Ok(body) if body.is_complete() => body.into_inner(),
            Ok(_) => return Outcome::Error((Status::PayloadTooLarge, NotOurs::Unreadable)),
            Err(_) => return Outcome::Error((Status::BadRequest, NotOurs::Unreadable)),
        };
        let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pair in body.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            fields.entry(decoded(name)).or_default().push(decoded(value));
        }
        let posted = Self { fields };
        // Whoever is signed in must send the token of this session; who is not has none to send.
        if let rocket::request::Outcome::Success(signed_in) = request.guard::<SignedIn>().await
            && !bool::from(subtle::ConstantTimeEq::ct_eq(
                posted.text(CSRF_FIELD).as_bytes(),
                signed_in.who.form_token.as_bytes(),
            ))
        {
            return Outcome::Error((Status::Forbidden, NotOurs::WrongToken));
        }
        Outcome::Success(posted)
    }
}

fn decoded(text: &str) -> String {
    rocket::http::RawStr::new(text).url_decode_lossy().into_owned()
}

/// The form again with what was wrong, or an error page: what a POST answers when it did not do what was asked.
pub enum Again<T> {
    Form(Status, Box<Html<T>>),
    Page(PageError),
}

impl<T> Again<T> {
    /// Shows a page with a status of one's own.
    pub fn shown(status: Status, page: T) -> Self {
        Self::Form(status, Box::new(Html(page)))
    }

    /// Shows the form again, with the status of the refusal.
    pub fn form(why: &Refusal, shown: Result<T, PageError>) -> Self {
        match shown {
            Ok(page) => Self::shown(super::error::status(why.reason().kind()), page),
            Err(error) => Self::Page(error),
        }
    }
}

impl<T, E: Into<AppError>> From<E> for Again<T> {
    fn from(error: E) -> Self {
        Self::Page(PageError(error.into()))
    }
}

impl<'r, T: askama::Template> Responder<'r, 'static> for Again<T> {
    fn respond_to(self, request: &'r Request<'_>) -> rocket::response::Result<'static> {
        match self {
            Self::Form(status, page) => (status, *page).respond_to(request),
            Self::Page(error) => error.respond_to(request),
        }
    }
}
