//! Use outside bookings, from what nodes read to what becomes of it: written down, told, ended, billed. The rules are
//! `domain::fleet::unbooked`'s; here they meet a node's readings, its pool's policy and the calendar.
//!
//! A node's word is a claim, and the room refuses what a lying node could do with it: readings that are old, come twice
//! or come from the future count for nothing; time is the mill's, so that no claim is longer than the real time that
//! passed between two of them; a GPU's second is billed once, never while a booking has the GPU, and to one person only
//! up to the pool's limit of a day; the node's owner earns nothing from it; a node has at most [`MOST_OPEN`] uses at once
//! and [`MOST_AN_HOUR`] new ones an hour; only an admin's word makes a Unix user somebody's; the member and the admins
//! see each use, and an admin can give every bill back. A node is told to end only what it named itself.
pub mod bill;
pub mod orders;
pub mod show;
pub mod sweep;
pub mod tell;
pub mod users;
pub mod verify;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use super::samples::FRESH_FOR;
use crate::app::bookings::leases;
use crate::app::error::Answer;
use crate::app::ids;
use crate::app::mill::Mill;
use crate::base::ids::{NodeId, UnitId, UseId};
use crate::base::telemetry::{GpuReading, MOST_PROCESSES};
use crate::base::window::{Instant, Span};
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::node::{Node, Pool};
use crate::domain::fleet::unbooked::{self as rules, CLEAR_AHEAD, Deed, How, Order as EndOrder, Process, Sight};
use crate::domain::fleet::unbooked::{Round, Use};
use crate::store::changes::Changes;
use crate::store::command::Command;
use crate::store::fleet::put_use;
use crate::store::read::{Order, Read, StoreError};
use crate::store::record::Key as _;
use crate::store::tables::Table;
use crate::store::{Reject, View};

/// Uses of one node at once; what it says beyond is not looked at.
pub const MOST_OPEN: usize = 64;
/// New uses of one node that are written down in an hour.
pub const MOST_AN_HOUR: usize = 120;
/// How often a use that goes on is written down.
const WRITE_EVERY: Span = Span::from_seconds(60);
/// Characters of a boot's id that are kept.
const BOOT: usize = 64;
/// Uses looked through for what is recent, the newest first.
const LOOKED_BACK: usize = 2000;

/// What is known of each node between two readings; the store has it too, a minute old at most.
#[derive(Default)]
pub struct Watch(Mutex<HashMap<NodeId, Seen>>);

#[derive(Default)]
struct Seen {
    open: Vec<Use>,
    written: HashMap<UseId, Instant>,
    /// When the last round that counted was read, by the mill's clock.
    read_at: Option<Instant>,
}

impl Watch {
    /// Takes a node's uses out, to be put back changed; from the store where nothing is known yet.
    fn take(&self, view: &impl Read, node: NodeId) -> Result<Seen, StoreError> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
        Ok(match known {
            Some(seen) => seen,
            None => Seen { open: open_on(view, node)?, ..Seen::default() },
        })
    }

    fn put(&self, node: NodeId, seen: Seen) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(node, seen);
    }
}

/// The uses of a node that are not over.
pub fn open_on(view: &impl Read, node: NodeId) -> Result<Vec<Use>, StoreError> {
    view.list_via(Table::OpenUses, &node.bytes(), Order::Ascending, MOST_OPEN * 4)
}

/// Who said a round, and when by the node's clock.
#[derive(Clone, Debug)]
pub struct Said {
    pub node: NodeId,
    /// The boot that the connection's hello named.
    pub boot: String,
    pub clock: Instant,
    /// The node's clock minus the mill's, as it was last compared.
    pub skew_ms: i64,
}

impl Said {
    /// The mill's clock when it was read, if that is a moment ago.
    fn read_at(&self, now: Instant) -> Option<Instant> {
        let at = Instant::from_millis(self.clock.as_millis().saturating_sub(self.skew_ms));
        let age = now.as_millis().saturating_sub(at.as_millis());
        (age.abs() <= FRESH_FOR.as_millis()).then_some(at)
    }
}

