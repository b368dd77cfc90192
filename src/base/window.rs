//! Time as the mill counts it: UTC instants in milliseconds, and half-open windows. It refuses zones and formatting,
//! which belong to display.
use std::fmt;

use serde::{Deserialize, Serialize};

/// A UTC instant, milliseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Instant(i64);

impl Instant {
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds, rounded toward the past.
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    pub const fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    pub const fn minus(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

    /// From `earlier` to here; negative when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// The next whole second at or after this instant: bookings start on whole seconds, so that prices are whole seconds.
    pub const fn ceil_second(self) -> Self {
        Self(self.0.saturating_add(999).div_euclid(1000).saturating_mul(1000))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}.{:03}", self.0.div_euclid(1000), self.0.rem_euclid(1000))
    }
}

/// A length of time in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(i64);

impl Span {
    pub const ZERO: Self = Self(0);

    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    pub const fn from_minutes(minutes: i64) -> Self {
        Self::from_seconds(minutes.saturating_mul(60))
    }

    pub const fn from_hours(hours: i64) -> Self {
        Self::from_minutes(hours.saturating_mul(60))
    }

    pub const fn from_days(days: i64) -> Self {
        Self::from_hours(days.saturating_mul(24))
    }

    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds, rounded toward zero: what is not a full second is not billed.
    pub const fn as_seconds(self) -> i64 {
        self.0 / 1000
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

/// A half-open stretch [start, end) that is never empty.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "(Instant, Instant)", into = "(Instant, Instant)")]
pub struct Window {
    start: Instant,
    end: Instant,
}

/// The end does not come after the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a window ends after it starts")]
pub struct EmptyWindow;

impl Window {
    pub const fn new(start: Instant, end: Instant) -> Result<Self, EmptyWindow> {
        if start.0 < end.0 { Ok(Self { start, end }) } else { Err(EmptyWindow) }
    }

    pub const fn lasting(start: Instant, span: Span) -> Result<Self, EmptyWindow> {
        Self::new(start, start.plus(span))
    }

    pub const fn start(self) -> Instant {
        self.start
    }

    pub const fn end(self) -> Instant {
        self.end
    }

    pub const fn span(self) -> Span {
        self.end.since(self.start)
    }

    pub const fn contains(self, instant: Instant) -> bool {
        self.start.0 <= instant.0 && instant.0 < self.end.0
    }

    /// Whether any instant lies in both; windows that only touch do not overlap.
    pub const fn overlaps(self, other: Self) -> bool {
        self.start.0 < other.end.0 && other.start.0 < self.end.0
    }

    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end)).ok()
    }

    /// Cuts at the given instants that lie strictly inside; the pieces follow each other and cover the whole.
    pub fn cut_at(self, cuts: impl IntoIterator<Item = Instant>) -> Vec<Self> {
        let mut inside: Vec<Instant> = cuts.into_iter().filter(|&c| self.start < c && c < self.end).collect();
        inside.sort_unstable();
        inside.dedup();
        let mut pieces = Vec::with_capacity(inside.len() + 1);
        let mut from = self.start;
        for cut in inside.into_iter().chain([self.end]) {
            pieces.push(Self { start: from, end: cut });
            from = cut;
        }
        pieces
    }
}

impl TryFrom<(Instant, Instant)> for Window {
    type Error = EmptyWindow;

    fn try_from((start, end): (Instant, Instant)) -> Result<Self, EmptyWindow> {
        Self::new(start, end)
    }
}

impl From<Window> for (Instant, Instant) {
    fn from(window: Window) -> Self {
        (window.start, window.end)
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:?}, {:?})", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Instant {
        Instant::from_seconds(seconds)
    }

    #[test]
    fn touching_windows_do_not_overlap() {
        let first = Window::new(at(0), at(10)).unwrap();
        let second = Window::new(at(10), at(20)).unwrap();
        assert!(!first.overlaps(second) && !first.contains(at(10)) && second.contains(at(10)));
        assert_eq!(Window::new(at(5), at(5)), Err(EmptyWindow));
    }

    proptest! {
        #[test]
        fn pieces_cover_the_whole(start in 0i64..1000, length in 1i64..1000, cuts in proptest::collection::vec(0i64..2000, 0..8)) {
            let whole = Window::lasting(at(start), Span::from_seconds(length)).unwrap();
            let pieces = whole.cut_at(cuts.into_iter().map(at));
            prop_assert_eq!(pieces[0].start(), whole.start());
            prop_assert_eq!(pieces[pieces.len() - 1].end(), whole.end());
            prop_assert!(pieces.windows(2).all(|pair| pair[0].end() == pair[1].start()));
        }
    }
}
