//! Suites as data: which checks, with which parameters, in what time. It refuses to say when they run; that is the mill's.
use serde::{Deserialize, Serialize};

use crate::base::proof::probe::Challenge;
use crate::base::window::Span;

/// One health test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// A context and a tiny kernel.
    Context,
    /// Every free byte overwritten, read back, and looked at anew for what was there before.
    Wipe,
    /// The hash of each word's place over the free memory, then its inverse.
    Memory,
    /// The same with moving inversions.
    MemoryDeep,
    /// Exact products in bf16, fp16 and int8 on every processor.
    Compute,
    /// Full mantissas: every processor agrees with every other, and with the CPU where it can tell.
    Unanimity,
    /// Copies within the GPU, and to and from the host.
    Bandwidth,
    /// Copies between this GPU and each other of the node.
    Peers,
    /// Sustained load, with temperature, power, clocks and throttle reasons.
    Soak,
    /// How long a launch and a synchronisation take.
    Latency,
    /// A product that the server asks for at a moment of its choice.
    Probe,
}

impl CheckKind {
    pub const ALL: [Self; 11] = [
        Self::Context,
        Self::Wipe,
        Self::Memory,
        Self::MemoryDeep,
        Self::Compute,
        Self::Unanimity,
        Self::Bandwidth,
        Self::Peers,
        Self::Soak,
        Self::Latency,
        Self::Probe,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Context => "context",
            Self::Wipe => "wipe",
            Self::Memory => "memory",
            Self::MemoryDeep => "memory deep",
            Self::Compute => "compute",
            Self::Unanimity => "unanimity",
            Self::Bandwidth => "bandwidth",
            Self::Peers => "peers",
            Self::Soak => "soak",
            Self::Latency => "latency",
            Self::Probe => "probe",
        }
    }
}

/// Checks that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Suite {
    /// Between two tenants.
    Boundary,
    /// At a moment that nobody can foresee.
    Probe,
    Nightly,
    /// When a GPU comes to the mill.
    Enroll,
    /// After a fault, and once a week.
    Deep,
}

impl Suite {
    pub const ALL: [Self; 5] = [Self::Boundary, Self::Probe, Self::Nightly, Self::Enroll, Self::Deep];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Boundary => "boundary",
            Self::Probe => "probe",
            Self::Nightly => "nightly",
            Self::Enroll => "enroll",
            Self::Deep => "deep",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name() == name)
    }

    /// Its checks in their order. The probe's challenge is the caller's: only the mill's is worth anything.
    pub fn orders(self, seed: u64, challenge: Challenge) -> Vec<CheckOrder> {
        use CheckKind::{
            Bandwidth, Compute, Context, Latency, Memory, MemoryDeep, Peers, Probe, Soak, Unanimity, Wipe,
        };
        // Check, limit in seconds, its measure (seconds of load, rounds of a product or inversions).
        let list: &[(CheckKind, i64, u32)] = match self {
            Self::Boundary => &[(Wipe, 30, 0), (Memory, 30, 1), (Compute, 30, 8), (Bandwidth, 30, 4)],
            Self::Probe => &[(Probe, 30, 0)],
            Self::Nightly => &[
                (Context, 30, 0),
                (Memory, 60, 2),
                (Compute, 60, 64),
                (Unanimity, 120, 60),
                (Bandwidth, 60, 16),
                (Peers, 60, 4),
                (Soak, 90, 30),
            ],
            Self::Enroll => &[
                (Context, 30, 0),
                (Memory, 60, 2),
                (MemoryDeep, 300, 12),
                (Compute, 60, 64),
                (Unanimity, 120, 60),
                (Bandwidth, 60, 16),
                (Peers, 60, 4),
                (Latency, 30, 1000),
                (Soak, 300, 180),
                (Wipe, 30, 0),
            ],
            Self::Deep => &[
                (Context, 30, 0),
                (MemoryDeep, 600, 24),
                (Compute, 120, 256),
                (Unanimity, 120, 60),
                (Bandwidth, 60, 16),
                (Peers, 60, 4),
                (Latency, 30, 1000),
                (Soak, 300, 180),
                (Wipe, 30, 0),
            ],
        };
        let order = |&(check, seconds, measure): &(CheckKind, i64, u32)| CheckOrder {
            check,
            limit: Span::from_seconds(seconds),
            measure,
            seed,
            challenge: (check == Probe).then_some(challenge),
        };
        list.iter().map(order).collect()
    }
}

/// One check to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckOrder {
    pub check: CheckKind,
    /// Its process is killed after so long. Generous: only what hangs shall meet it, and a driver that has to wake its
    /// GPUs first takes seconds for each.
    pub limit: Span,
    /// Seconds of load for soak and unanimity, rounds of products for compute, copies for bandwidth and peers, launches
    /// for latency, patterns for memory.
    pub measure: u32,
    pub seed: u64,
    pub challenge: Option<Challenge>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: Challenge = Challenge { seed: 1, nonce: 2, size: 4096 };

    #[test]
    fn suites_hold_what_they_promise() {
        for suite in Suite::ALL {
            assert_eq!(Suite::parse(suite.name()), Some(suite));
            let orders = suite.orders(5, CHALLENGE);
            let mut kinds: Vec<CheckKind> = orders.iter().map(|order| order.check).collect();
            kinds.sort_unstable();
            kinds.dedup();
            assert_eq!(kinds.len(), orders.len(), "{}: nothing twice", suite.name());
            for order in orders {
                assert_eq!(order.challenge.is_some(), order.check == CheckKind::Probe);
                let load =
                    if matches!(order.check, CheckKind::Soak | CheckKind::Unanimity) { order.measure } else { 0 };
                assert!(order.limit > Span::from_seconds(i64::from(load) + 20) || load == 0, "{order:?}");
            }
        }
        let first = |suite: Suite| suite.orders(0, CHALLENGE)[0].check;
        assert_eq!(first(Suite::Boundary), CheckKind::Wipe);
        assert_eq!(Suite::Deep.orders(0, CHALLENGE).last().map(|order| order.check), Some(CheckKind::Wipe));
        assert_eq!(Suite::parse("healthy"), None);
    }
}
