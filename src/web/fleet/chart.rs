//! Charts of what GPUs read, drawn by the server as inline SVG: complete without a script, and the frame in which a script
//! draws them live. It refuses to invent: a gap stays a gap, and every axis starts at zero.
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::app::fleet::samples::{History, Under};
use crate::base::ids::UnitId;
use crate::base::window::Instant;
use crate::store::samples::Point;
use crate::web::format::Zone;

/// The drawing's own units; it is stretched to its frame.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 100.0;
/// Marks on the axis of time.
const TICKS: i64 = 4;
const MIB: u64 = 1 << 20;

/// What scripts call a second line, and where its value comes from.
type Second = (&'static str, fn(&Point) -> Option<f64>);

/// What is charted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    Utilisation,
    Memory,
    Temperature,
    Power,
    /// Multiprocessors with work, and tensor cores beneath.
    Cores,
    /// Time in which memory moved data.
    Traffic,
    NvLink,
}

impl Measure {
    pub const ALL: [Self; 4] = [Self::Utilisation, Self::Memory, Self::Temperature, Self::Power];
    /// What only some drivers measure; drawn where it was read.
    pub const PROFILED: [Self; 3] = [Self::Cores, Self::Traffic, Self::NvLink];

    /// What scripts call it.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Utilisation => "utilisation",
            Self::Memory => "memory",
            Self::Temperature => "temperature",
            Self::Power => "power",
            Self::Cores => "cores",
            Self::Traffic => "traffic",
            Self::NvLink => "nvlink",
        }
    }

    pub const fn title(self) -> &'static str {
        match self {
            Self::Utilisation => "Utilisation",
            Self::Memory => "Memory",
            Self::Temperature => "Temperature",
            Self::Power => "Power",
            Self::Cores => "Cores at work",
            Self::Traffic => "Memory traffic",
            Self::NvLink => "NVLink",
        }
    }

    pub const fn unit(self) -> &'static str {
        match self {
            Self::Utilisation | Self::Cores | Self::Traffic => "%",
            Self::NvLink => "GB/s",
            Self::Memory => "GB",
            Self::Temperature => "°C",
            Self::Power => "W",
        }
    }

    /// In the unit of its axis.
    pub fn value(self, point: &Point) -> Option<f64> {
        match self {
            Self::Utilisation => point.utilisation.map(f64::from),
            Self::Memory => point.memory_mib.map(gigabytes),
            Self::Temperature => point.temperature.map(f64::from),
            Self::Power => point.watts.map(f64::from),
            Self::Cores => point.sm.map(f64::from),
            Self::Traffic => point.dram.map(f64::from),
            Self::NvLink => point.nvlink_mb.map(|mb| f64::from(mb) / 1000.0),
        }
    }

    /// A second line in the same frame.
    fn second(self) -> Option<Second> {
        match self {
            Self::Temperature => Some(("memory_temperature", |point| point.memory_temperature.map(f64::from))),
            Self::Cores => Some(("tensor", |point| point.tensor.map(f64::from))),
            _ => None,
        }
    }

    /// Where the axis ends: what there is of it, or the next round figure above what was read.
    fn ceiling(self, history: &History, against: Against) -> f64 {
        match self {
            Self::Utilisation | Self::Temperature | Self::Cores | Self::Traffic => 100.0,
            Self::Memory => (against.memory_bytes as f64 / 1e9).max(1.0),
            Self::Power => (against.peak_watts.max(100.0) / 100.0).ceil() * 100.0,
            Self::NvLink => {
                let highest = history.points.iter().filter_map(|point| self.value(point)).fold(0.0, f64::max);
                (highest.max(10.0) / 10.0).ceil() * 10.0
            }
        }
    }

    /// Whether anything of it was read in this time.
    pub fn was_read(self, history: &History) -> bool {
        history.points.iter().any(|point| self.value(point).is_some())
    }
}

/// The highest power that any of these GPUs drew, in watts: what stands beside each other is drawn on one scale.
pub fn peak<'a>(histories: impl IntoIterator<Item = &'a History>) -> f64 {
    let points = histories.into_iter().flat_map(|history| &history.points);
    points.filter_map(|point| point.watts).max().map_or(0.0, f64::from)
}

fn gigabytes(mib: u32) -> f64 {
    (u64::from(mib) * MIB) as f64 / 1e9
}

/// `93 %`, `128 GB`.
pub fn said(measure: Measure, value: f64) -> String {
    match measure {
        Measure::Memory | Measure::NvLink if value < 10.0 => format!("{value:.1} {}", measure.unit()),
        _ => format!("{value:.0} {}", measure.unit()),
    }
}

