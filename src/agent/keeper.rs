//! Puts the plan into force: looks at the leases on this node, does what `converge` says, and tells what is there. One task
//! owns all of it. It refuses to wait for any lease: starting and stopping happen beside it.
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant as Monotonic};

use tokio::sync::{mpsc, watch};

use super::converge::{self, Action, Local, Offset};
use super::lease::{self, LeaseError, LeaseObservation, Standing};
use super::orders::{Measured, Orders};
use super::place::{Place, PlaceError};
use super::{archive, boot, spec};
use crate::base::ids::LeaseId;
use crate::clock;
use crate::wire::lease::{Deadline, LeaseState, Phase};
use crate::wire::node::{DesiredLease, LeaseFact};

/// How often live leases are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The longest time without a look.
const REST: Duration = Duration::from_secs(30);
/// How long a directory without a state may belong to a shim that is just starting.
const PATIENCE: Duration = Duration::from_secs(15);

type Key = (LeaseId, u32);

/// What the connection tells the keeper.
#[derive(Debug)]
pub enum Order {
    /// The mill's clock, compared just now.
    Clock(Measured),
    Desired {
        generation: u64,
        leases: Vec<DesiredLease>,
    },
}

/// What is there, for the connection to tell.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub generation: u64,
    desired: Vec<DesiredLease>,
    locals: Vec<Local>,
    offset: Option<Offset>,
}

impl Report {
    pub(super) fn of(generation: u64, desired: Vec<DesiredLease>, locals: Vec<Local>, offset: Offset) -> Self {
        Self { generation, desired, locals, offset: Some(offset) }
    }

    /// Whether another report tells the mill anything new.
    pub(super) fn says_other(&self, other: &Self) -> bool {
        self.offset.is_none()
            || self.generation != other.generation
            || !converge::same_but_for_time(&self.facts(), &other.facts())
    }

    /// The facts as of now.
    pub fn facts(&self) -> Vec<LeaseFact> {
        let offset = self.offset.unwrap_or(Offset(0));
        converge::facts(&self.desired, &self.locals, offset, boot::boot_ms())
    }
}

/// What came of something that was done beside the keeper.
enum Done {
    Spawned(Key, Result<(), LeaseError>),
    Ordered(Key, Result<(), LeaseError>),
}

pub struct Keeper {
    place: Arc<Place>,
    simulated: bool,
    orders: Orders,
    leases: BTreeMap<Key, Local>,
    /// Directories without a readable state, and since when.
    unread: BTreeMap<Key, Monotonic>,
    /// Leases that something is being done about.
    busy: BTreeSet<Key>,
    done: mpsc::UnboundedSender<Done>,
    report: watch::Sender<Report>,
}

/// Starts the keeper; it adopts what runs and goes on with the orders on file at once, with or without a mill.
pub fn start(place: Arc<Place>, simulated: bool) -> Result<(mpsc::Sender<Order>, watch::Receiver<Report>), PlaceError> {
    let orders = Orders::load(&place)?;
    let (send, received) = mpsc::channel(8);
    let (report, reported) = watch::channel(Report::default());
    let (done, finished) = mpsc::unbounded_channel();
    let leases = BTreeMap::new();
    let unread = BTreeMap::new();
    let mut keeper = Keeper { place, simulated, orders, leases, unread, busy: BTreeSet::new(), done, report };
    keeper.find();
    keeper.tell();
    tokio::spawn(keeper.run(received, finished));
    Ok((send, reported))
}

impl Keeper {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>, mut finished: mpsc::UnboundedReceiver<Done>) {
        let mut pruned: Option<Monotonic> = None;
        loop {
            self.find();
            let rest = self.converge();
            self.tell();
            if pruned.is_none_or(|at| at.elapsed() > Duration::from_secs(3600)) {
                pruned = Some(Monotonic::now());
                if let Err(error) = archive::prune(&self.place.logs()) {
                    tracing::warn!(%error, "old logs could not be removed");
                }
            }
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.take(order),
                    None => return,
                },
                Some(done) = finished.recv() => self.note(done),
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    fn dir(&self, (lease, attempt): Key) -> PathBuf {
        self.place.leases().join(archive::dir_name(lease, attempt))
    }

