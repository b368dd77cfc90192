//! One GPU: what it reads now, what it read before with the bookings under it, who computes on it, what it is. And the same
//! in small for the GPUs of a node. It refuses to call a GPU healthy: it shows what was read, and when nothing was.
mod facts;

use askama::Template;
use rocket::serde::json::Json;
use rocket::{State, get};
use serde_json::{Value, json};

use self::facts::{Fact, about, facts, percent};
use super::chart::{self, Against, Axis, Chart, Measure};
use super::nodes::{self, Outside};
use crate::app::error::Answer;
use crate::app::fleet::samples::{self, History, Under};
use crate::app::fleet::show;
use crate::app::mill::Mill;
use crate::base::ids::{NodeId, UnitId};
use crate::base::telemetry::GpuReading;
use crate::base::window::{Instant, Span, Window};
use crate::domain::notice::Common;
use crate::domain::people::rights::Actor;
use crate::web::error::PageError;
use crate::web::format::{self, Zone};
use crate::web::guard::SignedIn;
use crate::web::page::{Html, Page, Place};
use crate::web::site::{self, Frame};
use crate::wire::api::fleet::{GpuView, NodeView};

/// How far back a page looks: what its address says, what the button says, and how far.
const SPANS: [(&str, &str, Span); 5] = [
    ("hour", "Hour", Span::from_hours(1)),
    ("day", "Day", Span::from_hours(24)),
    ("week", "Week", Span::from_days(7)),
    ("month", "Month", Span::from_days(31)),
    ("year", "13 months", Span::from_days(396)),
];
/// On a node's page.
const NODE_SPAN: Span = Span::from_hours(1);
/// Rows of the list of bookings.
const LISTED: usize = 12;

#[derive(Template)]
#[template(path = "fleet/gpu.html")]
pub struct GpuPage {
    page: Page,
    id: String,
    node_id: String,
    node: String,
    name: String,
    headline: String,
    beneath: String,
    state: String,
    tone: &'static str,
    span: &'static str,
    spans: [(&'static str, &'static str, Span); 5],
    zone: String,
    axis: Axis,
    charts: Vec<Chart>,
    now: Vec<Fact>,
    at: String,
    about: Vec<(&'static str, String)>,
    under: Vec<UnderRow>,
    processes: Option<Vec<ProcessRow>>,
    /// Processes on it without a booking.
    outside: Vec<Outside>,
    kept: String,
    kept_size: String,
    shortened: bool,
    trouble: String,
    simulated: bool,
}

pub struct UnderRow {
    label: String,
    href: Option<String>,
    mine: bool,
    from: String,
    until: String,
}

pub struct ProcessRow {
    pid: u32,
    user: String,
    name: String,
    memory: String,
    booked: bool,
    href: Option<String>,
}

/// What a node's page shows of its GPUs.
pub struct NodeReadings {
    pub rows: Vec<ReadingRow>,
    pub zone: String,
    /// Whether anything was read at all.
    pub any: bool,
}

pub struct ReadingRow {
    pub href: String,
    pub name: String,
    pub model: String,
    pub charts: Vec<Chart>,
}

fn id(text: &str) -> Result<UnitId, Common> {
    text.parse().map_err(|_| Common::NotFound { what: "GPU" })
}

fn span_of(given: Option<&str>) -> (&'static str, Span) {
    let found = SPANS.into_iter().find(|(word, ..)| Some(*word) == given).unwrap_or(SPANS[0]);
    (found.0, found.2)
}

/// What a measure reads now, in the unit of its axis.
fn current(measure: Measure, reading: &GpuReading) -> Option<f64> {
    match measure {
        Measure::Utilisation => reading.utilisation.map(f64::from),
        Measure::Memory => reading.memory_used_bytes.map(|bytes| bytes as f64 / 1e9),
        Measure::Temperature => reading.temperature.map(f64::from),
        Measure::Power => reading.power_milliwatts.map(|milliwatts| milliwatts as f64 / 1000.0),
        Measure::Cores => reading.activity.sm.map(percent),
        Measure::Traffic => reading.activity.dram.map(percent),
        Measure::NvLink => reading.activity.nvlink().map(|bytes| bytes as f64 / 1e9),
    }
}

fn charts(history: &History, under: &[Under], against: Against, reading: Option<&GpuReading>) -> Vec<Chart> {
    let draw = |measure| {
        let now = reading.and_then(|reading| current(measure, reading));
        chart::draw(measure, history, under, against, now)
    };
    Measure::ALL.map(draw).into()
}

/// What its driver's profiler says, as far as it says anything.
fn profile(history: &History, under: &[Under], against: Against, reading: Option<&GpuReading>) -> Vec<Chart> {
    let read = Measure::PROFILED.into_iter().filter(|measure| measure.was_read(history));
    read.map(|measure| {
        let now = reading.and_then(|reading| current(measure, reading));
        chart::draw(measure, history, under, against, now)
    })
    .collect()
}

fn window(history: &History) -> Result<Window, Common> {
    let length = Span::from_millis(history.step.as_millis() * history.points.len() as i64);
    Window::lasting(history.start, length).map_err(|_| Common::NotFound { what: "GPU" })
}

fn headline(name: &str, node: &NodeView, reading: Option<&GpuReading>) -> (String, String) {
    let Some(reading) = reading else {
        let why = match (node.connected, node.observed.driver.is_some() || node.simulated) {
            (false, _) => "Its node is away; what runs there goes on.",
            (true, false) => "Its node has no driver that could be asked.",
            (true, true) => "Nothing was read in the last 45 seconds.",
        };
        return (format!("Nothing is heard from {name} of {}", node.name), why.to_owned());
    };
    let beneath: Vec<String> = Measure::ALL[1..]
        .iter()
        .filter_map(|measure| Some(chart::said(*measure, current(*measure, reading)?)))
        .collect();
    match reading.utilisation {
        Some(0) => (format!("{name} of {} is idle", node.name), beneath.join(" · ")),
        Some(percent) => (format!("{name} of {} is {percent} % busy", node.name), beneath.join(" · ")),
        None => (format!("{name} of {}", node.name), beneath.join(" · ")),
    }
}

fn under_rows(under: &[Under], zone: &Zone, now: Instant) -> Vec<UnderRow> {
    let row = |one: &Under| UnderRow {
        label: one.label.clone(),
        href: one.booking.map(|id| format!("/bookings/{id}")),
        mine: one.mine,
        from: zone.moment(one.window.start(), now),
        until: if one.window.end() >= now { "now".to_owned() } else { zone.moment(one.window.end(), now) },
    };
    under.iter().take(LISTED).map(row).collect()
}

fn process_rows(mill: &Mill, who: &Actor, reading: Option<&GpuReading>) -> Answer<Option<Vec<ProcessRow>>> {
    let Some(reading) = reading else { return Ok(None) };
    let seen = samples::processes(mill, who, reading)?;
    let row = |seen: samples::Seen| ProcessRow {
        pid: seen.process.pid,
        user: seen.process.user.or(seen.process.uid.map(|uid| format!("user {uid}"))).unwrap_or_else(|| "–".to_owned()),
        name: seen.process.name.unwrap_or_else(|| "–".to_owned()),
        memory: seen.process.memory_bytes.map_or_else(|| "–".to_owned(), format::bytes),
        booked: seen.booked,
        href: seen.booking.map(|id| format!("/bookings/{id}")),
    };
    Ok(seen.map(|all| all.into_iter().map(row).collect()))
}

/// The words of a GPU's state and their colour.
pub fn state_tone(state: &str) -> &'static str {
    match state {
        "free" => "moss",
        "leased" => "water",
        "unknown" | "out_of_service" => "rust",
        // `replaced` needs nobody.
        _ => "",
    }
}

