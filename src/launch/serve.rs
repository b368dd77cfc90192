//! `gristmill serve`: opens the store, the gateway, the console and the front door, starts the tasks and this machine's own
//! node, and closes them in the opposite order. It refuses a data directory that another server uses.
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::join;
use tokio::sync::watch;

use super::door;
use crate::agent::gpu::Source;
use crate::app::bookings::orders::FromBookings;
use crate::app::bookings::upkeep;
use crate::app::error::AppError;
use crate::app::fleet::doors::{Doors, Front};
use crate::app::fleet::hub::Hub;
use crate::app::fleet::{Fleet, authority, health, history, maintenance, watch as fleet_watch};
use crate::app::mill::Mill;
use crate::app::people::setup as people_setup;
use crate::app::trust::door::DoorError;
use crate::app::trust::seal::{Seal, SealError};
use crate::app::upkeep::{night, start};
use crate::app::{ids, outbox};
use crate::base::secret::Secret;
use crate::config::ServeSettings;
use crate::domain::fleet::xid::{BadTable, Table};
use crate::edge::{self, EdgeSettings, Limits};
use crate::store::samples::{self, Samples};
use crate::store::{OpenError, OpenOptions, Store};
use crate::web::people::setup::Here;
use crate::web::{self, gateway};

/// What an installation does about Xids, where that is not what is built in.
const XID_TABLE: &str = "xid.toml";

/// Why the server did not start, in words for the one who started it.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Edge(#[from] edge::EdgeError),
    #[error(transparent)]
    Certificate(#[from] DoorError),
    #[error("{0}")]
    App(#[from] AppError),
    #[error("the console did not start: {0}")]
    Console(String),
    #[error(transparent)]
    Gateway(#[from] gateway::GatewayError),
    #[error("TLS could not be set up: {0}")]
    Tls(String),
    #[error("{} cannot be used: {why}. Mend that line, or remove the file; the built-in table stands then", path.display())]
    Xids { path: PathBuf, why: BadTable },
    #[error("the signal handlers could not be set up: {0}")]
    Signals(#[from] std::io::Error),
}

/// Opens the store and the seal of a data directory.
pub fn open(data: &Path, disk_floor_mib: u64) -> Result<(Store, Arc<Seal>), ServeError> {
    let options = OpenOptions { floor: disk_floor_mib << 20 };
    let store = Store::open_with(data, crate::clock::now, options)?;
    let seal = Arc::new(Seal::load_or_create(&data.join("keys/seal.key"))?);
    Ok((store, seal))
}

/// Serves until SIGTERM or SIGINT. What machines say is dealt with on `machines`, threads of their own: while ten thousand
/// of them shake hands, people's pages do not stand in their queue.
pub async fn run(settings: ServeSettings, machines: tokio::runtime::Handle) -> Result<(), ServeError> {
    let (store, seal) = open(&settings.data, settings.disk_floor_mib)?;
    let root = Arc::new(authority::open_root(&store, &seal).await?);
    let (stop, stopping) = watch::channel(false);

    // The console first, on loopback: the door needs to know where it leads.
    let secret = Secret::from_bytes(&ids::random_256());
    let limits = Limits::default();
    let door_tls = door::open(&settings, &root)?;
    let console_port = free_port()?;
    let upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, console_port));
    let door = edge::bind(EdgeSettings {
        listen: settings.listen,
        upstream,
        secret: secret.clone(),
        tls: door_tls.as_ref().map(|tls| Arc::clone(&tls.config)),
        hosts: settings.hosts(),
        limits,
    })
    .await?;
    let url = settings.url(door.local_addr());
    let mill = Mill::new(store, seal, Arc::new(Hub::default()), &url, &settings.data);
    let readings = Samples::open(&settings.data.join(samples::FILE), settings.samples_mib << 20);
    mill.telemetry.keep_in(readings);
    mill.health.judge_by(xid_table(&settings.data)?);

    // Before anything that writes is there.
    let started = start::check(&mill).await?;
    let read_only = !started.breaches.is_empty();
    let fleet = Fleet { mill: mill.clone(), root, orders: Arc::new(FromBookings) };
    // Before the gateway: it has to know which nodes were connected.
    let watching = {
        let _there = machines.enter();
        fleet_watch::start(&fleet)?
    };
    let gateway = gateway::start_on(&machines, fleet.clone(), settings.gateway).await?;
    // Told once; nobody else does.
    let _ = mill.told_doors.set(doors(&settings, &url, gateway.address));
    let posting = tokio::spawn(outbox::run(mill.clone()));
    let upkeep = tokio::spawn(upkeep::start(mill.clone()));
    let nights = tokio::spawn(night::run(mill.clone(), started));
    let clearing = tokio::spawn(join(maintenance::keep_clearing(mill.clone()), health::keep(mill.clone())));
    let following = tokio::spawn(history::run(mill.clone()));
    let console = web::console(mill.clone(), here(), secret, console_port);
    let console = console.ignite().await.map_err(|e| ServeError::Console(e.to_string()))?;
    let console_stop = console.shutdown();
    let console = tokio::spawn(console.launch());
    let door = tokio::spawn(door.run(until(stopping.clone())));
    let own_root = door_tls.as_ref().filter(|tls| tls.own).map(|_| fleet.root.fingerprint());
    let certificates = door_tls.map(|tls| tokio::spawn(tls.keep()));

    announce(&mill, &url, read_only, own_root.as_deref()).await?;
    let local = (!settings.no_local_node)
        .then(|| tokio::spawn(super::local_node::keep(mill.clone(), gateway.address, fleet.root.fingerprint())));

    signal().await?;
    tracing::info!("stopping; workloads and this machine's agent go on");
    let _ = stop.send(true);
    drop(watching);
    posting.abort();
    upkeep.abort();
    nights.abort();
    clearing.abort();
    following.abort();
    for task in local.into_iter().chain(certificates) {
        task.abort();
    }
    let _ = door.await;
    console_stop.notify();
    if let Err(problem) = gateway.stop().await {
        tracing::warn!(%problem, "the gateway did not end cleanly");
    }
    let _ = console.await;
    mill.telemetry.stop();
    mill.store.clone().stop();
    Ok(())
}

/// What is done about Xids: the built-in table, with the lines of a file in the data directory in their place.
fn xid_table(data: &Path) -> Result<Table, ServeError> {
    let path = data.join(XID_TABLE);
    let own = match std::fs::read_to_string(&path) {
        Ok(own) => own,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error.into()),
    };
    Table::with(&own).map_err(|why| ServeError::Xids { path, why })
}

