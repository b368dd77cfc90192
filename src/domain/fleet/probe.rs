//! Probes: checks that come at moments nobody can foresee, so that a node proves to have a GPU that computes, and no socket
//! that answers. When they come, what is asked, and what an answer is worth; chance is an input here, and what the answer
//! should have been is handed in. It refuses to count what a node could not do as something that it did wrong.
use serde::{Deserialize, Serialize};

use super::health::Verdict;
use crate::base::ids::{NodeId, UnitId};
use crate::base::window::{Instant, Span};

/// Between two probes of a GPU on the average.
pub const EVERY: Span = Span::from_hours(6);
/// Not sooner than this, and not later than four times the average.
pub const SOONEST: Span = Span::from_minutes(5);
/// How long the node has to answer; the check itself takes seconds.
pub const PATIENCE: Span = Span::from_seconds(60);
/// Most rows of a product that an answer may have.
pub const MOST_ROWS: usize = 4096;
/// How many of them are computed again here.
pub const SAMPLED_ROWS: usize = 8;

/// When the next probe comes: so that having waited long says nothing about how long it still takes. `draw` is 64 random
/// bits.
pub fn next(after: Instant, draw: u64) -> Instant {
    // 53 bits, never zero.
    #[allow(clippy::cast_precision_loss)]
    let chance = ((draw >> 11) as f64 + 1.0) / 9_007_199_254_740_992.0;
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    let wait = (-chance.ln() * EVERY.as_millis() as f64) as i64;
    after.plus(Span::from_millis(wait.clamp(SOONEST.as_millis(), 4 * EVERY.as_millis())))
}

/// A question that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    pub node: NodeId,
    pub unit: UnitId,
    /// From which the matrices are made.
    pub seed: u64,
    /// Good for one answer.
    pub nonce: [u8; 32],
    pub sent: Instant,
    pub deadline: Instant,
    /// It was answered, or given up.
    pub used: bool,
}

impl Question {
    pub const fn new(node: NodeId, unit: UnitId, seed: u64, nonce: [u8; 32], now: Instant) -> Self {
        Self { node, unit, seed, nonce, sent: now, deadline: now.plus(PATIENCE), used: false }
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// By whose connection it came.
    pub node: NodeId,
    pub nonce: [u8; 32],
    /// Checksums of the product's rows; none where the node says that it could not.
    pub rows: Result<Vec<u64>, CouldNot>,
    pub arrived: Instant,
}

/// Why a node did not compute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CouldNot {
    /// A booking began.
    Booking,
    /// No driver, no memory, no such check here.
    Run { why: String },
}

/// What an answer is worth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Found {
    Passed,
    /// A row is not what it should be.
    Forged {
        row: usize,
    },
    Late {
        by: Span,
    },
    Repeated,
    /// It is the answer to another node's question.
    Copied {
        from: NodeId,
    },
    /// It answers nothing that was asked.
    Stray,
    Unknown {
        why: String,
    },
}

impl Found {
    pub const fn verdict(&self) -> Verdict {
        match self {
            Self::Passed => Verdict::Passed,
            Self::Unknown { .. } => Verdict::Unknown,
            Self::Forged { .. } | Self::Late { .. } | Self::Repeated | Self::Copied { .. } | Self::Stray => {
                Verdict::Failed
            }
        }
    }
}

/// Judges an answer. `asked`: the question with the answer's nonce, whoever it was sent to. `rows`: how many rows a true
/// answer has. `row(seed, nonce, number)` computes one; `draw` chooses which, and is made after the answer came.
pub fn judge(
    reply: &Reply,
    asked: Option<&Question>,
    rows: usize,
    draw: u64,
    row: impl Fn(u64, &[u8; 32], usize) -> u64,
) -> Found {
    let Some(asked) = asked else { return Found::Stray };
    if asked.node != reply.node {
        return Found::Copied { from: asked.node };
    }
    if asked.used {
        return Found::Repeated;
    }
    let said = match &reply.rows {
        Ok(said) => said,
        Err(CouldNot::Booking) => return Found::Unknown { why: "a booking began".to_owned() },
        Err(CouldNot::Run { why }) => return Found::Unknown { why: why.clone() },
    };
    if reply.arrived > asked.deadline {
        return Found::Late { by: reply.arrived.since(asked.deadline) };
    }
    if said.len() != rows || rows == 0 || rows > MOST_ROWS {
        return Found::Forged { row: said.len().min(rows) };
    }
    let wrong = sample(rows, draw).find(|&number| row(asked.seed, &asked.nonce, number) != said[number]);
    wrong.map_or(Found::Passed, |row| Found::Forged { row })
}

/// Nobody answered in time. Of a node that is away nothing is known.
pub fn unanswered(connected: bool, booked: bool, now: Instant, asked: &Question) -> Option<Found> {
    if asked.used || now <= asked.deadline {
        return None;
    }
    Some(match (connected, booked) {
        (false, _) => Found::Unknown { why: "the node is away".to_owned() },
        (true, true) => Found::Unknown { why: "a booking began".to_owned() },
        (true, false) => Found::Late { by: now.since(asked.deadline) },
    })
}

