//! The last step of a mail: over SMTP to the organisation's relay, encrypted unless the relay is this machine. It refuses
//! to retry and to pool connections: the caller keeps the mail and knows from the error what to do with it.
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use super::Mail;
use super::letter::Line;
use crate::base::secret::Secret;
use crate::base::text::Email;
use crate::base::window::Instant;
use crate::domain::people::installation::SmtpSecurity;

/// How long a relay may take for one answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Answers that refuse the mill and not this one mail: authentication and encryption wanted, failed or too weak.
const ABOUT_THE_MILL: [u16; 4] = [530, 534, 535, 538];

/// The organisation's mail relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub host: String,
    pub port: u16,
    /// `None` is accepted for a loopback address alone.
    pub security: SmtpSecurity,
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// Such as `Gristmill <gpu@institute.example>`.
    pub from: String,
}

/// Who gets a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    pub name: Line,
    pub address: Email,
}

/// Why a mail was not handed over.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// This mail will never be accepted: give it up and tell somebody.
    #[error("the mail was refused for good: {cause}")]
    Permanent { cause: String },
    /// Trying again later, with the same id, may succeed. The relay may already have it.
    #[error("the mail could not be handed over now and will be tried again: {cause}")]
    Transient { cause: String },
    /// No mail can be sent until an admin changes the mail settings; this one stays queued.
    #[error("no mail can be sent with the present mail settings: {cause}")]
    Settings { cause: String },
}

impl MailError {
    /// Whether trying this mail again is pointless.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Permanent { .. })
    }
}

impl From<askama::Error> for MailError {
    fn from(error: askama::Error) -> Self {
        Self::Permanent { cause: format!("it could not be written ({error})") }
    }
}

/// Hands one mail to the relay. `message_id` (letters, digits, `-`, `.`, `_`) names the mail for good: sending it again
/// after an unclear end repeats the same Message-ID, so that the reader's system can drop the copy. `now` dates it.
pub async fn send(
    settings: &Settings,
    recipient: &Recipient,
    mail: &Mail,
    message_id: &str,
    now: Instant,
) -> Result<(), MailError> {
    let message = message(settings, recipient, mail, message_id, now)?;
    let transport = transport(settings)?;
    match transport.send(message).await {
        Ok(_) => Ok(()),
        Err(error) => Err(judged(&error)),
    }
}

fn judged(error: &lettre::transport::smtp::Error) -> MailError {
    let cause = error.to_string();
    let code = error.status().map(u16::from);
    // The client's own complaints are about what the relay offers: no STARTTLS, no usable login.
    if error.is_tls() || error.is_client() || code.is_some_and(|code| ABOUT_THE_MILL.contains(&code)) {
        return MailError::Settings { cause };
    }
    if error.is_permanent() { MailError::Permanent { cause } } else { MailError::Transient { cause } }
}

fn message(
    settings: &Settings,
    recipient: &Recipient,
    mail: &Mail,
    message_id: &str,
    now: Instant,
) -> Result<Message, MailError> {
    let wrong = |cause: String| MailError::Permanent { cause };
    let from = sender(settings)?;
    let usable = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if message_id.is_empty() || !message_id.chars().all(usable) {
        return Err(wrong("its id has characters that a header cannot carry".to_owned()));
    }
    let address: Address =
        recipient.address.as_str().parse().map_err(|_| wrong(format!("{} is no mail address", recipient.address)))?;
    let name = Some(recipient.name.to_string()).filter(|name| !name.is_empty());
    let id = format!("<{message_id}@{}>", from.email.domain());
    let written = UNIX_EPOCH + Duration::from_millis(u64::try_from(now.as_millis()).unwrap_or_default());
    Message::builder()
        .from(from)
        .to(Mailbox::new(name, address))
        .subject(Line::from(&mail.subject).to_string())
        .message_id(Some(id))
        .date(written)
        // Keeps out-of-office answers away (RFC 3834).
        .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()))
        .multipart(MultiPart::alternative_plain_html(mail.text.clone(), mail.html.clone()))
        .map_err(|error| wrong(format!("it could not be put together ({error})")))
}

fn sender(settings: &Settings) -> Result<Mailbox, MailError> {
    let wrong = || MailError::Settings {
        cause: format!(
            "{:?} is no sender; write gpu@institute.example or Gristmill <gpu@institute.example>",
            settings.from
        ),
    };
    if settings.from.chars().any(char::is_control) {
        return Err(wrong());
    }
    settings.from.trim().parse().map_err(|_| wrong())
}

fn transport(settings: &Settings) -> Result<AsyncSmtpTransport<Tokio1Executor>, MailError> {
    let host = settings.host.trim();
    let wrong = |cause: String| MailError::Settings { cause };
    if host.is_empty() {
        return Err(wrong("no relay is named; set the host of your organisation's mail relay".to_owned()));
    }
    let keys =
        || TlsParameters::new(host.to_owned()).map_err(|error| wrong(format!("no encryption to {host}: {error}")));
    let tls = match settings.security {
        SmtpSecurity::Tls => Tls::Wrapper(keys()?),
        SmtpSecurity::StartTls => Tls::Required(keys()?),
        SmtpSecurity::None if is_loopback(host) => Tls::None,
        SmtpSecurity::None => {
            let cause = format!("{host} is another machine and mail to it must be encrypted; choose TLS or STARTTLS");
            return Err(wrong(cause));
        }
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host).port(settings.port).tls(tls);
    if let Some(user) = settings.user.as_ref().filter(|user| !user.is_empty()) {
        let password = settings.password.as_ref().map(Secret::expose).unwrap_or_default();
        builder = builder.credentials(Credentials::new(user.clone(), password.to_owned()));
    }
    Ok(builder.timeout(Some(PATIENCE)).build())
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
