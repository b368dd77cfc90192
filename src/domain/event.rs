//! What happened, typed: one ordered table of events is the source of audit, outbox, live updates and statistics. Events
//! carry ids and the few facts that later readers cannot look up any more. It refuses secrets and whole records.
use serde::{Deserialize, Serialize};

use crate::base::credits::Credits;
use crate::base::ids::*;
use crate::base::window::{Instant, Window};

/// Who caused an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    Member(MemberId),
    Node(NodeId),
    /// The mill itself, by its clock.
    Mill,
    /// Somebody with the host's shell: setup, restore.
    Operator,
    /// Nobody signed in yet: a failed sign-in, an accepted invitation.
    Anonymous,
}

/// An event as stored; `seq` has no gaps and follows commit order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    pub seq: u64,
    pub at: Instant,
    pub cause: Cause,
    pub event: Event,
}

/// Everything that can have happened. Variants are only ever added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Event {
    // people
    InstallationCreated,
    MemberJoined { member: MemberId, team: TeamId },
    MemberInvited { invitation: InvitationId, team: TeamId },
    InvitationRevoked { invitation: InvitationId },
    SignedIn { member: MemberId },
    SignInFailed { member: Option<MemberId> },
    SignedOut { member: MemberId },
    TokenMade { member: MemberId, token: TokenId },
    TokenRevoked { member: MemberId, token: TokenId },
    PasswordChanged { member: MemberId },
    TeamCreated { team: TeamId },
    SettingsChanged { what: String },
    NoticeSent { notice: NoticeId, member: MemberId },
    // fleet
    NodeJoined { node: NodeId },
    NodeAdmitted { node: NodeId },
    NodeConnected { node: NodeId, epoch: u64 },
    NodeLost { node: NodeId, epoch: u64 },
    NodeHardwareChanged { node: NodeId },
    NodeRevoked { node: NodeId },
    // It named what is not its own, so often since the last such event; nothing came of it.
    NodeOverstepped { node: NodeId, what: String, times: u64 },
    NodeRetired { node: NodeId, why: String },
    NodeRenamed { node: NodeId, from: String, to: String },
    NodeMoved { node: NodeId, pool: PoolId },
    NodeDuty { node: NodeId, duty: String, why: String },
    MaintenanceAnnounced { node: NodeId, maintenance: MaintenanceId, window: Window, why: String },
    MaintenanceCancelled { node: NodeId, maintenance: MaintenanceId },
    GpuMoved { unit: UnitId, node: NodeId, from: String, to: String, why: String },
    EvidenceContested { unit: UnitId, node: NodeId, evidence: EvidenceId, why: String },
    ContestDecided { unit: UnitId, node: NodeId, evidence: EvidenceId, accepted: bool, why: String },
    BrakePulled { lost: usize, nodes: usize },
    BrakeReleased,
    JoinTokenMade { pool: PoolId },
    JoinTokenSeen { token: JoinTokenId },
    NodeDoubled { node: NodeId },
    NodeReturned { node: NodeId },
    NodeUpgradeAsked { node: NodeId },
    NodeVersionChanged { node: NodeId },
    PoolAdmissionChanged { pool: PoolId },
    PoolMade { pool: PoolId },
    PoolRenamed { pool: PoolId, from: String, to: String },
    PoolChanged { pool: PoolId, revision: u32, what: String, why: String },
    UnbookedSeen { used: UseId, node: NodeId },
    UnbookedOrdered { used: UseId, node: NodeId },
    UnbookedRefused { used: UseId, node: NodeId, why: String },
    UnbookedOver { used: UseId, node: NodeId },
    UnbookedVoided { used: UseId, team: TeamId, why: String },
    UnixUserSet { user: String, member: MemberId, team: TeamId },
    UnixUserRemoved { user: String },
    // bookings
    BookingPlaced { booking: BookingId, team: TeamId, window: Window },
    BookingRelocated { booking: BookingId, node: NodeId },
    BookingMoved { booking: BookingId, window: Window },
    BookingExtended { booking: BookingId, window: Window },
    BookingReleased { booking: BookingId },
    BookingCancelled { booking: BookingId },
    BookingStarted { booking: BookingId },
    BookingEnded { booking: BookingId },
    BookingFailed { booking: BookingId },
    LeaseChanged { lease: LeaseId, booking: BookingId },
    // money
    Posted { transfer: TransferId, team: Option<TeamId>, amount: Credits },
    Held { hold: HoldId, team: TeamId, amount: Credits },
    HoldResolved { hold: HoldId, team: TeamId },
    RateSet { model: String },
    InvoiceDrafted { document: DocumentId, team: TeamId },
    InvoiceIssued { document: DocumentId, team: TeamId },
    InvoiceSettled { document: DocumentId, team: TeamId },
    // operations
    BackupMade,
    Restored,
    Refused { code: String },
}

impl Event {
    /// What a page may watch: the ids whose display this event can change. Ids alone; the reader fetches under its rights.
    pub fn topics(&self) -> Vec<String> {
        let mut topics = Vec::new();
        // Ids serialise as prefixed text, so the event's own JSON names every topic it touches.
        if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(self) {
            topics.extend(fields.into_values().filter_map(|value| match value {
                serde_json::Value::String(text) if text.len() == 29 && text.as_bytes()[2] == b'_' => Some(text),
                _ => None,
            }));
        }
        topics
    }
}
