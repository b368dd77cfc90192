//! The health of GPUs in the API: where each stands and why, what was seen of it, what its node's score is made of.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Moment;
use crate::base::ids::{EvidenceId, NodeId, UnitId};

/// Where one GPU stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GpuHealthView {
    pub gpu: UnitId,
    pub node: NodeId,
    pub node_name: String,
    pub index: u32,
    pub model: String,
    /// `enrolling`, `in_service`, `suspect`, `draining`, `quarantined`, `remediating`, `probation` or `out`.
    pub state: String,
    pub since: Moment,
    /// Why it is there; empty where no reason is needed.
    pub why: String,
    /// Whether it takes new bookings as far as its health goes.
    pub bookable: bool,
    /// Why somebody has to look, where somebody has to.
    pub needs_person: Option<String>,
    /// What to do about it, where something is to be done.
    pub remedy: Option<String>,
    /// Why our own check is wanted.
    pub check_wanted: Option<String>,
    /// Why a reset is wanted when the present lease is over.
    pub reset_wanted: Option<String>,
    /// The last suite that ran, as `passed suite deep at 2026-11-22T14:03:00Z`; `None`: none was ever run.
    pub last_check: Option<String>,
}

/// The fleet's health at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FleetHealthView {
    /// `fine`, `watch` (something is not as it should be) or `person` (somebody has to look).
    pub verdict: String,
    /// GPUs of which something was seen; those that need a person first.
    pub gpus: Vec<GpuHealthView>,
    /// GPUs of which nothing was ever seen.
    pub untouched: u32,
    /// Nodes with something in their score, the lowest first.
    pub scores: Vec<ScoreView>,
    /// All results are simulated: they are shown and never scored.
    pub simulated: bool,
}

/// A node's score with all that it is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScoreView {
    pub node: NodeId,
    pub node_name: String,
    /// The chance of a week without a failure, 0 to 1.
    pub chance: f64,
    /// Failures that count today.
    pub failures: f64,
    /// Node-days that count today.
    pub days: f64,
    /// Failures per node-day, shrunken: (1 + failures) / (200 + days).
    pub rate: f64,
    /// Newest first.
    pub terms: Vec<TermView>,
}

/// One term of a score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TermView {
    pub evidence: EvidenceId,
    pub gpu: UnitId,
    pub at: Moment,
    /// What it counts as.
    pub fault: String,
    /// What it weighs today.
    pub weight: f64,
    /// Why it weighs nothing, where it does.
    pub weightless: Option<String>,
}

/// Something that was seen of a GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvidenceView {
    pub id: EvidenceId,
    pub at: Moment,
    /// `xid`, `counter`, `check`, `lease`, `state` or `note`.
    pub kind: String,
    pub what: String,
    /// The driver's own words, or a report.
    pub raw: String,
    /// What it counts as in the score.
    pub fault: String,
    /// It may be contested by the reader.
    pub contestable: bool,
    pub contest: Option<ContestView>,
}

/// That somebody contests it, and what was decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ContestView {
    pub by: String,
    pub at: Moment,
    pub why: String,
    /// `None` until an admin has decided; `true`: it does not count.
    pub accepted: Option<bool>,
    pub decision: Option<String>,
}

/// One GPU with everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GpuHealthDetail {
    /// `fine`, `watch` or `person`.
    pub verdict: String,
    pub gpu: GpuHealthView,
    pub score: ScoreView,
    /// Newest first, the last 200.
    pub evidence: Vec<EvidenceView>,
    pub simulated: bool,
}

/// Everything of one node, or of one GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeHealthView {
    /// `fine`, `watch` or `person`.
    pub verdict: String,
    pub gpus: Vec<GpuHealthDetail>,
    /// Why Xids come from the driver alone, where they do.
    pub kernel_log: Option<String>,
}

/// An admin's word on a GPU.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WordRequest {
    /// `put_back` or `take_out`.
    pub word: String,
    pub why: String,
}
