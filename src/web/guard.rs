//! Who is asking: guards whose presence in a handler's signature is its authorisation. Identity comes from a session cookie
//! or a bearer token and from nothing else. They refuse requests that did not come through the front door.
use std::net::IpAddr;

use rocket::http::{Cookie, CookieJar, SameSite, Status};
use rocket::request::{FromRequest, Outcome, Request};
use subtle::ConstantTimeEq as _;

use crate::app::error::AppError;
use crate::app::mill::Mill;
use crate::app::people::{actor, signin, tokens};
use crate::base::secret::Secret;
use crate::base::window::Instant;
use crate::domain::people::member::Session;
use crate::domain::people::refusal::PeopleRefusal;
use crate::domain::people::rights::Actor;
use crate::edge::{CLIENT_HEADER, SCHEME_HEADER, SECRET_HEADER};
use crate::store::{Read, StoreError};

/// The secret that the front door puts on every request; managed by Rocket.
pub struct EdgeSecret(pub Secret);

/// A request that came through the front door: from where, and over what.
#[derive(Clone, Debug)]
pub struct Visit {
    pub address: Option<IpAddr>,
    pub https: bool,
    /// What the browser calls itself.
    pub agent: String,
}

/// Why a request was refused before its handler; the catchers speak of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turned {
    NotThroughTheDoor,
    SignedOut,
    /// Pages for admins do not exist for others.
    NotForYou,
    Broken,
}

#[rocket::async_trait]
impl<'r> FromRequest<'r> for Visit {
    type Error = Turned;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, Turned> {
        let headers = request.headers();
        let expected = request.rocket().state::<EdgeSecret>().map(|secret| secret.0.expose().as_bytes());
        let given = headers.get_one(SECRET_HEADER).map(str::as_bytes);
        let genuine = matches!((expected, given), (Some(e), Some(g)) if bool::from(e.ct_eq(g)));
        if !genuine {
            return Outcome::Error((Status::NotFound, Turned::NotThroughTheDoor));
        }
        Outcome::Success(Self {
            address: headers.get_one(CLIENT_HEADER).and_then(|text| text.parse().ok()),
            https: headers.get_one(SCHEME_HEADER) == Some("https"),
            agent: headers.get_one("user-agent").unwrap_or_default().to_owned(),
        })
    }
}

/// The cookie's name: with TLS the prefix binds it to this host and to TLS; without (loopback alone) it cannot be used.
pub const fn cookie_name(https: bool) -> &'static str {
    if https { "__Host-gristmill" } else { "gristmill" }
}

/// Puts the session into the browser.
pub fn set_cookie(jar: &CookieJar<'_>, visit: &Visit, session: &Secret) {
    let cookie = Cookie::build((cookie_name(visit.https), session.expose().to_owned()))
        .path("/")
        .http_only(true)
        .secure(visit.https)
        .same_site(SameSite::Lax)
        .max_age(rocket::time::Duration::seconds(signin::ABSOLUTE.as_seconds()));
    jar.add(cookie);
}

/// Takes it out again.
pub fn clear_cookie(jar: &CookieJar<'_>, visit: &Visit) {
    jar.remove(Cookie::build(cookie_name(visit.https)).path("/").secure(visit.https).build());
}

/// A member in a browser.
#[derive(Clone, Debug)]
pub struct SignedIn {
    pub who: signin::SignedIn,
    pub visit: Visit,
}

/// An admin in a browser.
#[derive(Clone, Debug)]
pub struct Admin(pub SignedIn);

/// A member by bearer token: the API's guard. Cookies do not count there, so that no page of another site can use them.
#[derive(Clone, Debug)]
pub struct Bearer(pub signin::SignedIn);

