//! The calendar as people see it: GPUs by time. It refuses to name other teams' work; who has a GPU is everybody's
//! business, what they do with it is not.
use std::collections::HashMap;

use super::show::Reader;
use crate::app::error::Answer;
use crate::app::mill::Mill;
use crate::base::hardware::UnitShape;
use crate::base::ids::{LeaseId, NodeId};
use crate::base::window::{Instant, Span, Window};
use crate::domain::bookings::booking::Booking;
use crate::domain::bookings::calendar::{Calendar, Slot};
use crate::domain::bookings::lease::Lease;
use crate::domain::fleet::duty::{Duty, Maintenance};
use crate::domain::fleet::node::{Node, NodeContact, NodeState, Service, Unit};
use crate::domain::notice::Common;
use crate::domain::people::rights::Actor;
use crate::store::read::{Order, Read, StoreError};
use crate::wire::api::bookings::{CalendarBusy, CalendarNode, CalendarUnit, CalendarView};

/// The longest stretch that is shown at once.
const WIDEST: Span = Span::from_days(62);

/// Who holds which GPU in a window, as far as the reader may know.
pub fn calendar(mill: &Mill, actor: &Actor, from: Instant, until: Instant, now: Instant) -> Answer<CalendarView> {
    let whole =
        Window::new(from, until).ok().filter(|whole| whole.span() <= WIDEST).ok_or(Common::BadField {
            field: "until",
            why: "It must lie after “from”, by 62 days at most".to_owned(),
        })?;
    let view = mill.store.read()?;
    let calendar = view.calendar().clone();
    let mut maintenance: HashMap<NodeId, Vec<Maintenance>> = HashMap::new();
    for one in view.list::<Maintenance>(&[], Order::Ascending, usize::MAX)? {
        if one.cancelled.is_none() {
            maintenance.entry(one.node).or_default().push(one);
        }
    }
    let reader = Reader::new(&view, actor, now)?;
    let mut labels = Labels { view: &view, actor, reader, known: HashMap::new(), maintenance, whole };
    let contacts: HashMap<NodeId, bool> = view
        .list::<NodeContact>(&[], Order::Ascending, usize::MAX)?
        .into_iter()
        .map(|contact| (contact.node, contact.connected))
        .collect();
    let mut by_node: HashMap<NodeId, Vec<Unit>> = HashMap::new();
    for unit in view.list::<Unit>(&[], Order::Ascending, usize::MAX)? {
        if unit.shape == UnitShape::Gpu {
            by_node.entry(unit.node).or_default().push(unit);
        }
    }
    let (mut free_now, mut total) = (0, 0);
    let mut nodes = Vec::new();
    for node in view.list::<Node>(&[], Order::Ascending, usize::MAX)? {
        if node.is_gone() || node.state == NodeState::Pending {
            continue;
        }
        let connected = contacts.get(&node.id).copied().unwrap_or(false);
        let mut units = by_node.remove(&node.id).unwrap_or_default();
        units.sort_by_key(|unit| unit.index);
        let bookable = |unit: &Unit| unit.service == Service::In && node.is_open();
        total += u32::try_from(units.len()).unwrap_or(u32::MAX);
        let free = units.iter().filter(|unit| connected && bookable(unit) && is_free(&calendar, unit, now)).count();
        free_now += u32::try_from(free).unwrap_or(u32::MAX);
        nodes.push(CalendarNode {
            id: node.id,
            name: node.name.to_string(),
            model: models(&units),
            connected,
            units: units.iter().map(|unit| labels.unit(&calendar, &node, unit)).collect::<Result<_, _>>()?,
        });
    }
    Ok(CalendarView { from: from.into(), until: until.into(), now: now.into(), nodes, free_now, total })
}

fn is_free(calendar: &Calendar, unit: &Unit, now: Instant) -> bool {
    calendar.after(unit.id, now).first().is_none_or(|slot| slot.window.start() > now)
}

fn models(units: &[Unit]) -> String {
    let mut models: Vec<&str> = units.iter().map(|unit| unit.model.as_str()).collect();
    models.sort_unstable();
    models.dedup();
    models.join(", ")
}

/// What is written on a stretch of the calendar; a lease over several GPUs is looked up once.
struct Labels<'a, R: Read> {
    view: &'a R,
    actor: &'a Actor,
    reader: Reader<'a, R>,
    known: HashMap<LeaseId, Option<CalendarBusy>>,
    maintenance: HashMap<NodeId, Vec<Maintenance>>,
    whole: Window,
}

impl<R: Read> Labels<'_, R> {
    fn unit(&mut self, calendar: &Calendar, node: &Node, unit: &Unit) -> Result<CalendarUnit, StoreError> {
        let mut busy = Vec::new();
        for slot in calendar.busy(unit.id, self.whole) {
            busy.extend(self.busy(*slot)?);
        }
        // A lease that reaches into maintenance is drawn as what it is.
        let closed = self.maintenance.get(&node.id).into_iter().flatten();
        busy.extend(closed.filter(|one| one.window.overlaps(self.whole)).map(|one| CalendarBusy {
            start: one.window.start().into(),
            end: one.window.end().into(),
            label: format!("Maintenance: {}", one.why),
            mine: false,
            booking: None,
            maintenance: true,
        }));
        let out_of_service = match (&unit.service, &node.state) {
            (Service::Out { why, .. }, _) | (_, NodeState::Closed { why, .. }) => Some(why.clone()),
            _ => match &node.duty {
                Duty::Open => None,
                Duty::Cordoned { why, .. } | Duty::Draining { why, .. } => {
                    Some(format!("takes no new bookings: {why}"))
                }
            },
        };
        Ok(CalendarUnit { id: unit.id, index: unit.index, model: unit.model.clone(), out_of_service, busy })
    }

    /// Nothing where only the turnaround reaches into the window.
    fn busy(&mut self, slot: Slot) -> Result<Option<CalendarBusy>, StoreError> {
        if let Some(known) = self.known.get(&slot.lease) {
            return Ok(known.clone());
        }
        let lease = self.view.must::<Lease>(&slot.lease)?;
        let booking = self.view.must::<Booking>(&lease.booking)?;
        let sees = self.actor.sees(booking.team);
        let label = if sees { booking.ask.title.clone() } else { self.reader.team(booking.team)? };
        let made = lease.window.overlaps(self.whole).then(|| CalendarBusy {
            start: lease.window.start().into(),
            end: lease.window.end().into(),
            label,
            mine: booking.member == self.actor.member,
            booking: sees.then_some(booking.id),
            maintenance: false,
        });
        self.known.insert(slot.lease, made.clone());
        Ok(made)
    }
}
