//! A lease's terminals: each a shell with the end of its output, seen by any number of clients. Clients come and go; the
//! shell stays. It refuses to let one slow client hold up a shell for long.
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc, oneshot};

use super::courier::{Courier, ToInside};
use super::inner::resize;
use super::ready;
use crate::wire::frame::{Size, TabInfo};

/// Terminals of one lease at a time.
const MOST_TABS: usize = 16;
/// Bytes of earlier output that a client sees when it attaches.
const SCROLLBACK: usize = 128 * 1024;
/// Bytes read from a terminal at once.
const PIECE: usize = 16 * 1024;
/// Pieces that may wait for one client.
const WAITING: usize = 64;
/// How long a shell waits for a client that takes nothing, before the client is dropped.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long output of a dead shell's children is still shown.
const AFTERMATH: Duration = Duration::from_millis(300);

/// Why a terminal cannot be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTab {
    #[error("a lease has at most {MOST_TABS} terminals; close one first")]
    TooMany,
    #[error("{0}")]
    Inside(String),
    #[error("the workload is ending; no new terminal can be opened")]
    Ending,
    #[error("there is no terminal {0}")]
    Unknown(u16),
}

/// One terminal.
#[derive(Debug)]
pub struct Tab {
    number: u16,
    master: AsyncFd<OwnedFd>,
    size: Cell<Size>,
    scrollback: RefCell<VecDeque<u8>>,
    viewers: RefCell<Vec<mpsc::Sender<Vec<u8>>>>,
    closing: Notify,
}

/// What a client gets on attaching: earlier output, then everything from the same point on. The receiver closes with
/// the terminal.
pub struct View {
    pub tab: Rc<Tab>,
    pub fresh: bool,
    pub earlier: Vec<u8>,
    pub live: mpsc::Receiver<Vec<u8>>,
}

type Waiting = oneshot::Sender<Result<Rc<Tab>, NoTab>>;

/// All terminals of a lease.
#[derive(Debug, Default)]
pub struct Tabs {
    open: RefCell<BTreeMap<u16, Rc<Tab>>>,
    waiting: RefCell<BTreeMap<u16, Vec<(Size, Waiting)>>>,
    closed: Cell<bool>,
}

impl Tabs {
    /// Shows terminal `number`, opening it if it is not there.
    pub async fn attach(&self, number: u16, size: Size, courier: &Courier) -> Result<View, NoTab> {
        let size = sane(size);
        let found = self.open.borrow().get(&number).cloned();
        let (tab, fresh) = match found {
            Some(tab) => (tab, false),
            None => (self.open_new(number, size, courier).await?, true),
        };
        tab.resize(size);
        let (sender, live) = mpsc::channel(WAITING);
        tab.viewers.borrow_mut().push(sender);
        let earlier = tab.scrollback.borrow().iter().copied().collect();
        Ok(View { tab, fresh, earlier, live })
    }

    async fn open_new(&self, number: u16, size: Size, courier: &Courier) -> Result<Rc<Tab>, NoTab> {
        if self.closed.get() {
            return Err(NoTab::Ending);
        }
        if self.open.borrow().len() + self.waiting.borrow().len() >= MOST_TABS {
            return Err(NoTab::TooMany);
        }
        let (sender, answer) = oneshot::channel();
        let first = {
            let mut waiting = self.waiting.borrow_mut();
            let list = waiting.entry(number).or_default();
            list.push((size, sender));
            list.len() == 1
        };
        if first && courier.send(&ToInside::OpenTab { tab: number, size }, None).await.is_err() {
            self.failed(number, NoTab::Ending);
        }
        answer.await.unwrap_or(Err(NoTab::Ending))
    }

    /// The sandbox opened a terminal that was asked for. One that nobody asked for is dropped.
    pub fn opened(self: &Rc<Self>, number: u16, master: OwnedFd) {
        let Some(waiting) = self.waiting.borrow_mut().remove(&number) else { return };
        let size = waiting.first().map_or(Size { cols: 80, rows: 24 }, |(size, _)| *size);
        let answer = Tab::new(number, size, master).map(Rc::new).map_err(|cause| NoTab::Inside(cause.to_string()));
        if let Ok(tab) = &answer {
            self.open.borrow_mut().insert(number, tab.clone());
            let (tabs, tab) = (self.clone(), tab.clone());
            tokio::task::spawn_local(async move {
                tab.pump().await;
                tabs.forget(&tab);
            });
        }
        for (_, sender) in waiting {
            let _ = sender.send(answer.clone());
        }
    }

    pub fn failed(&self, number: u16, why: NoTab) {
        for (_, sender) in self.waiting.borrow_mut().remove(&number).unwrap_or_default() {
            let _ = sender.send(Err(why.clone()));
        }
    }

