//! Holds: what a booking may cost, reserved when it is placed, in segments that are each resolved once and never for more
//! than was held. It refuses to know accounts.
use serde::{Deserialize, Serialize};

use crate::base::credits::{AmountError, Credits};
use crate::base::ids::{BookingId, HoldId, LeaseId, TeamId};
use crate::base::window::{Instant, Window};
use crate::domain::bookings::booking::RatePin;

/// One promise to pay. A booking has one for its first window and one more for each extension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub id: HoldId,
    pub booking: BookingId,
    pub team: TeamId,
    pub window: Window,
    pub gpus: u32,
    pub rate: RatePin,
    pub segments: Vec<Segment>,
    pub made: Instant,
}

/// A part of a hold between two local midnights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    pub window: Window,
    pub amount: Credits,
    /// `None` while open; set once.
    pub resolved: Option<Resolved>,
}

/// How a segment ended; both parts together are what was held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    pub delivered: Credits,
    pub given_back: Credits,
    pub at: Instant,
}

/// Time that a node attests as ready within what the server granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    pub window: Window,
    pub gpus: u32,
    /// The team that owns the node; `None` for the operator's own.
    pub owner: Option<TeamId>,
    pub lease: Option<LeaseId>,
}

/// What one delivery costs within one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub window: Window,
    pub gpu_seconds: i64,
    pub cost: Credits,
    pub delivered: Delivered,
}

impl Hold {
    pub fn amount(&self) -> Credits {
        self.segments.iter().map(|segment| segment.amount).sum()
    }

    pub fn is_open(&self) -> bool {
        self.segments.iter().any(|segment| segment.resolved.is_none())
    }

    /// What has been posted from it so far.
    pub fn delivered(&self) -> Credits {
        self.segments.iter().filter_map(|segment| segment.resolved).map(|resolved| resolved.delivered).sum()
    }

    /// What is still held.
    pub fn outstanding(&self) -> Credits {
        self.segments.iter().filter(|segment| segment.resolved.is_none()).map(|segment| segment.amount).sum()
    }
}

/// Prices the pieces of a window so that they sum to the price of the whole: each gets the difference of the prices of the
/// stretches up to its end and up to its start, both rounded half up to a micro-credit.
pub fn segments(rate: Credits, gpus: u32, pieces: &[Window]) -> Result<Vec<Segment>, AmountError> {
    let Some(start) = pieces.first().map(|piece| piece.start()) else { return Ok(Vec::new()) };
    let up_to = |end: Instant| rate.for_duration(gpus, end.since(start).as_seconds());
    pieces
        .iter()
        .map(|&window| {
            let amount = up_to(window.end())?.checked_sub(up_to(window.start())?)?;
            Ok(Segment { window, amount, resolved: None })
        })
        .collect()
}

/// What was delivered within a segment: whole seconds times the pinned rate, rounded half up to a micro-credit per lease,
/// in the order given and never more than is held. `own_rate` holds for the team's own nodes.
pub fn parts(
    hold: &Hold,
    segment: &Segment,
    delivered: &[Delivered],
    own_rate: Credits,
) -> Result<Vec<Part>, AmountError> {
    let mut left = segment.amount;
    let mut parts = Vec::new();
    for delivered in delivered {
        let Some(window) = segment.window.intersection(delivered.window) else { continue };
        let seconds = window.span().as_seconds();
        if seconds == 0 || delivered.gpus == 0 {
            continue;
        }
        let rate = if delivered.owner == Some(hold.team) { own_rate } else { hold.rate.per_gpu_hour };
        let cost = rate.for_duration(delivered.gpus, seconds)?.min(left);
        left = left.checked_sub(cost)?;
        let gpu_seconds = seconds.checked_mul(i64::from(delivered.gpus)).ok_or(AmountError::TooLarge)?;
        parts.push(Part { window, gpu_seconds, cost, delivered: *delivered });
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::window::Span;
    use proptest::prelude::*;

    fn window(start: i64, seconds: i64) -> Window {
        Window::lasting(Instant::from_seconds(start), Span::from_seconds(seconds)).unwrap()
    }

    proptest! {
        /// However a window is cut, the segments sum to the price of the whole, and a whole delivery by one lease takes
        /// each segment to within one micro-credit of what was held, never beyond.
        #[test]
        fn segments_sum_to_the_whole(
            rate in 0i64..20_000_000, gpus in 1u32..64, length in 1i64..700_000,
            cuts in proptest::collection::vec(0i64..700_000, 0..9),
        ) {
            let rate = Credits::from_micros(rate);
            let whole = window(0, length);
            let pieces = whole.cut_at(cuts.into_iter().map(Instant::from_seconds));
            let segments = segments(rate, gpus, &pieces).unwrap();
            let sum: Credits = segments.iter().map(|segment| segment.amount).sum();
            prop_assert_eq!(sum, rate.for_duration(gpus, length).unwrap());
            let pin = RatePin { model: "H200".to_owned(), version: 1, per_gpu_hour: rate };
            let hold = Hold {
                id: HoldId::from_u128(1), booking: BookingId::from_u128(1), team: TeamId::from_u128(1), window: whole,
                gpus, rate: pin, segments, made: Instant::from_seconds(0),
            };
            let delivered = [Delivered { window: whole, gpus, owner: None, lease: None }];
            for segment in &hold.segments {
                let cost: Credits = parts(&hold, segment, &delivered, Credits::ZERO).unwrap().iter().map(|p| p.cost).sum();
                prop_assert!(cost <= segment.amount && segment.amount.micros() - cost.micros() <= 1);
            }
        }
    }
}
