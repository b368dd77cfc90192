//! The kernels by name and parameters, and the PTX that holds them. Every parameter is a 64-bit number, here and in the CUDA C,
//! so that one list serves driver and simulator. It refuses parameters whose order could be mistaken: each has a name.
use crate::base::proof::pattern::Pattern;
use crate::base::proof::product::Number;

/// Threads of a block; the kernels count on eight warps.
pub const THREADS: u32 = 256;
/// No processor, no value.
pub const NOWHERE: u64 = u64::MAX;

/// A file of PTX. Each check loads only what it needs: the driver compiles it in every process anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Module {
    Memory,
    Product,
    Unanimity,
}

impl Module {
    pub const ALL: [Self; 3] = [Self::Memory, Self::Product, Self::Unanimity];

    pub const fn ptx(self) -> &'static str {
        match self {
            Self::Memory => include_str!("../kernels/memory.ptx"),
            Self::Product => include_str!("../kernels/product.ptx"),
            Self::Unanimity => include_str!("../kernels/unanimity.ptx"),
        }
    }
}

/// Where a kernel turns bits over on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planted {
    pub sm: u64,
    pub at: u64,
    pub bits: u64,
}

impl Planted {
    pub const NOTHING: Self = Self { sm: NOWHERE, at: NOWHERE, bits: 0 };
}

/// The pieces that all pattern kernels take: address, pairs, number of the first word in all that is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub at: u64,
    pub pairs: u64,
    pub first: u64,
}

/// One kernel with its parameters. Addresses are the device's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    Fill { piece: Piece, pattern: Pattern },
    Verify { piece: Piece, pattern: Pattern, log: u64 },
    Invert { piece: Piece, pattern: Pattern, log: u64, down: bool },
    Sow { at: u64, pairs: u64, every: u64, canary: [u64; 2] },
    Residue { piece: Piece, canary: [u64; 2], counts: u64, log: u64 },
    Copy { to: u64, from: u64, pairs: u64 },
    Answer { at: u64, word: u64 },
    Stray { at: u64 },
    Product { number: Number, factors: Factors, rounds: u64, log: u64, prints: u64, who: u64, planted: Planted },
    Generate { at: u64, sides: u64, depth: u64, key: u64 },
    Probe { left: u64, right: u64, size: u64, salt: u64, sums: u64, who: u64 },
    Scalar { steps: u64, key: u64, sums: u64, who: u64, planted: Planted },
    Tensor { left: u64, right: u64, deep: u64, rounds: u64, sums: u64, who: u64, planted: Planted },
    Load { left: u64, right: u64, rounds: u64, sums: u64, who: u64 },
}

/// Matrices of a product on the device, and their sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factors {
    pub left: u64,
    pub right: u64,
    /// What the product must be, 32-bit whole numbers by rows.
    pub expected: u64,
    pub rows: u64,
    pub columns: u64,
    pub depth: u64,
}

