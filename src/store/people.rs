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
