//! One lease as it is handed to its shim and as the shim reports it. It refuses to trust either: a spec is checked before
//! anything is done with it, because it came over a network and names paths, users and commands.
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::hardware::{MigPlace, Share};
use crate::base::ids::LeaseId;
use crate::base::window::{Instant, Span};

/// Bytes of batch output that are kept unless the spec says otherwise.
pub const DEFAULT_LOG_CAP: u64 = 256 * 1024 * 1024;
/// Minutes before the end at which the workload is told.
pub const DEFAULT_WARNINGS: [u32; 3] = [60, 15, 5];
/// Most bytes that command and environment may take together as JSON: they travel to the sandbox in one message.
pub const COMMAND_LIMIT: usize = 96 * 1024;

/// Everything the shim needs to run one lease, written once to `spec.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseSpec {
    pub lease: LeaseId,
    /// Counts the tries of this lease; reports of an older one are dropped by the server.
    pub attempt: u32,
    pub kind: LeaseKind,
    /// Added to the environment that the sandbox sets up by itself.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default)]
    pub gpus: Vec<LeasedGpu>,
    /// Whether the GPUs exist only on paper; then no device is looked for.
    #[serde(default)]
    pub simulated: bool,
    /// Zero in a field means: no limit for that resource.
    #[serde(default)]
    pub share: Share,
    /// The member's persistent home on this node: absolute, made (0700) if it is not there.
    pub home: PathBuf,
    pub member: MemberAccount,
    pub deadline: Deadline,
    /// Time between SIGTERM and SIGKILL.
    pub grace_seconds: u32,
    /// Minutes before the end at which the workload is told.
    #[serde(default = "default_warnings")]
    pub warnings: Vec<u32>,
    /// Bytes of batch output that are kept.
    #[serde(default = "default_log_cap")]
    pub log_cap: u64,
}

fn default_warnings() -> Vec<u32> {
    DEFAULT_WARNINGS.to_vec()
}

fn default_log_cap() -> u64 {
    DEFAULT_LOG_CAP
}

/// What runs in a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LeaseKind {
    /// A person works in it: terminals come and go, the lease lives to its end. Without a shell named, bash or sh.
    Workspace { shell: Option<PathBuf> },
    /// One command; its end is the lease's end.
    Batch { command: Vec<String> },
}

/// A leased GPU or MIG instance, as far as the sandbox must know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeasedGpu {
    pub uuid: String,
    /// Device file number in /dev/nvidiaN (of the parent, for a MIG instance).
    pub minor: Option<u32>,
    /// Which instance of its GPU it is; `None` for a whole one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<MigPlace>,
}

/// The member on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberAccount {
    /// The account's name in the sandbox: lower-case letters, digits, `_` and `-`, at most 32, beginning with a letter.
    pub name: String,
    /// The unprivileged owner of the member's files on this node. Applied when the agent is root; otherwise everything
    /// belongs to the agent's own user.
    pub uid: u32,
    pub gid: u32,
}

/// When a lease must be over. Both clocks are kept: the boot clock is obeyed, the instant is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deadline {
    /// Counts the changes of this deadline; only a newer one is accepted.
    pub generation: u64,
    /// The end by the mill's clock.
    pub end: Instant,
    /// The end in milliseconds of this boot's CLOCK_BOOTTIME.
    pub boot_ms: i64,
}

/// Why a lease's workload ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum EndCause {
    /// The batch command ended by itself.
    Finished,
    /// The lease's window was over.
    Deadline,
    /// Somebody or something asked for it; the reason is for people.
    Stopped { reason: String },
    /// It never ran, or the sandbox broke.
    Failed,
    /// The shim or the machine went away; the end is known only by the last sign of life.
    Lost,
}

/// How the workload ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ExitKind {
    Code(i32),
    Signal(i32),
    /// There is no exit status: a workspace that was ended, or a workload that never ran. The text is for people.
    Failed(String),
    /// A workspace has no exit status of its own.
    None,
}

impl ExitKind {
    /// The exit code in the form shells use: 128 + the signal's number; `None` where there is no status.
    pub fn shell_code(&self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(*code),
            Self::Signal(signal) => Some(128 + signal),
            Self::Failed(_) | Self::None => None,
        }
    }
}

/// Where a lease is on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Phase {
    Starting,
    /// The workload runs; `pid` is the first process of its namespace as the node sees it.
    Running {
        pid: u32,
        since: Instant,
    },
    /// SIGTERM was sent; whatever is left at the deadline or after the grace is killed.
    Ending {
        cause: EndCause,
        since: Instant,
    },
    /// Nothing of the workload is left.
    Ended {
        exit: ExitKind,
        cause: EndCause,
        at: Instant,
        /// The same moment on the boot clock.
        at_boot_ms: i64,
        /// From running to the end, by the boot clock; zero when it never ran.
        ran: Span,
    },
}

/// A process that can be told from a later one with the same number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessMark {
    pub pid: u32,
    /// Start time in clock ticks since boot, from /proc/PID/stat.
    pub started: u64,
}

/// What the sandbox of this lease got, and why it lacks what it lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enforcement {
    /// `slirp4netns` or `pasta`; `None` without network.
    pub network: Option<String>,
    pub cpu: bool,
    pub memory: bool,
    /// The scratch space; `None` without a limit.
    #[serde(default)]
    pub scratch: Option<ScratchFacts>,
    /// What is missing, in words for people.
    pub lacking: Vec<String>,
    /// Control groups that this lease made, to be removed after it.
    pub cgroups: Vec<PathBuf>,
}

