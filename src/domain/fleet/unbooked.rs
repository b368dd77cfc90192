//! Use of GPUs outside bookings: which processes count as that, what becomes of them, and which of their time is billed.
//! What a node says is a claim, so one reading is never enough: a process is believed from its second reading in a row,
//! is over when two readings in a row lack it, and a reading that did not come is neither presence nor absence. It
//! refuses to bill a GPU's second twice, to bill or end what it cannot tell apart (a process is a boot, a number and the
//! moment it began), and to end what belongs to the system unless the pool says so.
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::base::credits::Credits;
use crate::base::ids::{MemberId, NodeId, TeamId, UnitId, UseId};
use crate::base::window::{Instant, Span, Window};

pub mod refusal;
#[cfg(test)]
mod tests;

/// Readings in a row from which on a process is believed to be there, and to be gone.
pub const BELIEVED: u32 = 2;
/// Two readings further apart than this are not in a row: what happened between is not known and not billed.
pub const LAPSE: Span = Span::from_seconds(45);
/// How long billed time gathers before it is posted.
pub const BILL_EVERY: Span = Span::from_hours(1);
/// Nothing was read for so long: the use is taken to have ended with its last reading.
pub const FORGOTTEN: Span = Span::from_hours(24);
/// A node that did not end a process is asked again after this.
pub const ASK_AGAIN: Span = Span::from_hours(1);
/// Accounts below this number are root and system services.
pub const FIRST_PERSON: u32 = 1000;
/// How long before a booking's start its GPUs are cleared, beside the grace.
pub const CLEAR_AHEAD: Span = Span::from_seconds(60);
/// The shortest and the longest grace of [`Deed::End`].
pub const AFTER: std::ops::RangeInclusive<i64> = 60..=7 * 86_400;

/// What becomes of use outside bookings in a pool. Starts out kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Deed {
    /// People are told.
    #[default]
    Notify,
    /// The process is ended so long after it was first seen.
    End { after: Span },
    /// Its time is billed to the member whose Unix user it is.
    Bill,
}

/// What holds for it in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnbookedPolicy {
    pub deed: Deed,
    /// Processes are ended on a GPU whose booking is about to start or runs, whatever else holds.
    pub clear: bool,
    /// Processes of root and of system accounts are ended like others.
    pub system: bool,
    /// The most that one person is billed in a day (UTC) in this pool: a node's claims cost nobody more.
    pub most_a_day: Credits,
}

impl Default for UnbookedPolicy {
    fn default() -> Self {
        Self { deed: Deed::Notify, clear: false, system: false, most_a_day: Credits::from_micros(100_000_000) }
    }
}

/// One process of one boot. Numbers are used again, the moment of its beginning is not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Process {
    pub boot: String,
    pub pid: u32,
    /// Clock ticks from the boot to its beginning, as the kernel counts them; `None` where that could not be read.
    pub started: Option<u64>,
}

/// Who pays for a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payer {
    pub member: MemberId,
    pub team: TeamId,
}

/// A process without a lease, in one round of readings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    pub process: Process,
    pub uid: Option<u32>,
    pub user: Option<String>,
    pub program: Option<String>,
    pub units: BTreeSet<UnitId>,
    /// Who pays for it, where the pool bills and somebody is named.
    pub payer: Option<Payer>,
}

/// One round of a node's readings, as far as it speaks of use.
#[derive(Clone, Debug, Default)]
pub struct Round {
    pub boot: String,
    pub sights: Vec<Sight>,
    /// Units whose whole list of processes was read: only there a process can be missing.
    pub read: BTreeSet<UnitId>,
}

/// Time of one GPU that is billed to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    pub unit: UnitId,
    pub from: Instant,
    pub to: Instant,
    pub payer: Payer,
    /// A reading of the GPU lacked the process: what comes later is another stretch.
    #[serde(default)]
    pub closed: bool,
}

/// Why a process is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Its grace is over.
    Grace,
    /// A booking needs the GPU.
    Booked,
}

