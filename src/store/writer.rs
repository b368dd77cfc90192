//! The one writer: takes the intents that wait, decides them in turn inside one transaction, commits once, then publishes
//! and answers all. It refuses to answer before the bytes are on disk, and to go on after the disk has failed.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

use super::answers;
use super::batch::{Batch, Tables, begin};
use super::changes::{Changes, RowChange};
use super::command::{Command, Reject, WriteError};
use super::engine::engine;
use super::events::Committed;
use super::open::{Inner, load};
use super::read::StoreError;
use super::schema::MillTime;
use super::tables::Table;
use super::view::{Rows, View};
use crate::base::window::Instant;
use crate::domain::bookings::calendar::Calendar;
use crate::domain::bookings::supply::FleetSummary;
use crate::domain::notice::Common;

/// Most intents that share one commit.
const MOST_PER_BATCH: usize = 256;
/// How often the closed store answers those who ask meanwhile.
const TICK: Duration = Duration::from_millis(20);

/// What the writer is sent.
pub(super) enum Message {
    Intent(Box<dyn Intent>),
    Stop,
}

/// An intent without its types. It may be decided several times; only the last outcome counts.
pub(super) trait Intent: Send {
    fn command(&self) -> &Command;
    fn decide(&mut self, view: &View<'_>, now: Instant) -> Result<Changes, Reject>;
    /// The answer just decided, as it will be kept.
    fn answer(&self) -> Vec<u8>;
    fn recall(&mut self, json: &[u8]) -> Result<(), StoreError>;
    fn refuse(&mut self, error: WriteError);
    fn reply(self: Box<Self>);
}

pub(super) struct Waiting<T, F> {
    pub command: Command,
    pub decide: F,
    pub outcome: Option<Result<T, WriteError>>,
    pub reply: oneshot::Sender<Result<T, WriteError>>,
}

impl<T, F> Intent for Waiting<T, F>
where
    T: Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&View<'_>, Instant) -> Result<(Changes, T), Reject> + Send + 'static,
{
    fn command(&self) -> &Command {
        &self.command
    }

    fn decide(&mut self, view: &View<'_>, now: Instant) -> Result<Changes, Reject> {
        let (changes, answer) = (self.decide)(view, now)?;
        self.outcome = Some(Ok(answer));
        Ok(changes)
    }

    fn answer(&self) -> Vec<u8> {
        match &self.outcome {
            Some(Ok(answer)) => serde_json::to_vec(answer).expect("answers are plain data and always serialise"),
            _ => Vec::new(),
        }
    }

    fn recall(&mut self, json: &[u8]) -> Result<(), StoreError> {
        let answer =
            serde_json::from_slice(json).map_err(|_| StoreError::Malformed { table: Table::Answers.name() })?;
        self.outcome = Some(Ok(answer));
        Ok(())
    }

    fn refuse(&mut self, error: WriteError) {
        self.outcome = Some(Err(error));
    }

    fn reply(self: Box<Self>) {
        let Some(outcome) = self.outcome else { return };
        // Whoever asked may have gone; what was decided stands.
        let _ = self.reply.send(outcome);
    }
}

/// What the writer carries from one commit to the next.
pub(super) struct State {
    pub calendar: Calendar,
    pub fleet: FleetSummary,
    pub next_seq: u64,
    pub latest: Instant,
}

type Intents = Vec<Box<dyn Intent>>;

/// The life of the writer's thread.
pub(super) fn run(inner: &Arc<Inner>, mut state: State, mut queue: mpsc::Receiver<Message>) {
    while let Some(first) = queue.blocking_recv() {
        let (intents, stop) = gather(first, &mut queue);
        let intents = match inner.breach() {
            Some(why) => spare(intents, &why),
            None => intents,
        };
        match inner.lacks_room() {
            Some(why) => refuse_all(intents, &why),
            None if intents.is_empty() => {}
            None => {
                if let Err(why) = commit(inner, &mut state, intents) {
                    tracing::error!(%why, "the store closes itself and will try to open again");
                    inner.close(why);
                }
            }
        }
        if stop || (inner.trouble().is_some() && !mend(inner, &mut state, &mut queue)) {
            break;
        }
    }
    inner.shut();
    queue.close();
    while let Some(message) = queue.blocking_recv() {
        if let Message::Intent(intent) = message {
            refuse_all(vec![intent], "the mill is stopping");
        }
    }
}

fn gather(first: Message, queue: &mut mpsc::Receiver<Message>) -> (Intents, bool) {
    let mut intents = Vec::new();
    let mut next = Some(first);
    while let Some(message) = next {
        match message {
            Message::Intent(intent) => intents.push(intent),
            Message::Stop => return (intents, true),
        }
        next = if intents.len() < MOST_PER_BATCH { queue.try_recv().ok() } else { None };
    }
    (intents, false)
}

/// Refuses all but what is written despite a breach.
fn spare(intents: Intents, why: &str) -> Intents {
    let (spared, refused) = intents.into_iter().partition(|intent| intent.command().despite_breach);
    refuse_all(refused, why);
    spared
}

fn refuse_all(intents: Intents, why: &str) {
    for mut intent in intents {
        intent.refuse(StoreError::Closed { why: why.to_owned() }.into());
        intent.reply();
    }
}

/// Why an attempt came to nothing.
enum Trouble {
    /// One intent is at fault; the others are tried again without it.
    Culprit(usize, StoreError),
    /// The engine is; nothing can be said about any of them.
    Engine(StoreError),
}

impl Trouble {
    fn of(index: usize, error: StoreError) -> Self {
        match error {
            error @ StoreError::Engine(_) => Self::Engine(error),
            error => Self::Culprit(index, error),
        }
    }
}

/// Decides and commits a batch; `Err` says why the store must close.
fn commit(inner: &Inner, state: &mut State, mut intents: Intents) -> Result<(), String> {
    state.latest = state.latest.max(inner.now());
    loop {
        let guard = inner.database();
        let attempted = match guard.as_ref() {
            Some(database) => {
                inner.turning(true);
                attempt(database, state, &mut intents)
            }
            None => Err(Trouble::Engine(StoreError::Closed { why: "it is not open".into() })),
        };
        drop(guard);
        match attempted {
            Ok(told) => {
                inner.publish(state, told);
                inner.turning(false);
                intents.into_iter().for_each(Intent::reply);
                return Ok(());
            }
            Err(Trouble::Culprit(index, error)) => {
                let mut culprit = intents.remove(index);
                tracing::error!(%error, cause = ?culprit.command().cause, "an intent was thrown out of its batch");
                culprit.refuse(error.into());
                culprit.reply();
            }
            Err(Trouble::Engine(error)) => {
                let why = explain(&error);
                refuse_all(intents, &why);
                return Err(why);
            }
        }
    }
}

/// An error with its sources, for people.
pub(super) fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

/// One transaction over all intents. What it returns is on disk; on an error nothing is, as far as anyone was told.
fn attempt(database: &redb::Database, state: &mut State, intents: &mut Intents) -> Result<Option<Committed>, Trouble> {
    let transaction = begin(database).map_err(Trouble::Engine)?;
    let mut batch = Batch {
        tables: Tables::new(&transaction),
        calendar: state.calendar.clone(),
        fleet: state.fleet.clone(),
        next_seq: state.next_seq,
        now: state.latest,
        told: Committed::default(),
        dirty: false,
    };
    for (index, intent) in intents.iter_mut().enumerate() {
        let decided = catch_unwind(AssertUnwindSafe(|| settle(&mut batch, intent.as_mut())));
        decided
            .unwrap_or_else(|panic| Err(StoreError::Panicked { what: panic_text(panic.as_ref()) }))
            .map_err(|error| Trouble::of(index, error))?;
    }
    if !batch.dirty {
        drop(batch);
        transaction.abort().map_err(|error| Trouble::Engine(engine(error)))?;
        return Ok(None);
    }
    batch.tables.set(&RowChange::of(&MillTime { latest: state.latest })).map_err(Trouble::Engine)?;
    let (calendar, fleet, next_seq, told) = batch.close();
    let committed = catch_unwind(AssertUnwindSafe(|| transaction.commit().map_err(engine)));
    committed
        .unwrap_or_else(|panic| Err(StoreError::Panicked { what: panic_text(panic.as_ref()) }))
        .map_err(Trouble::Engine)?;
    state.calendar = calendar;
    state.fleet = fleet;
    state.next_seq = next_seq;
    Ok(Some(told))
}

/// Decides one intent inside the batch, or finds the answer it was given before.
fn settle(batch: &mut Batch<'_>, intent: &mut dyn Intent) -> Result<(), StoreError> {
    let command = intent.command();
    if let Some(key) = &command.key
        && let Some(stored) = batch.tables.row(Table::Answers, &answers::key(command.cause, key))?
    {
        let answer = answers::decode(&stored)?;
        if answer.digest == command.digest {
            intent.recall(&answer.json)?;
        } else {
            intent.refuse(WriteError::Refused(Common::KeyReused.into()));
        }
        return Ok(());
    }
    match intent.decide(&batch.view(), batch.now) {
        Ok(changes) => {
            batch.apply(changes)?;
            if let Some(row) = answers::row(intent.command(), batch.now, &intent.answer()) {
                batch.dirty = true;
                batch.tables.set(&row)?;
            }
            Ok(())
        }
        // An engine that fails once fails for all; any other error left no trace and concerns this intent alone.
        Err(Reject::Store(error @ StoreError::Engine(_))) => Err(error),
        Err(reject) => {
            intent.refuse(reject.into());
            Ok(())
        }
    }
}

pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no message").to_owned()
}

