//! What is written into a GPU's memory: every 64-bit word holds a hash of its own place, so that a word that went to, or
//! came from, another place is as wrong as one whose bits flipped. Two multiplications and three exclusive ors of halves:
//! few enough that a GPU writes it as fast as its memory takes it. It refuses cryptography: a pattern is no secret.

/// Odd constant that spreads neighbouring places (2^64 divided by the golden ratio).
pub const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
/// The multiplier of the mix ("degski" 64); odd, hence invertible.
pub const MULTIPLIER: u64 = 0xD6E8_FEB8_6659_FD93;

/// Scrambles 64 bits; a bijection, so that different inputs never meet.
pub const fn mix(mut x: u64) -> u64 {
    x ^= x >> 32;
    x = x.wrapping_mul(MULTIPLIER);
    x ^= x >> 32;
    x = x.wrapping_mul(MULTIPLIER);
    x ^ (x >> 32)
}

/// The inverse of [`mix`].
pub const fn unmix(mut x: u64) -> u64 {
    const BACK: u64 = inverse(MULTIPLIER);
    x ^= x >> 32;
    x = x.wrapping_mul(BACK);
    x ^= x >> 32;
    x = x.wrapping_mul(BACK);
    x ^ (x >> 32)
}

/// The inverse of an odd number modulo 2^64: each of Newton's steps doubles the bits that are right.
const fn inverse(odd: u64) -> u64 {
    let mut guess = odd;
    let mut round = 0;
    while round < 6 {
        guess = guess.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(guess)));
        round += 1;
    }
    guess
}

/// The hash of a place under a key.
pub const fn hash(place: u64, key: u64) -> u64 {
    mix(place.wrapping_mul(STEP).wrapping_add(key))
}

/// A value at a place, as one number: sums of these over many places change with every single value.
pub const fn at_place(place: u64, value: u64) -> u64 {
    mix(place.wrapping_mul(STEP).wrapping_add(value))
}

/// What each word shall hold: `(hash(place, key) & keep) ^ flip`. All kernels take these three numbers, so that hashed,
/// constant and inverted patterns are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    pub key: u64,
    pub keep: u64,
    pub flip: u64,
}

impl Pattern {
    /// The hash of each word's place. Neighbouring seeds give unrelated patterns.
    pub const fn hashed(seed: u64) -> Self {
        Self { key: mix(seed ^ STEP), keep: u64::MAX, flip: 0 }
    }

    /// The same word everywhere.
    pub const fn constant(word: u64) -> Self {
        Self { key: 0, keep: 0, flip: word }
    }

    /// Every bit the other way.
    pub const fn inverted(self) -> Self {
        Self { flip: !self.flip, ..self }
    }

    pub const fn word(self, place: u64) -> u64 {
        (hash(place, self.key) & self.keep) ^ self.flip
    }

    /// The place whose word this is. Only a hashed pattern answers, and any word has an answer: compare what stands beside.
    pub const fn place_of(self, word: u64) -> u64 {
        const BACK: u64 = inverse(STEP);
        unmix(word ^ self.flip).wrapping_sub(self.key).wrapping_mul(BACK)
    }
}

/// The words that moving inversions go through, after memtest86's habit: stripes of falling width, and one bit that walks.
pub const fn inversion(round: u32) -> u64 {
    match round % 12 {
        0 => 0,
        1 => 0x5555_5555_5555_5555,
        2 => 0x3333_3333_3333_3333,
        3 => 0x0F0F_0F0F_0F0F_0F0F,
        4 => 0x00FF_00FF_00FF_00FF,
        5 => 0x0000_FFFF_0000_FFFF,
        6 => 0x0000_0000_FFFF_FFFF,
        7 => 0x0101_0101_0101_0101,
        8 => 0x8080_8080_8080_8080,
        9 => 0x1111_1111_1111_1111,
        10 => 0xDEAD_BEEF_CAFE_F00D,
        _ => 0x8000_0000_0000_0001,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Computed apart from this program, with Python's integers.
    #[test]
    fn golden_words() {
        assert_eq!([mix(0), mix(1), mix(u64::MAX)], GOLDEN_MIX);
        let pattern = Pattern::hashed(42);
        assert_eq!(pattern.key, GOLDEN_KEY);
        assert_eq!([pattern.word(0), pattern.word(1), pattern.word(1 << 34)], GOLDEN_WORDS);
    }
    const GOLDEN_MIX: [u64; 3] = [0x0000_0000_0000_0000, 0x4179_B061_E0C0_E0D0, 0x448E_29CE_D410_3459];
    const GOLDEN_KEY: u64 = 0x47D9_5004_A072_B9C3;
    const GOLDEN_WORDS: [u64; 3] = [0x3021_DCF0_0009_DA06, 0xC68F_8876_B756_53B9, 0xB73A_98C3_3942_A028];

    #[test]
    fn inverses() {
        assert_eq!(inverse(STEP).wrapping_mul(STEP), 1);
        assert_eq!(inverse(MULTIPLIER).wrapping_mul(MULTIPLIER), 1);
    }

    proptest! {
        #[test]
        fn a_word_tells_its_place_and_no_other_place_holds_it(seed: u64, place: u64, other: u64) {
            let pattern = Pattern::hashed(seed);
            prop_assert_eq!(unmix(mix(place)), place);
            prop_assert_eq!(pattern.place_of(pattern.word(place)), place);
            prop_assert_eq!(pattern.inverted().place_of(pattern.inverted().word(place)), place);
            prop_assert_eq!(pattern.word(place) == pattern.word(other), place == other);
            prop_assert_eq!(pattern.inverted().word(place), !pattern.word(place));
            prop_assert_eq!(Pattern::constant(seed).word(place), seed);
        }

        /// A pattern toggles about half of all bits from word to word and from seed to seed, never few.
        #[test]
        fn neighbours_differ_in_many_bits(seed: u64, place in 0..u64::MAX - 64) {
            let (one, other) = (Pattern::hashed(seed), Pattern::hashed(seed ^ 1));
            let along: u32 = (0..64).map(|by| (one.word(place + by) ^ one.word(place + by + 1)).count_ones()).sum();
            let across: u32 = (0..64).map(|by| (one.word(place + by) ^ other.word(place + by)).count_ones()).sum();
            prop_assert!((1600..2500).contains(&along), "{along} of 4096");
            prop_assert!((1600..2500).contains(&across), "{across} of 4096");
        }
    }
}
