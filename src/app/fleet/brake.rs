//! The brake against mass loss: where many nodes vanish at once, the fault lies between them and the mill, and nothing is
//! ended or given up for want of their word until they are back or an admin says so. It refuses to hold back what nodes
//! do by themselves: leases end at their time.
use super::manage::admins_only;
use crate::app::error::Answer;
use crate::app::mill::Mill;
use crate::app::people::notices::{self, Telling};
use crate::base::window::Instant;
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::duty::Brake;
use crate::domain::people::member::Member;
use crate::domain::people::rights::Actor;
use crate::store::changes::Changes;
use crate::store::command::{Command, Reject};
use crate::store::fleet::BRAKE;
use crate::store::read::{Order, Read, StoreError};
use crate::store::view::View;

/// The brake, while it is on.
pub fn engaged(view: &impl Read) -> Result<Option<Brake>, StoreError> {
    view.get::<Brake>(&BRAKE)
}

/// Puts it on and tells the admins; nothing when it is on already.
pub async fn pull(mill: &Mill, lost: usize, nodes: usize) -> Answer<()> {
    let speaking = mill.clone();
    let decide = move |view: &View<'_>, now: Instant| {
        let mut changes = Changes::new();
        if engaged(view)?.is_some() {
            return Ok((changes, ()));
        }
        changes.put(&Brake { since: now, lost, nodes });
        changes.event(Cause::Mill, Event::BrakePulled { lost, nodes });
        let subject = format!("{lost} of {nodes} nodes were lost at once");
        let text = "The mill holds back: bookings are neither ended nor given up for want of their nodes’ word. Look at the \
                    network between the mill and its nodes. It goes on by itself when they are back, or when an admin says \
                    so on the nodes page.";
        tell_admins(&speaking, view, &mut changes, &subject, text, now)?;
        Ok((changes, ()))
    };
    Ok(mill.store.write(Command::new(Cause::Mill), decide).await?)
}

/// An admin says that the nodes are really gone: their bookings are dealt with as usual.
pub async fn release(mill: &Mill, who: &Actor) -> Answer<()> {
    admins_only(who, "release the brake")?;
    lift(mill, Cause::Member(who.member)).await
}

/// Takes it off; nothing when it is not on.
pub(super) async fn lift(mill: &Mill, cause: Cause) -> Answer<()> {
    let decide = move |view: &View<'_>, _: Instant| {
        let mut changes = Changes::new();
        if engaged(view)?.is_some() {
            changes.delete::<Brake>(&BRAKE);
            changes.event(cause, Event::BrakeReleased);
        }
        Ok((changes, ()))
    };
    Ok(mill.store.write(Command::new(cause), decide).await?)
}

/// Tells every admin, on the page and by mail.
pub(super) fn tell_admins(
    mill: &Mill,
    view: &View<'_>,
    changes: &mut Changes,
    subject: &str,
    text: &str,
    now: Instant,
) -> Result<(), Reject> {
    let members: Vec<Member> = view.list(&[], Order::Ascending, usize::MAX)?;
    for admin in members.iter().filter(|member| member.admin && !member.disabled) {
        let telling = Telling {
            member: admin.id,
            subject: subject.to_owned(),
            text: text.to_owned(),
            link: Some("/nodes".to_owned()),
            letter: None,
        };
        notices::tell(view, changes, mill.post(), telling, now)?;
    }
    Ok(())
}