/// Takes in a round of readings as they were believed.
pub async fn heard(mill: &Mill, said: Said, readings: &HashMap<UnitId, GpuReading>, now: Instant) -> Answer<()> {
    let node = said.node;
    let Some(at) = said.read_at(now) else { return Ok(()) };
    let (mut seen, round) = {
        let view = mill.store.read()?;
        let seen = mill.unbooked.take(&view, node)?;
        (seen, self::round(&view, &said, readings))
    };
    // The same reading again, or one from before it: nothing new is known.
    let again = seen.read_at.is_some_and(|before| at <= before);
    let round = match round {
        Ok(round) if !again => round,
        other => {
            mill.unbooked.put(node, seen);
            return Ok(other.map(|_| ())?);
        }
    };
    seen.read_at = Some(at);
    let outcome = look(mill, node, &mut seen, &round, now).await;
    mill.unbooked.put(node, seen);
    outcome
}

async fn look(mill: &Mill, node: NodeId, seen: &mut Seen, round: &Round, now: Instant) -> Answer<()> {
    if round.sights.is_empty() && seen.open.is_empty() {
        return Ok(());
    }
    let before = seen.open.clone();
    {
        let view = mill.store.read()?;
        let mut mint = || UseId::from_u128(ids::fresh());
        rules::round(&mut seen.open, node, round, now, &mut mint);
        let (policy, pool) = policy(&view, node)?;
        let needed = needed(&view, node, policy.grace, now)?;
        for known in &mut seen.open {
            known.member = users::payer(&view, pool, known.uid, known.user.as_deref())?.map(|payer| payer.member);
            let near = known.on.iter().any(|unit| needed.contains(unit));
            known.order = rules::order(known, &policy.unbooked, near, now);
        }
    }
    let news = |known: &&Use| {
        let old = before.iter().find(|old| old.id == known.id);
        let same = old.is_some_and(|old| {
            old.is_believed()
                && (&old.order, old.member, &old.on, &old.over) == (&known.order, known.member, &known.on, &known.over)
        });
        let late = seen.written.get(&known.id).is_none_or(|at| now.since(*at) >= WRITE_EVERY);
        known.is_believed() && (!same || late || known.owes())
    };
    let changed: Vec<Use> = seen.open.iter().filter(news).cloned().collect();
    keep(mill, Cause::Node(node), seen, changed, now).await
}

/// What was read, as the rules take it.
fn round(view: &impl Read, said: &Said, readings: &HashMap<UnitId, GpuReading>) -> Result<Round, StoreError> {
    let (policy, pool) = policy(view, said.node)?;
    let boot: String = said.boot.chars().filter(|c| !c.is_control()).take(BOOT).collect();
    let mut round = Round { boot: boot.clone(), ..Round::default() };
    let mut sights: BTreeMap<Process, Sight> = BTreeMap::new();
    for (&unit, reading) in readings {
        let Some(processes) = &reading.processes else { continue };
        if processes.len() < MOST_PROCESSES {
            round.read.insert(unit);
        }
        for process in processes.iter().filter(|process| process.lease.is_none()) {
            let key = Process { boot: boot.clone(), pid: process.pid, started: process.started };
            let place = sights.entry(key.clone()).or_insert_with(|| Sight {
                process: key,
                uid: process.uid,
                user: process.user.clone(),
                program: process.name.clone(),
                units: BTreeSet::new(),
                payer: None,
            });
            place.units.insert(unit);
        }
    }
    for mut sight in sights.into_values().take(MOST_OPEN) {
        if policy.unbooked.deed == Deed::Bill {
            sight.payer = users::payer(view, pool, sight.uid, sight.user.as_deref())?;
        }
        round.sights.push(sight);
    }
    Ok(round)
}

fn policy(
    view: &impl Read,
    node: NodeId,
) -> Result<(crate::domain::fleet::node::PoolPolicy, crate::base::ids::PoolId), StoreError> {
    let row: Node = view.must(&node)?;
    Ok((view.must::<Pool>(&row.pool)?.policy, row.pool))
}

