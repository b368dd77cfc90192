//! Random sequences of everything that can happen to money, held against a naive model that adds up from nothing. After
//! every step the balances must agree and the books must hold.
use proptest::prelude::*;

use super::shelf::*;
use crate::app::money::hold::Delivered;
use crate::base::credits::Credits;
use crate::base::ids::{BookingId, TeamId};
use crate::base::window::{Instant, Span, Window};
use crate::domain::people::installation::Mode;

const TEAMS: u128 = 3;
const DAY: i64 = 86_400;

#[derive(Clone, Debug)]
enum Step {
    Grant { team: u128, micros: i64 },
    Place { team: u128, start: i64, length: i64, gpus: u32, rate: i64 },
    Extend { which: usize, length: i64, rate: i64 },
    SettleThrough { which: usize, delivered: Ready, until: i64 },
    Settle { which: usize, delivered: Ready },
    Invoice { team: u128, issue: bool, settle: bool },
}

/// Ready from `from` for `length` seconds after the booking's start, on whose node.
#[derive(Clone, Copy, Debug)]
struct Ready {
    from: i64,
    length: i64,
    owner: Option<u128>,
}

fn ready_part() -> impl Strategy<Value = Ready> {
    (0i64..50_000, 0i64..300_000, prop_oneof![Just(None), (1..=TEAMS).prop_map(Some)])
        .prop_map(|(from, length, owner)| Ready { from, length, owner })
}

fn step() -> impl Strategy<Value = Step> {
    let team = || 1..=TEAMS;
    prop_oneof![
        2 => (team(), 1i64..500_000_000).prop_map(|(team, micros)| Step::Grant { team, micros }),
        4 => (team(), 0i64..10 * DAY, 1i64..4 * DAY, 1u32..9, 0i64..4_000_000)
            .prop_map(|(team, start, length, gpus, rate)| Step::Place { team, start, length, gpus, rate }),
        2 => (0usize..8, 1i64..DAY, 0i64..4_000_000).prop_map(|(which, length, rate)| Step::Extend { which, length, rate }),
        2 => (0usize..8, ready_part(), 0i64..12 * DAY)
            .prop_map(|(which, delivered, until)| Step::SettleThrough { which, delivered, until }),
        3 => (0usize..8, ready_part()).prop_map(|(which, delivered)| Step::Settle { which, delivered }),
        1 => (team(), any::<bool>(), any::<bool>())
            .prop_map(|(team, issue, settle)| Step::Invoice { team, issue, settle }),
    ]
}

/// The naive side: seconds since the epoch, plain integers, days cut by division.
#[derive(Clone, Debug)]
struct Segment {
    start: i64,
    end: i64,
    held: i128,
    rate: i128,
    gpus: i128,
    delivered: Option<i128>,
}

#[derive(Clone, Debug)]
struct Booked {
    id: BookingId,
    team: u128,
    start: i64,
    end: i64,
    gpus: u32,
    settled: bool,
    segments: Vec<Segment>,
}

#[derive(Default)]
struct Model {
    granted: [i128; TEAMS as usize + 1],
    charged: [i128; TEAMS as usize + 1],
    bookings: Vec<Booked>,
}

fn priced(rate: i128, gpus: i128, seconds: i64) -> i128 {
    (rate * gpus * i128::from(seconds) * 2 + 3600) / 7200
}

fn cut(start: i64, end: i64, gpus: u32, rate: i64) -> Vec<Segment> {
    let (gpus, rate) = (i128::from(gpus), i128::from(rate));
    let mut segments = Vec::new();
    let mut from = start;
    while from < end {
        let to = ((from / DAY + 1) * DAY).min(end);
        let held = priced(rate, gpus, to - start) - priced(rate, gpus, from - start);
        segments.push(Segment { start: from, end: to, held, rate, gpus, delivered: None });
        from = to;
    }
    segments
}

impl Model {
    fn held(&self, team: u128) -> i128 {
        let of_team = self.bookings.iter().filter(|booked| booked.team == team);
        of_team.flat_map(|booked| &booked.segments).filter(|s| s.delivered.is_none()).map(|s| s.held).sum()
    }

    fn posted(&self, team: u128) -> i128 {
        let of_team = self.bookings.iter().filter(|booked| booked.team == team);
        let used: i128 = of_team.flat_map(|booked| &booked.segments).filter_map(|s| s.delivered).sum();
        self.granted[team as usize] + self.charged[team as usize] - used
    }

    fn settle(&mut self, which: usize, ready: (i64, i64), own: bool, until: i64) -> i128 {
        let booked = &mut self.bookings[which];
        for segment in booked.segments.iter_mut().filter(|s| s.delivered.is_none() && s.end <= until) {
            let seconds = (segment.end.min(ready.1) - segment.start.max(ready.0)).max(0);
            let cost = if own { 0 } else { priced(segment.rate, segment.gpus, seconds) };
            segment.delivered = Some(cost.min(segment.held));
        }
        booked.segments.iter().filter_map(|s| s.delivered).sum()
    }
}

struct Run {
    shelf: Shelf,
    model: Model,
    base: i64,
}

impl Run {
    fn team(number: u128) -> TeamId {
        team(number)
    }

