//! A lease's log as its node tells it, cut into pieces. It refuses to keep any of it.
use std::fmt;

use tokio::io::{AsyncReadExt as _, DuplexStream};

use super::streams::StreamProblem;
use crate::app::mill::Mill;
use crate::base::ids::{LeaseId, NodeId};
use crate::domain::notice::{Kind, Reason, Sentence};
use crate::wire::frame::{Decoder, Frame};
use crate::wire::lease::ExitKind;
use crate::wire::node::StreamKind;

/// One step of reading.
#[derive(Debug)]
pub enum Piece {
    Bytes {
        offset: u64,
        bytes: Vec<u8>,
    },
    /// Nothing more will be written.
    End(Ended),
    /// The connection ended before the log did; the text is for people.
    Broken(String),
}

/// How the log ended.
#[derive(Debug)]
pub enum Ended {
    Exit(ExitKind),
    /// What was written so far is read; the command may go on.
    SoFar,
}

impl Ended {
    /// 128 + the signal's number where one ended it; `None` where there is no status.
    pub fn shell_code(&self) -> Option<i32> {
        match self {
            Self::Exit(exit) => exit.shell_code(),
            Self::SoFar => None,
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(ExitKind::Code(0)) => f.write_str("It has ended well."),
            Self::Exit(ExitKind::Code(code)) => write!(f, "It has ended with exit code {code}."),
            Self::Exit(ExitKind::Signal(signal)) => write!(f, "It was ended by signal {signal}."),
            Self::Exit(ExitKind::Failed(why)) => write!(f, "It did not run: {why}"),
            Self::Exit(ExitKind::None) => f.write_str("It has ended."),
            Self::SoFar => f.write_str("It goes on."),
        }
    }
}

/// A log that is being read.
pub struct Reading {
    stream: DuplexStream,
    decoder: Decoder,
}

impl Reading {
    /// From a byte on; goes on until the end when `follow`.
    pub async fn open(
        mill: &Mill,
        node: NodeId,
        lease: LeaseId,
        from: u64,
        follow: bool,
    ) -> Result<Self, StreamProblem> {
        let stream = mill.hub.open_stream(node, lease, StreamKind::Log { from, follow }).await?;
        Ok(Self { stream, decoder: Decoder::default() })
    }

    /// The first piece; a log that cannot be read at all is a refusal.
    pub async fn first(&mut self) -> Result<Piece, StreamProblem> {
        match self.next().await {
            Piece::Broken(why) => Err(StreamProblem::Refused(why)),
            piece => Ok(piece),
        }
    }

    /// May be dropped while it waits and called again: nothing is lost.
    pub async fn next(&mut self) -> Piece {
        let mut bytes = [0; 16 * 1024];
        loop {
            match self.decoder.next_frame() {
                Ok(Some(Frame::Log { offset, bytes })) => return Piece::Bytes { offset, bytes },
                Ok(Some(Frame::LogEnd(exit))) => return Piece::End(Ended::Exit(exit)),
                Ok(Some(Frame::Done)) => return Piece::End(Ended::SoFar),
                Ok(Some(Frame::Refused { why })) => return Piece::Broken(why),
                Ok(Some(_)) => continue,
                Ok(None) => {}
                Err(bad) => return Piece::Broken(format!("The node sent something that is no log: {bad}.")),
            }
            match self.stream.read(&mut bytes).await {
                Ok(0) | Err(_) => return Piece::Broken("The connection to the node ended.".to_owned()),
                Ok(count) => self.decoder.feed(&bytes[..count]),
            }
        }
    }
}

impl Reason for StreamProblem {
    fn code(&self) -> &'static str {
        match self {
            Self::NodeAway => "node_away",
            Self::NotMet => "node_silent",
            Self::Refused(_) => "node_refused",
            Self::Busy => "busy",
        }
    }

    fn kind(&self) -> Kind {
        Kind::Unavailable
    }

    fn sentence(&self) -> Sentence {
        let why = self.to_string();
        Sentence::new("The connection to the node was not made.", why, "Nothing was changed; try again in a moment.")
    }
}
