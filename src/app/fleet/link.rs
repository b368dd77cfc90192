//! One connection of one node, from its hello to its end, over channels and without sockets: the gateway carries messages.
//! What is said is decided by [`Conversation`], which waits for nothing but the store, so that tests drive it through days
//! of lost connections. It refuses what is not of the protocol and what belongs to another epoch, and answers a hostile
//! node with a goodbye, never with a fault.
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::contact::{self, Credential};
use super::hub::{Link, LinkEnd};
use super::overreach::{self, Reach};
use super::unbooked::{self, Said};
use super::{Fleet, doubles, health, upgrade};
use crate::app::error::{Answer, AppError};
use crate::app::mill::Mill;
use crate::base::ids::NodeId;
use crate::base::telemetry::GpuReading;
use crate::base::text::without_control;
use crate::base::window::Instant;
use crate::domain::fleet::node::Node;
use crate::domain::people::installation::Installation;
use crate::store::people::INSTALLATION;
use crate::store::read::Read as _;
use crate::wire::node::{DesiredLease, EndProcess, FromAgent, HEARTBEAT, PROTOCOL, ToAgent};

/// How long a connection may stay silent before its hello.
const HELLO_WAIT: Duration = Duration::from_secs(10);
/// Messages that wait for a slow connection. They wait in boxes: a channel keeps room for 32 of whatever it carries, and ten
/// thousand connections have three channels each.
pub const BUFFER: usize = 16;
/// Desired states that one connection may be sent: the space between two epochs' generations.
const GENERATIONS: u64 = 1 << 20;

/// What the gateway heard.
#[derive(Debug)]
pub enum Heard {
    Say(FromAgent),
    /// Something that is not of the protocol; why.
    Malformed(String),
}

/// What is said on one connection.
pub struct Conversation {
    fleet: Fleet,
    link: Arc<Link>,
    /// Of the desired state that was sent last.
    generation: u64,
    desired: Option<(Vec<DesiredLease>, Vec<EndProcess>)>,
    /// The node's boot, by its hello.
    boot: String,
}

/// Why a connection ends.
#[derive(Debug)]
pub enum Over {
    /// The other side went away.
    Gone,
    Goodbye(String),
}

/// Serves a connection whose certificate was checked; ends when it is over. `heard` ends when the socket does.
pub async fn serve(
    fleet: Fleet,
    node: NodeId,
    credential: Credential,
    mut heard: mpsc::Receiver<Box<Heard>>,
    out: mpsc::Sender<Box<ToAgent>>,
) {
    let hub = fleet.mill.hub.clone();
    let over = match greet(fleet, node, credential, &mut heard, &out).await {
        Ok((conversation, mut end, welcome)) => {
            let over = match out.send(Box::new(welcome)).await {
                Ok(()) => converse(conversation, &mut end, &mut heard, &out).await,
                Err(_) => Over::Gone,
            };
            hub.detach(&end.link);
            over
        }
        Err(over) => over,
    };
    match over {
        Over::Gone => tracing::debug!(%node, "a node's connection ended"),
        Over::Goodbye(why) => {
            tracing::warn!(%node, why, "a node's connection is closed");
            // If it cannot be sent, the connection is gone anyway.
            let _ = out.send(Box::new(ToAgent::Goodbye { why })).await;
        }
    }
}

/// Waits for the hello, looks whether the one who says it is the one and only, and answers it.
async fn greet(
    fleet: Fleet,
    node: NodeId,
    credential: Credential,
    heard: &mut mpsc::Receiver<Box<Heard>>,
    out: &mpsc::Sender<Box<ToAgent>>,
) -> Result<(Conversation, LinkEnd, ToAgent), Over> {
    let first = tokio::time::timeout(HELLO_WAIT, heard.recv()).await;
    let first = first.map_err(|_| Over::Goodbye("no hello came".to_owned()))?.ok_or(Over::Gone)?;
    let hello = match *first {
        Heard::Say(hello) => hello,
        Heard::Malformed(why) => return Err(malformed(&fleet, &why)),
    };
    if let FromAgent::Hello { protocol, version, .. } = &hello {
        upgrade::noted(&fleet, node, version, *protocol).await.map_err(|error| failed(&error))?;
        if *protocol != PROTOCOL {
            return Err(other_protocol(&fleet, node, *protocol, out).await);
        }
        doubles::pass(&fleet, node).await.map_err(Over::Goodbye)?;
    }
    let (conversation, end, welcome) = Conversation::open(fleet.clone(), node, credential, hello).await?;
    match upgrade::offer(&fleet.mill, node).await {
        Ok(_) => Ok((conversation, end, welcome)),
        Err(error) => {
            fleet.mill.hub.detach(&end.link);
            Err(failed(&error))
        }
    }
}

