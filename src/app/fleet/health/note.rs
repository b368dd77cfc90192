//! News of GPUs in one transaction: evidence, the move that follows, the calendar, the leases that cannot go on, and a word
//! to the admins. It refuses to count twice what was written down already, and consequences of a fault as faults.
use std::collections::BTreeMap;
use std::sync::Arc;

use super::sift::{Sighting, What};
use crate::app::bookings::fault::{self, Broken};
use crate::app::bookings::{House, Voice, leases};
use crate::app::error::Answer;
use crate::app::fleet::brake::tell_admins;
use crate::app::fleet::join::{put_unit, units_of};
use crate::app::ids;
use crate::app::mill::Mill;
use crate::base::hardware::UnitShape;
use crate::base::ids::{EvidenceId, NodeId, UnitId};
use crate::base::window::{Instant, Span};
use crate::base::xid::{SAME_WITHIN, Told, XidFact};
use crate::domain::bookings::lease::{Lease, LeaseState};
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::evidence::{Evidence, Fault, Seen};
use crate::domain::fleet::hardware::absence;
use crate::domain::fleet::health::*;
use crate::domain::fleet::node::{Node, Service, Unit};
use crate::domain::fleet::xid::{AGAIN_WITHIN, Action, Table};
use crate::store::changes::Changes;
use crate::store::command::{Command, Reject};
use crate::store::read::{Order, Read, StoreError};
use crate::store::record::Key as _;
use crate::store::view::View;

/// The same Xid of the same GPU within this is one episode, and is written down once.
const EPISODE: Span = Span::from_minutes(10);
/// Evidence that is looked through for what came before.
const LOOKED_BACK: usize = 512;

/// Takes news of one node's GPUs in.
pub async fn take(mill: &Mill, node: NodeId, sightings: Vec<Sighting>) -> Answer<()> {
    let (speaking, table) = (mill.clone(), mill.health.table());
    let decide = move |view: &View<'_>, now: Instant| {
        let mut noting = Noting::begin(view, &speaking, Cause::Node(node), now)?;
        for sighting in &sightings {
            noting.sighting(node, sighting, &table)?;
        }
        noting.finish()
    };
    Ok(mill.store.write(Command::new(Cause::Node(node)), decide).await?)
}

/// A transaction about the health of GPUs while it is put together.
pub(super) struct Noting<'a, 'b> {
    view: &'a View<'b>,
    mill: &'a Mill,
    house: House,
    voice: Voice,
    cause: Cause,
    now: Instant,
    changes: Changes,
    /// What was read or changed so far.
    rows: BTreeMap<UnitId, GpuHealth>,
    seen: Vec<Evidence>,
    ended: Vec<Lease>,
}

impl<'a, 'b> Noting<'a, 'b> {
    pub fn begin(view: &'a View<'b>, mill: &'a Mill, cause: Cause, now: Instant) -> Result<Self, StoreError> {
        Ok(Self {
            view,
            mill,
            house: House::read(view)?,
            voice: Voice::of(mill),
            cause,
            now,
            changes: Changes::new(),
            rows: BTreeMap::new(),
            seen: Vec::new(),
            ended: Vec::new(),
        })
    }

    pub fn finish(mut self) -> Result<(Changes, ()), Reject> {
        for row in self.rows.values() {
            self.changes.put(row);
        }
        for evidence in &self.seen {
            self.changes.put(evidence);
        }
        Ok((self.changes, ()))
    }

    /// Where a GPU stands; in service where nothing was ever seen of it.
    pub fn health(&self, unit: &Unit) -> Result<GpuHealth, StoreError> {
        if let Some(row) = self.rows.get(&unit.id) {
            return Ok(row.clone());
        }
        Ok(self.view.get::<GpuHealth>(&unit.id)?.unwrap_or_else(|| fresh(unit, self.view, self.now)))
    }

    /// News of a GPU, for each bookable unit of it.
    fn sighting(&mut self, node: NodeId, sighting: &Sighting, table: &Arc<Table>) -> Result<(), Reject> {
        for unit in units_of(self.view, node)?.iter().filter(|unit| is_of(unit, &sighting.uuid)) {
            match &sighting.what {
                What::Xid(fact) => self.xid(unit, fact, sighting, table)?,
                What::Counter { what, before, after, signal, fault, trial } => {
                    let (before, after) = (*before, *after);
                    let seen = Seen::Counter { what: (*what).to_owned(), before, after };
                    let fault = if *trial { Fault::Nothing } else { *fault };
                    self.signal(unit, seen, fault, sighting.at, signal, *trial)?;
                }
            }
        }
        Ok(())
    }

