//! Who this node is: a key that never leaves its directory, and the certificate that the mill gave for it. It refuses to
//! change between real and simulated: a node is one or the other for its whole life.
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, SigningKey};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};

use super::place::{Place, PlaceError};
use crate::base::ids::NodeId;
use crate::base::secret::{hex, sha256};
use crate::base::window::Instant;

const KEY: &str = "key.pem";
const ROOT: &str = "root.pem";
const NODE: &str = "node.json";

/// Why there is no usable identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("the node's key cannot be made or used: {0}")]
    Key(#[from] rcgen::Error),
    #[error("{what} cannot be read as PEM: {source}")]
    Pem { what: &'static str, source: rustls::pki_types::pem::Error },
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("this node joined as {was}, and a node stays what it is; start the agent {hint}")]
    OtherReality { was: &'static str, hint: &'static str },
}

/// What the mill said about this node when it joined or renewed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    pub node: NodeId,
    pub certificate_pem: String,
    /// When a third of the certificate's life is left, by this machine's clock.
    pub renew_at: Instant,
    /// How many simulated GPUs; `None` for a real node.
    pub simulated_gpus: Option<u32>,
}

/// The node's key, made on first use.
pub struct NodeKey(KeyPair);

impl NodeKey {
    pub fn open(place: &Place) -> Result<Self, IdentityError> {
        if let Some(pem) = place.read(KEY)? {
            return Ok(Self(KeyPair::from_pem(&pem)?));
        }
        let key = Self::make()?;
        place.write(KEY, &key.pem())?;
        Ok(key)
    }

    /// A new one that is kept nowhere.
    pub fn make() -> Result<Self, IdentityError> {
        Ok(Self(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?))
    }

    pub fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        Ok(Self(KeyPair::from_pem(pem)?))
    }

    pub fn pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// A certificate request; the mill takes the public key from it and nothing else.
    pub fn request(&self) -> Result<String, IdentityError> {
        Ok(CertificateParams::default().serialize_request(&self.0)?.pem()?)
    }

    /// ECDSA over SHA-256 of some bytes, in ASN.1.
    pub fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, IdentityError> {
        Ok(SigningKey::sign(&self.0, bytes)?)
    }

    /// What simulated GPUs are derived from: the same for this node for ever, and no other's.
    pub fn seed(&self) -> String {
        hex(&sha256(self.0.public_key_raw()))
    }

    fn der(&self) -> Result<PrivateKeyDer<'static>, IdentityError> {
        let pem = self.pem();
        PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|source| IdentityError::Pem { what: "the node's key", source })
    }
}

/// The membership on file; `None` before the node joined.
pub fn membership(place: &Place) -> Result<Option<Membership>, IdentityError> {
    Ok(place.read_json(NODE)?)
}

/// The node that this directory belongs to, read without taking the directory; `None` where that cannot be said.
pub fn known(data: &Path) -> Option<NodeId> {
    let text = std::fs::read_to_string(data.join(NODE)).ok()?;
    serde_json::from_str::<Membership>(&text).ok().map(|membership| membership.node)
}

pub fn keep_membership(place: &Place, membership: &Membership) -> Result<(), IdentityError> {
    Ok(place.write_json(NODE, membership)?)
}

/// The mill's root that this node trusts, as PEM.
pub fn root(place: &Place) -> Result<Option<String>, IdentityError> {
    Ok(place.read(ROOT)?)
}

pub fn keep_root(place: &Place, pem: &str) -> Result<(), IdentityError> {
    Ok(place.write(ROOT, pem)?)
}

/// SHA-256 of a certificate's DER form, in lower-case hexadecimal.
pub fn fingerprint(pem: &str) -> Result<String, IdentityError> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes());
    Ok(hex(&sha256(&der.map_err(|source| IdentityError::Pem { what: "the mill's root", source })?)))
}

/// TLS that trusts the mill's root alone, and shows this node's certificate where it has one.
pub fn tls(root_pem: &str, own: Option<(&NodeKey, &Membership)>) -> Result<Arc<ClientConfig>, IdentityError> {
    let pem = |what| move |source| IdentityError::Pem { what, source };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root_pem.as_bytes()).map_err(pem("the mill's root"))?)?;
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(ring).with_safe_default_protocol_versions()?.with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some((key, membership)) => {
            let chain = CertificateDer::pem_slice_iter(membership.certificate_pem.as_bytes());
            let chain = chain.collect::<Result<Vec<_>, _>>().map_err(pem("the node's certificate"))?;
            builder.with_client_auth_cert(chain, key.der()?)?
        }
    };
    Ok(Arc::new(config))
}
