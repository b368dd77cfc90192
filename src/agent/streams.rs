//! One bulk connection: dials the mill, connects to a lease's shim and copies frames both ways. It refuses to carry anything
//! from outside that only the agent may tell a shim (deadline, stop), and serves logs of leases that are over by itself.
use std::path::Path;
use std::sync::Arc;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::dial::{DialError, Server, Socket};
use super::lease::{self, LeaseError, Standing};
use super::place::Place;
use super::shim::client::{ClientError, ShimClient};
use super::shim::stream::Connection;
use super::{archive, follow};
use crate::base::ids::{LeaseId, StreamId};
use crate::wire::frame::{Decoder, Frame, HEADER, MAX_PAYLOAD, Size};
use crate::wire::lease::Phase;
use crate::wire::node::StreamKind;

/// Why a stream could not be opened; its display is shown to the person who asked.
#[derive(Debug, thiserror::Error)]
pub enum StreamRefusal {
    #[error("this lease is not on the node (any more)")]
    NotHere,
    #[error("there is no terminal with this number")]
    Tab,
    #[error("the lease is over, and its terminals with it")]
    Over,
    #[error("the lease is still starting; try again in a moment")]
    Starting,
    #[error("its log cannot be read")]
    Log,
    #[error(
        "this machine is one of many simulated in one process; its leases are on paper, and nothing can be opened in them"
    )]
    Paper,
    #[error(transparent)]
    Shim(#[from] ClientError),
    #[error(transparent)]
    Dial(#[from] DialError),
}

/// What the stream is connected to on this side.
enum Source {
    Terminal(Connection),
    /// The log of one attempt, wherever it lies by now.
    Log {
        attempt: u32,
        from: u64,
        live: bool,
    },
}

/// Serves one stream to its end. An error means that nothing was opened.
pub async fn serve(
    place: &Place,
    server: &Server,
    tls: Arc<ClientConfig>,
    stream: StreamId,
    lease: LeaseId,
    kind: StreamKind,
) -> Result<(), StreamRefusal> {
    let source = open(place, lease, kind).await?;
    let socket = server.web_socket(tls, &format!("/stream/{stream}"), HEADER + MAX_PAYLOAD).await?;
    match source {
        Source::Terminal(connection) => relay(socket, connection).await,
        Source::Log { attempt, from, live } => {
            let (dir, logs) = (place.leases().join(archive::dir_name(lease, attempt)), place.logs());
            let (to, frames) = mpsc::channel(4);
            let following = async move {
                let source = follow::Source { dir: &dir, logs: &logs, lease, attempt };
                // The sender goes with the block, so that the other side sees the end.
                follow::follow(source, from, live, &to).await;
            };
            tokio::join!(following, hand_on(socket, frames));
        }
    }
    Ok(())
}

/// The newest attempt of a lease that has a directory.
fn newest(leases: &Path, lease: LeaseId) -> Option<u32> {
    let dirs = lease::list(leases).ok()?;
    let attempts = dirs.into_iter().filter_map(|dir| {
        let (found, attempt) = archive::parse_dir_name(dir.file_name()?.to_str()?)?;
        (found == lease).then_some(attempt)
    });
    attempts.max()
}

async fn open(place: &Place, lease: LeaseId, kind: StreamKind) -> Result<Source, StreamRefusal> {
    let Some(attempt) = newest(&place.leases(), lease) else { return archived(place, lease, &kind) };
    let dir = place.leases().join(archive::dir_name(lease, attempt));
    let seen = match lease::inspect(&dir) {
        Ok(seen) => seen,
        // It was put aside in this moment, or its shim has not written a state yet.
        Err(LeaseError::Io(..)) => return archived(place, lease, &kind).map_err(|_| StreamRefusal::Starting),
        Err(_) => return Err(StreamRefusal::NotHere),
    };
    match kind {
        StreamKind::Log { from, follow } => Ok(Source::Log { attempt, from, live: follow }),
        StreamKind::Terminal { .. } if seen.standing != Standing::Live => Err(StreamRefusal::Over),
        StreamKind::Terminal { .. } if seen.state.phase == Phase::Starting => Err(StreamRefusal::Starting),
        StreamKind::Terminal { tab, cols, rows } => {
            let tab = u16::try_from(tab).map_err(|_| StreamRefusal::Tab)?;
            Ok(Source::Terminal(ShimClient::new(&dir).attach(tab, Size { cols, rows }).await?))
        }
    }
}

/// The log of a lease that is gone.
fn archived(place: &Place, lease: LeaseId, kind: &StreamKind) -> Result<Source, StreamRefusal> {
    let StreamKind::Log { from, follow } = *kind else { return Err(StreamRefusal::NotHere) };
    let attempt = archive::newest(&place.logs(), lease).map_err(|_| StreamRefusal::Log)?;
    Ok(Source::Log { attempt: attempt.ok_or(StreamRefusal::NotHere)?, from, live: follow })
}

type ToMill = SplitSink<Socket, Message>;

/// Copies frames until either side closes.
async fn relay(socket: Socket, connection: Connection) {
    let (mut to_mill, from_mill) = socket.split();
    let mut inlet = Inlet { socket: from_mill, decoder: Decoder::default() };
    let Connection { mut reader, mut writer } = connection;
    let up = async {
        while let Ok(Some(frame)) = reader.next().await {
            if send(&mut to_mill, &frame).await.is_err() {
                return;
            }
        }
    };
    let down = async {
        while let Some(frame) = inlet.next().await {
            if !frame.is_from_person() || writer.send(&frame).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
    // The mill may be gone already.
    let _ = to_mill.close().await;
}

async fn send(to_mill: &mut ToMill, frame: &Frame) -> Result<(), ()> {
    to_mill.send(Message::Binary(frame.encode().into())).await.map_err(|_| ())
}

/// What comes from the mill. Bytes come in pieces of any size: what the asker wrote is not cut at frames.
struct Inlet {
    socket: SplitStream<Socket>,
    decoder: Decoder,
}

impl Inlet {
    /// The next frame; `None` when the mill closed or sent something else.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next_frame().ok()? {
                return Some(frame);
            }
            match self.socket.next().await? {
                Ok(Message::Binary(bytes)) => self.decoder.feed(&bytes),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                _ => return None,
            }
        }
    }
}

/// Sends frames until there are no more or the mill closes.
async fn hand_on(socket: Socket, mut frames: mpsc::Receiver<Frame>) {
    let (mut to_mill, from_mill) = socket.split();
    let mut inlet = Inlet { socket: from_mill, decoder: Decoder::default() };
    let up = async {
        while let Some(frame) = frames.recv().await {
            if send(&mut to_mill, &frame).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        // Only a close can come.
        _ = inlet.next() => {}
    }
    // The mill may be gone already.
    let _ = to_mill.close().await;
}
