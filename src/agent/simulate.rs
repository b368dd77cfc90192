//! Many nodes in one process, for demonstrations and for load: each with a key, a certificate and a connection of its own
//! over the real gateway, with GPUs and leases on paper. It refuses to look real: every GPU is called simulated, and a real
//! mill does not let them in. Certificates are not renewed: a simulated fleet lives for a month.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::Resumption;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::dial::{DialError, Server};
use super::gpu::{Pretence, simulated};
use super::identity::{self, IdentityError, Membership, NodeKey};
use super::join::{self, JoinError, Newcomer};
use super::keeper::{Order, Report};
use super::link::Link;
use super::readings::Round;
use super::{SHORTEST_WAIT, boot, evict, rest};
use crate::base::hardware::{ObservedGpu, ObservedNode};
use crate::base::secret::Secret;
use crate::base::telemetry::SAMPLE_EVERY;
use crate::clock;

pub mod leases;

use leases::Leases;

/// The longest time without a look at a node's leases.
const REST: Duration = Duration::from_secs(60);
/// What each GPU brings of CPUs, memory and disk.
const CPUS_PER_GPU: u32 = 16;
const MEMORY_PER_GPU: u64 = 128 << 30;
const DISK: u64 = 4 << 40;

/// Why a simulated fleet cannot run.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error("{path} cannot be {doing}: {source}")]
    File { path: PathBuf, doing: &'static str, source: std::io::Error },
    #[error("{path} is not a simulated fleet: {source}. Remove it to begin anew")]
    Damaged { path: PathBuf, source: serde_json::Error },
}

/// One simulated machine that has joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    number: u32,
    key_pem: String,
    membership: Membership,
}

/// The machines of one mill, as they are kept between runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machines {
    /// SHA-256 of the mill's root.
    pub ca_fingerprint: String,
    pub root_pem: String,
    pub machines: Vec<Machine>,
}

impl Machines {
    /// What an earlier run kept; nothing when there was none.
    pub fn load(path: &Path) -> Result<Option<Self>, SimulateError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(SimulateError::File { path: path.to_owned(), doing: "read", source }),
        };
        let read = serde_json::from_str(&text);
        read.map(Some).map_err(|source| SimulateError::Damaged { path: path.to_owned(), source })
    }

    /// Replaces the file whole; only its owner can read the keys.
    pub fn keep(&self, path: &Path) -> Result<(), SimulateError> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let draft = path.with_extension("new");
        let put = || {
            let mut file = std::fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            std::fs::rename(&draft, path)
        };
        put().map_err(|source| SimulateError::File { path: path.to_owned(), doing: "written", source })
    }

    /// The mill's root, held against its fingerprint.
    pub async fn of(server: &Server, ca_fingerprint: &str) -> Result<Self, SimulateError> {
        let root_pem = server.unproven_root().await.map_err(JoinError::from)?;
        let found = identity::fingerprint(&root_pem)?;
        if found != ca_fingerprint {
            return Err(JoinError::OtherMill { found }.into());
        }
        Ok(Self { ca_fingerprint: found, root_pem, machines: Vec::new() })
    }

    /// Lets one machine in for every token, `at_once` of them at a time.
    pub async fn join(
        &mut self,
        server: &Server,
        tokens: Vec<Secret>,
        gpus: u32,
        at_once: usize,
    ) -> Result<(), SimulateError> {
        let mut joining = JoinSet::new();
        let first = self.machines.iter().map(|machine| machine.number).max().unwrap_or(0);
        let mut waiting = tokens.into_iter().zip(first + 1..);
        loop {
            while joining.len() < at_once
                && let Some((token, number)) = waiting.next()
            {
                joining.spawn(join_one(server.clone(), self.root_pem.clone(), token, number, gpus));
            }
            match joining.join_next().await {
                None => return Ok(()),
                Some(Ok(joined)) => self.machines.push(joined?),
                // It was neither cancelled nor does it panic.
                Some(Err(_)) => {}
            }
        }
    }
}

/// An answer that was lost is asked for again: the same token and key are good for it.
async fn join_one(
    server: Server,
    root: String,
    token: Secret,
    number: u32,
    gpus: u32,
) -> Result<Machine, SimulateError> {
    let key = NodeKey::make()?;
    let mut wait = SHORTEST_WAIT;
    loop {
        let observed = observed(number, gpus, &key);
        let newcomer = Newcomer { token: token.clone(), observed, simulated_gpus: Some(gpus) };
        match join::ask(&server, &root, &key, newcomer).await {
            Ok(membership) => return Ok(Machine { number, key_pem: key.pem(), membership }),
            Err(JoinError::Dial(DialError::Connect(..) | DialError::Slow(_) | DialError::Http(_))) => {
                wait = rest(wait).await;
            }
            Err(other) => return Err(other.into()),
        }
    }
}

