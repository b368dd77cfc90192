//! Bookings as people read them: one, or a list, each with why it is in its state and what may be done with it. It refuses
//! to show what the reader has no right to, and answers then as if it did not exist.
use std::collections::HashMap;

use super::{House, leases};
use crate::app::error::{Answer, AppError};
use crate::app::mill::Mill;
use crate::base::ids::{BookingId, MemberId, NodeId, TeamId};
use crate::base::window::Instant;
use crate::domain::bookings::booking::{Booking, BookingState, EndCause, Exit, Workload};
use crate::domain::bookings::explain::{self, Nodes};
use crate::domain::bookings::lease::{Lease, LeaseState};
use crate::domain::fleet::node::{Node, Unit};
use crate::domain::notice::Common;
use crate::domain::people::member::{Member, Team};
use crate::domain::people::rights::Actor;
use crate::store::read::{Order, Read, StoreError};
use crate::store::record::Key as _;
use crate::store::tables::Table;
use crate::wire::api::bookings::{BookingView, LeaseView};

/// Bookings on one page of a list, at most.
pub const PAGE: usize = 200;

/// Which bookings to list, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of one team; otherwise of all that the reader sees.
    pub team: Option<TeamId>,
    /// Made by the reader.
    pub mine: bool,
    /// Only those that are not over.
    pub live: bool,
    /// At most so many; [`PAGE`] when absent.
    pub limit: Option<usize>,
}

/// One booking.
pub fn show(mill: &Mill, actor: &Actor, id: BookingId, now: Instant) -> Answer<BookingView> {
    let view = mill.store.read()?;
    let booking = visible(&view, actor, id)?;
    Ok(Reader::new(&view, actor, now)?.booking(&booking)?)
}

/// The booking as stored, if the actor may see it: for those who open its terminal or its log.
pub fn visible(view: &impl Read, actor: &Actor, id: BookingId) -> Answer<Booking> {
    view.get::<Booking>(&id)?
        .filter(|booking| actor.sees(booking.team))
        .ok_or_else(|| AppError::from(Common::NotFound { what: "booking" }))
}

/// Bookings that the actor sees.
pub fn list(mill: &Mill, actor: &Actor, filter: &Filter, now: Instant) -> Answer<Vec<BookingView>> {
    let view = mill.store.read()?;
    if filter.team.is_some_and(|team| !actor.sees(team)) {
        return Err(Common::NotFound { what: "team" }.into());
    }
    let found = find(&view, actor, filter)?;
    let mut reader = Reader::new(&view, actor, now)?;
    found.iter().map(|booking| Ok(reader.booking(booking)?)).collect()
}

fn find(view: &impl Read, actor: &Actor, filter: &Filter) -> Result<Vec<Booking>, StoreError> {
    let limit = filter.limit.unwrap_or(PAGE).min(PAGE);
    // Those that a filter drops are read too; a list is short, and live bookings have an index of their own.
    let reach = if filter.live || filter.mine { PAGE * 50 } else { limit };
    let newest = Order::Descending;
    let mut found: Vec<Booking> = match (filter.team, filter.live, actor.admin, filter.mine) {
        (Some(team), ..) => view.list_via(Table::BookingsByTeam, &team.bytes(), newest, reach)?,
        (None, _, _, true) => view.list_via(Table::BookingsByMember, &actor.member.bytes(), newest, reach)?,
        (None, true, ..) => view.list_via(Table::LiveBookings, &[], newest, reach)?,
        (None, false, true, _) => view.list(&[], newest, reach)?,
        (None, false, false, _) => {
            let mut all = Vec::new();
            for membership in &actor.memberships {
                let prefix = membership.team.bytes();
                all.extend(view.list_via::<Booking>(Table::BookingsByTeam, &prefix, newest, reach)?);
            }
            all.sort_unstable_by_key(|booking| std::cmp::Reverse(booking.id));
            all
        }
    };
    found.retain(|booking| {
        actor.sees(booking.team)
            && (!filter.mine || booking.member == actor.member)
            && (!filter.live || booking.state.is_live())
    });
    found.truncate(limit);
    Ok(found)
}

/// Turns records into views, looking each name up once.
pub struct Reader<'a, R: Read> {
    view: &'a R,
    actor: &'a Actor,
    house: House,
    now: Instant,
    teams: HashMap<TeamId, String>,
    members: HashMap<MemberId, String>,
    nodes: HashMap<NodeId, (String, (bool, Instant))>,
}

impl<'a, R: Read> Reader<'a, R> {
    pub fn new(view: &'a R, actor: &'a Actor, now: Instant) -> Result<Self, StoreError> {
        let house = House::read(view)?;
        Ok(Self { view, actor, house, now, teams: HashMap::new(), members: HashMap::new(), nodes: HashMap::new() })
    }

    pub fn team(&mut self, id: TeamId) -> Result<String, StoreError> {
        if let Some(name) = self.teams.get(&id) {
            return Ok(name.clone());
        }
        let name = self.view.must::<Team>(&id)?.name.to_string();
        self.teams.insert(id, name.clone());
        Ok(name)
    }

