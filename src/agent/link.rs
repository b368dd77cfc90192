//! The control connection to the mill: says hello, hears what shall run, tells what runs, and starts over when it breaks.
//! It refuses to let a broken connection touch any lease.
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rustls::ClientConfig;
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::Message;

use super::dial::{DialError, Server, Socket};
use super::evict::{Ended, Wanted};
use super::keeper::{Order, Report};
use super::orders::Measured;
use super::place::Place;
use super::readings::Round;
use super::{streams, upgrade};
use crate::base::hardware::ObservedNode;
use crate::base::ids::{LeaseId, StreamId};
use crate::base::window::Span;
use crate::clock;
use crate::wire::node::{FromAgent, LOST_AFTER, PROTOCOL, StreamKind, ToAgent};

/// The largest desired state that is read, in bytes: the mill may say more at once than an agent.
const READ_LIMIT: usize = 16 << 20;
const WELCOME_WAIT: Duration = Duration::from_secs(30);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the connection broke: {0}")]
    Broken(#[from] tokio_tungstenite::tungstenite::Error),
    #[error("the mill closed the connection")]
    Closed,
    #[error("the mill is silent")]
    Silent,
    #[error("the mill ends the connection: {0}")]
    Goodbye(String),
    #[error("the mill speaks another version of the node protocol, and its program was not installed: {0}")]
    Unlike(String),
    #[error("the mill said something that this agent does not understand; install the same gristmill on both")]
    Strange,
}

/// What a connection works with.
pub struct Link {
    /// Where leases lie; without it none can be looked into.
    pub place: Option<Arc<Place>>,
    pub server: Server,
    pub tls: Arc<ClientConfig>,
    pub simulated: bool,
    pub orders: mpsc::Sender<Order>,
    pub report: watch::Receiver<Report>,
    pub observed: watch::Receiver<Arc<ObservedNode>>,
    pub readings: watch::Receiver<Arc<Round>>,
    /// What shall be ended outside leases, and what became of it.
    pub end: watch::Sender<Wanted>,
    pub ended: watch::Receiver<Ended>,
}

impl LinkError {
    /// Whether the mill takes this node's certificate no more.
    pub fn is_about_certificate(&self) -> bool {
        matches!(self, Self::Dial(error) if error.is_about_certificate())
    }
}

impl Link {
    /// One connection from its hello to its end; `welcomed` tells whether the mill answered at all.
    pub async fn run(&mut self, welcomed: &mut bool) -> LinkError {
        match self.hold(welcomed).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn hold(&mut self, welcomed: &mut bool) -> Result<std::convert::Infallible, LinkError> {
        let mut socket = self.server.web_socket(self.tls.clone(), "/link", READ_LIMIT).await?;
        let observed = self.observed.borrow_and_update().clone();
        let hello = FromAgent::Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot: super::boot::boot_id(),
            clock: clock::now(),
            simulated: self.simulated,
            observed: Box::new((*observed).clone()),
        };
        say(&mut socket, &hello).await?;
        let answer = tokio::time::timeout(WELCOME_WAIT, hear(&mut socket)).await.map_err(|_| LinkError::Silent)??;
        let (epoch, node, clock, heartbeat) = match answer {
            Some(ToAgent::Welcome { epoch, node, clock, heartbeat }) => (epoch, node, clock, heartbeat),
            Some(ToAgent::Upgrade { version, sha256 }) => {
                // The two do not understand each other, but this much they do.
                return Err(LinkError::Unlike(self.upgrade(&version, &sha256).await));
            }
            Some(other) => return Err(goodbye(other)),
            None => return Err(LinkError::Strange),
        };
        // Taken at once: what passes between the mill's look at its clock and this line is the error of the deadlines.
        self.order(Order::Clock(Measured::now(clock))).await?;
        tracing::info!(%node, epoch, "connected to the mill");
        *welcomed = true;
        self.converse(socket, epoch, heartbeat).await
    }

