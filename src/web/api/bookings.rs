//! Bookings: quote, book, look, change.
use rocket::serde::json::Json;
use rocket::{State, get, post};

use super::body::{Body, Key, Nothing};
use crate::app::bookings::show::Filter;
use crate::app::bookings::{change, place, show as shown};
use crate::app::error::Answer;
use crate::app::mill::Mill;
use crate::base::ids::BookingId;
use crate::domain::notice::Common;
use crate::web::error::ApiError;
use crate::web::guard::Bearer;
use crate::wire::api::Problem;
use crate::wire::api::bookings::{BookRequest, BookingView, ExtendRequest, QuoteView};

/// States of a booking that is not over, and of one that is.
const LIVE: [&str; 4] = ["booked", "starting", "active", "ending"];
const OVER: [&str; 3] = ["ended", "cancelled", "failed"];

/// A text that is no id looks like an id that does not exist.
pub fn id(given: &str) -> Result<BookingId, Common> {
    given.parse().map_err(|_| Common::NotFound { what: "booking" })
}

/// Which bookings are asked for: one's own that are not over, unless said otherwise.
fn filter(all: bool, state: Option<&str>) -> Result<Filter, Common> {
    let live = match state {
        None => !all,
        Some(state) if LIVE.contains(&state) => true,
        Some(state) if OVER.contains(&state) => false,
        Some(_) => {
            let why = format!("A state is one of {} or {}", LIVE.join(", "), OVER.join(", "));
            return Err(Common::BadField { field: "state", why });
        }
    };
    Ok(Filter { mine: !all, live, ..Filter::default() })
}

/// Your bookings that are not over, the newest first; with `all` those of others and of the past as well
#[utoipa::path(context_path = "/api/v1", tag = "bookings",
    params(("all" = Option<bool>, Query), ("state" = Option<String>, Query)),
    responses((status = 200, body = [BookingView]), (status = "default", body = Problem)))]
#[get("/bookings?<all>&<state>")]
pub fn list(
    who: Bearer,
    mill: &State<Mill>,
    all: Option<bool>,
    state: Option<&str>,
) -> Result<Json<Vec<BookingView>>, ApiError> {
    let filter = filter(all.unwrap_or(false), state)?;
    let mut found = shown::list(mill, &who.0.actor, &filter, crate::clock::now())?;
    found.retain(|booking| state.is_none_or(|state| booking.state == state));
    Ok(Json(found))
}

/// One booking
#[utoipa::path(context_path = "/api/v1", tag = "bookings", params(("booking" = String, Path)),
    responses((status = 200, body = BookingView), (status = "default", body = Problem)))]
#[get("/bookings/<booking>")]
pub fn show(who: Bearer, mill: &State<Mill>, booking: &str) -> Result<Json<BookingView>, ApiError> {
    Ok(Json(shown::show(mill, &who.0.actor, id(booking)?, crate::clock::now())?))
}

/// What a booking would cost and when it would start; promises nothing
#[utoipa::path(context_path = "/api/v1", tag = "bookings", request_body = BookRequest,
    responses((status = 200, body = QuoteView), (status = "default", body = Problem)))]
#[post("/quotes", data = "<body>")]
pub fn quote(who: Bearer, mill: &State<Mill>, body: Body<BookRequest>) -> Result<Json<QuoteView>, ApiError> {
    Ok(Json(place::quote(mill, &who.0.actor, &body.0, crate::clock::now())?))
}

/// Book GPUs and hold their price
#[utoipa::path(context_path = "/api/v1", tag = "bookings", request_body = BookRequest,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = BookingView), (status = "default", body = Problem)))]
#[post("/bookings", data = "<body>")]
pub async fn book(
    who: Bearer,
    mill: &State<Mill>,
    key: Key,
    body: Body<BookRequest>,
) -> Result<Json<BookingView>, ApiError> {
    Ok(Json(place::book(mill, &who.0.actor, body.0, key.0, crate::clock::now()).await?))
}

/// Make a booking last longer, at today's rate
#[utoipa::path(context_path = "/api/v1", tag = "bookings", request_body = ExtendRequest,
    params(("booking" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = BookingView), (status = "default", body = Problem)))]
#[post("/bookings/<booking>/extend", data = "<body>")]
pub async fn extend(
    who: Bearer,
    mill: &State<Mill>,
    booking: &str,
    key: Key,
    body: Body<ExtendRequest>,
) -> Result<Json<BookingView>, ApiError> {
    changed(change::extend(mill, &who.0.actor, id(booking)?, body.0, key.0, crate::clock::now()).await)
}

/// Give a running booking back early
#[utoipa::path(context_path = "/api/v1", tag = "bookings", request_body = Nothing,
    params(("booking" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = BookingView), (status = "default", body = Problem)))]
#[post("/bookings/<booking>/release", data = "<_body>")]
pub async fn release(
    who: Bearer,
    mill: &State<Mill>,
    booking: &str,
    key: Key,
    _body: Body<Nothing>,
) -> Result<Json<BookingView>, ApiError> {
    changed(change::release(mill, &who.0.actor, id(booking)?, key.0, crate::clock::now()).await)
}

/// Give a booking up before it starts
#[utoipa::path(context_path = "/api/v1", tag = "bookings", request_body = Nothing,
    params(("booking" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = BookingView), (status = "default", body = Problem)))]
#[post("/bookings/<booking>/cancel", data = "<_body>")]
pub async fn cancel(
    who: Bearer,
    mill: &State<Mill>,
    booking: &str,
    key: Key,
    _body: Body<Nothing>,
) -> Result<Json<BookingView>, ApiError> {
    changed(change::cancel(mill, &who.0.actor, id(booking)?, key.0, crate::clock::now()).await)
}

fn changed(outcome: Answer<BookingView>) -> Result<Json<BookingView>, ApiError> {
    Ok(Json(outcome?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_for_a_state_that_is_over_looks_into_the_past() {
        assert_eq!(filter(false, None).unwrap(), Filter { mine: true, live: true, ..Filter::default() });
        assert_eq!(filter(false, Some("ended")).unwrap(), Filter { mine: true, ..Filter::default() });
        assert_eq!(filter(true, None).unwrap(), Filter::default());
        assert!(filter(false, Some("Ended")).is_err());
    }
}
