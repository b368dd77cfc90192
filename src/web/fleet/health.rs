//! The health of GPUs: the fleet at a glance with what needs a person first, and one GPU's past on one axis with all that was
//! seen and every term of its node's score. It refuses the word healthy, and changes without a reason.
use askama::Template;
use rocket::response::Redirect;
use rocket::{State, get, post};

use crate::app::error::{Answer, AppError};
use crate::app::fleet::health::{show, word};
use crate::app::fleet::samples::{self, Under};
use crate::app::mill::Mill;
use crate::base::ids::{EvidenceId, UnitId};
use crate::base::window::{Instant, Span, Window};
use crate::domain::fleet::health::Word;
use crate::domain::notice::{Common, Kind};
use crate::web::error::PageError;
use crate::web::form::{Again, Posted};
use crate::web::format::{self, Zone};
use crate::web::guard::{Admin, SignedIn};
use crate::web::page::{Html, Page, Place, Typed};
use crate::web::site::{self, Frame};
use crate::wire::api::health::{EvidenceView, GpuHealthDetail, GpuHealthView, ScoreView, TermView};

/// How far back the axis goes.
const AXIS: Span = Span::from_days(7);
/// Marks under it.
const MARKS: i64 = 7;
/// Width of the drawing, in its own units.
const WIDTH: i64 = 1000;

#[derive(Template)]
#[template(path = "fleet/health.html")]
pub struct FleetPage {
    page: Page,
    answer: String,
    beneath: String,
    rows: Vec<Row>,
    scores: Vec<ScoreRow>,
    simulated: bool,
}

pub struct Row {
    href: String,
    name: String,
    state: String,
    tone: &'static str,
    why: String,
    todo: String,
    since: String,
    check: String,
}

pub struct ScoreRow {
    node: String,
    href: String,
    chance: String,
    failures: String,
    terms: usize,
}

#[derive(Template)]
#[template(path = "fleet/gpu_health.html")]
pub struct GpuPage {
    page: Page,
    id: String,
    node_id: String,
    node: String,
    name: String,
    headline: String,
    beneath: String,
    row: Row,
    check_wanted: String,
    reset_wanted: String,
    lanes: Vec<Lane>,
    marks: Vec<String>,
    zone: String,
    score: ScoreRow,
    rate: String,
    days: String,
    terms: Vec<TermRow>,
    evidence: Vec<EvidenceRow>,
    form: Typed,
    admin: bool,
    out: bool,
    simulated: bool,
}

/// One row of the drawing.
pub struct Lane {
    label: &'static str,
    /// What it holds, for who does not see it.
    said: String,
    marks: Vec<Mark>,
}

pub struct Mark {
    class: &'static str,
    x: i64,
    width: i64,
    title: String,
}

pub struct TermRow {
    at: String,
    fault: String,
    weight: String,
    why: String,
    evidence: String,
}

pub struct EvidenceRow {
    id: String,
    at: String,
    what: String,
    raw: String,
    fault: String,
    contestable: bool,
    contest: String,
    open: bool,
}

fn id(text: &str) -> Result<UnitId, Common> {
    text.parse().map_err(|_| Common::NotFound { what: "GPU" })
}

fn evidence_id(text: &str) -> Result<EvidenceId, Common> {
    text.parse().map_err(|_| Common::NotFound { what: "evidence" })
}

fn tone(gpu: &GpuHealthView) -> &'static str {
    match gpu.state.as_str() {
        "in_service" => "",
        "suspect" | "probation" | "enrolling" | "remediating" => "wheat",
        _ => "rust",
    }
}

fn row(gpu: &GpuHealthView, zone: &Zone, now: Instant) -> Row {
    let wish = gpu.reset_wanted.as_ref().map(|why| format!("Reset it when its lease is over: {why}."));
    let check = gpu.check_wanted.as_ref().map(|why| format!("A check is wanted: {why}."));
    let todo = gpu.remedy.clone().map(|words| sentence(&words)).or(wish).or(check);
    Row {
        href: format!("/gpus/{}/health", gpu.gpu),
        name: format!("GPU {} of {}", gpu.index, gpu.node_name),
        state: gpu.state.replace('_', " "),
        tone: tone(gpu),
        why: gpu.needs_person.clone().unwrap_or_else(|| gpu.why.clone()),
        todo: todo.unwrap_or_default(),
        since: zone.moment(gpu.since.0, now),
        check: gpu.last_check.clone().unwrap_or_else(|| "no suite was ever run".to_owned()),
    }
}

