//! Arithmetic with full mantissas, the same on every processor of a GPU: all must agree to the last bit, and the scalar part
//! must agree with the CPU too, since fused multiply-adds and whole numbers round alike everywhere. It refuses functions
//! whose rounding is a vendor's choice; products of tensor cores with full mantissas are compared among processors and with
//! what is known of their architecture, and nothing is known of one until a real card has said it.
use super::pattern::{at_place, hash};

const WIDE_FACTOR: u64 = 6_364_136_223_846_793_005;
const WIDE_STEP: u64 = 1_442_695_040_888_963_407;
const NARROW_FACTOR: u32 = 1_664_525;
const NARROW_STEP: u32 = 1_013_904_223;

/// A number from a half up to one, of these 23 bits.
const fn single(bits: u64) -> f32 {
    f32::from_bits(0x3F00_0000 | (bits & 0x7F_FFFF) as u32)
}

/// The same with 52 bits.
const fn double(bits: u64) -> f64 {
    f64::from_bits(0x3FE0_0000_0000_0000 | (bits & 0xF_FFFF_FFFF_FFFF))
}

/// What one thread of a block computes in so many steps.
pub fn thread(thread: u32, steps: u32, key: u64) -> u64 {
    let start = hash(u64::from(thread), key);
    let (mut wide, mut narrow) = (start, (start >> 32) as u32);
    let (mut float, mut precise) = (single(start), double(start));
    for _ in 0..steps {
        wide = wide.wrapping_mul(WIDE_FACTOR).wrapping_add(WIDE_STEP);
        narrow = narrow.wrapping_mul(NARROW_FACTOR).wrapping_add(NARROW_STEP);
        float = float.mul_add(single(u64::from(narrow) >> 9), single(wide >> 41));
        precise = precise.mul_add(double(wide >> 12), double(wide ^ u64::from(narrow)));
    }
    let place = u64::from(thread) * 4;
    at_place(place, u64::from(float.to_bits()))
        .wrapping_add(at_place(place + 1, precise.to_bits()))
        .wrapping_add(at_place(place + 2, u64::from(narrow)))
        .wrapping_add(at_place(place + 3, wide))
}

/// What each block of so many threads must answer.
pub fn block(threads: u32, steps: u32, key: u64) -> u64 {
    (0..threads).fold(0, |sum, one| sum.wrapping_add(thread(one, steps, key)))
}

/// The tensor cores' answer with full mantissas for [`TENSOR_SEED`], by compute capability, as real cards have said it.
/// Empty until one has.
pub const TENSOR_GOLDEN: &[((u32, u32), u64)] = &[];
/// The seed for which golden values are kept.
pub const TENSOR_SEED: u64 = 0x6772_6973_746D_696C;

/// What a card of this compute capability must answer for [`TENSOR_SEED`], where it is known.
pub fn golden(capability: (u32, u32)) -> Option<u64> {
    TENSOR_GOLDEN.iter().find(|(known, _)| *known == capability).map(|(_, answer)| *answer)
}

/// Inputs of the tensor cores with full mantissas: 16-bit floats (bf16) from a half up to one, either sign.
pub fn mantissas(count: u64, key: u64) -> Vec<u16> {
    (0..count)
        .map(|place| {
            let bits = hash(place, key);
            // Sign and seven bits of mantissa around the exponent of a half.
            0x3F00 | u16::try_from(bits >> 57).unwrap_or(0) | (((bits & 1) as u16) << 15)
        })
        .collect()
}

/// Which answer most blocks gave, and the positions of those that gave another. `None` for no answers.
pub fn dissenters(answers: &[u64]) -> Option<(u64, Vec<usize>)> {
    let mut sorted = answers.to_vec();
    sorted.sort_unstable();
    let most = sorted.chunk_by(|a, b| a == b).max_by_key(|run| run.len())?[0];
    Some((most, (0..answers.len()).filter(|at| answers[*at] != most).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Computed apart from this program: C with the machine's own fma().
    #[test]
    fn golden_blocks() {
        assert_eq!([block(1, 0, 1), block(4, 100, 1), block(32, 1000, 99)], GOLDEN);
    }
    const GOLDEN: [u64; 3] = [0x86B5_26CD_E2C2_6BE6, 0xCD35_C30F_6696_31DC, 0xB4A3_C3DD_16DC_2863];

    #[test]
    fn most_answers_win_and_the_others_are_named() {
        assert_eq!(dissenters(&[5, 5, 6, 5]), Some((5, vec![2])));
        assert_eq!(dissenters(&[5]), Some((5, vec![])));
        assert_eq!(dissenters(&[]), None);
    }

    proptest! {
        #[test]
        fn numbers_stay_between_a_half_and_one(bits: u64) {
            prop_assert!((0.5..1.0).contains(&single(bits)) && (0.5..1.0).contains(&double(bits)));
        }

        #[test]
        fn one_wrong_block_is_found(count in 3usize..200, at: usize, bit in 0u32..64, right: u64) {
            let mut answers = vec![right; count];
            answers[at % count] ^= 1 << bit;
            prop_assert_eq!(dissenters(&answers), Some((right, vec![at % count])));
        }

        #[test]
        fn mantissas_are_bf16_of_ordinary_size(key: u64) {
            for half in mantissas(64, key) {
                let value = f32::from_bits(u32::from(half) << 16).abs();
                prop_assert!((0.5..1.0).contains(&value), "{value}");
            }
        }
    }
}
