//! The agent's side of a shim's socket. It refuses to interpret: answers are handed on as they came.
use std::path::{Path, PathBuf};

use super::stream::{Connection, StreamError};
use crate::wire::frame::{Attach, Frame, Size, TabInfo};
use crate::wire::lease::{Deadline, LeaseState};

/// Why a request to a shim failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the lease's shim cannot be reached: {0}")]
    Unreachable(#[source] std::io::Error),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("{0}")]
    Refused(String),
    #[error("the shim gave an answer that was not asked for")]
    Unexpected,
}

/// A lease's shim, by the lease's directory. Each request is a connection of its own.
#[derive(Clone, Debug)]
pub struct ShimClient {
    dir: PathBuf,
}

impl ShimClient {
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    async fn begin(&self, request: &Frame) -> Result<Connection, ClientError> {
        let mut connection = Connection::open(&self.dir).await.map_err(ClientError::Unreachable)?;
        connection.writer.send(request).await?;
        Ok(connection)
    }

    async fn ask(&self, request: &Frame) -> Result<Frame, ClientError> {
        match self.begin(request).await?.reader.next().await? {
            Some(Frame::Refused { why }) => Err(ClientError::Refused(why)),
            Some(answer) => Ok(answer),
            None => Err(ClientError::Unexpected),
        }
    }

    async fn order(&self, request: &Frame) -> Result<(), ClientError> {
        match self.ask(request).await? {
            Frame::Done => Ok(()),
            _ => Err(ClientError::Unexpected),
        }
    }

    pub async fn status(&self) -> Result<LeaseState, ClientError> {
        match self.ask(&Frame::Status).await? {
            Frame::StatusIs(state) => Ok(*state),
            _ => Err(ClientError::Unexpected),
        }
    }

    pub async fn list_tabs(&self) -> Result<Vec<TabInfo>, ClientError> {
        match self.ask(&Frame::ListTabs).await? {
            Frame::Tabs(tabs) => Ok(tabs),
            _ => Err(ClientError::Unexpected),
        }
    }

    pub async fn close_tab(&self, tab: u16) -> Result<(), ClientError> {
        self.order(&Frame::CloseTab { tab }).await
    }

    /// Puts a newer deadline into force.
    pub async fn set_end(&self, deadline: Deadline) -> Result<(), ClientError> {
        self.order(&Frame::SetEnd(deadline)).await
    }

    /// Asks the workload to end; returns when SIGTERM is on its way, not when all is over.
    pub async fn stop(&self, reason: &str) -> Result<(), ClientError> {
        self.order(&Frame::Stop { reason: reason.to_owned() }).await
    }

    /// Opens or finds a terminal. The first frame that comes back is [`Frame::Attached`] or [`Frame::Refused`].
    pub async fn attach(&self, tab: u16, size: Size) -> Result<Connection, ClientError> {
        self.begin(&Frame::Attach(Attach { tab, size })).await
    }

    /// The log from a byte on. Ends with [`Frame::LogEnd`], or [`Frame::Done`] when the end was not waited for.
    pub async fn follow(&self, from: u64, live: bool) -> Result<Connection, ClientError> {
        self.begin(&Frame::Follow { from, live }).await
    }
}
