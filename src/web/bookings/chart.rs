//! The calendar as it is drawn: lanes of GPUs, bars of time, all positions in percent of the window, so that the page needs
//! no script and no inline style. It refuses to decide what somebody may know: it draws what it was given.
use std::fmt::Write as _;

use crate::base::window::{Instant, Span, Window};
use crate::web::format::Zone;
use crate::wire::api::bookings::{CalendarBusy, CalendarNode, CalendarUnit, CalendarView};

/// Nodes are unfolded up to this many lanes on the page; beyond, only those that hold something of the reader's.
const LANES_UNFOLDED: usize = 32;
/// Height of the strip in a folded node's lane, in pixels, and where it ends.
const STRIP: (f64, f64) = (10.0, 28.0);

/// What part of time is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    Day,
    Week,
}

impl Scale {
    pub fn read(text: Option<&str>) -> Self {
        if text == Some("week") { Self::Week } else { Self::Day }
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
        }
    }

    /// What dragging snaps to, in seconds.
    const fn step(self) -> u32 {
        match self {
            Self::Day => 15 * 60,
            Self::Week => 60 * 60,
        }
    }

    pub const fn days(self) -> i32 {
        match self {
            Self::Day => 1,
            Self::Week => 7,
        }
    }

    /// The window around the day that begins at `midnight`. Today begins two hours before now, so that the time that can
    /// still be booked fills the page.
    pub fn window(self, zone: &Zone, midnight: Instant, now: Instant) -> Window {
        let today = zone.midnight(now) == midnight;
        let (start, end) = match self {
            Self::Week => (midnight, zone.days_later(midnight, 7)),
            Self::Day if today => {
                let since = now.since(midnight).as_seconds();
                let start = midnight.plus(Span::from_seconds((since - 2 * 3600).max(0) / 7200 * 7200));
                (start, start.plus(Span::from_hours(24)))
            }
            Self::Day => (midnight, zone.days_later(midnight, 1)),
        };
        Window::new(start, end)
            .unwrap_or_else(|_| Window::lasting(midnight, Span::from_hours(24)).expect("a day is longer than nothing"))
    }
}

/// Everything `parts/calendar.html` draws.
pub struct Chart {
    pub start: String,
    pub end: String,
    pub zone: String,
    pub step: u32,
    pub ticks: Vec<Tick>,
    /// Where now is, in percent; `None` outside the window.
    pub now: Option<String>,
    pub nodes: Vec<Node>,
}

pub struct Tick {
    pub x: String,
    pub width: String,
    pub label: String,
    /// A day begins here.
    pub day: bool,
    pub first: bool,
}

pub struct Node {
    pub id: String,
    pub name: String,
    pub what: String,
    pub open: bool,
    pub free: String,
    pub strip: Vec<Strip>,
    pub rows: Vec<Row>,
}

/// How much of a folded node is taken over a stretch of time.
pub struct Strip {
    pub x: String,
    pub width: String,
    pub y: String,
    pub height: String,
}

pub struct Row {
    pub name: String,
    pub note: String,
    pub needs: bool,
    /// Time on it can be booked by dragging.
    pub bookable: bool,
    pub node: String,
    pub model: String,
    pub bars: Vec<Bar>,
}

pub struct Bar {
    pub x: String,
    pub width: String,
    pub class: &'static str,
    pub label: String,
    /// The whole of it in words.
    pub title: String,
    pub href: Option<String>,
}

/// Draws `view`.
pub fn draw(view: &CalendarView, scale: Scale, zone: &Zone) -> Chart {
    let window = Window::new(view.from.0, view.until.0).ok();
    let lanes: usize = view.nodes.iter().map(|node| node.units.len()).sum();
    let axis = Axis { start: view.from.0, length: view.until.0.since(view.from.0).as_millis().max(1) as f64 };
    let now = view.now.0;
    let inside = window.is_some_and(|window| window.contains(now));
    Chart {
        start: view.from.to_string(),
        end: view.until.to_string(),
        zone: zone.name().to_owned(),
        step: scale.step(),
        ticks: ticks(&axis, view.until.0, scale, zone),
        now: inside.then(|| percent(axis.at(now))),
        nodes: view.nodes.iter().map(|node| draw_node(node, &axis, view, zone, lanes <= LANES_UNFOLDED)).collect(),
    }
}

struct Axis {
    start: Instant,
    length: f64,
}

impl Axis {
    /// Where an instant stands, in percent, within the window.
    fn at(&self, instant: Instant) -> f64 {
        (instant.since(self.start).as_millis() as f64 / self.length * 100.0).clamp(0.0, 100.0)
    }
}

