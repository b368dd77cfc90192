//! The health of GPUs as people see it: what needs a person first, where each stands and why, what was seen, and every term
//! of the score. It refuses the word healthy: it says what passed, and when, or that nothing was ever run.
use super::note::fresh;
use super::word::may_contest;
use crate::app::error::Answer;
use crate::app::fleet::join::units_of;
use crate::app::fleet::show as nodes;
use crate::app::mill::Mill;
use crate::base::ids::{NodeId, UnitId};
use crate::base::window::{Instant, Window};
use crate::domain::fleet::evidence::{Contest, Evidence, Seen};
use crate::domain::fleet::health::{GpuHealth, Remedy, Stage, State};
use crate::domain::fleet::node::{Node, Unit};
use crate::domain::fleet::score::{self, Score, Weightless};
use crate::domain::notice::Common;
use crate::domain::people::installation::Installation;
use crate::domain::people::member::Member;
use crate::domain::people::rights::Actor;
use crate::store::people::INSTALLATION;
use crate::store::read::{Order, Read, StoreError};
use crate::store::record::Key as _;
use crate::wire::api::Moment;
use crate::wire::api::health::{
    ContestView, EvidenceView, FleetHealthView, GpuHealthDetail, GpuHealthView, NodeHealthView, ScoreView, TermView,
};

/// Evidence shown of a GPU.
const SHOWN: usize = 200;
/// Evidence that a score is made from, for each GPU.
const SCORED: usize = 2000;
/// Scores on the fleet's page.
const SCORES: usize = 50;

/// `fine`, `watch` or `person`: how much it matters.
fn verdict<'a>(rows: impl Iterator<Item = &'a GpuHealthView>) -> String {
    let weight = |row: &GpuHealthView| match row {
        row if row.needs_person.is_some() => 2,
        row if !row.bookable || matches!(row.state.as_str(), "suspect" | "probation") => 1,
        _ => 0,
    };
    ["fine", "watch", "person"][rows.map(weight).max().unwrap_or(0)].to_owned()
}

/// The state's name in the API.
fn key(stage: Stage) -> String {
    stage.word().replace(' ', "_")
}

fn simulated(view: &impl Read) -> Result<bool, StoreError> {
    Ok(view.get::<Installation>(&INSTALLATION)?.is_some_and(|installation| installation.simulated()))
}

/// The fleet at a glance.
pub fn fleet(mill: &Mill, now: Instant) -> Answer<FleetHealthView> {
    let view = mill.store.read()?;
    let rows: Vec<GpuHealth> = view.list(&[], Order::Ascending, usize::MAX)?;
    let mut gpus = Vec::new();
    let mut seen_nodes: Vec<NodeId> = Vec::new();
    for row in &rows {
        let (Some(unit), Some(node)) = (view.get::<Unit>(&row.unit)?, view.get::<Node>(&row.node)?) else { continue };
        if !node.is_gone() {
            seen_nodes.push(node.id);
            gpus.push(gpu_view(&view, &node, &unit, row)?);
        }
    }
    // What needs a person, then what is out, then what is watched, then the rest.
    let rank = |gpu: &GpuHealthView| (gpu.needs_person.is_none(), gpu.bookable, gpu.state == "in_service");
    gpus.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| (&a.node_name, a.index).cmp(&(&b.node_name, b.index))));
    seen_nodes.sort_unstable();
    seen_nodes.dedup();
    let scores = seen_nodes.iter().map(|node| score_of(&view, *node, now)).collect::<Result<Vec<_>, _>>()?;
    let mut scores: Vec<ScoreView> = scores.into_iter().filter(|score| !score.terms.is_empty()).collect();
    scores.sort_by(|a, b| a.chance.total_cmp(&b.chance));
    scores.truncate(SCORES);
    let all: usize = nodes::numbers(mill, now)?.gpus;
    let untouched = u32::try_from(all.saturating_sub(gpus.len())).unwrap_or(u32::MAX);
    Ok(FleetHealthView { verdict: verdict(gpus.iter()), gpus, untouched, scores, simulated: simulated(&view)? })
}

/// One GPU.
pub fn gpu(mill: &Mill, who: &Actor, unit: UnitId, now: Instant) -> Answer<GpuHealthDetail> {
    let view = mill.store.read()?;
    let unit: Unit = view.get(&unit)?.ok_or(Common::NotFound { what: "GPU" })?;
    Ok(detail(&view, who, &unit, now)?)
}

/// A node by id or name, or a GPU by id.
pub fn find(mill: &Mill, who: &Actor, given: &str, now: Instant) -> Answer<NodeHealthView> {
    if let Ok(unit) = given.parse::<UnitId>() {
        let gpus = vec![gpu(mill, who, unit, now)?];
        let kernel_log = mill.health.kernel_log(gpus[0].gpu.node);
        return Ok(NodeHealthView { verdict: gpus[0].verdict.clone(), gpus, kernel_log });
    }
    let node = nodes::find(mill, given)?;
    let view = mill.store.read()?;
    let units = units_of(&view, node)?;
    let gpus = units.iter().map(|unit| detail(&view, who, unit, now)).collect::<Result<Vec<_>, _>>()?;
    let verdict = verdict(gpus.iter().map(|detail| &detail.gpu));
    Ok(NodeHealthView { verdict, gpus, kernel_log: mill.health.kernel_log(node) })
}

