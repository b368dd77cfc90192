//! How a node comes back whose certificate has ended: it signs a number of ours with its key, and the key is what was
//! admitted. It refuses keys of revoked nodes, numbers that are old or spent, and more attempts than a fleet needs; what it
//! remembers is bounded by nodes that really came back.
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Monotonic};

use base64::Engine as _;
use ring::hmac;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

use super::Fleet;
use super::join::{Signed, request_spki, sign};
use crate::app::error::Answer;
use crate::app::ids;
use crate::base::ids::NodeId;
use crate::base::secret::{SecretHash, hex};
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::node::{IssuedCertificate, Node, NodeState};
use crate::domain::fleet::refusal::FleetRefusal;
use crate::store::changes::Changes;
use crate::store::command::Command;
use crate::store::read::Read as _;
use crate::store::tables::Table;
use crate::wire::node::{Challenge, JoinAnswer, ReturnRequest, return_proof};

/// How long a number is good.
const GOOD_FOR: Duration = Duration::from_secs(60);
/// Attempts that are looked at per second, and at once: a signature is cheap, a million are not.
const PER_SECOND: u32 = 200;
const AT_ONCE: u32 = 400;
/// How often one node may come back.
const NODE_PAUSE: Duration = Duration::from_secs(10);
/// An uncompressed P-256 point at the end of its SPKI form, and the length of that form.
const POINT: usize = 65;
const P256_SPKI: usize = 91;

/// The numbers that nodes sign. They carry their own time and our seal, so that giving one out costs no memory.
pub struct Challenges {
    key: hmac::Key,
    begun: Monotonic,
    state: Mutex<State>,
}

struct State {
    /// Numbers that were used, until they are too old anyway.
    spent: HashMap<[u8; 32], Monotonic>,
    /// When each node came back last.
    back: HashMap<NodeId, Monotonic>,
    room: u32,
    filled: Monotonic,
}

impl Default for Challenges {
    fn default() -> Self {
        let now = Monotonic::now();
        let state = State { spent: HashMap::new(), back: HashMap::new(), room: AT_ONCE, filled: now };
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &ids::random_256()), begun: now, state: Mutex::new(state) }
    }
}

impl Challenges {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A fresh number: 64 bits of time, 64 of chance, 128 of our seal over both.
    pub fn issue(&self, now: Monotonic) -> Challenge {
        let millis = u64::try_from(now.saturating_duration_since(self.begun).as_millis()).unwrap_or(u64::MAX);
        let mut number = [0; 32];
        number[..8].copy_from_slice(&millis.to_be_bytes());
        number[8..16].copy_from_slice(&ids::random_256()[..8]);
        let seal = hmac::sign(&self.key, &number[..16]);
        number[16..].copy_from_slice(&seal.as_ref()[..16]);
        Challenge { nonce: hex(&number) }
    }

    /// Whether there is room for one more attempt now.
    fn admit(&self, now: Monotonic) -> Result<(), FleetRefusal> {
        let mut state = self.state();
        let passed = now.saturating_duration_since(state.filled);
        let gained = u32::try_from(passed.as_millis() * u128::from(PER_SECOND) / 1000).unwrap_or(AT_ONCE);
        if gained > 0 {
            state.room = state.room.saturating_add(gained).min(AT_ONCE);
            state.filled = now;
        }
        state.room = state.room.checked_sub(1).ok_or(FleetRefusal::TooManyReturns)?;
        Ok(())
    }

    /// The number as bytes, if it is ours, young and unused.
    fn good(&self, nonce: &str, now: Monotonic) -> Result<[u8; 32], FleetRefusal> {
        let number = unhex(nonce).ok_or(FleetRefusal::ChallengeSpent)?;
        let (said, seal) = number.split_at(16);
        let expected = hmac::sign(&self.key, said);
        let ours: bool = subtle::ConstantTimeEq::ct_eq(&expected.as_ref()[..16], seal).into();
        let mut millis = [0; 8];
        millis.copy_from_slice(&said[..8]);
        let age =
            now.saturating_duration_since(self.begun).as_millis().saturating_sub(u64::from_be_bytes(millis).into());
        let young = age <= GOOD_FOR.as_millis();
        if ours && young && !self.state().spent.contains_key(&number) {
            Ok(number)
        } else {
            Err(FleetRefusal::ChallengeSpent)
        }
    }

