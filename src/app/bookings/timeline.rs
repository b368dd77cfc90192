//! The calendar as people see it: GPUs by time. It refuses to name other teams' work; who has a GPU is everybody's
//! business, what they do with it is not.
use std::collections::HashMap;

use super::outlook::{self, is_free};
use super::show::Reader;
use crate::app::error::Answer;
use crate::app::fleet::unbooked;
use crate::app::mill::Mill;
use crate::base::ids::{LeaseId, NodeId, UnitId};
use crate::base::window::{Instant, Span, Window};
use crate::domain::bookings::booking::Booking;
use crate::domain::bookings::calendar::{Calendar, Slot};
use crate::domain::bookings::lease::Lease;
use crate::domain::fleet::duty::{Duty, Maintenance};
use crate::domain::fleet::node::NodeState;
use crate::domain::fleet::roll::{Entry, Listed};
use crate::domain::notice::Common;
use crate::domain::people::rights::Actor;
use crate::store::read::{Read, StoreError};
use crate::wire::api::bookings::{CalendarBusy, CalendarNode, CalendarUnit, CalendarView};

/// The longest stretch that is shown at once.
const WIDEST: Span = Span::from_days(62);

/// Which of the nodes are drawn, in the order of their joining.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub skip: usize,
    pub most: usize,
}

impl Part {
    pub const ALL: Self = Self { skip: 0, most: usize::MAX };
}

/// Who holds which GPU in a window, as far as the reader may know; counts are of the whole fleet.
pub fn calendar(mill: &Mill, actor: &Actor, from: Instant, until: Instant, now: Instant) -> Answer<CalendarView> {
    part(mill, actor, (from, until), Part::ALL, now)
}

/// The same with some of the nodes alone.
pub fn part(
    mill: &Mill,
    actor: &Actor,
    (from, until): (Instant, Instant),
    part: Part,
    now: Instant,
) -> Answer<CalendarView> {
    let whole =
        Window::new(from, until).ok().filter(|whole| whole.span() <= WIDEST).ok_or(Common::BadField {
            field: "until",
            why: "It must lie after “from”, by 62 days at most".to_owned(),
        })?;
    let view = mill.store.read()?;
    let calendar = view.calendar();
    let maintenance = outlook::maintenance(&view)?;
    let reader = Reader::new(&view, actor, now)?;
    let outside = unbooked::show::drawn(&view, whole)?;
    let mut labels = Labels { view: &view, actor, reader, known: HashMap::new(), maintenance, outside, whole };
    let (mut free_now, mut total) = (0, 0);
    let mut nodes = Vec::new();
    for (place, node) in view.roll().all().filter(|node| node.is_drawn()).enumerate() {
        let connected = node.connected == Some(true);
        let bookable = |unit: &Listed| connected && unit.out.is_none() && node.is_open();
        total += u32::try_from(node.booked().count()).unwrap_or(u32::MAX);
        let free = node.booked().filter(|unit| bookable(unit) && is_free(calendar, node, unit, now)).count();
        free_now += u32::try_from(free).unwrap_or(u32::MAX);
        if place < part.skip || nodes.len() == part.most {
            continue;
        }
        nodes.push(CalendarNode {
            id: node.id,
            name: node.name.clone(),
            model: models(node),
            connected,
            units: drawn(node, calendar, whole)
                .map(|unit| labels.unit(calendar, node, unit))
                .collect::<Result<_, _>>()?,
        });
    }
    Ok(CalendarView { from: from.into(), until: until.into(), now: now.into(), nodes, free_now, total })
}

/// The units that have a lane: a GPU and its instances are not side by side, unless what was booked on one before has not
/// ended.
fn drawn<'a>(node: &'a Entry, calendar: &'a Calendar, whole: Window) -> impl Iterator<Item = &'a Listed> {
    node.units.iter().filter(move |unit| !unit.is_replaced() || !calendar.busy(unit.id, whole).is_empty())
}

fn models(node: &Entry) -> String {
    let mut models: Vec<&str> = node.booked().map(|unit| &*unit.model).collect();
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
    /// Use outside bookings, with what is written on it.
    outside: HashMap<UnitId, Vec<(Window, String)>>,
    whole: Window,
}

impl<R: Read> Labels<'_, R> {
    fn unit(&mut self, calendar: &Calendar, node: &Entry, unit: &Listed) -> Result<CalendarUnit, StoreError> {
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
            outside: false,
        }));
        let outside = self.outside.get(&unit.id).into_iter().flatten();
        busy.extend(outside.map(|(window, label)| CalendarBusy {
            start: window.start().into(),
            end: window.end().into(),
            label: label.clone(),
            mine: false,
            booking: None,
            maintenance: false,
            outside: true,
        }));
        let out_of_service = match (&unit.out, &node.state) {
            (Some(why), _) | (None, NodeState::Closed { why, .. }) => Some(why.clone()),
            _ => match &node.duty {
                Duty::Open => None,
                Duty::Cordoned { why, .. } | Duty::Draining { why, .. } => {
                    Some(format!("takes no new bookings: {why}"))
                }
            },
        };
        Ok(CalendarUnit {
            id: unit.id,
            index: unit.index,
            name: unit.shape.name(unit.index),
            model: unit.model.to_string(),
            eighths: unit.portion.is_instance().then(|| unit.portion.eighths()),
            out_of_service,
            busy,
        })
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
            outside: false,
        });
        self.known.insert(slot.lease, made.clone());
        Ok(made)
    }
}
