//! `gristmill agent`: makes this machine a node of a mill and keeps it one. It refuses a join token on the command line,
//! where other users could read it.
use std::io::BufRead as _;
use std::path::PathBuf;

use clap::Args;

use crate::agent::dial::Server;
use crate::agent::join::Pin;
use crate::agent::preflight::{self, Ground};
use crate::agent::{self, AgentError, AgentSettings, Entered};
use crate::base::preflight::any_stops;
use crate::base::secret::Secret;
use crate::launch::selftest::SelftestArgs;
use crate::wire::node::JOIN_TOKEN_ENV;

/// What `gristmill agent` takes. The join token comes in GRISTMILL_JOIN_TOKEN or on standard input.
#[derive(Clone, Debug, Args)]
pub struct AgentArgs {
    /// Where the node's identity, leases and homes lie; made when missing
    #[arg(long, env = "GRISTMILL_AGENT_DATA", default_value_os_t = default_data())]
    pub data: PathBuf,
    /// The mill's gateway, such as https://mill.lab:8443
    #[arg(long, required_unless_present_any = ["check", "selftest"])]
    pub server: Option<Server>,
    /// Only look this machine over and say what is missing; with --server also whether the mill is in reach
    #[arg(long, conflicts_with = "join")]
    pub check: bool,
    /// Only look this machine over and join; the agent is started later, by the machine's service manager
    #[arg(long)]
    pub join: bool,
    /// SHA-256 of the mill's root, as the nodes page shows it
    #[arg(long, conflicts_with = "root")]
    pub ca_fingerprint: Option<String>,
    /// The mill's root as a file (PEM)
    #[arg(long)]
    pub root: Option<PathBuf>,
    #[command(flatten)]
    pub selftest: SelftestArgs,
    /// Offer so many simulated GPUs to a simulated mill
    #[arg(long)]
    pub simulated_gpus: Option<u32>,
    /// Leave the session and process group of whoever started it
    #[arg(long, hide = true)]
    pub detach: bool,
    /// Log as JSON, one object a line
    #[arg(long, env = "GRISTMILL_LOG_JSON")]
    pub log_json: bool,
}

/// Why the agent ended.
#[derive(Debug, thiserror::Error)]
pub enum AgentStop {
    #[error("{0} cannot be read: {1}")]
    Root(PathBuf, #[source] std::io::Error),
    #[error("the agent cannot leave its session: {0}")]
    Detach(#[source] rustix::io::Errno),
    #[error("the signal handlers could not be set up: {0}")]
    Signals(#[source] std::io::Error),
    #[error("this machine cannot be a node like this; what stops it stands above, with what to do")]
    Unfit,
    #[error("the agent does not know its mill; give --server")]
    NoServer,
    #[error(transparent)]
    Agent(#[from] AgentError),
}

/// Runs until SIGTERM or SIGINT. Leases go on after that.
pub async fn run(args: AgentArgs) -> Result<(), AgentStop> {
    use tokio::signal::unix::{SignalKind, signal};
    if args.check {
        return check(args).await;
    }
    if args.detach {
        rustix::process::setsid().map_err(AgentStop::Detach)?;
    }
    let handler = |kind| signal(kind).map_err(AgentStop::Signals);
    let (mut term, mut int) = (handler(SignalKind::terminate())?, handler(SignalKind::interrupt())?);
    let join = args.join;
    let settings = settings(args)?;
    if join {
        return enter(settings).await;
    }
    tokio::select! {
        ended = agent::run(settings) => match ended? {},
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    tracing::info!("the agent stops; leases go on");
    Ok(())
}

fn pin(args: &AgentArgs) -> Result<Option<Pin>, AgentStop> {
    Ok(match (&args.ca_fingerprint, &args.root) {
        (Some(fingerprint), _) => Some(Pin::Fingerprint(fingerprint.clone())),
        (None, Some(path)) => {
            Some(Pin::Root(std::fs::read_to_string(path).map_err(|error| AgentStop::Root(path.clone(), error))?))
        }
        (None, None) => None,
    })
}

fn settings(args: AgentArgs) -> Result<AgentSettings, AgentStop> {
    Ok(AgentSettings {
        pin: pin(&args)?,
        data: args.data,
        server: args.server.ok_or(AgentStop::NoServer)?,
        token: Box::new(token),
        simulated_gpus: args.simulated_gpus,
    })
}

/// Says on standard output what was found.
async fn check(args: AgentArgs) -> Result<(), AgentStop> {
    let pin = pin(&args)?;
    let ground = Ground { data: args.data, server: args.server, pin, simulated: args.simulated_gpus.is_some() };
    let findings = preflight::look(&ground).await;
    print!("{}", preflight::written(&findings));
    if any_stops(&findings) { Err(AgentStop::Unfit) } else { Ok(()) }
}

/// Joins and says so on standard output.
async fn enter(settings: AgentSettings) -> Result<(), AgentStop> {
    match agent::enter(settings, |findings| print!("{}", preflight::written(findings))).await? {
        Entered::Already(node) => println!("\nThis machine is node {node} already and stays it."),
        Entered::Joined(node) => println!("\nThis machine is node {node} now."),
    }
    Ok(())
}

/// `/var/lib/gristmill-agent` for root, else beside the server's in the XDG data directory.
fn default_data() -> PathBuf {
    let server = crate::config::default_data();
    server.with_file_name("gristmill-agent")
}

/// The join token: from the environment, else the first line of standard input.
fn token() -> Option<Secret> {
    let given = std::env::var(JOIN_TOKEN_ENV).ok().or_else(|| {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).ok()?;
        Some(line)
    })?;
    let given = given.trim();
    (!given.is_empty()).then(|| Secret::new(given))
}