/// One chart with everything its template draws.
pub struct Chart {
    pub key: &'static str,
    pub title: &'static str,
    pub unit: &'static str,
    /// What it reads now, in words; empty where nothing was read lately.
    pub now: String,
    /// The whole of it in words.
    pub label: String,
    /// SVG path data; empty where nothing was read.
    pub line: String,
    /// A second line, such as memory's temperature.
    pub second: String,
    pub under: Vec<Band>,
    /// The axis, from the top.
    pub marks: Vec<String>,
}

/// A booking's time, under the line.
pub struct Band {
    pub x: String,
    pub width: String,
    pub mine: bool,
}

/// An axis of time with words under it.
pub struct Axis {
    pub marks: Vec<String>,
}

/// The words under the axis: clocks within a day, days beyond.
pub fn axis(history: &History, zone: &Zone) -> Axis {
    let count = i64::try_from(history.points.len()).unwrap_or(0);
    let length = count * history.step.as_millis();
    let long = length > 26 * 3_600_000;
    let mark = |nth: i64| {
        let at = Instant::from_millis(history.start.as_millis() + length * nth / TICKS);
        match (nth == TICKS, long) {
            (true, _) => "now".to_owned(),
            (false, true) if length > 300 * 86_400_000 => zone.month(at),
            (false, true) => zone.day(at),
            (false, false) => zone.clock(at),
        }
    };
    Axis { marks: (0..=TICKS).map(mark).collect() }
}

/// What a drawing measures against.
#[derive(Clone, Copy)]
pub struct Against {
    pub memory_bytes: u64,
    /// See [`peak`].
    pub peak_watts: f64,
}

/// Draws one measure of one GPU. `now` is what it reads at this moment.
pub fn draw(measure: Measure, history: &History, under: &[Under], against: Against, now: Option<f64>) -> Chart {
    let ceiling = measure.ceiling(history, against);
    let values: Vec<Option<f64>> = history.points.iter().map(|point| measure.value(point)).collect();
    let highest = values
        .iter()
        .flatten()
        .copied()
        .fold(None, |most: Option<f64>, value| Some(most.map_or(value, |m| m.max(value))));
    let second: Vec<Option<f64>> =
        measure.second().map(|(_, value)| history.points.iter().map(value).collect()).unwrap_or_default();
    let now = now.map(|value| said(measure, value)).unwrap_or_default();
    let label = match highest {
        None => format!("{}: nothing was read in this time", measure.title()),
        Some(highest) if now.is_empty() => format!("{}: at most {}", measure.title(), said(measure, highest)),
        Some(highest) => format!("{}: now {now}, at most {}", measure.title(), said(measure, highest)),
    };
    let top = said(measure, ceiling);
    let middle = said(measure, ceiling / 2.0);
    Chart {
        key: measure.key(),
        title: measure.title(),
        unit: measure.unit(),
        now,
        label,
        line: path(&values, ceiling),
        second: path(&second, ceiling),
        under: bands(history, under),
        marks: vec![top, middle, "0".to_owned()],
    }
}

/// A line through the values, broken where there is none; a lone value is a dot.
fn path(values: &[Option<f64>], ceiling: f64) -> String {
    let mut data = String::new();
    let mut drawing = false;
    for (place, value) in values.iter().enumerate() {
        let Some(value) = value else {
            drawing = false;
            continue;
        };
        let x = (place as f64 + 0.5) / values.len() as f64 * WIDTH;
        let y = HEIGHT - (value / ceiling).clamp(0.0, 1.0) * HEIGHT;
        // Writing to a text cannot fail.
        let _ = match drawing {
            true => write!(data, "L{} {}", figure(x), figure(y)),
            false => write!(data, "M{} {}h0.01", figure(x), figure(y)),
        };
        drawing = true;
    }
    data
}

fn bands(history: &History, under: &[Under]) -> Vec<Band> {
    let length = (history.points.len() as i64 * history.step.as_millis()).max(1) as f64;
    let at = |instant: Instant| (instant.since(history.start).as_millis() as f64 / length).clamp(0.0, 1.0) * WIDTH;
    let band = |one: &Under| {
        let (from, to) = (at(one.window.start()), at(one.window.end()));
        (to > from).then(|| Band { x: figure(from), width: figure(to - from), mine: one.mine })
    };
    under.iter().filter_map(band).collect()
}

fn figure(value: f64) -> String {
    let mut text = format!("{value:.2}");
    while text.contains('.') && (text.ends_with('0') || text.ends_with('.')) {
        text.pop();
    }
    text
}

