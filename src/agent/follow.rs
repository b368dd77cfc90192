//! A lease's log from any byte to its end, whether its shim still keeps it or only the file is left. It refuses to say the
//! end before every byte was handed on.
use std::path::Path;

use tokio::sync::mpsc;

use super::lease::{self, LeaseError, Standing};
use super::shim::client::ShimClient;
use crate::wire::frame::Frame;
use crate::wire::lease::{ExitKind, Phase};

/// Bytes in one frame when the file is read.
const PIECE: usize = 16 * 1024;

/// Hands on [`Frame::Log`] frames without gaps or repeats, then [`Frame::LogEnd`]; without `live`, what is there now and
/// then [`Frame::Done`] or [`Frame::LogEnd`]. A problem becomes [`Frame::Refused`]. Returns early when nobody takes the
/// frames any more.
pub async fn follow(dir: &Path, from: u64, live: bool, to: &mpsc::Sender<Frame>) {
    let mut offset = from;
    // A shim that leaves in the middle has ended its lease; the file then holds the rest.
    if let Ok(mut connection) = ShimClient::new(dir).follow(from, live).await {
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
    let end = match from_file(dir, offset, to).await {
        Ok(Some(end)) => end,
        Ok(None) => return,
        Err(problem) => Frame::Refused { why: problem.to_string() },
    };
    let _ = to.send(end).await;
}

/// The rest of the file, and what to say last; `None` when nobody listens.
async fn from_file(dir: &Path, from: u64, to: &mpsc::Sender<Frame>) -> Result<Option<Frame>, LeaseError> {
    let seen = lease::inspect(dir)?;
    let mut offset = from;
    loop {
        let bytes = lease::read_log(dir, offset, PIECE)?;
        if bytes.is_empty() {
            break;
        }
        let count = bytes.len() as u64;
        if to.send(Frame::Log { offset, bytes }).await.is_err() {
            return Ok(None);
        }
        offset += count;
    }
    Ok(Some(match (seen.standing, seen.state.phase) {
        (Standing::Live, _) => Frame::Refused { why: "the connection to the lease broke; follow it again".to_owned() },
        (_, Phase::Ended { exit, .. }) => Frame::LogEnd(exit),
        _ => Frame::LogEnd(ExitKind::None),
    }))
}
