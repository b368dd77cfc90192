//! Somebody whose request lasts: a followed log, a terminal. Their token is looked at again while it goes on, so that ending
//! it ends what it opened. It refuses to outlive the token.
use std::time::Duration;

use rocket::http::Status;
use rocket::request::{FromRequest, Outcome, Request};

use crate::app::error::{Answer, AppError};
use crate::app::mill::Mill;
use crate::app::people::tokens;
use crate::base::secret::Secret;
use crate::domain::people::rights::Actor;
use crate::store::StoreError;
use crate::web::guard::{Bearer, Turned, Visit};

/// How often what lasts looks at its rights again.
pub const RECHECK: Duration = Duration::from_secs(60);

/// A member by bearer token, who can be asked for again.
#[derive(Clone, Debug)]
pub struct Caller {
    pub actor: Actor,
    token: Secret,
}

impl Caller {
    /// With the rights that the token gives now.
    pub fn still(&self, mill: &Mill) -> Answer<Actor> {
        tokens::authenticate(mill, self.token.expose(), crate::clock::now()).map(|who| who.actor)
    }

    /// The same, where a token that has ended is an answer and not a refusal.
    pub fn known(&self, mill: &Mill) -> Result<Option<Actor>, StoreError> {
        match self.still(mill) {
            Ok(actor) => Ok(Some(actor)),
            Err(AppError::Store(problem)) => Err(problem),
            Err(_) => Ok(None),
        }
    }
}

/// A request that no page of a browser sent: programs name no origin.
pub struct NoPage;

#[rocket::async_trait]
impl<'r> FromRequest<'r> for NoPage {
    type Error = Turned;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, Turned> {
        let Outcome::Success(_) = request.guard::<Visit>().await else {
            return Outcome::Error((Status::NotFound, Turned::NotThroughTheDoor));
        };
        match request.headers().get_one("origin") {
            None => Outcome::Success(Self),
            Some(_) => Outcome::Error((Status::Forbidden, Turned::NotForYou)),
        }
    }
}

#[rocket::async_trait]
impl<'r> FromRequest<'r> for Caller {
    type Error = Turned;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, Turned> {
        let given = request.headers().get_one("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let token = Secret::new(given.unwrap_or_default().trim());
        request.guard::<Bearer>().await.map(|Bearer(who)| Self { actor: who.actor, token })
    }
}
