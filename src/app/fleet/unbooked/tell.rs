//! Telling people of use outside bookings: the admins and the member whose Unix user it is, once for each process. It
//! refuses to tell of the same Unix user on the same node more than once an hour: a job that starts over and over is one
//! thing to know.
use std::collections::BTreeSet;

use crate::app::people::notices::{self, Post, Telling};
use crate::base::ids::{MemberId, NodeId};
use crate::base::text::spoken;
use crate::base::window::{Instant, Span};
use crate::domain::fleet::node::{Node, Pool, Unit};
use crate::domain::fleet::unbooked::{Deed, FIRST_PERSON, UnbookedPolicy, Use};
use crate::domain::people::member::Member;
use crate::store::Reject;
use crate::store::changes::Changes;
use crate::store::read::{Order, Read, StoreError};

/// Between two tellings of one Unix user on one node.
const QUIET: Span = Span::from_hours(1);
/// Members looked through for admins.
const MEMBERS: usize = 100_000;

/// What will become of it, in a sentence.
pub fn outlook(known: &Use, policy: &UnbookedPolicy, is_billed: bool) -> String {
    let person = known.uid.is_some_and(|uid| policy.system || uid >= FIRST_PERSON);
    let clear = if policy.clear && person { " It is ended before a booking of that GPU begins." } else { "" };
    let deed = match policy.deed {
        Deed::Notify => "Nothing is done about it but this word.".to_owned(),
        Deed::End { .. } if !person => "It belongs to the system and is left alone.".to_owned(),
        Deed::End { after } => format!("It is ended {} after it was first seen.", spoken(after)),
        Deed::Bill if is_billed => "Its time is billed at the model’s rate.".to_owned(),
        Deed::Bill => "Nobody is named for this Unix user, so its time is billed to nobody.".to_owned(),
    };
    format!("{deed}{clear}")
}

/// `ada`, `user 1001`, `an unknown user`.
pub fn user(known: &Use) -> String {
    let number = || known.uid.map_or_else(|| "an unknown user".to_owned(), |uid| format!("user {uid}"));
    known.user.clone().unwrap_or_else(number)
}

/// `GPU 3 of stone-1`, `GPUs 0 and 1 of stone-1`.
pub fn place(view: &impl Read, known: &Use) -> Result<String, StoreError> {
    let node = view.get::<Node>(&known.node)?.map_or_else(|| "a node".to_owned(), |node| node.name.to_string());
    let mut indexes = Vec::new();
    for unit in &known.units {
        indexes.extend(view.get::<Unit>(unit)?.map(|unit| unit.index));
    }
    indexes.sort_unstable();
    let words: Vec<String> = indexes.iter().map(ToString::to_string).collect();
    Ok(match words.as_slice() {
        [] => node,
        [one] => format!("GPU {one} of {node}"),
        [first @ .., last] => format!("GPUs {} and {last} of {node}", first.join(", ")),
    })
}

/// Tells of uses that are new.
pub fn seen(
    view: &impl Read,
    changes: &mut Changes,
    post: Post<'_>,
    fresh: &[Use],
    now: Instant,
) -> Result<(), Reject> {
    if fresh.is_empty() {
        return Ok(());
    }
    let mut told: BTreeSet<(NodeId, Option<u32>)> = super::recent(view, now.minus(QUIET))?
        .iter()
        .filter(|known| fresh.iter().all(|new| new.id != known.id))
        .map(|known| (known.node, known.uid))
        .collect();
    let admins = admins(view)?;
    for known in fresh {
        if !told.insert((known.node, known.uid)) {
            continue;
        }
        let node: Node = view.must(&known.node)?;
        let policy = view.must::<Pool>(&node.pool)?.policy.unbooked;
        let (user, place) = (user(known), place(view, known)?);
        let program = known.program.clone().unwrap_or_else(|| "A process".to_owned());
        let outlook = outlook(known, &policy, known.member.is_some());
        for admin in admins.iter().filter(|admin| Some(**admin) != known.member) {
            let telling = Telling {
                member: *admin,
                subject: format!("{place} is used outside bookings"),
                text: format!(
                    "{program} (process {}) of {user} is on it, and no booking has it. {outlook}",
                    known.process.pid
                ),
                link: Some("/unbooked".to_owned()),
                letter: None,
            };
            notices::tell(view, changes, post, telling, now)?;
        }
        if let Some(member) = known.member {
            let telling = Telling {
                member,
                subject: format!("Your process is on {place} without a booking"),
                text: format!(
                    "{program} (process {}, Unix user {user}). {outlook} Book the GPU, or end the process.",
                    known.process.pid
                ),
                link: Some("/unbooked".to_owned()),
                letter: None,
            };
            notices::tell(view, changes, post, telling, now)?;
        }
    }
    Ok(())
}

/// Tells the admins that a node did not end a process that it was to end.
pub fn refused(
    view: &impl Read,
    changes: &mut Changes,
    post: Post<'_>,
    known: &Use,
    why: &str,
    now: Instant,
) -> Result<(), Reject> {
    let place = place(view, known)?;
    for member in admins(view)? {
        let telling = Telling {
            member,
            subject: format!("A process on {place} could not be ended"),
            text: format!(
                "Process {} of {} uses it outside bookings. Its node says: {}.",
                known.process.pid,
                user(known),
                why.trim_end_matches('.')
            ),
            link: Some("/unbooked".to_owned()),
            letter: None,
        };
        notices::tell(view, changes, post, telling, now)?;
    }
    Ok(())
}

fn admins(view: &impl Read) -> Result<Vec<MemberId>, StoreError> {
    let members: Vec<Member> = view.list(&[], Order::Ascending, MEMBERS)?;
    Ok(members.into_iter().filter(|member| member.admin && !member.disabled).map(|member| member.id).collect())
}
