//! Leases on this node as the agent handles them: each is a directory, kept by a shim or left by one. It refuses to guess:
//! what a vanished shim leaves is reported as lost, with the last sign of life as its end.
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::boot;
use super::gpu::GpuProblem;
use super::runtime::root::DRIVER_ROOT_ENV;
use super::runtime::{cgroup, scratch};
use super::shim::client::{ClientError, ShimClient};
use super::shim::{self, LOG, SPEC, STATE, journal};
use crate::base::window::Span;
use crate::wire::lease::{BadSpec, Deadline, EndCause, ExitKind, LeaseSpec, LeaseState, Phase};

/// How long a new shim may take to write its first state.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a lease's directory could not be handled.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error(transparent)]
    Spec(#[from] BadSpec),
    #[error("the lease's directory {0} cannot be used: {1}")]
    Io(PathBuf, #[source] io::Error),
    #[error("the lease's directory {0} is in use already")]
    Exists(PathBuf),
    #[error("the lease's shim did not start: {0}")]
    NoShim(String),
    #[error("the lease's shim still runs")]
    Live,
    #[error("processes of the lease do not end although they were killed; its GPUs are not free")]
    Leftovers,
    #[error("the home's name {0:?} is not a plain directory name")]
    HomeName(String),
    #[error("{0} is not on this node any more; its GPU fell out, or was cut into other MIG instances")]
    NoGpu(String),
    #[error("its GPUs could not be looked at: {0}")]
    Gpus(#[from] GpuProblem),
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Whether anybody keeps the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A shim keeps it and can be asked.
    Live,
    /// It is over and its end is recorded.
    Ended,
    /// Its shim vanished, or the machine restarted; the state says when it was last seen.
    Lost,
}

/// A lease's directory, read.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseObservation {
    pub spec: LeaseSpec,
    /// As the shim last wrote it; for a lost lease the phase is made up to say so.
    pub state: LeaseState,
    pub standing: Standing,
}

fn at(dir: &Path) -> impl Fn(io::Error) -> LeaseError {
    let dir = dir.to_owned();
    move |cause| LeaseError::Io(dir.clone(), cause)
}

/// The home of a member under the folder of homes; `name` must be one plain component.
pub fn home_for(homes: &Path, name: &str) -> Result<PathBuf, LeaseError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        return Err(LeaseError::HomeName(name.to_owned()));
    }
    Ok(homes.join(name))
}

/// Starts a lease: writes its spec into a new directory and starts a shim (`program shim --dir DIR`) that outlives this
/// process. Returns once the shim has written its first state; whether the workload came up is in what it writes next.
/// Must be called inside a tokio runtime.
pub async fn spawn(dir: &Path, spec: &LeaseSpec, program: &Path) -> Result<(), LeaseError> {
    spec.check()?;
    if dir.join(SPEC).exists() {
        return Err(LeaseError::Exists(dir.to_owned()));
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))?;
    shim::write_spec(dir, spec).map_err(at(dir))?;
    let complaints = dir.join("shim.log");
    let errors = fs::File::options().create(true).append(true).mode(0o600).open(&complaints).map_err(at(dir))?;
    let mut command = tokio::process::Command::new(program);
    command.arg("shim").arg("--dir").arg(dir);
    // Nothing of the agent's own environment, which may hold secrets, reaches the shim.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(std::env::var_os(DRIVER_ROOT_ENV).map(|root| (DRIVER_ROOT_ENV, root)));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
    // Dropped, the child is not killed; tokio takes its exit when it comes.
    let mut child = command.spawn().map_err(at(dir))?;
    let appeared = async {
        while !dir.join(STATE).exists() {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(status.to_string());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    };
    let failed = match tokio::time::timeout(PATIENCE, appeared).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(status)) => status,
        Err(_) => "it wrote no state in time".to_owned(),
    };
    let _ = child.kill().await;
    let said = fs::read_to_string(&complaints).unwrap_or_default();
    Err(LeaseError::NoShim(format!("{failed}. {}", said.trim())))
}

