//! Sends what was queued in a transaction, after its commit, again and again until it is gone or hopeless. It refuses to
//! lose a mail to a restart and to send one twice on purpose: its Message-ID stays the same over all tries.
use tokio::sync::broadcast::error::RecvError;

use crate::app::error::{Answer, AppError};
use crate::app::mail;
use crate::app::mail::letter::{self, Letter};
use crate::app::mill::Mill;
use crate::app::people::notices::{self, QueuedMail};
use crate::app::people::{actor, setup};
use crate::app::trust::seal::Sealed;
use crate::base::secret::Secret;
use crate::base::window::{Instant, Span};
use crate::domain::event::{Cause, Event, Recorded};
use crate::domain::notice::Common;
use crate::domain::people::installation::{Installation, Smtp, SmtpSecurity};
use crate::domain::people::refusal::PeopleRefusal;
use crate::domain::people::rights::Actor;
use crate::store::changes::Changes;
use crate::store::events::Subscription;
use crate::store::people::OutboxMail;
use crate::store::read::{Order, Read as _};
use crate::store::{Command, View};

/// Looks at least so often.
const EVERY: std::time::Duration = std::time::Duration::from_secs(30);
/// Given up after so many tries, about three days with the waits below.
const MOST_ATTEMPTS: u32 = 16;
/// Sent in one round.
const BATCH: usize = 50;
/// Looked at for what is due: those that wait for a later try must not stand before the others.
const REACH: usize = 1000;
/// What the mail server's password is sealed for.
const SMTP_PURPOSE: &str = "smtp password";