    fn xid(&mut self, unit: &Unit, fact: &XidFact, news: &Sighting, table: &Arc<Table>) -> Result<(), Reject> {
        let (rule, section) = table.rule(fact);
        let earlier = self.earlier(unit.id, fact.code)?;
        let apart = |at: &Instant| fact.at.since(*at).as_millis().abs();
        // The kernel's line says more than the driver's event of the same moment; the other way round nothing is new.
        let bare = fact.told == Told::Driver;
        let known = |(at, of): &(Instant, String)| {
            (*of == section && apart(at) <= EPISODE.as_millis()) || (bare && apart(at) <= SAME_WITHIN.as_millis())
        };
        if earlier.iter().any(known) {
            return Ok(());
        }
        let before = |at: &Instant| (EPISODE.as_millis()..=AGAIN_WITHIN.as_millis()).contains(&apart(at));
        let action = rule.action(earlier.iter().any(|(at, _)| before(at)));
        let what = format!("Xid {}: {}", fact.code, rule.says);
        let fault = match action {
            _ if rule.tenant => Fault::Tenant,
            Action::Check => Fault::Hardware,
            action if action.is_hard() => Fault::Hardware,
            Action::Links => Fault::Degraded,
            _ => Fault::Nothing,
        };
        // What a GPU that is out says is the same fault, or what is done to it.
        let out = !self.health(unit)?.state.stage().is_bookable();
        let fault = if out { Fault::Nothing } else { fault };
        let (says, text) = (rule.says.clone(), fact.text.clone());
        let seen = Seen::Xid { code: fact.code, section, says, text, action, told: fact.told };
        if rule.ends_lease {
            self.end_leases(unit, &what, news)?;
        }
        match signal(action, &what) {
            Some(signal) => self.signal(unit, seen, fault, fact.at, &signal, false)?,
            None => self.write(unit, seen, fault, fact.at)?,
        }
        Ok(())
    }

    /// When the same Xid was seen of this GPU before, and by which section it was judged.
    fn earlier(&self, unit: UnitId, code: u32) -> Result<Vec<(Instant, String)>, StoreError> {
        let rows: Vec<Evidence> = self.view.list(&unit.bytes(), Order::Descending, LOOKED_BACK)?;
        let all = rows.iter().chain(self.seen.iter().filter(|row| row.unit == unit));
        Ok(all
            .filter_map(|row| match &row.seen {
                Seen::Xid { code: of, section, .. } if *of == code => Some((row.at, section.clone())),
                _ => None,
            })
            .collect())
    }

    fn end_leases(&mut self, unit: &Unit, what: &str, news: &Sighting) -> Result<(), Reject> {
        for lease in leases::on_node(self.view, unit.node)? {
            let runs = matches!(lease.state, LeaseState::Starting { .. } | LeaseState::Ready { .. });
            let known = self.ended.iter().any(|ended| ended.id == lease.id);
            if !runs || known || !lease.units.contains(&unit.id) || news.at < lease.window.start() {
                continue;
            }
            let gpu = format!("GPU {} of {}", unit.index, self.view.must::<Node>(&unit.node)?.name);
            let proof = news.proof.unwrap_or(news.at).min(news.at);
            let broken = Broken { gpu: &gpu, what, at: news.at, proof };
            let seen = Seen::LeaseEnded { lease: lease.id, proof, why: what.to_owned() };
            let scene = (self.view, &self.house, &self.voice);
            let ended = fault::end(scene, &mut self.changes, self.cause, lease, &broken, self.now)?;
            self.ended.push(ended);
            self.write(unit, seen, Fault::Nothing, self.now)?;
        }
        Ok(())
    }

    /// Writes evidence and takes the step that follows.
    pub fn signal(
        &mut self,
        unit: &Unit,
        seen: Seen,
        fault: Fault,
        at: Instant,
        signal: &Signal,
        trial: bool,
    ) -> Result<(), Reject> {
        self.write(unit, seen, fault, at)?;
        self.step(unit, signal, trial).map(|_| ())
    }

    /// Takes a step, with everything that follows from it.
    pub fn step(&mut self, unit: &Unit, signal: &Signal, trial: bool) -> Result<Outcome, Reject> {
        let before = self.health(unit)?;
        let scene = Scene { now: self.now, busy: self.busy(unit)?, brake: self.brake(unit.node)?, trial };
        let (after, outcome) = step(before.clone(), signal, &scene);
        match &outcome {
            Outcome::Nothing | Outcome::Noted | Outcome::Refused(_) => {}
            Outcome::Moved { from, to, why } => {
                self.write(unit, Seen::Moved { from: *from, to: *to, why: why.clone() }, Fault::Nothing, self.now)?;
                self.serve(unit, &before.state, &after.state)?;
                self.tell(unit, *from, *to, why)?;
            }
            Outcome::Held { would, why } | Outcome::Trial { would, why } => {
                let seen = Seen::NotMoved { would: *would, why: why.clone(), trial };
                self.write(unit, seen, Fault::Nothing, self.now)?;
            }
        }
        if after != before {
            self.rows.insert(unit.id, after);
        }
        Ok(outcome)
    }

