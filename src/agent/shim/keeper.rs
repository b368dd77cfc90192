//! The course of one lease inside its shim: start, run, warn, end, record. It refuses to report an end before nothing of
//! the workload is left.
use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::AsyncReadExt;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::timeout;

use super::alarm::Alarm;
use super::courier::{Courier, FromInside, ToInside};
use super::deadline::{Course, Due};
use super::environment::environment;
use super::journal::Journal;
use super::ready;
use super::record::{self, LOG, STATE};
use super::serve::{self, Order, Shared};
use super::stream::{SOCKET, short_path};
use super::tabs::{NoTab, Tabs};
use crate::agent::boot;
use crate::agent::runtime::cgroup;
use crate::agent::runtime::sandbox::{self, Sandbox, SandboxError};
use crate::agent::runtime::scratch::{self, Gauge, Reading, Scratch, Verdict};
use crate::clock;
use crate::wire::lease::{
    BadSpec, EndCause, Enforcement, ExitKind, LeaseKind, LeaseSpec, LeaseState, LogFacts, Phase, ProcessMark,
};

/// How often the state is written although nothing changed: after a power cut it is the last sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(60);
/// How long the first process may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long followers may take to fetch the rest before the shim leaves.
const FAREWELL: Duration = Duration::from_secs(3);