/// Sends for as long as the mill runs: when somebody was told something, when woken, and every now and then.
pub async fn run(mill: Mill) {
    let mut commits = mill.store.subscribe();
    loop {
        match deliver(&mill).await {
            // There may be more than fit one round.
            Ok(sent) if sent > 0 => continue,
            Ok(_) => {}
            Err(problem) => tracing::warn!(%problem, "mails wait: the outbox could not be worked off"),
        }
        tokio::select! {
            () = mill.outbox.notified() => {}
            () = told(&mut commits) => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Until somebody is told something.
async fn told(commits: &mut Subscription) {
    let tells = |recorded: &Recorded| matches!(recorded.event, Event::NoticeSent { .. });
    loop {
        match commits.recv().await {
            Ok(commit) if !commit.events.iter().any(tells) => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Tries every mail that is due, once.
pub async fn deliver(mill: &Mill) -> Answer<u32> {
    let now = crate::clock::now();
    let (smtp, due) = {
        let view = mill.store.read()?;
        let Some(smtp) = setup::installation(&view)?.and_then(|installed| installed.smtp) else { return Ok(0) };
        let waiting = view.list::<OutboxMail>(&[], Order::Ascending, REACH)?;
        (smtp, waiting.into_iter().filter(|mail| mail.not_before <= now).take(BATCH))
    };
    let settings = transport(mill, &smtp)?;
    let mut sent = 0;
    for waiting in due {
        let json = open(mill, notices::PURPOSE, &waiting.sealed)?;
        let queued: QueuedMail = serde_json::from_slice(&json).map_err(|e| AppError::outside("reading a mail", e))?;
        let recipient = mail::Recipient { name: queued.name.into(), address: waiting.to.clone() };
        let rendered = mail::Mail { subject: queued.subject, text: queued.text, html: queued.html };
        let outcome = mail::send(&settings, &recipient, &rendered, &waiting.id.to_string(), now).await;
        let keep = match outcome {
            Ok(()) => {
                sent += 1;
                None
            }
            // Wrong settings are no mail's fault: it waits until an admin has mended them.
            Err(problem @ mail::MailError::Settings { .. }) => {
                tracing::warn!(%problem, "mails wait");
                return Ok(sent);
            }
            Err(problem) => {
                tracing::warn!(%problem, mail = %waiting.id, "a mail was not sent");
                (!problem.is_final() && waiting.attempts + 1 < MOST_ATTEMPTS).then(|| later(waiting.clone(), now))
            }
        };
        resolve(mill, waiting, keep).await?;
    }
    Ok(sent)
}

fn later(waiting: OutboxMail, now: Instant) -> OutboxMail {
    let attempts = waiting.attempts + 1;
    let wait = Span::from_seconds((30_i64 << attempts.min(10)).min(6 * 3600));
    OutboxMail { attempts, not_before: now.plus(wait), ..waiting }
}

async fn resolve(mill: &Mill, waiting: OutboxMail, keep: Option<OutboxMail>) -> Answer<()> {
    let decide = move |_: &View<'_>, _| {
        let mut changes = Changes::new();
        match &keep {
            Some(mail) => changes.put(mail),
            None => changes.delete::<OutboxMail>(&waiting.id),
        };
        Ok((changes, ()))
    };
    // What was sent must not be sent again, whatever else is closed.
    Ok(mill.store.write(Command::new(Cause::Mill).despite_breach(), decide).await?)
}

fn open(mill: &Mill, purpose: &str, sealed: &str) -> Answer<Vec<u8>> {
    let sealed = Sealed::try_from(sealed.to_owned()).map_err(|e| AppError::outside("opening a sealed secret", e))?;
    mill.seal.open(purpose, &sealed).map_err(|e| AppError::outside("opening a sealed secret", e))
}

fn transport(mill: &Mill, smtp: &Smtp) -> Answer<mail::Settings> {
    let password = match &smtp.sealed_password {
        Some(sealed) => Some(Secret::new(String::from_utf8_lossy(&open(mill, SMTP_PURPOSE, sealed)?))),
        None => None,
    };
    Ok(mail::Settings {
        host: smtp.host.clone(),
        port: smtp.port,
        security: smtp.security,
        user: smtp.user.clone(),
        password,
        from: smtp.from.clone(),
    })
}

/// Outgoing mail as an admin enters it. No password keeps the one that is stored.
#[derive(Clone, Debug)]
pub struct MailInput {
    pub host: String,
    pub port: u16,
    pub security: SmtpSecurity,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub from: String,
}

/// Sets outgoing mail up; `None` turns it off. Admins only.
pub async fn set_mail(mill: &Mill, who: &Actor, input: Option<MailInput>) -> Answer<()> {
    if !who.admin {
        return Err(PeopleRefusal::Denied { what: "change how mail is sent", who_may: "admins" }.into());
    }
    let cause = Cause::Member(who.member);
    let password = input.as_ref().and_then(|input| input.password.as_ref());
    let sealed = password.map(|password| mill.seal.seal(SMTP_PURPOSE, password.expose().as_bytes()));
    let sealed = sealed.transpose().map_err(|e| AppError::outside("sealing the mail password", e))?.map(String::from);
    let decide = move |view: &View<'_>, _| {
        let installed = setup::installation(view)?.ok_or(PeopleRefusal::NotSetUp)?;
        let before = installed.smtp.as_ref().and_then(|smtp| smtp.sealed_password.clone());
        let smtp = input.clone().map(|input| Smtp {
            host: input.host,
            port: input.port,
            security: input.security,
            user: input.user,
            sealed_password: sealed.clone().or(before),
            from: input.from,
        });
        let mut changes = Changes::new();
        changes.put(&Installation { smtp, ..installed });
        changes.event(cause, Event::SettingsChanged { what: "mail".to_owned() });
        Ok((changes, ()))
    };
    mill.store.write(Command::new(cause), decide).await?;
    mill.outbox.notify_one();
    Ok(())
}

/// Sends a test mail to the admin who asks, at once, and says what the server answered.
pub async fn send_test(mill: &Mill, who: &Actor) -> Answer<String> {
    if !who.admin {
        return Err(PeopleRefusal::Denied { what: "send a test mail", who_may: "admins" }.into());
    }
    let (installed, member) = {
        let view = mill.store.read()?;
        let installed = setup::installation(&view)?.ok_or(PeopleRefusal::NotSetUp)?;
        (installed, actor::load(&view, who.member)?.ok_or(PeopleRefusal::SignedOut)?.0)
    };
    let Some(smtp) = &installed.smtp else {
        let why = "Mail is not set up yet: fill in the mail server first".to_owned();
        return Err(Common::BadField { field: "host", why }.into());
    };
    let house = mail::House {
        organisation: (&installed.organisation.as_str()).into(),
        public_url: mill.public_url.clone(),
        simulated: installed.simulated(),
    };
    let letter = Letter::Test(letter::Test { asked_by: member.name.as_str().into(), path: "/settings".to_owned() });
    let rendered = mail::render(&letter, &house).map_err(|e| AppError::outside("writing the test mail", e))?;
    let recipient = mail::Recipient { name: member.name.as_str().into(), address: member.email.clone() };
    let id = format!("test-{}", crate::app::ids::fresh());
    match mail::send(&transport(mill, smtp)?, &recipient, &rendered, &id, crate::clock::now()).await {
        Ok(()) => Ok(member.email.to_string()),
        Err(problem) => {
            let why = problem.to_string();
            Err(Common::BadField { field: "host", why: format!("The mail server did not take it ({why})") }.into())
        }
    }
}
