//! API tokens: what the command line signs in with. Shown once, stored hashed, expiring, ended from the account page. It
//! refuses to show one twice. A token for the metrics opens those and nothing else.
use crate::app::error::Answer;
use crate::app::ids;
use crate::app::mill::Mill;
use crate::app::people::signin::SignedIn;
use crate::app::people::{actor, signin};
use crate::base::ids::{MemberId, TokenId};
use crate::base::secret::Secret;
use crate::base::window::{Instant, Span};
use crate::domain::event::{Cause, Event};
use crate::domain::notice::Common;
use crate::domain::people::member::{ApiToken, Member, Scope};
use crate::domain::people::refusal::PeopleRefusal;
use crate::domain::people::rights::Actor;
use crate::store::changes::Changes;
use crate::store::read::{Order, Read};
use crate::store::record::Key as _;
use crate::store::tables::Table;
use crate::store::{Command, View};
use crate::wire::api::people::{LoginAnswer, LoginRequest};

/// A token works so long.
pub const VALID: Span = Span::from_days(90);
/// One for the metrics works so long: it opens little, and its end silences a monitoring.
pub const SCRAPE_VALID: Span = Span::from_days(365);
const LIMIT: usize = 1000;

/// Signs in for a token.
pub async fn login(mill: &Mill, request: LoginRequest, address: Option<std::net::IpAddr>) -> Answer<LoginAnswer> {
    let member = signin::check_credentials(mill, &request.email, Secret::new(request.password), address).await?;
    let label = request.label.unwrap_or_default();
    let (token, expires) = make(mill, member.id, &label).await?;
    let member = actor::view_of(&mill.store.read()?, &member)?;
    Ok(LoginAnswer { token: token.expose().to_owned(), expires: expires.into(), member })
}

/// Makes a token for a member.
pub async fn make(mill: &Mill, member: MemberId, label: &str) -> Answer<(Secret, Instant)> {
    make_for(mill, member, label, Scope::Everything).await
}

/// Makes a token that reads the metrics. Admins alone.
pub async fn make_scrape(mill: &Mill, who: &Actor, label: &str) -> Answer<(Secret, Instant)> {
    admins_only(who)?;
    make_for(mill, who.member, label, Scope::Scrape).await
}

fn admins_only(who: &Actor) -> Answer<()> {
    if who.admin {
        Ok(())
    } else {
        Err(PeopleRefusal::Denied { what: "manage tokens for the metrics", who_may: "admins" }.into())
    }
}

async fn make_for(mill: &Mill, member: MemberId, label: &str, scope: Scope) -> Answer<(Secret, Instant)> {
    let secret = Secret::from_bytes(&ids::random_256());
    let (id, hash) = (TokenId::from_u128(ids::fresh()), secret.hash());
    let label: String = label.chars().filter(|c| !c.is_control()).take(80).collect();
    let decide = move |_: &View<'_>, now: Instant| {
        let expires = now.plus(match scope {
            Scope::Everything => VALID,
            Scope::Scrape => SCRAPE_VALID,
        });
        let token = ApiToken { id, member, label: label.clone(), token: hash, created: now, expires, scope };
        let mut changes = Changes::new();
        changes.put(&token).index(Table::TokensByMember, &(member, id), &id);
        changes.event(Cause::Member(member), Event::TokenMade { member, token: id });
        Ok((changes, expires))
    };
    let expires = mill.store.write(Command::new(Cause::Member(member)), decide).await?;
    Ok((Secret::new(format!("{id}.{}", secret.expose())), expires))
}

/// Who a bearer token stands for. One for the metrics stands for nobody.
pub fn authenticate(mill: &Mill, bearer: &str, now: Instant) -> Answer<SignedIn> {
    let (member, actor) = known(mill, bearer, Scope::Everything, now)?;
    Ok(SignedIn { member, actor, session: None, form_token: String::new() })
}

