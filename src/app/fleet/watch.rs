//! The fleet's standing tasks: wake links after commits, write contacts down, notice silence. It refuses to decide what a
//! lost node means for its bookings; that is theirs.
use std::time::{Duration, Instant as Monotonic};

use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;

use super::hub::Silent;
use super::{Fleet, brake, contact, unbooked};
use crate::app::error::Answer;
use crate::domain::event::Cause;
use crate::domain::fleet::duty::{BRAKE_WITHIN, brakes};
use crate::domain::fleet::node::NodeContact;
use crate::store::Subscription;
use crate::store::read::{Order, Read};

/// How often silence is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often all links compare the desired state with what they sent: leases come into view as time passes, without a
/// commit.
const WAKE_EVERY: Duration = Duration::from_secs(60);

/// Starts the tasks; they end when the set is dropped. To be called once, before the gateway listens.
pub fn start(fleet: &Fleet) -> Answer<JoinSet<()>> {
    expect(fleet)?;
    let mut tasks = JoinSet::new();
    tasks.spawn(wake_links(fleet.clone(), fleet.mill.store.subscribe()));
    tasks.spawn(keep_looking(fleet.clone()));
    tasks.spawn(unbooked::sweep::keep_sweeping(fleet.clone()));
    Ok(tasks)
}

/// The nodes that were connected when the mill stopped get the usual silence to come back.
pub fn expect(fleet: &Fleet) -> Answer<()> {
    let contacts: Vec<NodeContact> = fleet.mill.store.read()?.list(&[], Order::Ascending, usize::MAX)?;
    for contact in contacts.iter().filter(|contact| contact.connected) {
        fleet.mill.hub.expect(contact);
    }
    Ok(())
}

async fn wake_links(fleet: Fleet, mut commits: Subscription) {
    loop {
        match commits.recv().await {
            Ok(told) => told.wake_nodes.iter().for_each(|&node| fleet.mill.hub.wake(node)),
            Err(RecvError::Lagged(_)) => fleet.mill.hub.wake_all(),
            Err(RecvError::Closed) => return,
        }
    }
}

async fn keep_looking(fleet: Fleet) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut woken = Monotonic::now();
    loop {
        ticks.tick().await;
        if woken.elapsed() >= WAKE_EVERY {
            woken = Monotonic::now();
            fleet.mill.hub.wake_all();
        }
        look(&fleet).await;
    }
}

/// Writes down who was heard, and who was not for too long. What fails is tried again at the next look.
pub async fn look(fleet: &Fleet) {
    let hub = &fleet.mill.hub;
    let due = hub.due(hub.ticks());
    if !due.is_empty()
        && let Err(error) = contact::write_contacts(fleet, due).await
    {
        tracing::warn!(%error, "contacts were not written");
    }
    // Together, so that a thousand nodes lost at once are a few commits.
    let silent = hub.newly_lost(hub.ticks());
    if let Err(error) = hold_back(fleet, silent.len()).await {
        tracing::error!(%error, "the brake against mass loss could not be set");
    }
    futures_util::future::join_all(silent.into_iter().map(|silent| lose(fleet, silent))).await;
}

async fn lose(fleet: &Fleet, silent: Silent) {
    tracing::warn!(node = %silent.node, "a node is lost: nothing was heard for too long");
    if let Err(error) = contact::lose(fleet, silent).await {
        tracing::error!(%error, node = %silent.node, "a lost node could not be written down");
        fleet.mill.hub.lose_again(silent);
    }
}

/// Sets the brake before the losses have consequences, and takes it off once the nodes are back.
async fn hold_back(fleet: &Fleet, newly: usize) -> Answer<()> {
    let window = Duration::from_millis(BRAKE_WITHIN.as_millis().unsigned_abs());
    let (lost, nodes) = fleet.mill.hub.note_losses(newly, fleet.mill.hub.ticks(), window);
    if newly > 0 && brakes(lost, nodes) {
        tracing::error!(lost, nodes, "so many nodes were lost at once that nothing is concluded from it");
        return brake::pull(&fleet.mill, lost, nodes).await;
    }
    let (missing, known) = fleet.mill.hub.missing();
    if !brakes(missing, known) && brake::engaged(&fleet.mill.store.read()?)?.is_some() {
        tracing::info!("enough nodes are back: the brake is off");
        brake::lift(&fleet.mill, Cause::Mill).await?;
    }
    Ok(())
}
