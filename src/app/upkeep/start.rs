//! The check at the start: what came after the last checkpoint, and what the last check came to. It refuses to let a mill
//! write on books that were found wrong before it was restarted.
use super::{breach, unreadable};
use crate::app::error::{Answer, AppError};
use crate::app::mill::Mill;
use crate::app::money::verify::since;
use crate::domain::money::transfer::LedgerHead;
use crate::store::checkpoint::{Checkpoint, last_good, newest};
use crate::store::events::last_event;
use crate::store::{Snapshot, Store, StoreError, verify as rows};

/// Most transfers looked at: far more than a day of a busy mill has, and still less than a second. Where the last
/// checkpoint is further back, the night's check is made at once.
const MOST_TRANSFERS: u64 = 20_000;
/// Most events, which are cheaper.
const MOST_EVENTS: u64 = 100_000;

/// What the start found.
#[derive(Debug, Default)]
pub struct Started {
    /// What does not hold; the store is closed for writes where there is any.
    pub breaches: Vec<String>,
    /// More came after the last checkpoint than a start looks at.
    pub behind: bool,
    /// Transfers checked now.
    pub transfers: u64,
}

/// To be called before anything is served.
pub async fn check(mill: &Mill) -> Answer<Started> {
    let store = mill.store.clone();
    // A snapshot stays on its thread.
    let done = tokio::task::spawn_blocking(move || look(&store)).await;
    let (started, known, chain, events) =
        done.map_err(|stopped| AppError::outside("checking at the start", stopped))??;
    if started.breaches.is_empty() {
        return Ok(started);
    }
    breach::close(mill, &started.breaches);
    if !known {
        let breaches = started.breaches.clone();
        let made = move |at| Checkpoint { at, chain, events, breaches: breaches.clone() };
        if let Err(problem) = breach::write_down(mill, made).await {
            tracing::error!(%problem, "what the start found could not be written down");
        }
    }
    Ok(started)
}

/// What was found, whether it was known before, and the checkpoint it was found after.
fn look(store: &Store) -> Answer<(Started, bool, LedgerHead, u64)> {
    let view = store.read()?;
    let good = last_good(&view)?;
    let (chain, events) = good.map_or((LedgerHead::default(), 0), |good| (good.chain, good.events));
    if let Some(last) = newest(&view)?.filter(|last| !last.holds()) {
        return Ok((Started { breaches: last.breaches, ..Started::default() }, true, chain, events));
    }
    let started = match newer(&view, &chain, events) {
        Ok(started) => started,
        Err(error) => Started { breaches: vec![unreadable(error)?], ..Started::default() },
    };
    Ok((started, false, chain, events))
}

/// What came after a checkpoint.
fn newer(view: &Snapshot, chain: &LedgerHead, events: u64) -> Result<Started, StoreError> {
    let books = since(view, chain, MOST_TRANSFERS)?;
    let last = last_event(view)?;
    let from = events.max(last.saturating_sub(MOST_EVENTS));
    let wrong = rows::events_since(view, from)?;
    let breaches = wrong.into_iter().map(|what| format!("events: {what}"));
    let breaches = breaches.chain(books.breaches.iter().map(|breach| format!("books: {breach}"))).collect();
    Ok(Started { breaches, behind: books.cut_short || from > events, transfers: books.transfers })
}