/// Answers everybody with the reason and opens the database anew when it can; `false` when told to stop.
fn mend(inner: &Inner, state: &mut State, queue: &mut mpsc::Receiver<Message>) -> bool {
    let mut since_attempt = inner.retry();
    loop {
        let why = inner.trouble().unwrap_or_default();
        loop {
            match queue.try_recv() {
                Ok(Message::Intent(intent)) => refuse_all(vec![intent], &why),
                Ok(Message::Stop) | Err(mpsc::error::TryRecvError::Disconnected) => return false,
                Err(mpsc::error::TryRecvError::Empty) => break,
            }
        }
        if since_attempt >= inner.retry() && inner.lacks_room().is_none() {
            since_attempt = Duration::ZERO;
            match reopen(inner, state) {
                Ok(()) => {
                    tracing::info!("the store is open again");
                    return true;
                }
                Err(error) => inner.close(explain(&error)),
            }
        }
        let pause = TICK.min(inner.retry());
        std::thread::sleep(pause);
        since_attempt += pause;
    }
}

/// Drops the failed engine and reads everything again: the last commit may or may not have reached the disk, and only the
/// disk knows. Events of a commit that did are told now.
fn reopen(inner: &Inner, state: &mut State) -> Result<(), StoreError> {
    let known = state.next_seq;
    let reloaded = inner.replace_database(|database| {
        let (fresh, missed) = load(database, known)?;
        Ok((fresh, Committed { events: missed, wake_nodes: Vec::new() }))
    })?;
    let (fresh, missed) = reloaded;
    let latest = state.latest.max(fresh.latest);
    *state = State { latest, ..fresh };
    inner.publish(state, Some(missed));
    inner.turning(false);
    inner.reopened();
    Ok(())
}
