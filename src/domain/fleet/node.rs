//! Nodes, units, pools, join tokens. A node's own word about its hardware is a claim; the admitted profile is what counts.
use serde::{Deserialize, Serialize};

use super::duty::Duty;
use super::unbooked::UnbookedPolicy;
use crate::base::hardware::{ObservedNode, UnitShape};
use crate::base::ids::{JoinTokenId, NodeId, PoolId, TeamId, UnitId};
use crate::base::preflight::Finding;
use crate::base::secret::SecretHash;
use crate::base::text::Name;
use crate::base::window::{Instant, Span};

/// A named group of nodes with one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    pub id: PoolId,
    pub name: Name,
    /// Joining nodes are admitted without an admin's word.
    pub auto_admit: bool,
    pub policy: PoolPolicy,
    /// Counts the changes of name and policy: a change is made to what was seen, or not at all.
    #[serde(default)]
    pub revision: u32,
}

/// What holds for bookings in a pool. Starts out kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolPolicy {
    /// Kept free after each lease, billed to nobody; 60 s at first, 0 in a simulated installation.
    pub turnaround: Span,
    /// From SIGTERM to SIGKILL.
    pub grace: Span,
    /// The longest booking.
    pub longest: Span,
    /// How far ahead a booking may start.
    pub horizon: Span,
    /// What becomes of use outside bookings.
    #[serde(default)]
    pub unbooked: UnbookedPolicy,
}

impl PoolPolicy {
    pub fn kind(simulated: bool) -> Self {
        Self {
            turnaround: if simulated { Span::ZERO } else { Span::from_seconds(60) },
            grace: Span::from_seconds(30),
            longest: Span::from_days(7),
            horizon: Span::from_days(28),
            unbooked: UnbookedPolicy::default(),
        }
    }
}

/// A machine with GPUs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub id: NodeId,
    pub name: Name,
    pub pool: PoolId,
    /// The team that owns it.
    pub owner: Option<TeamId>,
    /// SHA-256 of its public key (SPKI): its identity.
    pub key: SecretHash,
    /// The certificate in force; any other is refused.
    pub certificate_serial: String,
    pub certificate_expires: Instant,
    /// Issued by a renewal and not used yet. The one in force stays good until this one is first seen, so that an answer
    /// that got lost locks no machine out.
    #[serde(default)]
    pub certificate_next: Option<IssuedCertificate>,
    pub state: NodeState,
    /// Whether it takes new leases, by an admin's word.
    #[serde(default)]
    pub duty: Duty,
    /// What the agent last said.
    pub observed: ObservedNode,
    /// Counts its connections; older ones are fenced.
    pub epoch: u64,
    /// The first desired state of its connection; later ones count on from here (see [`Node::first_generation`]).
    pub generation: u64,
    pub joined: Instant,
    /// Runs on the server's own machine.
    pub local: bool,
}

/// A node's certificate, as far as the mill must remember it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedCertificate {
    /// Lower-case hexadecimal.
    pub serial: String,
    pub expires: Instant,
}

impl Node {
    /// Whether a certificate with this serial may speak for the node.
    pub fn accepts_serial(&self, serial: &str) -> bool {
        self.certificate_serial == serial || self.certificate_next.as_ref().is_some_and(|next| next.serial == serial)
    }

    /// The renewed certificate was seen in use: the one before it is void from here on.
    pub fn serial_used(&mut self, serial: &str) {
        if let Some(next) = self.certificate_next.take_if(|next| next.serial == serial) {
            self.certificate_serial = next.serial;
            self.certificate_expires = next.expires;
        }
    }

    /// Generations are ordered by epoch first, so that they grow over restarts without being written each time. A
    /// connection has 2^20 of them.
    pub const fn first_generation(epoch: u64) -> u64 {
        epoch << 20
    }

    /// May be given new leases.
    pub const fn is_open(&self) -> bool {
        matches!(self.state, NodeState::Admitted { .. }) && self.duty.is_open()
    }

