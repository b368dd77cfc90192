//! The JSON API's types, version 1: what `web/api` answers, `app` fills and `cli` reads. Field names are a contract with
//! other people's scripts. Amounts are micro-credits beside a decimal, times RFC 3339 in UTC.
pub mod bookings;
pub mod fleet;
pub mod health;
pub mod money;
pub mod people;
pub mod pools;
pub mod unbooked;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::base::credits::Credits;
use crate::base::window::Instant;

/// An amount: exact for machines, readable for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Amount {
    /// Micro-credits; 1,000,000 are one credit, which is one unit of the installation's currency.
    pub micros: i64,
    /// The same as a decimal, such as `12.50`.
    pub decimal: String,
}

impl From<Credits> for Amount {
    fn from(credits: Credits) -> Self {
        Self { micros: credits.micros(), decimal: credits.to_string() }
    }
}

impl Amount {
    pub fn credits(&self) -> Credits {
        Credits::from_micros(self.micros)
    }
}

/// A UTC instant, written as RFC 3339.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub Instant);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stamp = jiff::Timestamp::from_millisecond(self.0.as_millis()).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{stamp}")
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Not an RFC 3339 time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a time looks like 2026-12-01T09:00:00Z")]
pub struct NotAMoment;

impl FromStr for Moment {
    type Err = NotAMoment;

    fn from_str(text: &str) -> Result<Self, NotAMoment> {
        let stamp: jiff::Timestamp = text.parse().map_err(|_| NotAMoment)?;
        Ok(Self(Instant::from_millis(stamp.as_millisecond())))
    }
}

impl From<Instant> for Moment {
    fn from(instant: Instant) -> Self {
        Self(instant)
    }
}

impl Serialize for Moment {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for Moment {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .into()
    }
}

impl utoipa::ToSchema for Moment {}

/// How every refusal is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// Stable and machine-readable.
    pub code: String,
    pub what: String,
    pub why: String,
    pub next: String,
    /// The field it speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The nearest thing that would work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub offer: Option<serde_json::Value>,
}
