//! What comes with an intent, and how an intent can fail: who caused it, under which idempotency key, and whether it was
//! refused by a rule or stopped by the store. It refuses to know what any intent does.
use serde::Serialize;

use super::read::StoreError;
use crate::domain::event::Cause;
use crate::domain::notice::{Reason, Refusal};

/// A client's name for one attempt to change something: sent again, it gets the answer of the first time. It belongs to
/// whoever caused the command; two members may use the same text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

/// Why a text is no idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key is 1 to {} printable ASCII characters without spaces", IdempotencyKey::LONGEST)]
pub struct BadKey;

impl IdempotencyKey {
    /// Longest text accepted, in characters.
    pub const LONGEST: usize = 200;

    pub fn new(text: impl Into<String>) -> Result<Self, BadKey> {
        let text = text.into();
        let fits = (1..=Self::LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Self(text)) } else { Err(BadKey) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for IdempotencyKey {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        Self::new(text)
    }
}

/// The envelope of an intent.
#[derive(Clone, Debug)]
pub struct Command {
    pub cause: Cause,
    pub key: Option<IdempotencyKey>,
    /// Of the whole request; tells a repetition from a key used twice. Meaningless without a key.
    pub digest: [u8; 32],
    /// Whether it is taken also while a breach keeps the store closed.
    pub despite_breach: bool,
}

impl Command {
    pub const fn new(cause: Cause) -> Self {
        Self { cause, key: None, digest: [0; 32], despite_breach: false }
    }

    /// For what neither bookings nor money depend on and what people need to learn of a breach: signing in, notices,
    /// their mails, the record of the check itself.
    #[must_use]
    pub const fn despite_breach(mut self) -> Self {
        self.despite_breach = true;
        self
    }

    /// The answer is stored in plain JSON beside the rows: an intent whose answer holds a secret must not be keyed.
    #[must_use]
    pub fn keyed(mut self, key: IdempotencyKey, digest: [u8; 32]) -> Self {
        self.key = Some(key);
        self.digest = digest;
        self
    }

    /// Keyed when the client gave a key; the digest is taken of `request`.
    #[must_use]
    pub fn maybe_keyed(self, key: Option<IdempotencyKey>, request: &impl Serialize) -> Self {
        match key {
            Some(key) => self.keyed(key, digest(request)),
            None => self,
        }
    }
}

/// SHA-256 of a request as JSON, for [`Command::keyed`]. Include what tells two requests apart, the route among it.
pub fn digest(request: &impl Serialize) -> [u8; 32] {
    let json = serde_json::to_vec(request).expect("requests are plain data and always serialise");
    let mut bytes = [0; 32];
    bytes.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, &json).as_ref());
    bytes
}

/// Why an intent decided against itself.
#[derive(Debug)]
pub enum Reject {
    Refusal(Refusal),
    Store(StoreError),
}

impl From<Refusal> for Reject {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

impl From<StoreError> for Reject {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<super::record::RecordError> for Reject {
    fn from(error: super::record::RecordError) -> Self {
        Self::Store(error.into())
    }
}

impl<R: Reason + 'static> From<R> for Reject {
    fn from(reason: R) -> Self {
        Self::Refusal(reason.into())
    }
}

/// Why a write did not happen. In either case nothing of it is on file, with one exception: after `Store(Closed)` the
/// mill cannot say, and only the same idempotency key sent again finds out.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("{0}")]
    Refused(Refusal),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Reject> for WriteError {
    fn from(reject: Reject) -> Self {
        match reject {
            Reject::Refusal(refusal) => Self::Refused(refusal),
            Reject::Store(error) => Self::Store(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_short_and_printable() {
        assert!(IdempotencyKey::new("a").is_ok() && IdempotencyKey::new("x".repeat(200)).is_ok());
        for bad in [String::new(), "x".repeat(201), "a b".into(), "a\n".into(), "ä".into()] {
            assert_eq!(IdempotencyKey::new(bad), Err(BadKey));
        }
    }

    #[test]
    fn digests_differ_by_content() {
        assert_ne!(digest(&("book", 1)), digest(&("book", 2)));
    }
}
