//! The door for machines: a second Rocket instance on a port of its own, with TLS from the mill's own authority. Joining
//! needs no client certificate, everything else does. Its own certificate cannot be replaced while it runs, so the
//! instance is started anew when a third of its life is left; agents connect again by themselves. It refuses pages.
use std::net::SocketAddr;
use std::time::Duration;

use rocket::config::{MutualTls, Shutdown as ShutdownConfig, TlsConfig};
use rocket::data::{Limits, ToByteUnit as _};
use rocket::fairing::AdHoc;
use rocket::{Config, Rocket, catchers, routes};
use tokio::sync::{oneshot, watch};

use crate::app::fleet::{Fleet, authority};
use crate::app::trust::Issued;
use crate::base::secret::Secret;
use crate::clock;

pub mod guard;
mod links;
mod routes;
mod streams;

/// How often the gateway looks at the age of its certificate.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// How long a stopping instance may take; its links have said goodbye long before.
const STOP_WAIT: Duration = Duration::from_millis(900);

/// Why the gateway does not run.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error("the gateway has no certificate")]
    Certificate(#[from] crate::app::error::AppError),
    #[error("the gateway cannot listen on {address}: {why}. Choose another address with --gateway")]
    Listen { address: SocketAddr, why: String },
    #[error("the gateway stopped: {why}")]
    Stopped { why: String },
}

/// A gateway that listens.
pub struct Running {
    /// Where it listens; tells the port when any was asked for.
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<Result<(), GatewayError>>,
}

impl Running {
    /// Closes all connections and waits for the end; about a second at most.
    pub async fn stop(self) -> Result<(), GatewayError> {
        self.stop.send_replace(true);
        ended(self.task.await)
    }

    /// Waits until it ends by itself, which it does only when something is wrong. May be dropped and called again.
    pub async fn failed(&mut self) -> GatewayError {
        match ended((&mut self.task).await) {
            Err(error) => error,
            Ok(()) => GatewayError::Stopped { why: "it was told to".to_owned() },
        }
    }
}

fn ended(joined: Result<Result<(), GatewayError>, tokio::task::JoinError>) -> Result<(), GatewayError> {
    joined.unwrap_or_else(|error| Err(GatewayError::Stopped { why: error.to_string() }))
}

/// Listens, and answers once it does.
pub async fn start(fleet: Fleet, address: SocketAddr) -> Result<Running, GatewayError> {
    let (stop, stopped) = watch::channel(false);
    let (up, is_up) = oneshot::channel();
    let task = tokio::spawn(keep(fleet, address, up, stopped));
    match is_up.await {
        Ok(address) => Ok(Running { address, stop, task }),
        // It ended before it listened: its answer says why.
        Err(_) => {
            ended(task.await)?;
            Err(GatewayError::Stopped { why: "it ended before it listened".to_owned() })
        }
    }
}

/// The same on another runtime, where its connections then live.
pub async fn start_on(
    runtime: &tokio::runtime::Handle,
    fleet: Fleet,
    address: SocketAddr,
) -> Result<Running, GatewayError> {
    let started = runtime.spawn(start(fleet, address)).await;
    started.unwrap_or_else(|error| Err(GatewayError::Stopped { why: error.to_string() }))
}

/// Runs one instance after the other until stopped.
async fn keep(
    fleet: Fleet,
    mut address: SocketAddr,
    up: oneshot::Sender<SocketAddr>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), GatewayError> {
    let mut up = Some(up);
    loop {
        let issued = authority::gateway_certificate(&fleet.root)?;
        let (listens, is_listening) = oneshot::channel();
        let instance = instance(&fleet, address, &issued, listens)
            .ignite()
            .await
            .map_err(|error| GatewayError::Listen { address, why: error.to_string() })?;
        let shutdown = instance.shutdown();
        let mut launched = tokio::spawn(instance.launch());
        if let Ok(port) = is_listening.await {
            address.set_port(port);
            if let Some(up) = up.take() {
                // Whoever started it may have gone; the stop comes by the other channel.
                let _ = up.send(address);
            }
        }
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        let last = loop {
            tokio::select! {
                ended = &mut launched => return Err(ended_early(address, ended)),
                _ = stopped.wait_for(|stop| *stop) => break true,
                _ = ticks.tick() => if issued.wants_renewal(clock::now()) { break false },
            }
        };
        shutdown.notify();
        match tokio::time::timeout(STOP_WAIT, &mut launched).await {
            Ok(Ok(Err(error))) => tracing::debug!(%error, "the gateway's instance did not end cleanly"),
            Ok(_) => {}
            // Links close at once; what is left is not worth waiting for.
            Err(_) => launched.abort(),
        }
        if last {
            return Ok(());
        }
    }
}

type Launched = Result<Result<Rocket<rocket::Ignite>, rocket::Error>, tokio::task::JoinError>;

fn ended_early(address: SocketAddr, ended: Launched) -> GatewayError {
    match ended {
        Ok(Err(error)) => GatewayError::Listen { address, why: error.to_string() },
        Ok(Ok(_)) => GatewayError::Stopped { why: "its instance was shut down".to_owned() },
        Err(error) => GatewayError::Stopped { why: error.to_string() },
    }
}

fn instance(
    fleet: &Fleet,
    address: SocketAddr,
    certificate: &Issued,
    listens: oneshot::Sender<u16>,
) -> Rocket<rocket::Build> {
    let key = certificate.key_pem.as_ref().map_or("", Secret::expose);
    let roots = MutualTls::from_bytes(fleet.root.certificate_pem().as_bytes()).mandatory(false);
    let tls = TlsConfig::from_bytes(certificate.chain_pem.as_bytes(), key.as_bytes()).with_mutual(roots);
    let listens = std::sync::Mutex::new(Some(listens));
    rocket::custom(config(address, tls))
        .manage(fleet.clone())
        .mount(
            "/",
            routes![
                routes::root,
                routes::mill,
                routes::arrive,
                routes::join,
                routes::renew,
                routes::challenge,
                routes::come_back,
                routes::binary,
                links::link,
                streams::stream
            ],
        )
        .register("/", catchers![routes::refuse])
        .attach(AdHoc::on_liftoff("tell where it listens", move |rocket| {
            let port = rocket.config().port;
            let told = listens.lock().ok().and_then(|mut listens| listens.take());
            Box::pin(async move {
                if let Some(told) = told {
                    // Nobody waits when the start was given up.
                    let _ = told.send(port);
                }
            })
        }))
}

/// Nothing from files or the environment: what the gateway does is decided here.
fn config(address: SocketAddr, tls: TlsConfig) -> Config {
    let shutdown = ShutdownConfig {
        // Signals are the launcher's business; two handlers would race.
        ctrlc: false,
        signals: std::collections::HashSet::new(),
        grace: 1,
        mercy: 0,
        ..ShutdownConfig::default()
    };
    Config {
        address: address.ip(),
        port: address.port(),
        limits: Limits::new().limit("json", 256.kibibytes()),
        shutdown,
        tls: Some(tls),
        ip_header: None,
        keep_alive: 30,
        log_level: rocket::config::LogLevel::Off,
        cli_colors: false,
        ..Config::release_default()
    }
}
