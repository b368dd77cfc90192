//! The first process inside a sandbox: opens terminals, starts the command, reaps what is left behind, passes signals on.
//! It refuses decisions, which are the shim's, and it refuses to be looked into by the workload.
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions, WaitStatus};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::signal::unix::{SignalKind, signal};

use super::courier::{Courier, FromInside, ToInside};
use crate::agent::runtime::root::PROGRAM;
use crate::wire::frame::Size;
use crate::wire::lease::{ExitKind, LeaseKind};

/// How often it looks whether the workload has gone after it was asked to.
const LOOK: Duration = Duration::from_millis(100);

/// `gristmill inner`: the first process. `gristmill inner shell PATH ARG...`: makes the terminal on its input its own
/// and becomes the shell.
pub fn main(arguments: &[String]) -> ExitCode {
    let result = match arguments {
        [mode, shell, rest @ ..] if mode == "shell" => become_shell(shell, rest),
        _ => first(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("gristmill inner: {cause}");
            ExitCode::FAILURE
        }
    }
}

fn become_shell(shell: &str, arguments: &[String]) -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::ioctl_tiocsctty(io::stdin())?;
    Err(Command::new(shell).args(arguments).exec())
}

fn first() -> io::Result<()> {
    // The workload has the same number as this process; without this it could read its memory and take its socket.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { Inner::new(Courier::new(socket)?).serve().await })
}

struct Inner {
    courier: Courier,
    kind: LeaseKind,
    env: BTreeMap<String, String>,
    home: PathBuf,
    /// Shells by process number.
    shells: BTreeMap<i32, u16>,
    batch: Option<i32>,
    terminating: bool,
}

impl Inner {
    fn new(courier: Courier) -> Self {
        Self {
            courier,
            kind: LeaseKind::Workspace { shell: None },
            env: BTreeMap::new(),
            home: PathBuf::from("/"),
            shells: BTreeMap::new(),
            batch: None,
            terminating: false,
        }
    }

    async fn serve(&mut self) -> io::Result<()> {
        let mut children = signal(SignalKind::child())?;
        let mut look = tokio::time::interval(LOOK);
        self.courier.send(&FromInside::Ready, None).await?;
        loop {
            tokio::select! {
                message = self.courier.receive::<ToInside>() => match message? {
                    Some((message, _)) => self.obey(message).await?,
                    // Without a shim there is nobody to answer to; leaving ends the whole sandbox.
                    None => return Ok(()),
                },
                _ = children.recv() => self.reap().await?,
                _ = look.tick(), if self.terminating => {
                    self.reap().await?;
                    if self.only_shells_left() {
                        self.terminating = false;
                        self.courier.send(&FromInside::Empty, None).await?;
                    }
                }
            }
        }
    }

    async fn obey(&mut self, message: ToInside) -> io::Result<()> {
        match message {
            ToInside::Start { kind, env, home } => {
                (self.kind, self.env, self.home) = (kind, env, home.into());
                if let LeaseKind::Batch { command } = &self.kind {
                    let command = command.clone();
                    self.start_batch(&command).await?;
                }
            }
            ToInside::OpenTab { tab, size } => match self.open_tab(tab, size) {
                Ok(master) => self.courier.send(&FromInside::TabOpened { tab }, Some(&master)).await?,
                Err(cause) => {
                    let why = format!("the terminal could not be opened: {cause}");
                    self.courier.send(&FromInside::TabFailed { tab, why }, None).await?;
                }
            },
            ToInside::Terminate => {
                self.terminating = true;
                // To the kernel a group of minus one means every process of the namespace but this one.
                let _ = rustix::process::kill_process_group(Pid::INIT, Signal::TERM);
                let _ = rustix::process::kill_process_group(Pid::INIT, Signal::CONT);
            }
        }
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(&self.env).current_dir(&self.home);
        command
    }

    async fn start_batch(&mut self, words: &[String]) -> io::Result<()> {
        let Some((program, arguments)) = words.split_first() else { return Ok(()) };
        let (output, output_inside) = io::pipe()?;
        let errors_inside = output_inside.try_clone()?;
        let mut command = self.command(program);
        command.args(arguments).process_group(0);
        command.stdin(Stdio::null()).stdout(output_inside).stderr(errors_inside);
        match command.spawn() {
            Ok(child) => {
                self.batch = i32::try_from(child.id()).ok();
                drop(command);
                self.courier.send(&FromInside::Started, Some(&output.into())).await
            }
            Err(cause) => {
                let code = if cause.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
                let why = format!("{program}: {cause}");
                self.courier.send(&FromInside::NotStarted { why, code }, None).await
            }
        }
    }

    fn shell(&self) -> String {
        let named = match &self.kind {
            LeaseKind::Workspace { shell: Some(shell) } => shell.to_str().map(str::to_owned),
            _ => None,
        };
        let usual = || if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" }.to_owned();
        named.unwrap_or_else(usual)
    }

    fn open_tab(&mut self, tab: u16, size: Size) -> io::Result<OwnedFd> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        // Without NOCTTY this process, which leads a session, would take the terminal from the shell that it is for.
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let terminal = ioctl_tiocgptpeer(&master, flags)?;
        resize(&master, size)?;
        let mut command = self.command(PROGRAM);
        command.args(["inner", "shell", &self.shell(), "-l"]).env("TERM", "xterm-256color");
        command.stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(terminal);
        let child = command.spawn()?;
        if let Ok(pid) = i32::try_from(child.id()) {
            self.shells.insert(pid, tab);
        }
        Ok(master)
    }

    /// Takes the exit of every child, its own and those that lost their parents.
    async fn reap(&mut self) -> io::Result<()> {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get();
            if self.batch == Some(pid) {
                self.batch = None;
                self.courier.send(&FromInside::Finished { exit: exit(status) }, None).await?;
            } else if let Some(tab) = self.shells.remove(&pid) {
                self.courier.send(&FromInside::TabEnded { tab }, None).await?;
            }
        }
        Ok(())
    }

    /// Shells ignore SIGTERM by design; they alone must not hold up an end.
    fn only_shells_left(&self) -> bool {
        let Ok(processes) = std::fs::read_dir("/proc") else { return false };
        let numbers = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        numbers.into_iter().all(|pid| pid == 1 || self.shells.contains_key(&pid))
    }
}

/// Tells programs in a terminal its size.
pub(super) fn resize(master: &OwnedFd, size: Size) -> io::Result<()> {
    let size = Winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(master, size)?)
}

fn exit(status: WaitStatus) -> ExitKind {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ExitKind::Code(code),
        (None, Some(signal)) => ExitKind::Signal(signal),
        (None, None) => ExitKind::Failed("the system gave no exit status".to_owned()),
    }
}
