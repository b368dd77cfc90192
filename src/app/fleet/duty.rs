//! What admins ask of a node: take no new leases, run empty, another name, another pool, retire. Each is one transaction
//! with its reason in the audit. It refuses everybody else, and a change without a reason where work is touched.
use super::join::{put_unit, units_of};
use super::manage::admins_only;
use crate::app::bookings::leases;
use crate::app::error::Answer;
use crate::app::mill::Mill;
use crate::base::ids::{NodeId, PoolId};
use crate::base::text::{Name, without_control};
use crate::base::window::Instant;
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::duty::{Duty, REASON};
use crate::domain::fleet::node::{Node, NodeState, Pool};
use crate::domain::fleet::refusal::FleetRefusal;
use crate::domain::notice::Common;
use crate::domain::people::refusal::PeopleRefusal;
use crate::domain::people::rights::Actor;
use crate::store::changes::Changes;
use crate::store::command::{Command, Reject};
use crate::store::read::Read;
use crate::store::record::Key as _;
use crate::store::tables::Table;
use crate::store::view::View;

/// What is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Open,
    Cordon,
    Drain,
}

fn one_line(text: &str) -> String {
    without_control(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A reason as it is kept.
pub fn reason(text: &str) -> Result<String, FleetRefusal> {
    let text = one_line(text);
    if REASON.contains(&text.chars().count()) { Ok(text) } else { Err(FleetRefusal::NoReason) }
}

/// The node, if it is not gone.
fn living(view: &impl Read, node: NodeId) -> Result<Node, Reject> {
    let row: Node = view.get(&node)?.ok_or(Common::NotFound { what: "node" })?;
    if row.is_gone() { Err(FleetRefusal::Gone.into()) } else { Ok(row) }
}

/// Opens a node to new leases, closes it to them, or lets it run empty.
pub async fn set(mill: &Mill, who: &Actor, node: NodeId, wish: Wish, why: &str) -> Answer<()> {
    admins_only(who, "decide what nodes take")?;
    // Opening harms nobody and needs no reason.
    let why = if wish == Wish::Open { one_line(why) } else { reason(why)? };
    let (by, cause) = (who.member, Cause::Member(who.member));
    let decide = move |view: &View<'_>, now: Instant| {
        let mut row = living(view, node)?;
        let why = why.clone();
        row.duty = match wish {
            Wish::Open => Duty::Open,
            Wish::Cordon => Duty::Cordoned { since: now, by, why: why.clone() },
            Wish::Drain => Duty::Draining { since: now, by, why: why.clone() },
        };
        let mut changes = Changes::new();
        changes.put(&row);
        changes.event(cause, Event::NodeDuty { node, duty: row.duty.word().to_owned(), why });
        Ok((changes, ()))
    };
    Ok(mill.store.write(Command::new(cause), decide).await?)
}

/// Gives a node another name.
pub async fn rename(mill: &Mill, who: &Actor, node: NodeId, name: Name) -> Answer<()> {
    admins_only(who, "rename nodes")?;
    let cause = Cause::Member(who.member);
    let decide = move |view: &View<'_>, _: Instant| {
        let mut row = living(view, node)?;
        let mut changes = Changes::new();
        let taken = view.via::<Node>(Table::NodesByName, &name.key().bytes())?;
        if taken.is_some_and(|other| other.id != node) {
            return Err(PeopleRefusal::NameTaken { field: "name" }.into());
        }
        if row.name != name {
            let (from, to) = (row.name.to_string(), name.to_string());
            changes.unindex(Table::NodesByName, &row.name.key());
            row.name = name.clone();
            changes.put(&row).index(Table::NodesByName, &name.key(), &node);
            changes.event(cause, Event::NodeRenamed { node, from, to });
        }
        Ok((changes, ()))
    };
    Ok(mill.store.write(Command::new(cause), decide).await?)
}

/// Puts a node into another pool. What is booked keeps what it was promised; the new policy and rates hold for what comes.
pub async fn move_to(mill: &Mill, who: &Actor, node: NodeId, pool: PoolId) -> Answer<()> {
    admins_only(who, "move nodes between pools")?;
    let cause = Cause::Member(who.member);
    let decide = move |view: &View<'_>, _: Instant| {
        let mut row = living(view, node)?;
        view.get::<Pool>(&pool)?.ok_or(Common::NotFound { what: "pool" })?;
        let mut changes = Changes::new();
        if row.pool != pool {
            row.pool = pool;
            changes.put(&row);
            for mut unit in units_of(view, node)? {
                unit.pool = pool;
                put_unit(&mut changes, &unit);
            }
            changes.event(cause, Event::NodeMoved { node, pool });
        }
        Ok((changes, ()))
    };
    Ok(mill.store.write(Command::new(cause), decide).await?)
}

/// Takes an empty node out for good; its history stays.
pub async fn retire(mill: &Mill, who: &Actor, node: NodeId, why: &str) -> Answer<()> {
    admins_only(who, "retire nodes")?;
    let why = reason(why)?;
    let cause = Cause::Member(who.member);
    let decide = move |view: &View<'_>, now: Instant| {
        let mut row = living(view, node)?;
        let open = leases::on_node(view, node)?.len();
        if open > 0 {
            return Err(FleetRefusal::StillBooked { leases: open }.into());
        }
        row.state = NodeState::Retired { at: now, why: why.clone() };
        let mut changes = Changes::new();
        changes.put(&row);
        changes.event(cause, Event::NodeRetired { node, why: why.clone() });
        Ok((changes, ()))
    };
    mill.store.write(Command::new(cause), decide).await?;
    mill.hub.cut(node, "this node was retired");
    Ok(())
}
