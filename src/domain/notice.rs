//! How the mill says no, and the shape of everything it tells a person: what happened, why, and what to do next. It
//! refuses bare error codes and texts without a next step.
use std::fmt;

use serde::{Deserialize, Serialize};

/// What a person reads when something did not go as asked. Each part is one or two full sentences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sentence {
    pub what: String,
    pub why: String,
    pub next: String,
}

impl Sentence {
    pub fn new(what: impl Into<String>, why: impl Into<String>, next: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), next: next.into() }
    }
}

/// How a refusal is answered; `web` maps it to a status in one exhaustive match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The input cannot be accepted as it is (422).
    Invalid,
    /// The input is fine, the state of the world is in the way (409).
    Conflict,
    /// Not there, or not for this person: the two look the same (404).
    NotFound,
    /// Nobody is signed in, or the credential is spent (401).
    SignedOut,
    /// The person is known and may see the thing, but not do this (403).
    Denied,
    /// Too many attempts (429).
    Throttled,
    /// The mill cannot do it now and says so instead of losing it (503).
    Unavailable,
}

/// A reason for refusal: one enum per area implements it, with the data it needs to speak.
pub trait Reason: fmt::Debug + Send + Sync {
    /// Stable, machine-readable, snake case: clients may rely on it.
    fn code(&self) -> &'static str;
    fn kind(&self) -> Kind;
    fn sentence(&self) -> Sentence;
    /// The field of the form it speaks of, where it speaks of one.
    fn field(&self) -> Option<&'static str> {
        None
    }
    /// The nearest thing that would work, as data for a client.
    fn offer(&self) -> Option<serde_json::Value> {
        None
    }
}

/// A refusal on its way up.
#[derive(Debug)]
pub struct Refusal(Box<dyn Reason>);

impl Refusal {
    pub fn reason(&self) -> &dyn Reason {
        self.0.as_ref()
    }
}

impl<R: Reason + 'static> From<R> for Refusal {
    fn from(reason: R) -> Self {
        Self(Box::new(reason))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sentence { what, why, next } = self.0.sentence();
        write!(f, "{what} {why} {next}")
    }
}

/// Refusals that belong to no area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Common {
    /// Unknown or forbidden: the same answer, so that nobody learns which ids exist.
    NotFound { what: &'static str },
    /// A field of a form or request that cannot be read; `why` says how it should look.
    BadField { field: &'static str, why: String },
    /// The same idempotency key came with a different request.
    KeyReused,
}

impl Reason for Common {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::BadField { .. } => "bad_field",
            Self::KeyReused => "idempotency_key_reused",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound { .. } => Kind::NotFound,
            Self::BadField { .. } => Kind::Invalid,
            Self::KeyReused => Kind::Conflict,
        }
    }

    fn sentence(&self) -> Sentence {
        match self {
            Self::NotFound { what } => Sentence::new(
                format!("There is no such {what}."),
                "It does not exist, or it is not yours to see.",
                "Check the address, or ask the person who sent you here.",
            ),
            Self::BadField { field, why } => Sentence::new(
                format!("“{field}” cannot be used as it is."),
                format!("{}.", why.trim_end_matches('.')),
                "Correct it and send again; nothing was changed.",
            ),
            Self::KeyReused => Sentence::new(
                "This request was not carried out.",
                "Its idempotency key was already used for a different request.",
                "Reload the page (or make a new key) and try again.",
            ),
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::BadField { field, .. } => Some(field),
            _ => None,
        }
    }
}
