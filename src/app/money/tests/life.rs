//! One booking's money from hold to settlement, case by case.
use super::shelf::*;
use crate::app::money::hold::{self, Delivered};
use crate::app::money::price;
use crate::base::credits::Credits;
use crate::base::ids::{BookingId, TeamId};
use crate::base::window::{Span, Window};
use crate::domain::event::Cause;
use crate::domain::money::account::Account;
use crate::domain::money::account::AccountRow;
use crate::domain::money::refusal::MoneyRefusal;
use crate::domain::notice::Reason as _;
use crate::domain::people::installation::Mode;
use crate::store::{Changes, Read as _};

const TEAM: u128 = 7;

fn booking(number: u128) -> BookingId {
    BookingId::from_u128(number)
}

fn posted(shelf: &Shelf, account: Account) -> String {
    shelf.get::<AccountRow>(&account).unwrap().map_or("none".to_owned(), |row| row.posted().to_string())
}

#[test]
fn held_delivered_and_given_back() {
    let mut shelf = Shelf::new("UTC", Mode::Chargeback);
    shelf.grant(team(TEAM), credits("100"));
    let four_hours = window("2026-10-02T09:00:00Z", "2026-10-02T13:00:00Z");
    assert_eq!(shelf.place(booking(1), team(TEAM), four_hours, 2, &pin("2.50")).unwrap(), credits("20"));
    assert_eq!(shelf.balance(team(TEAM)).available, credits("80"));
    let used = Window::lasting(four_hours.start(), Span::from_minutes(90)).unwrap();
    assert_eq!(shelf.settle(booking(1), &[ready(used, 2)]), credits("7.50"));
    let balance = shelf.balance(team(TEAM));
    assert_eq!((balance.posted, balance.held), (credits("92.50"), Credits::ZERO));
    let expected = [("grant", "100.00"), ("hold", "20.00"), ("delivery", "7.50"), ("void", "12.50")];
    assert_eq!(shelf.postings(), expected.map(|(word, amount)| (word, amount.to_owned())));
    // Again: the same answer, and nothing is posted.
    assert_eq!(shelf.settle(booking(1), &[ready(four_hours, 2)]), credits("7.50"));
    assert_eq!(shelf.postings().len(), 4);
    assert_eq!(shelf.breaches(), []);
}

#[test]
fn cancelled_and_expired_cost_nothing() {
    let mut shelf = Shelf::new("UTC", Mode::Showback);
    let hour = window("2026-10-02T09:00:00Z", "2026-10-02T10:00:00Z");
    shelf.place(booking(1), team(TEAM), hour, 1, &pin("3")).unwrap();
    assert_eq!(shelf.settle(booking(1), &[]), Credits::ZERO);
    shelf.place(booking(2), team(TEAM), hour, 1, &pin("3")).unwrap();
    shelf.run(|view, changes, occasion| hold::expire(view, changes, booking(2), occasion)).unwrap();
    assert_eq!(shelf.balance(team(TEAM)), Default::default());
    let words: Vec<_> = shelf.postings().iter().map(|(word, _)| *word).collect();
    assert_eq!(words, ["hold", "void", "hold", "expire"]);
}

/// window | gpus | rate → hours of the segments, and their amounts
#[test]
#[rustfmt::skip]
fn holds_are_cut_at_local_midnights() {
    for (zone, start, end, expected) in [
        // The clocks of Berlin go back: 49 real hours, paid as such.
        ("Europe/Berlin", "2026-10-24T10:00:00Z", "2026-10-26T11:00:00Z", vec![(12, "24.00"), (25, "50.00"), (12, "24.00")]),
        // And forward.
        ("Europe/Berlin", "2026-03-28T20:00:00Z", "2026-03-30T00:00:00Z", vec![(3, "6.00"), (23, "46.00"), (2, "4.00")]),
        // A month ends at the local midnight, not at UTC's.
        ("America/New_York", "2026-10-31T22:00:00Z", "2026-11-01T10:00:00Z", vec![(6, "12.00"), (6, "12.00")]),
        ("UTC", "2026-10-31T22:00:00Z", "2026-11-01T10:00:00Z", vec![(2, "4.00"), (10, "20.00")]),
    ] {
        let mut shelf = Shelf::new(zone, Mode::Showback);
        let whole = window(start, end);
        let held = shelf.place(booking(1), team(TEAM), whole, 2, &pin("1")).unwrap();
        assert_eq!(held, price::price(&pin("1"), 2, whole).unwrap());
        let hold = &hold::of_booking(&shelf, booking(1)).unwrap()[0];
        let segments: Vec<_> = hold.segments.iter().map(|s| (s.window.span().as_seconds() / 3600, s.amount.to_string())).collect();
        let expected: Vec<_> = expected.into_iter().map(|(hours, amount)| (hours, amount.to_owned())).collect();
        assert_eq!(segments, expected, "{zone}");
    }
}