/// The scratch space of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScratchFacts {
    pub bytes: u64,
    /// Whether the kernel holds the workload to it; otherwise it is measured.
    pub enforced: bool,
}

/// How much output there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogFacts {
    /// Bytes in the log file.
    pub bytes: u64,
    /// Bytes that were dropped because the log was full.
    pub dropped: u64,
}

/// What the shim says about its lease; `state.json`, replaced whole at every change and each minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseState {
    pub lease: LeaseId,
    pub attempt: u32,
    pub phase: Phase,
    /// Once the workload runs, its beginning stays here to the end: by the node's clock, and on the boot clock.
    pub started: Option<(Instant, i64)>,
    pub deadline: Deadline,
    /// Which boot of the machine the boot clock belongs to.
    pub boot_id: String,
    pub shim: ProcessMark,
    pub enforcement: Enforcement,
    pub log: LogFacts,
    /// Something a person should know about this run, such as a kill for lack of memory.
    pub note: Option<String>,
    /// When this was written.
    pub seen: Instant,
    /// The same moment on the boot clock.
    pub seen_boot_ms: i64,
}

impl LeaseState {
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended { .. })
    }
}

/// Why a spec is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSpec {
    #[error("the account name {0:?} is not of the form a-z, 0-9, _ and - with a letter first (at most 32)")]
    Name(String),
    #[error("the home {0:?} is not a plain absolute path at least two folders deep")]
    Home(PathBuf),
    #[error("a workload never runs with the user or group number {0}")]
    Privileged(u32),
    #[error("the command is empty")]
    NoCommand,
    #[error("command or environment contain a zero byte")]
    ZeroByte,
    #[error("command and environment take {0} bytes; at most {COMMAND_LIMIT} are possible")]
    TooLong(usize),
    #[error("{0:?} is not a name for an environment variable")]
    Variable(String),
    #[error("the shell {0:?} is not an absolute path")]
    Shell(PathBuf),
    #[error("{0:?} is not the UUID of a GPU")]
    Gpu(String),
    #[error("a lease has at most 128 GPUs of one node")]
    TooManyGpus,
    #[error("the grace is at most one hour")]
    Grace,
}

impl LeaseSpec {
    /// Refuses what must never reach a file system, a command line or a control group.
    pub fn check(&self) -> Result<(), BadSpec> {
        self.member.check()?;
        if !is_plain(&self.home) {
            return Err(BadSpec::Home(self.home.clone()));
        }
        if self.gpus.len() > 128 {
            return Err(BadSpec::TooManyGpus);
        }
        for gpu in &self.gpus {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-/_".contains(c);
            if gpu.uuid.is_empty() || gpu.uuid.len() > 100 || !gpu.uuid.chars().all(plain) {
                return Err(BadSpec::Gpu(gpu.uuid.clone()));
            }
        }
        if self.grace_seconds > 3600 {
            return Err(BadSpec::Grace);
        }
        self.check_command()
    }

    fn check_command(&self) -> Result<(), BadSpec> {
        match &self.kind {
            LeaseKind::Batch { command } => {
                if command.first().is_none_or(String::is_empty) {
                    return Err(BadSpec::NoCommand);
                }
                if command.iter().any(|word| word.contains('\0')) {
                    return Err(BadSpec::ZeroByte);
                }
            }
            LeaseKind::Workspace { shell: Some(shell) } if !shell.is_absolute() => {
                return Err(BadSpec::Shell(shell.clone()));
            }
            LeaseKind::Workspace { .. } => {}
        }
        for (name, value) in &self.env {
            let mut letters = name.chars();
            let first = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
            if !first || name.len() > 200 || !letters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(BadSpec::Variable(name.clone()));
            }
            if value.contains('\0') {
                return Err(BadSpec::ZeroByte);
            }
        }
        let size = serde_json::to_vec(&(&self.kind, &self.env)).map_or(usize::MAX, |json| json.len());
        if size > COMMAND_LIMIT { Err(BadSpec::TooLong(size)) } else { Ok(()) }
    }
}

impl MemberAccount {
    fn check(&self) -> Result<(), BadSpec> {
        let mut letters = self.name.chars();
        let first = letters.next().is_some_and(|c| c.is_ascii_lowercase());
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        if !first || self.name.len() > 32 || !letters.all(plain) || matches!(self.name.as_str(), "root" | "nobody") {
            return Err(BadSpec::Name(self.name.clone()));
        }
        // 65534 is nobody, the last number is "no change" to the kernel.
        for number in [self.uid, self.gid] {
            if number < 1000 || number == 65_534 || number == u32::MAX {
                return Err(BadSpec::Privileged(number));
            }
        }
        Ok(())
    }
}

/// An absolute path of ordinary components only, not directly under the root.
fn is_plain(path: &Path) -> bool {
    let text = path.as_os_str().as_encoded_bytes();
    let ordinary = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    // `components` swallows `.` in the middle and doubled slashes; the text shows them.
    let clean = !text.windows(2).any(|pair| pair == b"//") && !text.windows(3).any(|part| part == b"/./");
    path.is_absolute() && ordinary && clean && !text.contains(&0) && path.components().count() >= 3
}

#[cfg(test)]
mod tests;
