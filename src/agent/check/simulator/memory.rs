//! The simulator's memory, byte by byte, with what is wrong with it. Content outlives its allocation, as a real GPU's may. It
//! refuses addresses that nobody has taken.
use super::super::device::Region;
use crate::wire::check::SimulatedFault as Fault;

/// No address is zero.
const BASE: u64 = 1 << 20;

/// The cells and who has them.
pub(super) struct Cells {
    bytes: Vec<u8>,
    /// Offset and length, by offset.
    regions: Vec<(u64, u64)>,
    faults: Vec<Fault>,
    /// Pairs whose new content is only seen until the memory is given back: offset, and what is seen.
    seen: Vec<(u64, [u8; 16])>,
}

impl Cells {
    pub(super) fn new(bytes: u64, faults: &[Fault]) -> Self {
        let of_memory = |fault: &&Fault| {
            matches!(
                fault,
                Fault::FlippedBit { .. } | Fault::StuckBit { .. } | Fault::DeadLine { .. } | Fault::Unwipeable { .. }
            )
        };
        let faults = faults.iter().filter(of_memory).copied().collect();
        Self { bytes: vec![0; usize::try_from(bytes).unwrap_or(0)], regions: Vec::new(), faults, seen: Vec::new() }
    }

    pub(super) fn taken(&self) -> u64 {
        self.regions.iter().map(|(_, length)| length).sum()
    }

    /// The first gap that is large enough.
    pub(super) fn take(&mut self, bytes: u64, limit: u64) -> Option<Region> {
        let (all, length) = (self.bytes.len() as u64, bytes.max(1).next_multiple_of(16));
        if self.taken() + length > limit {
            return None;
        }
        let mut at = 0;
        let mut place = self.regions.len();
        for (index, (from, taken)) in self.regions.iter().enumerate() {
            if from - at >= length {
                place = index;
                break;
            }
            at = from + taken;
        }
        if place == self.regions.len() && all - at < length {
            return None;
        }
        self.regions.insert(place, (at, length));
        Some(Region { at: BASE + at, bytes: length })
    }

    pub(super) fn give(&mut self, region: Region) {
        self.regions.retain(|(at, _)| BASE + at != region.at);
        self.seen.clear();
    }

    /// Where that many bytes at an address lie, if they are taken.
    fn offset(&self, at: u64, length: usize) -> Option<usize> {
        let offset = at.checked_sub(BASE)?;
        let inside = |(from, taken): &&(u64, u64)| offset >= *from && offset + length as u64 <= from + taken;
        self.regions.iter().find(inside)?;
        usize::try_from(offset).ok()
    }

    /// What a dead address line makes of an offset.
    fn wired(&self, offset: usize) -> usize {
        self.faults.iter().fold(offset, |offset, fault| match fault {
            Fault::DeadLine { bytes } => offset & !usize::try_from(*bytes).unwrap_or(0),
            _ => offset,
        })
    }

    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) -> bool {
        let Some(offset) = self.offset(at, bytes.len()) else { return false };
        if self.faults.iter().any(|fault| matches!(fault, Fault::DeadLine { .. })) {
            for (by, byte) in bytes.iter().enumerate() {
                let cell = self.wired(offset + by);
                self.bytes[cell] = *byte;
            }
        } else {
            self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        for fault in &self.faults {
            let (Fault::FlippedBit { byte, bit } | Fault::StuckBit { byte, bit, .. }) = fault else { continue };
            let Some(cell) = usize::try_from(*byte).ok().filter(|cell| (offset..offset + bytes.len()).contains(cell))
            else {
                continue;
            };
            let one = 1 << (bit % 8);
            self.bytes[cell] = match fault {
                Fault::FlippedBit { .. } => self.bytes[cell] ^ one,
                Fault::StuckBit { value: true, .. } => self.bytes[cell] | one,
                _ => self.bytes[cell] & !one,
            };
        }
        true
    }

    pub(super) fn read(&self, at: u64, bytes: &mut [u8]) -> bool {
        let Some(offset) = self.offset(at, bytes.len()) else { return false };
        let dead = |fault: &Fault| matches!(fault, Fault::DeadLine { .. });
        if self.seen.is_empty() && !self.faults.iter().any(dead) {
            bytes.copy_from_slice(&self.bytes[offset..offset + bytes.len()]);
            return true;
        }
        for (by, byte) in bytes.iter_mut().enumerate() {
            let cell = self.wired(offset + by);
            *byte = self.bytes[cell];
            for (at, seen) in &self.seen {
                if let Some(content) = (cell as u64).checked_sub(*at).and_then(|by| seen.get(usize::try_from(by).ok()?))
                {
                    *byte = *content;
                }
            }
        }
        true
    }

    /// A wipe's write: where memory does not take it, it is only seen for a while.
    pub(super) fn overwrite(&mut self, at: u64, pair: [u8; 16]) -> bool {
        let Some(offset) = self.offset(at, 16) else { return false };
        let kept = |fault: &Fault| matches!(fault, Fault::Unwipeable { byte } if byte & !15 == offset as u64);
        if self.faults.iter().any(kept) {
            self.seen.retain(|(at, _)| *at != offset as u64);
            self.seen.push((offset as u64, pair));
            return true;
        }
        self.write(at, &pair)
    }
}
