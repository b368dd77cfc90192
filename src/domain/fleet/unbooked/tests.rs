//! What nodes say of use outside bookings, and what comes of it: each rule as a table, and a node that says anything.
use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const NODE: NodeId = NodeId::from_u128(1);

fn unit(number: u128) -> UnitId {
    UnitId::from_u128(number)
}

fn payer(member: u128) -> Option<Payer> {
    Some(Payer { member: MemberId::from_u128(member), team: TeamId::from_u128(1) })
}

fn sight(pid: u32, started: u64, units: &[u128], payer: Option<Payer>) -> Sight {
    let process = Process { boot: "b".to_owned(), pid, started: Some(started) };
    let units = units.iter().copied().map(unit).collect();
    Sight { process, uid: Some(1001), user: Some("ada".to_owned()), program: None, units, payer }
}

fn at(second: i64) -> Instant {
    Instant::from_seconds(second)
}

/// What a node says, one round after the other.
#[derive(Default)]
struct Said {
    open: Vec<Use>,
    over: Vec<Use>,
    minted: u128,
}

impl Said {
    /// A round at a second in which these GPUs said who is on them.
    fn round(&mut self, second: i64, read: &[u128], sights: Vec<Sight>) {
        self.of_boot("b", second, read, sights);
    }

    fn of_boot(&mut self, boot: &str, second: i64, read: &[u128], sights: Vec<Sight>) {
        let read: BTreeSet<UnitId> = read.iter().copied().map(unit).collect();
        let minted = &mut self.minted;
        let mut mint = || {
            *minted += 1;
            UseId::from_u128(*minted)
        };
        round(&mut self.open, NODE, &Round { boot: boot.to_owned(), sights, read }, at(second), &mut mint);
        let (open, over): (Vec<Use>, Vec<Use>) = std::mem::take(&mut self.open).into_iter().partition(Use::is_open);
        (self.open, self.over) = (open, std::mem::take(&mut self.over).into_iter().chain(over).collect());
    }

    fn believed(&self) -> Vec<u32> {
        self.open.iter().filter(|known| known.is_believed()).map(|known| known.process.pid).collect()
    }

    /// Seconds that each use is to be billed, by process number.
    fn billed(&mut self) -> Vec<(u32, i64)> {
        let mut all = Vec::new();
        for mut known in self.over.drain(..).chain(self.open.drain(..)) {
            known.lapse();
            let seconds = settle(&mut known).iter().map(|one| one.to.since(one.from).as_seconds()).sum();
            all.push((known.process.pid, seconds));
        }
        all.sort_unstable();
        all
    }
}

#[test]
fn one_reading_is_not_believed_and_leaves_no_trace() {
    let mut said = Said::default();
    said.round(0, &[1], vec![sight(50, 7, &[1], None)]);
    assert_eq!((said.believed(), said.open.len()), (vec![], 1));
    said.round(10, &[1], vec![]);
    assert_eq!((said.open.len(), said.over.len()), (0, 0));
    // Every other reading: never two in a row.
    for step in 0..20 {
        let there = if step % 2 == 0 { vec![sight(50, 7, &[1], payer(1))] } else { vec![] };
        said.round(20 + step * 10, &[1], there);
        assert_eq!(said.believed(), [] as [u32; 0]);
    }
    assert!(said.over.is_empty());
}

#[test]
fn it_is_over_when_two_readings_in_a_row_lack_it() {
    let mut said = Said::default();
    said.round(0, &[1], vec![sight(50, 7, &[1], None)]);
    said.round(10, &[1], vec![sight(50, 7, &[1], None)]);
    assert_eq!(said.believed(), [50]);
    said.round(20, &[1], vec![]);
    said.round(30, &[1], vec![sight(50, 7, &[1], None)]);
    said.round(40, &[1], vec![]);
    assert_eq!(said.believed(), [50], "it flaps, and is one use");
    said.round(50, &[1], vec![]);
    assert_eq!(said.over[0].over, Some((at(30), How::Gone)), "its last reading counts");
    assert_eq!(said.minted, 1);
}