/// Whether the node is to end it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Order {
    #[default]
    None,
    Wanted {
        since: Instant,
        reason: Reason,
    },
    /// The node could not, or would not.
    Refused {
        at: Instant,
        why: String,
    },
}

/// How a use ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It is not on any GPU any more.
    Gone,
    /// The node ended it.
    Ended,
    /// The machine started anew.
    Restarted,
    /// Nothing was heard of the node for too long.
    Forgotten,
}

/// A process that uses GPUs outside bookings, from its first reading to its last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    pub id: UseId,
    pub node: NodeId,
    pub process: Process,
    pub uid: Option<u32>,
    pub user: Option<String>,
    pub program: Option<String>,
    pub first: Instant,
    pub last: Instant,
    /// Readings that had it.
    pub seen: u32,
    /// Readings in a row that lacked it.
    pub missed: u32,
    /// Where it was in its last reading, and where it ever was.
    pub on: BTreeSet<UnitId>,
    pub units: BTreeSet<UnitId>,
    /// What is billed and not posted yet.
    pub stretches: Vec<Stretch>,
    /// The node fell silent since its last reading.
    #[serde(default)]
    pub lapsed: bool,
    pub order: Order,
    /// The member it is told to, beside the admins.
    pub member: Option<MemberId>,
    pub over: Option<(Instant, How)>,
}

impl Use {
    fn new(id: UseId, node: NodeId, sight: &Sight, now: Instant) -> Self {
        Self {
            id,
            node,
            process: sight.process.clone(),
            uid: sight.uid,
            user: sight.user.clone(),
            program: sight.program.clone(),
            first: now,
            last: now,
            seen: 1,
            missed: 0,
            on: sight.units.clone(),
            units: sight.units.clone(),
            stretches: Vec::new(),
            lapsed: false,
            order: Order::None,
            member: None,
            over: None,
        }
    }

    pub const fn is_believed(&self) -> bool {
        self.seen >= BELIEVED
    }

    pub const fn is_open(&self) -> bool {
        self.over.is_none()
    }

    /// The node is to end it now.
    pub const fn is_wanted_gone(&self) -> bool {
        self.is_open() && matches!(self.order, Order::Wanted { .. })
    }

    /// From its first to its last reading; at least a second, so that it can be drawn.
    pub fn window(&self) -> Window {
        let end = self.last.max(self.first.plus(Span::from_seconds(1)));
        Window::new(self.first, end).expect("a second is longer than nothing")
    }

    pub fn close(&mut self, how: How) {
        let how = if how == How::Gone && matches!(self.order, Order::Wanted { .. }) { How::Ended } else { how };
        self.over = Some((self.last, how));
    }

    /// Nothing was read of it for long: what it gathered is complete, and does not run on from there.
    pub fn lapse(&mut self) {
        self.lapsed = true;
    }

    /// Whether time that it gathered is to be posted now.
    pub fn owes(&self) -> bool {
        let complete = |one: &Stretch| one.from < one.to && (self.lapsed || one.closed);
        let done = |one: &Stretch| {
            self.over.is_some() || complete(one) || one.to < self.last || one.to.since(one.from) >= BILL_EVERY
        };
        self.is_believed() && self.stretches.iter().any(done)
    }

    fn take(&mut self, sight: &Sight, now: Instant) {
        (self.last, self.missed, self.seen) = (now, 0, self.seen.saturating_add(1));
        (self.uid, self.on, self.lapsed) = (sight.uid, sight.units.clone(), false);
        self.user.clone_from(&sight.user);
        self.units.extend(&sight.units);
    }
}

impl Round {
    /// Whether the GPU's processes were told, and this one was not among them.
    fn lacks(&self, process: &Process, unit: UnitId) -> bool {
        let mut there = self.sights.iter().filter(|sight| sight.units.contains(&unit)).peekable();
        let told = self.read.contains(&unit) || there.peek().is_some();
        told && !there.any(|sight| sight.process == *process)
    }
}