    fn member(&mut self, id: MemberId) -> Result<String, StoreError> {
        if let Some(name) = self.members.get(&id) {
            return Ok(name.clone());
        }
        let name = self.view.must::<Member>(&id)?.name.to_string();
        self.members.insert(id, name.clone());
        Ok(name)
    }

    fn node(&mut self, id: NodeId) -> Result<(String, (bool, Instant)), StoreError> {
        if let Some(known) = self.nodes.get(&id) {
            return Ok(known.clone());
        }
        let found = (self.view.must::<Node>(&id)?.name.to_string(), leases::contact(self.view, id)?);
        self.nodes.insert(id, found.clone());
        Ok(found)
    }

    pub fn booking(&mut self, booking: &Booking) -> Result<BookingView, StoreError> {
        let leases = leases::of_booking(self.view, booking)?;
        let mut nodes = Nodes::default();
        for lease in &leases {
            let (name, (connected, last)) = self.node(lease.node)?;
            if !connected && nodes.away.is_none() {
                nodes.away = Some((name.clone(), last));
            }
            nodes.names.push(name);
        }
        let manages = self.actor.manages_booking(booking.team, booking.member);
        let works = self.actor.works_in(booking.team, booking.member);
        let (cause, exit, cost) = outcome(&booking.state);
        Ok(BookingView {
            id: booking.id,
            team: booking.team,
            team_name: self.team(booking.team)?,
            member: booking.member,
            member_name: self.member(booking.member)?,
            title: booking.ask.title.clone(),
            gpus: booking.ask.gpus,
            model: booking.rate.model.clone(),
            start: booking.window.start().into(),
            end: booking.window.end().into(),
            workload: match booking.ask.workload {
                Workload::Workspace => "workspace",
                Workload::Batch { .. } => "batch",
                Workload::Ray => "ray",
            }
            .to_owned(),
            command: match &booking.ask.workload {
                Workload::Batch { command } => Some(command.clone()),
                Workload::Workspace | Workload::Ray => None,
            },
            state: booking.state.word().to_owned(),
            explanation: explain::explain(booking, &nodes, self.now, &self.house.zone),
            cause: cause.map(|cause| cause_word(cause).to_owned()),
            exit_code: exit.map(exit_code),
            price: booking.held.into(),
            cost: cost.map(Into::into),
            rate_per_gpu_hour: booking.rate.per_gpu_hour.into(),
            share: booking.share,
            leases: leases.iter().map(|lease| self.lease(lease)).collect::<Result<_, _>>()?,
            created: booking.created.into(),
            allowed: explain::allowed(booking, manages, works).into_iter().map(str::to_owned).collect(),
            simulated: self.house.installation.simulated(),
        })
    }

    fn lease(&mut self, lease: &Lease) -> Result<LeaseView, StoreError> {
        let (mut gpu_indexes, mut gpu_names) = (Vec::new(), Vec::new());
        for unit in &lease.units {
            // A unit that was taken out of the fleet since leaves only its id behind.
            let Some(unit) = self.view.get::<Unit>(unit)? else { continue };
            gpu_indexes.push(unit.index);
            gpu_names.push(unit.shape.name(unit.index));
        }
        let (state, ended_at) = match lease.state {
            LeaseState::Granted => ("granted", None),
            LeaseState::Starting { .. } => ("starting", None),
            LeaseState::Ready { .. } => ("ready", None),
            LeaseState::Stopping { .. } => ("stopping", None),
            LeaseState::Ended { at, .. } => ("ended", Some(at)),
            LeaseState::Failed { at, .. } => ("failed", Some(at)),
        };
        Ok(LeaseView {
            id: lease.id,
            node: lease.node,
            node_name: self.node(lease.node)?.0,
            units: lease.units.clone(),
            gpu_indexes,
            gpu_names,
            lacking: lease.lacking.clone(),
            state: state.to_owned(),
            ready_since: leases::ready(lease).map(Into::into),
            ended_at: ended_at.map(Into::into),
            attempt: lease.attempt,
        })
    }
}

fn outcome(state: &BookingState) -> (Option<EndCause>, Option<Exit>, Option<crate::base::credits::Credits>) {
    match state {
        BookingState::Ended { cause, exit, cost, .. } => (Some(*cause), *exit, Some(*cost)),
        BookingState::Ending { cause, .. } => (Some(*cause), None, None),
        BookingState::Failed { cost, .. } => (None, None, Some(*cost)),
        BookingState::Cancelled { .. } => (None, None, Some(crate::base::credits::Credits::ZERO)),
        BookingState::Booked | BookingState::Starting { .. } | BookingState::Active { .. } => (None, None, None),
    }
}

pub const fn cause_word(cause: EndCause) -> &'static str {
    match cause {
        EndCause::TimeUp => "time_up",
        EndCause::Finished => "finished",
        EndCause::Released => "released",
        EndCause::Lost => "lost",
        EndCause::Stopped => "stopped",
    }
}

/// As a shell counts it: 128 and the signal for a command that a signal ended.
const fn exit_code(exit: Exit) -> i32 {
    match exit {
        Exit::Code(code) => code,
        Exit::Signal(signal) => 128_i32.saturating_add(signal),
    }
}
