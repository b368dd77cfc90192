//! A transfer: one amount from one account to another, for a stated reason, for ever. Its bytes are frozen when written
//! and chained by hash. It refuses to be changed; corrections are new transfers that name what they reverse.
use serde::{Deserialize, Serialize};

use super::account::Account;
use super::table::Kind;
use crate::base::credits::Credits;
use crate::base::ids::{BookingId, DocumentId, HoldId, LeaseId, TransferId};
use crate::base::secret::sha256;
use crate::base::window::{Instant, Window};

/// The stored form is what the chain hashes: fields are only ever added, optional and at the end, and no migration
/// rewrites a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    pub id: TransferId,
    /// Position in the chain, from 1, in commit order.
    pub sequence: u64,
    pub kind: Kind,
    pub debit: Account,
    pub credit: Account,
    pub amount: Credits,
    pub at: Instant,
    #[serde(flatten)]
    pub about: About,
}

/// What a transfer is about, as far as it is about something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub booking: Option<BookingId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentId>,
    /// The stretch of time that was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// GPUs times whole seconds delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_seconds: Option<i64>,
    /// Credits per GPU and hour at which it was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Credits>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverses: Option<TransferId>,
    /// A person's reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memo: Option<String>,
}

/// One link of the chain: which transfer stands at a position, and the hash up to and including it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub sequence: u64,
    pub transfer: TransferId,
    pub hash: [u8; 32],
}

impl Link {
    /// What stands before the first transfer.
    pub const START: [u8; 32] = [0; 32];

    /// The hash after appending a transfer's stored bytes.
    pub fn next(before: &[u8; 32], stored: &[u8]) -> [u8; 32] {
        let mut bytes = Vec::with_capacity(32 + stored.len());
        bytes.extend_from_slice(before);
        bytes.extend_from_slice(stored);
        sha256(&bytes)
    }
}

/// Where the chain ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerHead {
    pub sequence: u64,
    pub hash: [u8; 32],
}

impl Default for LedgerHead {
    fn default() -> Self {
        Self { sequence: 0, hash: Link::START }
    }
}
