//! Which certificate the front door presents, and when it needs another: from the mill's own authority, made anew when a
//! third of its life is left, or from files, read again when they change. It refuses to give up one that works for one that
//! could not be loaded.
use std::path::PathBuf;
use std::sync::Arc;

use rustls::sign::CertifiedKey;

use super::files::{self, PemError};
use super::{Root, TrustError, server_key, wants_renewal};
use crate::app::ids;
use crate::base::secret::sha256;
use crate::base::window::{Instant, Window};

/// Where the certificate comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The mill's own authority signs it, for these host names and addresses.
    Own { root: Arc<Root>, names: Vec<String> },
    /// An administrator brings it, with its key.
    Files { certificate: PathBuf, key: PathBuf },
}

/// Why there is no certificate to present.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    #[error("the front door's certificate could not be made: {0}")]
    Own(#[from] TrustError),
    #[error(transparent)]
    Files(#[from] PemError),
}

/// The certificate in use, as far as the next one depends on it.
#[derive(Debug)]
pub struct DoorCertificate {
    source: Source,
    used: Used,
}

#[derive(Debug)]
enum Used {
    Made(Window),
    /// What the files held when they were last looked at, good or not.
    Read([u8; 32]),
}

impl DoorCertificate {
    /// The first one. Nothing is served without it.
    pub fn open(source: Source, now: Instant) -> Result<(Self, CertifiedKey), DoorError> {
        let (used, key) = match &source {
            Source::Own { root, names } => {
                let (valid, key) = make(root, names, now)?;
                (Used::Made(valid), key)
            }
            Source::Files { certificate, key } => {
                let pair = files::read_pair(certificate, key)?;
                (Used::Read(mark(&pair)), pair.certified()?)
            }
        };
        Ok((Self { source, used }, key))
    }

    /// The next one, when it is time: `None` while the one in use is still right. Files that cannot be used are an error
    /// once, until they change again.
    pub fn next(&mut self, now: Instant) -> Result<Option<CertifiedKey>, DoorError> {
        match (&self.source, &mut self.used) {
            (Source::Own { root, names }, Used::Made(valid)) if wants_renewal(*valid, now) => {
                let (renewed, key) = make(root, names, now)?;
                *valid = renewed;
                Ok(Some(key))
            }
            (Source::Files { certificate, key }, Used::Read(before)) => {
                let pair = match files::read_pair(certificate, key) {
                    Ok(pair) => pair,
                    // Gone for a moment, or for good: said once.
                    Err(gone) => {
                        let known = std::mem::take(before) == [0; 32];
                        return if known { Ok(None) } else { Err(gone.into()) };
                    }
                };
                let after = mark(&pair);
                if std::mem::replace(before, after) == after { Ok(None) } else { Ok(Some(pair.certified()?)) }
            }
            _ => Ok(None),
        }
    }
}

fn make(root: &Root, names: &[String], now: Instant) -> Result<(Window, CertifiedKey), DoorError> {
    let issued = root.server_certificate(names, ids::fresh(), now)?;
    Ok((issued.valid, server_key(&issued)?))
}

fn mark(pair: &files::Pair) -> [u8; 32] {
    let parts = [sha256(&pair.certificate), sha256(&pair.key)];
    sha256(&parts.concat())
}