/// Whose token reads the metrics. Its maker must still be an admin.
pub fn scraper(mill: &Mill, bearer: &str, now: Instant) -> Answer<Actor> {
    let (_, actor) = known(mill, bearer, Scope::Scrape, now)?;
    if actor.admin { Ok(actor) } else { Err(PeopleRefusal::SignedOut.into()) }
}

fn known(mill: &Mill, bearer: &str, scope: Scope, now: Instant) -> Answer<(Member, Actor)> {
    let (id, secret) = bearer.split_once('.').ok_or(PeopleRefusal::SignedOut)?;
    let id: TokenId = id.parse().map_err(|_| PeopleRefusal::SignedOut)?;
    let view = mill.store.read()?;
    let token: ApiToken = view.get(&id)?.ok_or(PeopleRefusal::SignedOut)?;
    if token.token != Secret::new(secret).hash() || now >= token.expires || token.scope != scope {
        return Err(PeopleRefusal::SignedOut.into());
    }
    Ok(actor::load(&view, token.member)?.ok_or(PeopleRefusal::SignedOut)?)
}

/// A member's tokens.
pub fn list(view: &impl Read, member: MemberId) -> Answer<Vec<ApiToken>> {
    Ok(view.list_via(Table::TokensByMember, &member.bytes(), Order::Descending, LIMIT)?)
}

/// Everybody's tokens that read the metrics, the newest first.
pub fn scrape_tokens(view: &impl Read) -> Answer<Vec<ApiToken>> {
    let all: Vec<ApiToken> = view.list(&[], Order::Descending, usize::MAX)?;
    Ok(all.into_iter().filter(|token| token.scope == Scope::Scrape).take(LIMIT).collect())
}

/// Ends a token that reads the metrics, whoever made it. Admins alone.
pub async fn revoke_scrape(mill: &Mill, who: &Actor, id: TokenId) -> Answer<()> {
    admins_only(who)?;
    let by = who.member;
    let decide = move |view: &View<'_>, _| {
        let found: Option<ApiToken> = view.get(&id)?;
        let token = found.filter(|token| token.scope == Scope::Scrape).ok_or(Common::NotFound { what: "token" })?;
        let mut changes = Changes::new();
        changes.delete::<ApiToken>(&id).unindex(Table::TokensByMember, &(token.member, id));
        changes.event(Cause::Member(by), Event::TokenRevoked { member: token.member, token: id });
        Ok((changes, ()))
    };
    Ok(mill.store.write(Command::new(Cause::Member(by)), decide).await?)
}

/// Ends a token at once.
pub async fn revoke(mill: &Mill, member: MemberId, id: TokenId) -> Answer<()> {
    let decide = move |view: &View<'_>, _| {
        let found: Option<ApiToken> = view.get(&id)?;
        found.filter(|token| token.member == member).ok_or(Common::NotFound { what: "token" })?;
        let mut changes = Changes::new();
        changes.delete::<ApiToken>(&id).unindex(Table::TokensByMember, &(member, id));
        changes.event(Cause::Member(member), Event::TokenRevoked { member, token: id });
        Ok((changes, ()))
    };
    Ok(mill.store.write(Command::new(Cause::Member(member)), decide).await?)
}

/// Changes the password and ends all other sessions.
pub async fn change_password(mill: &Mill, who: &SignedIn, old: Secret, new: Secret) -> Answer<()> {
    let address = None;
    signin::check_credentials(mill, who.member.email.as_str(), old, address).await?;
    let hashed = mill.passwords.hash(new).await?;
    let id = who.member.id;
    let decide = move |view: &View<'_>, _| {
        let member: Member = view.must(&id)?;
        let mut changes = Changes::new();
        changes.put(&Member { password: hashed.clone(), ..member });
        changes.event(Cause::Member(id), Event::PasswordChanged { member: id });
        Ok((changes, ()))
    };
    mill.store.write(Command::new(Cause::Member(id)), decide).await?;
    signin::end_others(mill, who).await?;
    Ok(())
}
