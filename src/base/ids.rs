//! One registry of typed ids, so that a team can never be passed where a node is meant. Ids are made by `app` (they need
//! randomness) and parsed here; a malformed id never reaches a handler. It refuses to make ids.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Crockford's base 32, lower case: no letter can be mistaken for a digit when read aloud.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id of the kind {expected}…")]
pub struct BadId {
    /// The prefix that ids of the wanted kind carry.
    pub expected: &'static str,
}

pub(crate) fn encode(value: u128) -> String {
    (0..26).rev().map(|digit| ALPHABET[((value >> (5 * digit)) & 31) as usize] as char).collect()
}

pub(crate) fn decode(text: &str) -> Option<u128> {
    // 26 digits hold 130 bits: the first must stay below 8 or the value would not fit.
    if text.len() != 26 || text.as_bytes()[0] > b'7' {
        return None;
    }
    text.bytes().try_fold(0u128, |value, byte| {
        let digit = ALPHABET.iter().position(|&letter| letter == byte)?;
        Some((value << 5) | digit as u128)
    })
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// What its text form begins with.
            pub const PREFIX: &'static str = $prefix;

            /// From the number it is stored as.
            pub const fn from_u128(value: u128) -> Self {
                Self(value)
            }

            /// The number it is stored as.
            pub const fn as_u128(self) -> u128 {
                self.0
            }

            /// Big-endian bytes: their order is the order of the ids, hence of their making.
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }

            /// The last six digits, for places where a person only needs to tell neighbours apart.
            pub fn short(self) -> String {
                encode(self.0)[20..].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}_{}", $prefix, encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(decode)
                    .map(Self)
                    .ok_or(BadId { expected: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                <String as utoipa::PartialSchema>::schema()
            }
        }

        impl utoipa::ToSchema for $name {}
    )*};
}

ids! {
    /// A booking: what a person asked for.
    BookingId = "bk";
    /// An issued or drafted document (invoice or credit note).
    DocumentId = "in";
    /// A ledger hold.
    HoldId = "hd";
    /// One thing that was seen of a GPU.
    EvidenceId = "ev";
    /// An invitation to join a team.
    InvitationId = "iv";
    /// A join token: what lets one machine in. It names the token and gives nothing away.
    JoinTokenId = "jt";
    /// A lease: GPUs of one node for one window.
    LeaseId = "ls";
    /// A stretch in which a node is out of the calendar.
    MaintenanceId = "mt";
    /// A person with an account.
    MemberId = "mb";
    /// A machine with GPUs.
    NodeId = "nd";
    /// A message to one member, on the page and perhaps by mail.
    NoticeId = "nt";
    /// A named group of nodes.
    PoolId = "pl";
    /// A browser's or terminal's sign-in.
    SessionId = "ss";
    /// A bulk connection that an agent dials on request (a terminal tab, a log that is followed).
    StreamId = "st";
    /// Who pays.
    TeamId = "tm";
    /// An API token.
    TokenId = "tk";
    /// A ledger transfer.
    TransferId = "tr";
    /// A bookable unit: a GPU, or a MIG instance.
    UnitId = "un";
    /// A process that uses GPUs outside bookings.
    UseId = "us";
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_form_returns(value: u128) {
            let id = BookingId::from_u128(value);
            prop_assert_eq!(id.to_string().parse::<BookingId>(), Ok(id));
            prop_assert!(id.to_string().parse::<TeamId>().is_err());
        }

        #[test]
        fn any_text_is_answered(text: String) {
            let _ = text.parse::<NodeId>();
            let _ = format!("nd_{text}").parse::<NodeId>();
        }
    }

    #[test]
    fn too_large_is_refused() {
        assert!("bk_80000000000000000000000000".parse::<BookingId>().is_err());
        assert_eq!("bk_7zzzzzzzzzzzzzzzzzzzzzzzzz".parse(), Ok(BookingId::from_u128(u128::MAX)));
    }
}