#[get("/gpus/<given>?<span>")]
pub fn page(who: SignedIn, mill: &State<Mill>, given: &str, span: Option<&str>) -> Result<Html<GpuPage>, PageError> {
    let id = id(given)?;
    let (node, gpu) = samples::gpu(mill, &who.who.actor, id, crate::clock::now())?;
    let name = gpu.name.clone();
    let Frame { page, zone, now, .. } = site::frame(mill, &who, Place::Nodes, &format!("{name} of {}", node.name))?;
    let (word, back) = span_of(span);
    let latest = mill.telemetry.latest(id, now);
    let reading = latest.as_ref().map(|(_, reading)| reading);
    let history = samples::history(mill, &[id], back, now)?.remove(0);
    let under = samples::under(mill, &who.who.actor, &[id], window(&history)?, now)?;
    let (headline, beneath) = headline(&name, &node, reading);
    let kept = mill.telemetry.kept();
    let against = Against { memory_bytes: gpu.memory_bytes, peak_watts: chart::peak([&history]) };
    Ok(Html(GpuPage {
        page,
        id: id.to_string(),
        node_id: node.id.to_string(),
        node: node.name.clone(),
        headline,
        beneath,
        state: gpu.state.replace('_', " "),
        tone: state_tone(&gpu.state),
        span: word,
        spans: SPANS,
        axis: chart::axis(&history, &zone),
        charts: charts(&history, &under, against, reading)
            .into_iter()
            .chain(profile(&history, &under, against, reading))
            .collect(),
        now: facts(reading, gpu.memory_bytes),
        at: latest.as_ref().map(|(at, _)| zone.clock(*at)).unwrap_or_default(),
        about: about(&gpu, &node),
        under: under_rows(&under, &zone, now),
        processes: process_rows(mill, &who.who.actor, reading)?,
        outside: nodes::outside(mill, node.id, &zone, now)?
            .into_iter()
            .filter(|one| one.gpus.iter().any(|(_, index)| *index == gpu.index))
            .collect(),
        kept: kept.as_ref().map(chart::kept_words).unwrap_or_default(),
        kept_size: kept
            .as_ref()
            .map(|kept| format!("{} of at most {}", format::bytes(kept.bytes), format::bytes(kept.cap)))
            .unwrap_or_default(),
        shortened: kept.as_ref().is_some_and(|kept| kept.shortened),
        trouble: kept.and_then(|kept| kept.trouble).unwrap_or_default(),
        simulated: node.simulated,
        zone: zone.name().to_owned(),
        name,
    }))
}

