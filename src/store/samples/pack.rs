//! Readings as they are kept: eleven figures of a moment, 360 moments in a chunk, column by column and compressed. It refuses
//! precision that nobody looks at: whole degrees, watts, MiB and MB/s; and it keeps a gap a gap.

/// Moments in a chunk.
pub(super) const SLOTS: usize = 360;
/// The first byte of a chunk. The first form ended before the profiler's figures; its chunks are still read.
const FORM: u8 = 2;
const FIRST_FORM: u8 = 1;
/// What a gap is written as.
const NONE8: u8 = u8::MAX;
const NONE16: u16 = u16::MAX;
const NONE24: u32 = 0x00ff_ffff;
/// Bytes of one moment before compression, now and in the first form.
const ROW: usize = 17;
const FIRST_ROW: usize = 11;
/// Fast, and most of what a stronger one would gain.
const LEVEL: i32 = 3;

/// What one GPU read at one moment, or over a stretch: then means, but the highest for memory and temperatures, since a
/// peak is what one looks for in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// Percent.
    pub utilisation: Option<u8>,
    /// Percent.
    pub memory_activity: Option<u8>,
    /// Degrees Celsius.
    pub temperature: Option<u8>,
    pub memory_temperature: Option<u8>,
    pub watts: Option<u16>,
    pub sm_mhz: Option<u16>,
    pub memory_mib: Option<u32>,
    /// Percent of the time: multiprocessors with work, tensor cores, memory.
    pub sm: Option<u8>,
    pub tensor: Option<u8>,
    pub dram: Option<u8>,
    /// Over all NVLinks in both directions, MB in a second.
    pub nvlink_mb: Option<u32>,
}

impl Point {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The stretch's point; empty where all are.
    pub fn over(points: &[Self]) -> Self {
        let mean = |of: fn(&Self) -> Option<u32>| {
            let (sum, count) =
                points.iter().filter_map(of).fold((0_u64, 0_u64), |(sum, n), v| (sum + u64::from(v), n + 1));
            // Half up.
            (count > 0).then(|| (sum + count / 2) / count)
        };
        Self {
            utilisation: mean(|p| p.utilisation.map(u32::from)).map(|v| v as u8),
            memory_activity: mean(|p| p.memory_activity.map(u32::from)).map(|v| v as u8),
            temperature: points.iter().filter_map(|p| p.temperature).max(),
            memory_temperature: points.iter().filter_map(|p| p.memory_temperature).max(),
            watts: mean(|p| p.watts.map(u32::from)).map(|v| v as u16),
            sm_mhz: mean(|p| p.sm_mhz.map(u32::from)).map(|v| v as u16),
            memory_mib: points.iter().filter_map(|p| p.memory_mib).max(),
            sm: mean(|p| p.sm.map(u32::from)).map(|v| v as u8),
            tensor: mean(|p| p.tensor.map(u32::from)).map(|v| v as u8),
            dram: mean(|p| p.dram.map(u32::from)).map(|v| v as u8),
            nvlink_mb: mean(|p| p.nvlink_mb).map(|v| v as u32),
        }
    }
}

/// The moments of one chunk, by slot.
pub(super) type Slots = [Point; SLOTS];

pub(super) const fn empty() -> Slots {
    const GAP: Point = Point {
        utilisation: None,
        memory_activity: None,
        temperature: None,
        memory_temperature: None,
        watts: None,
        sm_mhz: None,
        memory_mib: None,
        sm: None,
        tensor: None,
        dram: None,
        nvlink_mb: None,
    };
    [GAP; SLOTS]
}

type Column8 = fn(&Point) -> Option<u8>;
type Column16 = fn(&Point) -> Option<u16>;
type Column24 = fn(&Point) -> Option<u32>;

pub(super) fn pack(slots: &Slots) -> Vec<u8> {
    let mut raw = Vec::with_capacity(SLOTS * ROW);
    let small: [Column8; 4] = [|p| p.utilisation, |p| p.memory_activity, |p| p.temperature, |p| p.memory_temperature];
    small.iter().for_each(|column| add8(&mut raw, slots, *column));
    let middle: [Column16; 2] = [|p| p.watts, |p| p.sm_mhz];
    for column in middle {
        let values = slots.iter().map(|point| column(point).map_or(NONE16, |value| value.min(NONE16 - 1)));
        // High and low bytes apart: the high ones hardly change.
        let values: Vec<[u8; 2]> = values.map(u16::to_be_bytes).collect();
        (0..2).for_each(|byte| raw.extend(values.iter().map(|value| value[byte])));
    }
    add24(&mut raw, slots, |p| p.memory_mib);
    let profiled: [Column8; 3] = [|p| p.sm, |p| p.tensor, |p| p.dram];
    profiled.iter().for_each(|column| add8(&mut raw, slots, *column));
    add24(&mut raw, slots, |p| p.nvlink_mb);
    let mut packed = vec![FORM];
    match zstd::bulk::compress(&raw, LEVEL) {
        Ok(small) => packed.extend(small),
        // Without memory to compress there is none to keep it either.
        Err(_) => packed.clear(),
    }
    packed
}