#[test]
fn a_reading_that_did_not_come_is_no_absence() {
    let mut said = Said::default();
    said.round(0, &[1, 2], vec![sight(50, 7, &[1], payer(1))]);
    said.round(10, &[1, 2], vec![sight(50, 7, &[1], payer(1))]);
    for step in 2..30 {
        // The other GPU answers; this one's driver does not say.
        said.round(step * 10, &[2], vec![]);
    }
    assert_eq!(said.believed(), [50]);
    assert_eq!(said.billed(), [(50, 10)], "and what was not read is not billed");
}

#[test]
fn a_number_that_is_used_again_is_another_process() {
    let mut said = Said::default();
    said.round(0, &[1], vec![sight(50, 7, &[1], None)]);
    said.round(10, &[1], vec![sight(50, 7, &[1], None)]);
    said.round(20, &[1], vec![sight(50, 8, &[1], None)]);
    said.round(30, &[1], vec![sight(50, 8, &[1], None)]);
    assert_eq!((said.over.len(), said.believed().len(), said.minted), (1, 1, 2));
    assert_eq!(said.open[0].first, at(20), "its grace begins anew");
    said.of_boot("c", 40, &[1], vec![]);
    assert_eq!(said.over[1].over, Some((at(30), How::Restarted)));
}

#[test]
fn one_process_on_two_gpus_is_one_use_and_pays_for_both() {
    let mut said = Said::default();
    for step in 0..=6 {
        said.round(step * 10, &[1, 2], vec![sight(50, 7, &[1, 2], payer(1))]);
    }
    assert_eq!(said.open[0].units.len(), 2);
    assert_eq!(said.billed(), [(50, 120)]);
}

#[test]
fn of_two_that_share_a_gpu_the_first_pays_alone() {
    let mut said = Said::default();
    said.round(0, &[1], vec![sight(60, 7, &[1], payer(1))]);
    for step in 1..=6 {
        said.round(step * 10, &[1], vec![sight(60, 7, &[1], payer(1)), sight(50, 9, &[1], payer(2))]);
    }
    // The first leaves; from the reading that shows it on the other pays.
    said.round(70, &[1], vec![sight(50, 9, &[1], payer(2))]);
    said.round(80, &[1], vec![sight(50, 9, &[1], payer(2))]);
    assert_eq!(said.billed(), [(50, 10), (60, 60)]);
}

#[test]
fn whoever_was_not_there_meanwhile_pays_nothing_for_it() {
    let mut said = Said::default();
    said.round(0, &[1, 2], vec![sight(50, 7, &[1, 2], payer(1))]);
    said.round(10, &[1, 2], vec![sight(50, 7, &[1, 2], payer(1))]);
    // Only one GPU tells its list, and the first is not on it; the second GPU says nothing.
    said.round(20, &[], vec![sight(60, 9, &[1], payer(2))]);
    said.round(30, &[], vec![sight(60, 9, &[1], payer(2))]);
    said.round(40, &[1, 2], vec![sight(50, 7, &[1, 2], payer(1)), sight(60, 9, &[1], payer(2))]);
    said.round(50, &[1, 2], vec![sight(50, 7, &[1, 2], payer(1)), sight(60, 9, &[1], payer(2))]);
    // On GPU 1: 0 to 10 and 40 to 50. On GPU 2 nothing told against it: 0 to 50. The other had GPU 1 from 20 to 30.
    assert_eq!(said.billed(), [(50, 20 + 50), (60, 10)]);
}

