//! Answers one client of a lease: a terminal, the log, or a single request. It refuses what it does not expect, with a
//! sentence, and closes.
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use super::courier::Courier;
use super::journal::Journal;
use super::stream::{Connection, Reader, StreamError, Writer};
use super::tabs::{Tabs, View};
use crate::wire::frame::{Attach, Attached, Frame};
use crate::wire::lease::{Deadline, LeaseState, Phase};

/// Clients of one lease at a time.
const MOST_CLIENTS: usize = 64;
/// How long a client may take to say what it wants.
const FIRST_WORD: Duration = Duration::from_secs(10);
/// Bytes of log or scrollback in one frame.
const PIECE: usize = 16 * 1024;
/// Longest reason for a stop.
const LONGEST_REASON: usize = 300;

/// What clients ask of the keeper.
#[derive(Debug)]
pub enum Order {
    SetEnd { deadline: Deadline, answer: oneshot::Sender<Result<(), String>> },
    Stop { reason: String, answer: oneshot::Sender<()> },
}

/// What the keeper and the clients' tasks share; one thread, so no locks.
#[derive(Debug)]
pub struct Shared {
    pub state: RefCell<LeaseState>,
    pub tabs: Rc<Tabs>,
    pub journal: Journal,
    /// Set once the sandbox stands.
    pub courier: RefCell<Option<Rc<Courier>>>,
    pub orders: mpsc::Sender<Order>,
    pub clients: Cell<usize>,
}

/// Takes clients until the shim ends.
pub async fn listen(listener: UnixListener, shared: Rc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = shared.clone();
                tokio::task::spawn_local(async move {
                    shared.clients.set(shared.clients.get() + 1);
                    let _ = serve(stream, &shared).await;
                    shared.clients.set(shared.clients.get() - 1);
                });
            }
            // Out of descriptors, say: whoever waits will be taken when others have gone.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn serve(stream: UnixStream, shared: &Rc<Shared>) -> Result<(), StreamError> {
    let Connection { mut reader, mut writer } = Connection::new(stream);
    if shared.clients.get() > MOST_CLIENTS {
        return refuse(&mut writer, "this lease has too many connections; close some first").await;
    }
    let first = match tokio::time::timeout(FIRST_WORD, reader.next()).await {
        Ok(Ok(Some(frame))) => frame,
        Ok(Ok(None)) => return Ok(()),
        Ok(Err(StreamError::Frame(bad))) => return refuse(&mut writer, &bad.to_string()).await,
        Ok(Err(broken)) => return Err(broken),
        Err(_) => return refuse(&mut writer, "nothing was asked for in time").await,
    };
    match first {
        Frame::Attach(attach) => terminal(attach, reader, writer, shared).await,
        Frame::Follow { from, live } => follow(from, live, reader, writer, shared).await,
        Frame::Status => {
            let state = Box::new(shared.state.borrow().clone());
            writer.send(&Frame::StatusIs(state)).await
        }
        Frame::ListTabs => writer.send(&Frame::Tabs(shared.tabs.list())).await,
        Frame::CloseTab { tab } => match shared.tabs.close(tab) {
            Ok(()) => writer.send(&Frame::Done).await,
            Err(why) => refuse(&mut writer, &why.to_string()).await,
        },
        Frame::SetEnd(deadline) => {
            let (answer, answered) = oneshot::channel();
            let _ = shared.orders.send(Order::SetEnd { deadline, answer }).await;
            match answered.await {
                Ok(Ok(())) => writer.send(&Frame::Done).await,
                Ok(Err(why)) => refuse(&mut writer, &why).await,
                Err(_) => refuse(&mut writer, "the workload has ended").await,
            }
        }
        Frame::Stop { reason } => {
            let (answer, answered) = oneshot::channel();
            let reason = reason.chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect();
            let _ = shared.orders.send(Order::Stop { reason, answer }).await;
            // An end that came first is an end all the same.
            let _ = answered.await;
            writer.send(&Frame::Done).await
        }
        _ => refuse(&mut writer, "a connection begins with a request").await,
    }
}

async fn refuse(writer: &mut Writer, why: &str) -> Result<(), StreamError> {
    writer.send(&Frame::Refused { why: why.to_owned() }).await
}

async fn terminal(attach: Attach, reader: Reader, mut writer: Writer, shared: &Rc<Shared>) -> Result<(), StreamError> {
    let courier = match (&shared.state.borrow().phase, &*shared.courier.borrow()) {
        (Phase::Running { .. } | Phase::Ending { .. }, Some(courier)) => Ok(courier.clone()),
        (Phase::Starting, _) => Err("the workload is still starting; try again in a moment"),
        _ => Err("the workload has ended"),
    };
    let courier = match courier {
        Ok(courier) => courier,
        Err(why) => return refuse(&mut writer, why).await,
    };
    let View { tab, fresh, earlier, mut live } = match shared.tabs.attach(attach.tab, attach.size, &courier).await {
        Ok(view) => view,
        Err(why) => return refuse(&mut writer, &why.to_string()).await,
    };
    drop(courier);
    writer.send(&Frame::Attached(Attached { tab: attach.tab, fresh })).await?;
    let down = async {
        for piece in earlier.chunks(PIECE) {
            writer.send(&Frame::Output(piece.to_vec())).await?;
        }
        while let Some(bytes) = live.recv().await {
            writer.send(&Frame::Output(bytes)).await?;
        }
        writer.send(&Frame::TabClosed { tab: attach.tab }).await
    };
    let up = async {
        let mut reader = reader;
        while let Some(frame) = reader.next().await? {
            match frame {
                Frame::Input(bytes) => tab.type_in(&bytes).await?,
                Frame::Resize(size) => tab.resize(size),
                _ => break,
            }
        }
        Ok(())
    };
    // The two ways do not wait for each other: a program that does not read must not stop what it writes.
    tokio::select! {
        done = down => done,
        done = up => done,
    }
}

async fn follow(
    from: u64,
    live: bool,
    mut reader: Reader,
    mut writer: Writer,
    shared: &Rc<Shared>,
) -> Result<(), StreamError> {
    let mut growth = shared.journal.watch();
    let mut offset = from;
    loop {
        let (length, open) = *growth.borrow_and_update();
        while offset < length {
            let bytes = shared.journal.read(offset, PIECE)?;
            let count = bytes.len() as u64;
            if count == 0 {
                break;
            }
            writer.send(&Frame::Log { offset, bytes }).await?;
            offset += count;
        }
        if !open || !live {
            let exit = match &shared.state.borrow().phase {
                Phase::Ended { exit, .. } => Some(exit.clone()),
                _ => None,
            };
            let last = exit.map_or(Frame::Done, Frame::LogEnd);
            return writer.send(&last).await;
        }
        tokio::select! {
            changed = growth.changed() => if changed.is_err() { return Ok(()) },
            // A follower says nothing more; whatever comes, also the end, means that it is gone.
            _ = reader.next() => return Ok(()),
        }
    }
}