fn percent(value: f64) -> String {
    let mut text = format!("{value:.4}");
    while text.ends_with('0') {
        text.pop();
    }
    text.trim_end_matches('.').to_owned()
}

fn ticks(axis: &Axis, end: Instant, scale: Scale, zone: &Zone) -> Vec<Tick> {
    let mut at = axis.start;
    let mut starts = Vec::new();
    while at < end {
        starts.push(at);
        at = match scale {
            Scale::Day => at.plus(Span::from_hours(2)),
            Scale::Week => zone.days_later(at, 1),
        };
    }
    let tick = |(index, &at): (usize, &Instant)| {
        let next = starts.get(index + 1).copied().unwrap_or(end);
        let clock = zone.clock(at);
        let label = match scale {
            Scale::Day => clock[..2].to_owned(),
            Scale::Week => zone.day(at),
        };
        Tick {
            x: percent(axis.at(at)),
            width: percent(axis.at(next) - axis.at(at)),
            label,
            day: clock == "00:00",
            first: index == 0,
        }
    };
    starts.iter().enumerate().map(tick).collect()
}

fn draw_node(node: &CalendarNode, axis: &Axis, view: &CalendarView, zone: &Zone, few: bool) -> Node {
    let now = view.now.0;
    let mine = node.units.iter().any(|unit| unit.busy.iter().any(|busy| busy.mine));
    let in_service = node.units.iter().filter(|unit| unit.out_of_service.is_none());
    let free = in_service.clone().filter(|unit| free_until(unit, now).is_some()).count();
    let free = match (node.connected, free) {
        (false, _) => "not connected".to_owned(),
        (true, free) => format!("{free} of {} free now", node.units.len()),
    };
    let label = |unit: &CalendarUnit| {
        let mixed = node.units.iter().any(|other| other.model != unit.model);
        if mixed { format!("{} {}", unit.name, unit.model) } else { unit.name.clone() }
    };
    Node {
        id: node.id.to_string(),
        name: node.name.clone(),
        what: if node.units.is_empty() { String::new() } else { format!("{} × {}", node.units.len(), node.model) },
        open: few || mine,
        free,
        strip: strip(node, axis),
        rows: node
            .units
            .iter()
            .map(|unit| Row {
                name: label(unit),
                note: unit.out_of_service.as_ref().map_or("", |_| "out of service").to_owned(),
                needs: unit.out_of_service.is_some(),
                bookable: unit.out_of_service.is_none(),
                node: node.id.to_string(),
                model: unit.model.clone(),
                bars: bars(unit, axis, view, zone),
            })
            .collect(),
    }
}

/// What can not be booked of a unit.
fn taken(unit: &CalendarUnit) -> impl Iterator<Item = &CalendarBusy> {
    unit.busy.iter().filter(|busy| !busy.outside)
}

/// Until when a unit stays free from `now` on: the far future where nothing follows, `None` while it is taken.
pub fn free_until(unit: &CalendarUnit, now: Instant) -> Option<Instant> {
    if unit.out_of_service.is_some() || taken(unit).any(|busy| busy.start.0 <= now && now < busy.end.0) {
        return None;
    }
    let next = taken(unit).map(|busy| busy.start.0).filter(|&start| start > now).min();
    Some(next.unwrap_or(Instant::from_millis(i64::MAX)))
}

fn bars(unit: &CalendarUnit, axis: &Axis, view: &CalendarView, zone: &Zone) -> Vec<Bar> {
    let mut bars = Vec::new();
    if let Some(why) = &unit.out_of_service {
        bars.push(Bar {
            x: "0".to_owned(),
            width: "100".to_owned(),
            class: "out",
            label: why.clone(),
            title: format!("{}, out of service: {why}", unit.name),
            href: None,
        });
    }
    let shown = unit.busy.iter().filter(|busy| busy.end > view.from && busy.start < view.until);
    bars.extend(shown.map(|busy| bar(unit, busy, axis, view, zone)));
    bars
}

fn bar(unit: &CalendarUnit, busy: &CalendarBusy, axis: &Axis, view: &CalendarView, zone: &Zone) -> Bar {
    let (from, to) = (axis.at(busy.start.0), axis.at(busy.end.0));
    let mut title = format!(
        "{}, {}, {} to {}",
        busy.label,
        unit.name,
        zone.moment(busy.start.0, view.now.0),
        zone.moment(busy.end.0, view.now.0)
    );
    if busy.mine {
        let _ = write!(title, " (yours or your team’s)");
    }
    Bar {
        x: percent(from),
        width: percent((to - from).max(0.15)),
        class: if busy.outside && taken(unit).any(|other| other.start < busy.end && other.end > busy.start) {
            "outside"
        } else if busy.outside {
            "outside alone"
        } else if busy.maintenance {
            "out"
        } else if busy.mine {
            "mine"
        } else {
            "others"
        },
        label: busy.label.clone(),
        title,
        href: busy.booking.map(|id| format!("/bookings/{id}")),
    }
}

