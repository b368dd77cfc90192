//! Matrix products in small whole numbers, which every format of a tensor core computes exactly: inputs within ±8 and sums
//! below 2^24 are whole in bf16, fp16 and int8 alike, in whatever order they are added. So the CPU's answer is the only
//! right one. It refuses depths at which that would end.
use super::pattern::{at_place, hash, mix};

/// Largest absolute value of an input.
pub const LARGEST_INPUT: i64 = 8;
/// Whole numbers below this are exact in 32-bit floating point.
const EXACT_BELOW: i64 = 1 << 24;
/// Sides are multiples of a tensor core's tile.
pub const TILE: u32 = 16;

/// In what format the inputs are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Number {
    Bf16,
    Fp16,
    Int8,
}

impl Number {
    pub const ALL: [Self; 3] = [Self::Bf16, Self::Fp16, Self::Int8];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
        }
    }

    /// Inputs as they lie in the GPU's memory, little endian.
    pub fn encode(self, values: &[i8]) -> Vec<u8> {
        match self {
            Self::Int8 => values.iter().map(|value| value.to_le_bytes()[0]).collect(),
            Self::Bf16 => values.iter().flat_map(|value| bf16(*value).to_le_bytes()).collect(),
            Self::Fp16 => values.iter().flat_map(|value| fp16(*value).to_le_bytes()).collect(),
        }
    }

    /// A whole number of a product as the accumulator holds it: 32-bit float, or 32-bit whole number for int8.
    #[allow(clippy::cast_precision_loss)] // Sums stay below 2^24.
    pub fn bits(self, value: i32) -> u64 {
        match self {
            Self::Int8 => u64::from(value.cast_unsigned()),
            Self::Bf16 | Self::Fp16 => u64::from((value as f32).to_bits()),
        }
    }

    /// The inverse of [`Number::encode`] for inputs; what is none reads as 0.
    pub fn decode(self, bytes: &[u8]) -> Vec<i8> {
        if self == Self::Int8 {
            return bytes.iter().map(|byte| i8::from_le_bytes([*byte])).collect();
        }
        let encoded = |value| if self == Self::Bf16 { bf16(value) } else { fp16(value) };
        let known: Vec<(u16, i8)> = (-8..=8).map(|value| (encoded(value), value)).collect();
        let value = |half: u16| known.iter().find(|(code, _)| *code == half).map_or(0, |(_, value)| *value);
        bytes.chunks_exact(2).map(|pair| value(u16::from_le_bytes([pair[0], pair[1]]))).collect()
    }
}

/// The upper half of the 32-bit number; whole numbers up to ±127 need no more.
fn bf16(value: i8) -> u16 {
    u16::try_from(f32::from(value).to_bits() >> 16).unwrap_or(0)
}

/// Sign, five bits of exponent, ten of mantissa; whole numbers up to ±127 fit.
fn fp16(value: i8) -> u16 {
    let size = u16::from(value.unsigned_abs());
    if size == 0 {
        return 0;
    }
    let exponent = u16::try_from(size.ilog2()).unwrap_or(0);
    let mantissa = (size << (10 - exponent)) & 0x3ff;
    u16::from(value < 0) << 15 | (exponent + 15) << 10 | mantissa
}

/// `rows` by `depth` times `depth` by `columns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub rows: u32,
    pub columns: u32,
    pub depth: u32,
}

impl Shape {
    /// Whether sides are whole tiles and every sum is exact.
    pub const fn exact(self) -> bool {
        let sides =
            self.rows.is_multiple_of(TILE) && self.columns.is_multiple_of(TILE) && self.depth.is_multiple_of(TILE);
        let some = self.rows > 0 && self.columns > 0 && self.depth > 0;
        sides && some && (self.depth as i64) * LARGEST_INPUT * LARGEST_INPUT < EXACT_BELOW
    }

    pub const fn values(self) -> u64 {
        self.rows as u64 * self.columns as u64
    }

    /// Additions and multiplications of one product.
    pub const fn operations(self) -> u64 {
        2 * self.values() * self.depth as u64
    }
}

/// A whole number from -8 to 8 by its place; each of the 17 about as often as the others.
pub const fn small(place: u64, key: u64) -> i8 {
    let high = hash(place, key) >> 32;
    // Below 17, hence within an i8.
    ((high * 17) >> 32) as i8 - 8
}

/// Keys of the left and the right factor.
pub const fn keys(seed: u64) -> (u64, u64) {
    (mix(seed ^ 0x6C65_6674), mix(seed ^ 0x0072_6967_6874))
}

/// Both factors: the left by rows, the right by columns, so that each value of the product reads two runs of memory.
pub fn factors(shape: Shape, seed: u64) -> (Vec<i8>, Vec<i8>) {
    let (left, right) = keys(seed);
    let fill = |sides: u32, key| (0..u64::from(sides) * u64::from(shape.depth)).map(|at| small(at, key)).collect();
    (fill(shape.rows, left), fill(shape.columns, right))
}

/// A factor's values in tiles of 16 by 16, one after another: what a tensor core loads lies together.
pub fn tiled(values: &[i8], depth: u32) -> Vec<i8> {
    let (tile, depth) = (TILE as usize, depth as usize);
    let deep = depth / tile;
    (0..values.len())
        .map(|at| {
            let (which, inside) = (at / (tile * tile), at % (tile * tile));
            let side = which / deep.max(1) * tile + inside / tile;
            values[side * depth + which % deep.max(1) * tile + inside % tile]
        })
        .collect()
}

