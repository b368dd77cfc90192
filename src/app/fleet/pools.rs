//! Pools: named groups of nodes with a policy. A change says what it changes for what is booked before it is made, is made
//! to the revision that was looked at or not at all, and stays in the events with its reason. It refuses two pools of one
//! name and figures that no pool may have.
use std::collections::BTreeMap;

use super::duty::reason;
use super::manage::admins_only;
use crate::app::bookings::{leases, outlook::is_free, show::Reader};
use crate::app::error::Answer;
use crate::app::ids;
use crate::app::mill::Mill;
use crate::app::money::price;
use crate::base::hardware::Portion;
use crate::base::ids::PoolId;
use crate::base::text::{BadText, Name};
use crate::base::window::Instant;
use crate::domain::bookings::booking::Booking;
use crate::domain::bookings::lease::Lease;
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::node::{Node, NodeState, Pool, PoolPolicy};
use crate::domain::fleet::policy::{self, Wanted};
use crate::domain::fleet::unbooked::refusal::PoolRefusal;
use crate::domain::notice::Common;
use crate::domain::people::installation::Installation;
use crate::domain::people::refusal::PeopleRefusal;
use crate::domain::people::rights::Actor;
use crate::store::Reject;
use crate::store::changes::Changes;
use crate::store::command::Command;
use crate::store::people::INSTALLATION;
use crate::store::read::{Order, Read, StoreError};
use crate::store::view::{Snapshot, View};
use crate::wire::api::fleet::PoolView;
use crate::wire::api::pools::{PolicyView, PoolChange, PoolChanged, PoolDetail, PoolModel, PoolNode, PoolUser};

/// Nodes of a pool that are listed with it.
const NODES_SHOWN: usize = 500;
/// Leases of a pool that are listed with it.
const USERS_SHOWN: usize = 200;

/// All pools, in the order of their making.
pub fn list(view: &impl Read) -> Result<Vec<Pool>, StoreError> {
    view.list(&[], Order::Ascending, usize::MAX)
}

/// Makes a pool with the policy that every pool starts with. With `auto_admit`, whoever joins it is bookable at once.
pub async fn make(mill: &Mill, who: &Actor, name: Name, auto_admit: bool) -> Answer<PoolId> {
    admins_only(who, "make pools")?;
    let cause = Cause::Member(who.member);
    let id = PoolId::from_u128(ids::fresh());
    let decide = move |view: &View<'_>, _: Instant| {
        unused(view, &name, None)?;
        let simulated = view.must::<Installation>(&INSTALLATION)?.simulated();
        let mut changes = Changes::new();
        changes.put(&Pool { id, name: name.clone(), auto_admit, policy: PoolPolicy::kind(simulated), revision: 0 });
        changes.event(cause, Event::PoolMade { pool: id });
        Ok((changes, id))
    };
    Ok(mill.store.write(Command::new(cause), decide).await?)
}

fn unused(view: &impl Read, name: &Name, but: Option<PoolId>) -> Result<(), Reject> {
    let taken = list(view)?.iter().any(|pool| pool.name.key() == name.key() && Some(pool.id) != but);
    if taken { Err(PeopleRefusal::NameTaken { field: "name" }.into()) } else { Ok(()) }
}

/// The pool with this name or id.
pub fn named(view: &impl Read, given: &str) -> Answer<PoolId> {
    let found = list(view)?
        .into_iter()
        .find(|pool| pool.id.to_string() == given || pool.name.key() == given.trim().to_lowercase());
    Ok(found.ok_or(Common::NotFound { what: "pool" })?.id)
}

/// Pools as the API shows them.
pub fn views(view: &impl Read) -> Answer<Vec<PoolView>> {
    let nodes: Vec<Node> = view.list(&[], Order::Ascending, usize::MAX)?;
    let count = |pool: PoolId| nodes.iter().filter(|node| node.pool == pool && !node.is_gone()).count();
    let pools = list(view)?.into_iter().map(|pool| PoolView {
        id: pool.id,
        name: pool.name.to_string(),
        auto_admit: pool.auto_admit,
        nodes: u32::try_from(count(pool.id)).unwrap_or(u32::MAX),
    });
    Ok(pools.collect())
}

