//! The admin's settings: outgoing mail with a test button, and where backups and checks are made. It refuses to show the
//! mail password.
use askama::Template;
use rocket::http::{ContentType, Header};
use rocket::response::Redirect;
use rocket::tokio::fs::File;
use rocket::{Responder, State, get, post};

use crate::app::error::AppError;
use crate::app::fleet::authority;
use crate::app::mill::Mill;
use crate::app::outbox::{self, MailInput};
use crate::app::people::tokens;
use crate::app::upkeep;
use crate::base::ids::TokenId;
use crate::domain::notice::Common;
use crate::domain::people::installation::{Installation, Mode, SmtpSecurity};
use crate::web::error::PageError;
use crate::web::form::{Again, Posted};
use crate::web::guard::Admin;
use crate::web::page::{Flash, Html, Page, Place, Typed};
use crate::web::site::{self, Frame};
use crate::wire::api::money::VerifyAnswer;

#[derive(Template)]
#[template(path = "people/settings.html")]
pub struct SettingsPage {
    page: Page,
    form: Typed,
    installation: Installation,
    mode: &'static str,
    mail_on: bool,
    public_url: String,
    version: &'static str,
    data: String,
    /// Of the mill's own certificate authority.
    fingerprint: String,
    scrapers: Vec<ScrapeRow>,
    /// A token for the metrics, made just now: shown once.
    made: Option<String>,
}

/// A token that reads the metrics.
pub struct ScrapeRow {
    label: String,
    expires: String,
    revoke: String,
}

fn show(mill: &Mill, who: &Admin, form: Option<Typed>) -> Result<SettingsPage, PageError> {
    let Frame { page, installation, zone, now, .. } = site::frame(mill, &who.0, Place::Settings, "Settings")?;
    let form = form.unwrap_or_else(|| kept(&installation));
    let scrapers = tokens::scrape_tokens(&mill.store.read()?)?.into_iter().filter(|token| now < token.expires);
    let scrapers = scrapers.map(|token| ScrapeRow {
        label: if token.label.is_empty() { "unnamed".to_owned() } else { token.label },
        expires: zone.moment(token.expires, now),
        revoke: format!("/settings/scrape/{}/revoke", token.id),
    });
    Ok(SettingsPage {
        page,
        form,
        mode: match installation.mode {
            Mode::Showback => "showback: everything is priced, a balance refuses nobody",
            Mode::Chargeback => "chargeback: teams spend what they were granted or have paid",
        },
        mail_on: installation.smtp.is_some(),
        installation,
        public_url: mill.public_url.clone(),
        version: env!("CARGO_PKG_VERSION"),
        data: mill.data.display().to_string(),
        fingerprint: authority::root_fingerprint(&mill.store.read()?)?.unwrap_or_default(),
        scrapers: scrapers.collect(),
        made: None,
    })
}

fn kept(installation: &Installation) -> Typed {
    match &installation.smtp {
        Some(smtp) => Typed::default()
            .with("host", &smtp.host)
            .with("port", smtp.port.to_string())
            .with("user", smtp.user.clone().unwrap_or_default())
            .with("from", &smtp.from)
            .with(
                "security",
                match smtp.security {
                    SmtpSecurity::Tls => "tls",
                    SmtpSecurity::StartTls => "starttls",
                    SmtpSecurity::None => "none",
                },
            ),
        None => Typed::default().with("port", "587").with("security", "starttls"),
    }
}

#[get("/settings")]
pub fn page(who: Admin, mill: &State<Mill>) -> Result<Html<SettingsPage>, PageError> {
    show(mill, &who, None).map(Html)
}

