//! The member's own account: password, sessions, API tokens. It refuses to show anybody else's.
use askama::Template;
use rocket::response::Redirect;
use rocket::{State, get, post};

use crate::app::error::AppError;
use crate::app::fleet::authority;
use crate::app::mill::Mill;
use crate::app::people::{signin, tokens};
use crate::base::ids::TokenId;
use crate::domain::notice::Common;
use crate::domain::people::member::{Scope, Session};
use crate::store::record::Key as _;
use crate::store::tables::Table;
use crate::store::{Order, Read};
use crate::web::error::PageError;
use crate::web::form::{Again, Posted};
use crate::web::guard::SignedIn;
use crate::web::page::{Flash, Html, Page, Place, Typed};
use crate::web::site::{self, Frame};

#[derive(Template)]
#[template(path = "people/account.html")]
pub struct AccountPage {
    page: Page,
    form: Typed,
    name: String,
    email: String,
    teams: String,
    sessions: Vec<SessionRow>,
    tokens: Vec<TokenRow>,
    /// Made just now: shown once.
    made: Option<String>,
    /// How the command line signs in.
    login: String,
}

pub struct SessionRow {
    agent: String,
    since: String,
    seen: String,
    this: bool,
}

pub struct TokenRow {
    label: String,
    expires: String,
    revoke: String,
}

/// The command to sign in with; over TLS it names the authority that this mill may have signed its own address with.
fn login(mill: &Mill, who: &SignedIn) -> Result<String, PageError> {
    let (url, email) = (&mill.public_url, &who.who.member.email);
    let pinned = if who.visit.https { authority::root_fingerprint(&mill.store.read()?)? } else { None };
    let pinned = pinned.map(|fingerprint| format!(" --ca-fingerprint {fingerprint}")).unwrap_or_default();
    Ok(format!("gristmill login {url} --email {email} --password-stdin{pinned}"))
}

fn show(mill: &Mill, who: &SignedIn, form: Typed, made: Option<String>) -> Result<AccountPage, PageError> {
    let Frame { page, zone, now, .. } = site::frame(mill, who, Place::Account, "Account")?;
    let view = mill.store.read()?;
    let member = &who.who.member;
    let shown = crate::app::people::actor::view_of(&view, member)?;
    let sessions: Vec<Session> = view.list_via(Table::SessionsByMember, &member.id.bytes(), Order::Descending, 100)?;
    let sessions =
        sessions.into_iter().filter(|s| now < s.expires && now.since(s.last_seen) < signin::IDLE).map(|s| SessionRow {
            this: who.who.session == Some(s.id),
            agent: if s.agent.is_empty() { "unnamed".to_owned() } else { s.agent },
            since: zone.moment(s.created, now),
            seen: zone.moment(s.last_seen, now),
        });
    let tokens = tokens::list(&view, member.id)?
        .into_iter()
        .filter(|token| now < token.expires && token.scope == Scope::Everything)
        .map(|token| TokenRow {
            label: if token.label.is_empty() { "unnamed".to_owned() } else { token.label },
            expires: zone.moment(token.expires, now),
            revoke: format!("/account/tokens/{}/revoke", token.id),
        });
    Ok(AccountPage {
        login: login(mill, who)?,
        form,
        name: shown.name,
        email: shown.email,
        teams: shown.teams.iter().map(|t| format!("{} ({})", t.name, t.role)).collect::<Vec<_>>().join(", "),
        sessions: sessions.collect(),
        tokens: tokens.collect(),
        made,
        page,
    })
}

#[get("/account")]
pub fn page(who: SignedIn, mill: &State<Mill>) -> Result<Html<AccountPage>, PageError> {
    show(mill, &who, Typed::default(), None).map(Html)
}

#[post("/account/password", data = "<posted>")]
pub async fn password(
    who: SignedIn,
    mill: &State<Mill>,
    posted: Posted,
) -> Result<Html<AccountPage>, Again<AccountPage>> {
    match tokens::change_password(mill, &who.who, posted.secret("old_password"), posted.secret("password")).await {
        Ok(()) => {
            let mut shown = show(mill, &who, Typed::default(), None).map_err(Again::Page)?;
            shown.page.flash = Some(Flash::done("The password is changed. All other sessions were ended."));
            Ok(Html(shown))
        }
        Err(AppError::Refused(why)) => Err(Again::form(&why, show(mill, &who, posted.refused(&why), None))),
        Err(other) => Err(other.into()),
    }
}

#[post("/account/tokens", data = "<posted>")]
pub async fn make_token(who: SignedIn, mill: &State<Mill>, posted: Posted) -> Result<Html<AccountPage>, PageError> {
    let (secret, _) = tokens::make(mill, who.who.member.id, posted.text("label")).await?;
    show(mill, &who, Typed::default(), Some(secret.expose().to_owned())).map(Html)
}

#[post("/account/tokens/<id>/revoke", data = "<_posted>")]
pub async fn revoke(who: SignedIn, mill: &State<Mill>, id: &str, _posted: Posted) -> Result<Redirect, PageError> {
    let id: TokenId = id.parse().map_err(|_| Common::NotFound { what: "token" })?;
    tokens::revoke(mill, who.who.member.id, id).await?;
    Ok(Redirect::to("/account"))
}

#[post("/account/sessions/end", data = "<_posted>")]
pub async fn end_others(who: SignedIn, mill: &State<Mill>, _posted: Posted) -> Result<Redirect, PageError> {
    signin::end_others(mill, &who.who).await?;
    Ok(Redirect::to("/account"))
}