/// Each pool with its nodes and GPUs counted.
pub fn summaries(view: &Snapshot) -> Result<Vec<(Pool, u32, u32)>, StoreError> {
    let mut counts: BTreeMap<PoolId, (u32, u32)> = BTreeMap::new();
    for node in view.roll().all().filter(|node| !node.is_gone()) {
        let place = counts.entry(node.pool).or_default();
        let gpus = u32::try_from(node.booked().count()).unwrap_or(u32::MAX);
        *place = (place.0 + 1, place.1.saturating_add(gpus));
    }
    let counted = |pool: Pool| {
        let (nodes, gpus) = counts.get(&pool.id).copied().unwrap_or_default();
        (pool, nodes, gpus)
    };
    Ok(list(view)?.into_iter().map(counted).collect())
}

/// Changes name and policy as far as they are named, or says what that would do. Admins only.
pub async fn change(mill: &Mill, who: &Actor, id: PoolId, wish: PoolChange) -> Answer<PoolChanged> {
    admins_only(who, "change pools")?;
    let (name, wanted) = read(&wish)?;
    if wish.preview {
        let view = mill.store.read()?;
        let (_, _, said) = decided(&view, id, name.as_ref(), &wanted, wish.revision, mill.store.now())?;
        return Ok(said);
    }
    let why = reason(&wish.why)?;
    let cause = Cause::Member(who.member);
    let decide = move |view: &View<'_>, now: Instant| {
        let (before, mut after, said) = decided(view, id, name.as_ref(), &wanted, wish.revision, now)?;
        let mut changes = Changes::new();
        if said.changes.is_empty() {
            return Ok((changes, PoolChanged { done: true, ..said }));
        }
        after.revision = before.revision + 1;
        let (revision, what) = (after.revision, said.changes.join("; "));
        if before.name != after.name {
            let (from, to) = (before.name.to_string(), after.name.to_string());
            changes.event(cause, Event::PoolRenamed { pool: id, from, to });
        }
        changes.put(&after).event(cause, Event::PoolChanged { pool: id, revision, what, why: why.clone() });
        // The grace of a lease is told to its node.
        for node in view.list::<Node>(&[], Order::Ascending, usize::MAX)?.iter().filter(|node| node.pool == id) {
            changes.wake(node.id);
        }
        Ok((changes, PoolChanged { revision, done: true, ..said }))
    };
    Ok(mill.store.write(Command::new(cause), decide).await?)
}

fn read(wish: &PoolChange) -> Result<(Option<Name>, Wanted), Reject> {
    let bad = |why: BadText| Common::BadField { field: "name", why: why.to_string() };
    let name = wish.name.as_deref().map(|name| name.parse::<Name>().map_err(bad)).transpose()?;
    let most = wish.unbooked_most_a_day.as_deref().map(|typed| {
        typed.trim().parse().map_err(|why: crate::base::credits::AmountError| PoolRefusal::BadFigure {
            field: "unbooked_most_a_day",
            why: why.to_string(),
        })
    });
    let wanted = Wanted {
        auto_admit: wish.auto_admit,
        turnaround: wish.turnaround_seconds,
        grace: wish.grace_seconds,
        longest: wish.longest_seconds,
        horizon: wish.horizon_seconds,
        unbooked: wish.unbooked.clone(),
        after: wish.unbooked_after_seconds,
        clear: wish.unbooked_clear,
        system: wish.unbooked_system,
        most_a_day: most.transpose()?,
    };
    Ok((name, wanted))
}

/// The pool before and after, and what that does.
fn decided(
    view: &impl Read,
    id: PoolId,
    name: Option<&Name>,
    wanted: &Wanted,
    revision: Option<u32>,
    now: Instant,
) -> Result<(Pool, Pool, PoolChanged), Reject> {
    let before: Pool = view.get(&id)?.ok_or(Common::NotFound { what: "pool" })?;
    if revision.is_some_and(|seen| seen != before.revision) {
        return Err(PoolRefusal::ChangedMeanwhile { name: before.name.to_string() }.into());
    }
    let mut after = policy::after(&before, wanted)?;
    if let Some(name) = name {
        unused(view, name, Some(id))?;
        after.name = name.clone();
    }
    let booked = booked(view, id, now)?;
    let said = PoolChanged {
        id,
        name: after.name.to_string(),
        revision: before.revision,
        changes: policy::differences(&before, &after),
        follows: policy::follows(&before, &after, &booked, now),
        done: false,
    };
    Ok((before, after, said))
}

