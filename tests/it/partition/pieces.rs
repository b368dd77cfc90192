//! What the world of the partition test is made of: its clock, its chance, what it keeps of what was said.
use std::collections::VecDeque;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant as Monotonic};

use gristmill::base::ids::NodeId;
use gristmill::base::window::{Instant, Span};
use gristmill::wire::node::FromAgent;

use crate::bookings::yard::START;

/// A silence after which what a node attests may count no more.
pub const LONG: Span = Span::from_hours(23);

pub static NOW: AtomicI64 = AtomicI64::new(START);

pub fn read() -> Instant {
    Instant::from_millis(NOW.load(Ordering::SeqCst))
}

/// The same clock, as the hub measures silence with it.
pub fn ticks() -> Monotonic {
    static BASE: OnceLock<Monotonic> = OnceLock::new();
    let since = NOW.load(Ordering::SeqCst) - START;
    *BASE.get_or_init(Monotonic::now) + Duration::from_millis(since.unsigned_abs())
}

/// A small generator: every run of a seed takes the same way.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit.max(1)
    }

    pub fn signed(&mut self, limit: u64) -> i64 {
        i64::try_from(self.below(limit)).unwrap()
    }

    pub fn chance(&mut self) -> f64 {
        self.below(1 << 20) as f64 / f64::from(1 << 20)
    }
}

pub fn now() -> i64 {
    NOW.load(Ordering::SeqCst)
}

pub fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap()
}

pub fn record(all: &mut Option<Vec<(NodeId, String)>>, node: NodeId, message: &FromAgent) {
    if let Some(all) = all {
        all.push((node, serde_json::to_string(message).unwrap()));
    }
}

/// Takes the next message if it gets through.
pub trait PopIf<T> {
    fn pop_front_if_mut(&mut self, passes: bool) -> Option<T>;
}

impl<T> PopIf<T> for VecDeque<T> {
    fn pop_front_if_mut(&mut self, passes: bool) -> Option<T> {
        if passes { self.pop_front() } else { None }
    }
}
