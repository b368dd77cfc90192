//! The API's description, made from the handlers themselves. It refuses to be written by hand: a test holds it against the
//! routes that are really mounted.
use rocket::get;
use rocket::http::ContentType;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{admin, bookings, care, fleet, health, log, money, people, pools, terminal, unbooked};
use crate::web::guard::Visit;
use crate::wire::api::bookings::LogEnd;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Gristmill",
        description = "An organisation's own GPU servers as its private cloud. Amounts are integer micro-credits beside a \
                       decimal; times are RFC 3339 in UTC. A change sent again under the same Idempotency-Key gets the \
                       answer of the first time. Every refusal says what happened, why, and what to do next.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        people::login, people::status, people::invite, people::teams,
        fleet::nodes, fleet::gpus, fleet::make_token, fleet::join_tokens, fleet::join_token, fleet::make_tokens, fleet::admit,
        fleet::revoke, fleet::upgrade, health::fleet, health::one, health::say,
        care::duty, care::announce, care::cancel, care::rename, care::move_to, care::retire,
        pools::list, pools::make, pools::show, pools::change,
        unbooked::list, unbooked::void, unbooked::users, unbooked::assign, unbooked::remove,
        bookings::list, bookings::show, bookings::quote, bookings::book, bookings::extend, bookings::release,
        bookings::cancel, log::read, log::follow, terminal::ticket,
        money::grant, money::statement, money::rates, money::set_rate, money::invoices, money::invoice, money::draft,
        money::issue, money::settle, money::pdf,
        admin::verify, admin::backup,
    ),
    components(schemas(LogEnd)),
    security(("token" = [])),
    modifiers(&Token),
)]
struct Description;

/// How requests prove who sends them.
struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.description = Some("The token that POST /api/v1/login answers".to_owned());
        if let Some(components) = document.components.as_mut() {
            components.add_security_scheme("token", SecurityScheme::Http(scheme));
        }
    }
}

/// The whole description.
pub fn description() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

#[get("/openapi.json")]
pub fn document(_visit: Visit) -> (ContentType, String) {
    (ContentType::JSON, serde_json::to_string_pretty(&description()).expect("a description is plain data"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::web::api::{BASE, routes};

    /// `GET /bookings/{}`: a path with its parameters' names left out.
    fn shape(method: &str, path: &str) -> String {
        let path = path.split('?').next().unwrap_or_default();
        let segments = path.split('/').map(|s| if s.starts_with(['<', '{']) { "{}" } else { s });
        format!("{} {}", method.to_uppercase(), segments.collect::<Vec<_>>().join("/"))
    }

    #[test]
    fn what_is_described_is_what_is_mounted() {
        let json = serde_json::to_value(description()).unwrap();
        let mut described = BTreeSet::new();
        for (path, item) in json["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                described.insert(shape(method, path));
            }
        }
        let mounted: BTreeSet<String> =
            routes().iter().map(|route| shape(route.method.as_str(), &format!("{BASE}{}", route.uri))).collect();
        let undescribed: Vec<_> = mounted.difference(&described).collect();
        // The description itself, and the socket, which OpenAPI cannot describe: its ticket says where it is.
        assert_eq!(undescribed, ["GET /api/v1/bookings/{}/terminal/ws", "GET /api/v1/openapi.json"]);
        assert_eq!(described.difference(&mounted).count(), 0);
    }

    #[test]
    fn every_change_but_signing_in_takes_a_token() {
        let json = serde_json::to_value(description()).unwrap();
        assert_eq!(json["security"][0]["token"], serde_json::json!([]));
        let open: Vec<_> = json["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| item.as_object().unwrap().values().map(move |operation| (path, operation)))
            .filter(|(_, operation)| operation.get("security").is_some())
            .map(|(path, _)| path.as_str())
            .collect();
        assert_eq!(open, ["/api/v1/login"]);
    }
}
