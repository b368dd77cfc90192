//! How people are stored. It refuses rules.
use super::record::{Key, Record};
use super::tables::Table;
use crate::base::ids::*;
use crate::domain::people::installation::Installation;
use crate::domain::people::member::*;

/// Key of the one installation record in the meta table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Only(pub &'static str);

impl Key for Only {
    fn bytes(&self) -> Vec<u8> {
        self.0.as_bytes().to_vec()
    }
}

pub const INSTALLATION: Only = Only("installation");

impl Record for Installation {
    const TABLE: Table = Table::Meta;
    type Key = Only;

    fn key(&self) -> Only {
        INSTALLATION
    }
}

macro_rules! by_id {
    ($($record:ident in $table:ident by $id:ident;)*) => {$(
        impl Record for $record {
            const TABLE: Table = Table::$table;
            type Key = $id;

            fn key(&self) -> $id {
                self.id
            }
        }
    )*};
}

by_id! {
    Member in Members by MemberId;
    Team in Teams by TeamId;
    Invitation in Invitations by InvitationId;
    Session in Sessions by SessionId;
    ApiToken in Tokens by TokenId;
}

impl Record for Membership {
    const TABLE: Table = Table::Memberships;
    type Key = (TeamId, MemberId);

    fn key(&self) -> Self::Key {
        (self.team, self.member)
    }
}

/// Keyed by member, then id: a member's notices in the order of their making.
impl Record for Notice {
    const TABLE: Table = Table::Notices;
    type Key = (MemberId, NoticeId);

    fn key(&self) -> Self::Key {
        (self.member, self.id)
    }
}

/// The first member's Unix uid; those below belong to the host's own people.
pub const FIRST_UID: u32 = 20_000;

/// The next free uid; never reused, since files outlive accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NextUid(pub u32);

impl NextUid {
    pub const KEY: Only = Only("next_uid");
}

impl Record for NextUid {
    const TABLE: Table = Table::Meta;
    type Key = Only;

    fn key(&self) -> Only {
        Self::KEY
    }
}

/// The one-time setup link's secret, hashed; gone once setup is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SetupLink {
    pub token: crate::base::secret::SecretHash,
}

impl SetupLink {
    pub const KEY: Only = Only("setup_link");
}

impl Record for SetupLink {
    const TABLE: Table = Table::Meta;
    type Key = Only;

    fn key(&self) -> Only {
        Self::KEY
    }
}

/// A mail that waits to be sent. Its text is sealed, because it may hold a one-time link.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OutboxMail {
    pub id: NoticeId,
    pub to: crate::base::text::Email,
    pub sealed: String,
    pub attempts: u32,
    pub not_before: crate::base::window::Instant,
}

impl Record for OutboxMail {
    const TABLE: Table = Table::Outbox;
    type Key = NoticeId;

    fn key(&self) -> NoticeId {
        self.id
    }
}
