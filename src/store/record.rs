//! How a value becomes bytes and back: a version byte, then JSON; keys as bytes in the order wanted. Old versions are read
//! for ever, only the newest is written. It refuses to know any particular record; those live beside their area.
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::tables::Table;
use crate::base::window::Instant;

/// Why stored bytes are not the record they should be.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("a record in {table} is empty")]
    Empty { table: &'static str },
    #[error("a record in {table} has version {found}, this program knows up to {known}: it was written by a newer one")]
    Newer { table: &'static str, found: u8, known: u8 },
    #[error("a record in {table} (version {version}) cannot be read")]
    Unreadable {
        table: &'static str,
        version: u8,
        #[source]
        source: serde_json::Error,
    },
}

/// A key: bytes that sort as the keys should.
pub trait Key {
    fn bytes(&self) -> Vec<u8>;
}

/// A value with a table and a key of its own. Secondary indexes are tables of their own whose values are primary keys
/// (`Changes::index`).
pub trait Record: Serialize + DeserializeOwned {
    const TABLE: Table;
    const VERSION: u8 = 1;
    type Key: Key;

    fn key(&self) -> Self::Key;

    /// Reads an older version; called with `version < VERSION`.
    fn upgrade(version: u8, json: &[u8]) -> Result<Self, serde_json::Error> {
        let _ = version;
        serde_json::from_slice(json)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![Self::VERSION];
        serde_json::to_writer(&mut bytes, self).expect("records are plain data and always serialise");
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let table = Self::TABLE.name();
        let (&version, json) = bytes.split_first().ok_or(RecordError::Empty { table })?;
        if version > Self::VERSION {
            return Err(RecordError::Newer { table, found: version, known: Self::VERSION });
        }
        let read = if version == Self::VERSION { serde_json::from_slice(json) } else { Self::upgrade(version, json) };
        read.map_err(|source| RecordError::Unreadable { table, version, source })
    }
}

macro_rules! id_keys {
    ($($id:ident),*) => {$(
        impl Key for crate::base::ids::$id {
            fn bytes(&self) -> Vec<u8> {
                self.to_bytes().to_vec()
            }
        }
    )*};
}

id_keys!(
    BookingId,
    DocumentId,
    EvidenceId,
    HoldId,
    InvitationId,
    JoinTokenId,
    LeaseId,
    MaintenanceId,
    MemberId,
    NodeId,
    NoticeId,
    PoolId,
    SessionId,
    StreamId,
    TeamId,
    TokenId,
    TransferId,
    UnitId,
    UseId
);

impl Key for u64 {
    fn bytes(&self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }
}

/// The sign bit is flipped so that instants before 1970 sort before those after.
impl Key for Instant {
    fn bytes(&self) -> Vec<u8> {
        (self.as_millis() ^ i64::MIN).to_be_bytes().to_vec()
    }
}

/// Text sorts by its bytes. Only the last part of a compound key may be text: it has no terminator.
impl Key for &str {
    fn bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}

impl Key for String {
    fn bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}

impl Key for Vec<u8> {
    fn bytes(&self) -> Vec<u8> {
        self.clone()
    }
}

impl Key for [u8; 32] {
    fn bytes(&self) -> Vec<u8> {
        self.to_vec()
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.0.bytes();
        bytes.extend(self.1.bytes());
        bytes
    }
}

impl<A: Key, B: Key, C: Key> Key for (A, B, C) {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.0.bytes();
        bytes.extend(self.1.bytes());
        bytes.extend(self.2.bytes());
        bytes
    }
}