fn input(posted: &Posted) -> Result<MailInput, Common> {
    let bad = |field, why: &str| Common::BadField { field, why: why.to_owned() };
    let from: crate::base::text::Email =
        posted.text("from").parse().map_err(|_| bad("from", "An address looks like mill@example.org"))?;
    let host = crate::base::text::line(posted.text("host"), 253).map_err(|why| bad("host", &why.to_string()))?;
    Ok(MailInput {
        host,
        port: posted.text("port").parse().map_err(|_| bad("port", "A port is a number up to 65535"))?,
        security: match posted.text("security") {
            "tls" => SmtpSecurity::Tls,
            "none" => SmtpSecurity::None,
            _ => SmtpSecurity::StartTls,
        },
        user: posted.given("user").map(str::to_owned),
        password: posted.given("password").map(|_| posted.secret("password")),
        from: from.to_string(),
    })
}

#[post("/settings/mail", data = "<posted>")]
pub async fn mail(who: Admin, mill: &State<Mill>, posted: Posted) -> Result<Html<SettingsPage>, Again<SettingsPage>> {
    let actor = &who.0.who.actor;
    let done = match posted.text("action") {
        "off" => outbox::set_mail(mill, actor, None)
            .await
            .map(|()| "Mail is off. Everything is still on the pages.".to_owned()),
        action => match input(&posted) {
            Err(bad) => Err(bad.into()),
            Ok(input) => match outbox::set_mail(mill, actor, Some(input)).await {
                Ok(()) if action == "test" => outbox::send_test(mill, actor)
                    .await
                    .map(|to| format!("Kept. The mail server took a test mail to {to}.")),
                other => other.map(|()| "The mail settings are kept.".to_owned()),
            },
        },
    };
    match done {
        Ok(said) => {
            let mut shown = show(mill, &who, None).map_err(Again::Page)?;
            shown.page.flash = Some(Flash::done(said));
            Ok(Html(shown))
        }
        Err(AppError::Refused(why)) => Err(Again::form(&why, show(mill, &who, Some(posted.refused(&why))))),
        Err(other) => Err(other.into()),
    }
}

/// Makes a token for the monitoring system.
#[post("/settings/scrape", data = "<posted>")]
pub async fn make_scrape(who: Admin, mill: &State<Mill>, posted: Posted) -> Result<Html<SettingsPage>, PageError> {
    let (secret, _) = tokens::make_scrape(mill, &who.0.who.actor, posted.text("label")).await?;
    let shown = show(mill, &who, None)?;
    Ok(Html(SettingsPage { made: Some(secret.expose().to_owned()), ..shown }))
}

#[post("/settings/scrape/<id>/revoke", data = "<_posted>")]
pub async fn end_scrape(who: Admin, mill: &State<Mill>, id: &str, _posted: Posted) -> Result<Redirect, PageError> {
    let id: TokenId = id.parse().map_err(|_| Common::NotFound { what: "token" })?;
    tokens::revoke_scrape(mill, &who.0.who.actor, id).await?;
    Ok(Redirect::to("/settings"))
}

#[derive(Template)]
#[template(path = "people/verify.html")]
pub struct VerifyPage {
    page: Page,
    found: VerifyAnswer,
    at: String,
}

#[post("/settings/verify", data = "<_posted>")]
pub async fn verify(who: Admin, mill: &State<Mill>, _posted: Posted) -> Result<Html<VerifyPage>, PageError> {
    let found = upkeep::verify(mill, &who.0.who.actor).await?;
    let Frame { page, zone, now, .. } = site::frame(mill, &who.0, Place::Settings, "Check of the books")?;
    let at = format!("{} ({})", zone.moment(now, now), zone.label(now));
    Ok(Html(VerifyPage { page, found, at }))
}

/// A backup as a download.
#[derive(Responder)]
pub struct Download {
    file: File,
    content_type: ContentType,
    disposition: Header<'static>,
}

#[post("/settings/backup", data = "<_posted>")]
pub async fn backup(who: Admin, mill: &State<Mill>, _posted: Posted) -> Result<Download, PageError> {
    let made = upkeep::backup(mill, &who.0.who.actor).await?;
    Ok(Download {
        file: File::from_std(made.file),
        content_type: ContentType::Binary,
        disposition: Header::new("content-disposition", format!("attachment; filename=\"{}\"", made.name)),
    })
}
