//! Becoming a node, and staying one: the root is pinned first, then the token is spent, then the certificate is renewed when
//! a third of its life is left. It refuses to send the token to a server that it is not sure of.
use std::sync::Arc;

use base64::Engine as _;
use rustls::ClientConfig;

use super::dial::{DialError, Server};
use super::identity::{self, IdentityError, Membership, NodeKey};
use super::place::Place;
use crate::base::hardware::ObservedNode;
use crate::base::preflight::Finding;
use crate::base::secret::Secret;
use crate::base::window::Span;
use crate::clock;
use crate::wire::node::{
    Arrival, Challenge, JOIN_TOKEN_ENV, JoinAnswer, JoinRequest, MillFacts, PROTOCOL, RenewRequest, ReturnRequest,
    return_proof,
};

/// How the agent knows its mill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// SHA-256 of the root's DER form, in hexadecimal; colons are ignored.
    Fingerprint(String),
    /// The root itself, as PEM.
    Root(String),
}

/// Why this machine is not a node.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(
        "the server's root has the fingerprint {found}, which is not the one given; this is not your mill, or its root was replaced: take the fingerprint from the nodes page of your mill"
    )]
    OtherMill { found: String },
    #[error("the root is not known; give --ca-fingerprint or --root as the nodes page shows them")]
    NoPin,
    #[error("there is no join token; give it in {JOIN_TOKEN_ENV} or on standard input")]
    NoToken,
}

/// Finds the root and keeps it. A root on file stays, unless another one is pinned.
pub async fn pin_root(place: &Place, server: &Server, pin: Option<&Pin>) -> Result<String, JoinError> {
    let known = identity::root(place)?;
    let root = match pin {
        None => return known.ok_or(JoinError::NoPin),
        Some(Pin::Root(pem)) => {
            identity::fingerprint(pem)?;
            pem.clone()
        }
        Some(Pin::Fingerprint(wanted)) => {
            let wanted = plain(wanted);
            if let Some(known) = known
                && identity::fingerprint(&known)? == wanted
            {
                return Ok(known);
            }
            offered_root(server, Some(&Pin::Fingerprint(wanted))).await?
        }
    };
    identity::keep_root(place, &root)?;
    Ok(root)
}

/// The root that the server offers, if it is the pinned one; nothing is kept.
pub async fn offered_root(server: &Server, pin: Option<&Pin>) -> Result<String, JoinError> {
    let wanted = match pin {
        Some(Pin::Root(pem)) => return Ok(pem.clone()),
        Some(Pin::Fingerprint(wanted)) => Some(plain(wanted)),
        None => None,
    };
    let offered = server.unproven_root().await?;
    let found = identity::fingerprint(&offered)?;
    match wanted {
        Some(wanted) if wanted != found => Err(JoinError::OtherMill { found }),
        _ => Ok(offered),
    }
}

/// A fingerprint as it is compared.
fn plain(fingerprint: &str) -> String {
    fingerprint.chars().filter(|c| *c != ':').collect::<String>().to_lowercase()
}

/// Tells the people who wait for this machine how far it is.
pub async fn arrive(
    server: &Server,
    root: &str,
    token: &Secret,
    hostname: &str,
    findings: Vec<Finding>,
) -> Result<MillFacts, JoinError> {
    let token = token.expose().trim().to_owned();
    let arrival = Arrival { token, hostname: hostname.to_owned(), findings };
    Ok(server.post(identity::tls(root, None)?, "/arrive", &arrival).await?)
}

/// What a machine brings when it joins.
pub struct Newcomer {
    pub token: Secret,
    pub observed: ObservedNode,
    pub simulated_gpus: Option<u32>,
}

/// Spends the token and keeps what it gave.
pub async fn join(
    place: &Place,
    server: &Server,
    root: &str,
    key: &NodeKey,
    newcomer: Newcomer,
) -> Result<Membership, JoinError> {
    let membership = ask(server, root, key, newcomer).await?;
    identity::keep_membership(place, &membership)?;
    Ok(membership)
}

/// Spends the token; what it gave is the caller's to keep.
pub async fn ask(server: &Server, root: &str, key: &NodeKey, newcomer: Newcomer) -> Result<Membership, JoinError> {
    let request = JoinRequest {
        protocol: PROTOCOL,
        token: newcomer.token.expose().trim().to_owned(),
        csr_pem: key.request()?,
        observed: newcomer.observed,
        simulated: newcomer.simulated_gpus.is_some(),
    };
    let answer: JoinAnswer = server.post(identity::tls(root, None)?, "/join", &request).await?;
    tracing::info!(node = %answer.node, name = answer.name.as_deref().unwrap_or_default(), "this machine is a node");
    if answer.pending {
        tracing::warn!("an admin has to admit this node before it can be booked; the nodes page shows it");
    }
    Ok(membership(answer, newcomer.simulated_gpus))
}

/// A new certificate for the same key.
pub async fn renew(
    place: &Place,
    server: &Server,
    tls: Arc<ClientConfig>,
    key: &NodeKey,
    simulated_gpus: Option<u32>,
) -> Result<Membership, JoinError> {
    let answer: JoinAnswer = server.post(tls, "/renew", &RenewRequest { csr_pem: key.request()? }).await?;
    keep(place, answer, simulated_gpus)
}

/// A new certificate for a node whose own is not taken any more: it signs a number of the mill's with its key.
pub async fn come_back(
    place: &Place,
    server: &Server,
    root: &str,
    key: &NodeKey,
    simulated_gpus: Option<u32>,
) -> Result<Membership, JoinError> {
    let tls = identity::tls(root, None)?;
    let Challenge { nonce } = server.get(tls.clone(), "/challenge").await?;
    let signature = base64::engine::general_purpose::STANDARD.encode(key.sign(&return_proof(&nonce))?);
    let request = ReturnRequest { csr_pem: key.request()?, nonce, signature };
    let answer: JoinAnswer = server.post(tls, "/return", &request).await?;
    keep(place, answer, simulated_gpus)
}

fn keep(place: &Place, answer: JoinAnswer, simulated_gpus: Option<u32>) -> Result<Membership, JoinError> {
    let membership = membership(answer, simulated_gpus);
    identity::keep_membership(place, &membership)?;
    Ok(membership)
}

fn membership(answer: JoinAnswer, simulated_gpus: Option<u32>) -> Membership {
    let JoinAnswer { node, certificate_pem, renew_at, .. } = answer;
    // A clock that is far off must not make it renew all the time.
    let renew_at = renew_at.max(clock::now().plus(Span::from_minutes(1)));
    Membership { node, certificate_pem, renew_at, simulated_gpus }
}
