//! What a node is to end, and what it says became of it. It refuses facts about other nodes' processes, and makes nothing
//! of facts about what is over.
use super::{How, keep, tell};
use crate::app::error::Answer;
use crate::app::fleet::overreach::{self, Reach};
use crate::app::mill::Mill;
use crate::base::ids::NodeId;
use crate::base::text::without_control;
use crate::base::window::Instant;
use crate::domain::event::Cause;
use crate::domain::fleet::unbooked::{Order, Use};
use crate::store::View;
use crate::store::changes::Changes;
use crate::store::command::Command;
use crate::store::read::{Read, StoreError};
use crate::wire::node::{EndFact, EndProcess, EndState};

/// Longest reason of a node that is kept, in characters.
const REASON: usize = 200;

/// The processes that a node shall end now.
pub fn wanted(view: &impl Read, node: NodeId) -> Result<Vec<EndProcess>, StoreError> {
    let open = super::open_on(view, node)?;
    if !open.iter().any(Use::is_wanted_gone) {
        return Ok(Vec::new());
    }
    let (policy, _) = super::policy(view, node)?;
    let order = |known: &Use| {
        Some(EndProcess {
            used: known.id,
            boot: known.process.boot.clone(),
            pid: known.process.pid,
            started: known.process.started?,
            uid: known.uid?,
            grace: policy.grace,
            system: policy.unbooked.system,
        })
    };
    Ok(open.iter().filter(|known| known.is_wanted_gone()).filter_map(order).collect())
}

/// Takes in what a node says of them.
pub async fn told(mill: &Mill, node: NodeId, facts: Vec<EndFact>, now: Instant) -> Answer<()> {
    if names_anothers(&mill.store.read()?, node, &facts)? {
        // Nothing that is said together with it is believed.
        overreach::note(mill, node, Reach::Process).await;
        return Ok(());
    }
    let mut seen = mill.unbooked.take(&mill.store.read()?, node)?;
    let mut changed: Vec<Use> = Vec::new();
    let mut refused = Vec::new();
    for fact in facts {
        let Some(known) = seen.open.iter_mut().find(|known| known.id == fact.used && known.is_wanted_gone()) else {
            continue;
        };
        match fact.state {
            EndState::Asked => continue,
            EndState::Gone => known.close(How::Ended),
            EndState::Refused { why } => {
                let why: String = without_control(&why).chars().take(REASON).collect();
                known.order = Order::Refused { at: now, why: why.clone() };
                refused.push((known.clone(), why));
            }
        }
        changed.push(known.clone());
    }
    let outcome = keep(mill, Cause::Node(node), &mut seen, changed, now).await;
    mill.unbooked.put(node, seen);
    outcome?;
    if refused.is_empty() { Ok(()) } else { tell_refused(mill, refused).await }
}

fn names_anothers(view: &impl Read, node: NodeId, facts: &[EndFact]) -> Result<bool, StoreError> {
    for fact in facts {
        if view.get::<Use>(&fact.used)?.is_some_and(|known| known.node != node) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn tell_refused(mill: &Mill, refused: Vec<(Use, String)>) -> Answer<()> {
    let then = mill.clone();
    let decide = move |view: &View<'_>, now: Instant| {
        let mut changes = Changes::new();
        for (known, why) in &refused {
            tell::refused(view, &mut changes, then.post(), known, why, now)?;
        }
        Ok((changes, ()))
    };
    mill.store.write(Command::new(Cause::Mill), decide).await?;
    mill.outbox.notify_one();
    Ok(())
}