    /// The shell ended; what its children still write is shown for a moment.
    pub fn shell_ended(&self, number: u16) {
        if let Some(tab) = self.open.borrow().get(&number).cloned() {
            tokio::task::spawn_local(async move {
                tokio::time::sleep(AFTERMATH).await;
                tab.closing.notify_one();
            });
        }
    }

    /// Closes a terminal: its shell gets SIGHUP.
    pub fn close(&self, number: u16) -> Result<(), NoTab> {
        let tab = self.open.borrow().get(&number).cloned().ok_or(NoTab::Unknown(number))?;
        tab.closing.notify_one();
        Ok(())
    }

    /// No more terminals from now on.
    pub fn refuse_new(&self) {
        self.closed.set(true);
    }

    pub fn close_all(&self) {
        self.closed.set(true);
        self.waiting.borrow_mut().clear();
        for tab in self.open.borrow().values() {
            tab.closing.notify_one();
        }
    }

    /// Writes a line to every terminal's screen, not to its programs.
    pub fn announce(&self, text: &str) {
        let line = format!("\r\n\x1b[1m*** {text} ***\x1b[0m\r\n").into_bytes();
        for tab in self.open.borrow().values() {
            tab.remember(&line);
            tab.viewers.borrow_mut().retain(|viewer| viewer.try_send(line.clone()).is_ok());
        }
    }

    pub fn list(&self) -> Vec<TabInfo> {
        let info = |tab: &Rc<Tab>| TabInfo { tab: tab.number, size: tab.size.get(), clients: tab.clients() };
        self.open.borrow().values().map(info).collect()
    }

    fn forget(&self, tab: &Rc<Tab>) {
        let mut open = self.open.borrow_mut();
        if open.get(&tab.number).is_some_and(|known| Rc::ptr_eq(known, tab)) {
            open.remove(&tab.number);
        }
        tab.viewers.borrow_mut().clear();
    }
}

impl Tab {
    fn new(number: u16, size: Size, master: OwnedFd) -> io::Result<Self> {
        // Anything but a terminal fails here: the descriptor comes from inside the sandbox.
        resize(&master, size)?;
        let flags = rustix::fs::fcntl_getfl(&master)?;
        rustix::fs::fcntl_setfl(&master, flags | rustix::fs::OFlags::NONBLOCK)?;
        Ok(Self {
            number,
            master: ready::watch(master)?,
            size: Cell::new(size),
            scrollback: RefCell::default(),
            viewers: RefCell::default(),
            closing: Notify::new(),
        })
    }

    fn clients(&self) -> u32 {
        let open = self.viewers.borrow().iter().filter(|viewer| !viewer.is_closed()).count();
        u32::try_from(open).unwrap_or(u32::MAX)
    }

    /// Carries output to the clients until the terminal closes.
    async fn pump(&self) {
        let mut piece = vec![0; PIECE];
        loop {
            let read = self.master.async_io(Interest::READABLE, |master| Ok(rustix::io::read(master, &mut piece)?));
            let length = tokio::select! {
                read = read => match read {
                    // EIO is how a terminal says that its last user is gone.
                    Ok(0) | Err(_) => return,
                    Ok(length) => length,
                },
                () = self.closing.notified() => return,
            };
            self.hand_out(&piece[..length]).await;
        }
    }

    async fn hand_out(&self, bytes: &[u8]) {
        self.remember(bytes);
        let viewers = self.viewers.borrow().clone();
        for viewer in viewers {
            // A client that is behind by so much for so long gets the scrollback when it comes back.
            if !matches!(tokio::time::timeout(PATIENCE, viewer.send(bytes.to_vec())).await, Ok(Ok(()))) {
                self.viewers.borrow_mut().retain(|other| !other.same_channel(&viewer));
            }
        }
    }

    fn remember(&self, bytes: &[u8]) {
        let mut scrollback = self.scrollback.borrow_mut();
        scrollback.extend(bytes);
        let surplus = scrollback.len().saturating_sub(SCROLLBACK);
        if surplus > 0 {
            scrollback.drain(..surplus);
            // Beginning with a whole line keeps half an escape sequence from garbling the screen.
            if let Some(line) = scrollback.iter().take(4096).position(|&byte| byte == b'\n') {
                scrollback.drain(..=line);
            }
        }
    }

    pub fn resize(&self, size: Size) {
        let size = sane(size);
        self.size.set(size);
        let _ = resize(self.master.get_ref(), size);
    }

    /// Types into the terminal; waits while its programs do not read.
    pub async fn type_in(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let write = |master: &OwnedFd| Ok(rustix::io::write(master, bytes)?);
            let length = self.master.async_io(Interest::WRITABLE, write).await?;
            bytes = bytes.get(length..).unwrap_or_default();
        }
        Ok(())
    }
}

/// A size that programs survive.
fn sane(size: Size) -> Size {
    Size { cols: size.cols.clamp(2, 1000), rows: size.rows.clamp(2, 1000) }
}
