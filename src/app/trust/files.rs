//! Certificates and keys that an administrator brings as PEM files. Most of this room is saying precisely which file is
//! wrong and how. It refuses encrypted keys, pairs that do not belong together, and to guess which file was meant.
use std::io;
use std::path::Path;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// Larger than any sensible chain; keeps a wrong path from filling the memory.
const FILE_LIMIT: u64 = 1024 * 1024;

/// Why a certificate and a key cannot be used; names the file.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    #[error("{file} cannot be read: {source}")]
    Unreadable { file: String, source: io::Error },
    #[error("{file} is larger than 1 MiB: that is not a PEM file with certificates")]
    TooLarge { file: String },
    #[error("{file} holds no certificate; it needs a section -----BEGIN CERTIFICATE-----")]
    NoCertificate { file: String },
    #[error("{file} holds no private key; it needs a section -----BEGIN PRIVATE KEY-----")]
    NoKey { file: String },
    #[error("the private key in {file} is encrypted; decrypt it first: openssl pkey -in {file} -out plain.key")]
    Encrypted { file: String },
    #[error("{file} is damaged: {source}")]
    Damaged { file: String, source: rustls::pki_types::pem::Error },
    #[error("the private key in {key} does not belong to the first certificate in {certificate}")]
    Mismatch { certificate: String, key: String },
    #[error("the certificate in {certificate} or the private key in {key} is of a kind that cannot be used: {source}")]
    Unusable { certificate: String, key: String, source: rustls::Error },
}

/// Two files as they were read, not yet looked into.
pub struct Pair {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
    names: [String; 2],
}

/// Reads a certificate (with its chain) and its private key.
pub fn read_pair(certificate: &Path, key: &Path) -> Result<Pair, PemError> {
    let names = [certificate.display().to_string(), key.display().to_string()];
    Ok(Pair { certificate: read(certificate)?, key: read(key)?, names })
}

impl Pair {
    /// Ready for a TLS server, where the two belong together.
    pub fn certified(&self) -> Result<CertifiedKey, PemError> {
        certified_key(&self.certificate, &self.key, &self.names[0], &self.names[1])
    }
}

/// Reads a certificate (with its chain) and its private key, and holds them against each other.
pub fn load(certificate: &Path, key: &Path) -> Result<CertifiedKey, PemError> {
    read_pair(certificate, key)?.certified()
}

fn read(path: &Path) -> Result<Vec<u8>, PemError> {
    let file = path.display().to_string();
    match std::fs::metadata(path) {
        Ok(about) if about.len() > FILE_LIMIT => return Err(PemError::TooLarge { file }),
        Ok(_) => {}
        Err(source) => return Err(PemError::Unreadable { file, source }),
    }
    std::fs::read(path).map_err(|source| PemError::Unreadable { file, source })
}

/// The same from memory; the names are for messages.
pub fn certified_key(
    certificate: &[u8],
    key: &[u8],
    certificate_name: &str,
    key_name: &str,
) -> Result<CertifiedKey, PemError> {
    let damaged = |file: &str| {
        let file = file.to_owned();
        move |source| PemError::Damaged { file, source }
    };
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().map_err(damaged(certificate_name))?;
    if chain.is_empty() {
        return Err(PemError::NoCertificate { file: certificate_name.to_owned() });
    }
    let private = match PrivateKeyDer::from_pem_slice(key) {
        Ok(private) => private,
        Err(_) if String::from_utf8_lossy(key).contains("ENCRYPTED") => {
            return Err(PemError::Encrypted { file: key_name.to_owned() });
        }
        Err(rustls::pki_types::pem::Error::NoItemsFound) => {
            return Err(PemError::NoKey { file: key_name.to_owned() });
        }
        Err(source) => return Err(damaged(key_name)(source)),
    };
    let ring = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, private, &ring).map_err(|source| {
        let (certificate, key) = (certificate_name.to_owned(), key_name.to_owned());
        match source {
            rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch) => {
                PemError::Mismatch { certificate, key }
            }
            source => PemError::Unusable { certificate, key, source },
        }
    })
}