/// An older or a newer agent: it is offered this mill's program if an admin asked for that, and told what to do otherwise.
async fn other_protocol(fleet: &Fleet, node: NodeId, theirs: u32, out: &mpsc::Sender<Box<ToAgent>>) -> Over {
    match upgrade::pending(&fleet.mill, node).await {
        Ok(Some(offer)) => match out.send(Box::new(offer)).await {
            Ok(()) => Over::Goodbye("the program of this mill is on offer; connect again as that".to_owned()),
            Err(_) => Over::Gone,
        },
        Ok(None) => Over::Goodbye(format!(
            "the mill speaks version {PROTOCOL} of the node protocol, this agent version {theirs}. An admin can upgrade \
             it from the node's page, or the install line can be pasted here again"
        )),
        Err(error) => failed(&error),
    }
}

fn revoked(fleet: &Fleet, node: NodeId) -> Result<bool, Over> {
    let row =
        fleet.mill.store.read().and_then(|view| view.get::<Node>(&node)).map_err(|error| failed(&error.into()))?;
    Ok(row.is_none_or(|row| row.is_gone()))
}

/// From the welcome to the end.
async fn converse(
    mut conversation: Conversation,
    end: &mut LinkEnd,
    heard: &mut mpsc::Receiver<Box<Heard>>,
    out: &mpsc::Sender<Box<ToAgent>>,
) -> Over {
    let link = end.link.clone();
    loop {
        let step = tokio::select! {
            // Closing comes before anything else, so that a flood of messages cannot hold it off.
            biased;
            why = fenced(&mut end.fenced) => Err(Over::Goodbye(why)),
            order = end.orders.recv() => order.map(|order| Some(*order)).ok_or(Over::Gone),
            () = link.wake.notified() => conversation.publish(),
            message = heard.recv() => match message.map(|message| *message) {
                None => Err(Over::Gone),
                Some(Heard::Malformed(why)) => Err(malformed(&conversation.fleet, &why)),
                Some(Heard::Say(say)) => conversation.listen(say).await.map(|()| None),
            },
        };
        let said = match step {
            Ok(None) => Ok(()),
            Ok(Some(message)) => out.send(Box::new(message)).await.map_err(|_| Over::Gone),
            Err(over) => Err(over),
        };
        if let Err(over) = said {
            return over;
        }
    }
}

/// Waits until the hub wants the connection closed, and why.
async fn fenced(fence: &mut watch::Receiver<Option<String>>) -> String {
    let why = fence.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
    why.unwrap_or_else(|| "the mill closed the connection".to_owned())
}

impl Conversation {
    /// Answers a hello with a new epoch and a welcome; everything of the connection before is over then.
    pub async fn open(
        fleet: Fleet,
        node: NodeId,
        credential: Credential,
        hello: FromAgent,
    ) -> Result<(Self, LinkEnd, ToAgent), Over> {
        let FromAgent::Hello { clock, boot, simulated, observed, .. } = hello else {
            return Err(malformed(&fleet, "the first message must be a hello"));
        };
        let store = &fleet.mill.store;
        let installation = store.read().and_then(|view| view.get::<Installation>(&INSTALLATION));
        let installation = installation.map_err(|error| failed(&error.into()))?;
        if installation.is_some_and(|installation| installation.simulated()) != simulated {
            let why = "a simulated node and a real mill (or the reverse) do not go together";
            return Err(Over::Goodbye(why.to_owned()));
        }
        let skew_ms = clock.since(store.now()).as_millis();
        let epoch =
            contact::connect(&fleet, node, credential, *observed, skew_ms).await.map_err(|error| failed(&error))?;
        let overtaken = || Over::Goodbye("a newer connection of this node took over".to_owned());
        let end = fleet.mill.hub.attach(node, epoch, store.now(), skew_ms).ok_or_else(overtaken)?;
        // A revocation since the commit of `connect` found no connection to close.
        if revoked(&fleet, node)? {
            fleet.mill.hub.detach(&end.link);
            return Err(Over::Goodbye("this node was revoked".to_owned()));
        }
        // The commit of `connect` woke nobody yet: the first desired state is sent by this.
        end.link.wake.notify_one();
        let welcome = ToAgent::Welcome { epoch, node, clock: store.now(), heartbeat: HEARTBEAT };
        let generation = Node::first_generation(epoch);
        Ok((Self { link: end.link.clone(), fleet, generation, desired: None, boot }, end, welcome))
    }

