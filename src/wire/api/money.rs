//! Money in the API: grants, statements, rates, invoices.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Amount, Moment};
use crate::base::ids::{BookingId, DocumentId, TeamId, TransferId};

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantRequest {
    /// Id or name.
    pub team: String,
    /// A decimal such as `1000` or `12.50`.
    pub amount: String,
    pub reason: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct GrantAnswer {
    pub transfer: TransferId,
    pub team: TeamId,
    pub amount: Amount,
    pub balance: Amount,
}

/// A team's account, newest line first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StatementView {
    pub team: TeamId,
    pub team_name: String,
    pub currency: String,
    /// What can be spent: posted less held.
    pub available: Amount,
    pub posted: Amount,
    pub held: Amount,
    pub lines: Vec<StatementLine>,
    /// Pass it as `before` to read on.
    pub next: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StatementLine {
    pub sequence: u64,
    pub at: Moment,
    /// `grant`, `hold`, `delivery`, `void`, `refund`, …
    pub kind: String,
    pub text: String,
    pub booking: Option<BookingId>,
    /// Change of what is posted.
    pub amount: Amount,
    /// Change of what is held.
    pub held_change: Amount,
    pub posted_after: Amount,
    pub held_after: Amount,
    pub available_after: Amount,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RateView {
    pub model: String,
    /// Of its own rate; 0 where there is none, and a built-in one or its GPU's holds.
    pub version: u32,
    pub per_gpu_hour: Amount,
    pub since: Moment,
    /// Of a MIG instance without a rate of its own: what part of which GPU's rate it costs, such as `1/8 of H200`.
    #[serde(default)]
    pub part: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RateRequest {
    pub model: String,
    /// A decimal such as `2.50`.
    pub per_gpu_hour: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DraftRequest {
    /// Id or name.
    pub team: String,
    /// A month such as `2026-11`, in the installation's time zone.
    pub period: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DocumentView {
    pub id: DocumentId,
    /// `internal_charge` or `tax_invoice`.
    pub kind: String,
    /// `draft`, `issued` or `settled`.
    pub state: String,
    /// Only issued documents have one.
    pub number: Option<String>,
    pub team: TeamId,
    pub team_name: String,
    pub period: String,
    pub lines: Vec<DocumentLineView>,
    pub total: Amount,
    /// What grants covered.
    pub set_off: Amount,
    pub due: Amount,
    pub issued_at: Option<Moment>,
    pub due_at: Option<Moment>,
    pub settled_at: Option<Moment>,
    pub pdf_sha256: Option<String>,
    pub simulated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DocumentLineView {
    pub text: String,
    pub detail: String,
    pub booking: Option<BookingId>,
    /// GPU hours, as a decimal.
    pub quantity: String,
    pub rate: Amount,
    pub amount: Amount,
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VerifyAnswer {
    pub holds: bool,
    /// What was recomputed, with counts.
    pub checked: Vec<CheckedItem>,
    pub breaches: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckedItem {
    pub what: String,
    pub count: u64,
}
