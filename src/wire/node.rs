//! The node protocol: what server and agent say over the control connection and how a machine joins. JSON text frames on
//! a WebSocket over mutual TLS; bulk (terminals, logs) travels on connections of its own that the agent dials on request.
//! It refuses ids of other nodes: a message never names its sender.
use serde::{Deserialize, Serialize};

use crate::base::bounded::at_most;
use crate::base::hardware::{ObservedNode, Share};
use crate::base::ids::{LeaseId, NodeId, StreamId, UseId};
use crate::base::preflight::Finding;
use crate::base::telemetry::GpuReading;
use crate::base::window::{Instant, Span};
use crate::base::xid::{MOST_XIDS, XidFact};

/// Raised when a message changes meaning; the hello carries it.
pub const PROTOCOL: u32 = 1;
/// Largest control message either side accepts, in bytes.
pub const MESSAGE_LIMIT: usize = 1 << 20;
/// Most leases that a node tells of at once.
pub const MOST_FACTS: usize = 8192;
/// Most GPUs and instances whose readings it tells at once.
pub const MOST_READINGS: usize = 1024;
/// Most things that a lease goes without.
pub const MOST_LACKS: usize = 16;
/// Most processes that it tells to have ended at once.
pub const MOST_ENDED: usize = 256;
/// How often an agent reports even when nothing changed.
pub const HEARTBEAT: Span = Span::from_seconds(5);
/// Silence after which a node counts as lost.
pub const LOST_AFTER: Span = Span::from_seconds(20);

/// The name that the gateway's certificate carries and agents insist on, whatever address they dial: the root is pinned,
/// and it gives this name to the gateway alone.
pub const GATEWAY_NAME: &str = "gateway.gristmill.internal";
/// Where an agent finds the join token when it is not given on standard input. Never an argument: those are public.
pub const JOIN_TOKEN_ENV: &str = "GRISTMILL_JOIN_TOKEN";
/// How long a stream waits to be met by its other end.
pub const STREAM_WAIT: Span = Span::from_seconds(10);

/// `POST /join` on the gateway, over TLS pinned to the mill's root, without a client certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JoinRequest {
    pub protocol: u32,
    /// The one-time join token.
    pub token: String,
    /// Certificate request (PEM) made with the agent's own key; only its public key is used.
    pub csr_pem: String,
    pub observed: ObservedNode,
    pub simulated: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JoinAnswer {
    pub node: NodeId,
    pub certificate_pem: String,
    pub root_pem: String,
    /// When two thirds of the certificate's life are over, by the mill's clock.
    pub renew_at: Instant,
    /// Whether an admin has to admit it first.
    pub pending: bool,
    /// What the node is called; another name than was wished where that was taken.
    #[serde(default)]
    pub name: Option<String>,
}

/// `GET /mill` on the gateway, without a client certificate: what a machine has to know before it joins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MillFacts {
    pub protocol: u32,
    pub version: String,
    pub clock: Instant,
    /// Only simulated nodes may join.
    pub simulated: bool,
}

/// `POST /arrive` on the gateway, without a client certificate: a machine that holds a join token tells the people who
/// wait for it how far it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Arrival {
    pub token: String,
    pub hostname: String,
    /// What its look at itself found; empty before that.
    #[serde(default)]
    pub findings: Vec<Finding>,
}

/// `POST /renew` with the client certificate in force: a new one for the same key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RenewRequest {
    pub csr_pem: String,
}

/// `GET /challenge`: a number to sign, good for one return within a minute.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Challenge {
    /// 256 bits, hexadecimal.
    pub nonce: String,
}

/// `POST /return` without a client certificate: a node whose certificate has ended proves that it has its key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReturnRequest {
    pub csr_pem: String,
    pub nonce: String,
    /// ECDSA P-256 over SHA-256 (ASN.1 DER, base64) of [`return_proof`].
    pub signature: String,
}

/// The bytes that a returning node signs: a sentence of their own, so that the signature proves nothing else.
pub fn return_proof(nonce: &str) -> Vec<u8> {
    format!("gristmill node returns: {nonce}").into_bytes()
}

