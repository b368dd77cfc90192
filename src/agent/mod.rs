//! The hands on a node: what runs leases, looks at hardware and reports facts. It makes no choices, and knows the wire and
//! the vocabulary but neither rules nor store. The agent may stop at any time: leases live in shims of their own, and the
//! next agent in the same directory finds them again.
pub mod archive;
pub mod boot;
pub mod check;
pub mod converge;
pub mod dial;
pub mod evict;
pub mod follow;
pub mod gpu;
pub mod identity;
pub mod join;
pub mod keeper;
pub mod kernel_log;
pub mod lease;
pub mod link;
pub mod observe;
pub mod orders;
pub mod place;
pub mod preflight;
pub mod readings;
pub mod runtime;
pub mod selftest;
pub mod shim;
pub mod simulate;
pub mod spec;
pub mod streams;
pub mod upgrade;
pub mod xids;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use self::dial::{DialError, Server};
use self::gpu::{GpuProblem, Source};
use self::identity::{IdentityError, Membership, NodeKey};
use self::join::{JoinError, Newcomer, Pin};
use self::link::Link;
use self::place::{Place, PlaceError};
use self::preflight::Ground;
use crate::base::hardware::ObservedNode;
use crate::base::ids::NodeId;
use crate::base::preflight::{Finding, any_stops};
use crate::base::secret::Secret;
use crate::clock;

/// How often the hardware is looked at.
const OBSERVE_EVERY: Duration = Duration::from_secs(60);
/// The first and the longest wait between two attempts to connect. With the patience of one attempt the longest is still
/// less than the half minute after which a healed network shall be forgotten.
pub const SHORTEST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// What an agent is started with.
pub struct AgentSettings {
    /// Where identity, leases and homes lie.
    pub data: PathBuf,
    pub server: Server,
    /// How the mill is known; needed until it was once.
    pub pin: Option<Pin>,
    /// Asked for when the machine is not a node yet.
    pub token: Box<dyn FnOnce() -> Option<Secret> + Send>,
    pub simulated_gpus: Option<u32>,
}

/// Why the agent stopped.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("this machine cannot be a node like this; what stops it stands above, with what to do")]
    Unfit,
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error(transparent)]
    Gpu(#[from] GpuProblem),
}

/// Joins if need be, then works until it is stopped from outside. Must run inside a tokio runtime.
pub async fn run(settings: AgentSettings) -> Result<std::convert::Infallible, AgentError> {
    let place = Arc::new(Place::take(&settings.data)?);
    let key = NodeKey::open(&place)?;
    let known = identity::membership(&place)?;
    if let Some(known) = &known {
        same_reality(known.simulated_gpus.is_some(), settings.simulated_gpus.is_some())?;
    }
    let source = source(settings.simulated_gpus, &key);
    // Leases go on at once: neither the mill nor the driver is needed for that.
    let (orders, report) = keeper::start(place.clone(), settings.simulated_gpus.is_some())?;
    let membership = match known {
        Some(known) => {
            // A root that cannot be fetched now is the one on file.
            if let Err(error) = join::pin_root(&place, &settings.server, settings.pin.as_ref()).await {
                tracing::warn!(%error, "the mill's root could not be checked again");
            }
            known
        }
        None => first_join(&place, &settings.server, settings.pin.as_ref(), settings.token, &key, &source).await?,
    };
    let first = observe(&source, &place).await;
    let (look, observed) = watch::channel(Arc::new(first));
    tokio::spawn(keep_looking(source.clone(), place.clone(), look));
    let root = identity::root(&place)?.ok_or(JoinError::NoPin)?;
    let tls = identity::tls(&root, Some((&key, &membership)))?;
    let simulated = settings.simulated_gpus.is_some();
    let readings = readings::start(source, place.clone(), observed.clone());
    let (end, ended) = evict::start(place.clone(), readings.clone());
    let (server, shown) = (settings.server, Some(place.clone()));
    let link = Link { place: shown, server, tls, simulated, orders, report, observed, readings, end, ended };
    connect_forever(&place, link, root, key, membership).await
}

fn source(simulated_gpus: Option<u32>, key: &NodeKey) -> Source {
    match simulated_gpus {
        Some(count) => Source::Simulated { seed: key.seed(), count },
        None => Source::Nvml,
    }
}

/// What [`enter`] came to.
pub enum Entered {
    /// It was one before.
    Already(NodeId),
    Joined(NodeId),
}

/// Looks the machine over, joins, and leaves the work to an agent that is started later. `tell` is given what was found.
/// The people who wait for the machine see how far it is.
pub async fn enter(settings: AgentSettings, tell: impl FnOnce(&[Finding])) -> Result<Entered, AgentError> {
    // Without taking the directory: an agent may be at work in it.
    if let Some(node) = identity::known(&settings.data) {
        return Ok(Entered::Already(node));
    }
    let place = Place::take(&settings.data)?;
    let key = NodeKey::open(&place)?;
    let token = (settings.token)().ok_or(JoinError::NoToken)?;
    let root = join::pin_root(&place, &settings.server, settings.pin.as_ref()).await?;
    let hostname = crate::config::hostname().unwrap_or_default();
    join::arrive(&settings.server, &root, &token, &hostname, Vec::new()).await?;
    let simulated = settings.simulated_gpus.is_some();
    let (data, server, pin) = (settings.data.clone(), Some(settings.server.clone()), Some(Pin::Root(root.clone())));
    let findings = preflight::look(&Ground { data, server, pin, simulated }).await;
    tell(&findings);
    join::arrive(&settings.server, &root, &token, &hostname, findings.clone()).await?;
    if any_stops(&findings) {
        return Err(AgentError::Unfit);
    }
    let source = source(settings.simulated_gpus, &key);
    let again = Box::new(move || Some(token));
    let joined = first_join(&place, &settings.server, settings.pin.as_ref(), again, &key, &source).await?;
    Ok(Entered::Joined(joined.node))
}