/// Takes a round in: `open` holds the node's uses that are not over and comes out as they are now; what ended in this
/// round is closed and still there. Uses that were never believed leave without a trace.
pub fn round(open: &mut Vec<Use>, node: NodeId, heard: &Round, now: Instant, mint: &mut dyn FnMut() -> UseId) {
    let mut fresh: BTreeMap<&Process, &Sight> = heard.sights.iter().map(|sight| (&sight.process, sight)).collect();
    let mut there: Vec<(UseId, &Sight, Instant)> = Vec::new();
    // One that is over is there until it was written down.
    for known in open.iter_mut().filter(|known| known.over.is_none()) {
        if known.process.boot != heard.boot {
            known.close(How::Restarted);
            continue;
        }
        for stretch in &mut known.stretches {
            stretch.closed |= heard.lacks(&known.process, stretch.unit);
        }
        match fresh.remove(&known.process) {
            Some(sight) => {
                there.push((known.id, sight, known.last));
                known.take(sight, now);
            }
            None if !known.on.is_empty() && known.on.is_subset(&heard.read) => known.missed += 1,
            None => {}
        }
        if known.missed >= BELIEVED || (known.missed > 0 && !known.is_believed()) {
            known.close(How::Gone);
        }
    }
    for sight in fresh.into_values() {
        let new = Use::new(mint(), node, sight, now);
        there.push((new.id, sight, now));
        open.push(new);
    }
    open.retain(|known| known.is_believed() || known.is_open());
    let payers = one_payer_each(open, &there);
    for known in open.iter_mut() {
        let Some(&(_, sight, before)) = there.iter().find(|(id, ..)| *id == known.id) else { continue };
        known.gather(sight, &payers, before, now);
    }
}

impl Use {
    /// Counts the time since the last reading, where that is near enough, for whoever pays now.
    fn gather(&mut self, sight: &Sight, payers: &BTreeMap<UnitId, Turn>, before: Instant, now: Instant) {
        let in_a_row = now.since(before) <= LAPSE;
        let id = self.id;
        for &unit in sight.units.iter().filter(|unit| payers.get(unit).is_some_and(|(.., first)| *first == id)) {
            let Some(payer) = sight.payer else { continue };
            let running = self
                .stretches
                .iter_mut()
                .find(|one| in_a_row && !one.closed && one.unit == unit && one.payer == payer && one.to == before);
            match running {
                Some(stretch) => stretch.to = now,
                None => self.stretches.push(Stretch { unit, from: now, to: now, payer, closed: false }),
            }
        }
        // A beginning without a second reading is no time.
        self.stretches.retain(|one| one.to == now || one.from < one.to);
    }
}

/// In whose turn a GPU is: the first sight, then the number, decide.
type Turn = (Instant, u32, UseId);

/// Where several processes that are paid for share a GPU, the one that was there first pays alone.
fn one_payer_each(open: &[Use], there: &[(UseId, &Sight, Instant)]) -> BTreeMap<UnitId, Turn> {
    let mut first: BTreeMap<UnitId, Turn> = BTreeMap::new();
    for (id, sight, _) in there {
        let Some(known) = open.iter().find(|known| known.id == *id) else { continue };
        if sight.payer.is_none() || known.process.started.is_none() {
            continue;
        }
        let turn = (known.first, known.process.pid, known.id);
        for &unit in &sight.units {
            let place = first.entry(unit).or_insert(turn);
            *place = (*place).min(turn);
        }
    }
    first
}

