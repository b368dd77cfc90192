//! A lease's way out: a user-mode network process joined to the sandbox's own network namespace. It refuses the host's
//! loopback and the link-local range where clouds keep their metadata; nothing can be reached from outside.
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use tokio::io::AsyncReadExt;

/// The name server that slirp4netns offers inside.
pub const SLIRP_DNS: &str = "10.0.2.3";

/// Which tool makes the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    Slirp,
    Pasta,
}

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum NoNetwork {
    #[error("neither slirp4netns nor pasta is installed; install slirp4netns to give workloads a network")]
    NoTool,
    #[error("{tool} could not be started: {cause}")]
    Start { tool: &'static str, cause: io::Error },
    #[error("{tool} did not bring the network up; its messages are in the lease's shim.log")]
    NotReady { tool: &'static str },
}

impl Tool {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slirp => "slirp4netns",
            Self::Pasta => "pasta",
        }
    }

    /// The name server for /etc/resolv.conf inside; both tools are told to answer there.
    pub const fn dns(self) -> &'static str {
        SLIRP_DNS
    }
}

/// The tool that is installed here, slirp4netns before pasta.
pub fn tool() -> Option<Tool> {
    [Tool::Slirp, Tool::Pasta].into_iter().find(|tool| find(tool.name()).is_some())
}

/// A program by name, on the path of the agent or where distributions put such tools.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// A running network; it ends when this is dropped, also by the death of the process that holds it.
#[derive(Debug)]
pub struct Network {
    pub tool: Tool,
    process: tokio::process::Child,
    /// slirp4netns leaves when the other end of this pipe closes.
    _exit: Option<OwnedFd>,
}

impl Network {
    /// Ends the network process and waits for it.
    pub async fn stop(mut self) {
        let _ = self.process.kill().await;
    }
}

/// Joins a network to the namespace of `pid`, which must be held at its start so that it finds the network up.
/// `member` is the number and group to run under when this process is root.
pub async fn start(pid: u32, member: Option<(u32, u32)>) -> Result<Network, NoNetwork> {
    let tool = tool().ok_or(NoNetwork::NoTool)?;
    let failed = |cause| NoNetwork::Start { tool: tool.name(), cause };
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net")).map_err(failed)?;
    let owner = owner(&namespace).map_err(failed)?;
    let network = match tool {
        Tool::Slirp => slirp(pid, member.is_none().then_some(&owner)).await?,
        Tool::Pasta => pasta(pid, &owner, member).await?,
    };
    block_metadata(pid, member.is_none().then_some(&owner));
    Ok(network)
}

/// As root, slirp4netns drops to one harmless capability and an empty root by itself; otherwise it enters the user
/// namespace that owns the network, which is not the one the workload runs in.
async fn slirp(pid: u32, owner: Option<&OwnedFd>) -> Result<Network, NoNetwork> {
    let failed = |cause| NoNetwork::Start { tool: "slirp4netns", cause };
    let (ready, ready_inside) = io::pipe().map_err(failed)?;
    let (exit_inside, exit) = io::pipe().map_err(failed)?;
    let mut command = Command::new(find("slirp4netns").ok_or(NoNetwork::NoTool)?);
    command.args(["--configure", "--disable-host-loopback", "--mtu=65520", "--enable-seccomp"]);
    command.arg(format!("--ready-fd={}", inherit(&ready_inside).map_err(failed)?));
    command.arg(format!("--exit-fd={}", inherit(&exit_inside).map_err(failed)?));
    match owner {
        // Its own sandbox needs group 0 of that user namespace, which bubblewrap does not map.
        Some(owner) => command.arg(format!("--userns-path=/proc/self/fd/{}", inherit(owner).map_err(failed)?)),
        None => command.arg("--enable-sandbox"),
    };
    command.arg("--netns-type=path").arg(format!("/proc/{pid}/ns/net")).arg("tap0");
    let process = launch(command).map_err(failed)?;
    drop((ready_inside, exit_inside));
    let mut ready = tokio::net::unix::pipe::Receiver::from_owned_fd(ready.into()).map_err(failed)?;
    let mut byte = [0];
    match tokio::time::timeout(Duration::from_secs(10), ready.read(&mut byte)).await {
        Ok(Ok(1)) => Ok(Network { tool: Tool::Slirp, process, _exit: Some(exit.into()) }),
        _ => Err(NoNetwork::NotReady { tool: "slirp4netns" }),
    }
}