/// What is booked on a pool now and later: each lease's window and whether it has begun.
fn booked(view: &impl Read, pool: PoolId, now: Instant) -> Result<Vec<policy::Booked>, StoreError> {
    let leases = leases_of(view, pool)?;
    let one = |lease: &Lease| policy::Booked { window: lease.window, runs: lease.window.contains(now) };
    Ok(leases.iter().filter(|lease| !lease.is_over()).map(one).collect())
}

fn leases_of(view: &impl Read, pool: PoolId) -> Result<Vec<Lease>, StoreError> {
    let mut found = Vec::new();
    for node in view.list::<Node>(&[], Order::Ascending, usize::MAX)?.iter().filter(|node| node.pool == pool) {
        found.extend(leases::on_node(view, node.id)?);
    }
    Ok(found)
}

/// Everything about a pool, as far as the reader may know.
pub fn detail(mill: &Mill, who: &Actor, id: PoolId, now: Instant) -> Answer<PoolDetail> {
    let view = mill.store.read()?;
    let pool: Pool = view.get(&id)?.ok_or(Common::NotFound { what: "pool" })?;
    let (mut nodes, mut models) = (Vec::new(), BTreeMap::<String, (u32, u32, Portion)>::new());
    for node in view.roll().all().filter(|node| node.pool == id && !node.is_gone()) {
        let connected = node.connected == Some(true);
        for gpu in node.booked() {
            let free = connected && node.is_open() && gpu.out.is_none() && is_free(view.calendar(), node, gpu, now);
            let place = models.entry(gpu.model.to_string()).or_insert((0, 0, gpu.portion));
            (place.0, place.1) = (place.0 + 1, place.1 + u32::from(free));
        }
        if nodes.len() < NODES_SHOWN {
            let gpus = u32::try_from(node.booked().count()).unwrap_or(u32::MAX);
            let (name, state) = (node.name.clone(), state_word(&node.state).to_owned());
            nodes.push(PoolNode { id: node.id, name, state, connected, gpus });
        }
    }
    let mut rated = Vec::new();
    for (model, (gpus, free_now, portion)) in models {
        let rate = price::pin_unit(&view, &model, portion)?.per_gpu_hour.into();
        rated.push(PoolModel { model, gpus, free_now, rate });
    }
    Ok(PoolDetail {
        id,
        name: pool.name.to_string(),
        revision: pool.revision,
        policy: policy_view(&pool),
        nodes,
        models: rated,
        now: on_it(&view, who, id, now)?,
    })
}

const fn state_word(state: &NodeState) -> &'static str {
    match state {
        NodeState::Pending => "pending",
        NodeState::Admitted { .. } => "admitted",
        NodeState::Closed { .. } => "closed",
        NodeState::Revoked { .. } => "revoked",
        NodeState::Retired { .. } => "retired",
    }
}

/// What holds in a pool.
pub fn policy_view(pool: &Pool) -> PolicyView {
    let PoolPolicy { turnaround, grace, longest, horizon, unbooked } = pool.policy;
    let (word, after) = policy::deed_word(unbooked.deed);
    PolicyView {
        auto_admit: pool.auto_admit,
        turnaround_seconds: turnaround.as_seconds(),
        grace_seconds: grace.as_seconds(),
        longest_seconds: longest.as_seconds(),
        horizon_seconds: horizon.as_seconds(),
        unbooked: word.to_owned(),
        unbooked_after_seconds: after.map(|after| after.as_seconds()),
        unbooked_clear: unbooked.clear,
        unbooked_system: unbooked.system,
        unbooked_most_a_day: unbooked.most_a_day.into(),
    }
}

/// Who has leases on it now.
fn on_it(view: &Snapshot, who: &Actor, pool: PoolId, now: Instant) -> Answer<Vec<PoolUser>> {
    let mut reader = Reader::new(view, who, now)?;
    let mut found = Vec::new();
    for lease in leases_of(view, pool)?.iter().filter(|lease| !lease.is_over() && lease.window.contains(now)) {
        let booking: Booking = view.must(&lease.booking)?;
        let sees = who.sees(booking.team);
        found.push(PoolUser {
            team: reader.team(booking.team)?,
            booking: sees.then_some(booking.id),
            title: sees.then(|| booking.ask.title.clone()),
            node: lease.node,
            node_name: view.must::<Node>(&lease.node)?.name.to_string(),
            gpus: u32::try_from(lease.units.len()).unwrap_or(u32::MAX),
            until: lease.window.end().into(),
        });
        if found.len() >= USERS_SHOWN {
            break;
        }
    }
    Ok(found)
}