#[test]
fn long_bookings_settle_daily() {
    let mut shelf = Shelf::new("UTC", Mode::Chargeback);
    shelf.grant(team(TEAM), credits("200"));
    let whole = window("2026-10-02T12:00:00Z", "2026-10-05T12:00:00Z");
    shelf.place(booking(1), team(TEAM), whole, 1, &pin("1")).unwrap();
    // Ready an hour late; after the second midnight 35 hours are settled, the rest stays held.
    let ready_at = window("2026-10-02T13:00:00Z", "2026-10-05T12:00:00Z");
    let cost = shelf.settle_through(booking(1), &[ready(ready_at, 1)], at("2026-10-04T00:00:00Z"));
    assert_eq!(cost, credits("35"));
    assert_eq!(shelf.balance(team(TEAM)).held, credits("36"));
    assert_eq!(shelf.breaches(), []);
    // Given back early on the last day: what was settled is not settled again.
    let until = window("2026-10-02T13:00:00Z", "2026-10-05T06:00:00Z");
    assert_eq!(shelf.settle(booking(1), &[ready(until, 1)]), credits("65"));
    assert_eq!(shelf.balance(team(TEAM)).posted, credits("135"));
    assert_eq!(shelf.breaches(), []);
}

#[test]
fn nobody_pays_for_more_than_was_held() {
    let mut shelf = Shelf::new("UTC", Mode::Showback);
    let hour = window("2026-10-02T09:00:00Z", "2026-10-02T10:00:00Z");
    let more = window("2026-10-02T08:00:00Z", "2026-10-02T12:00:00Z");
    shelf.place(booking(1), team(TEAM), hour, 1, &pin("1")).unwrap();
    assert_eq!(shelf.settle(booking(1), &[ready(more, 1), ready(more, 4)]), credits("1"));
    assert_eq!(shelf.breaches(), []);
}

#[test]
fn an_extension_is_a_hold_of_its_own_at_its_own_rate() {
    let mut shelf = Shelf::new("UTC", Mode::Chargeback);
    shelf.grant(team(TEAM), credits("5"));
    let first = window("2026-10-02T09:00:00Z", "2026-10-02T10:00:00Z");
    let added = window("2026-10-02T10:00:00Z", "2026-10-02T11:00:00Z");
    shelf.place(booking(1), team(TEAM), first, 1, &pin("2")).unwrap();
    assert_eq!(code(shelf.extend(booking(1), team(TEAM), added, 1, &pin("4")).unwrap_err()), "not_enough_credits");
    shelf.extend(booking(1), team(TEAM), added, 1, &pin("3")).unwrap();
    let whole = window("2026-10-02T09:00:00Z", "2026-10-02T10:30:00Z");
    assert_eq!(shelf.settle(booking(1), &[ready(whole, 1)]), credits("3.50"));
    assert_eq!(shelf.breaches(), []);
}

/// owner of the node → what the team pays, the fee, the owner's share, what stays with the operator
#[test]
fn payouts_sum_to_the_whole() {
    let own = Some(team(TEAM));
    let other: Option<TeamId> = Some(team(8));
    for (owner, cost, fee, share, usage) in [
        (None, "1.000001", "none", "none", "1.000001"),
        (other, "1.000001", "0.05", "0.950001", "0.00"),
        (own, "0.00", "none", "none", "0.00"),
    ] {
        let mut shelf = Shelf::new("UTC", Mode::Showback);
        let hour = window("2026-10-02T09:00:00Z", "2026-10-02T10:00:00Z");
        shelf.place(booking(1), team(TEAM), hour, 1, &pin("1.000001")).unwrap();
        let delivered = Delivered { owner, ..ready(hour, 1) };
        assert_eq!(shelf.settle(booking(1), &[delivered]), credits(cost));
        assert_eq!(posted(&shelf, Account::Fees), fee);
        assert_eq!(posted(&shelf, Account::Owner(team(8))), share);
        assert_eq!(posted(&shelf, Account::Usage), usage);
        assert_eq!(shelf.breaches(), []);
    }
}