/// The inverse of [`tiled`].
pub fn untiled(values: &[i8], depth: u32) -> Vec<i8> {
    let (tile, depth) = (TILE as usize, depth as usize);
    let deep = depth / tile;
    (0..values.len())
        .map(|at| {
            let (side, k) = (at / depth, at % depth);
            values[(side / tile * deep + k / tile) * tile * tile + side % tile * tile + k % tile]
        })
        .collect()
}

/// The product by rows, exactly.
pub fn product(shape: Shape, left: &[i8], right: &[i8]) -> Vec<i32> {
    let depth = shape.depth as usize;
    let dot = |a: &[i8], b: &[i8]| a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum::<i32>();
    left.chunks_exact(depth).flat_map(|row| right.chunks_exact(depth).map(move |column| dot(row, column))).collect()
}

/// One number for a whole product, which any single wrong value changes.
pub fn fingerprint(values: &[i32]) -> u64 {
    (0u64..)
        .zip(values)
        .fold(0, |sum, (place, value)| sum.wrapping_add(at_place(place, u64::from(value.cast_unsigned()))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHAPE: Shape = Shape { rows: 32, columns: 16, depth: 64 };

    /// Computed apart from this program, with Python's integers.
    #[test]
    fn golden_products() {
        let (left, right) = factors(SHAPE, 7);
        let values = product(SHAPE, &left, &right);
        assert_eq!(&left[..8], &GOLDEN_LEFT);
        assert_eq!([values[0], values[1], values[511]], GOLDEN_VALUES);
        assert_eq!(fingerprint(&values), GOLDEN_PRINT);
    }
    const GOLDEN_LEFT: [i8; 8] = [-4, 7, 3, -4, 5, -5, 3, 2];
    const GOLDEN_VALUES: [i32; 3] = [51, -135, -137];
    const GOLDEN_PRINT: u64 = 0xCCF8_C19B_55BD_1D69;

    #[test]
    fn formats_hold_the_inputs_exactly() {
        // 1.0, -2.0, 8.0 and 3.0 as IEEE 754 and the bf16 of every accelerator write them.
        assert_eq!([fp16(1), fp16(-2), fp16(8), fp16(3), fp16(0)], [0x3C00, 0xC000, 0x4800, 0x4200, 0]);
        assert_eq!([bf16(1), bf16(-2), bf16(8), bf16(3), bf16(0)], [0x3F80, 0xC000, 0x4100, 0x4040, 0]);
        let all: Vec<i8> = (-8..=8).collect();
        for number in Number::ALL {
            assert_eq!(number.decode(&number.encode(&all)), all, "{}", number.name());
        }
    }

    #[test]
    fn inputs_are_spread_evenly() {
        let (left, _) = factors(Shape { rows: 1024, columns: 16, depth: 1024 }, 3);
        let share = left.len() / 17;
        for value in -8..=8 {
            let count = left.iter().filter(|one| **one == value).count();
            assert!(count.abs_diff(share) < share / 20, "{value}: {count} of {share}");
        }
    }

    #[test]
    fn tiles_hold_what_the_rows_held() {
        let (left, _) = factors(SHAPE, 5);
        let packed = tiled(&left, SHAPE.depth);
        // The second row of the first tile, and the first row of the second.
        assert_eq!(packed[16..32], left[64..80]);
        assert_eq!(packed[256..272], left[16..32]);
        assert_eq!(untiled(&packed, SHAPE.depth), left);
    }

    #[test]
    fn depths_beyond_exactness_are_refused() {
        assert!(SHAPE.exact());
        assert!(Shape { depth: 8192, ..SHAPE }.exact() && Shape { depth: 262_128, ..SHAPE }.exact());
        assert!(!Shape { depth: 262_144, ..SHAPE }.exact());
        assert!(!Shape { depth: 40, ..SHAPE }.exact() && !Shape { rows: 0, ..SHAPE }.exact());
    }

    proptest! {
        /// Any bit of any value of a product changes its fingerprint.
        #[test]
        fn every_flip_changes_the_fingerprint(values in prop::collection::vec(any::<i32>(), 1..300), at: usize, bit in 0u32..32) {
            let mut changed = values.clone();
            let at = at % values.len();
            changed[at] ^= 1 << bit;
            prop_assert_ne!(fingerprint(&changed), fingerprint(&values));
        }

        /// Floating point agrees with whole numbers in whatever order it adds.
        #[test]
        fn floats_are_exact_here(seed: u64, order: u64) {
            let (left, right) = factors(SHAPE, seed);
            let (row, column) = (&left[..64], &right[..64]);
            let mut terms: Vec<f32> = row.iter().zip(column).map(|(a, b)| f32::from(*a) * f32::from(*b)).collect();
            let mut places: Vec<u64> = (0..64).collect();
            places.sort_by_key(|place| hash(*place, order));
            terms = places.iter().map(|place| terms[usize::try_from(*place).unwrap()]).collect();
            let whole = product(SHAPE, &left, &right)[0];
            prop_assert_eq!(terms.iter().sum::<f32>().to_bits(), (whole as f32).to_bits());
        }
    }
}
