//! The mill's own certificate authority: one root per installation, server certificates for the front door and the
//! gateway, client certificates for nodes. It exists so that nodes and browsers can be sure of the mill, and the mill of
//! its nodes, without buying anything. It refuses to take anything but a public key from whoever asks for a certificate,
//! and to let its own private key touch a disk unsealed.
pub mod door;
pub mod files;
pub mod seal;
#[cfg(test)]
mod tests;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKey,
    PublicKeyData as _, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::sign::CertifiedKey;

use self::files::certified_key;
use self::seal::{Seal, SealError, Sealed};
use crate::base::ids::NodeId;
use crate::base::secret::{Secret, hex, sha256};
use crate::base::window::{EmptyWindow, Instant, Span, Window};

/// How long a root is good for; nodes and browsers trust it by hand, so it is rarely renewed.
const ROOT_LASTS: Span = Span::from_days(3653);
/// How long a server certificate is good for; browsers refuse much longer ones.
const SERVER_LASTS: Span = Span::from_days(365);
/// How long a node's certificate is good for, unless the pool says otherwise.
pub const NODE_LASTS: Span = Span::from_days(30);
/// Certificates are good from a little before they are made, for readers whose clocks are behind.
const BACKDATED: Span = Span::from_hours(1);
/// A request for a certificate is a key and a signature; anything longer is something else.
const CSR_LIMIT: usize = 8 * 1024;
/// Longest common name that X.520 allows.
const COMMON_NAME_LIMIT: usize = 64;
/// What the root's private key is sealed for.
const ROOT_KEY_PURPOSE: &str = "root key";

/// Why the authority cannot do what is asked.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("a server certificate needs at least one host name or address")]
    NoNames,
    #[error("\"{name}\" is not a host name or address that a certificate can carry")]
    BadName { name: String },
    #[error("this is not a certificate request with an Ed25519 or P-256 key, signed by that key")]
    BadRequest,
    #[error("the certificate's validity is empty")]
    Validity(#[from] EmptyWindow),
    #[error("the root certificate on file cannot be used with its private key")]
    Root(#[source] rustls::Error),
    #[error("the root certificate on file is not a certificate")]
    RootPem(#[source] rustls::pki_types::pem::Error),
    #[error("the root's private key cannot be opened")]
    Sealed(#[from] SealError),
    #[error("a certificate could not be made")]
    Making(#[from] rcgen::Error),
}

/// A certificate, with the key where the mill made that too.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate and the root that signed it, as PEM, in the order TLS sends them.
    pub chain_pem: String,
    /// The private key (PKCS#8, PEM); `None` when the asker keeps its own.
    pub key_pem: Option<Secret>,
    /// Unique among this root's certificates; revocation names it.
    pub serial: u128,
    /// When it is good.
    pub valid: Window,
}

impl Issued {
    /// Whether less than a third of its life is left.
    pub fn wants_renewal(&self, now: Instant) -> bool {
        wants_renewal(self.valid, now)
    }
}

/// Whether less than a third of a certificate's life is left.
pub fn wants_renewal(valid: Window, now: Instant) -> bool {
    valid.end().since(now).as_millis() < valid.span().as_millis() / 3
}

/// The root and its private key, ready to sign.
pub struct Root {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// Says which root, never its key.
impl std::fmt::Debug for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Root({})", self.fingerprint())
    }
}

impl Root {
    /// Makes a new root: P-256, ten years, "Gristmill ORGANISATION root".
    pub fn make(organisation: &str, serial: u128, now: Instant) -> Result<Self, TrustError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let room = COMMON_NAME_LIMIT - "Gristmill  root".len();
        let short: String = organisation.chars().take(room).collect();
        let mut params = params(&format!("Gristmill {} root", short.trim()), serial, validity(ROOT_LASTS, now)?);
        // It signs leaves only: no authority below it.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = false;
        let certificate = params.self_signed(&key)?;
        let certificate_pem = certificate.pem();
        let certificate = certificate.der().clone();
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self { certificate, certificate_pem, issuer })
    }

    /// The root as it was stored: its certificate, and its key sealed by [`Root::sealed_key`].
    pub fn open(certificate_pem: &str, key: &Sealed, seal: &Seal) -> Result<Self, TrustError> {
        let key = PrivatePkcs8KeyDer::from(seal.open(ROOT_KEY_PURPOSE, key)?);
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(TrustError::RootPem)?;
        let ring = rustls::crypto::ring::default_provider();
        CertifiedKey::from_der(vec![certificate.clone()], key.clone_key().into(), &ring).map_err(TrustError::Root)?;
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self { certificate, certificate_pem: certificate_pem.to_owned(), issuer })
    }

    /// The private key in the only form that may be stored.
    pub fn sealed_key(&self, seal: &Seal) -> Result<Sealed, TrustError> {
        Ok(seal.seal(ROOT_KEY_PURPOSE, self.issuer.key().serialized_der())?)
    }

    /// What people download and trust.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// What a join command pins: SHA-256 of the DER form, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.certificate)
    }

    /// A key and a certificate for servers that answer to these host names and addresses, good for a year.
    pub fn server_certificate(&self, names: &[String], serial: u128, now: Instant) -> Result<Issued, TrustError> {
        let first = names.first().ok_or(TrustError::NoNames)?;
        let common: String = first.chars().take(COMMON_NAME_LIMIT).collect();
        let valid = validity(SERVER_LASTS, now)?;
        let mut params = params(&common, serial, valid);
        params.subject_alt_names = names.iter().map(|name| alternative(name)).collect::<Result<_, _>>()?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key_pem = Some(Secret::new(key.serialize_pem()));
        Ok(Issued { chain_pem: self.chain(&certificate), key_pem, serial, valid })
    }

    /// A client certificate for one node. From the request it takes the public key alone, after the request has proved
    /// that the asker holds the private one; the name in it is the node's id, whatever was asked for.
    pub fn node_certificate(
        &self,
        request_pem: &str,
        node: NodeId,
        serial: u128,
        lasting: Span,
        now: Instant,
    ) -> Result<Issued, TrustError> {
        let key = requested_key(request_pem)?;
        let valid = validity(lasting, now)?;
        let mut params = params(&node.to_string(), serial, valid);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { chain_pem: self.chain(&certificate), key_pem: None, serial, valid })
    }

    /// The root goes along, so that a node that knows only its fingerprint can find it in the handshake.
    fn chain(&self, certificate: &rcgen::Certificate) -> String {
        format!("{}{}", certificate.pem(), self.certificate_pem)
    }
}