    /// The desired state, unless it is what was said last.
    pub fn publish(&mut self) -> Result<Option<ToAgent>, Over> {
        let Fleet { mill, orders, .. } = &self.fleet;
        let desired = mill.store.read().and_then(|view| {
            let leases = orders.desired(&view, self.link.node, mill.store.now())?;
            Ok((leases, unbooked::orders::wanted(&view, self.link.node)?))
        });
        let desired = desired.map_err(|error| failed(&error.into()))?;
        if self.desired.as_ref() == Some(&desired) {
            return Ok(None);
        }
        self.generation += 1;
        if self.generation >= Node::first_generation(self.link.epoch) + GENERATIONS {
            return Err(Over::Goodbye("this connection is old; connect again".to_owned()));
        }
        let (leases, end) = desired.clone();
        self.desired = Some(desired);
        Ok(Some(ToAgent::Desired { generation: self.generation, leases, end }))
    }

    /// Takes in one message.
    pub async fn listen(&mut self, say: FromAgent) -> Result<(), Over> {
        let Self { fleet, link, .. } = self;
        let now = fleet.mill.store.now();
        match say {
            FromAgent::Hello { .. } => return Err(malformed(fleet, "a connection has one hello")),
            FromAgent::StreamRefused { stream, .. } if fleet.mill.hub.streams.is_anothers(link.node, stream) => {
                overreach::note(&fleet.mill, link.node, Reach::Stream).await;
                return Ok(());
            }
            FromAgent::StreamRefused { stream, why } => fleet.mill.hub.streams.refuse(link.node, stream, &why),
            FromAgent::Heartbeat { epoch, clock } if epoch == link.epoch => {
                fleet.mill.hub.heard(link, now, Some(clock.since(now).as_millis()));
                return Ok(());
            }
            FromAgent::Observed { epoch, observed } if epoch == link.epoch => {
                answered(contact::observed(fleet, link.node, epoch, *observed).await)?;
            }
            FromAgent::Leases { epoch, generation, leases } if epoch == link.epoch => {
                let complete = generation == self.generation;
                let strays = fleet.mill.store.read().and_then(|view| fleet.orders.strays(&view, link.node, &leases));
                if strays.map_err(|error| failed(&error.into()))? > 0 {
                    // Nothing that is said together with it is believed.
                    overreach::note(&fleet.mill, link.node, Reach::Lease).await;
                    return Ok(());
                }
                answered(fleet.orders.facts(&fleet.mill, link.node, leases, complete).await)?;
            }
            FromAgent::Here { epoch, question } if epoch == link.epoch => link.answered(question),
            FromAgent::UpgradeFailed { epoch, why, .. } if epoch == link.epoch => {
                answered(upgrade::failed(fleet, link.node, &why).await)?;
            }
            FromAgent::Samples { epoch, clock, gpus, xids, kernel_log } if epoch == link.epoch => {
                let told = health::Told { gpus: &gpus, xids, kernel_log, clock };
                answered(health::hear(&fleet.mill, link.node, told, now).await)?;
                answered(readings(&fleet.mill, link.node, &self.boot, gpus, clock, now).await)?;
            }
            FromAgent::Ended { epoch, processes, .. } if epoch == link.epoch => {
                answered(unbooked::orders::told(&fleet.mill, link.node, processes, now).await)?;
            }
            late => {
                tracing::debug!(node = %link.node, ?late, "a report of another epoch is dropped");
                overreach::note(&fleet.mill, link.node, Reach::Epoch).await;
                return Ok(());
            }
        }
        fleet.mill.hub.heard(link, now, None);
        Ok(())
    }
}

/// Takes readings in: for the pages, and for what they say of use outside bookings.
async fn readings(
    mill: &Mill,
    node: NodeId,
    boot: &str,
    gpus: Vec<GpuReading>,
    clock: Instant,
    now: Instant,
) -> Answer<()> {
    let Some(read) = super::samples::take(mill, node, gpus, now)? else { return Ok(()) };
    let said = Said { node, boot: boot.to_owned(), clock, skew_ms: mill.hub.skew_ms(node) };
    unbooked::heard(mill, said, &read, now).await
}

/// What a node says can be refused; that ends the connection only when the store failed, since then it must be said again.
fn answered(answer: Answer<()>) -> Result<(), Over> {
    match answer {
        Ok(()) => Ok(()),
        Err(AppError::Refused(refusal)) => {
            tracing::warn!(%refusal, "what a node said was refused");
            Ok(())
        }
        Err(error) => Err(failed(&error)),
    }
}

fn malformed(fleet: &Fleet, why: &str) -> Over {
    fleet.mill.hub.count_malformed();
    Over::Goodbye(without_control(why).chars().take(200).collect())
}

/// A refusal is told to the node; a failure of the mill is for the mill's log alone.
fn failed(error: &AppError) -> Over {
    match error {
        AppError::Refused(refusal) => Over::Goodbye(refusal.to_string()),
        other => {
            tracing::error!(error = %crate::app::error::with_causes(other), "a node's connection fails");
            Over::Goodbye("the mill could not answer; connect again".to_owned())
        }
    }
}
