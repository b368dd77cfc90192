//! The kernels as the simulator plays them, on the CPU's own reference. It refuses to be clever: what each thread of a GPU
//! does is done one after another. Only the tensor cores' full mantissas are not played, since their rounding is theirs: a
//! sum over their inputs stands for them, the same on every processor.
use super::super::device::words_of;
use super::super::kernel::{Kernel, Piece, Planted};
use super::{PLAYED, Simulator};
use crate::base::proof::log::{Mismatches, WORDS};
use crate::base::proof::pattern::{Pattern, STEP, at_place, mix, unmix};
use crate::base::proof::product::{self, Number, Shape};
use crate::base::proof::unanimity;

/// An address that nobody has taken.
struct Astray;
type Played<T = ()> = Result<T, Astray>;

const TILE_BYTES: u64 = 256;

impl Simulator {
    /// Plays a kernel whose blocks run on these processors. Answers whether all its addresses were good.
    pub(super) fn play(&mut self, kernel: &Kernel, placed: &[u64]) -> bool {
        self.played(kernel, placed).is_ok()
    }

    fn played(&mut self, kernel: &Kernel, placed: &[u64]) -> Played {
        match *kernel {
            Kernel::Fill { piece, pattern } => self.each(piece, |cells, at, place| {
                cells.cells.overwrite(at, pair([pattern.word(place), pattern.word(place + 1)]))
            }),
            Kernel::Verify { piece, pattern, log } => self.compare(piece, pattern, log, None),
            Kernel::Invert { piece, pattern, log, .. } => self.compare(piece, pattern, log, Some(pattern.inverted())),
            Kernel::Sow { at, pairs, every, canary } => {
                let piece = Piece { at, pairs, first: 0 };
                self.each(piece, |it, at, place| {
                    !(place / 2).is_multiple_of(every) || it.cells.write(at, &pair(canary))
                })
            }
            Kernel::Residue { piece, canary, counts, log } => self.residue(piece, canary, counts, log),
            Kernel::Copy { to, from, pairs } => {
                let bytes = self.get(from, pairs * 16)?;
                self.put(to, &bytes)
            }
            Kernel::Answer { at, word } => self.put(at, &mix(word).to_le_bytes()),
            Kernel::Stray { at } => self.put(at, &[1; 8]),
            Kernel::Product { number, factors: f, rounds, log, prints, who, planted } => {
                let shape = shape(f.rows, f.columns, f.depth);
                let left = self.matrix(number, f.left, f.rows, shape.depth)?;
                let right = self.matrix(number, f.right, f.columns, shape.depth)?;
                let expected = self.get(f.expected, shape.values() * 4)?;
                let values = product::product(shape, &left, &right);
                for (block, processor) in (0..).zip(placed) {
                    let values = self.computed(&values, *processor, planted);
                    self.judge(number, &expected, &values, *processor, log, rounds)?;
                    let print = product::fingerprint(&values).wrapping_mul(rounds);
                    self.answer(prints, who, block, print, *processor)?;
                }
                Ok(())
            }
            Kernel::Generate { at, sides, depth, key } => {
                let values: Vec<i8> = (0..sides * depth).map(|place| product::small(place, key)).collect();
                let depth = u32::try_from(depth).unwrap_or(0);
                self.put(at, &Number::Int8.encode(&product::tiled(&values, depth)))
            }
            Kernel::Probe { left, right, size, salt, sums, who } => {
                self.probe([left, right], size, salt, sums, who, placed)
            }
            Kernel::Scalar { steps, key, sums, who, .. } => {
                let sum = unanimity::block(PLAYED, u32::try_from(steps).unwrap_or(0), key);
                self.all_answer(sum, sums, who, placed)
            }
            Kernel::Tensor { left, right, deep, rounds, sums, who, .. } => {
                let sum = self.stand_in(left, right, deep)?.wrapping_mul(rounds);
                self.all_answer(sum, sums, who, placed)
            }
            Kernel::Load { left, right, rounds, sums, who } => {
                let sum = self.stand_in(left, right, 2)?.wrapping_mul(rounds);
                self.all_answer(sum, sums, who, placed)
            }
        }
    }

    fn get(&self, at: u64, bytes: u64) -> Played<Vec<u8>> {
        let mut content = vec![0; usize::try_from(bytes).map_err(|_| Astray)?];
        self.cells.read(at, &mut content).then_some(content).ok_or(Astray)
    }

    fn put(&mut self, at: u64, bytes: &[u8]) -> Played {
        self.cells.write(at, bytes).then_some(()).ok_or(Astray)
    }

    /// Goes through the pairs of a piece: address of each, and the number of its first word in the whole.
    fn each(&mut self, piece: Piece, mut act: impl FnMut(&mut Self, u64, u64) -> bool) -> Played {
        (0..piece.pairs).all(|pair| act(self, piece.at + pair * 16, piece.first + pair * 2)).then_some(()).ok_or(Astray)
    }

    fn compare(&mut self, piece: Piece, pattern: Pattern, log: u64, then: Option<Pattern>) -> Played {
        let mut found = Mismatches::default();
        let bytes = self.get(piece.at, piece.pairs * 16)?;
        for (place, got) in (piece.first..).zip(words_of(&bytes)) {
            found.compare(place * 8, pattern.word(place), got, Some(0));
        }
        if let Some(then) = then {
            let write = |it: &mut Self, at, place| it.cells.write(at, &pair([then.word(place), then.word(place + 1)]));
            self.each(piece, write)?;
        }
        self.note(log, &found)
    }

