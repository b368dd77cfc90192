//! What nodes say their GPUs read: taken in, looked at, kept, and told to people. Agent's words are hostile: only readings of
//! the node's own units count, values beyond what a GPU can read are missing, text is stripped, and who talks too often is
//! not listened to. It refuses to let a reading change anything but pages and metrics.
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use super::join::units_of;
use super::show;
use crate::app::bookings::show::Reader;
use crate::app::error::Answer;
use crate::app::mill::Mill;
use crate::base::ids::{BookingId, NodeId, UnitId};
use crate::base::telemetry::{Activity, GpuProcess, GpuReading, MOST_PROCESSES, RemappedRows};
use crate::base::text::without_control;
use crate::base::window::{Instant, Span, Window};
use crate::domain::bookings::booking::Booking;
use crate::domain::bookings::lease::Lease;
use crate::domain::fleet::hardware::MOST_GPUS;
use crate::domain::fleet::node::Unit;
use crate::domain::notice::Common;
use crate::domain::people::rights::Actor;
use crate::store::read::{Read, StoreError};
use crate::store::samples::{Kept, Point, Samples, Tier};
use crate::wire::api::fleet::{GpuView, NodeView};

/// A reading older than this is no longer what the GPU reads.
pub const FRESH_FOR: Span = Span::from_seconds(45);
/// Rounds that come faster than this are not listened to.
const SOONEST: Span = Span::from_seconds(5);
/// Most letters of a user's or a program's name.
const NAME_LIMIT: usize = 64;
/// Bookings that are drawn under one chart.
const MOST_UNDER: usize = 400;
/// Moments of one chart.
const MOST_MOMENTS: i64 = 480;

/// The last readings in memory, and those before in a file where there is one.
#[derive(Default)]
pub struct Telemetry {
    latest: RwLock<HashMap<UnitId, (Instant, GpuReading)>>,
    heard: Mutex<HashMap<NodeId, Instant>>,
    history: OnceLock<Samples>,
}

impl Telemetry {
    /// Keeps readings there from now on.
    pub fn keep_in(&self, samples: Samples) {
        if self.history.set(samples).is_err() {
            tracing::warn!("readings are kept in one file; a second one was not taken");
        }
    }

    /// What the unit reads, and when; `None` where nothing was heard lately.
    pub fn latest(&self, unit: UnitId, now: Instant) -> Option<(Instant, GpuReading)> {
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        latest.get(&unit).filter(|(at, _)| now.since(*at) <= FRESH_FOR).cloned()
    }

    /// What is kept of the past; `None` where nothing is.
    pub fn kept(&self) -> Option<Kept> {
        self.history.get().map(Samples::kept)
    }

    /// Writes what waits and closes the file.
    pub fn stop(&self) {
        if let Some(history) = self.history.get() {
            history.stop();
        }
    }

    fn heard(&self) -> MutexGuard<'_, HashMap<NodeId, Instant>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a node may be listened to now.
    fn may_speak(&self, node: NodeId, now: Instant) -> bool {
        let mut heard = self.heard();
        let soon = heard.get(&node).is_some_and(|before| now >= *before && now.since(*before) < SOONEST);
        if !soon {
            heard.insert(node, now);
        }
        !soon
    }
}

/// Takes in a round of a node's readings; answers what of it is believed, where the node was listened to.
pub fn take(
    mill: &Mill,
    node: NodeId,
    gpus: Vec<GpuReading>,
    now: Instant,
) -> Answer<Option<HashMap<UnitId, GpuReading>>> {
    if !mill.telemetry.may_speak(node, now) {
        tracing::debug!(%node, "a node tells its readings too often");
        return Ok(None);
    }
    let view = mill.store.read()?;
    let units = units_of(&view, node)?;
    let mut read = HashMap::new();
    for reading in gpus.into_iter().take(MOST_GPUS) {
        let Some(unit) = units.iter().find(|unit| unit.uuid == reading.uuid) else { continue };
        read.insert(unit.id, believed(&view, node, unit, reading)?);
    }
    drop(view);
    if let Some(history) = mill.telemetry.history.get() {
        read.iter().for_each(|(&unit, reading)| history.add(unit, now, point(reading)));
    }
    let mut latest = mill.telemetry.latest.write().unwrap_or_else(PoisonError::into_inner);
    latest.extend(read.iter().map(|(&unit, reading)| (unit, (now, reading.clone()))));
    Ok(Some(read))
}

