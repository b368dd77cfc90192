//! How finely and for how long readings are kept: three tiers, and a ladder of retentions for when a file would outgrow its
//! limit. It refuses to drop anything silently: on which step of the ladder a file stands is stored in it and shown.
use super::pack::SLOTS;
use crate::base::ids::UnitId;
use crate::base::window::{Instant, Span};

/// How far apart kept moments lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// 10 s, as they came.
    Fine,
    /// 1 min.
    Minute,
    /// 1 h.
    Hour,
}

impl Tier {
    pub const ALL: [Self; 3] = [Self::Fine, Self::Minute, Self::Hour];

    /// Between two moments.
    pub const fn step(self) -> Span {
        match self {
            Self::Fine => Span::from_seconds(10),
            Self::Minute => Span::from_minutes(1),
            Self::Hour => Span::from_hours(1),
        }
    }

    /// The number of the moment that an instant belongs to.
    pub(super) const fn slot(self, at: Instant) -> i64 {
        at.as_millis().div_euclid(self.step().as_millis())
    }

    /// When a moment begins.
    pub(super) const fn at(self, slot: i64) -> Instant {
        Instant::from_millis(slot.saturating_mul(self.step().as_millis()))
    }

    /// The chunk that a moment lies in, and where in it.
    pub(super) fn place(self, slot: i64) -> (i64, usize) {
        let slots = SLOTS as i64;
        (slot.div_euclid(slots), usize::try_from(slot.rem_euclid(slots)).unwrap_or(0))
    }

    const fn number(self) -> u8 {
        match self {
            Self::Fine => 1,
            Self::Minute => 2,
            Self::Hour => 3,
        }
    }

    /// Where a chunk is stored: by tier, then time, then GPU, so that what is too old is one stretch of keys.
    pub(super) fn key(self, chunk: i64, unit: UnitId) -> [u8; 25] {
        let mut key = [0; 25];
        key[0] = self.number();
        key[1..9].copy_from_slice(&chunk.to_be_bytes());
        key[9..].copy_from_slice(&unit.to_bytes());
        key
    }

    /// The keys of all chunks before this one. Instants before 1970 do not occur: the mill's clock is past them.
    pub(super) fn before(self, chunk: i64) -> ([u8; 25], [u8; 25]) {
        (self.key(0, UnitId::from_u128(0)), self.key(chunk.max(0), UnitId::from_u128(0)))
    }
}

/// For how long each tier is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub fine: Span,
    pub minute: Span,
    pub hour: Span,
}

impl Retention {
    pub const fn of(&self, tier: Tier) -> Span {
        match tier {
            Tier::Fine => self.fine,
            Tier::Minute => self.minute,
            Tier::Hour => self.hour,
        }
    }
}

const fn keep(fine_hours: i64, minute_days: i64, hour_days: i64) -> Retention {
    Retention {
        fine: Span::from_hours(fine_hours),
        minute: Span::from_days(minute_days),
        hour: Span::from_days(hour_days),
    }
}

/// Whole retention first; then first the finest gives way, because the coarser ones still tell of the same time. The finest
/// is never shorter than an hour: the others are made from it.
pub(super) const LADDER: [Retention; 11] = [
    keep(24, 31, 396),
    keep(12, 31, 396),
    keep(6, 31, 396),
    keep(3, 31, 396),
    keep(1, 31, 396),
    keep(1, 14, 396),
    keep(1, 7, 396),
    keep(1, 3, 396),
    keep(1, 1, 396),
    keep(1, 1, 180),
    keep(1, 1, 31),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_lie_in_chunks_that_nest() {
        let at = Instant::from_seconds(1_795_539_655);
        assert_eq!(Tier::Fine.at(Tier::Fine.slot(at)), Instant::from_seconds(1_795_539_650));
        for tier in Tier::ALL {
            let slot = tier.slot(at);
            let (chunk, place) = tier.place(slot);
            assert_eq!(chunk * 360 + place as i64, slot);
        }
        // All of a minute lies in one fine chunk, all of an hour in one of minutes.
        let minute = Tier::Minute.slot(at);
        let first = Tier::Fine.place(minute * 6).0;
        assert!((0..6).all(|nth| Tier::Fine.place(minute * 6 + nth).0 == first));
        let hour = Tier::Hour.slot(at);
        assert_eq!(Tier::Minute.place(hour * 60).0, Tier::Minute.place(hour * 60 + 59).0);
    }

    #[test]
    fn each_step_of_the_ladder_keeps_less_and_none_keeps_nothing() {
        for pair in LADDER.windows(2) {
            assert!(Tier::ALL.iter().all(|&tier| pair[1].of(tier) <= pair[0].of(tier)) && pair[0] != pair[1]);
        }
        assert!(LADDER.iter().all(|step| step.fine >= Span::from_hours(1)));
    }

    #[test]
    fn keys_sort_by_time() {
        let unit = |n| UnitId::from_u128(n);
        assert!(Tier::Fine.key(5, unit(9)) < Tier::Fine.key(6, unit(1)));
        let (from, to) = Tier::Minute.before(6);
        assert!(from <= Tier::Minute.key(5, unit(9)) && Tier::Minute.key(5, unit(9)) < to);
        assert!(Tier::Minute.key(6, unit(0)) >= to && Tier::Fine.key(9, unit(0)) < from);
    }
}
