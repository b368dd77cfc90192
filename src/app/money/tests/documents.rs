//! Documents from draft to settlement.
use super::shelf::*;
use crate::base::credits::Credits;
use crate::base::ids::BookingId;
use crate::base::window::Span;
use crate::domain::money::account::{Account, AccountRow};
use crate::domain::money::invoice::DocumentState;
use crate::domain::people::installation::{Mode, Reality};
use crate::store::Read as _;

const TEAM: u128 = 7;

fn used(shelf: &mut Shelf, number: u128, start: &str, end: &str, rate: &str) {
    let (id, whole) = (BookingId::from_u128(number), window(start, end));
    shelf.place(id, team(TEAM), whole, 1, &pin(rate)).unwrap();
    shelf.now = whole.end();
    shelf.settle(id, &[ready(whole, 1)]);
}

#[test]
fn drafted_issued_settled() {
    let mut shelf = Shelf::new("Europe/Berlin", Mode::Showback);
    let installation = installation("Europe/Berlin", Mode::Showback);
    shelf.grant(team(TEAM), credits("5"));
    used(&mut shelf, 1, "2026-11-02T09:00:00Z", "2026-11-02T11:00:00Z", "3");
    used(&mut shelf, 2, "2026-11-03T09:00:00Z", "2026-11-03T10:30:00Z", "2");
    let draft = shelf.draft(team(TEAM), "2026-11", &installation).unwrap();
    let figures = (draft.total, draft.set_off, draft.due);
    assert_eq!(figures, (credits("9"), credits("5"), credits("4")));
    assert_eq!(draft.lines.iter().map(|line| line.gpu_hours()).collect::<Vec<_>>(), ["2.000", "1.500"]);
    assert_eq!(draft.covers.start(), at("2026-10-31T23:00:00Z"));
    assert_eq!(draft.covers.end(), at("2026-11-03T10:30:00Z"), "of a running month, what has passed");
    assert!(draft.issue().is_none());
    // Drafting again draws up the same draft anew.
    assert_eq!(shelf.draft(team(TEAM), "2026-11", &installation).unwrap().id, draft.id);
    let issued = shelf.issue(draft.id, &installation).unwrap();
    assert_eq!(issued.issue().unwrap().number, "GM-2026-0001");
    assert_eq!(issued.issue().unwrap().due_at.since(shelf.now), Span::from_days(30));
    assert_eq!(shelf.balance(team(TEAM)).posted, Credits::ZERO, "what is due left the team's account");
    assert_eq!(code(shelf.issue(draft.id, &installation).unwrap_err()), "not_a_draft");
    assert_eq!(shelf.breaches(), []);
    let settled = shelf.settle_document(draft.id).unwrap();
    assert!(matches!(settled.state, DocumentState::Settled { at, .. } if at == shelf.now));
    assert_eq!(code(shelf.settle_document(draft.id).unwrap_err()), "already_settled");
    let receivable = shelf.get::<AccountRow>(&Account::Receivable(team(TEAM))).unwrap().unwrap();
    assert_eq!(receivable.posted(), Credits::ZERO);
    assert_eq!(shelf.breaches(), []);
}

#[test]
fn each_delivery_is_listed_once() {
    let mut shelf = Shelf::new("UTC", Mode::Showback);
    let installation = installation("UTC", Mode::Showback);
    used(&mut shelf, 1, "2026-11-02T09:00:00Z", "2026-11-02T10:00:00Z", "3");
    let first = shelf.draft(team(TEAM), "2026-11", &installation).unwrap();
    // What comes after the draft is not on it, and waits for the next document.
    used(&mut shelf, 2, "2026-11-02T10:00:00Z", "2026-11-02T11:00:00Z", "4");
    assert_eq!(shelf.issue(first.id, &installation).unwrap().total, credits("3"));
    let second = shelf.draft(team(TEAM), "2026-11", &installation).unwrap();
    assert_ne!(second.id, first.id);
    assert_eq!((second.total, second.due), (credits("4"), credits("4")));
    assert_eq!(shelf.issue(second.id, &installation).unwrap().issue().unwrap().number, "GM-2026-0002");
    assert_eq!(code(shelf.draft(team(TEAM), "2026-11", &installation).unwrap_err()), "nothing_to_invoice");
    assert_eq!(shelf.breaches(), []);
}

#[test]
fn a_booking_over_two_months_is_on_two_documents() {
    let mut shelf = Shelf::new("Europe/Berlin", Mode::Showback);
    let installation = installation("Europe/Berlin", Mode::Showback);
    used(&mut shelf, 1, "2026-11-30T20:00:00Z", "2026-12-01T02:00:00Z", "1");
    let november = shelf.draft(team(TEAM), "2026-11", &installation).unwrap();
    let december = shelf.draft(team(TEAM), "2026-12", &installation).unwrap();
    assert_eq!((november.total, december.total), (credits("3"), credits("3")));
    shelf.issue(december.id, &installation).unwrap();
    shelf.issue(november.id, &installation).unwrap();
    assert_eq!(shelf.breaches(), []);
}

#[test]
fn refusals_say_what_is_wrong() {
    let mut shelf = Shelf::new("UTC", Mode::Showback);
    let installation = installation("UTC", Mode::Showback);
    assert_eq!(code(shelf.draft(team(TEAM), "2026-11", &installation).unwrap_err()), "period_not_begun");
    used(&mut shelf, 1, "2026-11-02T09:00:00Z", "2026-11-02T10:00:00Z", "0.001");
    let draft = shelf.draft(team(TEAM), "2026-11", &installation).unwrap();
    assert_eq!(code(shelf.settle_document(draft.id).unwrap_err()), "not_issued");
    // Less than a cent was rounded away, so the next document's sums depend on the order of issuing.
    used(&mut shelf, 2, "2026-12-02T09:00:00Z", "2026-12-02T10:00:00Z", "0.004");
    let later = shelf.draft(team(TEAM), "2026-12", &installation).unwrap();
    assert_eq!((draft.total, later.total), (Credits::ZERO, Credits::ZERO));
    shelf.issue(later.id, &installation).unwrap();
    shelf.issue(draft.id, &installation).unwrap();
    used(&mut shelf, 3, "2026-12-02T10:00:00Z", "2026-12-02T11:00:00Z", "1");
    let with_carry = shelf.draft(team(TEAM), "2026-12", &installation).unwrap();
    assert_eq!((with_carry.carried, with_carry.total), (credits("0.01"), credits("1.01")));
    shelf.issue(with_carry.id, &installation).unwrap();
    assert_eq!(shelf.breaches(), []);
}

#[test]
fn simulated_documents_have_a_series_of_their_own() {
    let mut shelf = Shelf::new("UTC", Mode::Showback);
    let mut installation = installation("UTC", Mode::Showback);
    installation.reality = Reality::Simulated { gpus: 4 };
    used(&mut shelf, 1, "2026-11-02T09:00:00Z", "2026-11-02T10:00:00Z", "3");
    let draft = shelf.draft(team(TEAM), "2026-11", &installation).unwrap();
    assert_eq!(shelf.issue(draft.id, &installation).unwrap().issue().unwrap().number, "SPECIMEN-2026-0001");
}
