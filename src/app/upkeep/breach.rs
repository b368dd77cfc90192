//! What follows from a check: a checkpoint where everything holds; where something does not, the store closes for writes and
//! the admins are told. It refuses to mend, and to go on booking on books that do not add up.
use super::whole::Whole;
use crate::app::error::Answer;
use crate::app::mill::Mill;
use crate::app::people::notices::{self, Telling};
use crate::base::window::Instant;
use crate::domain::event::Cause;
use crate::domain::people::member::Member;
use crate::store::checkpoint::{self, Checkpoint};
use crate::store::{Changes, Command, Order, Read as _, View};

/// Most breaches kept with a check and shown: whoever wants all of them verifies.
const MOST_KEPT: usize = 20;

/// Acts on a whole check. It does not fail: what cannot be written down is logged, and the store is closed either way.
pub async fn conclude(mill: &Mill, found: &Whole) {
    let Whole { answer, chain, events } = found;
    let kept: Vec<String> = answer.breaches.iter().take(MOST_KEPT).cloned().collect();
    if kept.is_empty() {
        mill.store.allow_writes();
        tracing::info!(transfers = chain.sequence, events, "everything was checked and holds");
    } else {
        close(mill, &kept);
    }
    let (chain, events) = (*chain, *events);
    let made = move |at| Checkpoint { at, chain, events, breaches: kept.clone() };
    if let Err(problem) = write_down(mill, made).await {
        tracing::error!(%problem, "the check could not be written down");
    }
}

/// Closes the store for writes and says so in the log.
pub fn close(mill: &Mill, breaches: &[String]) {
    for breach in breaches {
        tracing::error!(%breach, "what is on file cannot be");
    }
    mill.store.stop_writes(said(breaches));
}

/// One line for everybody whose change is refused.
pub fn said(breaches: &[String]) -> String {
    let first = breaches.first().map_or("", String::as_str);
    match breaches.len().saturating_sub(1) {
        0 => format!("a check found what cannot be ({first})"),
        more => format!("a check found what cannot be ({first}; and {more} more)"),
    }
}

/// Writes a check down, and tells the admins of breaches they were not told of before.
pub async fn write_down(mill: &Mill, made: impl Fn(Instant) -> Checkpoint + Send + 'static) -> Answer<()> {
    let (seal, url) = (mill.seal.clone(), mill.public_url.clone());
    let decide = move |view: &View<'_>, now: Instant| {
        let mut changes = Changes::new();
        let check = made(now);
        changes.put(&check);
        let told = checkpoint::newest(view)?.is_some_and(|before| before.breaches == check.breaches);
        let members: Vec<Member> = view.list(&[], Order::Ascending, usize::MAX)?;
        let admins = members.iter().filter(|member| member.admin && !member.disabled && !check.holds() && !told);
        for admin in admins {
            let post = notices::Post { seal: &seal, public_url: &url };
            notices::tell(view, &mut changes, post, telling(admin, &check), now)?;
        }
        Ok((changes, ()))
    };
    // The closed store takes this: it says why it is closed.
    mill.store.write(Command::new(Cause::Mill).despite_breach(), decide).await?;
    mill.outbox.notify_one();
    Ok(())
}

fn telling(admin: &Member, check: &Checkpoint) -> Telling {
    let list = check.breaches.join("\n");
    let text = format!(
        "The mill checked its books and bookings and found what cannot be. It takes no changes until that is mended; pages \
         can be read, and what runs goes on.\n\n{list}\n\nKeep a copy of the data directory, run “gristmill verify” for \
         all of it, and restore the newest backup that holds."
    );
    let subject = "The books do not hold: the mill takes no changes".to_owned();
    Telling { member: admin.id, subject, text, link: None, letter: None }
}
