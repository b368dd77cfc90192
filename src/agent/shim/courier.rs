//! The conversation between the shim and the first process inside the sandbox: whole JSON messages on a socket pair, some
//! with an open file. It refuses long messages and trusts nothing from inside, which a workload may have taken over.
use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::ready;
use crate::wire::frame::Size;
use crate::wire::lease::{ExitKind, LeaseKind};

/// Longest message; above the limit on commands and environments with what surrounds them.
const LIMIT: usize = 160 * 1024;

/// From the shim to the first process.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToInside {
    /// The first message: what to run, with which environment, where.
    Start {
        kind: LeaseKind,
        env: BTreeMap<String, String>,
        home: String,
    },
    OpenTab {
        tab: u16,
        size: Size,
    },
    /// SIGTERM to everything; report when only shells are left.
    Terminate,
}

/// From the first process to the shim.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromInside {
    /// The first process stands.
    Ready,
    /// The batch command runs; the reading end of its output comes along.
    Started,
    /// The batch command could not be started; the code is the one that shells use.
    NotStarted {
        why: String,
        code: i32,
    },
    /// A terminal is open; its master side comes along.
    TabOpened {
        tab: u16,
    },
    TabFailed {
        tab: u16,
        why: String,
    },
    /// The shell of a terminal ended.
    TabEnded {
        tab: u16,
    },
    /// The batch command ended.
    Finished {
        exit: ExitKind,
    },
    /// After [`ToInside::Terminate`]: nothing but shells is left.
    Empty,
}

/// One end of the conversation.
#[derive(Debug)]
pub struct Courier {
    socket: AsyncFd<OwnedFd>,
}

impl Courier {
    /// Takes a non-blocking end of a SEQPACKET pair. Must be called inside a tokio runtime.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self { socket: ready::watch(socket)? })
    }

    /// Sends a message, with an open file if one is given.
    pub async fn send<T: Serialize>(&self, message: &T, file: Option<&OwnedFd>) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        if bytes.len() > LIMIT {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let send = |socket: &OwnedFd| {
            let files = file.map(AsFd::as_fd);
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if let Some(files) = &files {
                control.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(files)));
            }
            // A closed other end must be an error and not a signal.
            sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL).map_err(io::Error::from)
        };
        self.socket.async_io(Interest::WRITABLE, send).await.map(|_| ())
    }

    /// The next message and the file that came with it; `None` when the other end is closed. May be dropped while it
    /// waits without losing a message.
    pub async fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Option<OwnedFd>)>> {
        let mut bytes = vec![0; LIMIT];
        let receive = |socket: &OwnedFd| {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::CMSG_CLOEXEC;
            let message = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?;
            let mut files = Vec::new();
            for part in control.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = part {
                    files.extend(rights);
                }
            }
            // Further files than the first are closed here.
            Ok((message.bytes, files.into_iter().next()))
        };
        let (length, file) = self.socket.async_io(Interest::READABLE, receive).await?;
        if length == 0 {
            return Ok(None);
        }
        Ok(Some((serde_json::from_slice(&bytes[..length])?, file)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::io::{Read, Write};

    #[tokio::test]
    async fn messages_and_files_cross() {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (here, there) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let (here, there) = (Courier::new(here).unwrap(), Courier::new(there).unwrap());
        let (mut reader, writer) = io::pipe().unwrap();
        here.send(&FromInside::TabOpened { tab: 7 }, Some(&writer.into())).await.unwrap();
        let (message, file) = there.receive::<FromInside>().await.unwrap().unwrap();
        assert_eq!(message, FromInside::TabOpened { tab: 7 });
        std::fs::File::from(file.unwrap()).write_all(b"through").unwrap();
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert_eq!(said, "through");
        drop(here);
        assert!(there.receive::<FromInside>().await.unwrap().is_none());
    }
}
