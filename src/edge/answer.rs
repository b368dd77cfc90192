//! The door's own few sentences: what happened, and the next step. Plain text, because nothing here may be mistaken for a
//! page of the console. It refuses to repeat more of a request than its host.
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::limits::Busy;
use super::route::NoRoute;

/// The body of every answer: the console's, streamed, or a sentence of the door. It keeps its request counted as under way.
pub(super) struct Reply {
    body: Either<Incoming, Full<Bytes>>,
    _busy: Option<Busy>,
}

impl Reply {
    pub(super) fn streamed(body: Incoming, busy: Busy) -> Self {
        Self { body: Either::Left(body), _busy: Some(busy) }
    }

    fn text(text: String) -> Self {
        Self { body: Either::Right(Full::new(Bytes::from(text))), _busy: None }
    }

    pub(super) fn empty() -> Self {
        Self::text(String::new())
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What the door answers by itself.
#[derive(Debug)]
pub(super) enum Answer<'a> {
    NoRoute { reason: NoRoute, public_name: Option<&'a str> },
    MethodRefused,
    BodyTooLarge { limit: u64 },
    BodyTooSlow,
    TooBusy,
    ConsoleSilent,
}

impl Answer<'_> {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoRoute { reason: NoRoute::BadHost, .. } => StatusCode::BAD_REQUEST,
            Self::NoRoute { reason: NoRoute::Foreign { .. }, .. } => StatusCode::MISDIRECTED_REQUEST,
            Self::MethodRefused => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooBusy => StatusCode::SERVICE_UNAVAILABLE,
            Self::ConsoleSilent => StatusCode::BAD_GATEWAY,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::NoRoute { reason: NoRoute::BadHost, .. } => {
                "The request does not name exactly one host. Send one Host header with the mill's address.\n".to_owned()
            }
            Self::NoRoute { reason: NoRoute::Foreign { host }, public_name } => {
                let instead = public_name.map(|name| format!(" Its address is {name}.")).unwrap_or_default();
                format!(
                    "This mill does not answer to the name {host}.{instead} If {host} is right, an administrator starts \
                     the mill with --public-url and that name.\n"
                )
            }
            Self::MethodRefused => "The mill does not know this method. Use GET or POST.\n".to_owned(),
            Self::BodyTooLarge { limit } => {
                let megabytes = limit.div_ceil(1024 * 1024);
                format!("Nothing was done: a request may carry at most {megabytes} MiB. Send less at once.\n")
            }
            Self::BodyTooSlow => {
                "Nothing is confirmed: the request's body came too slowly and was cut off. Check the connection and send \
                 it again.\n"
                    .to_owned()
            }
            Self::TooBusy => {
                "Too many requests from this address are under way. Close other tabs or wait a moment.\n".to_owned()
            }
            Self::ConsoleSilent => {
                "The mill is starting or stopping and does not answer yet. Bookings and running work are not affected. \
                 Try again in a few seconds; if it stays so, an administrator looks at the log of gristmill serve.\n"
                    .to_owned()
            }
        }
    }

    fn response(&self) -> Response<Reply> {
        let mut response = Response::new(Reply::text(self.text()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        if matches!(self, Self::TooBusy | Self::ConsoleSilent) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }

    /// The same, and the connection ends with it: the rest of the request will not be read.
    pub(super) fn last_response(&self, http1: bool) -> Response<Reply> {
        let mut response = self.response();
        // HTTP/2 forbids the header; there the stream alone is reset.
        if http1 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Sends a client that spoke plain HTTP on the TLS port to the same address with https.
pub(super) fn to_https(location: HeaderValue) -> Response<Reply> {
    let mut response = Response::new(Reply::text("This address speaks https only.\n".to_owned()));
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    let headers = response.headers_mut();
    headers.insert(LOCATION, location);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
