//! This machine as a node: starts `gristmill agent` in a session of its own, or finds the one that an earlier server left.
//! It refuses a short cut: the local agent joins over the gateway with a key of its own like any other. Stopping the server
//! stops neither the agent nor what it runs.
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;

use crate::agent::boot;
use crate::agent::gpu::{LIBRARY_ENV, Source};
use crate::agent::runtime::root::DRIVER_ROOT_ENV;
use crate::app::error::{Answer, AppError};
use crate::app::fleet::tokens;
use crate::app::mill::Mill;
use crate::base::secret::Secret;
use crate::domain::people::installation::{Installation, Reality};
use crate::store::people::INSTALLATION;
use crate::store::read::Read as _;
use crate::wire::lease::ProcessMark;

/// How often the agent is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest wait before an agent that ends at once is started again.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How long an agent that is replaced may take to stop.
const STOP_WAIT: Duration = Duration::from_secs(10);

/// Which process is the agent; kept in its directory so that the next server finds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Started {
    process: ProcessMark,
    server: String,
    version: String,
}

/// Keeps the local agent running until this future is dropped; the agent goes on after that.
pub async fn keep(mill: Mill, gateway: SocketAddr, fingerprint: String) {
    let local = Local { dir: mill.data.join("agent"), server: format!("https://{}", dialled(gateway)), fingerprint };
    let mut wait = LOOK_EVERY;
    let mut complained = false;
    loop {
        match local.look(&mill).await {
            Ok(Look::Runs) => wait = LOOK_EVERY,
            Ok(Look::NotYet) => {}
            Ok(Look::NoDriver(why)) => {
                if !complained {
                    tracing::warn!(why, "this machine is not a node; it is looked at again each minute");
                }
                complained = true;
                wait = LONGEST_WAIT;
            }
            Ok(Look::Started) => wait = (wait * 2).min(LONGEST_WAIT),
            Err(error) => {
                tracing::error!(%error, cause = ?std::error::Error::source(&error), "this machine's agent was not started");
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
        tokio::time::sleep(wait).await;
    }
}

/// Where the local agent dials a gateway that listens everywhere.
fn dialled(gateway: SocketAddr) -> SocketAddr {
    let ip = match gateway.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, gateway.port())
}

enum Look {
    Runs,
    /// The mill is not set up.
    NotYet,
    NoDriver(String),
    Started,
}

struct Local {
    dir: PathBuf,
    server: String,
    fingerprint: String,
}

impl Local {
    async fn look(&self, mill: &Mill) -> Answer<Look> {
        let installation = mill.store.read()?.get::<Installation>(&INSTALLATION)?;
        let Some(installation) = installation else { return Ok(Look::NotYet) };
        if let Some(running) = self.running() {
            if running.server == self.server && running.version == env!("CARGO_PKG_VERSION") {
                return Ok(Look::Runs);
            }
            tracing::info!(
                "this machine's agent is started anew: it was of another version or dialled another address"
            );
            self.stop(running).await;
        }
        let joined = self.dir.join("node.json").exists();
        if !joined
            && installation.reality == Reality::Real
            && let Err(why) = Source::Nvml.look()
        {
            return Ok(Look::NoDriver(why.to_string()));
        }
        let token = if joined { None } else { tokens::make_local(mill).await? };
        self.start(&installation.reality, token)
            .await
            .map_err(|error| AppError::outside("starting the agent", error))?;
        Ok(Look::Started)
    }

    fn running(&self) -> Option<Started> {
        let text = std::fs::read_to_string(self.dir.join("agent.json")).ok()?;
        let started: Started = serde_json::from_str(&text).ok()?;
        boot::is_alive(started.process).then_some(started)
    }

    async fn stop(&self, running: Started) {
        let pid = i32::try_from(running.process.pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended meanwhile.
            let _ = kill_process(pid, Signal::TERM);
        }
        let ended = async {
            while boot::is_alive(running.process) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(STOP_WAIT, ended).await.is_err() {
            tracing::warn!("this machine's earlier agent does not stop");
        }
    }

    async fn start(&self, reality: &Reality, token: Option<Secret>) -> io::Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        let log = private_log(&self.dir.join("agent.log"))?;
        let mut command = tokio::process::Command::new(program());
        command.arg("agent").arg("--detach").arg("--data").arg(&self.dir);
        command.args(["--server", &self.server, "--ca-fingerprint", &self.fingerprint]);
        if let Reality::Simulated { gpus } = reality {
            command.args(["--simulated-gpus", &gpus.to_string()]);
        }
        // The server's environment may hold secrets that no workload's host needs.
        command.env_clear();
        for name in ["PATH", "HOME", "GRISTMILL_LOG", "LANG", LIBRARY_ENV, DRIVER_ROOT_ENV] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        // Dropped, the child is not killed; its exit is taken when it comes.
        let mut child = command.spawn()?;
        if let (Some(mut stdin), Some(token)) = (child.stdin.take(), token) {
            stdin.write_all(format!("{}\n", token.expose()).as_bytes()).await?;
        }
        let process = child.id().and_then(boot::mark);
        let process = process.ok_or_else(|| io::Error::other("it ended at once; agent.log says why"))?;
        let started = Started { process, server: self.server.clone(), version: env!("CARGO_PKG_VERSION").to_owned() };
        std::fs::write(self.dir.join("agent.json"), serde_json::to_vec(&started)?)?;
        tracing::info!(pid = process.pid, "this machine's agent was started");
        tokio::spawn(async move {
            if let Ok(status) = child.wait().await {
                tracing::warn!(%status, "this machine's agent ended");
            }
        });
        Ok(())
    }
}

fn private_log(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    File::options().create(true).append(true).mode(0o600).open(path)
}

/// This very program, also after its file was replaced by a newer one.
fn program() -> PathBuf {
    let own = PathBuf::from("/proc/self/exe");
    std::env::current_exe().ok().filter(|path| path.exists()).unwrap_or(own)
}

#[cfg(test)]
mod tests {
    use super::dialled;

    #[test]
    fn a_gateway_that_listens_everywhere_is_dialled_on_loopback() {
        for (listens, dials) in [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:2", "[::1]:2"), ("10.1.2.3:4", "10.1.2.3:4")] {
            assert_eq!(dialled(listens.parse().unwrap()), dials.parse().unwrap());
        }
    }
}
