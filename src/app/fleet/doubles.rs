//! A second connection with one node's key: the first is asked whether it is still there. If it answers, the newcomer is
//! turned away and the admins are told, at most once an hour; if it does not, the newcomer is the node, and a new epoch
//! fences what is left of the first. It refuses to let a copy of a machine take the machine's place.
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant as Monotonic};

use super::Fleet;
use crate::app::error::Answer;
use crate::app::mill::Mill;
use crate::app::people::notices::{self, Telling};
use crate::base::ids::NodeId;
use crate::base::window::Instant;
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::node::Node;
use crate::domain::people::member::Member;
use crate::store::changes::Changes;
use crate::store::command::Command;
use crate::store::read::{Order, Read as _};
use crate::store::view::View;

/// How long the first has to answer. An agent answers at once; a dead connection never does.
const ANSWER_WAIT: Duration = Duration::from_secs(4);
/// How often the admins are told of one node.
const TELL_EVERY: Duration = Duration::from_secs(3600);
/// More admins than any mill has.
const MEMBERS: usize = 10_000;

/// What the newcomer is told.
const TURNED_AWAY: &str = "another machine is connected with this node’s key, and it answers. If this is a copy of that \
                           machine, stop the agent here, remove its directory, and join with a new line from the nodes page";

/// Newcomers that were turned away, by node, since the start.
#[derive(Debug, Default)]
pub struct Doubles(Mutex<HashMap<NodeId, Double>>);

#[derive(Debug, Default)]
struct Double {
    count: u64,
    told: Option<Monotonic>,
}

impl Doubles {
    /// Counts one more; whether somebody is to be told now.
    fn count(&self, node: NodeId, now: Monotonic) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let double = all.entry(node).or_default();
        double.count += 1;
        let due = double.told.is_none_or(|told| now.saturating_duration_since(told) >= TELL_EVERY);
        if due {
            double.told = Some(now);
        }
        due
    }

    /// How many were turned away since the start.
    pub fn of(&self, node: NodeId) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&node).map_or(0, |double| double.count)
    }
}

/// Lets a newcomer pass unless the node's first connection answers; then it answers why not.
pub async fn pass(fleet: &Fleet, node: NodeId) -> Result<(), String> {
    if !fleet.mill.hub.answers(node, ANSWER_WAIT).await {
        return Ok(());
    }
    tracing::warn!(%node, "a second machine came with this node's key while the first is there");
    if fleet.mill.hub.doubles.count(node, Monotonic::now())
        && let Err(error) = tell(&fleet.mill, node).await
    {
        tracing::error!(%error, %node, "the admins could not be told of a second machine");
    }
    Err(TURNED_AWAY.to_owned())
}

async fn tell(mill: &Mill, node: NodeId) -> Answer<()> {
    let then = mill.clone();
    let decide = move |view: &View<'_>, now: Instant| {
        let mut changes = Changes::new();
        let name = view.get::<Node>(&node)?.map_or_else(|| node.to_string(), |node| node.name.to_string());
        let members: Vec<Member> = view.list(&[], Order::Ascending, MEMBERS)?;
        for admin in members.iter().filter(|member| member.admin && !member.disabled) {
            let telling = Telling {
                member: admin.id,
                subject: format!("A second machine uses the key of {name}"),
                text: format!(
                    "It was turned away, because {name} is connected and answers. If its disk was copied, remove the \
                     agent’s directory on the copy and join it with a line of its own. If not, somebody else has the \
                     key: revoke {name}, and join it anew with an empty directory."
                ),
                link: Some(format!("/nodes/{node}")),
                letter: None,
            };
            notices::tell(view, &mut changes, then.post(), telling, now)?;
        }
        changes.event(Cause::Mill, Event::NodeDoubled { node });
        Ok((changes, ()))
    };
    mill.store.write(Command::new(Cause::Mill), decide).await?;
    mill.outbox.notify_one();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_few_are_told() {
        let doubles = Doubles::default();
        let (node, now) = (NodeId::from_u128(7), Monotonic::now());
        assert!(doubles.count(node, now) && !doubles.count(node, now + TELL_EVERY / 2));
        assert!(doubles.count(NodeId::from_u128(8), now), "another node is told of by itself");
        assert!(doubles.count(node, now + TELL_EVERY) && doubles.of(node) == 3);
    }
}