#[test]
fn time_is_billed_from_the_first_sight_while_somebody_pays_and_readings_come() {
    let mut said = Said::default();
    said.round(0, &[1], vec![sight(50, 7, &[1], payer(1))]);
    said.round(10, &[1], vec![sight(50, 7, &[1], payer(1))]);
    // An hour of silence is not billed, although the process was there before and after.
    said.round(3610, &[1], vec![sight(50, 7, &[1], payer(1))]);
    said.round(3620, &[1], vec![sight(50, 7, &[1], payer(1))]);
    // The pool bills no more, then it bills again.
    said.round(3630, &[1], vec![sight(50, 7, &[1], None)]);
    said.round(3640, &[1], vec![sight(50, 7, &[1], payer(1))]);
    said.round(3650, &[1], vec![sight(50, 7, &[1], payer(1))]);
    assert_eq!(said.billed(), [(50, 10 + 10 + 10)]);
    // Without the moment of its beginning nobody can tell it apart, and nobody pays.
    let nameless = || {
        let mut sight = sight(70, 0, &[1], payer(1));
        sight.process.started = None;
        vec![sight]
    };
    (0..9).for_each(|step| said.round(4000 + step * 10, &[1], nameless()));
    assert_eq!(said.billed(), [(70, 0)]);
}

#[test]
fn what_was_posted_is_not_posted_again() {
    let mut said = Said::default();
    for step in 0..=400 {
        said.round(step * 10, &[1], vec![sight(50, 7, &[1], payer(1))]);
        let owes = said.open[0].owes();
        assert_eq!(owes, step == 360, "step {step}");
        if owes {
            let due = settle(&mut said.open[0]);
            assert_eq!(due.len(), 1);
            assert_eq!((due[0].from, due[0].to), (at(0), at(3600)));
            assert!(settle(&mut said.open[0]).is_empty());
        }
    }
    assert_eq!(said.billed(), [(50, 400)]);
}

#[test]
fn orders_by_the_table() {
    let grace = Span::from_minutes(15);
    let end = UnbookedPolicy { deed: Deed::End { after: grace }, ..UnbookedPolicy::default() };
    let clear = UnbookedPolicy { clear: true, ..UnbookedPolicy::default() };
    let base = {
        let mut said = Said::default();
        said.round(0, &[1], vec![sight(50, 7, &[1], None)]);
        said.round(10, &[1], vec![sight(50, 7, &[1], None)]);
        said.open.remove(0)
    };
    let once = Use { seen: 1, ..base.clone() };
    let root = Use { uid: Some(0), ..base.clone() };
    let unknown = Use { uid: None, ..base.clone() };
    let mut nameless = base.clone();
    nameless.process.started = None;
    let system = UnbookedPolicy { system: true, ..end };
    let wanted = |since, reason| Order::Wanted { since: at(since), reason };
    for (what, known, policy, needed, now, expected) in [
        ("kind pools only tell", &base, UnbookedPolicy::default(), true, 90_000, Order::None),
        ("the grace runs", &base, end, false, 899, Order::None),
        ("from the first sight", &base, end, false, 900, wanted(900, Reason::Grace)),
        ("a booking needs it", &base, clear, true, 20, wanted(20, Reason::Booked)),
        ("no booking needs it", &base, clear, false, 90_000, Order::None),
        ("one reading", &once, end, true, 900, Order::None),
        ("root is left alone", &root, end, true, 900, Order::None),
        ("unless it is said", &root, system, false, 900, wanted(900, Reason::Grace)),
        ("nobody known", &unknown, end, true, 900, Order::None),
        ("cannot be told apart", &nameless, end, true, 900, Order::None),
    ] {
        assert_eq!(order(known, &policy, needed, at(now)), expected, "{what}");
    }
    let refused = |second| Use { order: Order::Refused { at: at(second), why: "no".to_owned() }, ..base.clone() };
    assert!(matches!(order(&refused(900), &end, false, at(4499)), Order::Refused { .. }));
    assert_eq!(order(&refused(900), &end, false, at(4500)), wanted(4500, Reason::Grace), "asked again after an hour");
    let asked = Use { order: wanted(900, Reason::Grace), ..base.clone() };
    assert_eq!(order(&asked, &end, false, at(950)), wanted(900, Reason::Grace), "once is enough");
    assert_eq!(order(&asked, &UnbookedPolicy::default(), false, at(950)), Order::None, "the policy became kind");
    let over = Use { over: Some((at(20), How::Gone)), ..base };
    assert_eq!(order(&over, &end, false, at(900)), Order::None);
}