fn detail(view: &impl Read, who: &Actor, unit: &Unit, now: Instant) -> Result<GpuHealthDetail, StoreError> {
    let node: Node = view.must(&unit.node)?;
    let row = view.get::<GpuHealth>(&unit.id)?.unwrap_or_else(|| fresh(unit, view, now));
    let rows: Vec<Evidence> = view.list(&unit.id.bytes(), Order::Descending, SHOWN)?;
    let mine = may_contest(who, &node);
    let evidence = rows.iter().map(|one| evidence_view(view, one, mine)).collect::<Result<_, _>>()?;
    let gpu = gpu_view(view, &node, unit, &row)?;
    let verdict = verdict(std::iter::once(&gpu));
    Ok(GpuHealthDetail { verdict, gpu, score: score_of(view, node.id, now)?, evidence, simulated: simulated(view)? })
}

fn gpu_view(view: &impl Read, node: &Node, unit: &Unit, row: &GpuHealth) -> Result<GpuHealthView, StoreError> {
    let stage = row.state.stage();
    let remedy = match &row.state {
        State::Draining { remedy, .. } => Some(*remedy),
        State::Quarantined { person: Some(_), .. } => Some(Remedy::Person),
        State::Quarantined { remedy, .. } | State::Remediating { remedy, .. } => Some(*remedy),
        _ => None,
    };
    // Nothing resets a card or restarts a machine by itself yet: what is to be done is somebody's to do.
    let waits = matches!(row.state, State::Quarantined { .. }).then(|| row.state.why());
    Ok(GpuHealthView {
        gpu: unit.id,
        node: node.id,
        node_name: node.name.to_string(),
        index: unit.index,
        model: unit.model.clone(),
        state: key(stage),
        since: Moment(row.state.since()),
        why: row.state.why().to_owned(),
        bookable: stage.is_bookable(),
        needs_person: row.needs_person().or(waits).map(str::to_owned),
        remedy: remedy.map(|remedy| remedy.words().to_owned()),
        check_wanted: row.check_wanted.as_ref().map(|(_, why)| why.clone()),
        reset_wanted: row.reset_wanted.clone(),
        last_check: last_check(view, unit.id)?,
    })
}

fn last_check(view: &impl Read, unit: UnitId) -> Result<Option<String>, StoreError> {
    let rows: Vec<Evidence> = view.list(&unit.bytes(), Order::Descending, SHOWN)?;
    Ok(rows.into_iter().find_map(|row| match row.seen {
        Seen::Check { suite, verdict, .. } => {
            Some(format!("{} suite {} at {}", verdict.word(), suite.word(), Moment(row.at)))
        }
        _ => None,
    }))
}

/// A node's score. The days that it was there count from its joining.
pub fn score_of(view: &impl Read, node: NodeId, now: Instant) -> Result<ScoreView, StoreError> {
    let row: Node = view.must(&node)?;
    let mut evidence: Vec<Evidence> = Vec::new();
    for unit in units_of(view, node)? {
        let rows: Vec<Evidence> = view.list(&unit.id.bytes(), Order::Descending, SCORED)?;
        evidence.extend(rows);
    }
    let there = Window::new(row.joined.max(now.minus(score::LOOK_BACK)), now).ok();
    let Score { terms, failures, days, rate, chance } = score::score(&evidence, there.as_slice(), now);
    let term = |term: score::Term| TermView {
        evidence: term.evidence,
        gpu: term.unit,
        at: Moment(term.at),
        fault: term.fault.word().to_owned(),
        weight: term.weight,
        weightless: term.weightless.map(|why| weightless(why).to_owned()),
    };
    let terms = terms.into_iter().map(term).collect();
    Ok(ScoreView { node, node_name: row.name.to_string(), chance, failures, days, rate, terms })
}

const fn weightless(why: Weightless) -> &'static str {
    match why {
        Weightless::Simulated => "simulated",
        Weightless::Struck => "struck out by an admin",
        Weightless::Kind => "not the node’s fault",
    }
}

fn evidence_view(view: &impl Read, row: &Evidence, may: bool) -> Result<EvidenceView, StoreError> {
    let (kind, what, raw) = words(&row.seen);
    let contest = row.contest.as_ref().map(|contest| contest_view(view, contest)).transpose()?;
    Ok(EvidenceView {
        id: row.id,
        at: Moment(row.at),
        kind: kind.to_owned(),
        what,
        raw,
        fault: row.fault.word().to_owned(),
        contestable: may && row.fault.quarters() > 0 && row.contest.is_none(),
        contest,
    })
}

fn contest_view(view: &impl Read, contest: &Contest) -> Result<ContestView, StoreError> {
    let by = view.get::<Member>(&contest.by)?.map_or_else(|| "a former member".to_owned(), |by| by.name.to_string());
    let decided = contest.decided.as_ref();
    Ok(ContestView {
        by,
        at: Moment(contest.at),
        why: contest.why.clone(),
        accepted: decided.map(|decided| decided.accepted),
        decision: decided.map(|decided| decided.why.clone()),
    })
}

/// What kind of thing it is, the thing in words, and the raw text.
fn words(seen: &Seen) -> (&'static str, String, String) {
    match seen {
        Seen::Xid { code, says, text, action, section, .. } => {
            ("xid", format!("Xid {code}: {says} ([{section}]: {})", action.word()), text.clone())
        }
        Seen::Counter { what, before, after } => ("counter", format!("{what}: {before} → {after}"), String::new()),
        Seen::Check { suite, verdict, report } => {
            ("check", format!("{} suite {}", verdict.word(), suite.word()), report.clone())
        }
        Seen::LeaseEnded { lease, why, .. } => {
            ("lease", format!("a lease ended, not charged since its last sign of life: {why}"), lease.to_string())
        }
        Seen::Moved { from, to, why } => ("state", format!("{} → {}: {why}", from.word(), to.word()), String::new()),
        Seen::NotMoved { would, why, trial } => {
            let held = if *trial { "its rule is on trial" } else { "the brake held it" };
            ("state", format!("would be {} ({held}): {why}", would.word()), String::new())
        }
        Seen::Noted { what } => ("note", what.clone(), String::new()),
    }
}
