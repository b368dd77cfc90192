//! A lease's way out: a user-mode network process joined to the sandbox's own network namespace. It refuses the way to this
//! machine itself, by loopback or by any address of its own, and to the places where clouds keep their metadata; nothing can
//! be reached from outside.
use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use tokio::io::AsyncReadExt;

use super::addresses::{self, Net};

/// Ranges that no workload has business with: link-local, where most clouds keep their metadata, the addresses where others
/// do (Azure, Alibaba), and multicast, which this machine's own services hear.
const CLOSED: [&str; 4] = ["169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32", "224.0.0.0/4"];

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
    /// A process inside.
    pid: u32,
    /// Addresses of this machine that are closed already; `None` before the first time.
    closed: Option<BTreeSet<Net>>,
}

/// Why a workload can reach what it should not.
#[derive(Debug, thiserror::Error)]
pub enum Open {
    #[error("{0} is not installed (package {1})")]
    NoTool(&'static str, &'static str),
    #[error("this machine's own addresses cannot be read: {0}")]
    Addresses(#[source] io::Error),
    #[error("the routes could not be set: {0}")]
    Start(#[source] io::Error),
    #[error("the routes were refused: {0}")]
    Refused(String),
}

impl Network {
    /// Closes the way to addresses that this machine got since the last call. Blocks for some milliseconds when there are any.
    pub fn close(&mut self) -> Result<(), Open> {
        let own = addresses::own().map_err(Open::Addresses)?;
        // What stands for the tool's own services inside never leads to an address of this machine.
        let tools = [[10, 0, 2, 2], [10, 0, 2, 3]].map(|address| Net { address: address.into(), prefix: 32 });
        let own: BTreeSet<Net> = own.into_iter().filter(|net| !tools.contains(net)).collect();
        let known = self.closed.clone().unwrap_or_default();
        let fresh: Vec<String> = own.difference(&known).map(Net::to_string).collect();
        if self.closed.is_none() || !fresh.is_empty() {
            prohibit(self.pid, &fresh)?;
        }
        self.closed = Some(own);
        Ok(())
    }

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
    match tool {
        Tool::Slirp => slirp(pid, member.is_none().then_some(&owner)).await,
        Tool::Pasta => pasta(pid, &owner, member).await,
    }
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
        Ok(Ok(1)) => Ok(Network { tool: Tool::Slirp, process, _exit: Some(exit.into()), pid, closed: None }),
        _ => Err(NoNetwork::NotReady { tool: "slirp4netns" }),
    }
}

/// pasta refuses to run as root and becomes nobody, who may not enter the namespaces: it is started as their owner. It
/// says nothing when the network is up, so its device is looked for.
async fn pasta(pid: u32, owner: &OwnedFd, member: Option<(u32, u32)>) -> Result<Network, NoNetwork> {
    let failed = |cause| NoNetwork::Start { tool: "pasta", cause };
    let mut command = Command::new(find("pasta").ok_or(NoNetwork::NoTool)?);
    // The older protocol alone, as with slirp4netns: what is closed below is closed for it.
    command.args(["--foreground", "--quiet", "--ipv4-only"]);
    command.args(["--config-net", "--no-map-gw", "--dns-forward", SLIRP_DNS]);
    command.args(["-t", "none", "-u", "none", "-T", "none", "-U", "none", "--ns-ifname", "tap0"]);
    command.args(["--netns", &format!("/proc/{pid}/ns/net")]);
    command.arg(format!("--userns=/proc/self/fd/{}", inherit(owner).map_err(failed)?));
    if let Some((uid, gid)) = member {
        command.uid(uid).gid(gid);
    }
    let process = launch(command).map_err(failed)?;
    let network = Network { tool: Tool::Pasta, process, _exit: None, pid, closed: None };
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

/// The tools that set routes in another namespace.
fn routers(find: impl Fn(&str) -> Option<PathBuf>) -> Result<(PathBuf, PathBuf), Open> {
    let nsenter = find("nsenter").ok_or(Open::NoTool("nsenter", "util-linux"))?;
    let ip = find("ip").ok_or(Open::NoTool("ip", "iproute2"))?;
    Ok((nsenter, ip))
}

/// Makes ranges unreachable from the namespace of `pid`; the workload has no right to change routes.
fn prohibit(pid: u32, ranges: &[String]) -> Result<(), Open> {
    let (nsenter, ip) = routers(find)?;
    let mut command = Command::new(nsenter);
    command.arg(format!("--net=/proc/{pid}/ns/net"));
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net")).map_err(Open::Start)?;
    let owner = owner(&namespace).map_err(Open::Start)?;
    if !rustix::process::geteuid().is_root() {
        let number = inherit(&owner).map_err(Open::Start)?;
        command.arg("--preserve-credentials").arg(format!("--user=/proc/self/fd/{number}"));
    }
    command.arg(ip).args(["-force", "-batch", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut routing = command.spawn().map_err(Open::Start)?;
    let all = CLOSED.iter().map(|range| (*range).to_owned()).chain(ranges.iter().cloned());
    let batch: String = all.map(|range| format!("route replace prohibit {range}\n")).collect();
    let input = routing.stdin.take().map(|mut input| input.write_all(batch.as_bytes()));
    let done = routing.wait_with_output().map_err(Open::Start)?;
    match input {
        Some(Ok(())) if done.status.success() => Ok(()),
        _ => Err(Open::Refused(format!("{}. {}", done.status, String::from_utf8_lossy(&done.stderr).trim()))),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_named() {
        let only = |there: &'static str| routers(move |name| (name == there).then(|| name.into())).unwrap_err();
        assert_eq!(only("ip").to_string(), "nsenter is not installed (package util-linux)");
        assert_eq!(only("nsenter").to_string(), "ip is not installed (package iproute2)");
    }
}
