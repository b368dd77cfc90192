//! Signing in and out by browser: opaque tokens in a cookie, hashed in the store, with idle and absolute expiry. It refuses
//! to tell an unknown address from a wrong password, in words and in time.
use std::net::IpAddr;

use base64::Engine as _;

use crate::app::error::{Answer, AppError};
use crate::app::ids;
use crate::app::mill::Mill;
use crate::app::people::actor;
use crate::base::ids::{MemberId, SessionId};
use crate::base::secret::{Secret, sha256};
use crate::base::text::Email;
use crate::base::window::{Instant, Span};
use crate::domain::event::{Cause, Event};
use crate::domain::people::member::{Member, Session};
use crate::domain::people::refusal::PeopleRefusal;
use crate::domain::people::rights::Actor;
use crate::store::changes::Changes;
use crate::store::read::{Order, Read};
use crate::store::record::Key as _;
use crate::store::tables::Table;
use crate::store::{Command, View};

/// A session ends after so long without a request.
pub const IDLE: Span = Span::from_hours(24);
/// And after so long in any case.
pub const ABSOLUTE: Span = Span::from_days(30);
/// How exact `last_seen` is kept: a write per request would be waste.
const SEEN_EVERY: Span = Span::from_minutes(10);

/// Somebody who is signed in.
#[derive(Clone, Debug)]
pub struct SignedIn {
    pub member: Member,
    pub actor: Actor,
    pub session: Option<SessionId>,
    /// Bound to the session: forms carry it, and only this session's forms have it.
    pub form_token: String,
}

/// Checks address and password for whoever asks from `address`; counts failures.
pub async fn check_credentials(mill: &Mill, email: &str, password: Secret, address: Option<IpAddr>) -> Answer<Member> {
    let now = crate::clock::now();
    let account = email.trim().to_lowercase();
    mill.throttle.check(&account, address, now)?;
    let member: Option<Member> = match account.parse::<Email>() {
        Ok(email) => mill.store.read()?.via(Table::MembersByEmail, &email.as_str())?,
        Err(_) => None,
    };
    let usable = member.filter(|member| !member.disabled);
    let fits = mill.passwords.verify(password, usable.as_ref().map(|member| member.password.clone())).await?;
    match usable.filter(|_| fits) {
        Some(member) => {
            mill.throttle.succeeded(&account);
            Ok(member)
        }
        None => {
            mill.throttle.failed(&account, address, now);
            tracing::info!(address = ?address, "a sign-in failed");
            Err(PeopleRefusal::WrongCredentials.into())
        }
    }
}

/// Starts a session; the answer is the cookie's value, shown to nobody else.
pub async fn sign_in(
    mill: &Mill,
    email: &str,
    password: Secret,
    address: Option<IpAddr>,
    agent: &str,
) -> Answer<(Secret, MemberId)> {
    let member = check_credentials(mill, email, password, address).await?.id;
    Ok((open_session(mill, member, agent).await?, member))
}

/// A session for a member who has just proved to be it (signed in, set up, accepted an invitation).
pub async fn open_session(mill: &Mill, member: MemberId, agent: &str) -> Answer<Secret> {
    let secret = Secret::from_bytes(&ids::random_256());
    let id = SessionId::from_u128(ids::fresh());
    let token = secret.hash();
    let agent: String = agent.chars().filter(|c| !c.is_control()).take(200).collect();
    let decide = move |_: &View<'_>, now: Instant| {
        let session = Session {
            id,
            member,
            token,
            created: now,
            last_seen: now,
            expires: now.plus(ABSOLUTE),
            agent: agent.clone(),
        };
        let mut changes = Changes::new();
        changes.put(&session).index(Table::SessionsByMember, &(member, id), &id);
        changes.event(Cause::Member(member), Event::SignedIn { member });
        Ok((changes, ()))
    };
    // People must get in to read what is wrong.
    mill.store.write(Command::new(Cause::Member(member)).despite_breach(), decide).await?;
    Ok(Secret::new(format!("{id}.{}", secret.expose())))
}

/// Who a session cookie stands for.
pub async fn authenticate(mill: &Mill, cookie: &str, now: Instant) -> Answer<SignedIn> {
    let (id, secret) = parse(cookie)?;
    let (session, member, actor) = find(mill, id, &secret, now)?;
    if now.since(session.last_seen) >= SEEN_EVERY {
        touch(mill, id).await?;
    }
    Ok(SignedIn { member, actor, session: Some(id), form_token: form_token(&secret) })
}

fn find(mill: &Mill, id: SessionId, secret: &Secret, now: Instant) -> Answer<(Session, Member, Actor)> {
    let view = mill.store.read()?;
    let session: Session = view.get(&id)?.ok_or(PeopleRefusal::SignedOut)?;
    let live = now < session.expires && now.since(session.last_seen) < IDLE && session.token == secret.hash();
    let known = if live { actor::load(&view, session.member)? } else { None };
    let (member, actor) = known.ok_or(PeopleRefusal::SignedOut)?;
    Ok((session, member, actor))
}

async fn touch(mill: &Mill, id: SessionId) -> Answer<()> {
    let decide = move |view: &View<'_>, now: Instant| {
        let mut changes = Changes::new();
        if let Some(session) = view.get::<Session>(&id)? {
            changes.put(&Session { last_seen: now, ..session });
        }
        Ok((changes, ()))
    };
    match mill.store.write(Command::new(Cause::Mill), decide).await.map_err(AppError::from) {
        // A mill that cannot write still lets people read.
        Err(AppError::Store(problem)) => {
            tracing::debug!(%problem, "a session's last use was not written down");
            Ok(())
        }
        other => other,
    }
}

/// Ends one session.
pub async fn sign_out(mill: &Mill, signed_in: &SignedIn) -> Answer<()> {
    let Some(id) = signed_in.session else { return Ok(()) };
    let member = signed_in.member.id;
    let decide = move |_: &View<'_>, _| {
        let mut changes = Changes::new();
        changes.delete::<Session>(&id).unindex(Table::SessionsByMember, &(member, id));
        changes.event(Cause::Member(member), Event::SignedOut { member });
        Ok((changes, ()))
    };
    Ok(mill.store.write(Command::new(Cause::Member(member)), decide).await?)
}

/// Ends all sessions of a member but one.
pub async fn end_others(mill: &Mill, signed_in: &SignedIn) -> Answer<usize> {
    let (member, keep) = (signed_in.member.id, signed_in.session);
    let decide = move |view: &View<'_>, _| {
        let mut changes = Changes::new();
        let sessions: Vec<Session> =
            view.list_via(Table::SessionsByMember, &member.bytes(), Order::Ascending, 10_000)?;
        let others: Vec<_> = sessions.iter().filter(|session| Some(session.id) != keep).collect();
        for session in &others {
            changes.delete::<Session>(&session.id).unindex(Table::SessionsByMember, &(member, session.id));
        }
        changes.event(Cause::Member(member), Event::SignedOut { member });
        Ok((changes, others.len()))
    };
    Ok(mill.store.write(Command::new(Cause::Member(member)), decide).await?)
}

fn parse(cookie: &str) -> Result<(SessionId, Secret), PeopleRefusal> {
    let (id, secret) = cookie.split_once('.').ok_or(PeopleRefusal::SignedOut)?;
    let id = id.parse().map_err(|_| PeopleRefusal::SignedOut)?;
    Ok((id, Secret::new(secret)))
}

/// Derived from the cookie's secret, so that nothing more is stored and no other session's token fits.
fn form_token(secret: &Secret) -> String {
    let digest = sha256(format!("gristmill form {}", secret.expose()).as_bytes());
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest)
}