/// From the agent, on the control connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "say")]
pub enum FromAgent {
    /// First message of a connection.
    Hello { protocol: u32, version: String, boot: String, clock: Instant, simulated: bool, observed: Box<ObservedNode> },
    /// Every [`HEARTBEAT`]; carries the epoch it was given and its clock.
    Heartbeat { epoch: u64, clock: Instant },
    /// Hardware changed, or was asked for.
    Observed { epoch: u64, observed: Box<ObservedNode> },
    /// Full list of what the node has of leases; sent on connection and on every change.
    Leases {
        epoch: u64,
        generation: u64,
        #[serde(deserialize_with = "at_most::<MOST_FACTS, _, _>")]
        leases: Vec<LeaseFact>,
    },
    /// A stream could not be opened.
    StreamRefused { stream: StreamId, why: String },
    /// What the GPUs read, every [`SAMPLE_EVERY`]; `clock` is when.
    ///
    /// [`SAMPLE_EVERY`]: crate::base::telemetry::SAMPLE_EVERY
    Samples {
        epoch: u64,
        clock: Instant,
        #[serde(deserialize_with = "at_most::<MOST_READINGS, _, _>")]
        gpus: Vec<GpuReading>,
        /// The last Xids, told again each time.
        #[serde(default, deserialize_with = "at_most::<MOST_XIDS, _, _>")]
        xids: Vec<XidFact>,
        /// Why the kernel's log is not among their sources.
        #[serde(default)]
        kernel_log: Option<String>,
    },
    /// The program that was offered was not installed; the one before goes on.
    UpgradeFailed { epoch: u64, version: String, why: String },
    /// What became of the processes that were to be ended; sent when that changes, and only when there are any.
    Ended {
        epoch: u64,
        generation: u64,
        #[serde(deserialize_with = "at_most::<MOST_ENDED, _, _>")]
        processes: Vec<EndFact>,
    },
    /// To [`ToAgent::StillThere`], with its number.
    Here { epoch: u64, question: u64 },
}

/// What a node knows of one lease.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeaseFact {
    pub lease: LeaseId,
    pub attempt: u32,
    /// The desired revision that it has put into force.
    pub revision: u32,
    pub state: FactState,
    /// What its sandbox could not enforce, in words; empty before it was built, and where nothing is missing.
    #[serde(default, deserialize_with = "at_most::<MOST_LACKS, _, _>", skip_serializing_if = "Vec::is_empty")]
    pub lacking: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum FactState {
    /// On file here, to be started at its time even without the mill. It acknowledges the revision and says nothing more.
    Waiting,
    Preparing,
    /// Running; ready for so long by the node's boot clock.
    Ready {
        elapsed: Span,
    },
    Stopping {
        elapsed: Span,
    },
    /// Over. `elapsed` is how long it was ready; `ago` how long since the end.
    Ended {
        elapsed: Span,
        ago: Span,
        code: Option<i32>,
        signal: Option<i32>,
        cause: FactCause,
    },
    /// Could not start.
    Failed {
        why: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactCause {
    TimeUp,
    Finished,
    Stopped,
    /// The shim or the machine died.
    Lost,
}

/// From the server, on the control connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "say")]
pub enum ToAgent {
    /// Answer to the hello: the epoch of this connection, and the mill's clock.
    Welcome { epoch: u64, node: NodeId, clock: Instant, heartbeat: Span },
    /// Everything that shall be on the node. What is not listed shall not run.
    /// `end`: processes outside leases that shall be ended; exactly these, and only while they are listed.
    Desired {
        generation: u64,
        leases: Vec<DesiredLease>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        end: Vec<EndProcess>,
    },
    /// Dial `GET /stream/{stream}` and connect it to the lease.
    OpenStream { stream: StreamId, lease: LeaseId, kind: StreamKind },
    /// Asked when a second connection comes with this node's key: whoever answers stays.
    StillThere { question: u64 },
    /// Install this program and go on with it; leases are not touched. The agent fetches `GET /program` of the gateway.
    Upgrade { version: String, sha256: String },
    /// Ends the connection, with a reason that the agent logs.
    Goodbye { why: String },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DesiredLease {
    pub lease: LeaseId,
    pub attempt: u32,
    pub revision: u32,
    /// By the mill's clock; the agent turns them into its boot clock by the measured offset.
    pub start: Instant,
    pub end: Instant,
    pub grace: Span,
    /// `false`: end it now (released, cancelled, lost its booking).
    pub run: bool,
    pub gpus: Vec<DesiredGpu>,
    pub share: Share,
    pub workload: DesiredWorkload,
    pub member: DesiredMember,
    pub title: String,
}

/// A process that shall be ended: this one and no other that has its number later. The agent checks all of it again on
/// its own, and ends nothing that belongs to a lease or to the mill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndProcess {
    /// Names the order in [`EndFact`].
    pub used: UseId,
    pub boot: String,
    pub pid: u32,
    /// Clock ticks from the boot to its beginning.
    pub started: u64,
    pub uid: u32,
    /// From SIGTERM to SIGKILL.
    pub grace: Span,
    /// Whether it may belong to root or a system account.
    pub system: bool,
}

/// What became of an order to end a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndFact {
    pub used: UseId,
    pub state: EndState,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum EndState {
    /// SIGTERM was sent; its grace runs.
    Asked,
    /// It is not there any more.
    Gone,
    /// It was not touched.
    Refused { why: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredGpu {
    pub uuid: String,
    pub minor: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum DesiredWorkload {
    Workspace,
    Batch { command: Vec<String> },
}

/// For whom it runs: names the persistent home and its owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredMember {
    /// Directory name of the home: the member's id, never a typed name.
    pub home: String,
    pub name: String,
    pub uid: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum StreamKind {
    /// A terminal tab; made when it does not exist.
    Terminal { tab: u32, cols: u16, rows: u16 },
    /// The log from a byte offset; goes on live when `follow`.
    Log { from: u64, follow: bool },
}