    pub fn write(&mut self, unit: &Unit, seen: Seen, fault: Fault, at: Instant) -> Result<(), StoreError> {
        let id = EvidenceId::from_u128(ids::fresh());
        let simulated = self.house.installation.simulated();
        self.seen.push(Evidence { id, unit: unit.id, node: unit.node, at, seen, fault, simulated, contest: None });
        Ok(())
    }

    fn busy(&self, unit: &Unit) -> Result<bool, StoreError> {
        let waits = |lease: &Lease| matches!(lease.state, LeaseState::Granted);
        let on_node = leases::on_node(self.view, unit.node)?;
        Ok(on_node.iter().any(|lease| !waits(lease) && !lease.is_over() && lease.units.contains(&unit.id)))
    }

    /// Whether so many nodes go at once, this one included, that what is not beyond doubt waits.
    fn brake(&self, node: NodeId) -> Result<bool, StoreError> {
        let rows: Vec<GpuHealth> = self.view.list(&[], Order::Ascending, usize::MAX)?;
        let lately = |at: Instant| self.now.since(at) < BRAKE_WITHIN;
        let goes = |row: &&GpuHealth| match &row.state {
            State::Draining { since, .. } => lately(*since),
            _ => row.quarantines.iter().any(|at| lately(*at)),
        };
        let mut going: Vec<NodeId> = rows.iter().chain(self.rows.values()).filter(goes).map(|row| row.node).collect();
        going.push(node);
        going.sort_unstable();
        going.dedup();
        Ok(held_back(going.len(), self.view.supply().joined))
    }

    /// Out of the calendar, or back in it, unless it is out for another reason by then.
    fn serve(&mut self, unit: &Unit, before: &State, after: &State) -> Result<(), StoreError> {
        let mut unit: Unit = self.view.get(&unit.id)?.unwrap_or_else(|| unit.clone());
        if after.stage().is_bookable() {
            let word = before.stage().word();
            if !matches!(&unit.service, Service::Out { why, .. } if why.starts_with(word)) {
                return Ok(());
            }
            let node: Node = self.view.must(&unit.node)?;
            unit.service = match absence(&unit, &node.observed) {
                None => Service::In,
                Some(why) => Service::Out { since: self.now, why: why.to_owned() },
            };
        } else {
            let why = format!("{}: {}", after.stage().word(), after.why());
            unit.service = Service::Out { since: after.since(), why };
        }
        put_unit(&mut self.changes, &unit);
        Ok(())
    }

    fn tell(&mut self, unit: &Unit, from: Stage, to: Stage, why: &str) -> Result<(), Reject> {
        let (id, node) = (unit.id, unit.node);
        let (before, after) = (from.word().to_owned(), to.word().to_owned());
        self.changes
            .event(self.cause, Event::GpuMoved { unit: id, node, from: before, to: after, why: why.to_owned() });
        let by_a_person = matches!(self.cause, Cause::Member(_));
        if by_a_person || to.is_bookable() || !(from.is_bookable() || from == Stage::Probation) {
            return Ok(());
        }
        let gpu = format!("GPU {} of {}", unit.index, self.view.must::<Node>(&node)?.name);
        let subject = format!("{gpu} is {}", to.word());
        let text = format!(
            "{why}. It takes nothing new; what is booked on it is moved to equal GPUs where these are free. Its page shows \
             what was seen, and what to do."
        );
        tell_admins(self.mill, self.view, &mut self.changes, &subject, &text, self.now)
    }
}

/// The standing of a GPU of which nothing was ever seen.
pub(super) fn fresh(unit: &Unit, view: &impl Read, now: Instant) -> GpuHealth {
    let since = view.get::<Node>(&unit.node).ok().flatten().map_or(now, |node| node.joined);
    GpuHealth::new(unit.id, unit.node, State::InService { since })
}

/// Whether a unit is this GPU or an instance of it.
fn is_of(unit: &Unit, uuid: &str) -> bool {
    match &unit.shape {
        UnitShape::Gpu => unit.uuid == uuid,
        UnitShape::Mig { parent_uuid, .. } => unit.uuid == uuid || parent_uuid == uuid,
    }
}

/// What an action is to the rules; `None`: it is only written down.
fn signal(action: Action, what: &str) -> Option<Signal> {
    let what = what.to_owned();
    let hard = |remedy| Signal::Hard { what: what.clone(), remedy };
    Some(match action {
        Action::Log => return None,
        Action::Probe => Signal::Tenant { what },
        Action::Suspect | Action::Check => Signal::Soft { what },
        Action::Boundary => Signal::Boundary { what },
        Action::Links => Signal::Links { what },
        Action::Reset => hard(Remedy::Reset),
        Action::Deep => hard(Remedy::DeepReset),
        Action::Reboot => hard(Remedy::Reboot),
        Action::Review => hard(Remedy::Person),
    })
}