/// The reading as far as it can be true.
fn believed(view: &impl Read, node: NodeId, unit: &Unit, said: GpuReading) -> Result<GpuReading, StoreError> {
    let small = |value: Option<u32>, most: u32| value.filter(|value| *value <= most);
    let large = |value: Option<u64>, most: u64| value.filter(|value| *value <= most);
    let rows = |rows: &RemappedRows| rows.corrected <= 1 << 20 && rows.uncorrected <= 1 << 20;
    let mut processes = said.processes;
    for process in processes.iter_mut().flatten() {
        *process = told(view, node, std::mem::take(process))?;
    }
    if let Some(processes) = &mut processes {
        processes.truncate(MOST_PROCESSES);
    }
    Ok(GpuReading {
        uuid: unit.uuid.clone(),
        utilisation: small(said.utilisation, 100),
        memory_activity: small(said.memory_activity, 100),
        memory_used_bytes: large(said.memory_used_bytes, unit.memory_bytes),
        memory_free_bytes: large(said.memory_free_bytes, unit.memory_bytes),
        temperature: small(said.temperature, 150),
        memory_temperature: small(said.memory_temperature, 150),
        // No card draws 10 kW; at 2 kW it would take 140 years to use 2^63 mJ.
        power_milliwatts: large(said.power_milliwatts, 10_000_000),
        energy_millijoules: large(said.energy_millijoules, i64::MAX.unsigned_abs()),
        sm_clock_mhz: small(said.sm_clock_mhz, 20_000),
        memory_clock_mhz: small(said.memory_clock_mhz, 50_000),
        throttle_reasons: said.throttle_reasons,
        ecc_corrected: said.ecc_corrected,
        ecc_uncorrected: said.ecc_uncorrected,
        remapped: said.remapped.filter(rows),
        pcie_replays: said.pcie_replays,
        last_xid: large(said.last_xid, 100_000),
        nvlink_sent_bytes: large(said.nvlink_sent_bytes, i64::MAX.unsigned_abs()),
        nvlink_received_bytes: large(said.nvlink_received_bytes, i64::MAX.unsigned_abs()),
        activity: activity(said.activity),
        processes,
    })
}

/// Shares of at most the whole, and rates that a bus or a link can have: 100 TB/s is ten times what any has.
fn activity(said: Activity) -> Activity {
    let share = |value: Option<u32>| value.filter(|value| *value <= 1000);
    let rate = |value: Option<u64>| value.filter(|value| *value <= 100_000_000_000_000);
    Activity {
        graphics: share(said.graphics),
        sm: share(said.sm),
        tensor: share(said.tensor),
        dram: share(said.dram),
        pcie_sent: rate(said.pcie_sent),
        pcie_received: rate(said.pcie_received),
        nvlink_sent: rate(said.nvlink_sent),
        nvlink_received: rate(said.nvlink_received),
    }
}

/// A process with names that can be shown, and with its lease only where that is the node's own.
fn told(view: &impl Read, node: NodeId, said: GpuProcess) -> Result<GpuProcess, StoreError> {
    let name = |text: Option<String>| -> Option<String> {
        let plain: String = without_control(&text?).trim().chars().take(NAME_LIMIT).collect();
        Some(plain).filter(|plain| !plain.is_empty())
    };
    let lease = said.lease.map(|lease| view.get::<Lease>(&lease)).transpose()?.flatten();
    Ok(GpuProcess {
        user: name(said.user),
        name: name(said.name),
        lease: lease.filter(|lease| lease.node == node).map(|lease| lease.id),
        memory_bytes: said.memory_bytes.filter(|bytes| *bytes <= 1 << 44),
        ..said
    })
}

/// What is kept of a reading.
fn point(reading: &GpuReading) -> Point {
    let small = |value: Option<u32>| value.and_then(|value| u8::try_from(value).ok());
    let percent = |permille: Option<u32>| small(permille.map(|permille| (permille + 5) / 10));
    Point {
        utilisation: small(reading.utilisation),
        memory_activity: small(reading.memory_activity),
        temperature: small(reading.temperature),
        memory_temperature: small(reading.memory_temperature),
        watts: reading.power_milliwatts.and_then(|milliwatts| u16::try_from((milliwatts + 500) / 1000).ok()),
        sm_mhz: reading.sm_clock_mhz.and_then(|clock| u16::try_from(clock).ok()),
        memory_mib: reading.memory_used_bytes.and_then(|bytes| u32::try_from(bytes >> 20).ok()),
        sm: percent(reading.activity.sm),
        tensor: percent(reading.activity.tensor),
        dram: percent(reading.activity.dram),
        nvlink_mb: reading.activity.nvlink().and_then(|bytes| u32::try_from(bytes / 1_000_000).ok()),
    }
}

/// What a GPU read over a window, at even steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// When the first moment begins.
    pub start: Instant,
    pub step: Span,
    /// One per step; empty where nothing was read.
    pub points: Vec<Point>,
}

