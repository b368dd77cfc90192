//! A team's statement: its account's entries, newest first, each with the balance it left. It refuses to add anything up
//! and to read further than it shows.
use std::ops::Bound;

use crate::app::error::Answer;
use crate::app::people::actor;
use crate::base::credits::Credits;
use crate::base::ids::BookingId;
use crate::domain::bookings::booking::Booking;
use crate::domain::money::account::{Account, AccountRow, Balance, Entry};
use crate::domain::money::invoice::Document;
use crate::domain::money::transfer::Transfer;
use crate::domain::people::installation::Installation;
use crate::domain::people::rights::Actor;
use crate::store::people::INSTALLATION;
use crate::store::read::Order;
use crate::store::record::{Key as _, Record as _};
use crate::store::tables::Table;
use crate::store::{Read, StoreError};
use crate::wire::api::Amount;
use crate::wire::api::money::{StatementLine, StatementView};

/// Lines on a page when none are asked for, and the most that are given at once.
pub const PAGE: usize = 50;
pub const LONGEST_PAGE: usize = 500;

/// A page of a team's statement, from the entry before `before` (from the newest when `None`) downward.
pub fn statement(
    view: &impl Read,
    who: &Actor,
    team: &str,
    before: Option<u64>,
    limit: usize,
) -> Answer<StatementView> {
    let team = actor::team(view, who, team)?;
    let account = Account::Team(team.id);
    let row = view.get::<AccountRow>(&account)?.unwrap_or_else(|| AccountRow::new(account));
    let balance = Balance::from(&row);
    let limit = limit.clamp(1, LONGEST_PAGE);
    let end = before.unwrap_or(u64::MAX).min(row.sequence + 1);
    let entries = page(view, account, end, limit)?;
    let next = entries.get(limit - 1).map(|entry| entry.sequence).filter(|&sequence| sequence > 1);
    let mut lines = Vec::with_capacity(entries.len().min(limit));
    for (index, entry) in entries.iter().take(limit).enumerate() {
        lines.push(line(view, entry, entries.get(index + 1))?);
    }
    let currency = view.get::<Installation>(&INSTALLATION)?.map_or_else(String::new, |mill| mill.currency);
    Ok(StatementView {
        team: team.id,
        team_name: team.name.to_string(),
        currency,
        available: balance.available.into(),
        posted: balance.posted.into(),
        held: balance.held.into(),
        lines,
        next,
    })
}

/// The entries below `end`, newest first, and the one before the last shown: its balances make the last line's changes.
fn page(view: &impl Read, account: Account, end: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
    let from = Bound::Included((account, 1).bytes());
    let to = Bound::Excluded((account, end).bytes());
    if end <= 1 {
        return Ok(Vec::new());
    }
    let rows = view.raw_range(Table::Entries, from, to, Order::Descending, limit + 1)?;
    rows.iter().map(|(_, value)| Ok(Entry::decode(value)?)).collect()
}

fn line(view: &impl Read, entry: &Entry, before: Option<&Entry>) -> Result<StatementLine, StoreError> {
    let transfer: Transfer = view.must(&entry.transfer)?;
    let change = |after: Credits, before: Option<Credits>| -> Amount {
        Credits::from_micros(after.micros().saturating_sub(before.unwrap_or_default().micros())).into()
    };
    let available = entry.posted.micros().saturating_sub(entry.held.micros());
    Ok(StatementLine {
        sequence: entry.sequence,
        at: transfer.at.into(),
        kind: transfer.kind.word().to_owned(),
        text: text(view, &transfer)?,
        booking: transfer.about.booking,
        amount: change(entry.posted, before.map(|entry| entry.posted)),
        held_change: change(entry.held, before.map(|entry| entry.held)),
        posted_after: entry.posted.into(),
        held_after: entry.held.into(),
        available_after: Credits::from_micros(available).into(),
    })
}

/// What a person reads: the posting table's words, and what it is about.
fn text(view: &impl Read, transfer: &Transfer) -> Result<String, StoreError> {
    let about = &transfer.about;
    let mut text = transfer.kind.row().says.to_owned();
    if let Some(booking) = about.booking {
        text.push_str(&format!(": {}", title(view, booking)?));
    }
    if let Some(document) = about.document
        && let Some(document) = view.get::<Document>(&document)?
        && let Some(issue) = document.issue()
    {
        text.push_str(&format!(": {}", issue.number));
    }
    if let (Some(gpu_seconds), Some(rate)) = (about.gpu_seconds, about.rate) {
        text.push_str(&format!(", {} GPU h at {rate}", crate::domain::money::invoice::gpu_hours(gpu_seconds)));
    }
    if let Some(memo) = about.memo.as_ref().filter(|_| about.document.is_none()) {
        text.push_str(&format!(": {memo}"));
    }
    Ok(text)
}

fn title(view: &impl Read, id: BookingId) -> Result<String, StoreError> {
    let title = view.get::<Booking>(&id)?.map(|booking| booking.ask.title).filter(|title| !title.trim().is_empty());
    Ok(title.map_or_else(|| format!("booking {}", id.short()), |title| format!("“{title}”")))
}
