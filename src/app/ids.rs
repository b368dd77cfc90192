//! The only maker of ids and of other random values. It refuses to be called from rules: ids reach them as arguments.
use ring::rand::{SecureRandom as _, SystemRandom};

/// A fresh id: time-ordered (UUID version 7), so that rows made together lie together.
pub fn fresh() -> u128 {
    uuid::Uuid::now_v7().as_u128()
}

/// 256 random bits.
///
/// # Panics
/// When the operating system gives no randomness: nothing safe can be done then.
pub fn random_256() -> [u8; 32] {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}
