//! What an admin asks of the whole mill: verify it, back it up. It refuses everybody else, and keeps no backup of its own:
//! one on the same disk would be lost with it.
mod breach;
pub mod night;
pub mod start;
mod whole;

use std::fs::File;
use std::path::PathBuf;

use crate::app::error::{Answer, AppError};
use crate::app::mill::Mill;
use crate::app::{bookings, fleet, ids, money};
use crate::base::ids::TokenId;
use crate::base::window::Instant;
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::node::JoinToken;
use crate::domain::people::member::{ApiToken, Invitation, InvitationState, Session};
use crate::domain::people::refusal::PeopleRefusal;
use crate::domain::people::rights::Actor;
use crate::store::record::Record as _;
use crate::store::tables::Table;
use crate::store::{Changes, Command, Order, Read, Reject, Snapshot, Store, StoreError, View, verify as rows};
use crate::wire::api::Moment;
use crate::wire::api::money::{CheckedItem, VerifyAnswer};

/// Tables whose rows are counted for the reader, beside what the books count.
const COUNTED: [(Table, &str); 6] = [
    (Table::Members, "members"),
    (Table::Teams, "teams"),
    (Table::Nodes, "nodes"),
    (Table::Bookings, "bookings"),
    (Table::Leases, "leases"),
    (Table::Events, "events"),
];

fn only_admins(who: &Actor, what: &'static str) -> Result<(), PeopleRefusal> {
    if who.admin { Ok(()) } else { Err(PeopleRefusal::Denied { what, who_may: "admins" }) }
}

/// Recomputes everything, while the mill goes on.
pub async fn verify(mill: &Mill, who: &Actor) -> Answer<VerifyAnswer> {
    only_admins(who, "verify the mill")?;
    let found = whole::run(&mill.store).await?;
    breach::conclude(mill, &found).await;
    Ok(found.answer)
}

/// Recomputes everything from the rows of one snapshot; for a stopped mill's directory as well.
pub fn recompute(view: &Snapshot) -> Answer<VerifyAnswer> {
    answer(view, rows::run(view, &row_checks()), books(view)?)
}

/// The books recomputed: what was counted, and what does not hold. Rows that cannot be read do not.
fn books(view: &Snapshot) -> Answer<(money::verify::Counts, Vec<String>)> {
    match money::verify::recompute(view) {
        Ok((counts, wrong)) => Ok((counts, wrong.iter().map(|breach| format!("books: {breach}")).collect())),
        Err(error) => Ok((Vec::new(), vec![unreadable(error)?])),
    }
}

/// A check that could not be finished for what it met is a breach; one that the mill's stopping ended is none.
fn unreadable(error: StoreError) -> Answer<String> {
    if matches!(error, StoreError::Closed { .. }) {
        return Err(error.into());
    }
    let mut text = format!("books: the check could not be finished: {error}");
    let mut cause = std::error::Error::source(&error);
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    Ok(text)
}

/// The checks of rows, beside those of the books.
fn row_checks() -> Vec<rows::Check> {
    rows::checks().into_iter().chain(bookings::verify::checks()).chain(fleet::unbooked::verify::checks()).collect()
}

fn answer(
    view: &Snapshot,
    report: rows::Report,
    (books, wrong): (money::verify::Counts, Vec<String>),
) -> Answer<VerifyAnswer> {
    let mut checked = Vec::new();
    for (table, what) in COUNTED {
        checked.push(CheckedItem { what: what.to_owned(), count: count(view, table)? });
    }
    checked.extend(books.into_iter().map(|(what, count)| CheckedItem { what: what.to_owned(), count }));
    let rows = report.breaches.into_iter().map(|breach| format!("{}: {}", breach.check, breach.what));
    let breaches: Vec<String> = rows.chain(wrong).collect();
    Ok(VerifyAnswer { holds: breaches.is_empty(), checked, breaches })
}

fn count(view: &Snapshot, table: Table) -> Result<u64, StoreError> {
    let mut rows = 0;
    view.scan(table, |_, _| {
        rows += 1;
        Ok(())
    })?;
    Ok(rows)
}

/// A backup on its way to whoever asked for it. Its file has no name any more, so nothing is left when it is closed.
pub struct Made {
    pub file: File,
    /// What to call it.
    pub name: String,
}

/// Backs the mill up, while it goes on.
pub async fn backup(mill: &Mill, who: &Actor) -> Answer<Made> {
    only_admins(who, "back the mill up")?;
    let (store, dir) = (mill.store.clone(), mill.data.clone());
    let done = tokio::task::spawn_blocking(move || {
        let path = Nameless(dir.join(format!("backup-{}.tmp", TokenId::from_u128(ids::fresh()))));
        let header = store.backup(&path.0)?;
        let file = File::open(&path.0)?;
        let at = Moment(header.made_at).to_string().replace(':', "");
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Made { file, name: format!("gristmill-{at}.backup") })
    });
    let made = done.await.map_err(|stopped| AppError::outside("backing up", stopped))?;
    let made = made.map_err(|problem| AppError::outside("backing up", problem))?;
    // A mill that cannot write any more needs its backup most: it is handed over without a note of it.
    let cause = Cause::Member(who.member);
    let note = move |_: &View<'_>, _: Instant| {
        let mut changes = Changes::new();
        changes.event(cause, Event::BackupMade);
        Ok((changes, ()))
    };
    if let Err(problem) = mill.store.write(Command::new(cause), note).await {
        tracing::warn!(%problem, "a backup was made, but that could not be noted");
    }
    Ok(made)
}

/// Takes the name off a file, however its making ends.
struct Nameless(PathBuf);

impl Drop for Nameless {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Most rows ended in one transaction; what is left is ended in the next.
const STEP: usize = 1000;

/// After a restore: ends sessions, tokens and open links. Whoever has an old one, or an old copy of the backup, gets nowhere.
pub async fn end_what_was_open(store: &Store) -> Answer<()> {
    loop {
        let ended = store.write(Command::new(Cause::Operator), |view: &View<'_>, now| end_some(view, now)).await?;
        if ended < STEP {
            break;
        }
    }
    let told = |_: &View<'_>, _| {
        let mut changes = Changes::new();
        changes.event(Cause::Operator, Event::Restored);
        Ok((changes, ()))
    };
    Ok(store.write(Command::new(Cause::Operator), told).await?)
}

fn end_some(view: &impl Read, now: Instant) -> Result<(Changes, usize), Reject> {
    let mut changes = Changes::new();
    let sessions: Vec<Session> = view.list(&[], Order::Ascending, STEP)?;
    for session in &sessions {
        changes.delete::<Session>(&session.id).unindex(Table::SessionsByMember, &(session.member, session.id));
    }
    let tokens: Vec<ApiToken> = view.list(&[], Order::Ascending, STEP)?;
    for token in &tokens {
        changes.delete::<ApiToken>(&token.id).unindex(Table::TokensByMember, &(token.member, token.id));
    }
    let invitations: Vec<Invitation> = view.list_via(Table::InvitationsByTeam, &[], Order::Ascending, STEP)?;
    for mut invitation in invitations.iter().cloned() {
        invitation.state = InvitationState::Revoked { at: now };
        changes.put(&invitation).unindex(Table::InvitationsByTeam, &(invitation.team, invitation.id));
    }
    let joins: Vec<JoinToken> = view.list(&[], Order::Ascending, STEP)?;
    for join in &joins {
        changes.delete::<JoinToken>(&join.key());
    }
    let most = [sessions.len(), tokens.len(), invitations.len(), joins.len()].into_iter().max();
    Ok((changes, most.unwrap_or(0)))
}