/// Reads a lease's directory and looks whether its shim is there.
pub fn inspect(dir: &Path) -> Result<LeaseObservation, LeaseError> {
    let spec = shim::read_spec(dir).map_err(at(dir))?;
    let state = shim::read_state(dir).map_err(at(dir))?;
    if state.is_ended() {
        return Ok(LeaseObservation { spec, state, standing: Standing::Ended });
    }
    let same_boot = state.boot_id == boot::boot_id();
    if same_boot && boot::is_alive(state.shim) {
        return Ok(LeaseObservation { spec, state, standing: Standing::Live });
    }
    // The shim may have written its end between the two looks.
    let state = shim::read_state(dir).map_err(at(dir))?;
    if state.is_ended() {
        return Ok(LeaseObservation { spec, state, standing: Standing::Ended });
    }
    let why = if same_boot { "the lease's shim vanished" } else { "the machine restarted" };
    Ok(LeaseObservation { spec, state: lost(state, why), standing: Standing::Lost })
}

/// The state of a lease whose shim is gone: over since the last sign of life.
fn lost(state: LeaseState, why: &str) -> LeaseState {
    let ran = state.started.map_or(Span::ZERO, |(_, boot_ms)| Span::from_millis(state.seen_boot_ms - boot_ms));
    let exit = ExitKind::Failed(why.to_owned());
    let phase = Phase::Ended { exit, cause: EndCause::Lost, at: state.seen, at_boot_ms: state.seen_boot_ms, ran };
    LeaseState { phase, ..state }
}

/// After a restart of the agent: finds out how a lease stands and, if it lives, that its shim answers.
pub async fn adopt(dir: &Path) -> Result<LeaseObservation, LeaseError> {
    let seen = inspect(dir)?;
    if seen.standing != Standing::Live {
        return Ok(seen);
    }
    match ShimClient::new(dir).status().await {
        Ok(state) => Ok(LeaseObservation { state, ..seen }),
        // It may have ended meanwhile; if it lives and does not answer, what it wrote still holds.
        Err(_) => inspect(dir),
    }
}

/// Asks a lease to end: SIGTERM now, SIGKILL after its grace. Asking again, or asking one that is over, is no error.
pub async fn stop(dir: &Path, reason: &str) -> Result<(), LeaseError> {
    match ShimClient::new(dir).stop(reason).await {
        Ok(()) => Ok(()),
        Err(cause) => {
            if inspect(dir)?.standing == Standing::Live {
                Err(cause.into())
            } else {
                Ok(())
            }
        }
    }
}

/// Puts a newer deadline into force.
pub async fn set_end(dir: &Path, deadline: Deadline) -> Result<(), LeaseError> {
    Ok(ShimClient::new(dir).set_end(deadline).await?)
}

/// At most `limit` bytes of the log from a byte on, also after the end.
pub fn read_log(dir: &Path, from: u64, limit: usize) -> Result<Vec<u8>, LeaseError> {
    let file = fs::File::open(dir.join(LOG)).map_err(at(dir))?;
    journal::read_at(&file, from, limit).map_err(at(dir))
}

/// All leases' directories under the folder of leases.
pub fn list(leases: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(leases) {
        Ok(entries) => entries,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(cause),
    };
    let dirs = entries.flatten().map(|entry| entry.path()).filter(|path| path.join(SPEC).exists());
    let mut dirs: Vec<PathBuf> = dirs.collect();
    dirs.sort();
    Ok(dirs)
}

/// After a shim vanished: ends what its workload may have left running and removes its scratch space, which nobody shall
/// see again. Blocks for seconds at times.
pub fn sweep(seen: &LeaseObservation, dir: &Path) -> Result<(), LeaseError> {
    if seen.standing == Standing::Live {
        return Err(LeaseError::Live);
    }
    if !cgroup::clear(&seen.state.enforcement.cgroups) {
        return Err(LeaseError::Leftovers);
    }
    scratch::remove(dir).map_err(at(dir))
}

/// Removes what a lease that is over left on the node: control groups and its directory with the log. The home stays.
/// What a lost lease may have left running is killed first, which blocks for up to two seconds.
pub fn collect(dir: &Path) -> Result<(), LeaseError> {
    match inspect(dir) {
        Ok(seen) => sweep(&seen, dir)?,
        // Without a readable state there is nothing that could run: the shim writes it before anything else.
        Err(_) => scratch::remove(dir).map_err(at(dir))?,
    }
    fs::remove_dir_all(dir).map_err(at(dir))
}
