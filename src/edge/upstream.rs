//! Connections to the console, kept and used again. The console may answer before it has read a whole body (too large, not
//! signed in) and close; such an answer must reach the client, so what cannot be delivered any more is read and dropped
//! for a while instead of breaking the exchange. It refuses to send a request twice that may have been received.
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::pace::{BodyError, Paced};

const KEPT_CONNECTIONS: usize = 256;
const KEPT_FOR: Duration = Duration::from_secs(30);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long the rest of a body that nobody wants is still taken, so that its sender gets to read the answer.
const LINGER: Duration = Duration::from_secs(10);

/// Why the console did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpstreamError {
    #[error("the console cannot be reached")]
    Connect(#[source] io::Error),
    #[error("the console broke off")]
    Broken(#[from] hyper::Error),
}

struct Kept {
    sender: SendRequest<Carried>,
    since: Instant,
}

/// The console's address and the connections to it that are free.
#[derive(Clone)]
pub(super) struct Upstream {
    address: SocketAddr,
    kept: Arc<Mutex<Vec<Kept>>>,
}

impl Upstream {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, kept: Arc::default() }
    }

    /// Sends a request with a path as its URI and waits for the head of the answer.
    pub(super) async fn send(&self, request: Request<Paced>) -> Result<Response<Incoming>, UpstreamError> {
        let mut request = request.map(carry);
        while let Some(mut sender) = self.take() {
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(self.answered(response, sender)),
                // Closed while it was kept; what comes back was never sent.
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(failed.into_error().into()),
                },
            }
        }
        let mut sender = self.connect().await?;
        let response = sender.send_request(request).await?;
        Ok(self.answered(response, sender))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection used last: it is the likeliest to be open still.
    fn take(&self) -> Option<SendRequest<Carried>> {
        let mut kept = self.lock();
        while let Some(Kept { sender, since }) = kept.pop() {
            if since.elapsed() < KEPT_FOR && sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    fn answered(&self, response: Response<Incoming>, mut sender: SendRequest<Carried>) -> Response<Incoming> {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let this = self.clone();
            tokio::spawn(async move {
                // Ready means that request and answer have both ended.
                if sender.ready().await.is_ok() {
                    let mut kept = this.lock();
                    kept.retain(|kept| kept.since.elapsed() < KEPT_FOR);
                    if kept.len() < KEPT_CONNECTIONS {
                        kept.push(Kept { sender, since: Instant::now() });
                    }
                }
            });
        }
        response
    }

    async fn connect(&self) -> Result<SendRequest<Carried>, UpstreamError> {
        let stream = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(self.address)).await;
        let stream = stream.map_err(|_| io::ErrorKind::TimedOut.into()).flatten().map_err(UpstreamError::Connect)?;
        stream.set_nodelay(true).map_err(UpstreamError::Connect)?;
        let (sender, connection) = handshake(TokioIo::new(ReadsToTheEnd { inner: stream, deaf: false })).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to the console broke off");
            }
        });
        Ok(sender)
    }
}

/// A request body on its way from the client's connection to the console's.
pub(super) struct Carried {
    frames: Option<mpsc::Receiver<Result<Frame<Bytes>, BodyError>>>,
    hint: SizeHint,
}

/// Lets a task of its own read the body, because the body may outlive the console's interest in it.
fn carry(body: Paced) -> Carried {
    let hint = body.size_hint();
    if body.is_end_stream() {
        return Carried { frames: None, hint };
    }
    let (sender, frames) = mpsc::channel(1);
    tokio::spawn(pump(body, sender));
    Carried { frames: Some(frames), hint }
}

async fn pump(mut body: Paced, frames: mpsc::Sender<Result<Frame<Bytes>, BodyError>>) {
    while let Some(frame) = body.frame().await {
        let over = match &frame {
            Ok(_) => false,
            Err(BodyError::TooLarge) => true,
            Err(BodyError::TooSlow | BodyError::Broken(_)) => return drop(frames.send(frame).await),
        };
        let unwanted = frames.send(frame).await.is_err();
        if over || unwanted {
            return discard(body.into_inner()).await;
        }
    }
}

/// Takes and drops the rest of a body for a while: closing on a client that is still sending would destroy the answer that
/// is on its way to it.
pub(super) async fn discard(mut body: Incoming) {
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(LINGER, rest).await;
}

impl Body for Carried {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.frames {
            Some(frames) => frames.poll_recv(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_none()
    }

    /// Of the whole body: asked once, before the first frame.
    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

/// A connection on which a refused write is no error, as long as the other side may still have something to say: the end
/// shows when reading.
struct ReadsToTheEnd {
    inner: TcpStream,
    deaf: bool,
}

impl AsyncRead for ReadsToTheEnd {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for ReadsToTheEnd {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Ready(Ok(buf.len()));
        }
        match Pin::new(&mut self.inner).poll_write(cx, buf) {
            Poll::Ready(Err(_)) => {
                self.deaf = true;
                Poll::Ready(Ok(buf.len()))
            }
            other => other,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf { Poll::Ready(Ok(())) } else { Pin::new(&mut self.inner).poll_flush(cx) }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf { Poll::Ready(Ok(())) } else { Pin::new(&mut self.inner).poll_shutdown(cx) }
    }
}
