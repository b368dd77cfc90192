//! `gristmill simulate`: many simulated machines in one process, joined to a simulated mill by the admin who is signed in
//! here. Who has joined is kept in a file, so that the next run brings the same machines back. It refuses a real mill.
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant as Monotonic};

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

use crate::agent::dial::Server;
use crate::agent::simulate::{self, Machines, SimulateError, Standing};
use crate::base::secret::Secret;
use crate::cli::{self, Failure, Globals, output::Output};

/// Tokens asked for at once; they are spent long before they end.
const TOKENS: u32 = 500;
/// Machines that join at once: enough that the mill signs without pause and writes them down together.
const JOINING: usize = 64;
/// How often the fleet is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Files that are open besides one for each machine.
const OTHER_FILES: u64 = 64;

/// What `gristmill simulate` takes.
#[derive(Clone, Debug, Args)]
pub struct SimulateArgs {
    /// How many machines
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub nodes: u32,
    /// How many GPUs each new one has
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub gpus_per_node: u32,
    /// The mill's gateway, such as https://mill.lab:8443
    #[arg(long)]
    pub server: Server,
    /// Keeps the machines' keys and certificates between runs
    #[arg(long, default_value = "simulated-fleet.json")]
    pub file: PathBuf,
    /// Id or name of the pool they join; the first one without it
    #[arg(long)]
    pub pool: Option<String>,
    /// Seconds over which the first connections are spread
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub spread: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    let read = text.parse::<f64>().ok().filter(|seconds| (0.0..=3600.0).contains(seconds));
    read.ok_or_else(|| "seconds, from 0 to 3600".to_owned())
}

/// Why nothing is simulated (any more).
#[derive(Debug, thiserror::Error)]
pub enum SimulateStop {
    #[error(transparent)]
    Fleet(#[from] SimulateError),
    #[error("{}", words(.0))]
    Client(Failure),
    #[error("{nodes} machines need as many open files, and this process may have {limit}; raise the limit (ulimit -n)")]
    Files { nodes: u32, limit: u64 },
    #[error("the signal handlers could not be set up: {0}")]
    Signals(#[source] std::io::Error),
}

fn words(failure: &Failure) -> String {
    let problem = failure.problem();
    format!("{} {} {}", problem.what, problem.why, problem.next)
}

/// A step that is done, for scripts.
#[derive(Serialize)]
struct Step {
    step: &'static str,
    nodes: u32,
    seconds: f64,
    /// Connections and attempts that broke on the way.
    broken: u32,
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(args: SimulateArgs, globals: &Globals) -> Result<(), SimulateStop> {
    use tokio::signal::unix::{SignalKind, signal};
    let handler = |kind| signal(kind).map_err(SimulateStop::Signals);
    let (mut term, mut int) = (handler(SignalKind::terminate())?, handler(SignalKind::interrupt())?);
    enough_files(args.nodes)?;
    tokio::select! {
        ended = simulated(&args, globals) => ended.map(|never| match never {}),
        _ = term.recv() => Ok(()),
        _ = int.recv() => Ok(()),
    }
}

async fn simulated(args: &SimulateArgs, globals: &Globals) -> Result<std::convert::Infallible, SimulateStop> {
    let out = Output::new(globals);
    let tell = |step: Step| match globals.json {
        // One line each: more will follow.
        true => out.line(&serde_json::to_string(&step).expect("a step is plain data")),
        false => out.progress(&format!("{} machines {} after {:.1} s", step.nodes, step.step, step.seconds)),
    };
    let begun = Monotonic::now();
    let machines = joined(args).await?;
    let nodes = u32::try_from(machines.machines.len()).unwrap_or(u32::MAX);
    tell(Step { step: "joined", nodes, seconds: begun.elapsed().as_secs_f64(), broken: 0 });
    let standing = Arc::new(Standing::default());
    let begun = Monotonic::now();
    let _running = simulate::run(&machines, &args.server, Duration::from_secs_f64(args.spread), &standing)?;
    let mut all = false;
    loop {
        let connected = standing.connected();
        if all != (connected >= nodes) {
            all = !all;
            let step = if all { "connected" } else { "still connected" };
            let (_, broken) = standing.counted();
            tell(Step { step, nodes: connected, seconds: begun.elapsed().as_secs_f64(), broken });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The machines that joined before, and as many more as are wanted.
async fn joined(args: &SimulateArgs) -> Result<Machines, SimulateStop> {
    let mut machines = Machines::load(&args.file)?;
    loop {
        let known = machines.as_ref().map_or(0, |known| u32::try_from(known.machines.len()).unwrap_or(u32::MAX));
        if let Some(known_machines) = machines.as_mut()
            && known >= args.nodes
        {
            known_machines.machines.truncate(args.nodes as usize);
            return Ok(machines.expect("it was there a line ago"));
        }
        let count = (args.nodes - known).min(TOKENS);
        let tokens = cli::tokens_for_simulated(count, args.pool.as_deref()).await.map_err(SimulateStop::Client)?;
        let mut fleet = match machines.take() {
            Some(fleet) if fleet.ca_fingerprint == tokens.ca_fingerprint => fleet,
            // Those of another mill cannot come along.
            _ => Machines::of(&args.server, &tokens.ca_fingerprint).await?,
        };
        let secrets = tokens.tokens.into_iter().map(Secret::new).collect();
        let done = fleet.join(&args.server, secrets, args.gpus_per_node, JOINING).await;
        fleet.keep(&args.file)?;
        done?;
        machines = Some(fleet);
    }
}

/// Raises the number of files this process may open to what the system allows.
fn enough_files(nodes: u32) -> Result<(), SimulateStop> {
    let limit = getrlimit(Resource::Nofile);
    // A limit that stays as it is shows in the next line.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if limit < u64::from(nodes) + OTHER_FILES {
        return Err(SimulateStop::Files { nodes, limit });
    }
    Ok(())
}
