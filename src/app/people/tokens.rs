//! API tokens: what the command line signs in with. Shown once, stored hashed, expiring, ended from the account page. It
//! refuses to show one twice.
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
use crate::domain::people::member::{ApiToken, Member};
use crate::domain::people::refusal::PeopleRefusal;
use crate::store::changes::Changes;
use crate::store::read::{Order, Read};
use crate::store::record::Key as _;
use crate::store::tables::Table;
use crate::store::{Command, View};
use crate::wire::api::people::{LoginAnswer, LoginRequest};

/// A token works so long.
pub const VALID: Span = Span::from_days(90);
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
    let secret = Secret::from_bytes(&ids::random_256());
    let (id, hash) = (TokenId::from_u128(ids::fresh()), secret.hash());
    let label: String = label.chars().filter(|c| !c.is_control()).take(80).collect();
    let decide = move |_: &View<'_>, now: Instant| {
        let expires = now.plus(VALID);
        let token = ApiToken { id, member, label: label.clone(), token: hash, created: now, expires };
        let mut changes = Changes::new();
        changes.put(&token).index(Table::TokensByMember, &(member, id), &id);
        changes.event(Cause::Member(member), Event::TokenMade { member, token: id });
        Ok((changes, expires))
    };
    let expires = mill.store.write(Command::new(Cause::Member(member)), decide).await?;
    Ok((Secret::new(format!("{id}.{}", secret.expose())), expires))
}

/// Who a bearer token stands for.
pub fn authenticate(mill: &Mill, bearer: &str, now: Instant) -> Answer<SignedIn> {
    let (id, secret) = bearer.split_once('.').ok_or(PeopleRefusal::SignedOut)?;
    let id: TokenId = id.parse().map_err(|_| PeopleRefusal::SignedOut)?;
    let view = mill.store.read()?;
    let token: ApiToken = view.get(&id)?.ok_or(PeopleRefusal::SignedOut)?;
    if token.token != Secret::new(secret).hash() || now >= token.expires {
        return Err(PeopleRefusal::SignedOut.into());
    }
    let (member, actor) = actor::load(&view, token.member)?.ok_or(PeopleRefusal::SignedOut)?;
    Ok(SignedIn { member, actor, session: None, form_token: String::new() })
}

/// A member's tokens.
pub fn list(view: &impl Read, member: MemberId) -> Answer<Vec<ApiToken>> {
    Ok(view.list_via(Table::TokensByMember, &member.bytes(), Order::Descending, LIMIT)?)
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
