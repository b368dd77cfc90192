//! Which program a node's agent is, and an admin's wish that it become this mill's. The wish is kept until the node comes
//! back as what was wished, says why it could not, or has tried often enough. It refuses the local node, whose agent is the
//! server's own program, and programs for another kind of machine.
use super::Fleet;
use crate::app::error::Answer;
use crate::app::mill::Mill;
use crate::base::ids::NodeId;
use crate::base::text::without_control;
use crate::base::window::Instant;
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::node::{Node, NodeAgent, UpgradeWish};
use crate::domain::fleet::refusal::FleetRefusal;
use crate::domain::notice::Common;
use crate::domain::people::refusal::PeopleRefusal;
use crate::domain::people::rights::Actor;
use crate::store::changes::Changes;
use crate::store::command::Command;
use crate::store::read::Read as _;
use crate::store::view::View;
use crate::wire::node::ToAgent;

/// This mill's own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How often a program is offered before it counts as failed: a node that comes back as what it was would fetch for ever.
const MOST_TRIES: u32 = 3;
/// Longest version and longest reason that are believed, in characters.
const LONGEST_VERSION: usize = 64;
const LONGEST_WHY: usize = 300;

/// Wishes that a node's agent become this mill's version; `again` also when it says it is.
pub async fn ask(mill: &Mill, who: &Actor, node: NodeId, again: bool) -> Answer<()> {
    if !who.admin {
        return Err(PeopleRefusal::Denied { what: "upgrade nodes", who_may: "admins" }.into());
    }
    let cause = Cause::Member(who.member);
    let decide = move |view: &View<'_>, now: Instant| {
        let row: Node = view.get(&node)?.ok_or(Common::NotFound { what: "node" })?;
        let agent = view.get::<NodeAgent>(&node)?.ok_or(FleetRefusal::NeverConnected)?;
        may_become(&row, &agent, again)?;
        let mut changes = Changes::new();
        let wish = UpgradeWish { version: VERSION.to_owned(), asked: now, tries: 0, failed: None };
        changes.put(&NodeAgent { upgrade: Some(wish), ..agent });
        changes.event(cause, Event::NodeUpgradeAsked { node });
        Ok((changes, ()))
    };
    mill.store.write(Command::new(cause), decide).await?;
    offer(mill, node).await
}

fn may_become(node: &Node, agent: &NodeAgent, again: bool) -> Result<(), FleetRefusal> {
    let theirs = node.observed.architecture.as_str();
    match () {
        () if node.is_gone() => Err(FleetRefusal::Gone),
        () if node.local => Err(FleetRefusal::LocalUpgrade),
        () if !theirs.is_empty() && theirs != std::env::consts::ARCH => {
            Err(FleetRefusal::OtherArchitecture { theirs: theirs.to_owned(), ours: std::env::consts::ARCH })
        }
        () if agent.version == VERSION && !again => Err(FleetRefusal::SameVersion),
        () => Ok(()),
    }
}

/// Writes down which program has connected; a wish that came true is done with it.
pub async fn noted(fleet: &Fleet, node: NodeId, version: &str, protocol: u32) -> Answer<()> {
    let version: String = without_control(version).chars().take(LONGEST_VERSION).collect();
    let before = fleet.mill.store.read()?.get::<NodeAgent>(&node)?;
    let done = |wish: &UpgradeWish| wish.tries > 0 && wish.version == version;
    let same = before.as_ref().is_some_and(|agent| {
        agent.version == version && agent.protocol == protocol && !agent.upgrade.as_ref().is_some_and(done)
    });
    // Ten thousand agents that come back unchanged write nothing.
    if same {
        return Ok(());
    }
    let decide = move |view: &View<'_>, _: Instant| {
        let upgrade = view.get::<NodeAgent>(&node)?.and_then(|agent| agent.upgrade);
        let upgrade = upgrade.filter(|wish| wish.tries == 0 || wish.version != version);
        let mut changes = Changes::new();
        changes.put(&NodeAgent { node, version: version.clone(), protocol, upgrade });
        changes.event(Cause::Node(node), Event::NodeVersionChanged { node });
        Ok((changes, ()))
    };
    Ok(fleet.mill.store.write(Command::new(Cause::Node(node)), decide).await?)
}

/// Sends the program to a node that waits for it, over the connection that it has.
pub async fn offer(mill: &Mill, node: NodeId) -> Answer<()> {
    // Without a connection it waits for the next one, and is no try.
    let Some(link) = mill.hub.link(node) else { return Ok(()) };
    if let Some(offer) = pending(mill, node).await? {
        // A full queue means a connection that will break; the next one asks again.
        let _ = link.orders.try_send(Box::new(offer));
    }
    Ok(())
}

/// What is to be offered to the node now. Counts as a try; the one too many is the end of the wish.
pub async fn pending(mill: &Mill, node: NodeId) -> Answer<Option<ToAgent>> {
    let waits = |agent: &NodeAgent| agent.upgrade.as_ref().is_some_and(|wish| wish.failed.is_none());
    if !mill.store.read()?.get::<NodeAgent>(&node)?.as_ref().is_some_and(waits) {
        return Ok(None);
    }
    let decide = move |view: &View<'_>, _: Instant| {
        let mut changes = Changes::new();
        let Some(mut agent) = view.get::<NodeAgent>(&node)?.filter(waits) else { return Ok((changes, None)) };
        let version = agent.version.clone();
        let Some(wish) = agent.upgrade.as_mut() else { return Ok((changes, None)) };
        // A newer server offers what it is now.
        wish.version = VERSION.to_owned();
        wish.tries += 1;
        let offered = wish.tries <= MOST_TRIES;
        if !offered {
            wish.failed = Some(format!("it fetched the program {MOST_TRIES} times and came back as {version}"));
            changes.event(Cause::Mill, Event::NodeVersionChanged { node });
        }
        changes.put(&agent);
        Ok((changes, offered.then_some(())))
    };
    let offered = mill.store.write(Command::new(Cause::Mill), decide).await?;
    let program = mill.program.program().await?;
    Ok(offered.map(|()| ToAgent::Upgrade { version: VERSION.to_owned(), sha256: program.sha256.clone() }))
}

/// The node says why it stays what it is.
pub async fn failed(fleet: &Fleet, node: NodeId, why: &str) -> Answer<()> {
    let why: String = without_control(why).chars().take(LONGEST_WHY).collect();
    let decide = move |view: &View<'_>, _: Instant| {
        let mut changes = Changes::new();
        if let Some(mut agent) = view.get::<NodeAgent>(&node)?
            && let Some(wish) = agent.upgrade.as_mut()
        {
            wish.failed = Some(why.clone());
            changes.put(&agent);
            changes.event(Cause::Node(node), Event::NodeVersionChanged { node });
        }
        Ok((changes, ()))
    };
    Ok(fleet.mill.store.write(Command::new(Cause::Node(node)), decide).await?)
}