    /// Uses the number up for this node; whoever comes second is refused.
    fn spend(&self, number: [u8; 32], node: NodeId, now: Monotonic) -> Result<(), FleetRefusal> {
        let mut state = self.state();
        state.spent.retain(|_, used| now.saturating_duration_since(*used) <= GOOD_FOR);
        if state.spent.insert(number, now).is_some() {
            return Err(FleetRefusal::ChallengeSpent);
        }
        let before = state.back.insert(node, now);
        if before.is_some_and(|before| now.saturating_duration_since(before) < NODE_PAUSE) {
            return Err(FleetRefusal::TooManyReturns);
        }
        Ok(())
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// A new certificate for a node that proves to have its key.
pub async fn come_back(fleet: &Fleet, request: ReturnRequest) -> Answer<JoinAnswer> {
    let challenges = &fleet.mill.hub.challenges;
    challenges.admit(Monotonic::now())?;
    let number = challenges.good(&request.nonce, Monotonic::now())?;
    let spki = request_spki(&request.csr_pem)?;
    let key = SecretHash::of(&spki);
    let node = fleet.mill.store.read()?.via::<Node>(Table::NodesByKey, key.as_bytes())?;
    let node = node.ok_or(FleetRefusal::UnknownKey)?;
    proves(&spki, &request)?;
    challenges.spend(number, node.id, Monotonic::now())?;
    if node.is_gone() {
        return Err(FleetRefusal::Revoked.into());
    }
    let signed = sign(fleet, &request.csr_pem, node.id)?;
    let answer = signed.answer(fleet);
    let (cause, id) = (Cause::Node(node.id), node.id);
    let pending = fleet.mill.store.write(Command::new(cause), move |view, _| again(view, id, &signed)).await?;
    Ok(JoinAnswer { pending, name: Some(node.name.to_string()), ..answer })
}

fn again(
    view: &crate::store::view::View<'_>,
    node: NodeId,
    signed: &Signed,
) -> Result<(Changes, bool), crate::store::command::Reject> {
    let mut row: Node = view.get(&node)?.ok_or(FleetRefusal::UnknownKey)?;
    if row.key != signed.key || row.is_gone() {
        return Err(FleetRefusal::Revoked.into());
    }
    row.certificate_next = Some(IssuedCertificate { serial: signed.serial.clone(), expires: signed.expires });
    let mut changes = Changes::new();
    changes.put(&row);
    changes.event(Cause::Node(node), Event::NodeReturned { node });
    Ok((changes, row.state == NodeState::Pending))
}

/// The signature must be this key's, over this number, in a sentence that proves nothing else.
fn proves(spki: &[u8], request: &ReturnRequest) -> Result<(), FleetRefusal> {
    if spki.len() != P256_SPKI {
        return Err(FleetRefusal::BadRequest);
    }
    let signature = base64::engine::general_purpose::STANDARD.decode(&request.signature);
    let signature = signature.map_err(|_| FleetRefusal::BadRequest)?;
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &spki[P256_SPKI - POINT..]);
    key.verify(&return_proof(&request.nonce), &signature).map_err(|_| FleetRefusal::BadRequest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId::from_u128(7);

    #[test]
    fn a_number_is_ours_young_and_good_once() {
        let challenges = Challenges::default();
        let now = Monotonic::now();
        let Challenge { nonce } = challenges.issue(now);
        let number = challenges.good(&nonce, now + GOOD_FOR / 2).unwrap();
        challenges.spend(number, NODE, now).unwrap();
        assert_eq!(challenges.good(&nonce, now), Err(FleetRefusal::ChallengeSpent), "spent");
        assert_eq!(challenges.spend(number, NODE, now), Err(FleetRefusal::ChallengeSpent));
        let old = challenges.issue(now).nonce;
        assert_eq!(challenges.good(&old, now + GOOD_FOR * 2), Err(FleetRefusal::ChallengeSpent), "old");
        let other = Challenges::default().issue(now).nonce;
        assert_eq!(challenges.good(&other, now), Err(FleetRefusal::ChallengeSpent), "another server's");
        for bad in ["", "00", &"zz".repeat(32), &"ü".repeat(32), &"0".repeat(64)] {
            assert_eq!(challenges.good(bad, now), Err(FleetRefusal::ChallengeSpent), "{bad}");
        }
    }

    #[test]
    fn attempts_are_paced_and_memory_is_bounded() {
        let challenges = Challenges::default();
        let now = Monotonic::now();
        let let_in = (0..10_000).filter(|_| challenges.admit(now).is_ok()).count();
        assert_eq!(let_in, usize::try_from(AT_ONCE).unwrap());
        assert!(challenges.admit(now + Duration::from_secs(1)).is_ok());
        for _ in 0..1000 {
            challenges.issue(now);
        }
        assert!(challenges.state().spent.is_empty(), "giving numbers out costs nothing");
        let number = |nonce: Challenge| unhex(&nonce.nonce).unwrap();
        challenges.spend(number(challenges.issue(now)), NODE, now).unwrap();
        let soon = challenges.spend(number(challenges.issue(now)), NODE, now + Duration::from_secs(1));
        assert_eq!(soon, Err(FleetRefusal::TooManyReturns), "one node, again at once");
        challenges.spend(number(challenges.issue(now)), NODE, now + GOOD_FOR * 3).unwrap();
        assert_eq!(challenges.state().spent.len(), 1, "what is too old anyway is forgotten");
    }
}