/// The same for the page's script: the lines, the bookings under them and the figures of now.
#[get("/gpus/<given>/readings?<span>")]
pub fn readings(who: SignedIn, mill: &State<Mill>, given: &str, span: Option<&str>) -> Result<Json<Value>, PageError> {
    let now = crate::clock::now();
    let (node, gpu) = samples::gpu(mill, &who.who.actor, id(given)?, now)?;
    let (_, back) = span_of(span);
    let latest = mill.telemetry.latest(gpu.id, now);
    let name = gpu.name.clone();
    let (headline, beneath) = headline(&name, &node, latest.as_ref().map(|(_, reading)| reading));
    let mut data = told(mill, &who.who.actor, &[gpu], back, now)?;
    data["headline"] = json!(headline);
    data["beneath"] = json!(beneath);
    Ok(Json(data))
}

#[get("/nodes/<given>/readings")]
pub fn of_node(who: SignedIn, mill: &State<Mill>, given: &str) -> Result<Json<Value>, PageError> {
    let now = crate::clock::now();
    let id: NodeId = given.parse().map_err(|_| Common::NotFound { what: "node" })?;
    let node = show::node(mill, &who.who.actor, id, now)?;
    Ok(Json(told(mill, &who.who.actor, &node.gpus, NODE_SPAN, now)?))
}

fn told(mill: &Mill, who: &Actor, gpus: &[GpuView], back: Span, now: Instant) -> Result<Value, PageError> {
    let units: Vec<UnitId> = gpus.iter().map(|gpu| gpu.id).collect();
    let histories = samples::history(mill, &units, back, now)?;
    let under = match histories.first() {
        Some(first) => samples::under(mill, who, &units, window(first)?, now)?,
        None => Vec::new(),
    };
    let lines: Vec<chart::Line> = histories
        .into_iter()
        .zip(gpus)
        .map(|(history, gpu)| chart::Line { id: gpu.id, history, memory_bytes: gpu.memory_bytes })
        .collect();
    let mut data = chart::data(&lines, &under);
    for (place, gpu) in gpus.iter().enumerate() {
        let latest = mill.telemetry.latest(gpu.id, now);
        let facts = facts(latest.as_ref().map(|(_, reading)| reading), gpu.memory_bytes);
        let short = latest.as_ref().map(|(_, reading)| {
            let said = Measure::ALL.into_iter().chain(Measure::PROFILED).map(|measure| {
                (measure.key().to_owned(), json!(current(measure, reading).map(|value| chart::said(measure, value))))
            });
            Value::Object(said.collect())
        });
        data["gpus"][place]["short"] = json!(short);
        let facts = facts.into_iter().map(|fact| (fact.key.to_owned(), json!(fact.value)));
        data["gpus"][place]["now"] = Value::Object(facts.collect());
    }
    Ok(data)
}

/// A node's GPUs over the last hour, each in a row.
pub fn for_node(mill: &Mill, who: &Actor, node: &NodeView, zone: &Zone, now: Instant) -> Answer<NodeReadings> {
    let units: Vec<UnitId> = node.gpus.iter().map(|gpu| gpu.id).collect();
    let histories = samples::history(mill, &units, NODE_SPAN, now)?;
    let under = match histories.first().map(window) {
        Some(Ok(window)) => samples::under(mill, who, &units, window, now)?,
        _ => Vec::new(),
    };
    let peak_watts = chart::peak(&histories);
    let mut rows = Vec::new();
    for (gpu, history) in node.gpus.iter().zip(&histories) {
        let of_gpu: Vec<Under> = under.iter().filter(|one| one.unit == gpu.id).cloned().collect();
        let latest = mill.telemetry.latest(gpu.id, now);
        let against = Against { memory_bytes: gpu.memory_bytes, peak_watts };
        rows.push(ReadingRow {
            href: format!("/gpus/{}", gpu.id),
            name: gpu.name.clone(),
            model: gpu.model.clone(),
            charts: charts(history, &of_gpu, against, latest.as_ref().map(|(_, reading)| reading)),
        });
    }
    let any = rows.iter().flat_map(|row| &row.charts).any(|chart| !chart.line.is_empty() || !chart.now.is_empty());
    Ok(NodeReadings { rows, zone: zone.name().to_owned(), any })
}