/// A capital at its beginning, and a full stop.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

fn score_row(score: &ScoreView) -> ScoreRow {
    ScoreRow {
        node: score.node_name.clone(),
        href: format!("/nodes/{}", score.node),
        chance: format!("{:.1} %", score.chance * 100.0),
        failures: format!("{:.2}", score.failures),
        terms: score.terms.len(),
    }
}

#[get("/fleet/health")]
pub fn fleet(who: SignedIn, mill: &State<Mill>) -> Result<Html<FleetPage>, PageError> {
    let now = crate::clock::now();
    let Frame { page, zone, .. } = site::frame(mill, &who, Place::Nodes, "Health")?;
    let shown = show::fleet(mill, now)?;
    let person = shown.gpus.iter().filter(|gpu| gpu.needs_person.is_some()).count();
    let out = shown.gpus.iter().filter(|gpu| !gpu.bookable).count();
    let answer = match (person, out) {
        (0, 0) => "Nothing needs a person".to_owned(),
        (0, out) => format!("{} out of service", format::count(out, "GPU")),
        (1, _) => "1 GPU needs a person".to_owned(),
        (person, _) => format!("{person} GPUs need a person"),
    };
    let beneath = match (shown.gpus.len(), shown.untouched) {
        (0, count) => format!("Of {} nothing was ever seen.", format::count(count as usize, "GPU")),
        (seen, count) => format!("Something was seen of {seen}; of {count} nothing ever was."),
    };
    Ok(Html(FleetPage {
        page,
        answer,
        beneath,
        rows: shown.gpus.iter().map(|gpu| row(gpu, &zone, now)).collect(),
        scores: shown.scores.iter().map(score_row).collect(),
        simulated: shown.simulated,
    }))
}

#[get("/gpus/<given>/health")]
pub fn gpu(who: SignedIn, mill: &State<Mill>, given: &str) -> Result<Html<GpuPage>, PageError> {
    draw(mill, &who, id(given)?, Typed::default()).map(Html)
}

fn draw(mill: &Mill, who: &SignedIn, id: UnitId, form: Typed) -> Result<GpuPage, PageError> {
    let now = crate::clock::now();
    let actor = &who.who.actor;
    let GpuHealthDetail { gpu, score, evidence, simulated, .. } = show::gpu(mill, actor, id, now)?;
    let name = format!("GPU {}", gpu.index);
    let title = format!("Health of {name} of {}", gpu.node_name);
    let Frame { page, zone, .. } = site::frame(mill, who, Place::Nodes, &title)?;
    let axis = Window::lasting(now.minus(AXIS), AXIS).map_err(|_| Common::NotFound { what: "GPU" })?;
    let under = samples::under(mill, actor, &[id], axis, now)?;
    let step = Span::from_millis(AXIS.as_millis() / MARKS);
    let marks = (0..MARKS).map(|at| zone.day(axis.start().plus(Span::from_millis(step.as_millis() * at))));
    Ok(GpuPage {
        page,
        id: id.to_string(),
        node_id: gpu.node.to_string(),
        node: gpu.node_name.clone(),
        headline: format!("{name} of {} is {}", gpu.node_name, gpu.state.replace('_', " ")),
        beneath: if gpu.why.is_empty() { "Nothing speaks against it.".to_owned() } else { sentence(&gpu.why) },
        row: row(&gpu, &zone, now),
        check_wanted: gpu.check_wanted.clone().unwrap_or_default(),
        reset_wanted: gpu.reset_wanted.clone().unwrap_or_default(),
        lanes: lanes(&under, &evidence, axis, &zone, now),
        marks: marks.collect(),
        zone: zone.name().to_owned(),
        rate: format!("{:.5}", score.rate),
        days: format!("{:.1}", score.days),
        terms: score.terms.iter().map(|term| term_row(term, &zone, now)).collect(),
        score: score_row(&score),
        evidence: evidence.iter().map(|one| evidence_row(one, &zone, now)).collect(),
        form,
        admin: actor.admin,
        out: !gpu.bookable || gpu.state == "suspect",
        simulated,
        name,
    })
}

/// Where an instant lies on the axis.
fn place(at: Instant, axis: Window) -> i64 {
    at.since(axis.start()).as_millis().saturating_mul(WIDTH) / axis.span().as_millis().max(1)
}

