//! Sealing: private keys and mail passwords lie in the database only encrypted, under a key that lies outside it and is
//! never in a backup. A stolen backup therefore opens nothing. It refuses keys that others can read, and to make a new key
//! where an old one is needed.
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::app::ids::random_256;

const KEY_LENGTH: usize = 32;
/// First byte of what is sealed, so that the form can change.
const FORM: u8 = 1;

/// Why something cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error(
        "the sealing key {path} is missing; copy it back from where this data directory came from, without it the mill \
         cannot open its own keys"
    )]
    Missing { path: PathBuf },
    #[error("the sealing key {path} cannot be {doing}: {source}")]
    File { path: PathBuf, doing: &'static str, source: io::Error },
    #[error("the sealing key {path} is not 32 bytes long; copy it back from a good copy of the file")]
    Length { path: PathBuf },
    #[error("others can read the sealing key {path}; allow it to its owner alone: chmod 600 {path}")]
    Readable { path: PathBuf },
    #[error("what was sealed as \"{purpose}\" does not open: it was changed, or sealed with another key or purpose")]
    Refused { purpose: String },
    #[error("there is no randomness, or too much to seal")]
    Cipher,
    #[error("this is not something sealed")]
    NotSealed,
}

/// Something sealed, as it may be stored: form, nonce, ciphertext and tag.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sealed(Vec<u8>);

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

impl TryFrom<String> for Sealed {
    type Error = SealError;

    fn try_from(text: String) -> Result<Self, SealError> {
        STANDARD.decode(text).map(Self).map_err(|_| SealError::NotSealed)
    }
}

impl From<Sealed> for String {
    fn from(sealed: Sealed) -> Self {
        STANDARD.encode(sealed.0)
    }
}

/// The key, in memory.
pub struct Seal(LessSafeKey);

impl Seal {
    /// Reads the key of an existing installation.
    pub fn load(path: &Path) -> Result<Self, SealError> {
        let failed = |doing| move |source| SealError::File { path: path.to_owned(), doing, source };
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SealError::Missing { path: path.to_owned() });
            }
            other => other.map_err(failed("read"))?,
        };
        let mode = file.metadata().map_err(failed("read"))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(SealError::Readable { path: path.to_owned() });
        }
        let mut bytes = Vec::with_capacity(KEY_LENGTH + 1);
        file.take(KEY_LENGTH as u64 + 1).read_to_end(&mut bytes).map_err(failed("read"))?;
        Self::from_bytes(&bytes).ok_or_else(|| SealError::Length { path: path.to_owned() })
    }

    /// Reads the key, or makes it at the first start: readable to its owner alone, whole or not at all.
    pub fn load_or_create(path: &Path) -> Result<Self, SealError> {
        match Self::load(path) {
            Err(SealError::Missing { .. }) => {}
            other => return other,
        }
        let failed = |doing| move |source| SealError::File { path: path.to_owned(), doing, source };
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("made"))?;
        let draft = path.with_extension("new");
        // A draft left by a start that was cut short was never used.
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("made")(error)),
            _ => {}
        }
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(failed("made"))?;
        file.write_all(&random_256()).and_then(|()| file.sync_all()).map_err(failed("written"))?;
        // Unlike a rename, a link never replaces a key that appeared meanwhile.
        match fs::hard_link(&draft, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed("made")(error)),
            _ => {}
        }
        fs::remove_file(&draft).map_err(failed("made"))?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("made"))?;
        Self::load(path)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        UnboundKey::new(&CHACHA20_POLY1305, bytes).ok().map(|key| Self(LessSafeKey::new(key)))
    }

    /// Seals a secret for one purpose; it opens for no other.
    pub fn seal(&self, purpose: &str, secret: &[u8]) -> Result<Sealed, SealError> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| SealError::Cipher)?;
        let mut body = secret.to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(unique, bound_to(purpose), &mut body).map_err(|_| SealError::Cipher)?;
        Ok(Sealed([&[FORM], &nonce[..], &body].concat()))
    }

    /// Opens what was sealed for this purpose with this key.
    pub fn open(&self, purpose: &str, sealed: &Sealed) -> Result<Vec<u8>, SealError> {
        let refused = || SealError::Refused { purpose: purpose.to_owned() };
        let (form, rest) = sealed.0.split_first().ok_or(SealError::NotSealed)?;
        let (nonce, body) = rest.split_at_checked(NONCE_LEN).ok_or(SealError::NotSealed)?;
        if *form != FORM {
            return Err(SealError::NotSealed);
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::NotSealed)?;
        let mut body = body.to_vec();
        let length = self.0.open_in_place(nonce, bound_to(purpose), &mut body).map_err(|_| refused())?.len();
        body.truncate(length);
        Ok(body)
    }
}

fn bound_to(purpose: &str) -> Aad<Vec<u8>> {
    Aad::from([b"gristmill seal 1: ", purpose.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seal(byte: u8) -> Seal {
        Seal::from_bytes(&[byte; KEY_LENGTH]).unwrap()
    }

    #[test]
    fn opens_for_its_purpose_and_key_alone() {
        let sealed = seal(1).seal("mail password", b"grain").unwrap();
        assert_eq!(seal(1).open("mail password", &sealed).unwrap(), b"grain");
        assert!(matches!(seal(1).open("root key", &sealed), Err(SealError::Refused { .. })));
        assert!(matches!(seal(2).open("mail password", &sealed), Err(SealError::Refused { .. })));
        assert_ne!(seal(1).seal("mail password", b"grain").unwrap(), sealed, "never the same nonce");
        let stored = serde_json::to_string(&sealed).unwrap();
        assert_eq!(serde_json::from_str::<Sealed>(&stored).unwrap(), sealed);
        assert!(!format!("{sealed:?}").contains("grain"));
    }

    proptest! {
        #[test]
        fn any_change_is_refused(secret: Vec<u8>, at: prop::sample::Index, flip in 1u8..) {
            let mut sealed = seal(1).seal("p", &secret).unwrap();
            prop_assert_eq!(seal(1).open("p", &sealed).unwrap(), secret);
            let at = at.index(sealed.0.len());
            sealed.0[at] ^= flip;
            prop_assert!(seal(1).open("p", &sealed).is_err());
            sealed.0[at] ^= flip;
            sealed.0.pop();
            prop_assert!(seal(1).open("p", &sealed).is_err());
        }

        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            prop_assert!(seal(1).open("p", &Sealed(bytes)).is_err());
        }
    }

    #[test]
    fn the_key_is_made_once_and_kept_private() {
        let folder = std::env::temp_dir().join(format!("gristmill-seal-{}", uuid::Uuid::now_v7()));
        let path = folder.join("keys/seal.key");
        assert!(matches!(Seal::load(&path), Err(SealError::Missing { .. })));
        // A start that was cut short leaves a draft.
        fs::create_dir_all(folder.join("keys")).unwrap();
        fs::write(folder.join("keys/seal.new"), b"half").unwrap();
        let sealed = Seal::load_or_create(&path).unwrap().seal("p", b"x").unwrap();
        assert_eq!(Seal::load_or_create(&path).unwrap().open("p", &sealed).unwrap(), b"x", "the same key again");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.join("keys")).unwrap().count(), 1);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = Seal::load_or_create(&path).err().unwrap();
        assert!(refused.to_string().contains("chmod 600"), "{refused}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for wrong in [&[][..], &[7; 31], &[7; 33]] {
            fs::write(&path, wrong).unwrap();
            assert!(matches!(Seal::load_or_create(&path), Err(SealError::Length { .. })), "never replaced");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