async fn first_join(
    place: &Place,
    server: &Server,
    pin: Option<&Pin>,
    token: Box<dyn FnOnce() -> Option<Secret> + Send>,
    key: &NodeKey,
    source: &Source,
) -> Result<Membership, AgentError> {
    let token = token().ok_or(JoinError::NoToken)?;
    // A real machine without a driver is not a node; nothing simulated takes its place.
    source.look()?;
    let observed = observe(source, place).await;
    let simulated_gpus = match source {
        Source::Simulated { count, .. } => Some(*count),
        Source::Nvml => None,
    };
    let mut wait = SHORTEST_WAIT;
    loop {
        let newcomer = Newcomer { token: token.clone(), observed: observed.clone(), simulated_gpus };
        let joined = match join::pin_root(place, server, pin).await {
            Ok(root) => join::join(place, server, &root, key, newcomer).await,
            Err(error) => Err(error),
        };
        match joined {
            // The same token and key are good again when an answer was lost.
            Err(JoinError::Dial(error @ (DialError::Connect(..) | DialError::Slow(_) | DialError::Http(_)))) => {
                tracing::warn!(%error, "joining is tried again");
                wait = rest(wait).await;
            }
            done => return Ok(done?),
        }
    }
}

fn same_reality(was_simulated: bool, simulated: bool) -> Result<(), IdentityError> {
    match (was_simulated, simulated) {
        (true, false) => Err(IdentityError::OtherReality { was: "a simulated one", hint: "with --simulated-gpus" }),
        (false, true) => Err(IdentityError::OtherReality { was: "a real one", hint: "without --simulated-gpus" }),
        _ => Ok(()),
    }
}

/// Keeps the connection up, and the certificate in force.
async fn connect_forever(
    place: &Place,
    mut link: Link,
    root: String,
    key: NodeKey,
    mut membership: Membership,
) -> Result<std::convert::Infallible, AgentError> {
    let mut wait = SHORTEST_WAIT;
    loop {
        let mut welcomed = false;
        let until = membership.renew_at.since(clock::now()).as_millis();
        let until = Duration::from_millis(u64::try_from(until).unwrap_or(0));
        tokio::select! {
            error = link.run(&mut welcomed) => {
                tracing::warn!(%error, "not connected to the mill; leases go on");
                if error.is_about_certificate()
                    && let Some(back) = come_back(place, &link, &root, &key, &membership).await
                {
                    link.tls = identity::tls(&root, Some((&key, &back)))?;
                    membership = back;
                    continue;
                }
            }
            () = tokio::time::sleep(until) => {
                let renewed = join::renew(place, &link.server, link.tls.clone(), &key, membership.simulated_gpus);
                match renewed.await {
                    Ok(renewed) => {
                        tracing::info!("the node's certificate was renewed");
                        link.tls = identity::tls(&root, Some((&key, &renewed)))?;
                        membership = renewed;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the node's certificate could not be renewed; it is tried again");
                        membership.renew_at = clock::now().plus(crate::base::window::Span::from_minutes(10));
                    }
                }
                continue;
            }
        }
        if welcomed {
            wait = SHORTEST_WAIT;
        }
        wait = rest(wait).await;
    }
}

/// Away for so long that the certificate has ended: the key brings the node back, unless it was revoked.
async fn come_back(
    place: &Place,
    link: &Link,
    root: &str,
    key: &NodeKey,
    membership: &Membership,
) -> Option<Membership> {
    match join::come_back(place, &link.server, root, key, membership.simulated_gpus).await {
        Ok(back) => {
            tracing::info!("the node came back with its key and has a new certificate");
            Some(back)
        }
        Err(error) => {
            tracing::error!(%error, "the node cannot come back with its key");
            None
        }
    }
}

/// Waits about so long and answers the next wait.
async fn rest(wait: Duration) -> Duration {
    let mut byte = [0u8; 2];
    // Without randomness all wait alike, which is only slower.
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut byte);
    let (pause, next) = pause(wait, f64::from(u16::from_be_bytes(byte)) / f64::from(u16::MAX));
    tokio::time::sleep(pause).await;
    next
}

/// How long to rest after a failed attempt, half of it by `chance` (0 to 1) so that many agents do not come at once, and the
/// wait after the next one.
pub fn pause(wait: Duration, chance: f64) -> (Duration, Duration) {
    (wait.mul_f64(0.5 + 0.5 * chance), (wait * 2).min(LONGEST_WAIT))
}

/// The node as it is now. Without its driver a real node is one without GPUs: faulty, never simulated.
async fn observe(source: &Source, place: &Place) -> ObservedNode {
    let (source, root) = (source.clone(), place.root().to_owned());
    let looked = tokio::task::spawn_blocking(move || {
        observe::node(&source, &root).or_else(|error| {
            tracing::error!(%error, "the GPUs cannot be seen");
            observe::node(&Source::Simulated { seed: String::new(), count: 0 }, &root)
        })
    });
    match looked.await {
        Ok(Ok(observed)) => observed,
        Ok(Err(_)) | Err(_) => ObservedNode::default(),
    }
}

async fn keep_looking(source: Source, place: Arc<Place>, look: watch::Sender<Arc<ObservedNode>>) {
    loop {
        tokio::time::sleep(OBSERVE_EVERY).await;
        let seen = observe(&source, &place).await;
        look.send_if_modified(|before| {
            let news = observe::differ(before, &seen);
            if news {
                *before = Arc::new(seen);
            }
            news
        });
    }
}
