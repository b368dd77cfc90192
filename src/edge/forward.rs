//! From the client to the console and back. Strips what a client may not say (who it is, which hop it speaks for), adds
//! what only the door may say, streams both ways without buffering, and joins the two ends of a WebSocket. It refuses
//! upgrades to anything but WebSocket, and never repeats a request by itself.
use std::net::IpAddr;
use std::sync::Arc;

use hyper::body::{Body as _, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::uri::Uri;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio::sync::watch;

use super::answer::{Answer, Reply, to_https};
use super::limits::{Busy, Limits, Seat};
use super::listen::Phase;
use super::pace::Paced;
use super::route::{NoRoute, Route, Routes, Target};
use super::upstream::{Upstream, discard};
use super::{EdgeError, EdgeSettings};

/// Proves to the console that a request came through the front door.
pub const SECRET_HEADER: &str = "x-gristmill-edge";
/// The client's address, without port.
pub const CLIENT_HEADER: &str = "x-gristmill-client";
/// How the client reached the door: `http` or `https`.
pub const SCHEME_HEADER: &str = "x-gristmill-scheme";

/// Headers that belong to one connection and end with it.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What every connection shares.
pub(super) struct Front {
    routes: Routes,
    pub(super) limits: Limits,
    secret: HeaderValue,
    console: Upstream,
}

/// The connection that a request came by.
#[derive(Clone)]
pub(super) struct Arrival {
    pub(super) client: IpAddr,
    pub(super) local: IpAddr,
    pub(super) secure: bool,
    pub(super) seat: Arc<Seat>,
    pub(super) phase: watch::Receiver<Phase>,
}

impl Front {
    pub(super) fn new(settings: &EdgeSettings) -> Result<Self, EdgeError> {
        let mut secret = HeaderValue::from_str(settings.secret.expose()).map_err(|_| EdgeError::BadSecret)?;
        secret.set_sensitive(true);
        let routes = Routes::new(&settings.hosts)?;
        let console = Upstream::new(settings.upstream);
        Ok(Self { routes, limits: settings.limits.clone(), secret, console })
    }

    fn no_route(&self, reason: NoRoute) -> Answer<'_> {
        Answer::NoRoute { reason, public_name: self.routes.public_name() }
    }

    /// Answers one request, from the console wherever that is possible.
    pub(super) async fn answer(&self, request: Request<Incoming>, arrival: &Arrival) -> Response<Reply> {
        let (route, busy) = match self.admit(&request, arrival) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                let http1 = request.version() < Version::HTTP_2;
                if !request.body().is_end_stream() {
                    tokio::spawn(discard(request.into_body()));
                }
                return refusal.last_response(http1);
            }
        };
        self.forward(request, route, arrival, busy).await
    }

    fn admit<'a>(&'a self, request: &Request<Incoming>, arrival: &Arrival) -> Result<(Route, Busy), Answer<'a>> {
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            return Err(Answer::MethodRefused);
        }
        let route = self.routes.find(request, arrival.local).map_err(|reason| self.no_route(reason))?;
        let limit = self.limits.body_bytes;
        if announced_length(request.headers()).is_some_and(|length| length > limit) {
            return Err(Answer::BodyTooLarge { limit });
        }
        let busy = arrival.seat.begin().ok_or(Answer::TooBusy)?;
        Ok((route, busy))
    }

    async fn forward(
        &self,
        mut request: Request<Incoming>,
        route: Route,
        arrival: &Arrival,
        busy: Busy,
    ) -> Response<Reply> {
        let http1 = request.version() < Version::HTTP_2;
        let upgrade = wants_websocket(&request).then(|| hyper::upgrade::on(&mut request));
        let Some(request) = self.outbound(request, &route, arrival, upgrade.is_some()) else {
            return Answer::MethodRefused.last_response(http1);
        };
        let verdict = request.body().verdict();
        let sent = match route.target {
            Target::Console => self.console.send(request).await,
        };
        let mut response = match sent {
            Ok(response) => response,
            Err(_) if verdict.too_large() => {
                return Answer::BodyTooLarge { limit: self.limits.body_bytes }.last_response(http1);
            }
            Err(_) if verdict.too_slow() => return Answer::BodyTooSlow.last_response(http1),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the console did not answer");
                return Answer::ConsoleSilent.last_response(http1);
            }
        };
        match upgrade {
            Some(client_side) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                let console_side = hyper::upgrade::on(&mut response);
                tokio::spawn(join(client_side, console_side, busy, arrival.phase.clone()));
                switched(response)
            }
            _ if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                tracing::warn!("the console switched protocols although nobody asked");
                Answer::ConsoleSilent.last_response(http1)
            }
            _ => {
                let (mut head, body) = response.into_parts();
                strip_hop(&mut head.headers);
                strip_own(&mut head.headers);
                head.version = Version::HTTP_11;
                head.extensions.clear();
                Response::from_parts(head, Reply::streamed(body, busy))
            }
        }
    }

    /// The request as the console gets it; `None` when its target is no path.
    fn outbound(
        &self,
        request: Request<Incoming>,
        route: &Route,
        arrival: &Arrival,
        upgrade: bool,
    ) -> Option<Request<Paced>> {
        let (mut head, body) = request.into_parts();
        head.uri = path_alone(&head.uri)?;
        head.version = Version::HTTP_11;
        head.extensions.clear();
        let headers = &mut head.headers;
        strip_hop(headers);
        strip_own(headers);
        headers.remove(EXPECT);
        join_cookies(headers);
        headers.insert(HOST, HeaderValue::from_str(route.authority.as_str()).ok()?);
        headers.insert(SECRET_HEADER, self.secret.clone());
        headers.insert(CLIENT_HEADER, HeaderValue::from_str(&arrival.client.to_string()).ok()?);
        headers.insert(SCHEME_HEADER, HeaderValue::from_static(if arrival.secure { "https" } else { "http" }));
        if upgrade {
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        Some(Request::from_parts(head, Paced::new(body, &self.limits)))
    }

    /// Answers plain HTTP on the TLS port.
    pub(super) fn redirect<B>(&self, request: &Request<B>, local: IpAddr) -> Response<Reply> {
        let route = match self.routes.find(request, local) {
            Ok(route) => route,
            Err(reason) => return self.no_route(reason).last_response(true),
        };
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        match HeaderValue::from_str(&format!("https://{}{path}", route.authority)) {
            Ok(location) if path.starts_with('/') => to_https(location),
            _ => self.no_route(NoRoute::BadHost).last_response(true),
        }
    }
}

fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
}

fn wants_websocket<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_11
        && request.method() == Method::GET
        && has_token(request.headers(), CONNECTION, "upgrade")
        && has_token(request.headers(), UPGRADE, "websocket")
}

/// What the request line towards the console names.
fn path_alone(uri: &Uri) -> Option<Uri> {
    let path = uri.path_and_query().filter(|path| path.as_str().starts_with('/'))?;
    Some(Uri::from(path.clone()))
}

/// Removes headers of the hop itself, also those that `Connection` names.
fn strip_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Removes what only a trusted party may say: our own headers and every spelling of "I speak for somebody else".
fn strip_own(headers: &mut HeaderMap) {
    let forged = |name: &HeaderName| {
        let name = name.as_str();
        name.starts_with("x-gristmill-") || name.starts_with("x-forwarded-") || name == "x-real-ip" || name == FORWARDED
    };
    let names: Vec<HeaderName> = headers.keys().filter(|name| forged(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// HTTP/2 may split cookies over several headers; HTTP/1.1 knows one (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let parts: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if parts.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

/// The console's agreement to switch, passed on.
fn switched(response: Response<Incoming>) -> Response<Reply> {
    let (mut head, _) = response.into_parts();
    strip_hop(&mut head.headers);
    strip_own(&mut head.headers);
    head.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    head.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    head.extensions.clear();
    Response::from_parts(head, Reply::empty())
}

/// Copies both ways until either side ends or the door closes. The request counts as under way all the while.
async fn join(
    client: hyper::upgrade::OnUpgrade,
    console: hyper::upgrade::OnUpgrade,
    busy: Busy,
    mut phase: watch::Receiver<Phase>,
) {
    let copied = async {
        let (client, console) = match tokio::try_join!(client, console) {
            Ok(both) => both,
            Err(error) => return tracing::debug!(%error, "a WebSocket was not taken up"),
        };
        let (mut client, mut console) = (TokioIo::new(client), TokioIo::new(console));
        if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut console).await {
            tracing::debug!(%error, "a WebSocket broke off");
        }
    };
    tokio::select! {
        () = copied => {}
        _ = phase.wait_for(|phase| *phase == Phase::Closed) => {}
    }
    drop(busy);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_cannot_speak_for_others() {
        let mut headers = HeaderMap::new();
        for name in [
            "connection",
            "keep-alive",
            "te",
            "upgrade",
            "proxy-authorization",
            "x-named",
            "x-gristmill-edge",
            "x-gristmill-anything",
            "x-real-ip",
            "x-forwarded-for",
            "x-forwarded-host",
            "forwarded",
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("close, X-Named"));
        }
        headers.insert("x-kept", HeaderValue::from_static("1"));
        strip_hop(&mut headers);
        strip_own(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-kept"]);
    }

    #[test]
    fn split_cookies_become_one() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1"));
        headers.append(COOKIE, HeaderValue::from_static("b=2"));
        join_cookies(&mut headers);
        assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn only_paths_go_on() {
        let to = |uri: &'static str| path_alone(&Uri::from_static(uri)).map(|uri| uri.to_string());
        assert_eq!(to("/a?b=c"), Some("/a?b=c".to_owned()));
        assert_eq!(to("https://mill.lab/a"), Some("/a".to_owned()));
        assert_eq!(to("https://mill.lab"), Some("/".to_owned()));
        assert_eq!(to("*"), None);
    }
}