impl Kernel {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Fill { .. } => "fill",
            Self::Verify { .. } => "verify",
            Self::Invert { .. } => "invert",
            Self::Sow { .. } => "sow",
            Self::Residue { .. } => "residue",
            Self::Copy { .. } => "copy",
            Self::Answer { .. } => "answer",
            Self::Stray { .. } => "stray",
            Self::Product { number: Number::Bf16, .. } => "product_bf16",
            Self::Product { number: Number::Fp16, .. } => "product_fp16",
            Self::Product { number: Number::Int8, .. } => "product_int8",
            Self::Generate { .. } => "generate",
            Self::Probe { .. } => "probe",
            Self::Scalar { .. } => "scalar",
            Self::Tensor { .. } => "tensor",
            Self::Load { .. } => "load",
        }
    }

    pub const fn module(&self) -> Module {
        match self {
            Self::Product { .. } | Self::Generate { .. } | Self::Probe { .. } => Module::Product,
            Self::Scalar { .. } | Self::Tensor { .. } | Self::Load { .. } => Module::Unanimity,
            _ => Module::Memory,
        }
    }

    /// The parameters in the order of the CUDA C.
    pub fn parameters(&self) -> Vec<u64> {
        let piece = |p: &Piece| vec![p.at, p.pairs, p.first];
        let pattern = |p: &Pattern| vec![p.key, p.keep, p.flip];
        match self {
            Self::Fill { piece: p, pattern: of } => [piece(p), pattern(of)].concat(),
            Self::Verify { piece: p, pattern: of, log } => [piece(p), pattern(of), vec![*log]].concat(),
            Self::Invert { piece: p, pattern: of, log, down } => {
                [piece(p), pattern(of), vec![*log, u64::from(*down)]].concat()
            }
            Self::Sow { at, pairs, every, canary } => vec![*at, *pairs, *every, canary[0], canary[1]],
            Self::Residue { piece: p, canary, counts, log } => {
                [piece(p), canary.to_vec(), vec![*counts, *log]].concat()
            }
            Self::Copy { to, from, pairs } => vec![*to, *from, *pairs],
            Self::Answer { at, word } => vec![*at, *word],
            Self::Stray { at } => vec![*at],
            Self::Product { factors: f, rounds, log, prints, who, planted, .. } => {
                let matrices = vec![f.left, f.right, f.expected, f.rows, f.columns, f.depth];
                [matrices, vec![*rounds, *log, *prints, *who, planted.sm, planted.at, planted.bits]].concat()
            }
            Self::Generate { at, sides, depth, key } => vec![*at, *sides, *depth, *key],
            Self::Probe { left, right, size, salt, sums, who } => vec![*left, *right, *size, *salt, *sums, *who],
            Self::Scalar { steps, key, sums, who, planted } => {
                vec![*steps, *key, *sums, *who, planted.sm, planted.bits]
            }
            Self::Tensor { left, right, deep, rounds, sums, who, planted } => {
                vec![*left, *right, *deep, *rounds, *sums, *who, planted.sm, planted.bits]
            }
            Self::Load { left, right, rounds, sums, who } => vec![*left, *right, *rounds, *sums, *who],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Kernel> {
        let (piece, pattern, planted) = (Piece { at: 1, pairs: 2, first: 3 }, Pattern::hashed(1), Planted::NOTHING);
        let factors = Factors { left: 1, right: 2, expected: 3, rows: 4, columns: 5, depth: 6 };
        let product = |number| Kernel::Product { number, factors, rounds: 7, log: 8, prints: 9, who: 10, planted };
        vec![
            Kernel::Fill { piece, pattern },
            Kernel::Verify { piece, pattern, log: 0 },
            Kernel::Invert { piece, pattern, log: 0, down: true },
            Kernel::Sow { at: 0, pairs: 0, every: 1, canary: [0; 2] },
            Kernel::Residue { piece, canary: [0; 2], counts: 0, log: 0 },
            Kernel::Copy { to: 0, from: 0, pairs: 0 },
            Kernel::Answer { at: 0, word: 0 },
            Kernel::Stray { at: 0 },
            product(Number::Bf16),
            product(Number::Fp16),
            product(Number::Int8),
            Kernel::Generate { at: 0, sides: 0, depth: 0, key: 0 },
            Kernel::Probe { left: 0, right: 0, size: 0, salt: 0, sums: 0, who: 0 },
            Kernel::Scalar { steps: 0, key: 0, sums: 0, who: 0, planted },
            Kernel::Tensor { left: 0, right: 0, deep: 0, rounds: 0, sums: 0, who: 0, planted },
            Kernel::Load { left: 0, right: 0, rounds: 0, sums: 0, who: 0 },
        ]
    }

    /// Names and parameters as the PTX itself declares them: a wrong count would read beyond the host's list.
    #[test]
    fn kernels_are_in_their_module_with_as_many_parameters() {
        for kernel in all() {
            let entry = format!(".entry {}(", kernel.name());
            let ptx = kernel.module().ptx();
            let from = ptx.find(&entry).unwrap_or_else(|| panic!("no {} in its module", kernel.name()));
            let declared = ptx[from..].split(')').next().unwrap().matches(".param .u64").count();
            assert_eq!(declared, kernel.parameters().len(), "{}", kernel.name());
        }
        let entries: usize = Module::ALL.iter().map(|module| module.ptx().matches(".entry ").count()).sum();
        assert_eq!(entries, all().len(), "no kernel is without a name here");
    }

    /// The oldest target with bf16 tensor cores, in an ISA that drivers since 525 (CUDA 12.0) take.
    #[test]
    fn ptx_is_as_old_as_can_be_and_moves_sixteen_bytes_at_once() {
        for module in Module::ALL {
            assert!(module.ptx().contains("\n.version 8.0\n.target sm_80\n"), "{module:?}");
        }
        let memory = Module::Memory.ptx();
        assert!(memory.contains("st.global.v2.u64") && memory.contains("ld.global.v2.u64"));
    }
}