fn observed(number: u32, gpus: u32, key: &NodeKey) -> ObservedNode {
    ObservedNode {
        hostname: format!("sim-{number:05}"),
        kernel: "simulated".to_owned(),
        cpus: CPUS_PER_GPU * gpus,
        memory_bytes: MEMORY_PER_GPU * u64::from(gpus),
        disk_bytes: DISK,
        gpus: simulated::gpus(&key.seed(), gpus),
        architecture: std::env::consts::ARCH.to_owned(),
        ..ObservedNode::default()
    }
}

/// How a running fleet stands.
#[derive(Debug, Default)]
pub struct Standing {
    welcomes: AtomicU32,
    broken: AtomicU32,
    connected: AtomicU32,
}

impl Standing {
    /// Machines that are connected now.
    pub fn connected(&self) -> u32 {
        self.connected.load(Ordering::Relaxed)
    }

    /// Welcomes and broken connections or attempts since the start.
    pub fn counted(&self) -> (u32, u32) {
        (self.welcomes.load(Ordering::Relaxed), self.broken.load(Ordering::Relaxed))
    }
}

/// Runs all machines until the set is dropped. Their first attempts are spread over `spread`.
pub fn run(
    machines: &Machines,
    server: &Server,
    spread: Duration,
    standing: &Arc<Standing>,
) -> Result<JoinSet<()>, SimulateError> {
    let mut running = JoinSet::new();
    let count = u32::try_from(machines.machines.len()).unwrap_or(u32::MAX).max(1);
    for (place, machine) in (0u32..).zip(&machines.machines) {
        let key = NodeKey::from_pem(&machine.key_pem)?;
        let tls = identity::tls(&machines.root_pem, Some((&key, &machine.membership)))?;
        // Each keeping tickets for its one server costs more than all else of it, and a whole handshake is the worst case.
        let mut tls = ClientConfig::clone(&tls);
        tls.resumption = Resumption::disabled();
        let gpus = machine.membership.simulated_gpus.unwrap_or(0);
        let observed = observed(machine.number, gpus, &key);
        let (orders, report, readings) = keep(standing.clone(), observed.gpus.clone());
        let (_, observed) = watch::channel(Arc::new(observed));
        let (server, tls) = (server.clone(), Arc::new(tls));
        let (end, ended) = evict::nothing();
        let link = Link { place: None, server, tls, simulated: true, orders, report, observed, readings, end, ended };
        running.spawn(connect_forever(link, spread * place / count, standing.clone()));
    }
    Ok(running)
}

async fn connect_forever(mut link: Link, first: Duration, standing: Arc<Standing>) {
    tokio::time::sleep(first).await;
    let mut wait = SHORTEST_WAIT;
    loop {
        let mut welcomed = false;
        let error = link.run(&mut welcomed).await;
        standing.broken.fetch_add(1, Ordering::Relaxed);
        if welcomed {
            standing.connected.fetch_sub(1, Ordering::Relaxed);
            wait = SHORTEST_WAIT;
        }
        tracing::debug!(%error, "a simulated node is not connected");
        wait = rest(wait).await;
    }
}

/// Keeps the leases of one machine, as `agent::keeper` does with real ones.
fn keep(
    standing: Arc<Standing>,
    gpus: Vec<ObservedGpu>,
) -> (mpsc::Sender<Order>, watch::Receiver<Report>, watch::Receiver<Arc<Round>>) {
    let (send, mut orders) = mpsc::channel(4);
    let (report, reported) = watch::channel(Report::default());
    let (tell, told) = watch::channel(Arc::new(Round::default()));
    tokio::spawn(async move {
        let mut leases = Leases::default();
        let mut pretence = Pretence::default();
        let mut ticks = tokio::time::interval(Duration::from_millis(SAMPLE_EVERY.as_millis().unsigned_abs()));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let now = boot::boot_ms();
            let next = leases.step(now).map(|at| Duration::from_millis(u64::try_from(at - now).unwrap_or(0)));
            let news = Report::of(leases.generation, leases.desired().to_vec(), leases.locals(), leases.offset());
            report.send_if_modified(|before| {
                let changed = before.says_other(&news);
                *before = news;
                changed
            });
            let rested = async {
                match next {
                    Some(next) => tokio::time::sleep(next.clamp(Duration::from_millis(5), REST)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                order = orders.recv() => match order {
                    None => return,
                    Some(Order::Clock(measured)) => {
                        standing.welcomes.fetch_add(1, Ordering::Relaxed);
                        standing.connected.fetch_add(1, Ordering::Relaxed);
                        leases.clock(measured.offset());
                    }
                    Some(Order::Desired { generation, leases: wanted }) => leases.order(generation, wanted),
                },
                _ = ticks.tick() => {
                    let at = clock::now();
                    let readings = gpus.iter().map(|gpu| pretence.read(gpu, leases.work_on(&gpu.uuid), at));
                    tell.send_replace(Arc::new(Round { at: Some(at), gpus: readings.collect(), ..Round::default() }));
                }
                () = rested => {}
            }
        }
    });
    (send, reported, told)
}
