//! A node's connection in the books: its epoch, its contact, what its hardware turned out to be. It refuses whoever does not
//! hold the certificate in force, and anything of an epoch that is over.
use super::Fleet;
use super::hub::Silent;
use super::join::{put_unit, units_of};
use crate::app::error::Answer;
use crate::base::hardware::ObservedNode;
use crate::base::ids::NodeId;
use crate::base::secret::SecretHash;
use crate::base::window::Instant;
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::hardware::{Verdict, credible, judge};
use crate::domain::fleet::node::{Node, NodeContact};
use crate::domain::fleet::refusal::FleetRefusal;
use crate::domain::notice::Common;
use crate::store::changes::Changes;
use crate::store::command::{Command, Reject};
use crate::store::read::{Read, StoreError};
use crate::store::tables::Table;
use crate::store::view::View;

/// What a connection proved by its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// SHA-256 of the public key.
    pub key: SecretHash,
    /// Lower-case hexadecimal without leading zeros.
    pub serial: String,
}

/// The node that a credential belongs to, if it is in force now.
pub fn identify(view: &impl Read, credential: &Credential) -> Result<Option<Node>, StoreError> {
    let node = view.via::<Node>(Table::NodesByKey, credential.key.as_bytes())?;
    Ok(node.filter(|node| !node.is_gone() && node.accepts_serial(&credential.serial)))
}

/// A new connection of a node: raises its epoch and takes in what it says of itself. Answers the epoch.
pub async fn connect(
    fleet: &Fleet,
    node: NodeId,
    credential: Credential,
    observed: ObservedNode,
    skew_ms: i64,
) -> Answer<u64> {
    credible(&observed).map_err(|why| Common::BadField { field: "observed", why: why.to_owned() })?;
    let decide = move |view: &View<'_>, now: Instant| {
        // The route checked this too, but a renewal or a revocation may have come in between.
        let mut row =
            identify(view, &credential)?.filter(|row| row.id == node).ok_or(FleetRefusal::UnknownCertificate)?;
        let mut changes = Changes::new();
        row.serial_used(&credential.serial);
        row.epoch += 1;
        row.generation = Node::first_generation(row.epoch);
        let epoch = row.epoch;
        observe(view, &mut changes, row, observed.clone(), now)?;
        let unattested_since = view.get::<NodeContact>(&node)?.map(|before| before.attested().1);
        changes.put(&NodeContact { node, epoch, connected: true, last: now, skew_ms, unattested_since });
        changes.event(Cause::Node(node), Event::NodeConnected { node, epoch });
        changes.wake(node);
        Ok((changes, epoch))
    };
    Ok(fleet.mill.store.write(Command::new(Cause::Node(node)), decide).await?)
}

/// The node's hardware as it says now, over the connection with this epoch.
pub async fn observed(fleet: &Fleet, node: NodeId, epoch: u64, observed: ObservedNode) -> Answer<()> {
    credible(&observed).map_err(|why| Common::BadField { field: "observed", why: why.to_owned() })?;
    let decide = move |view: &View<'_>, now: Instant| {
        let row: Node = view.must(&node)?;
        let mut changes = Changes::new();
        if row.epoch != epoch {
            return Err(FleetRefusal::Overtaken.into());
        }
        if row.observed != observed {
            observe(view, &mut changes, row, observed.clone(), now)?;
        }
        Ok((changes, ()))
    };
    Ok(fleet.mill.store.write(Command::new(Cause::Node(node)), decide).await?)
}

/// Writes the node with its new observation and what follows from it.
fn observe(
    view: &View<'_>,
    changes: &mut Changes,
    mut node: Node,
    observed: ObservedNode,
    now: Instant,
) -> Result<(), Reject> {
    let Verdict { units, state } = judge(&node, &units_of(view, node.id)?, &observed, now);
    if !units.is_empty() || state.is_some() {
        changes.event(Cause::Node(node.id), Event::NodeHardwareChanged { node: node.id });
    }
    for unit in &units {
        put_unit(changes, unit);
    }
    if let Some(state) = state {
        tracing::warn!(node = %node.id, ?state, "a node's hardware is judged anew");
        node.state = state;
    }
    node.observed = observed;
    changes.put(&node);
    Ok(())
}

/// Writes down when nodes were last heard; rows of newer connections are left alone.
pub async fn write_contacts(fleet: &Fleet, contacts: Vec<NodeContact>) -> Answer<()> {
    let decide = move |view: &View<'_>, _: Instant| {
        let mut changes = Changes::new();
        for contact in &contacts {
            let row = view.get::<NodeContact>(&contact.node)?;
            if let Some(row) = row.filter(|row| row.epoch == contact.epoch && row.connected) {
                changes.put(&NodeContact { unattested_since: row.unattested_since, ..contact.clone() });
            }
        }
        Ok((changes, ()))
    };
    Ok(fleet.mill.store.write(Command::new(Cause::Mill), decide).await?)
}

/// A node has been silent for too long: its units are unknown from here on, not free.
pub async fn lose(fleet: &Fleet, silent: Silent) -> Answer<()> {
    let Silent { node, epoch, last } = silent;
    let decide = move |view: &View<'_>, _: Instant| {
        let mut changes = Changes::new();
        let row = view.get::<NodeContact>(&node)?.filter(|row| row.epoch == epoch && row.connected);
        if let Some(row) = row {
            changes.put(&NodeContact { connected: false, last: last.max(row.last), ..row });
            changes.event(Cause::Mill, Event::NodeLost { node, epoch });
            return Ok((changes, true));
        }
        Ok((changes, false))
    };
    let lost = fleet.mill.store.write(Command::new(Cause::Mill), decide).await?;
    if lost {
        fleet.orders.lost(&fleet.mill, node, last).await?;
    }
    Ok(())
}
