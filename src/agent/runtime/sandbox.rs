//! One lease's sandbox: bubblewrap with namespaces of its own, and in it the program's own `inner` as first process. It
//! refuses to run anything as root: as root, the whole sandbox runs under the member's own number; otherwise under the
//! agent's.
//!
//! As root there are two layers. The outer one, still root, makes a private view of the file system in which the home and
//! the lease's files can be reached although their parent directories are closed to others; the inner one drops to the
//! member's number and builds the real sandbox in a user namespace.
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde::Deserialize;
use tokio::io::AsyncReadExt;

use super::network::{self, Network, NoNetwork, find, inherit};
use super::scratch::{self, Scratch};
use super::{cgroup, root, seccomp};
use crate::wire::lease::{Enforcement, LeaseSpec, LeasedGpu};

/// Where the outer layer shows what only root can reach.
const STAGE: &str = "/tmp/gristmill";
/// Where bubblewrap's messages go, in the lease's directory.
const COMPLAINTS: &str = "sandbox.err";

/// Why a sandbox could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("{0} is not installed on this node; install the package {1}")]
    Missing(&'static str, &'static str),
    #[error(transparent)]
    Home(#[from] root::BadHome),
    #[error(transparent)]
    Device(#[from] root::MissingDevice),
    #[error("the sandbox could not be prepared: {0}")]
    Io(#[from] io::Error),
    #[error("the sandbox could not be built: {0}")]
    Refused(String),
    /// On a busy machine the kernel's answer to bubblewrap is now and then lost; another try works.
    #[error("the sandbox's own loopback did not come up: {0}")]
    Loopback(String),
}

impl SandboxError {
    /// What bubblewrap said last, as far as it said something; `cause` is how its end was seen.
    pub fn of_bubblewrap(dir: &Path, cause: &io::Error) -> Self {
        let said = std::fs::read_to_string(dir.join(COMPLAINTS)).unwrap_or_default();
        match said.trim() {
            "" => Self::Refused(cause.to_string()),
            // bubblewrap has no exit status of its own for this, only these words.
            said if said.contains("RTM_NEWADDR") => Self::Loopback(said.to_owned()),
            said => Self::Refused(format!("{cause}. {said}")),
        }
    }
}

/// A sandbox whose first process runs.
#[derive(Debug)]
pub struct Sandbox {
    /// The outermost bubblewrap; everything dies with it.
    pub outer: tokio::process::Child,
    /// The first process inside, as this namespace numbers it.
    pub first: u32,
    /// Resolves when nothing of the sandbox is left: the kernel ends a first process only after all others are gone.
    pub pidfd: OwnedFd,
    /// This end of the conversation with the first process.
    pub courier: OwnedFd,
    pub network: Option<Network>,
    pub enforcement: Enforcement,
}

/// The member's number and group outside, when the agent may choose.
pub fn owner(spec: &LeaseSpec) -> Option<(u32, u32)> {
    rustix::process::geteuid().is_root().then_some((spec.member.uid, spec.member.gid))
}

/// The host name inside: tells leases apart in a prompt.
pub fn hostname(spec: &LeaseSpec) -> String {
    format!("lease-{}", spec.lease.short())
}

/// Builds and starts the sandbox of a checked spec; `dir` is the lease's directory, `program` this program.
pub async fn start(spec: &LeaseSpec, dir: &Path, program: &Path, scratch: &Scratch) -> Result<Sandbox, SandboxError> {
    root::home(&spec.home, owner(spec))?;
    let hostname = hostname(spec);
    let dns = network::tool().map(network::Tool::dns);
    let shown = root::prepare(dir, &spec.member, &hostname, dns)?;
    let mut stage = Stage::new(owner(spec));
    let mut inside = base(&hostname);
    inside.extend(root::system());
    let gpus: &[LeasedGpu] = if spec.simulated { &[] } else { &spec.gpus };
    inside.extend(root::devices(gpus, |path| stage.device(path))?);
    inside.extend(root::made(&shown, program, |path| stage.at(path)));
    if spec.share.memory_bytes > 0 {
        // /tmp lives in the lease's memory; half of it at most, so that filling it does not end the work.
        inside.extend(["--size".into(), (spec.share.memory_bytes / 2).to_string().into()]);
    }
    inside.extend(root::words(&["--tmpfs", "/tmp", "--symlink", "../tmp", "/var/tmp"]));
    let home = Path::new("/home").join(&spec.member.name);
    inside.extend(root::bind("--bind", &stage.at(&spec.home), &home));
    inside.extend(root::bind("--bind", &stage.at(&scratch.dir), Path::new(scratch::INSIDE)));
    inside.extend(["--chdir".into(), home.into_os_string()]);
    let mut sandbox = launch(spec, dir, &stage, inside).await?;
    sandbox.enforcement.scratch = scratch.facts();
    sandbox.enforcement.lacking.extend(scratch.lacking.iter().cloned());
    Ok(sandbox)
}

/// What every sandbox has, whatever it runs.
fn base(hostname: &str) -> Vec<OsString> {
    let mut args = root::words(&["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net"]);
    args.extend(root::words(&["--unshare-cgroup-try", "--die-with-parent", "--new-session", "--as-pid-1"]));
    args.extend(root::words(&["--cap-drop", "ALL", "--clearenv", "--hostname", hostname]));
    let id = root::INSIDE_ID.to_string();
    args.extend(root::words(&["--uid", &id, "--gid", &id]));
    if knows("--disable-userns") {
        // Namespaces inside would give a workload rights over parts of the kernel that it has no use for.
        args.push("--disable-userns".into());
    }
    args
}

/// Whether the installed bubblewrap has an option (older ones lack some).
fn knows(option: &str) -> bool {
    let Some(bwrap) = find("bwrap") else { return false };
    let help = Command::new(bwrap).arg("--help").stdin(Stdio::null()).output();
    help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains(option))
}

/// The outer layer, as far as there is one.
struct Stage {
    owner: Option<(u32, u32)>,
    /// How and what.
    shown: Vec<(&'static str, PathBuf)>,
}

impl Stage {
    fn new(owner: Option<(u32, u32)>) -> Self {
        Self { owner, shown: Vec::new() }
    }

    /// Under which path the inner layer reaches a host path.
    fn at(&mut self, path: &Path) -> PathBuf {
        self.show("--bind", path)
    }

    /// The same for a device file.
    fn device(&mut self, path: &Path) -> PathBuf {
        self.show("--dev-bind", path)
    }

    fn show(&mut self, how: &'static str, path: &Path) -> PathBuf {
        if self.owner.is_none() {
            return path.to_owned();
        }
        self.shown.push((how, path.to_owned()));
        Path::new(STAGE).join((self.shown.len() - 1).to_string())
    }

    /// Everything up to the inner bubblewrap's own arguments.
    fn command(&self) -> Result<Command, SandboxError> {
        let bwrap = find("bwrap").ok_or(SandboxError::Missing("bwrap", "bubblewrap"))?;
        let Some((uid, gid)) = self.owner else {
            return Ok(Command::new(bwrap));
        };
        let setpriv = find("setpriv").ok_or(SandboxError::Missing("setpriv", "util-linux"))?;
        let mut command = Command::new(&bwrap);
        command.args(["--dev-bind", "/", "/", "--perms", "0755", "--tmpfs", "/tmp", "--perms", "0755", "--dir", STAGE]);
        for (number, (how, path)) in self.shown.iter().enumerate() {
            command.args(root::bind(how, path, &Path::new(STAGE).join(number.to_string())));
        }
        command.args(["--die-with-parent", "--"]).arg(setpriv);
        command.args([format!("--reuid={uid}"), format!("--regid={gid}")]);
        command.args(["--clear-groups", "--inh-caps=-all", "--"]).arg(bwrap);
        Ok(command)
    }
}

#[derive(Deserialize)]
struct Info {
    #[serde(rename = "child-pid")]
    child: u32,
}

async fn launch(spec: &LeaseSpec, dir: &Path, stage: &Stage, inside: Vec<OsString>) -> Result<Sandbox, SandboxError> {
    let (courier, courier_inside) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
            .map_err(io::Error::from)?;
    let (info, info_inside) = io::pipe()?;
    let (block_inside, block) = io::pipe()?;
    let filter = seccomp::filter();
    let mut command = stage.command()?;
    command.args([
        "--info-fd",
        &inherit(&info_inside)?.to_string(),
        "--block-fd",
        &inherit(&block_inside)?.to_string(),
    ]);
    let filter = filter.map(|filter| pipe_with(&filter)).transpose()?;
    if let Some(filter) = &filter {
        command.args(["--seccomp", &inherit(filter)?.to_string()]);
    }
    command.args(inside).args(["--", root::PROGRAM, "inner"]);
    command.stdin(courier_inside).stdout(Stdio::null()).stderr(std::fs::File::create(dir.join(COMPLAINTS))?);
    let mut command = tokio::process::Command::from(command);
    let outer = command.kill_on_drop(true).spawn()?;
    // The command holds the other end of the conversation; with it gone, the end of the sandbox shows as end of stream.
    let filtered = filter.is_some();
    drop((command, info_inside, block_inside, filter));
    let first = first_process(info).await.map_err(|cause| SandboxError::of_bubblewrap(dir, &cause))?;
    let handle = rustix::process::Pid::from_raw(i32::try_from(first).unwrap_or(0))
        .ok_or_else(|| SandboxError::Refused("bubblewrap named no first process".to_owned()))?;
    let pidfd = rustix::process::pidfd_open(handle, rustix::process::PidfdFlags::NONBLOCK).map_err(io::Error::from)?;
    let limits = cgroup::apply(&format!("gristmill-{}-{}", spec.lease, spec.attempt), &spec.share, first);
    let mut enforcement = Enforcement {
        network: None,
        cpu: limits.cpu,
        memory: limits.memory,
        scratch: None,
        lacking: limits.lacking,
        cgroups: limits.groups,
    };
    if !filtered {
        enforcement.lacking.push("no system calls are refused: no filter is known for this processor".to_owned());
    }
    let network = network::start(first, owner(spec)).await;
    let network = connected(network, &mut enforcement);
    // Limits and network stand: the first process may go on.
    io::Write::write_all(&mut { block }, b"x")?;
    Ok(Sandbox { outer, first, pidfd, courier, network, enforcement })
}

/// Notes what the network is, and what it lets through that it should not.
fn connected(network: Result<Network, NoNetwork>, enforcement: &mut Enforcement) -> Option<Network> {
    match network {
        Ok(mut network) => {
            enforcement.network = Some(network.tool.name().to_owned());
            if let Err(open) = network.close() {
                let lack =
                    format!("this node's own addresses and the cloud's metadata are open to the workload: {open}");
                enforcement.lacking.push(lack);
            }
            Some(network)
        }
        Err(problem) => {
            enforcement.lacking.push(format!("no network: {problem}"));
            None
        }
    }
}

/// A pipe from which these few bytes can be read, and then its end.
fn pipe_with(bytes: &[u8]) -> io::Result<io::PipeReader> {
    let (reader, mut writer) = io::pipe()?;
    // Far below what a pipe takes without a reader.
    io::Write::write_all(&mut writer, bytes)?;
    Ok(reader)
}

/// Reads which process bubblewrap started.
async fn first_process(info: io::PipeReader) -> io::Result<u32> {
    let mut info = tokio::net::unix::pipe::Receiver::from_owned_fd(info.into())?;
    let (mut said, mut piece) = (Vec::new(), [0; 1024]);
    let read = async {
        loop {
            let count = info.read(&mut piece).await?;
            said.extend_from_slice(&piece[..count]);
            if let Ok(Info { child }) = serde_json::from_slice(&said) {
                return Ok(child);
            }
            if count == 0 || said.len() > 64 * 1024 {
                return Err(io::Error::other("bubblewrap ended before the sandbox stood"));
            }
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(20), read).await;
    answer.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
}

/// Builds a sandbox around `true` and says why it did not work.
pub fn probe() -> Result<(), SandboxError> {
    // Nobody's number: only that it is unprivileged matters here.
    let stage = Stage::new(rustix::process::geteuid().is_root().then_some((65_533, 65_533)));
    let mut command = stage.command()?;
    command.args(base("probe")).args(root::system()).args(["--tmpfs", "/tmp", "--", "/usr/bin/true"]);
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(SandboxError::Refused(if said.is_empty() { output.status.to_string() } else { said }))
}