/// Which rows are computed again: different ones, spread by chance (SplitMix64 over the draw).
fn sample(rows: usize, draw: u64) -> impl Iterator<Item = usize> {
    let mut state = draw;
    let mut chosen = std::collections::BTreeSet::new();
    while chosen.len() < SAMPLED_ROWS.min(rows) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        chosen.insert(usize::try_from(mixed % rows as u64).unwrap_or(0));
    }
    chosen.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROWS: usize = 64;

    fn at(seconds: i64) -> Instant {
        Instant::from_seconds(seconds)
    }

    fn row(seed: u64, nonce: &[u8; 32], number: usize) -> u64 {
        seed.wrapping_mul(31).wrapping_add(u64::from(nonce[0])).wrapping_add(number as u64)
    }

    fn question(node: u128) -> Question {
        let byte = u8::try_from(node).unwrap();
        Question::new(NodeId::from_u128(node), UnitId::from_u128(node), 7, [byte; 32], at(0))
    }

    fn reply(to: &Question) -> Reply {
        let rows = (0..ROWS).map(|number| row(to.seed, &to.nonce, number)).collect();
        Reply { node: to.node, nonce: to.nonce, rows: Ok(rows), arrived: at(2) }
    }

    fn found(reply: &Reply, asked: Option<&Question>) -> Found {
        judge(reply, asked, ROWS, 99, row)
    }

    #[test]
    fn a_true_answer_passes_and_every_trick_fails() {
        let (asked, other) = (question(1), question(2));
        let honest = reply(&asked);
        assert_eq!(found(&honest, Some(&asked)), Found::Passed);
        let late = Reply { arrived: asked.deadline.plus(Span::from_seconds(1)), ..honest.clone() };
        assert_eq!(found(&late, Some(&asked)), Found::Late { by: Span::from_seconds(1) });
        let again = Question { used: true, ..asked.clone() };
        assert_eq!(found(&honest, Some(&again)), Found::Repeated);
        // The neighbour's answer, sent as its own.
        let copied = Reply { node: asked.node, ..reply(&other) };
        assert_eq!(found(&copied, Some(&other)), Found::Copied { from: other.node });
        // The neighbour's rows under its own number.
        let rows = Reply { rows: reply(&other).rows, ..honest.clone() };
        assert!(matches!(found(&rows, Some(&asked)), Found::Forged { .. }));
        assert_eq!(found(&honest, None), Found::Stray);
        for wrong in [Vec::new(), vec![0; ROWS], vec![0; ROWS + 1]] {
            let forged = Reply { rows: Ok(wrong), ..honest.clone() };
            assert_eq!(found(&forged, Some(&asked)).verdict(), Verdict::Failed);
        }
    }

    #[test]
    fn what_could_not_be_done_is_unknown() {
        let asked = question(1);
        for why in [CouldNot::Booking, CouldNot::Run { why: "no memory".to_owned() }] {
            let said = Reply { rows: Err(why), arrived: at(9999), ..reply(&asked) };
            assert_eq!(found(&said, Some(&asked)).verdict(), Verdict::Unknown);
        }
        let after = asked.deadline.plus(Span::from_seconds(1));
        assert_eq!(unanswered(true, false, asked.deadline, &asked), None, "there is time left");
        for (connected, booked, verdict) in [
            (false, false, Verdict::Unknown),
            (false, true, Verdict::Unknown),
            (true, true, Verdict::Unknown),
            (true, false, Verdict::Failed),
        ] {
            assert_eq!(unanswered(connected, booked, after, &asked).unwrap().verdict(), verdict);
        }
        assert_eq!(unanswered(true, false, after, &Question { used: true, ..asked }), None);
    }

    #[test]
    fn a_tenth_of_wrong_rows_is_found_more_often_than_not_and_all_wrong_always() {
        let asked = question(1);
        let mut caught = 0;
        for draw in 0..1000 {
            let mut rows = reply(&asked).rows.unwrap();
            for number in (0..ROWS).step_by(10) {
                rows[number] ^= 1;
            }
            let forged = Reply { rows: Ok(rows), ..reply(&asked) };
            caught += usize::from(judge(&forged, Some(&asked), ROWS, draw, row) != Found::Passed);
        }
        assert!(caught > 500, "{caught} of 1000");
    }

    proptest! {
        #[test]
        fn the_next_comes_within_bounds_and_at_moments_that_differ(draw in any::<u64>(), other in any::<u64>()) {
            let wait = next(at(0), draw).since(at(0));
            prop_assert!(wait >= SOONEST && wait.as_millis() <= 4 * EVERY.as_millis());
            if draw >> 44 != other >> 44 && (1u64 << 60..1u64 << 63).contains(&draw) && (1u64 << 60..1u64 << 63).contains(&other) {
                prop_assert_ne!(next(at(0), draw), next(at(0), other));
            }
        }

        #[test]
        fn rows_that_are_sampled_are_different_and_there(rows in 1usize..MOST_ROWS, draw in any::<u64>()) {
            let chosen: Vec<usize> = sample(rows, draw).collect();
            prop_assert_eq!(chosen.len(), SAMPLED_ROWS.min(rows));
            prop_assert!(chosen.iter().all(|number| *number < rows));
        }
    }
}