    fn note(&mut self, log: u64, found: &Mismatches) -> Played {
        if found.is_empty() {
            return Ok(());
        }
        let mut block = words_of(&self.get(log, WORDS as u64 * 8)?);
        found.write(&mut block);
        self.put(log, &super::super::device::bytes_of(&block))
    }

    fn residue(&mut self, piece: Piece, canary: [u64; 2], counts: u64, log: u64) -> Played {
        let (bytes, mut sums) = (self.get(piece.at, piece.pairs * 16)?, [0u64; 4]);
        let mut found = Mismatches::default();
        for (place, pair) in (piece.first..).step_by(2).zip(words_of(&bytes).chunks_exact(2)) {
            let kind = match *pair {
                [a, b] if [a, b] == canary => {
                    found.compare(place * 8, 0, a, None);
                    0
                }
                [0, 0] => 1,
                [a, b] if mix(unmix(a).wrapping_add(STEP)) == b => 2,
                _ => 3,
            };
            sums[kind] += 1;
        }
        let before = words_of(&self.get(counts, 32)?);
        let after: Vec<u64> = before.iter().zip(sums).map(|(before, more)| before + more).collect();
        self.put(counts, &super::super::device::bytes_of(&after))?;
        self.note(log, &found)
    }

    fn matrix(&self, number: Number, at: u64, sides: u64, depth: u32) -> Played<Vec<i8>> {
        let width = if number == Number::Int8 { 1 } else { 2 };
        let bytes = self.get(at, sides * u64::from(depth) * width)?;
        Ok(product::untiled(&number.decode(&bytes), depth))
    }

    /// What this processor makes of a right product.
    fn computed(&self, values: &[i32], processor: u64, planted: Planted) -> Vec<i32> {
        let mut values = values.to_vec();
        if let Some(bit) = self.wrong_bit(processor) {
            let at = usize::from(bit) * 7 % values.len();
            values[at] ^= 1 << (bit % 20);
        }
        if planted.sm == processor
            && let Some(value) = usize::try_from(planted.at).ok().and_then(|at| values.get_mut(at))
        {
            *value ^= (planted.bits as u32).cast_signed();
        }
        values
    }

    fn judge(&mut self, number: Number, expected: &[u8], values: &[i32], sm: u64, log: u64, rounds: u64) -> Played {
        let mut found = Mismatches::default();
        for (place, (four, got)) in (0u64..).zip(expected.chunks_exact(4).zip(values)) {
            let wanted = i32::from_le_bytes(four.try_into().unwrap_or_default());
            for _ in 0..if wanted == *got { 0 } else { rounds } {
                found.compare(place, number.bits(wanted), number.bits(*got), u32::try_from(sm).ok());
            }
        }
        self.note(log, &found)
    }

    fn answer(&mut self, sums: u64, who: u64, block: u64, sum: u64, processor: u64) -> Played {
        let before = words_of(&self.get(sums + block * 8, 8)?);
        self.put(sums + block * 8, &before[0].wrapping_add(sum).to_le_bytes())?;
        self.put(who + block * 8, &processor.to_le_bytes())
    }

    fn all_answer(&mut self, sum: u64, sums: u64, who: u64, placed: &[u64]) -> Played {
        for (block, processor) in (0..).zip(placed) {
            let wrong = self.wrong_bit(*processor).map_or(0, |bit| 1u64 << (bit % 64));
            self.answer(sums, who, block, sum ^ wrong, *processor)?;
        }
        Ok(())
    }

    fn stand_in(&self, left: u64, right: u64, deep: u64) -> Played<u64> {
        // The ends of both are enough to tell one round's inputs from another's.
        let ends = |at: u64, tiles: u64| self.get(at + tiles * TILE_BYTES * 2 - 64, 64);
        let bytes = [self.get(left, 64)?, ends(left, 8 * deep)?, self.get(right, 64)?, ends(right, deep)?].concat();
        Ok((0..).zip(words_of(&bytes)).fold(0, |sum, (place, word)| sum.wrapping_add(at_place(place, word))))
    }

    fn probe(&mut self, factors: [u64; 2], size: u64, salt: u64, sums: u64, who: u64, placed: &[u64]) -> Played {
        let side = u32::try_from(size).map_err(|_| Astray)?;
        let left = self.matrix(Number::Int8, factors[0], size, side)?;
        let right = self.matrix(Number::Int8, factors[1], size, side)?;
        let values = product::product(shape(size, size, size), &left, &right);
        // Rows go round among the processors.
        let mut all = values;
        for (row, values) in all.chunks_exact_mut(side as usize).enumerate() {
            let processor = placed.get(row % placed.len().max(1)).copied().unwrap_or(0);
            if let Some(bit) = self.wrong_bit(processor) {
                values[usize::from(bit) % side as usize] ^= 1 << (bit % 20);
            }
        }
        let rows: Vec<u64> = (0u64..)
            .zip(all.chunks_exact(side as usize))
            .map(|(row, values)| {
                let first = row * size;
                (first..).zip(values).fold(0u64, |sum, (place, value)| {
                    sum.wrapping_add(at_place(place, salt.wrapping_add(u64::from(value.cast_unsigned()))))
                })
            })
            .collect();
        self.put(sums, &super::super::device::bytes_of(&rows))?;
        for (block, processor) in (0u64..).zip(placed) {
            self.put(who + block * 8, &processor.to_le_bytes())?;
        }
        Ok(())
    }
}

fn shape(rows: u64, columns: u64, depth: u64) -> Shape {
    let side = |side: u64| u32::try_from(side).unwrap_or(0);
    Shape { rows: side(rows), columns: side(columns), depth: side(depth) }
}

fn pair(words: [u64; 2]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&words[0].to_le_bytes());
    bytes[8..].copy_from_slice(&words[1].to_le_bytes());
    bytes
}
