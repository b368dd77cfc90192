//! Telling people: a notice on the page always, and a mail beside it where mail is set up; both are written in the
//! transaction of what they tell. It refuses to send anything itself; the outbox does, after the commit.
use serde::{Deserialize, Serialize};

use crate::app::error::Answer;
use crate::app::ids;
use crate::app::mail;
use crate::app::mail::letter::{Letter, Problem};
use crate::app::mill::Mill;
use crate::app::people::setup;
use crate::app::trust::seal::Seal;
use crate::base::ids::{MemberId, NoticeId};
use crate::base::text::Email;
use crate::base::window::Instant;
use crate::domain::event::{Cause, Event};
use crate::domain::notice::Sentence;
use crate::domain::people::member::{Member, Notice};
use crate::store::changes::Changes;
use crate::store::people::OutboxMail;
use crate::store::read::{Order, Read, StoreError};
use crate::store::record::Key as _;
use crate::store::{Command, Reject, View};

/// Notices kept on the page; older ones stay in the store.
const SHOWN: usize = 100;

/// What to tell one member.
#[derive(Clone, Debug)]
pub struct Telling {
    pub member: MemberId,
    pub subject: String,
    pub text: String,
    /// Path on this server.
    pub link: Option<String>,
    /// How the mail says it; without one it says what the notice says.
    pub letter: Option<Letter>,
}

/// What is needed to queue a mail.
#[derive(Clone, Copy)]
pub struct Post<'a> {
    pub seal: &'a Seal,
    /// Makes the mail's links absolute.
    pub public_url: &'a str,
}

impl Mill {
    /// What is needed to queue a mail.
    pub fn post(&self) -> Post<'_> {
        Post { seal: &self.seal, public_url: &self.public_url }
    }
}

/// Writes a notice, and a mail where mail is set up.
pub fn tell(
    view: &impl Read,
    changes: &mut Changes,
    post: Post<'_>,
    telling: Telling,
    now: Instant,
) -> Result<(), Reject> {
    write(view, changes, post, telling, (now, false))
}

/// The same for what the reader has just done: the notice does not count as new.
pub fn note(
    view: &impl Read,
    changes: &mut Changes,
    post: Post<'_>,
    telling: Telling,
    now: Instant,
) -> Result<(), Reject> {
    write(view, changes, post, telling, (now, true))
}

fn write(
    view: &impl Read,
    changes: &mut Changes,
    post: Post<'_>,
    telling: Telling,
    (now, read): (Instant, bool),
) -> Result<(), Reject> {
    let id = NoticeId::from_u128(ids::fresh());
    let member: Member = view.must(&telling.member)?;
    let Telling { subject, text, link, letter, .. } = telling;
    let letter = letter.unwrap_or_else(|| {
        let said = Sentence::new(text.clone(), "", "");
        Letter::Problem(Problem::new(&subject, &said, link.clone().unwrap_or_else(|| "/notices".to_owned())))
    });
    queue(view, changes, post, id, (member.name.as_str(), &member.email), &letter)?;
    changes.put(&Notice { id, member: member.id, at: now, subject, text, link, read });
    changes.event(Cause::Mill, Event::NoticeSent { notice: id, member: member.id });
    Ok(())
}

/// Queues a mail to one address; `false` where mail is not set up, and whatever it says has to be passed on otherwise.
pub fn queue(
    view: &impl Read,
    changes: &mut Changes,
    post: Post<'_>,
    id: NoticeId,
    to: (&str, &Email),
    letter: &Letter,
) -> Result<bool, Reject> {
    let Some(installed) = setup::installation(view)?.filter(|installed| installed.smtp.is_some()) else {
        return Ok(false);
    };
    let house = mail::House {
        organisation: (&installed.organisation.as_str()).into(),
        public_url: post.public_url.to_owned(),
        simulated: installed.simulated(),
    };
    let Ok(rendered) = mail::render(letter, &house) else { return Ok(false) };
    let queued =
        QueuedMail { name: to.0.to_owned(), subject: rendered.subject, text: rendered.text, html: rendered.html };
    let json = serde_json::to_vec(&queued).expect("a mail is plain text and always serialises");
    // A queued mail may hold a one-time link: it lies sealed until it is sent.
    let Ok(sealed) = post.seal.seal(PURPOSE, &json) else { return Ok(false) };
    let not_before = Instant::from_millis(0);
    changes.put(&OutboxMail { id, to: to.1.clone(), sealed: sealed.into(), attempts: 0, not_before });
    Ok(true)
}

/// What queued mails are sealed for.
pub const PURPOSE: &str = "queued mail";

/// A mail as it waits, before sealing.
#[derive(Debug, Serialize, Deserialize)]
pub struct QueuedMail {
    pub name: String,
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// A member's notices, newest first.
pub fn list(view: &impl Read, member: MemberId) -> Result<Vec<Notice>, StoreError> {
    view.list(&member.bytes(), Order::Descending, SHOWN)
}

/// How many of them are unread.
pub fn unread(view: &impl Read, member: MemberId) -> Result<usize, StoreError> {
    Ok(list(view, member)?.iter().filter(|notice| !notice.read).count())
}

/// Marks all of a member's notices as read.
pub async fn mark_read(mill: &Mill, member: MemberId) -> Answer<()> {
    let decide = move |view: &View<'_>, _| {
        let mut changes = Changes::new();
        for notice in list(view, member)?.into_iter().filter(|notice| !notice.read) {
            changes.put(&Notice { read: true, ..notice });
        }
        Ok((changes, ()))
    };
    Ok(mill.store.write(Command::new(Cause::Member(member)), decide).await?)
}