/// Why a shim could not do its work at all.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    #[error("the lease's directory cannot be used: {0}")]
    Io(#[from] io::Error),
    #[error("the lease's spec is refused: {0}")]
    Spec(#[from] BadSpec),
}

/// Why a workload did not come up.
#[derive(Debug, thiserror::Error)]
enum NotStarted {
    #[error("this program cannot be shown in a sandbox: {0}")]
    Program(#[source] io::Error),
    #[error("the scratch space cannot be made: {0}")]
    Scratch(#[source] io::Error),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

/// This very program as a file that can be bound into the sandbox. An agent outlives the file it was started from (an
/// upgrade replaces it); then the lease gets a copy of its own, from what the kernel still holds.
fn program(dir: &Path) -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    if path.exists() {
        return Ok(path);
    }
    let copy = dir.join("program");
    std::fs::copy("/proc/self/exe", &copy)?;
    Ok(copy)
}

/// Keeps the lease in `dir` until it is over.
pub fn keep(dir: &Path) -> Result<(), KeeperError> {
    let spec = record::read_spec(dir)?;
    spec.check()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let mut keeper = Keeper::new(dir, spec)?;
        keeper.serve().await?;
        Ok(())
    })
}

/// How the workload came to its end.
struct End {
    exit: ExitKind,
    cause: EndCause,
}

struct Keeper {
    dir: PathBuf,
    spec: LeaseSpec,
    shared: Rc<Shared>,
    orders: mpsc::Receiver<Order>,
    course: Course,
    /// What the batch command said about its own end.
    exit: Option<ExitKind>,
    scratch: Option<Scratch>,
    /// Judges how much of the scratch space is used, where the kernel does not limit it.
    gauge: Option<Gauge>,
}

/// What keeps running beside the keeper while the workload lives.
struct Workload {
    sandbox: Sandbox,
    pidfd: AsyncFd<OwnedFd>,
    courier: Rc<Courier>,
    output: Option<JoinHandle<()>>,
}

impl Keeper {
    fn new(dir: &Path, spec: LeaseSpec) -> io::Result<Self> {
        let state = LeaseState {
            lease: spec.lease,
            attempt: spec.attempt,
            phase: Phase::Starting,
            started: None,
            deadline: spec.deadline,
            boot_id: boot::boot_id(),
            shim: boot::mark(std::process::id()).unwrap_or(ProcessMark { pid: std::process::id(), started: 0 }),
            enforcement: Enforcement::default(),
            log: LogFacts::default(),
            note: None,
            seen: clock::now(),
            seen_boot_ms: boot::boot_ms(),
        };
        let (sender, orders) = mpsc::channel(16);
        let shared = Shared {
            state: RefCell::new(state),
            tabs: Rc::default(),
            journal: Journal::create(&dir.join(LOG), spec.log_cap)?,
            courier: RefCell::default(),
            orders: sender,
            clients: Cell::new(0),
        };
        let course = Course::new(&spec, boot::boot_ms());
        let shared = Rc::new(shared);
        let keeper = Self { dir: dir.to_owned(), spec, shared, orders, course, exit: None, scratch: None, gauge: None };
        keeper.write(true)?;
        Ok(keeper)
    }

    /// Writes the state as it is now.
    fn write(&self, durable: bool) -> io::Result<()> {
        let mut state = self.shared.state.borrow_mut();
        (state.seen, state.seen_boot_ms) = (clock::now(), boot::boot_ms());
        state.log = self.shared.journal.facts();
        state.deadline = self.course.deadline();
        record::write(&self.dir, STATE, &*state, durable)
    }

    /// A full disk must not end work: what cannot be written is said, and kept in memory for those who ask.
    fn record(&self, phase: Phase) {
        self.shared.state.borrow_mut().phase = phase;
        if let Err(cause) = self.write(true) {
            eprintln!("gristmill shim: the state could not be written: {cause}");
        }
    }

    async fn serve(&mut self) -> io::Result<()> {
        let held = std::fs::File::open(&self.dir)?;
        let _ = std::fs::remove_file(self.dir.join(SOCKET));
        let listener = UnixListener::bind(short_path(&held))?;
        drop(held);
        let listening = spawn_local(serve::listen(listener, self.shared.clone()));
        match self.start_again().await {
            Ok(mut workload) => {
                let end = self.run(&mut workload).await;
                self.finish(workload, end).await;
            }
            Err(why) => {
                self.end_scratch();
                let now = clock::now();
                let (exit, at_boot_ms) = (ExitKind::Failed(why.to_string()), boot::boot_ms());
                let ran = crate::base::window::Span::ZERO;
                self.record(Phase::Ended { exit, cause: EndCause::Failed, at: now, at_boot_ms, ran });
                self.shared.journal.close();
            }
        }
        // Clients take what is left of log and screens; nobody new is taken.
        self.orders.close();
        listening.abort();
        let _ = std::fs::remove_file(self.dir.join(SOCKET));
        let gone = async {
            while self.shared.clients.get() > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = timeout(FAREWELL, gone).await;
        Ok(())
    }

    /// [`Keeper::start`], again where another try works.
    async fn start_again(&mut self) -> Result<Workload, NotStarted> {
        let program = program(&self.dir).map_err(NotStarted::Program)?;
        let scratch = Scratch::make(&self.dir, self.spec.share.scratch_bytes, sandbox::owner(&self.spec));
        let scratch = scratch.map_err(NotStarted::Scratch)?;
        (self.scratch, self.gauge) = (Some(scratch.clone()), scratch.gauge());
        let mut started = self.start(&program, &scratch).await;
        for _ in 0..3 {
            match &started {
                Err(SandboxError::Loopback(_)) => started = self.start(&program, &scratch).await,
                _ => break,
            }
        }
        Ok(started?)
    }

    /// Builds the sandbox and starts the workload in it; on failure nothing is left behind but the scratch space.
    async fn start(&mut self, program: &Path, scratch: &Scratch) -> Result<Workload, SandboxError> {
        let mut sandbox = sandbox::start(&self.spec, &self.dir, program, scratch).await?;
        self.shared.state.borrow_mut().enforcement = sandbox.enforcement.clone();
        let begun = async {
            let courier = Rc::new(Courier::new(sandbox.courier.try_clone()?)?);
            let pidfd = ready::watch(sandbox.pidfd.try_clone()?)?;
            let output = timeout(PATIENCE, self.begin(&courier)).await??;
            io::Result::Ok((courier, pidfd, output))
        };
        let begun = begun.await;
        match begun {
            Ok((courier, pidfd, output)) => {
                self.shared.courier.replace(Some(courier.clone()));
                Ok(Workload { sandbox, pidfd, courier, output })
            }
            Err(cause) => {
                let _ = rustix::process::pidfd_send_signal(&sandbox.pidfd, Signal::KILL);
                let _ = timeout(PATIENCE, sandbox.outer.wait()).await;
                cgroup::remove(&sandbox.enforcement.cgroups);
                Err(SandboxError::of_bubblewrap(&self.dir, &cause))
            }
        }
    }

    /// Tells the first process what to run and waits until it does.
    async fn begin(&mut self, courier: &Courier) -> io::Result<Option<JoinHandle<()>>> {
        let lost = || io::Error::other("its first process ended");
        if !matches!(courier.receive().await?, Some((FromInside::Ready, _))) {
            return Err(lost());
        }
        let home = format!("/home/{}", self.spec.member.name);
        let start = ToInside::Start { kind: self.spec.kind.clone(), env: environment(&self.spec, &home), home };
        courier.send(&start, None).await?;
        if matches!(self.spec.kind, LeaseKind::Workspace { .. }) {
            return Ok(None);
        }
        match courier.receive().await?.ok_or_else(lost)? {
            (FromInside::Started, Some(output)) => {
                let mut output = tokio::net::unix::pipe::Receiver::from_owned_fd(output)?;
                let shared = self.shared.clone();
                Ok(Some(spawn_local(async move {
                    let mut piece = vec![0; 64 * 1024];
                    while let Ok(length @ 1..) = output.read(&mut piece).await {
                        shared.journal.append(&piece[..length]);
                    }
                })))
            }
            (FromInside::NotStarted { why, code }, _) => {
                self.shared.journal.append(format!("gristmill: {why}\n").as_bytes());
                self.exit = Some(ExitKind::Code(code));
                Ok(None)
            }
            _ => Err(io::Error::other("its first process answered out of turn")),
        }
    }

    async fn run(&mut self, workload: &mut Workload) -> End {
        let since = clock::now();
        self.shared.state.borrow_mut().started = Some((since, boot::boot_ms()));
        self.record(Phase::Running { pid: workload.sandbox.first, since });
        if let Some(exit) = self.exit.take() {
            return End { exit, cause: EndCause::Finished };
        }
        let broken = |why: &str| End { exit: ExitKind::Failed(why.to_owned()), cause: EndCause::Failed };
        let Ok(alarm) = Alarm::new() else { return broken("the system has no timer for the deadline") };
        let Ok(mut quit) = signal(SignalKind::terminate()) else { return broken("signals cannot be taken") };
        // Taken so that they do nothing: a terminal's end or Ctrl-C is not meant for work.
        let _ignored = (signal(SignalKind::hangup()), signal(SignalKind::interrupt()));
        let mut life = tokio::time::interval(SIGN_OF_LIFE);
        let mut listening = true;
        let mut readings = self.measure();
        loop {
            if let Some(end) = self.pass_time(workload).await {
                return end;
            }
            if alarm.set(self.course.next_ms()).is_err() {
                return broken("the timer for the deadline failed");
            }
            tokio::select! {
                () = alarm.rang() => {}
                gone = workload.pidfd.readable() => {
                    drop(gone);
                    return self.ended_unasked();
                }
                message = workload.courier.receive::<FromInside>(), if listening => match message {
                    Ok(Some((message, file))) => if let Some(end) = self.hear(message, file) { return end },
                    // Closed, or nonsense from inside: only the kernel is asked from now on.
                    _ => listening = false,
                },
                Some(order) = self.orders.recv() => self.obey(order, workload).await,
                _ = quit.recv() => self.terminate(workload, stopped("the machine is shutting down")).await,
                Some(reading) = readings.recv() => self.judge(reading, workload).await,
                _ = life.tick() => self.show_life(workload),
            }
        }
    }

    /// Writes the state, and closes the way to addresses that this machine got meanwhile.
    fn show_life(&self, workload: &mut Workload) {
        // A full disk must not end work.
        let _ = self.write(false);
        if let Some(Err(open)) = workload.sandbox.network.as_mut().map(|network| network.close()) {
            eprintln!("gristmill shim: this machine's own addresses are not closed to the workload: {open}");
        }
    }

    /// Measures the scratch space where the kernel does not limit it; nothing comes where it does.
    fn measure(&self) -> mpsc::Receiver<Reading> {
        let (sender, readings) = mpsc::channel(1);
        if let Some(scratch) = self.scratch.as_ref().filter(|_| self.gauge.is_some()) {
            let dir = scratch.dir.clone();
            spawn_local(async move {
                loop {
                    let dir = dir.clone();
                    let Ok(reading) = tokio::task::spawn_blocking(move || scratch::read(&dir)).await else { return };
                    let pause = reading.pause;
                    if sender.send(reading).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                }
            });
        }
        readings
    }

    async fn judge(&mut self, reading: Reading, workload: &Workload) {
        let verdict = self.gauge.as_mut().map(|gauge| gauge.judge(reading, boot::boot_ms()));
        match verdict {
            None | Some(Verdict::Fine) => {}
            Some(Verdict::Warn(text)) => self.tell(&text),
            Some(Verdict::End(reason)) => {
                if matches!(self.shared.state.borrow().phase, Phase::Running { .. }) {
                    self.tell(&format!("This lease ends now: {reason}."));
                    self.shared.journal.append(format!("gristmill: this lease ends: {reason}\n").as_bytes());
                    self.shared.state.borrow_mut().note = Some(reason.clone());
                }
                self.terminate(workload, stopped(&reason)).await;
            }
        }
    }

    /// Removes the scratch space; what cannot be removed now is removed with the lease's directory.
    fn end_scratch(&mut self) {
        if let Some(Err(cause)) = self.scratch.take().map(|scratch| scratch.end()) {
            eprintln!("gristmill shim: the scratch space could not be removed: {cause}");
        }
    }

    /// Does what became due; the end if that is what became due.
    async fn pass_time(&mut self, workload: &Workload) -> Option<End> {
        match self.course.due(boot::boot_ms())? {
            Due::Warn { minutes } => {
                let unit = if minutes == 1 { "minute" } else { "minutes" };
                self.tell(&format!("This lease ends in {minutes} {unit}. Save your work, or extend the booking."));
            }
            Due::Terminate => self.terminate(workload, EndCause::Deadline).await,
            Due::Kill => return Some(self.killed()),
        }
        None
    }

    /// Tells the people at the terminals and, by the notice file, the programs.
    fn tell(&self, text: &str) {
        self.shared.tabs.announce(text);
        let file = std::fs::File::options().append(true).open(self.dir.join("run/notice"));
        let _ = file.and_then(|mut file| writeln!(file, "{} {text}", clock::now().as_seconds()));
    }

    /// Sends SIGTERM, once.
    async fn terminate(&mut self, workload: &Workload, cause: EndCause) {
        if !matches!(self.shared.state.borrow().phase, Phase::Running { .. }) {
            return;
        }
        self.course.terminated(boot::boot_ms());
        self.record(Phase::Ending { cause, since: clock::now() });
        self.shared.tabs.refuse_new();
        self.tell("This lease is ending now: programs were asked to stop and will be ended shortly.");
        let _ = timeout(Duration::from_secs(1), workload.courier.send(&ToInside::Terminate, None)).await;
    }

    fn cause(&self, otherwise: EndCause) -> EndCause {
        match &self.shared.state.borrow().phase {
            Phase::Ending { cause, .. } => cause.clone(),
            _ => otherwise,
        }
    }

    fn is_batch(&self) -> bool {
        matches!(self.spec.kind, LeaseKind::Batch { .. })
    }

    /// The moment of SIGKILL has come.
    fn killed(&mut self) -> End {
        let unsaid = if self.is_batch() { ExitKind::Signal(Signal::KILL.as_raw()) } else { ExitKind::None };
        End { exit: self.exit.take().unwrap_or(unsaid), cause: self.cause(EndCause::Deadline) }
    }

    /// The first process is gone although nobody ended it.
    fn ended_unasked(&mut self) -> End {
        match self.cause(EndCause::Failed) {
            EndCause::Failed => End {
                exit: ExitKind::Failed("the sandbox's first process was ended from outside".to_owned()),
                cause: EndCause::Failed,
            },
            _ => self.killed(),
        }
    }

    fn hear(&mut self, message: FromInside, file: Option<OwnedFd>) -> Option<End> {
        let tabs: &Rc<Tabs> = &self.shared.tabs;
        match (message, file) {
            (FromInside::TabOpened { tab }, Some(master)) => tabs.opened(tab, master),
            (FromInside::TabFailed { tab, why }, _) => tabs.failed(tab, NoTab::Inside(why)),
            (FromInside::TabEnded { tab }, _) => tabs.shell_ended(tab),
            (FromInside::Finished { exit }, _) if self.is_batch() => {
                return Some(End { exit, cause: self.cause(EndCause::Finished) });
            }
            (FromInside::Empty, _) if !matches!(self.shared.state.borrow().phase, Phase::Running { .. }) => {
                return Some(self.killed());
            }
            _ => {}
        }
        None
    }

    async fn obey(&mut self, order: Order, workload: &Workload) {
        match order {
            Order::SetEnd { deadline, answer } => {
                let changed = self.course.change(deadline).map_err(|late| late.to_string());
                let written = changed.and_then(|()| {
                    self.write(true).map_err(|cause| format!("the new end could not be recorded: {cause}"))
                });
                let _ = answer.send(written);
            }
            Order::Stop { reason, answer } => {
                self.terminate(workload, stopped(&reason)).await;
                let _ = answer.send(());
            }
        }
    }

    /// Ends whatever is left, waits until nothing is, and records the end.
    async fn finish(&mut self, mut workload: Workload, end: End) {
        if matches!(self.shared.state.borrow().phase, Phase::Running { .. }) {
            self.record(Phase::Ending { cause: end.cause.clone(), since: clock::now() });
        }
        let _ = rustix::process::pidfd_send_signal(workload.pidfd.get_ref(), Signal::KILL);
        // The kernel ends a first process after everything in its namespace. A process stuck in a driver can hold this up;
        // then the GPUs are not free, and nothing else is reported.
        while timeout(PATIENCE, workload.pidfd.readable()).await.is_err() {
            let note = "a process does not end although it was killed; a driver may hold it".to_owned();
            self.shared.state.borrow_mut().note = Some(note);
            let _ = self.write(false);
        }
        let _ = workload.sandbox.outer.wait().await;
        if let Some(output) = workload.output {
            let _ = timeout(PATIENCE, output).await;
        }
        if let Some(network) = workload.sandbox.network {
            network.stop().await;
        }
        let groups = &workload.sandbox.enforcement.cgroups;
        if cgroup::out_of_memory_kills(groups) > 0 {
            let gibibytes = self.spec.share.memory_bytes as f64 / f64::from(1 << 30);
            let note = format!("the lease used all of its memory ({gibibytes:.1} GiB) and the kernel ended a process");
            self.shared.state.borrow_mut().note = Some(note);
        }
        cgroup::remove(groups);
        self.shared.courier.replace(None);
        // The work is over here; what is tidied up after it is not its time.
        let (at, at_boot_ms) = (clock::now(), boot::boot_ms());
        self.end_scratch();
        let started = self.shared.state.borrow().started.map_or(at_boot_ms, |(_, boot_ms)| boot_ms);
        let ran = crate::base::window::Span::from_millis(at_boot_ms - started);
        self.record(Phase::Ended { exit: end.exit, cause: end.cause, at, at_boot_ms, ran });
        self.shared.journal.close();
        self.shared.tabs.close_all();
    }
}

fn stopped(reason: &str) -> EndCause {
    EndCause::Stopped { reason: reason.to_owned() }
}
