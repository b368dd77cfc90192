//! Passwords: hashed with argon2id at the floor that OWASP names (19 MiB, 2 passes, 1 lane: the crate's default), two at a
//! time, so that a flood of sign-ins cannot take the machine. It refuses to tell why a password was wrong.
use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::Semaphore;

use crate::app::error::{Answer, AppError};
use crate::base::secret::Secret;
use crate::domain::people::refusal::PeopleRefusal;

/// Hashing takes 19 MiB and a core; two at once leave the pages fast.
const AT_ONCE: usize = 2;
/// Shorter ones fall to guessing (ASVS 5, V6).
pub const SHORTEST: usize = 8;
/// Long enough for any phrase; bounds the work of hashing.
pub const LONGEST: usize = 256;
/// What attackers try first. Compared without case.
const COMMON: &[&str] = &[
    "password",
    "password1",
    "password123",
    "passw0rd",
    "12345678",
    "123456789",
    "1234567890",
    "qwertyui",
    "qwerty123",
    "qwertyuiop",
    "11111111",
    "00000000",
    "iloveyou",
    "sunshine",
    "princess",
    "football",
    "baseball",
    "superman",
    "trustno1",
    "letmein1",
    "welcome1",
    "administrator",
    "adminadmin",
    "changeme",
    "changeit",
    "default1",
    "gristmill",
    "gristmill1",
    "abcd1234",
    "1q2w3e4r",
    "1qaz2wsx",
    "asdfghjk",
    "zxcvbnm1",
    "dragon123",
    "monkey123",
    "master123",
    "michael1",
    "computer",
    "internet",
    "whatever",
    "starwars",
    "passwort",
    "motdepasse",
    "geheim123",
    "hallo123",
];

/// Hashes and verifies, at most two at a time.
pub struct Passwords {
    permits: Semaphore,
    /// Verified against when there is no such account, so that both answers take as long.
    decoy: String,
}

impl Passwords {
    /// # Panics
    /// When argon2 rejects its own defaults, which would be a broken build.
    pub fn new() -> Self {
        let decoy: PasswordHash =
            Argon2::default().hash_password(&super::super::ids::random_256()).expect("argon2's defaults are valid");
        Self { permits: Semaphore::new(AT_ONCE), decoy: decoy.to_string() }
    }

    /// The PHC string to store.
    pub async fn hash(&self, password: Secret) -> Answer<String> {
        check(password.expose())?;
        let _permit = self.permits.acquire().await.map_err(|e| AppError::outside("hashing a password", e))?;
        let hashed = tokio::task::spawn_blocking(move || {
            let hash: Result<PasswordHash, _> = Argon2::default().hash_password(password.expose().as_bytes());
            hash.map(|hash| hash.to_string())
        });
        let hashed = hashed.await.map_err(|e| AppError::outside("hashing a password", e))?;
        hashed.map_err(|e| AppError::outside("hashing a password", e.to_string()))
    }

    /// Whether the password belongs to the stored hash; with no hash the same work is done and the answer is no.
    pub async fn verify(&self, password: Secret, stored: Option<String>) -> Answer<bool> {
        let _permit = self.permits.acquire().await.map_err(|e| AppError::outside("checking a password", e))?;
        let known = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.decoy.clone());
        let fits = tokio::task::spawn_blocking(move || {
            PasswordHash::new(&stored)
                .is_ok_and(|hash| Argon2::default().verify_password(password.expose().as_bytes(), &hash).is_ok())
        });
        Ok(fits.await.map_err(|e| AppError::outside("checking a password", e))? && known)
    }
}

impl Default for Passwords {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether a password may be chosen.
pub fn check(password: &str) -> Result<(), PeopleRefusal> {
    let length = password.chars().count();
    let why = match () {
        () if length < SHORTEST => "It has fewer than 8 characters.",
        () if length > LONGEST => "It has more than 256 characters.",
        () if COMMON.contains(&password.to_lowercase().as_str()) => "It is among the first that attackers try.",
        () if password.chars().all(|c| password.starts_with(c)) => "It repeats a single character.",
        () => return Ok(()),
    };
    Err(PeopleRefusal::WeakPassword { why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_fits() {
        let passwords = Passwords::new();
        let stored = passwords.hash(Secret::new("a turn at the stone")).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(passwords.verify(Secret::new("a turn at the stone"), Some(stored.clone())).await.unwrap());
        assert!(!passwords.verify(Secret::new("a turn at the stond"), Some(stored)).await.unwrap());
        assert!(!passwords.verify(Secret::new("a turn at the stone"), None).await.unwrap());
        assert!(!passwords.verify(Secret::new("x"), Some("not a hash".to_owned())).await.unwrap());
    }

    #[test]
    fn weak_ones_are_refused() {
        for weak in ["", "short", "Password", "12345678", "aaaaaaaaaaaa"] {
            assert!(check(weak).is_err(), "{weak}");
        }
        assert!(check(&"x1".repeat(129)).is_err());
        assert!(check("correct horse").is_ok());
    }
}
