//! The headers that every answer carries. One fairing, so that no page can forget them. It refuses exceptions but one: the
//! terminal's page may be given styles by xterm, which writes them at run time.
use rocket::fairing::{Fairing, Info, Kind};
use rocket::http::Header;
use rocket::{Request, Response};

use super::guard::Visit;

/// Everything comes from this server, nothing is inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'";
/// xterm.js creates its style element itself (eight violations and lost colours without this).
const TERMINAL_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                               font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; \
                               frame-ancestors 'none'; object-src 'none'";

/// Sets the headers.
pub struct Headers;

#[rocket::async_trait]
impl Fairing for Headers {
    fn info(&self) -> Info {
        Info { name: "security headers", kind: Kind::Response }
    }

    async fn on_response<'r>(&self, request: &'r Request<'_>, response: &mut Response<'r>) {
        let terminal = request.uri().path().ends_with("/terminal");
        let set = |response: &mut Response<'r>, name: &'static str, value: &'static str| {
            response.set_header(Header::new(name, value));
        };
        set(response, "content-security-policy", if terminal { TERMINAL_POLICY } else { POLICY });
        set(response, "x-content-type-options", "nosniff");
        set(response, "x-frame-options", "DENY");
        set(response, "referrer-policy", "no-referrer");
        set(response, "cross-origin-opener-policy", "same-origin");
        set(response, "cross-origin-resource-policy", "same-origin");
        set(response, "permissions-policy", "camera=(), microphone=(), geolocation=(), payment=(), usb=()");
        if response.headers().get_one("cache-control").is_none() {
            set(response, "cache-control", "no-store");
        }
        if let rocket::request::Outcome::Success(Visit { https: true, .. }) = request.guard::<Visit>().await {
            set(response, "strict-transport-security", "max-age=31536000");
        }
    }
}
