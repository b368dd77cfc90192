//! What a check found wrong: how many words and bits, and the first places with what should stand there. Kernels write it
//! as a block of 64-bit words, and this reads it. It refuses to grow: a broken GPU has more errors than anybody reads.
use serde::{Deserialize, Serialize};

use crate::base::bounded::at_most;

/// Places that are kept.
pub const KEPT: usize = 64;
/// Words before the first place: how many words differ, how many bits, and room.
pub const HEAD: usize = 8;
/// Words of one place: address, expected, got, and the processor (SM) that saw it.
pub const EACH: usize = 4;
/// Words of the whole block on the GPU.
pub const WORDS: usize = HEAD + KEPT * EACH;
/// Stands where no processor was noted.
pub const NO_SM: u64 = u64::MAX;

/// One wrong word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Mismatch {
    /// Bytes from the start of what was tested; for a product, the number of the value in it.
    pub address: u64,
    pub expected: u64,
    pub got: u64,
    /// The processor that computed or read it, where that matters.
    pub sm: Option<u32>,
}

/// All wrong words of a check: how many, and the first that were met, by address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Mismatches {
    pub words: u64,
    /// Bits that differ in all of them.
    pub bits: u64,
    #[serde(deserialize_with = "at_most::<KEPT, _, _>")]
    pub first: Vec<Mismatch>,
}

impl Mismatches {
    pub const fn is_empty(&self) -> bool {
        self.words == 0
    }

    /// Counts a word that is not as expected; one that is changes nothing.
    pub fn compare(&mut self, address: u64, expected: u64, got: u64, sm: Option<u32>) {
        if expected == got {
            return;
        }
        self.words = self.words.saturating_add(1);
        self.bits = self.bits.saturating_add(u64::from((expected ^ got).count_ones()));
        if self.first.len() < KEPT {
            self.first.push(Mismatch { address, expected, got, sm });
        }
    }

    /// Takes another's in; its addresses move by `offset`.
    pub fn absorb(&mut self, other: &Self, offset: u64) {
        self.words = self.words.saturating_add(other.words);
        self.bits = self.bits.saturating_add(other.bits);
        let moved = other.first.iter().map(|one| Mismatch { address: one.address.saturating_add(offset), ..*one });
        self.first.extend(moved.take(KEPT.saturating_sub(self.first.len())));
    }

    /// Reads the block that kernels write. Threads meet errors in no order, so they are sorted here.
    pub fn read(block: &[u64]) -> Self {
        let [words, bits, ..] = *block else { return Self::default() };
        let kept = usize::try_from(words).unwrap_or(KEPT).min(KEPT);
        let places = block.get(HEAD..).unwrap_or_default().chunks_exact(EACH).take(kept);
        let mut first: Vec<Mismatch> = places
            .map(|place| Mismatch {
                address: place[0],
                expected: place[1],
                got: place[2],
                sm: u32::try_from(place[3]).ok(),
            })
            .collect();
        first.sort_unstable();
        Self { words, bits, first }
    }

    /// The block as a kernel would have written it; the simulator is one.
    pub fn write(&self, block: &mut [u64]) {
        let mut all = Self::read(block);
        all.absorb(self, 0);
        block[0] = all.words;
        block[1] = all.bits;
        for (one, place) in all.first.iter().zip(block[HEAD..].chunks_exact_mut(EACH)) {
            place.copy_from_slice(&[one.address, one.expected, one.got, one.sm.map_or(NO_SM, u64::from)]);
        }
    }
}

#[cfg(test)]
mod tests;