/// What the node is to do about a use, by the pool's policy. `needed`: a booking of one of its GPUs runs or is about to
/// start.
pub fn order(known: &Use, policy: &UnbookedPolicy, needed: bool, now: Instant) -> Order {
    let reason = match (policy.deed, needed && policy.clear) {
        (_, true) => Some(Reason::Booked),
        (Deed::End { after }, _) if now >= known.first.plus(after) => Some(Reason::Grace),
        _ => None,
    };
    let person = known.uid.is_some_and(|uid| policy.system || uid >= FIRST_PERSON);
    let may = known.is_believed() && known.is_open() && known.process.started.is_some() && person;
    match (&known.order, reason.filter(|_| may)) {
        (_, None) => Order::None,
        (Order::Refused { at, why }, Some(_)) if now < at.plus(ASK_AGAIN) => {
            Order::Refused { at: *at, why: why.clone() }
        }
        (Order::Wanted { since, .. }, Some(reason)) => Order::Wanted { since: *since, reason },
        (_, Some(reason)) => Order::Wanted { since: now, reason },
    }
}

/// Takes what is to be posted out of a use and leaves what runs on from where it stands.
pub fn settle(known: &mut Use) -> Vec<Stretch> {
    if !known.owes() {
        return Vec::new();
    }
    let (last, over) = (known.last, known.over.is_some() || known.lapsed);
    let mut due = Vec::new();
    for stretch in std::mem::take(&mut known.stretches) {
        if !over && !stretch.closed && stretch.to == last {
            known.stretches.push(Stretch { from: stretch.to, ..stretch });
        }
        due.push(stretch);
    }
    due.retain(|stretch| stretch.from < stretch.to);
    due
}

/// What of a stretch is billed: without the time that bookings have, and without what was billed before.
pub fn left(stretch: &Stretch, taken: &[Window]) -> Vec<Window> {
    let mut taken: Vec<Window> = taken.to_vec();
    taken.sort_by_key(|window| window.start());
    let (mut at, mut pieces) = (stretch.from, Vec::new());
    for window in taken.iter().filter(|window| window.end() > stretch.from && window.start() < stretch.to) {
        pieces.extend(Window::new(at, window.start()));
        at = at.max(window.end());
    }
    pieces.extend(Window::new(at, stretch.to));
    pieces.retain(|piece| piece.span().as_seconds() > 0);
    pieces
}

/// How many seconds of these can be billed at a rate (credits per GPU and hour) before `most` is reached.
pub fn affordable(seconds: i64, rate: Credits, most: Credits) -> i64 {
    if rate.micros() <= 0 {
        return seconds;
    }
    let seconds_for = i128::from(most.micros().max(0)) * 3600 / i128::from(rate.micros());
    seconds.min(i64::try_from(seconds_for).unwrap_or(i64::MAX))
}

/// A Unix user, by name or by number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnixName {
    Uid(u32),
    Name(String),
}

impl std::fmt::Display for UnixName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "user {uid}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Whose a Unix user is, by an admin's word; in one pool or everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnixUser {
    pub pool: Option<crate::base::ids::PoolId>,
    pub user: UnixName,
    pub member: MemberId,
    /// Who pays.
    pub team: TeamId,
    pub since: Instant,
    pub by: MemberId,
}

/// Time of a GPU that was billed as use outside bookings. Keyed by GPU and beginning: no second of a GPU has two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bill {
    pub unit: UnitId,
    pub window: Window,
    pub used: UseId,
    /// The pool whose policy billed it.
    pub pool: crate::base::ids::PoolId,
    pub payer: Payer,
    pub seconds: i64,
    /// Credits per GPU and hour.
    pub rate: Credits,
    pub amount: Credits,
    pub transfer: crate::base::ids::TransferId,
    pub voided: Option<Voided>,
}

/// An admin took a bill back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voided {
    pub at: Instant,
    pub by: MemberId,
    pub why: String,
    /// What gave it back; none where there was nothing to give.
    pub transfer: Option<crate::base::ids::TransferId>,
}

/// What a member was billed in one pool on one day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BilledDay {
    pub member: MemberId,
    pub pool: crate::base::ids::PoolId,
    /// Days since 1970, UTC.
    pub day: u64,
    pub amount: Credits,
}

/// The day of an instant, UTC.
pub fn day(at: Instant) -> u64 {
    at.as_seconds().div_euclid(86_400).try_into().unwrap_or(0)
}
