//! The whole check of a running mill, in pieces and on a thread of its own, out of the way of pages. It refuses to hold one
//! snapshot throughout: the file would grow by all that is written meanwhile.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

use super::{answer, books, row_checks};
use crate::app::error::{Answer, AppError};
use crate::domain::money::transfer::LedgerHead;
use crate::store::events::last_event;
use crate::store::money::LEDGER_HEAD;
use crate::store::{Read as _, Store, verify as rows};
use crate::wire::api::money::VerifyAnswer;

/// How much later than the pages this thread is served, from 0 (alike) to 19.
const NICE: i32 = 10;

/// What a whole check came to.
#[derive(Clone, Debug)]
pub struct Whole {
    pub answer: VerifyAnswer,
    /// Where the chain ended in the books that were checked.
    pub chain: LedgerHead,
    /// The last event when the check began.
    pub events: u64,
}

/// Ends the check when nobody waits for it any more.
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Checks everything. Dropping the future ends it after the piece it is at.
pub async fn run(store: &Store) -> Answer<Whole> {
    let wanted = Wanted(Arc::new(AtomicBool::new(true)));
    let (store, go_on) = (store.clone(), Arc::clone(&wanted.0));
    let (reply, done) = oneshot::channel();
    let begun = std::thread::Builder::new().name("mill-check".into()).spawn(move || {
        // On Linux this concerns the calling thread alone; a mill that may not do it checks at full speed.
        let _ = rustix::process::nice(NICE);
        // Nobody waits any more when the mill stops.
        let _ = reply.send(check(&store, &|| go_on.load(Ordering::Relaxed)));
    });
    let failed = |why: std::io::Error| AppError::outside("starting the check", why);
    let _ended_later = begun.map_err(failed)?;
    let outcome = done.await.map_err(|stopped| AppError::outside("checking the mill", stopped))?;
    outcome?.ok_or_else(|| AppError::outside("checking the mill", "it was stopped"))
}

/// `None` when it was ended.
fn check(store: &Store, go_on: &dyn Fn() -> bool) -> Answer<Option<Whole>> {
    let events = last_event(&store.read()?)?;
    let Some(report) = rows::run_apart(store, &row_checks(), go_on)? else { return Ok(None) };
    // The last piece, and the longest: the books are only true or not as of one commit.
    let view = store.read()?;
    let chain = view.get::<LedgerHead>(&LEDGER_HEAD)?.unwrap_or_default();
    let books = books(&view)?;
    Ok(Some(Whole { answer: answer(&view, report, books)?, chain, events }))
}