/// SHA-256 of a certificate's DER form, in lower-case hexadecimal.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    hex(&sha256(certificate))
}

/// The same of a certificate as PEM.
pub fn pem_fingerprint(pem: &str) -> Result<String, TrustError> {
    Ok(fingerprint(&CertificateDer::from_pem_slice(pem.as_bytes()).map_err(TrustError::RootPem)?))
}

/// A pair made by this authority, ready for a TLS server; `None` inside `issued.key_pem` is refused.
pub fn server_key(issued: &Issued) -> Result<CertifiedKey, files::PemError> {
    let key = issued.key_pem.as_ref().map_or("", Secret::expose);
    certified_key(issued.chain_pem.as_bytes(), key.as_bytes(), "the mill's certificate", "the mill's key")
}

fn validity(lasting: Span, now: Instant) -> Result<Window, EmptyWindow> {
    Window::new(now.minus(BACKDATED), now.plus(lasting))
}

/// What every certificate of ours says; nobody else's words enter it.
fn params(common_name: &str, serial: u128, valid: Window) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serial_number = Some(SerialNumber::from(serial.to_be_bytes().to_vec()));
    // The library's type for instants has no name here; before 1970 there were no certificates.
    let moment = |instant: Instant| {
        let seconds = u64::try_from(instant.as_seconds()).unwrap_or(0);
        rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds)
    };
    params.not_before = moment(valid.start());
    params.not_after = moment(valid.end());
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}

fn alternative(name: &str) -> Result<SanType, TrustError> {
    let bad = || TrustError::BadName { name: name.to_owned() };
    match ServerName::try_from(name).map_err(|_| bad())? {
        ServerName::IpAddress(address) => Ok(SanType::IpAddress(std::net::IpAddr::from(address))),
        ServerName::DnsName(dns) => {
            Ok(SanType::DnsName(dns.as_ref().to_ascii_lowercase().try_into().map_err(|_| bad())?))
        }
        _ => Err(bad()),
    }
}

/// The public key (SPKI, DER) of a request that is signed by its own private key: by its hash a node is known.
pub fn request_spki(request_pem: &str) -> Result<Vec<u8>, TrustError> {
    Ok(requested_key(request_pem)?.subject_public_key_info())
}

/// The public key of a request that is signed by its own private key, and nothing else of it.
fn requested_key(request_pem: &str) -> Result<PublicKey, TrustError> {
    if request_pem.len() > CSR_LIMIT {
        return Err(TrustError::BadRequest);
    }
    let key = CertificateSigningRequestParams::from_pem(request_pem).map_err(|_| TrustError::BadRequest)?.public_key;
    // The request names the signature, not the key; the length tells a P-256 key (an uncompressed point) from others.
    let known = match key.der_bytes().len() {
        65 => key.algorithm() == &PKCS_ECDSA_P256_SHA256,
        32 => key.algorithm() == &PKCS_ED25519,
        _ => false,
    };
    if known { Ok(key) } else { Err(TrustError::BadRequest) }
}