#[test]
fn what_bookings_have_and_what_was_billed_is_left_out() {
    let stretch = Stretch { unit: unit(1), from: at(0), to: at(100), payer: payer(1).unwrap(), closed: false };
    let window = |from, to| Window::new(at(from), at(to)).unwrap();
    for (taken, expected) in [
        (vec![], vec![(0, 100)]),
        (vec![window(20, 30)], vec![(0, 20), (30, 100)]),
        (vec![window(30, 60), window(-50, 10), window(50, 70)], vec![(10, 30), (70, 100)]),
        (vec![window(-5, 200)], vec![]),
        (vec![window(100, 200), window(-9, 0)], vec![(0, 100)]),
    ] {
        let found: Vec<_> =
            left(&stretch, &taken).iter().map(|w| (w.start().as_seconds(), w.end().as_seconds())).collect();
        assert_eq!(found, expected, "{taken:?}");
    }
    let half = Stretch { to: Instant::from_millis(999), ..stretch };
    assert!(left(&half, &[]).is_empty(), "less than a second is nothing");
}

#[test]
fn a_day_has_a_limit() {
    let credits = |text: &str| text.parse::<Credits>().unwrap();
    for (seconds, rate, most, expected) in
        [(3600, "3", "10", 3600), (3600, "3", "1", 1200), (3600, "3", "0", 0), (3600, "0", "0", 3600)]
    {
        assert_eq!(affordable(seconds, credits(rate), credits(most)), expected);
        assert!(credits(rate).for_duration(1, expected).unwrap() <= credits(most));
    }
}

/// Seconds since the round before; processes with their beginnings and GPUs; the GPUs that answer.
type AnyRound = (i64, Vec<(u32, u64, u8)>, u8);

/// What a node may say in one round: who is there, and which GPUs answer.
fn rounds() -> impl Strategy<Value = Vec<AnyRound>> {
    let process = (1_u32..4, 1_u64..3, 1_u8..8);
    proptest::collection::vec((1_i64..60, proptest::collection::vec(process, 0..5), 0_u8..8), 1..60)
}

proptest! {
    /// However a node talks, a GPU's second is billed to one process at most, nothing is billed that lies between two
    /// readings too far apart, and never more than the time that passed.
    #[test]
    fn no_second_of_a_gpu_is_billed_twice_and_none_that_did_not_pass(rounds in rounds()) {
        let mut said = Said::default();
        let (mut now, mut due) = (0, Vec::new());
        for (pause, processes, read) in rounds {
            now += pause;
            let bits = |mask: u8| -> Vec<u128> { (0..3).filter(|bit| mask & (1 << bit) != 0).map(|bit| bit + 1).collect() };
            let mut sights: Vec<Sight> = Vec::new();
            for (pid, started, units) in processes {
                if sights.iter().all(|other| (other.process.pid, other.process.started) != (pid, Some(started))) {
                    sights.push(sight(pid, started, &bits(units), payer(u128::from(pid))));
                }
            }
            said.round(now, &bits(read), sights);
            for known in said.open.iter_mut().chain(&mut said.over) {
                due.extend(settle(known));
            }
            said.over.clear();
        }
        for known in &mut said.open {
            known.lapse();
            due.extend(settle(known));
        }
        for (place, one) in due.iter().enumerate() {
            prop_assert!(one.from < one.to && one.to <= at(now));
            for other in &due[place + 1..] {
                let apart = one.unit != other.unit || one.to <= other.from || other.to <= one.from;
                prop_assert!(apart, "{one:?} and {other:?}");
            }
        }
    }
}
