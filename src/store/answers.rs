//! Answers kept under idempotency keys, written in the transaction that they answer for. It refuses to keep refusals: a
//! refused intent changed nothing and may be tried again.
use super::changes::RowChange;
use super::command::{Command, IdempotencyKey};
use super::read::{Order, Read, StoreError, prefix_bounds};
use super::record::Key;
use super::tables::Table;
use crate::base::window::Instant;
use crate::domain::event::Cause;

/// First byte of a stored answer.
const VERSION: u8 = 1;
/// Version, digest, instant.
const HEAD: usize = 1 + 32 + 8;

/// A stored answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub digest: [u8; 32],
    pub at: Instant,
    pub json: Vec<u8>,
}

/// Who asked, then the key: one person's keys never meet another's.
pub(super) fn key(cause: Cause, key: &IdempotencyKey) -> Vec<u8> {
    let (tag, id) = match cause {
        Cause::Member(id) => (1, id.as_u128()),
        Cause::Node(id) => (2, id.as_u128()),
        Cause::Mill => (3, 0),
        Cause::Operator => (4, 0),
        Cause::Anonymous => (5, 0),
    };
    let mut bytes = vec![tag];
    bytes.extend(id.to_be_bytes());
    bytes.extend(key.as_str().as_bytes());
    bytes
}

/// Whether the command was carried out before, so that planning for it anew is idle.
pub fn given(reader: &impl Read, command: &Command) -> Result<bool, StoreError> {
    let Some(text) = &command.key else { return Ok(false) };
    Ok(reader.raw(Table::Answers, &key(command.cause, text))?.is_some())
}

pub(super) fn row(command: &Command, at: Instant, json: &[u8]) -> Option<RowChange> {
    let key = key(command.cause, command.key.as_ref()?);
    let mut value = Vec::with_capacity(HEAD + json.len());
    value.push(VERSION);
    value.extend(command.digest);
    value.extend(at.bytes());
    value.extend(json);
    Some(RowChange { table: Table::Answers, key, value: Some(value) })
}

/// Reads a stored answer.
pub fn decode(value: &[u8]) -> Result<Answer, StoreError> {
    let malformed = StoreError::Malformed { table: Table::Answers.name() };
    if value.len() < HEAD || value[0] != VERSION {
        return Err(malformed);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(&value[1..33]);
    let mut millis = [0; 8];
    millis.copy_from_slice(&value[33..HEAD]);
    let at = Instant::from_millis(i64::from_be_bytes(millis) ^ i64::MIN);
    Ok(Answer { digest, at, json: value[HEAD..].to_vec() })
}

/// Rows that delete the answers given before `before`, looking at `limit` rows after `from` (empty to begin); and where
/// to go on, `None` at the end. For the nightly task; a client that retries after that long is a new request.
pub fn outdated(
    reader: &impl Read,
    before: Instant,
    from: &[u8],
    limit: usize,
) -> Result<(Vec<RowChange>, Option<Vec<u8>>), StoreError> {
    let start = if from.is_empty() { prefix_bounds(&[]).0 } else { std::ops::Bound::Excluded(from.to_vec()) };
    let rows = reader.raw_range(Table::Answers, start, std::ops::Bound::Unbounded, Order::Ascending, limit)?;
    let next = if rows.len() == limit { rows.last().map(|(key, _)| key.clone()) } else { None };
    let mut gone = Vec::new();
    for (key, value) in rows {
        if decode(&value)?.at < before {
            gone.push(RowChange { table: Table::Answers, key, value: None });
        }
    }
    Ok((gone, next))
}
