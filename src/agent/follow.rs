//! A lease's log from any byte to its end, whether its shim still keeps it, only the file is left, or it was put into the
//! archive, at whatever moment that happens. It refuses to say the end before every byte was handed on.
use std::fs::File;
use std::io;
use std::path::Path;

use tokio::sync::mpsc;

use super::archive;
use super::lease::{self, LeaseError, Standing};
use super::shim::client::ShimClient;
use super::shim::{LOG, journal};
use crate::base::ids::LeaseId;
use crate::wire::frame::Frame;
use crate::wire::lease::{ExitKind, Phase};

/// Bytes in one frame when the file is read.
const PIECE: usize = 16 * 1024;

/// Where the log of one attempt of a lease may lie.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The lease's directory, while there is one.
    pub dir: &'a Path,
    /// The folder of kept logs.
    pub logs: &'a Path,
    pub lease: LeaseId,
    pub attempt: u32,
}

/// Hands on [`Frame::Log`] frames without gaps or repeats, then [`Frame::LogEnd`]; without `live`, what is there now and
/// then [`Frame::Done`] or [`Frame::LogEnd`]. A problem becomes [`Frame::Refused`]. Returns early when nobody takes the
/// frames any more.
pub async fn follow(source: Source<'_>, from: u64, live: bool, to: &mpsc::Sender<Frame>) {
    let mut offset = from;
    // A shim that leaves in the middle has ended its lease; the file then holds the rest.
    if let Ok(mut connection) = ShimClient::new(source.dir).follow(from, live).await {
        loop {
            let frame = tokio::select! {
                frame = connection.reader.next() => frame,
                () = to.closed() => return,
            };
            let Ok(Some(frame)) = frame else { break };
            let last = !matches!(frame, Frame::Log { .. });
            if let Frame::Log { offset: at, bytes } = &frame {
                offset = at + bytes.len() as u64;
            }
            if to.send(frame).await.is_err() || last {
                return;
            }
        }
    }
    let end = match from_file(source, offset, to).await {
        Ok(Some(end)) => end,
        Ok(None) => return,
        Err(problem) => Frame::Refused { why: problem.to_string() },
    };
    let _ = to.send(end).await;
}

/// The file, wherever it lies. It is moved once, from the lease's directory into the archive, so looking there second finds
/// it at every moment; once open, it can be read whatever happens to its name.
fn open(source: Source<'_>) -> io::Result<File> {
    match File::open(source.dir.join(LOG)) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            // Who has neither is told of the first.
            archive::open(source.logs, source.lease, source.attempt).map_err(|_| cause)
        }
        opened => opened,
    }
}

/// The rest of the file, and what to say last; `None` when nobody listens.
async fn from_file(source: Source<'_>, from: u64, to: &mpsc::Sender<Frame>) -> Result<Option<Frame>, LeaseError> {
    let failed = |cause| LeaseError::Io(source.dir.to_owned(), cause);
    // The state before the file: what is over by then writes no more.
    let seen = lease::inspect(source.dir);
    let file = open(source).map_err(failed)?;
    let mut offset = from;
    loop {
        let bytes = journal::read_at(&file, offset, PIECE).map_err(failed)?;
        if bytes.is_empty() {
            break;
        }
        let count = bytes.len() as u64;
        if to.send(Frame::Log { offset, bytes }).await.is_err() {
            return Ok(None);
        }
        offset += count;
    }
    Ok(Some(match seen {
        Ok(seen) if seen.standing == Standing::Live => {
            Frame::Refused { why: "the connection to the lease broke; follow it again".to_owned() }
        }
        Ok(seen) => match seen.state.phase {
            Phase::Ended { exit, .. } => Frame::LogEnd(exit),
            _ => Frame::LogEnd(ExitKind::None),
        },
        // Only the archive knows it now.
        Err(_) => Frame::LogEnd(archive::exit(source.logs, source.lease, source.attempt)),
    }))
}