/// Where machines knock.
fn doors(settings: &ServeSettings, url: &str, gateway: SocketAddr) -> Doors {
    let front = match (&settings.tls_cert, url.starts_with("https://"), settings.tls()) {
        (None, true, true) => Front::Own,
        // Its own files, or a front door of somebody else's before this one: the machines have to know its authority.
        (_, true, _) => Front::Public,
        (_, false, _) => Front::Plain,
    };
    let (dialled, gateway_is_local) = settings.gateway_url(url, gateway);
    Doors { gateway: dialled, gateway_is_local, front }
}

async fn until(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// A port that is free on loopback now. The console takes it a moment later; should another program be faster, the start
/// fails with a clear message.
fn free_port() -> Result<u16, ServeError> {
    let probe = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(probe.local_addr()?.port())
}

/// Says on standard output where to go next: the one-time setup link, or the address; and by which authority its own
/// certificate is known.
async fn announce(mill: &Mill, url: &str, read_only: bool, own_root: Option<&str>) -> Result<(), ServeError> {
    if read_only {
        eprintln!(
            "\nThe books do not hold: the mill takes no changes, and its pages can be read. The log names what was found."
        );
    }
    match people_setup::new_link(mill).await? {
        Some(secret) => println!(
            "\nGristmill is running. Open this one-time link to set it up:\n\n    {url}/setup/{}\n",
            secret.expose()
        ),
        None => println!("\nGristmill is running at {url}\n"),
    }
    if let Some(fingerprint) = own_root {
        println!(
            "Its certificate is signed by the mill's own authority, which browsers learn to trust from {url}/ca.pem\n\
             SHA-256 {fingerprint}\n"
        );
    }
    Ok(())
}

async fn signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

/// What the setup page says of this machine.
fn here() -> Here {
    let found = Source::Nvml.observe().map_err(|why| format!("{why}."));
    Here { gpus: found.map(|gpus| gpus.into_iter().map(|gpu| gpu.model).collect()) }
}