async fn session(request: &Request<'_>) -> Result<SignedIn, (Status, Turned)> {
    let visit = match request.guard::<Visit>().await {
        Outcome::Success(visit) => visit,
        _ => return Err((Status::NotFound, Turned::NotThroughTheDoor)),
    };
    let mill = request.rocket().state::<Mill>().ok_or((Status::InternalServerError, Turned::Broken))?;
    let cookie = request.cookies().get(cookie_name(visit.https)).map(|cookie| cookie.value().to_owned());
    let Some(cookie) = cookie else { return Err((Status::Unauthorized, Turned::SignedOut)) };
    answer(signin::authenticate(mill, &cookie, crate::clock::now()).await).map(|who| SignedIn { who, visit })
}

fn answer(outcome: Result<signin::SignedIn, AppError>) -> Result<signin::SignedIn, (Status, Turned)> {
    outcome.map_err(|problem| match problem {
        AppError::Refused(_) => (Status::Unauthorized, Turned::SignedOut),
        other => {
            tracing::error!(problem = %other, "nobody can sign in: the store failed");
            (Status::ServiceUnavailable, Turned::Broken)
        }
    })
}

#[rocket::async_trait]
impl<'r> FromRequest<'r> for SignedIn {
    type Error = Turned;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, Turned> {
        let cached = request.local_cache_async(session(request)).await;
        match cached {
            Ok(signed_in) => Outcome::Success(signed_in.clone()),
            Err(refused) => Outcome::Error(refused.clone()),
        }
    }
}

#[rocket::async_trait]
impl<'r> FromRequest<'r> for Admin {
    type Error = Turned;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, Turned> {
        match request.guard::<SignedIn>().await {
            Outcome::Success(who) if who.who.actor.admin => Outcome::Success(Self(who)),
            Outcome::Success(_) => Outcome::Error((Status::NotFound, Turned::NotForYou)),
            Outcome::Error(refused) => Outcome::Error(refused),
            Outcome::Forward(status) => Outcome::Forward(status),
        }
    }
}

#[rocket::async_trait]
impl<'r> FromRequest<'r> for Bearer {
    type Error = Turned;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, Turned> {
        let Outcome::Success(_) = request.guard::<Visit>().await else {
            return Outcome::Error((Status::NotFound, Turned::NotThroughTheDoor));
        };
        let Some(mill) = request.rocket().state::<Mill>() else {
            return Outcome::Error((Status::InternalServerError, Turned::Broken));
        };
        let token = request.headers().get_one("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let known = match token {
            Some(token) => answer(tokens::authenticate(mill, token.trim(), crate::clock::now())),
            None => {
                Err(AppError::from(PeopleRefusal::SignedOut)).map_err(|_| (Status::Unauthorized, Turned::SignedOut))
            }
        };
        match known {
            Ok(who) => Outcome::Success(Self(who)),
            Err(refused) => Outcome::Error(refused),
        }
    }
}

/// The actor behind a session that was good when its request came: for connections that outlive it. `None` when the
/// session has ended since, or its member may not sign in any more.
pub fn still(mill: &Mill, who: &signin::SignedIn, now: Instant) -> Result<Option<Actor>, StoreError> {
    let view = mill.store.read()?;
    let session = who.session.map(|id| view.get::<Session>(&id)).transpose()?.flatten();
    // Not idle as long as this connection is open: only the absolute end and an ending by hand count.
    if session.is_none_or(|session| now >= session.expires) {
        return Ok(None);
    }
    Ok(actor::load(&view, who.member.id)?.map(|(_, actor)| actor))
}

/// A request that a page of this very site sent, by the browser's own word. For WebSockets, which carry no form token:
/// nothing said is as bad as another site named.
pub struct SameOrigin;

#[rocket::async_trait]
impl<'r> FromRequest<'r> for SameOrigin {
    type Error = Turned;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, Turned> {
        let Outcome::Success(visit) = request.guard::<Visit>().await else {
            return Outcome::Error((Status::NotFound, Turned::NotThroughTheDoor));
        };
        let scheme = if visit.https { "https" } else { "http" };
        let own = request.host().map(|host| format!("{scheme}://{host}"));
        match (own, request.headers().get_one("origin")) {
            (Some(own), Some(origin)) if own == origin => Outcome::Success(Self),
            _ => Outcome::Error((Status::Forbidden, Turned::NotForYou)),
        }
    }
}