    async fn converse(
        &mut self,
        mut socket: Socket,
        epoch: u64,
        heartbeat: Span,
    ) -> Result<std::convert::Infallible, LinkError> {
        let every = Duration::from_millis(u64::try_from(heartbeat.as_millis()).unwrap_or(5000).clamp(100, 60_000));
        let mut beats = tokio::time::interval(every);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (refuse, mut refused) = mpsc::channel::<FromAgent>(16);
        // The mill never says anything by itself for long, but it answers pings: so a dead connection is noticed.
        let mut heard = tokio::time::Instant::now();
        let patience = Duration::from_millis(u64::try_from(LOST_AFTER.as_millis()).unwrap_or(20_000));
        self.report.mark_changed();
        self.ended.mark_changed();
        loop {
            tokio::select! {
                message = hear(&mut socket) => {
                    heard = tokio::time::Instant::now();
                    let Some(message) = message? else { continue };
                    match message {
                        ToAgent::Desired { generation, leases, end } => {
                            // Nobody listens where there is nothing that could be ended.
                            let _ = self.end.send(Wanted { generation, processes: end });
                            self.order(Order::Desired { generation, leases }).await?;
                        }
                        ToAgent::OpenStream { stream, lease, kind } => self.open_stream(stream, lease, kind, refuse.clone()),
                        ToAgent::StillThere { question } => say(&mut socket, &FromAgent::Here { epoch, question }).await?,
                        ToAgent::Upgrade { version, sha256 } => {
                            let (server, tls, refuse) = (self.server.clone(), self.tls.clone(), refuse.clone());
                            tokio::spawn(async move {
                                if let Err(error) = upgrade::become_program(&server, tls, &version, &sha256).await {
                                    tracing::error!(%error, version, "the agent stays what it is");
                                    let why = error.to_string();
                                    // Without a connection the mill offers it again.
                                    let _ = refuse.send(FromAgent::UpgradeFailed { epoch, version, why }).await;
                                }
                            });
                        }
                        other @ (ToAgent::Welcome { .. } | ToAgent::Goodbye { .. }) => return Err(goodbye(other)),
                    }
                }
                changed = self.report.changed() => {
                    changed.map_err(|_| LinkError::Closed)?;
                    let (generation, leases) = {
                        let report = self.report.borrow_and_update();
                        (report.generation, report.facts())
                    };
                    say(&mut socket, &FromAgent::Leases { epoch, generation, leases }).await?;
                }
                Ok(()) = self.observed.changed() => {
                    let observed = self.observed.borrow_and_update().clone();
                    say(&mut socket, &FromAgent::Observed { epoch, observed: Box::new((*observed).clone()) }).await?;
                }
                Ok(()) = self.readings.changed() => {
                    let round = self.readings.borrow_and_update().clone();
                    if let Some(clock) = round.at.filter(|_| !(round.gpus.is_empty() && round.xids.is_empty())) {
                        let (gpus, xids) = (round.gpus.clone(), round.xids.clone());
                        let kernel_log = round.kernel_log.clone();
                        say(&mut socket, &FromAgent::Samples { epoch, clock, gpus, xids, kernel_log }).await?;
                    }
                }
                Ok(()) = self.ended.changed() => {
                    let Ended { generation, processes } = self.ended.borrow_and_update().clone();
                    say_some(&mut socket, FromAgent::Ended { epoch, generation, processes }).await?;
                }
                Some(message) = refused.recv() => say(&mut socket, &message).await?,
                _ = beats.tick() => {
                    if heard.elapsed() > patience.max(every * 4) {
                        return Err(LinkError::Silent);
                    }
                    say(&mut socket, &FromAgent::Heartbeat { epoch, clock: clock::now() }).await?;
                    socket.send(Message::Ping(Vec::new().into())).await?;
                }
            }
        }
    }

    /// Answers why it did not become the offered program.
    async fn upgrade(&self, version: &str, sha256: &str) -> String {
        let failed = upgrade::become_program(&self.server, self.tls.clone(), version, sha256).await;
        failed.map_or_else(|error| error.to_string(), |()| "another offer is being followed".to_owned())
    }

    /// Dials for somebody who wants to look into a lease, beside the conversation.
    fn open_stream(&self, stream: StreamId, lease: LeaseId, kind: StreamKind, refuse: mpsc::Sender<FromAgent>) {
        let (place, server, tls) = (self.place.clone(), self.server.clone(), self.tls.clone());
        tokio::spawn(async move {
            let refused = match &place {
                Some(place) => streams::serve(place, &server, tls, stream, lease, kind).await.err(),
                None => Some(streams::StreamRefusal::Paper),
            };
            if let Some(why) = refused {
                // Without a connection there is nobody to tell.
                let _ = refuse.send(FromAgent::StreamRefused { stream, why: why.to_string() }).await;
            }
        });
    }

    async fn order(&self, order: Order) -> Result<(), LinkError> {
        self.orders.send(order).await.map_err(|_| LinkError::Closed)
    }
}

async fn say(socket: &mut Socket, message: &FromAgent) -> Result<(), LinkError> {
    let text = serde_json::to_string(message).expect("messages are plain data");
    let sending = socket.send(Message::Text(text.into()));
    tokio::time::timeout(WELCOME_WAIT, sending).await.map_err(|_| LinkError::Silent)??;
    Ok(())
}

/// The same, but nothing where there was nothing to end: an older mill hears nothing that it does not know.
async fn say_some(socket: &mut Socket, message: FromAgent) -> Result<(), LinkError> {
    match &message {
        FromAgent::Ended { processes, .. } if processes.is_empty() => Ok(()),
        _ => say(socket, &message).await,
    }
}

/// The next message; `None` is a sign of life without words.
async fn hear(socket: &mut Socket) -> Result<Option<ToAgent>, LinkError> {
    match socket.next().await.ok_or(LinkError::Closed)?? {
        Message::Text(text) => serde_json::from_str(&text).map(Some).map_err(|_| LinkError::Strange),
        Message::Close(_) => Err(LinkError::Closed),
        Message::Binary(_) => Err(LinkError::Strange),
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(None),
    }
}

fn goodbye(message: ToAgent) -> LinkError {
    match message {
        ToAgent::Goodbye { why } => LinkError::Goodbye(why),
        _ => LinkError::Strange,
    }
}