/// pasta refuses to run as root and becomes nobody, who may not enter the namespaces: it is started as their owner. It
/// says nothing when the network is up, so its device is looked for.
async fn pasta(pid: u32, owner: &OwnedFd, member: Option<(u32, u32)>) -> Result<Network, NoNetwork> {
    let failed = |cause| NoNetwork::Start { tool: "pasta", cause };
    let mut command = Command::new(find("pasta").ok_or(NoNetwork::NoTool)?);
    command.args(["--foreground", "--quiet", "--config-net", "--no-map-gw", "--dns-forward", SLIRP_DNS]);
    command.args(["-t", "none", "-u", "none", "-T", "none", "-U", "none", "--ns-ifname", "tap0"]);
    command.args(["--netns", &format!("/proc/{pid}/ns/net")]);
    command.arg(format!("--userns=/proc/self/fd/{}", inherit(owner).map_err(failed)?));
    if let Some((uid, gid)) = member {
        command.uid(uid).gid(gid);
    }
    let process = launch(command).map_err(failed)?;
    let network = Network { tool: Tool::Pasta, process, _exit: None };
    for _ in 0..100 {
        let devices = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
        if devices.contains("tap0") {
            return Ok(network);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(NoNetwork::NotReady { tool: "pasta" })
}

fn launch(mut command: Command) -> io::Result<tokio::process::Child> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    tokio::process::Command::from(command).kill_on_drop(true).spawn()
}

/// Lets the next child have this descriptor; returns its number. The caller drops it right after the start.
pub(super) fn inherit(fd: &impl AsFd) -> io::Result<i32> {
    fcntl_setfd(fd, FdFlags::empty())?;
    Ok(fd.as_fd().as_raw_fd())
}

/// Makes the metadata range unreachable. The workload has no right to change routes; without the tool `ip` the range
/// stays as the host has it.
fn block_metadata(pid: u32, owner: Option<&OwnedFd>) {
    let (Some(nsenter), Some(ip)) = (find("nsenter"), find("ip")) else { return };
    let mut command = Command::new(nsenter);
    command.arg(format!("--net=/proc/{pid}/ns/net"));
    if let Some(number) = owner.and_then(|owner| inherit(owner).ok()) {
        command.arg("--preserve-credentials").arg(format!("--user=/proc/self/fd/{number}"));
    }
    command.arg(ip).args(["route", "add", "prohibit", "169.254.0.0/16"]);
    let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
}

/// The user namespace that owns a namespace.
fn owner(namespace: &impl AsFd) -> io::Result<OwnedFd> {
    // SAFETY: NS_GET_USERNS takes no argument and returns a new descriptor that nobody else owns.
    #[allow(unsafe_code)] // The kernel offers no other way to name a namespace's owner than this ioctl.
    let owner = unsafe { rustix::ioctl::ioctl(namespace, OwnerOf) }?;
    Ok(owner)
}

struct OwnerOf;

// SAFETY: the opcode is _IO(0xb7, 1) of linux/nsfs.h; it reads and writes no memory of the caller.
#[allow(unsafe_code)]
unsafe impl rustix::ioctl::Ioctl for OwnerOf {
    type Output = OwnedFd;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> rustix::ioctl::Opcode {
        rustix::ioctl::opcode::none(0xb7, 1)
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(
        out: rustix::ioctl::IoctlOutput,
        _: *mut std::ffi::c_void,
    ) -> rustix::io::Result<OwnedFd> {
        use std::os::fd::FromRawFd;
        // SAFETY: a successful call returns a fresh descriptor.
        Ok(unsafe { OwnedFd::from_raw_fd(out) })
    }
}