/// Reads the past of several GPUs on one axis that ends now, finely enough for a chart.
pub fn history(mill: &Mill, units: &[UnitId], back: Span, now: Instant) -> Answer<Vec<History>> {
    let samples = mill.telemetry.history.get();
    let tier = samples.map_or(Tier::Fine, |samples| samples.tier_for(back));
    let tick = tier.step().as_millis();
    let many = (back.as_millis() / tick / MOST_MOMENTS).max(1);
    let step = Span::from_millis(tick * many);
    // Whole steps, so that a moment stays in its place from one look to the next.
    let end = Instant::from_millis((now.as_millis().div_euclid(step.as_millis()) + 1) * step.as_millis());
    let count = back.as_millis().div_euclid(step.as_millis()).max(1);
    let start = end.minus(Span::from_millis(count * step.as_millis()));
    let mut all = Vec::new();
    for &unit in units {
        let found = samples.map(|samples| samples.series(unit, tier, start, end)).transpose()?.unwrap_or_default();
        let mut gathered: Vec<Vec<Point>> = vec![Vec::new(); usize::try_from(count).unwrap_or(0)];
        for (at, point) in found {
            let place = usize::try_from(at.since(start).as_millis() / step.as_millis()).unwrap_or(usize::MAX);
            if let Some(place) = gathered.get_mut(place) {
                place.push(point);
            }
        }
        let mut points: Vec<Point> = gathered.iter().map(|points| Point::over(points)).collect();
        if tier == Tier::Fine && many == 1 {
            bridge(&mut points);
        }
        all.push(History { start, step, points });
    }
    Ok(all)
}

/// Readings come every ten seconds, and a moment later or earlier than the grid has it: where one place alone was passed over,
/// what was read before still held. Longer silences stay what they are.
fn bridge(points: &mut [Point]) {
    for place in 1..points.len().saturating_sub(1) {
        if points[place].is_empty() && !points[place + 1].is_empty() {
            points[place] = points[place - 1];
        }
    }
}

/// A booking's time on a GPU, as far as the reader may know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Under {
    pub unit: UnitId,
    pub window: Window,
    pub label: String,
    pub mine: bool,
    pub booking: Option<BookingId>,
}

/// Who had these GPUs in a window.
pub fn under(mill: &Mill, who: &Actor, units: &[UnitId], window: Window, now: Instant) -> Answer<Vec<Under>> {
    let view = mill.store.read()?;
    let calendar = view.calendar();
    let mut reader = Reader::new(&view, who, now)?;
    let mut known: HashMap<_, Under> = HashMap::new();
    let mut found = Vec::new();
    for &unit in units {
        // The latest ones, where there are too many to tell apart anyway.
        for slot in calendar.busy(unit, window).iter().rev().take(MOST_UNDER) {
            if let Some(same) = known.get(&slot.lease) {
                found.push(Under { unit, ..same.clone() });
                continue;
            }
            let lease: Lease = view.must(&slot.lease)?;
            let booking: Booking = view.must(&lease.booking)?;
            let sees = who.sees(booking.team);
            let label = if sees { booking.ask.title.clone() } else { reader.team(booking.team)? };
            let Some(shown) = lease.window.intersection(window) else { continue };
            let mine = booking.member == who.member;
            let one = Under { unit, window: shown, label, mine, booking: sees.then_some(booking.id) };
            known.insert(slot.lease, one.clone());
            found.push(one);
        }
    }
    Ok(found)
}

/// A GPU or instance by its unit, with its node, as people see them.
pub fn gpu(mill: &Mill, who: &Actor, id: UnitId, now: Instant) -> Answer<(NodeView, GpuView)> {
    let missing = Common::NotFound { what: "GPU" };
    let unit: Unit = mill.store.read()?.get(&id)?.ok_or(missing.clone())?;
    let node = show::node(mill, who, unit.node, now)?;
    let gpu = node.gpus.iter().find(|gpu| gpu.id == id).cloned().ok_or(missing)?;
    Ok((node, gpu))
}

/// A process on a GPU as far as the reader may know: that somebody computes there is everybody's business, with which
/// program only theirs who see the booking, and the admins'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub process: GpuProcess,
    pub booking: Option<BookingId>,
    /// It belongs to a lease.
    pub booked: bool,
}

/// The processes of a reading, for a reader.
pub fn processes(mill: &Mill, who: &Actor, reading: &GpuReading) -> Answer<Option<Vec<Seen>>> {
    let Some(processes) = &reading.processes else { return Ok(None) };
    let view = mill.store.read()?;
    let mut seen = Vec::new();
    for process in processes {
        let lease = process.lease.map(|lease| view.get::<Lease>(&lease)).transpose()?.flatten();
        let booking = lease.as_ref().map(|lease| view.get::<Booking>(&lease.booking)).transpose()?.flatten();
        let sees = who.admin || booking.as_ref().is_some_and(|booking| who.sees(booking.team));
        let name = process.name.clone().filter(|_| sees);
        seen.push(Seen {
            process: GpuProcess { name, ..process.clone() },
            booked: lease.is_some(),
            booking: booking.filter(|_| sees).map(|booking| booking.id),
        });
    }
    Ok(Some(seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_passed_over_is_bridged_and_a_silence_is_not() {
        let read = |percent: Option<u8>| Point { utilisation: percent, ..Point::default() };
        let mut points: Vec<Point> =
            [None, Some(1), None, Some(3), None, None, Some(6), None].into_iter().map(read).collect();
        bridge(&mut points);
        let bridged: Vec<Option<u8>> = points.iter().map(|point| point.utilisation).collect();
        assert_eq!(bridged, [None, Some(1), Some(1), Some(3), None, None, Some(6), None]);
    }
}
