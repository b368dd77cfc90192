//! What admins decide about machines. It refuses everybody else.
use super::join::{put_unit, units_of};
use crate::app::error::Answer;
use crate::app::ids;
use crate::app::mill::Mill;
use crate::base::ids::{NodeId, UnitId};
use crate::base::window::Instant;
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::hardware::{MOST_GPUS, accept};
use crate::domain::fleet::node::{Node, NodeState};
use crate::domain::fleet::refusal::FleetRefusal;
use crate::domain::notice::Common;
use crate::domain::people::refusal::PeopleRefusal;
use crate::domain::people::rights::Actor;
use crate::store::changes::Changes;
use crate::store::command::Command;
use crate::store::read::Read;
use crate::store::view::View;

/// Admits a node that waits, or accepts the hardware of one that was closed for it: what it reports becomes what is booked.
pub async fn admit(mill: &Mill, who: &Actor, node: NodeId) -> Answer<()> {
    admins_only(who, "admit nodes")?;
    let cause = Cause::Member(who.member);
    // More than any node can need: how many are new is known only inside.
    let fresh: Vec<UnitId> = (0..MOST_GPUS).map(|_| UnitId::from_u128(ids::fresh())).collect();
    let decide = move |view: &View<'_>, now: Instant| {
        let mut row: Node = view.get(&node)?.ok_or(Common::NotFound { what: "node" })?;
        if !matches!(row.state, NodeState::Pending | NodeState::Closed { .. }) {
            return Err(FleetRefusal::NotWaiting.into());
        }
        row.state = NodeState::Admitted { since: now };
        let mut changes = Changes::new();
        let mut next = fresh.iter().copied();
        let mut fresh = || next.next().expect("there are as many ids as a node can have GPUs");
        for unit in accept(&row, &units_of(view, node)?, &mut fresh, now) {
            put_unit(&mut changes, &unit);
        }
        changes.put(&row);
        changes.event(cause, Event::NodeAdmitted { node });
        Ok((changes, ()))
    };
    Ok(mill.store.write(Command::new(cause), decide).await?)
}

/// Ends a node's membership: its certificate is void at once, and its units are out of the calendar when their leases are.
pub async fn revoke(mill: &Mill, who: &Actor, node: NodeId) -> Answer<()> {
    admins_only(who, "revoke nodes")?;
    let cause = Cause::Member(who.member);
    let decide = move |view: &View<'_>, now: Instant| {
        let mut row: Node = view.get(&node)?.ok_or(Common::NotFound { what: "node" })?;
        let mut changes = Changes::new();
        if !row.is_gone() {
            row.state = NodeState::Revoked { at: now };
            changes.put(&row);
            changes.event(cause, Event::NodeRevoked { node });
        }
        Ok((changes, ()))
    };
    mill.store.write(Command::new(cause), decide).await?;
    mill.hub.cut(node, "this node was revoked");
    Ok(())
}

pub(super) fn admins_only(who: &Actor, what: &'static str) -> Result<(), PeopleRefusal> {
    if who.admin { Ok(()) } else { Err(PeopleRefusal::Denied { what, who_may: "admins" }) }
}
