//! Pools: named groups of nodes with a policy. It refuses to make two of one name.
use super::manage::admins_only;
use crate::app::error::Answer;
use crate::app::ids;
use crate::app::mill::Mill;
use crate::base::ids::PoolId;
use crate::base::text::Name;
use crate::base::window::Instant;
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::node::{Node, Pool, PoolPolicy};
use crate::domain::notice::Common;
use crate::domain::people::installation::Installation;
use crate::domain::people::refusal::PeopleRefusal;
use crate::domain::people::rights::Actor;
use crate::store::changes::Changes;
use crate::store::command::Command;
use crate::store::people::INSTALLATION;
use crate::store::read::{Order, Read, StoreError};
use crate::store::view::View;
use crate::wire::api::fleet::PoolView;

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
        if list(view)?.iter().any(|pool| pool.name.key() == name.key()) {
            return Err(PeopleRefusal::NameTaken { field: "name" }.into());
        }
        let simulated = view.must::<Installation>(&INSTALLATION)?.simulated();
        let mut changes = Changes::new();
        changes.put(&Pool { id, name: name.clone(), auto_admit, policy: PoolPolicy::kind(simulated) });
        changes.event(cause, Event::SettingsChanged { what: format!("pool {name}") });
        Ok((changes, id))
    };
    Ok(mill.store.write(Command::new(cause), decide).await?)
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