fn lanes(under: &[Under], evidence: &[EvidenceView], axis: Window, zone: &Zone, now: Instant) -> Vec<Lane> {
    let of = |label, kinds: &[&str], class| {
        let there = |one: &&EvidenceView| kinds.contains(&one.kind.as_str()) && axis.contains(one.at.0);
        let marks: Vec<Mark> = evidence
            .iter()
            .filter(there)
            .map(|one| Mark {
                class,
                x: place(one.at.0, axis),
                width: 4,
                title: format!("{}, {}", one.what, zone.moment(one.at.0, now)),
            })
            .collect();
        Lane { label, said: format::count(marks.len(), "mark"), marks }
    };
    let booked: Vec<Mark> = under
        .iter()
        .map(|one| {
            let (from, to) = (place(one.window.start(), axis), place(one.window.end(), axis));
            let class = if one.mine { "mine" } else { "others" };
            Mark { class, x: from, width: (to - from).max(2), title: one.label.clone() }
        })
        .collect();
    vec![
        Lane { label: "Bookings", said: format::count(booked.len(), "booking"), marks: booked },
        of("Checks", &["check"], "check"),
        of("Xids and counters", &["xid", "counter"], "fault"),
        of("State", &["state", "note", "lease"], "moved"),
    ]
}

fn term_row(term: &TermView, zone: &Zone, now: Instant) -> TermRow {
    TermRow {
        at: zone.moment(term.at.0, now),
        fault: term.fault.clone(),
        weight: format!("{:.3}", term.weight),
        why: term.weightless.clone().unwrap_or_default(),
        evidence: term.evidence.to_string(),
    }
}

fn evidence_row(one: &EvidenceView, zone: &Zone, now: Instant) -> EvidenceRow {
    let contest = one.contest.as_ref().map(|contest| {
        let said = format!("{} contests it: {}", contest.by, contest.why);
        match (contest.accepted, &contest.decision) {
            (Some(true), Some(why)) => format!("{said}. Struck out: {why}"),
            (Some(false), Some(why)) => format!("{said}. It stays: {why}"),
            _ => said,
        }
    });
    EvidenceRow {
        id: one.id.to_string(),
        at: zone.moment(one.at.0, now),
        what: one.what.clone(),
        raw: one.raw.clone(),
        fault: one.fault.clone(),
        contestable: one.contestable,
        open: one.contest.as_ref().is_some_and(|contest| contest.accepted.is_none()),
        contest: contest.unwrap_or_default(),
    }
}

type Changed = Result<Redirect, Again<GpuPage>>;

fn outcome(mill: &Mill, who: &SignedIn, id: UnitId, posted: &Posted, changed: Answer<()>) -> Changed {
    match changed {
        Ok(()) => Ok(Redirect::to(format!("/gpus/{id}/health"))),
        Err(AppError::Refused(why)) if why.reason().kind() == Kind::NotFound => Err(AppError::Refused(why).into()),
        Err(AppError::Refused(why)) => Err(Again::form(&why, draw(mill, who, id, posted.refused(&why)))),
        Err(other) => Err(other.into()),
    }
}

#[post("/gpus/<given>/word", data = "<posted>")]
pub async fn say(who: Admin, mill: &State<Mill>, given: &str, posted: Posted) -> Changed {
    let id = id(given)?;
    let word = match posted.text("word") {
        "put_back" => Word::PutBack,
        _ => Word::TakeOut,
    };
    let changed = word::say(mill, &who.0.who.actor, id, word, posted.text("why")).await;
    outcome(mill, &who.0, id, &posted, changed)
}

#[post("/gpus/<given>/evidence/<row>/contest", data = "<posted>")]
pub async fn contest(who: SignedIn, mill: &State<Mill>, given: &str, row: &str, posted: Posted) -> Changed {
    let (id, row) = (id(given)?, evidence_id(row)?);
    let changed = word::contest(mill, &who.who.actor, id, row, posted.text("why")).await;
    outcome(mill, &who, id, &posted, changed)
}

#[post("/gpus/<given>/evidence/<row>/decide", data = "<posted>")]
pub async fn decide(who: Admin, mill: &State<Mill>, given: &str, row: &str, posted: Posted) -> Changed {
    let (id, row) = (id(given)?, evidence_id(row)?);
    let accepted = posted.text("accepted") == "true";
    let changed = word::decide(mill, &who.0.who.actor, id, row, accepted, posted.text("why")).await;
    outcome(mill, &who.0, id, &posted, changed)
}