    /// Reads the directories of leases; those that are over do not change any more.
    fn find(&mut self) {
        let dirs = match lease::list(&self.place.leases()) {
            Ok(dirs) => dirs,
            Err(error) => {
                tracing::error!(%error, "the leases on this node cannot be listed");
                return;
            }
        };
        let keys = dirs.iter().filter_map(|dir| archive::parse_dir_name(dir.file_name()?.to_str()?));
        for key in keys.collect::<Vec<_>>() {
            let over = matches!(self.leases.get(&key), Some(Local::Kept(state)) if state.is_ended());
            let starting = self.busy.contains(&key) && matches!(self.leases.get(&key), Some(Local::Starting { .. }));
            if over || starting || matches!(self.leases.get(&key), Some(Local::Broken { .. })) {
                continue;
            }
            match lease::inspect(&self.dir(key)) {
                Ok(seen) => {
                    self.unread.remove(&key);
                    if seen.standing == Standing::Lost {
                        self.sweep(key, seen.clone());
                    }
                    self.leases.insert(key, Local::Kept(Box::new(on_this_boot(seen.state))));
                }
                Err(error) => self.unreadable(key, &error),
            }
        }
    }

    /// Tidies up after a shim that vanished, at once and with or without a mill; what fails is tried again when the lease is
    /// forgotten.
    fn sweep(&self, key: Key, seen: LeaseObservation) {
        let dir = self.dir(key);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = lease::sweep(&seen, &dir) {
                tracing::warn!(lease = %key.0, %error, "what a vanished lease left could not be removed");
            }
        });
    }

    /// A directory without a state: its shim is just starting, or never did.
    fn unreadable(&mut self, key: Key, error: &LeaseError) {
        let since = *self.unread.entry(key).or_insert_with(Monotonic::now);
        let (lease, attempt) = key;
        let revision = self.wanted(key).map_or(0, |want| want.revision);
        let local = if since.elapsed() < PATIENCE {
            Local::Starting { lease, attempt, revision }
        } else {
            Local::Broken { lease, attempt, revision, why: format!("its shim left no state: {error}") }
        };
        self.leases.insert(key, local);
    }

    fn wanted(&self, (lease, attempt): Key) -> Option<&DesiredLease> {
        self.orders.leases.iter().find(|want| want.lease == lease && want.attempt == attempt)
    }

    /// Does what is to be done now; answers how long nothing will be.
    fn converge(&mut self) -> Duration {
        let offset = self.orders.offset();
        let now = boot::boot_ms();
        let locals: Vec<Local> = self.leases.values().cloned().collect();
        let plan = converge::plan(&self.orders.leases, &locals, offset, now);
        for action in plan.actions {
            self.act(action);
        }
        let live = self
            .leases
            .values()
            .any(|local| !matches!(local, Local::Kept(s) if s.is_ended()) && !matches!(local, Local::Broken { .. }));
        let until = plan.look_at.map(|at| Duration::from_millis(u64::try_from(at - now).unwrap_or(0)));
        let rest = if live { LOOK_EVERY } else { REST };
        // A machine that slept wakes with timers that are late; it looks at least this often.
        until.map_or(rest, |until| rest.min(until.max(Duration::from_millis(5))))
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Spawn { lease, deadline } => self.spawn(&lease, deadline),
            Action::SetEnd { lease, attempt, deadline } => {
                let dir = self.dir((lease, attempt));
                self.beside((lease, attempt), async move { lease::set_end(&dir, deadline).await });
            }
            Action::Stop { lease, attempt, reason } => {
                let dir = self.dir((lease, attempt));
                tracing::info!(%lease, reason, "a lease is stopped");
                self.beside((lease, attempt), async move { lease::stop(&dir, reason).await });
            }
            Action::Forget { lease, attempt } => {
                let (dir, key) = (self.dir((lease, attempt)), (lease, attempt));
                let gone =
                    if dir.exists() { archive::put_aside(&dir, &self.place.logs(), lease, attempt) } else { Ok(()) };
                match gone {
                    Ok(()) => {
                        self.leases.remove(&key);
                        self.unread.remove(&key);
                    }
                    Err(error) => tracing::warn!(%lease, %error, "what a lease left could not be removed"),
                }
            }
        }
    }

    fn spawn(&mut self, want: &DesiredLease, deadline: Deadline) {
        let key = (want.lease, want.attempt);
        let (lease, attempt, revision) = (want.lease, want.attempt, want.revision);
        let spec = match spec::of(want, deadline, &self.place.homes(), self.simulated) {
            Ok(spec) => spec,
            Err(error) => {
                let why = error.to_string();
                self.leases.insert(key, Local::Broken { lease, attempt, revision, why });
                return;
            }
        };
        tracing::info!(%lease, attempt, "a lease is started");
        self.leases.insert(key, Local::Starting { lease, attempt, revision });
        self.busy.insert(key);
        let (dir, done) = (self.dir(key), self.done.clone());
        tokio::spawn(async move {
            let found = tokio::task::spawn_blocking(move || spec::found(spec)).await;
            let started = match found.unwrap_or_else(|fault| Err(LeaseError::NoShim(fault.to_string()))) {
                Ok(spec) => lease::spawn(&dir, &spec, &program()).await,
                Err(gone) => Err(gone),
            };
            // The keeper is gone only when the agent ends.
            let _ = done.send(Done::Spawned(key, started));
        });
    }

    /// Tells a shim something, unless that is being done already.
    fn beside(&mut self, key: Key, doing: impl Future<Output = Result<(), LeaseError>> + Send + 'static) {
        if !self.busy.insert(key) {
            return;
        }
        let done = self.done.clone();
        tokio::spawn(async move {
            let came = doing.await;
            if came.is_err() {
                // It will be planned again; a shim that does not answer is not asked all the time.
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            let _ = done.send(Done::Ordered(key, came));
        });
    }

    fn note(&mut self, done: Done) {
        match done {
            Done::Spawned(key, Ok(())) => {
                self.busy.remove(&key);
            }
            Done::Spawned(key, Err(error)) => {
                self.busy.remove(&key);
                let (lease, attempt) = key;
                tracing::error!(%lease, %error, "a lease could not be started");
                let revision = self.wanted(key).map_or(0, |want| want.revision);
                self.leases.insert(key, Local::Broken { lease, attempt, revision, why: error.to_string() });
            }
            Done::Ordered(key, came) => {
                self.busy.remove(&key);
                if let Err(error) = came {
                    // The next look plans it again.
                    tracing::warn!(lease = %key.0, %error, "a lease's shim did not take an order");
                }
            }
        }
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Clock(measured) => self.orders.clock = Some(measured),
            Order::Desired { generation, leases } => {
                self.orders.generation = generation;
                self.orders.leases = leases;
            }
        }
        if let Err(error) = self.orders.keep(&self.place) {
            tracing::error!(%error, "the desired state could not be kept; it is in force until this agent stops");
        }
    }

    /// Publishes what is there when it says something new.
    fn tell(&self) {
        let report = Report {
            generation: self.orders.generation,
            desired: self.orders.leases.clone(),
            locals: self.leases.values().cloned().collect(),
            offset: Some(self.orders.offset()),
        };
        self.report.send_if_modified(|before| {
            let news = before.says_other(&report);
            *before = report;
            news
        });
    }
}

/// After a restart of the machine the boot clock began anew: the end is put where it lies on the present one.
fn on_this_boot(mut state: LeaseState) -> LeaseState {
    if state.boot_id != boot::boot_id()
        && let Phase::Ended { at, at_boot_ms, .. } = &mut state.phase
    {
        *at_boot_ms = boot::boot_ms() - clock::now().since(*at).as_millis();
    }
    state
}

/// This very program, also after its file was replaced by a newer one.
fn program() -> PathBuf {
    let own = PathBuf::from("/proc/self/exe");
    std::env::current_exe().ok().filter(|path| path.exists()).unwrap_or(own)
}