#[test]
fn a_balance_refuses_in_chargeback_alone() {
    let hour = window("2026-10-02T09:00:00Z", "2026-10-02T10:00:00Z");
    let mut shelf = Shelf::new("UTC", Mode::Showback);
    assert!(shelf.place(booking(1), team(TEAM), hour, 8, &pin("3")).is_ok());
    let mut shelf = Shelf::new("UTC", Mode::Chargeback);
    shelf.grant(team(TEAM), credits("23.999999"));
    assert_eq!(code(shelf.place(booking(1), team(TEAM), hour, 8, &pin("3")).unwrap_err()), "not_enough_credits");
    let sentence = MoneyRefusal::NotEnough { price: credits("24"), available: credits("23.999999") }.sentence();
    assert!(sentence.why.contains("0.000001 are missing"), "{}", sentence.why);
    shelf.grant(team(TEAM), credits("0.000001"));
    assert!(shelf.place(booking(1), team(TEAM), hour, 8, &pin("3")).is_ok());
    assert_eq!(shelf.balance(team(TEAM)).available, Credits::ZERO);
}

/// Several steps in one deciding run see each other: placed and cancelled at once leaves nothing held.
#[test]
fn steps_of_one_run_see_each_other() {
    let mut shelf = Shelf::new("UTC", Mode::Chargeback);
    let zone = shelf.zone.clone();
    let hour = window("2026-10-02T09:00:00Z", "2026-10-02T10:00:00Z");
    shelf
        .run(|view, changes: &mut Changes, occasion| {
            assert_eq!(occasion.cause, Cause::Mill);
            crate::app::money::grant::post(view, changes, team(TEAM), credits("3"), "opening", occasion)?;
            let pin = pin("3");
            let reserve = hold::Reserve {
                booking: booking(1),
                team: team(TEAM),
                window: hour,
                gpus: 1,
                pin: &pin,
                zone: &zone,
                mode: Mode::Chargeback,
            };
            hold::place(view, changes, reserve, occasion)?;
            assert_eq!(code(hold::place(view, changes, reserve, occasion).unwrap_err()), "not_enough_credits");
            hold::settle(view, changes, booking(1), &[ready(hour, 1)], occasion)
        })
        .unwrap();
    assert_eq!(shelf.balance(team(TEAM)), Default::default());
    assert_eq!(shelf.breaches(), []);
}

#[test]
fn rates_are_followed_never_changed() {
    let mut shelf = Shelf::new("UTC", Mode::Showback);
    let default = price::pin(&shelf, "H200").unwrap();
    assert_eq!((default.version, default.per_gpu_hour), (0, credits("3")));
    for (rate, version) in [("2.50", 1), ("2.50", 1), ("2.75", 2)] {
        let set =
            shelf.run(|view, changes, occasion| price::set(view, changes, "H200", credits(rate), occasion)).unwrap();
        assert_eq!(set.version, version);
    }
    let pin = price::pin(&shelf, "nvidia h200").unwrap();
    assert_eq!((pin.version, pin.per_gpu_hour), (2, credits("2.75")));
    // A variant without a rate of its own has its family's.
    assert_eq!(price::pin(&shelf, "H200 NVL").unwrap().per_gpu_hour, credits("2.75"));
    assert_eq!(price::pin(&shelf, "H100").unwrap().version, 0);
    for (typed, answer) in [("-1", "amount_not_positive"), ("x", "bad_field"), ("10000.01", "rate_too_high")] {
        assert_eq!(code(price::read_rate(typed).unwrap_err()), answer);
    }
    assert_eq!(price::read_rate("0").unwrap(), Credits::ZERO);
}
