//! Waiting on a peer, but not for ever: request bodies that must keep a pace, and sockets that must drain. It refuses to
//! time the console's own thinking; only what the client delays counts against the client.
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::limits::Limits;

/// Why a body was cut off.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the request body is larger than allowed")]
    TooLarge,
    #[error("the request body came too slowly")]
    TooSlow,
    #[error("the request body broke off: {0}")]
    Broken(#[from] hyper::Error),
}

/// What became of a body, for whoever must answer the request after the body is gone.
#[derive(Clone, Default)]
pub(super) struct Verdict(Arc<AtomicU8>);

impl Verdict {
    const TOO_LARGE: u8 = 1;
    const TOO_SLOW: u8 = 2;

    pub(super) fn too_large(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::TOO_LARGE
    }

    pub(super) fn too_slow(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::TOO_SLOW
    }
}

/// A request body that must keep a pace. Time spent waiting for the client uses up its patience; each byte buys some back.
pub(super) struct Paced {
    inner: Incoming,
    left: u64,
    patience: Duration,
    full_patience: Duration,
    rate: u64,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
    verdict: Verdict,
}

impl Paced {
    pub(super) fn new(inner: Incoming, limits: &Limits) -> Self {
        Self {
            inner,
            left: limits.body_bytes,
            patience: limits.body_patience,
            full_patience: limits.body_patience,
            rate: limits.body_rate.max(1),
            waiting: None,
            verdict: Verdict::default(),
        }
    }

    pub(super) fn into_inner(self) -> Incoming {
        self.inner
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.verdict.clone()
    }

    fn received(&mut self, bytes: u64) -> Result<(), BodyError> {
        let Some(left) = self.left.checked_sub(bytes) else {
            self.verdict.0.store(Verdict::TOO_LARGE, Ordering::Release);
            return Err(BodyError::TooLarge);
        };
        self.left = left;
        let earned = Duration::from_millis(bytes.saturating_mul(1000) / self.rate);
        self.patience = self.patience.saturating_add(earned).min(self.full_patience);
        Ok(())
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some((since, _)) = this.waiting.take() {
                    this.patience = this.patience.saturating_sub(since.elapsed());
                }
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                Poll::Ready(Some(this.received(bytes).map(|()| frame)))
            }
            Poll::Ready(other) => Poll::Ready(other.map(|result| result.map_err(BodyError::from))),
            Poll::Pending => {
                let patience = this.patience;
                let (_, alarm) =
                    this.waiting.get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(patience))));
                ready!(alarm.as_mut().poll(cx));
                this.verdict.0.store(Verdict::TOO_SLOW, Ordering::Release);
                Poll::Ready(Some(Err(BodyError::TooSlow)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A socket whose peer must keep taking what it is sent.
pub(super) struct Draining<S> {
    inner: S,
    limit: Duration,
    write: Option<Pin<Box<Sleep>>>,
    flush: Option<Pin<Box<Sleep>>>,
}

impl<S> Draining<S> {
    pub(super) fn new(inner: S, limit: Duration) -> Self {
        Self { inner, limit, write: None, flush: None }
    }
}

/// Turns a wait that lasts beyond `limit` into an error; any progress forgets the wait.
fn bounded<T>(
    alarm: &mut Option<Pin<Box<Sleep>>>,
    limit: Duration,
    cx: &mut Context<'_>,
    outcome: Poll<io::Result<T>>,
) -> Poll<io::Result<T>> {
    if outcome.is_ready() {
        *alarm = None;
        return outcome;
    }
    let alarm = alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
    ready!(alarm.as_mut().poll(cx));
    Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
}

impl<S: AsyncRead + Unpin> AsyncRead for Draining<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Draining<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let outcome = Pin::new(&mut this.inner).poll_write(cx, buf);
        bounded(&mut this.write, this.limit, cx, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let outcome = Pin::new(&mut this.inner).poll_flush(cx);
        bounded(&mut this.flush, this.limit, cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let outcome = Pin::new(&mut this.inner).poll_shutdown(cx);
        bounded(&mut this.flush, this.limit, cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let outcome = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        bounded(&mut this.write, this.limit, cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