/// One GPU's past, for a script.
pub struct Line {
    pub id: UnitId,
    pub history: History,
    pub memory_bytes: u64,
}

/// The same for a script: arrays with `null` for gaps.
pub fn data(lines: &[Line], under: &[Under]) -> Value {
    let peak = peak(lines.iter().map(|line| &line.history));
    let bookings = under.iter().map(|one| {
        json!({
            "gpu": lines.iter().position(|line| line.id == one.unit),
            "from": one.window.start().as_millis() / 1000,
            "until": one.window.end().as_millis() / 1000,
            "mine": one.mine,
        })
    });
    let (start, step, count) = lines.first().map_or((0, 10_000, 0), |line| {
        (line.history.start.as_millis(), line.history.step.as_millis(), line.history.points.len())
    });
    json!({
        "start": start / 1000,
        "step": step / 1000,
        "count": count,
        "gpus": lines.iter().map(|line| of_line(line, peak)).collect::<Vec<_>>(),
        "bookings": bookings.collect::<Vec<_>>(),
    })
}

fn of_line(line: &Line, peak: f64) -> Value {
    let values = |value: &dyn Fn(&Point) -> Option<f64>| -> Vec<Value> {
        let tenths = |value: f64| json!((value * 10.0).round() / 10.0);
        line.history.points.iter().map(|point| value(point).map_or(Value::Null, tenths)).collect()
    };
    let mut of = json!({ "id": line.id.to_string(), "ceilings": {} });
    let against = Against { memory_bytes: line.memory_bytes, peak_watts: peak };
    let profiled = Measure::PROFILED.into_iter().filter(|measure| measure.was_read(&line.history));
    for measure in Measure::ALL.into_iter().chain(profiled) {
        of["ceilings"][measure.key()] = json!(measure.ceiling(&line.history, against));
        of[measure.key()] = values(&|point| measure.value(point)).into();
        if let Some((name, value)) = measure.second() {
            of[name] = values(&value).into();
        }
    }
    of
}

/// `every 10 s for 24 h, every minute for 31 days, every hour for 13 months`.
pub fn kept_words(kept: &crate::store::samples::Kept) -> String {
    let keep = kept.retention;
    let long = |span: crate::base::window::Span| match span.as_seconds() / 86_400 {
        396 => "13 months".to_owned(),
        days if days > 1 => format!("{days} days"),
        _ => format!("{} h", span.as_seconds() / 3600),
    };
    format!(
        "every 10 s for {}, every minute for {}, every hour for {}",
        long(keep.fine),
        long(keep.minute),
        long(keep.hour)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::window::{Span, Window};

    const AGAINST: Against = Against { memory_bytes: 0, peak_watts: 0.0 };

    fn history(values: &[Option<u8>]) -> History {
        let points = values.iter().map(|value| Point { utilisation: *value, ..Point::default() }).collect();
        History { start: Instant::from_seconds(0), step: Span::from_seconds(10), points }
    }

    #[test]
    fn a_gap_breaks_the_line_and_zero_is_no_gap() {
        let drawn =
            draw(Measure::Utilisation, &history(&[Some(0), Some(50), None, Some(100)]), &[], AGAINST, Some(100.0));
        assert_eq!(drawn.line, "M60 100h0.01L180 50M420 0h0.01");
        assert_eq!((drawn.now.as_str(), drawn.label.as_str()), ("100 %", "Utilisation: now 100 %, at most 100 %"));
        let nothing = draw(Measure::Power, &history(&[Some(1), None]), &[], AGAINST, None);
        assert_eq!((nothing.line.as_str(), nothing.now.as_str()), ("", ""));
        assert!(nothing.label.contains("nothing was read"));
    }

    #[test]
    fn bookings_lie_under_their_own_time() {
        let under = Under {
            unit: UnitId::from_u128(1),
            window: Window::new(Instant::from_seconds(10), Instant::from_seconds(500)).unwrap(),
            label: "llama".to_owned(),
            mine: true,
            booking: None,
        };
        let drawn = draw(Measure::Utilisation, &history(&[None; 4]), std::slice::from_ref(&under), AGAINST, None);
        assert_eq!((drawn.under[0].x.as_str(), drawn.under[0].width.as_str()), ("120", "360"));
        let unit = UnitId::from_u128(1);
        let line = Line { id: unit, history: history(&[Some(0), None]), memory_bytes: 1_000 };
        let data = data(&[line], &[under]);
        assert_eq!(data["gpus"][0]["utilisation"], json!([0.0, null]));
        assert_eq!((&data["bookings"][0]["gpu"], &data["step"]), (&json!(0), &json!(10)));
    }
}