/// The GPUs of a node that a booking has, or will have so soon that they are to be cleared.
fn needed(view: &impl Read, node: NodeId, grace: Span, now: Instant) -> Result<BTreeSet<UnitId>, StoreError> {
    let soon = now.plus(grace).plus(CLEAR_AHEAD);
    let leases = leases::on_node(view, node)?;
    let near = leases.iter().filter(|lease| lease.window.start() <= soon && lease.window.end() > now);
    Ok(near.flat_map(|lease| lease.units.iter().copied()).collect())
}

/// Writes uses as they are now, with everything that follows: postings, notices, the node's orders.
async fn keep(mill: &Mill, cause: Cause, seen: &mut Seen, changed: Vec<Use>, now: Instant) -> Answer<()> {
    if changed.is_empty() {
        return Ok(());
    }
    let then = mill.clone();
    let decide = move |view: &View<'_>, decided: Instant| {
        let mut changes = Changes::new();
        let (mut kept, mut fresh, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        let mut room: Option<usize> = None;
        for known in &changed {
            let before = view.get::<Use>(&known.id)?;
            if before.as_ref().is_some_and(|before| !before.is_open()) {
                continue;
            }
            if before.is_none() {
                let left = room.map_or_else(|| room_for(view, known.node, decided), Ok)?;
                room = Some(left.saturating_sub(1));
                if left == 0 {
                    refused.push(known.id);
                    continue;
                }
                fresh.push(known.clone());
            }
            kept.push(one(view, &mut changes, cause, before.as_ref(), known.clone(), decided)?);
        }
        tell::seen(view, &mut changes, then.post(), &fresh, decided)?;
        Ok((changes, (kept, refused)))
    };
    let (kept, refused): (Vec<Use>, Vec<UseId>) = mill.store.write(Command::new(cause), decide).await?;
    for known in kept {
        seen.written.insert(known.id, now);
        seen.open.retain(|old| old.id != known.id || known.is_open());
        if let Some(place) = seen.open.iter_mut().find(|old| old.id == known.id) {
            *place = known;
        }
    }
    seen.open.retain(|known| known.is_open() && !refused.contains(&known.id));
    let open: BTreeSet<UseId> = seen.open.iter().map(|known| known.id).collect();
    seen.written.retain(|id, _| open.contains(id));
    mill.outbox.notify_one();
    Ok(())
}

/// How many new uses of a node may still be written down in this hour.
fn room_for(view: &impl Read, node: NodeId, now: Instant) -> Result<usize, StoreError> {
    let recent = recent(view, now.minus(Span::from_hours(1)))?;
    Ok(MOST_AN_HOUR.saturating_sub(recent.iter().filter(|known| known.node == node).count()))
}

/// The uses first seen since `since`, the newest first.
pub fn recent(view: &impl Read, since: Instant) -> Result<Vec<Use>, StoreError> {
    let newest: Vec<Use> = view.list(&[], Order::Descending, LOOKED_BACK)?;
    Ok(newest.into_iter().filter(|known| known.first >= since).collect())
}

/// One use with its events and postings.
fn one(
    view: &View<'_>,
    changes: &mut Changes,
    cause: Cause,
    before: Option<&Use>,
    mut known: Use,
    now: Instant,
) -> Result<Use, Reject> {
    let (used, node) = (known.id, known.node);
    if before.is_none() {
        changes.event(cause, Event::UnbookedSeen { used, node });
    }
    let was_wanted = before.is_some_and(Use::is_wanted_gone);
    if known.is_wanted_gone() != was_wanted {
        changes.wake(node);
    }
    if known.is_wanted_gone() && !was_wanted {
        changes.event(Cause::Mill, Event::UnbookedOrdered { used, node });
    }
    if let EndOrder::Refused { why, .. } = &known.order
        && !before.is_some_and(|before| matches!(before.order, EndOrder::Refused { .. }))
    {
        changes.event(cause, Event::UnbookedRefused { used, node, why: why.clone() });
    }
    for stretch in rules::settle(&mut known) {
        bill::post(view, changes, &known, &stretch, now)?;
    }
    if !known.is_open() {
        changes.event(cause, Event::UnbookedOver { used, node });
    }
    put_use(changes, &known);
    Ok(known)
}
