//! Whose a Unix user is: by an admin's word alone, in one pool or everywhere. The number counts before the name (the
//! kernel keeps numbers, a file of the machine keeps names), the pool's word before the general one. It refuses teams that
//! the member is not in, and forgets the assignment when the member leaves.
use crate::app::error::Answer;
use crate::app::fleet::manage::admins_only;
use crate::app::mill::Mill;
use crate::app::people::actor;
use crate::base::ids::{MemberId, PoolId, TeamId};
use crate::base::text::Email;
use crate::base::window::Instant;
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::node::Pool;
use crate::domain::fleet::unbooked::refusal::PoolRefusal;
use crate::domain::fleet::unbooked::{Payer, UnixName, UnixUser};
use crate::domain::notice::Common;
use crate::domain::people::member::{Member, Team};
use crate::domain::people::rights::Actor;
use crate::store::View;
use crate::store::changes::Changes;
use crate::store::command::Command;
use crate::store::fleet::UnixUserKey;
use crate::store::read::{Order, Read, StoreError};
use crate::store::tables::Table;
use crate::wire::api::unbooked::{UnixUserRequest, UnixUserView};

/// Characters of a Unix user's name.
const NAME: usize = 32;

/// Who answers for a Unix user of a pool, while they may and are in the team that pays.
pub fn payer(
    view: &impl Read,
    pool: PoolId,
    uid: Option<u32>,
    user: Option<&str>,
) -> Result<Option<Payer>, StoreError> {
    let names = || {
        let named = user.map(|name| UnixName::Name(name.to_owned()));
        uid.map(UnixName::Uid).into_iter().chain(named)
    };
    for pool in [Some(pool), None] {
        for name in names() {
            let Some(row) = view.get::<UnixUser>(&UnixUserKey(pool, name))? else { continue };
            let found = actor::load(view, row.member)?.filter(|(_, actor)| actor.role_in(row.team).is_some());
            return Ok(found.map(|_| Payer { member: row.member, team: row.team }));
        }
    }
    Ok(None)
}

/// Reads a number or a name.
pub fn read(typed: &str) -> Result<UnixName, PoolRefusal> {
    let typed = typed.trim();
    if let Ok(uid) = typed.parse::<u32>() {
        return Ok(UnixName::Uid(uid));
    }
    let fine = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    let starts = typed.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let is_name = starts && typed.len() <= NAME && typed.chars().all(fine);
    is_name.then(|| UnixName::Name(typed.to_owned())).ok_or(PoolRefusal::BadUnixUser)
}

/// A member by id or address.
fn member(view: &impl Read, given: &str) -> Answer<Member> {
    let found = match given.trim().parse::<MemberId>() {
        Ok(id) => view.get::<Member>(&id)?,
        Err(_) => match given.parse::<Email>() {
            Ok(email) => view.via::<Member>(Table::MembersByEmail, &email.as_str())?,
            Err(_) => None,
        },
    };
    Ok(found.ok_or(Common::NotFound { what: "member" })?)
}

fn pool(view: &impl Read, given: Option<&str>) -> Answer<Option<PoolId>> {
    given.filter(|given| !given.trim().is_empty()).map(|given| super::super::pools::named(view, given)).transpose()
}

/// Says whose a Unix user is; what was said of it before is over. Admins only.
pub async fn set(mill: &Mill, who: &Actor, request: &UnixUserRequest) -> Answer<UnixUserView> {
    admins_only(who, "assign Unix users")?;
    let user = read(&request.user)?;
    let (row, cause) = {
        let view = mill.store.read()?;
        let member = member(&view, &request.member)?;
        let memberships = actor::memberships(&view, member.id)?;
        let team: TeamId = match request.team.as_deref().filter(|team| !team.trim().is_empty()) {
            Some(given) => actor::team(&view, who, given)?.id,
            None => memberships.first().map(|first| first.team).ok_or(Common::NotFound { what: "team" })?,
        };
        if !memberships.iter().any(|membership| membership.team == team) {
            let team = view.must::<Team>(&team)?.name.to_string();
            return Err(PoolRefusal::NotInTeam { member: member.name.to_string(), team }.into());
        }
        let pool = pool(&view, request.pool.as_deref())?;
        let since = Instant::from_millis(0);
        (UnixUser { pool, user, member: member.id, team, since, by: who.member }, Cause::Member(who.member))
    };
    let kept = row.clone();
    let decide = move |_: &View<'_>, now: Instant| {
        let mut changes = Changes::new();
        let row = UnixUser { since: now, ..row.clone() };
        let (user, member, team) = (row.user.to_string(), row.member, row.team);
        changes.put(&row).event(cause, Event::UnixUserSet { user, member, team });
        Ok((changes, ()))
    };
    mill.store.write(Command::new(cause), decide).await?;
    shown(&mill.store.read()?, &kept)
}

/// Takes the word back. Admins only.
pub async fn remove(mill: &Mill, who: &Actor, user: &str, of: Option<&str>) -> Answer<()> {
    admins_only(who, "assign Unix users")?;
    let key = UnixUserKey(pool(&mill.store.read()?, of)?, read(user)?);
    let cause = Cause::Member(who.member);
    let decide = move |view: &View<'_>, _: Instant| {
        view.get::<UnixUser>(&key)?.ok_or(Common::NotFound { what: "Unix user" })?;
        let mut changes = Changes::new();
        changes.delete::<UnixUser>(&key);
        changes.event(cause, Event::UnixUserRemoved { user: key.1.to_string() });
        Ok((changes, ()))
    };
    Ok(mill.store.write(Command::new(cause), decide).await?)
}

/// All of them: those that hold everywhere first. Admins only.
pub fn list(mill: &Mill, who: &Actor) -> Answer<Vec<UnixUserView>> {
    admins_only(who, "see whose Unix users are")?;
    let view = mill.store.read()?;
    let rows: Vec<UnixUser> = view.list(&[], Order::Ascending, usize::MAX)?;
    rows.iter().map(|row| shown(&view, row)).collect()
}

fn shown(view: &impl Read, row: &UnixUser) -> Answer<UnixUserView> {
    let pool = row.pool.map(|pool| view.get::<Pool>(&pool)).transpose()?.flatten();
    let member: Option<Member> = view.get(&row.member)?;
    let team: Option<Team> = view.get(&row.team)?;
    let user = match &row.user {
        UnixName::Uid(uid) => uid.to_string(),
        UnixName::Name(name) => name.clone(),
    };
    // Found again as it is now, so that it does not promise what no longer holds.
    let loaded = actor::load(view, row.member)?;
    let holds = loaded.is_some_and(|(_, actor)| actor.role_in(row.team).is_some());
    Ok(UnixUserView {
        user,
        pool: pool.map(|pool| pool.name.to_string()),
        member: row.member,
        member_name: member.map_or_else(String::new, |member| member.name.to_string()),
        team: row.team,
        team_name: team.map_or_else(String::new, |team| team.name.to_string()),
        holds,
    })
}
