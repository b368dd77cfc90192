//! Join tokens: what lets one machine join one pool, once, soon. It refuses to keep the token; only its hash is stored.
use crate::app::error::Answer;
use crate::app::ids;
use crate::app::mill::Mill;
use crate::base::ids::{PoolId, TeamId};
use crate::base::secret::Secret;
use crate::base::text::Name;
use crate::base::window::Span;
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::node::{JoinToken, Pool};
use crate::domain::notice::Common;
use crate::domain::people::refusal::PeopleRefusal;
use crate::domain::people::rights::Actor;
use crate::store::changes::Changes;
use crate::store::command::Command;
use crate::store::read::{Order, Read};

/// How long a token can be used.
pub const TOKEN_LASTS: Span = Span::from_minutes(15);

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenInput {
    pub pool: PoolId,
    /// The team that will own the node.
    pub owner: Option<TeamId>,
    /// The node's name; its host name when `None`.
    pub name: Option<Name>,
}

/// Makes a token for another machine; shown once.
pub async fn make(mill: &Mill, who: &Actor, input: TokenInput) -> Answer<Secret> {
    if !who.admin {
        return Err(PeopleRefusal::Denied { what: "add nodes", who_may: "admins" }.into());
    }
    write(mill, Cause::Member(who.member), input, false).await
}

/// Makes the token with which this machine's own agent joins; it is admitted at once. `None` before setup.
pub async fn make_local(mill: &Mill) -> Answer<Option<Secret>> {
    let pools: Vec<Pool> = mill.store.read()?.list(&[], Order::Ascending, 1)?;
    let Some(pool) = pools.first() else { return Ok(None) };
    let input = TokenInput { pool: pool.id, owner: None, name: None };
    write(mill, Cause::Mill, input, true).await.map(Some)
}

async fn write(mill: &Mill, cause: Cause, input: TokenInput, local: bool) -> Answer<Secret> {
    let secret = Secret::from_bytes(&ids::random_256());
    let token = secret.hash();
    mill.store
        .write(Command::new(cause), move |view, now| {
            if view.get::<Pool>(&input.pool)?.is_none() {
                return Err(Common::NotFound { what: "pool" }.into());
            }
            let mut changes = Changes::new();
            changes.put(&JoinToken {
                token,
                pool: input.pool,
                owner: input.owner,
                name: input.name.clone(),
                local,
                expires: now.plus(TOKEN_LASTS),
                used: None,
            });
            changes.event(cause, Event::JoinTokenMade { pool: input.pool });
            Ok((changes, ()))
        })
        .await?;
    Ok(secret)
}
