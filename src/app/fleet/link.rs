//! One connection of one node, from its hello to its end, over channels and without sockets: the gateway carries messages,
//! tests drive it directly. It refuses what is not of the protocol and what belongs to another epoch, and answers a
//! hostile node with a goodbye, never with a fault.
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::contact::{self, Credential};
use super::hub::{Link, LinkEnd};
use super::{Fleet, doubles, upgrade};
use crate::app::error::{Answer, AppError};
use crate::base::ids::NodeId;
use crate::base::text::without_control;
use crate::clock;
use crate::domain::fleet::node::Node;
use crate::domain::people::installation::Installation;
use crate::store::people::INSTALLATION;
use crate::store::read::Read as _;
use crate::wire::node::{DesiredLease, FromAgent, HEARTBEAT, PROTOCOL, ToAgent};

/// How long a connection may stay silent before its hello.
const HELLO_WAIT: Duration = Duration::from_secs(10);
/// Messages that wait for a slow connection.
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

/// What is sent to one node, and what it was sent last.
struct Sending {
    out: mpsc::Sender<ToAgent>,
    generation: u64,
    desired: Option<Vec<DesiredLease>>,
}

/// Why a connection ends.
enum Over {
    /// The other side went away.
    Gone,
    Goodbye(String),
}

/// Serves a connection whose certificate was checked; ends when it is over. `heard` ends when the socket does.
pub async fn serve(
    fleet: Fleet,
    node: NodeId,
    credential: Credential,
    mut heard: mpsc::Receiver<Heard>,
    out: mpsc::Sender<ToAgent>,
) {
    let over = match greet(&fleet, node, credential, &mut heard, &out).await {
        Ok((mut end, sending)) => {
            let over = converse(&fleet, &mut end, &mut heard, sending).await;
            fleet.mill.hub.detach(&end.link);
            over
        }
        Err(over) => over,
    };
    match over {
        Over::Gone => tracing::info!(%node, "a node's connection ended"),
        Over::Goodbye(why) => {
            tracing::warn!(%node, why, "a node's connection is closed");
            // If it cannot be sent, the connection is gone anyway.
            let _ = out.send(ToAgent::Goodbye { why }).await;
        }
    }
}

/// From the hello to the welcome.
async fn greet(
    fleet: &Fleet,
    node: NodeId,
    credential: Credential,
    heard: &mut mpsc::Receiver<Heard>,
    out: &mpsc::Sender<ToAgent>,
) -> Result<(LinkEnd, Sending), Over> {
    let first = tokio::time::timeout(HELLO_WAIT, heard.recv()).await;
    let first = first.map_err(|_| Over::Goodbye("no hello came".to_owned()))?.ok_or(Over::Gone)?;
    let (protocol, version, clock, simulated, observed) = match first {
        Heard::Say(FromAgent::Hello { protocol, version, clock, simulated, observed, .. }) => {
            (protocol, version, clock, simulated, *observed)
        }
        Heard::Say(_) => return Err(malformed(fleet, "the first message must be a hello")),
        Heard::Malformed(why) => return Err(malformed(fleet, &why)),
    };
    upgrade::noted(fleet, node, &version, protocol).await.map_err(|error| failed(&error))?;
    if protocol != PROTOCOL {
        return Err(other_protocol(fleet, node, protocol, out).await);
    }
    doubles::pass(fleet, node).await.map_err(Over::Goodbye)?;
    let mill_simulated = fleet
        .mill
        .store
        .read()
        .and_then(|view| view.get::<Installation>(&INSTALLATION))
        .map_err(|error| failed(&error.into()))?
        .is_some_and(|installation| installation.simulated());
    if mill_simulated != simulated {
        return Err(Over::Goodbye("a simulated node and a real mill (or the reverse) do not go together".to_owned()));
    }
    let skew_ms = clock.since(clock::now()).as_millis();
    let epoch = contact::connect(fleet, node, credential, observed, skew_ms).await.map_err(|error| failed(&error))?;
    let overtaken = || Over::Goodbye("a newer connection of this node took over".to_owned());
    let end = fleet.mill.hub.attach(node, epoch, clock::now(), skew_ms).ok_or_else(overtaken)?;
    // A revocation since the commit of `connect` found no connection to close.
    if revoked(fleet, node)? {
        fleet.mill.hub.detach(&end.link);
        return Err(Over::Goodbye("this node was revoked".to_owned()));
    }
    // The commit of `connect` woke nobody yet: the first desired state is sent by this.
    end.link.wake.notify_one();
    upgrade::offer(&fleet.mill, node).await.map_err(|error| failed(&error))?;
    let welcome = ToAgent::Welcome { epoch, node, clock: clock::now(), heartbeat: HEARTBEAT };
    let sending = Sending { out: out.clone(), generation: Node::first_generation(epoch), desired: None };
    match out.send(welcome).await {
        Ok(()) => Ok((end, sending)),
        Err(_) => {
            fleet.mill.hub.detach(&end.link);
            Err(Over::Gone)
        }
    }
}