fn add8(raw: &mut Vec<u8>, slots: &Slots, column: Column8) {
    raw.extend(slots.iter().map(|point| column(point).map_or(NONE8, |value| value.min(NONE8 - 1))));
}

fn add24(raw: &mut Vec<u8>, slots: &Slots, column: Column24) {
    let values = slots.iter().map(|point| column(point).map_or(NONE24, |value| value.min(NONE24 - 1)));
    let values: Vec<[u8; 4]> = values.map(u32::to_be_bytes).collect();
    (1..4).for_each(|byte| raw.extend(values.iter().map(|value| value[byte])));
}

/// What a chunk holds; `None` for bytes that are no chunk.
pub(super) fn unpack(packed: &[u8]) -> Option<Box<Slots>> {
    let (&form, small) = packed.split_first()?;
    let row = match form {
        FORM => ROW,
        FIRST_FORM => FIRST_ROW,
        _ => return None,
    };
    let raw = zstd::bulk::decompress(small, SLOTS * row).ok().filter(|raw| raw.len() == SLOTS * row)?;
    // A column that the form does not have is empty, as if every bit of it were set.
    let byte = |column: usize, slot: usize| raw.get(column * SLOTS + slot).copied().unwrap_or(NONE8);
    let small = |column, slot| Some(byte(column, slot)).filter(|value| *value != NONE8);
    let middle = |column, slot| {
        Some(u16::from_be_bytes([byte(column, slot), byte(column + 1, slot)])).filter(|value| *value != NONE16)
    };
    let large = |column, slot| {
        let bytes = [0, byte(column, slot), byte(column + 1, slot), byte(column + 2, slot)];
        Some(u32::from_be_bytes(bytes)).filter(|value| *value != NONE24)
    };
    let mut slots = Box::new(empty());
    for (slot, point) in slots.iter_mut().enumerate() {
        *point = Point {
            utilisation: small(0, slot),
            memory_activity: small(1, slot),
            temperature: small(2, slot),
            memory_temperature: small(3, slot),
            watts: middle(4, slot),
            sm_mhz: middle(6, slot),
            memory_mib: large(8, slot),
            sm: small(11, slot),
            tensor: small(12, slot),
            dram: small(13, slot),
            nvlink_mb: large(14, slot),
        };
    }
    Some(slots)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point() -> impl Strategy<Value = Point> {
        let byte = || proptest::option::of(0..=254_u8);
        let word = || proptest::option::of(0..=65_534_u16);
        let large = || proptest::option::of(0..=0x00ff_fffe_u32);
        let first = (byte(), byte(), byte(), byte(), word(), word(), large());
        (first, (byte(), byte(), byte(), large())).prop_map(|(first, (sm, tensor, dram, nvlink_mb))| {
            let (utilisation, memory_activity, temperature, memory_temperature, watts, sm_mhz, memory_mib) = first;
            Point {
                utilisation,
                memory_activity,
                temperature,
                memory_temperature,
                watts,
                sm_mhz,
                memory_mib,
                sm,
                tensor,
                dram,
                nvlink_mb,
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back(points in proptest::collection::vec(point(), SLOTS)) {
            let slots: Slots = points.try_into().unwrap();
            prop_assert_eq!(*unpack(&pack(&slots)).unwrap(), slots);
        }

        #[test]
        fn bytes_that_are_no_chunk_are_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            // A valid chunk is 3,960 bytes when unpacked, or more, which so few random bytes never are.
            prop_assert!(unpack(&bytes).is_none());
        }

        #[test]
        fn a_chunk_of_the_first_form_is_read_without_what_it_does_not_have(
            points in proptest::collection::vec(point(), SLOTS)
        ) {
            let none = |point: Point| Point { sm: None, tensor: None, dram: None, nvlink_mb: None, ..point };
            let slots: Slots = points.into_iter().map(none).collect::<Vec<_>>().try_into().unwrap();
            // The columns of today's form begin with those of the first.
            let raw = zstd::bulk::decompress(&pack(&slots)[1..], SLOTS * ROW).unwrap();
            let mut first = vec![FIRST_FORM];
            first.extend(zstd::bulk::compress(&raw[..SLOTS * FIRST_ROW], LEVEL).unwrap());
            prop_assert_eq!(*unpack(&first).unwrap(), slots);
        }
    }

    #[test]
    fn a_stretch_is_its_mean_and_its_peaks_and_a_gap_counts_for_nothing() {
        let at = |utilisation, temperature, watts| Point {
            utilisation: Some(utilisation),
            temperature: Some(temperature),
            watts: Some(watts),
            ..Point::default()
        };
        let over = Point::over(&[at(10, 30, 100), Point::default(), at(15, 70, 301)]);
        assert_eq!((over.utilisation, over.temperature, over.watts), (Some(13), Some(70), Some(201)));
        assert_eq!((over.memory_mib, Point::over(&[Point::default()]).is_empty()), (None, true));
    }

    #[test]
    fn an_idle_hour_is_small() {
        let idle = Point {
            utilisation: Some(0),
            temperature: Some(30),
            watts: Some(74),
            memory_mib: Some(5),
            ..Point::default()
        };
        assert!(pack(&[idle; SLOTS]).len() < 100);
        assert!(pack(&empty()).len() < 60);
    }
}
