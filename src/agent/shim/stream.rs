//! Frames over a unix socket, for the shim and its clients alike. It refuses to wait for ever on a peer that takes nothing.
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::wire::frame::{BadFrame, Decoder, Frame};

/// The socket's name in a lease's directory.
pub const SOCKET: &str = "sock";
/// How long a peer may take nothing before it is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a stream of frames ended badly.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] BadFrame),
}

/// A connection to a shim, or a shim's to a client.
#[derive(Debug)]
pub struct Connection {
    pub reader: Reader,
    pub writer: Writer,
}

#[derive(Debug)]
pub struct Reader {
    half: OwnedReadHalf,
    decoder: Decoder,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub struct Writer {
    half: OwnedWriteHalf,
}

impl Connection {
    pub fn new(stream: UnixStream) -> Self {
        let (read, write) = stream.into_split();
        let reader = Reader { half: read, decoder: Decoder::default(), buffer: vec![0; 16 * 1024] };
        Self { reader, writer: Writer { half: write } }
    }

    /// Connects to the shim whose lease lives in `dir`.
    pub async fn open(dir: &Path) -> io::Result<Self> {
        let held = std::fs::File::open(dir)?;
        Ok(Self::new(UnixStream::connect(short_path(&held)).await?))
    }
}

/// A path of the socket that fits the 107 bytes that the system allows, however deep the directory lies. Valid while
/// `dir` stays open.
pub(super) fn short_path(dir: &std::fs::File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(SOCKET)
}

impl Reader {
    /// The next frame; `None` when the other side closed. May be dropped while it waits without losing bytes.
    pub async fn next(&mut self) -> Result<Option<Frame>, StreamError> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(Some(frame));
            }
            match self.half.read(&mut self.buffer).await? {
                0 => return Ok(None),
                length => self.decoder.feed(&self.buffer[..length]),
            }
        }
    }
}

impl Writer {
    pub async fn send(&mut self, frame: &Frame) -> Result<(), StreamError> {
        let write = async {
            self.half.write_all(&frame.encode()).await?;
            self.half.flush().await
        };
        match tokio::time::timeout(PATIENCE, write).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        }
    }
}