/// An older or a newer agent: it is offered this mill's program if an admin asked for that, and told what to do otherwise.
async fn other_protocol(fleet: &Fleet, node: NodeId, theirs: u32, out: &mpsc::Sender<ToAgent>) -> Over {
    match upgrade::pending(&fleet.mill, node).await {
        Ok(Some(offer)) => match out.send(offer).await {
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
async fn converse(fleet: &Fleet, end: &mut LinkEnd, heard: &mut mpsc::Receiver<Heard>, mut sending: Sending) -> Over {
    let link = end.link.clone();
    loop {
        let step = tokio::select! {
            // Closing comes before anything else, so that a flood of messages cannot hold it off.
            biased;
            why = fenced(&mut end.fenced) => Err(Over::Goodbye(why)),
            order = end.orders.recv() => match order {
                Some(order) => sending.out.send(order).await.map_err(|_| Over::Gone),
                None => Err(Over::Gone),
            },
            () = link.wake.notified() => publish(fleet, &link, &mut sending).await,
            message = heard.recv() => match message {
                None => Err(Over::Gone),
                Some(Heard::Malformed(why)) => Err(malformed(fleet, &why)),
                Some(Heard::Say(say)) => listen(fleet, &link, &sending, say).await,
            },
        };
        if let Err(over) = step {
            return over;
        }
    }
}

/// Waits until the hub wants the connection closed, and why.
async fn fenced(fence: &mut watch::Receiver<Option<String>>) -> String {
    let why = fence.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
    why.unwrap_or_else(|| "the mill closed the connection".to_owned())
}

/// Sends the desired state, unless it is what was sent last.
async fn publish(fleet: &Fleet, link: &Link, sending: &mut Sending) -> Result<(), Over> {
    let desired = fleet.mill.store.read().and_then(|view| fleet.orders.desired(&view, link.node));
    let desired = desired.map_err(|error| failed(&error.into()))?;
    if sending.desired.as_ref() == Some(&desired) {
        return Ok(());
    }
    sending.generation += 1;
    if sending.generation >= Node::first_generation(link.epoch) + GENERATIONS {
        return Err(Over::Goodbye("this connection is old; connect again".to_owned()));
    }
    let message = ToAgent::Desired { generation: sending.generation, leases: desired.clone() };
    sending.desired = Some(desired);
    sending.out.send(message).await.map_err(|_| Over::Gone)
}

/// Takes in one message.
async fn listen(fleet: &Fleet, link: &Link, sending: &Sending, say: FromAgent) -> Result<(), Over> {
    let now = clock::now();
    match say {
        FromAgent::Hello { .. } => return Err(malformed(fleet, "a connection has one hello")),
        FromAgent::StreamRefused { stream, why } => fleet.mill.hub.streams.refuse(link.node, stream, &why),
        FromAgent::Heartbeat { epoch, clock } if epoch == link.epoch => {
            fleet.mill.hub.heard(link, now, Some(clock.since(now).as_millis()));
            return Ok(());
        }
        FromAgent::Observed { epoch, observed } if epoch == link.epoch => {
            answered(contact::observed(fleet, link.node, epoch, *observed).await)?;
        }
        FromAgent::Leases { epoch, generation, leases } if epoch == link.epoch => {
            let complete = generation == sending.generation;
            answered(fleet.orders.facts(&fleet.mill, link.node, leases, complete).await)?;
        }
        FromAgent::Here { epoch, question } if epoch == link.epoch => fleet.mill.hub.answered(link, question),
        FromAgent::UpgradeFailed { epoch, why, .. } if epoch == link.epoch => {
            answered(upgrade::failed(fleet, link.node, &why).await)?;
        }
        FromAgent::Samples { epoch, gpus, .. } if epoch == link.epoch => {
            answered(super::samples::take(&fleet.mill, link.node, gpus, now))?;
        }
        late => {
            tracing::debug!(node = %link.node, ?late, "a report of another epoch is dropped");
            return Ok(());
        }
    }
    fleet.mill.hub.heard(link, now, None);
    Ok(())
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