/// The sum of a node's lanes, for when it is folded: at each moment the strip is as high as the node is taken.
fn strip(node: &CalendarNode, axis: &Axis) -> Vec<Strip> {
    if node.units.is_empty() {
        return Vec::new();
    }
    let mut changes: Vec<(Instant, i32)> = Vec::new();
    for busy in node.units.iter().flat_map(taken) {
        changes.push((busy.start.0, 1));
        changes.push((busy.end.0, -1));
    }
    changes.sort();
    let (mut taken, mut strips, mut since) = (0, Vec::new(), None::<Instant>);
    let mut rest = changes.as_slice();
    while let Some(&(at, _)) = rest.first() {
        if let Some(since) = since.filter(|_| taken > 0) {
            let height = STRIP.0 * f64::from(taken) / node.units.len() as f64;
            let (from, to) = (axis.at(since), axis.at(at));
            if to > from {
                strips.push(Strip {
                    x: percent(from),
                    width: percent(to - from),
                    y: percent(STRIP.1 - height),
                    height: percent(height),
                });
            }
        }
        let here = rest.iter().take_while(|(other, _)| *other == at).count();
        taken += rest[..here].iter().map(|(_, change)| change).sum::<i32>();
        since = Some(at);
        rest = &rest[here..];
    }
    strips
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{NodeId, UnitId};
    use crate::wire::api::Moment;

    fn at(hour: i64) -> Instant {
        Instant::from_seconds(hour * 3600)
    }

    fn unit(index: u32, busy: &[(i64, i64, bool)]) -> CalendarUnit {
        let busy = busy.iter().map(|&(start, end, mine)| CalendarBusy {
            start: Moment(at(start)),
            end: Moment(at(end)),
            label: if mine { "llama" } else { "Speech" }.to_owned(),
            mine,
            booking: None,
            maintenance: false,
            outside: false,
        });
        let id = UnitId::from_u128(index.into());
        let (name, model) = (format!("GPU {index}"), "H200".into());
        CalendarUnit { id, index, name, model, eighths: None, out_of_service: None, busy: busy.collect() }
    }

    fn view(units: Vec<CalendarUnit>) -> CalendarView {
        let node = CalendarNode {
            id: NodeId::from_u128(1),
            name: "stone-1".into(),
            model: "H200".into(),
            connected: true,
            units,
        };
        CalendarView {
            from: Moment(at(0)),
            until: Moment(at(24)),
            now: Moment(at(6)),
            nodes: vec![node],
            free_now: 1,
            total: 2,
        }
    }

    #[test]
    fn positions_are_percent_of_the_window() {
        let view = view(vec![unit(0, &[(6, 12, true), (20, 40, false)]), unit(1, &[(-5, 3, false)])]);
        let chart = draw(&view, Scale::Day, &Zone::named("UTC"));
        let bars = &chart.nodes[0].rows[0].bars;
        assert_eq!((bars[0].x.as_str(), bars[0].width.as_str(), bars[0].class), ("25", "25", "mine"));
        assert_eq!((bars[1].x.as_str(), bars[1].width.as_str()), ("83.3333", "16.6667"));
        assert_eq!(chart.nodes[0].rows[1].bars[0].width, "12.5");
        assert_eq!((chart.now.as_deref(), chart.ticks.len()), (Some("25"), 12));
        assert_eq!(chart.nodes[0].free, "1 of 2 free now");
    }

    #[test]
    fn a_folded_node_shows_how_much_is_taken() {
        let view = view(vec![unit(0, &[(0, 12, false)]), unit(1, &[(6, 12, false)])]);
        let chart = draw(&view, Scale::Day, &Zone::named("UTC"));
        let strip: Vec<_> = chart.nodes[0].strip.iter().map(|s| (s.x.as_str(), s.height.as_str())).collect();
        assert_eq!(strip, [("0", "5"), ("25", "10")]);
    }

    #[test]
    fn a_day_of_the_clock_change_ends_at_midnight() {
        let zone = Zone::named("Europe/Berlin");
        let noon = zone.read("2026-10-25T12:00").unwrap();
        let window = Scale::Day.window(&zone, zone.midnight(noon), at(0));
        assert_eq!(window.span(), Span::from_hours(25));
        let today = Scale::Day.window(&zone, zone.midnight(noon), noon);
        assert_eq!((today.span(), zone.clock(today.start())), (Span::from_hours(24), "09:00".to_owned()));
    }
}
