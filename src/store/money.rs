//! How money is stored, and which indexes lead to it. It refuses rules, and it refuses to write a transfer twice: its
//! bytes are what the chain hashes, so no migration may rewrite them.
//!
//! Indexes: `HoldsByBooking` (booking, hold), `OpenHolds` (hold) while a segment is open, `Unbilled` (team, start of the
//! delivered window, transfer) until a document lists it, `Billed` (document, transfer) from then on, `DocumentsByTeam`
//! (team, document).
use super::changes::Changes;
use super::people::Only;
use super::record::{Key, Record, RecordError};
use super::tables::Table;
use crate::base::ids::*;
use crate::base::window::Instant;
use crate::domain::money::account::{Account, AccountRow, Entry};
use crate::domain::money::hold::Hold;
use crate::domain::money::invoice::{Document, Series};
use crate::domain::money::rate::{self, Rate};
use crate::domain::money::transfer::{LedgerHead, Link, Transfer};

/// A tag, then the team where there is one.
impl Key for Account {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.tag()];
        bytes.extend(self.team().iter().flat_map(|team| team.to_bytes()));
        bytes
    }
}

impl Record for AccountRow {
    const TABLE: Table = Table::Accounts;
    type Key = Account;

    fn key(&self) -> Account {
        self.account
    }
}

/// Keyed (account, sequence).
impl Record for Entry {
    const TABLE: Table = Table::Entries;
    type Key = (Account, u64);

    fn key(&self) -> Self::Key {
        (self.account, self.sequence)
    }
}

impl Record for Transfer {
    const TABLE: Table = Table::Transfers;
    type Key = TransferId;

    fn key(&self) -> TransferId {
        self.id
    }
}

/// Keyed by sequence; version byte, transfer, hash.
impl Record for Link {
    const TABLE: Table = Table::Chain;
    type Key = u64;

    fn key(&self) -> u64 {
        self.sequence
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![Self::VERSION];
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.transfer.to_bytes());
        bytes.extend(self.hash);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let table = Self::TABLE.name();
        let (&version, rest) = bytes.split_first().ok_or(RecordError::Empty { table })?;
        if version > Self::VERSION {
            return Err(RecordError::Newer { table, found: version, known: Self::VERSION });
        }
        let unreadable = |_| RecordError::Unreadable {
            table,
            version,
            source: <serde_json::Error as serde::de::Error>::custom("a link has 56 bytes after its version"),
        };
        let whole: &[u8; 56] = rest.try_into().map_err(unreadable)?;
        let (sequence, rest) = whole.split_first_chunk::<8>().expect("56 bytes hold 8");
        let (transfer, hash) = rest.split_first_chunk::<16>().expect("48 bytes hold 16");
        Ok(Self {
            sequence: u64::from_be_bytes(*sequence),
            transfer: TransferId::from_u128(u128::from_be_bytes(*transfer)),
            hash: hash.try_into().expect("32 bytes are left"),
        })
    }
}

/// Key of the chain's end in the meta table.
pub const LEDGER_HEAD: Only = Only("ledger_head");

impl Record for LedgerHead {
    const TABLE: Table = Table::Meta;
    type Key = Only;

    fn key(&self) -> Only {
        LEDGER_HEAD
    }
}

impl Record for Hold {
    const TABLE: Table = Table::Holds;
    type Key = HoldId;

    fn key(&self) -> HoldId {
        self.id
    }
}

/// A model's rates lie together, versions in order; the name ends with a zero byte, which no name contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateKey {
    pub model: String,
    pub version: u32,
}

impl RateKey {
    /// What all versions of a model's rate begin with.
    pub fn prefix(model: &str) -> Vec<u8> {
        let mut bytes = rate::key(model).into_bytes();
        bytes.push(0);
        bytes
    }
}

impl Key for RateKey {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Self::prefix(&self.model);
        bytes.extend(self.version.to_be_bytes());
        bytes
    }
}

impl Record for Rate {
    const TABLE: Table = Table::Rates;
    type Key = RateKey;

    fn key(&self) -> RateKey {
        RateKey { model: self.model.clone(), version: self.version }
    }
}

impl Record for Document {
    const TABLE: Table = Table::Documents;
    type Key = DocumentId;

    fn key(&self) -> DocumentId {
        self.id
    }
}

impl Record for Series {
    const TABLE: Table = Table::Series;
    type Key = String;

    fn key(&self) -> String {
        self.series.clone()
    }
}

/// Writes a document and keeps its index true.
pub fn put_document(changes: &mut Changes, document: &Document) {
    changes.put(document);
    changes.index(Table::DocumentsByTeam, &(document.team, document.id), &document.id);
}

/// Writes a hold and keeps its indexes true.
pub fn put_hold(changes: &mut Changes, hold: &Hold) {
    changes.put(hold);
    changes.index(Table::HoldsByBooking, &(hold.booking, hold.id), &hold.id);
    match hold.is_open() {
        true => changes.index(Table::OpenHolds, &hold.id, &hold.id),
        false => changes.unindex(Table::OpenHolds, &hold.id),
    };
}

/// Where a delivery waits for a document.
pub fn unbilled_key(team: TeamId, from: Instant, transfer: TransferId) -> (TeamId, Instant, TransferId) {
    (team, from, transfer)
}