    fn window(&self, start: i64, end: i64) -> Window {
        Window::new(Instant::from_seconds(self.base + start), Instant::from_seconds(self.base + end)).unwrap()
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Grant { team, micros } => {
                self.shelf.grant(Self::team(team), Credits::from_micros(micros));
                self.model.granted[team as usize] += i128::from(micros);
            }
            Step::Place { team, start, length, gpus, rate } => self.place(team, (start, start + length), gpus, rate),
            Step::Extend { which, length, rate } => self.extend(which, length, rate),
            Step::SettleThrough { which, delivered, until } => self.settle(which, delivered, Some(until)),
            Step::Settle { which, delivered } => self.settle(which, delivered, None),
            Step::Invoice { team, issue, settle } => self.invoice(team, issue, settle),
        }
    }

    fn affordable(&self, team: u128, price: i128) -> bool {
        self.shelf.mode == Mode::Showback || price <= self.model.posted(team) - self.model.held(team)
    }

    fn place(&mut self, team: u128, (start, end): (i64, i64), gpus: u32, rate: i64) {
        let id = BookingId::from_u128(self.model.bookings.len() as u128 + 1);
        let segments = cut(self.base + start, self.base + end, gpus, rate);
        let price: i128 = segments.iter().map(|s| s.held).sum();
        let mut pin = pin("0");
        pin.per_gpu_hour = Credits::from_micros(rate);
        let window = self.window(start, end);
        let placed = self.shelf.place(id, Self::team(team), window, gpus, &pin);
        assert_eq!(placed.is_ok(), self.affordable(team, price));
        if let Ok(held) = placed {
            assert_eq!(i128::from(held.micros()), price);
            self.model.bookings.push(Booked { id, team, start, end, gpus, settled: false, segments });
        }
    }

    fn extend(&mut self, which: usize, length: i64, rate: i64) {
        let Some(booked) = self.model.bookings.get(which).filter(|booked| !booked.settled).cloned() else { return };
        let added = cut(self.base + booked.end, self.base + booked.end + length, booked.gpus, rate);
        let price: i128 = added.iter().map(|s| s.held).sum();
        let mut pin = pin("0");
        pin.per_gpu_hour = Credits::from_micros(rate);
        let window = self.window(booked.end, booked.end + length);
        let extended = self.shelf.extend(booked.id, Self::team(booked.team), window, booked.gpus, &pin);
        assert_eq!(extended.is_ok(), self.affordable(booked.team, price));
        if extended.is_ok() {
            let model = &mut self.model.bookings[which];
            model.segments.extend(added);
            model.end += length;
        }
    }

    fn settle(&mut self, which: usize, ready: Ready, until: Option<i64>) {
        let Some(booked) = self.model.bookings.get(which).cloned() else { return };
        let from = self.base + booked.start + ready.from;
        let window = Window::lasting(Instant::from_seconds(from), Span::from_seconds(ready.length)).ok();
        let owner = ready.owner.map(Self::team);
        let delivered: Vec<_> =
            window.map(|window| Delivered { window, gpus: booked.gpus, owner, lease: None }).into_iter().collect();
        let last = until.map_or(i64::MAX, |until| self.base + until);
        let own = ready.owner == Some(booked.team);
        let expected = self.model.settle(which, (from, from + ready.length), own, last);
        let cost = match until {
            Some(_) => self.shelf.settle_through(booked.id, &delivered, Instant::from_seconds(last)),
            None => self.shelf.settle(booked.id, &delivered),
        };
        self.model.bookings[which].settled |= until.is_none();
        assert_eq!(i128::from(cost.micros()), expected);
    }

    fn invoice(&mut self, team: u128, issue: bool, settle: bool) {
        let installation = installation("UTC", self.shelf.mode);
        self.shelf.now = at("2026-11-15T00:00:00Z");
        let Ok(draft) = self.shelf.draft(Self::team(team), "2026-10", &installation) else { return };
        if !issue {
            return;
        }
        let before = self.shelf.balance(Self::team(team)).posted;
        let issued = self.shelf.issue(draft.id, &installation).unwrap();
        let after = self.shelf.balance(Self::team(team)).posted;
        // What issuing moves: the rounding leaves the account, what is due comes back to it.
        let rounding = i128::from(issued.total.micros()) - i128::from(issued.exact().micros());
        let moved = i128::from(issued.due.micros()) - rounding;
        assert_eq!(i128::from(after.micros()) - i128::from(before.micros()), moved);
        self.model.charged[team as usize] += moved;
        if settle {
            self.shelf.settle_document(draft.id).unwrap();
        }
    }

    fn check(&self) {
        for number in 1..=TEAMS {
            let balance = self.shelf.balance(Self::team(number));
            assert_eq!(i128::from(balance.posted.micros()), self.model.posted(number));
            assert_eq!(i128::from(balance.held.micros()), self.model.held(number));
        }
        assert_eq!(self.shelf.breaches(), []);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn the_books_hold_after_any_sequence(
        chargeback: bool,
        steps in proptest::collection::vec(step(), 1..28),
    ) {
        let mode = if chargeback { Mode::Chargeback } else { Mode::Showback };
        let shelf = Shelf::new("UTC", mode);
        let base = shelf.now.as_seconds();
        let mut run = Run { shelf, model: Model::default(), base };
        for step in steps {
            run.take(step);
            run.check();
        }
    }
}