    /// Gone for good: revoked or retired.
    pub const fn is_gone(&self) -> bool {
        matches!(self.state, NodeState::Revoked { .. } | NodeState::Retired { .. })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum NodeState {
    /// Joined, waits for an admin.
    Pending,
    Admitted {
        since: Instant,
    },
    /// Takes no new leases; running ones go on.
    Closed {
        since: Instant,
        why: String,
    },
    Revoked {
        at: Instant,
    },
    /// Taken out in peace, when nothing was left on it.
    Retired {
        at: Instant,
        why: String,
    },
}

pub use crate::base::preflight::SKEW_LIMIT;

/// Whether the node is there. Kept apart from `Node` because it changes with every contact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeContact {
    pub node: NodeId,
    pub epoch: u64,
    pub connected: bool,
    /// Last heartbeat that was written down (at most every 30 s, and at each loss).
    pub last: Instant,
    /// Agent's clock minus the mill's, milliseconds.
    pub skew_ms: i64,
    /// It is connected again and has not said yet what became of its leases: when it was heard of before. A greeting
    /// attests nothing that is billed.
    #[serde(default)]
    pub unattested_since: Option<Instant>,
}

impl NodeContact {
    /// Whether it is there and has said how its leases are, and until when its word about them goes.
    pub fn attested(&self) -> (bool, Instant) {
        (self.connected && self.unattested_since.is_none(), self.unattested_since.unwrap_or(self.last))
    }
}

/// What can be booked: a GPU, or a MIG instance (which excludes its parent).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    pub id: UnitId,
    pub node: NodeId,
    pub pool: PoolId,
    /// Admitted hardware; price and matching follow this, never a later claim.
    pub uuid: String,
    pub model: String,
    pub shape: UnitShape,
    pub index: u32,
    pub minor: Option<u32>,
    pub memory_bytes: u64,
    pub service: Service,
}

/// Whether a unit may be given out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Service {
    In,
    Out { since: Instant, why: String },
}

/// Lets one machine join one pool, once, soon. Stored hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    pub token: SecretHash,
    pub pool: PoolId,
    pub owner: Option<TeamId>,
    pub name: Option<Name>,
    pub local: bool,
    /// The admin who made it has admitted the machine in advance.
    #[serde(default)]
    pub admit: bool,
    pub expires: Instant,
    pub used: Option<(NodeId, Instant)>,
    /// The machine that showed it, before it joins.
    #[serde(default)]
    pub seen: Option<Seen>,
}

/// What a machine said of itself while it held a join token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub hostname: String,
    pub at: Instant,
    /// How often it told something; more than [`Seen::MOST`] is not written down.
    pub times: u32,
    pub findings: Vec<Finding>,
}

impl Seen {
    /// A machine that is looked over again and again while somebody mends it needs no more.
    pub const MOST: u32 = 60;
}

impl JoinToken {
    /// Names the token where the token itself must not stand: half of its hash, from which nothing leads back.
    pub fn id(&self) -> JoinTokenId {
        Self::id_of(&self.token)
    }

    pub fn id_of(token: &SecretHash) -> JoinTokenId {
        let (half, _) = token.as_bytes().split_first_chunk::<16>().expect("a hash has 32 bytes");
        JoinTokenId::from_u128(u128::from_be_bytes(*half))
    }
}

/// The program that a node's agent is, as it said when it connected. Kept apart from `Node`: it is no part of what was
/// admitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAgent {
    pub node: NodeId,
    pub version: String,
    pub protocol: u32,
    /// An upgrade that an admin asked for and that is not done.
    pub upgrade: Option<UpgradeWish>,
}

/// What an admin wants a node's agent to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeWish {
    pub version: String,
    pub asked: Instant,
    /// How often the program was offered.
    pub tries: u32,
    /// Why it did not work, as the node says.
    pub failed: Option<String>,
}
