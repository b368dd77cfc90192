//! The random probe: the server names a seed, a nonce and a size, the GPU multiplies two matrices that follow from them and
//! answers a checksum for each row, and the server computes a few rows itself. An answer cannot be kept for later, since the
//! nonce is in every checksum. It refuses to trust an answer that is too short, too long or late.
use serde::{Deserialize, Serialize};

use super::pattern::{at_place, mix};
use super::product::{self, Shape, keys, small};

/// Largest side of a probe: the server's rows stay cheap, 67 million multiplications each at most.
pub const LARGEST: u32 = 8192;

/// What the server asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    pub seed: u64,
    /// Never used twice.
    pub nonce: u64,
    /// Rows, columns and depth.
    pub size: u32,
}

/// Why an answer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongAnswer {
    #[error("the probe asks for a matrix of {0} rows, which is no size of a probe")]
    Size(u32),
    #[error("the answer has {got} rows instead of {wanted}")]
    Rows { wanted: u32, got: usize },
    #[error("row {row} should be {expected:016x} and is {got:016x}")]
    Row { row: u32, expected: u64, got: u64 },
}

impl Challenge {
    pub const fn shape(self) -> Shape {
        Shape { rows: self.size, columns: self.size, depth: self.size }
    }

    /// Whether it can be asked at all.
    pub const fn sound(self) -> bool {
        self.size <= LARGEST && self.shape().exact()
    }

    /// The number in every checksum.
    pub const fn salt(self) -> u64 {
        mix(self.nonce ^ mix(self.seed))
    }

    /// What a value adds to its row's checksum.
    pub const fn term(self, place: u64, value: i32) -> u64 {
        at_place(place, self.salt().wrapping_add(value.cast_unsigned() as u64))
    }

    /// The checksum of one row.
    pub fn row(self, row: u32) -> u64 {
        let (left, right) = keys(self.seed);
        let size = u64::from(self.size);
        let mine: Vec<i32> = (0..size).map(|at| i32::from(small(u64::from(row) * size + at, left))).collect();
        (0..size).fold(0, |sum, column| {
            let value = (0u64..).zip(&mine).map(|(at, a)| a * i32::from(small(column * size + at, right))).sum();
            sum.wrapping_add(self.term(u64::from(row) * size + column, value))
        })
    }

    /// All checksums, as the GPU answers them.
    pub fn answer(self) -> Vec<u64> {
        let (left, right) = product::factors(self.shape(), self.seed);
        self.checksums(&product::product(self.shape(), &left, &right))
    }

    /// The checksums of a product that is there already.
    pub fn checksums(self, values: &[i32]) -> Vec<u64> {
        let side = self.size as usize;
        let row = |(row, values): (u64, &[i32])| {
            let first = row * u64::from(self.size);
            (first..).zip(values).fold(0u64, |sum, (place, value)| sum.wrapping_add(self.term(place, *value)))
        };
        (0u64..).zip(values.chunks_exact(side.max(1))).map(row).collect()
    }

    /// The rows that a server computes itself, by a number that the node cannot know when it answers.
    pub fn sample(self, chance: u64, count: u32) -> Vec<u32> {
        let mut rows: Vec<u32> = (0..u64::from(count))
            .map(|draw| ((u128::from(at_place(draw, mix(chance))) * u128::from(self.size)) >> 64) as u32)
            .collect();
        rows.sort_unstable();
        rows.dedup();
        rows
    }

    /// Compares an answer in these rows.
    pub fn judge(self, answer: &[u64], rows: &[u32]) -> Result<(), WrongAnswer> {
        if !self.sound() {
            return Err(WrongAnswer::Size(self.size));
        }
        if answer.len() != self.size as usize {
            return Err(WrongAnswer::Rows { wanted: self.size, got: answer.len() });
        }
        for &row in rows.iter().filter(|row| **row < self.size) {
            let (expected, got) = (self.row(row), answer[row as usize]);
            if expected != got {
                return Err(WrongAnswer::Row { row, expected, got });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
