//! Every kind of damage must be found: each test harms one row of sound books and names what verification must say.
use super::shelf::*;
use crate::app::money::verify::Breach;
use crate::base::ids::BookingId;
use crate::domain::people::installation::Mode;
use crate::store::tables::Table;

/// Books with a settled and an open booking, an issued document and one delivery that waits for the next.
fn sound() -> Shelf {
    let mut shelf = Shelf::new("UTC", Mode::Showback);
    let installation = installation("UTC", Mode::Showback);
    shelf.grant(team(7), credits("10"));
    for (number, start, end) in [
        (1, "2026-11-02T09:00:00Z", "2026-11-02T10:00:00Z"),
        (2, "2026-11-03T09:00:00Z", "2026-11-03T10:00:00Z"),
        (3, "2026-11-04T09:00:00Z", "2026-11-04T10:00:00Z"),
    ] {
        let (id, whole) = (BookingId::from_u128(number), window(start, end));
        shelf.now = whole.end();
        shelf.place(id, team(7), whole, 3, &pin("1.111111")).unwrap();
        if number < 3 {
            shelf.settle(id, &[ready(whole, 3)]);
        }
        if number == 1 {
            let draft = shelf.draft(team(7), "2026-11", &installation).unwrap();
            shelf.issue(draft.id, &installation).unwrap();
        }
    }
    assert_eq!(shelf.breaches(), []);
    shelf
}

fn keys(shelf: &Shelf, table: Table) -> Vec<Vec<u8>> {
    shelf.rows.keys().filter(|(t, _)| *t == table).map(|(_, key)| key.clone()).collect()
}

#[test]
fn a_lost_row_is_found_in_every_table() {
    for table in [
        Table::Accounts,
        Table::Entries,
        Table::Transfers,
        Table::Chain,
        Table::Holds,
        Table::HoldsByBooking,
        Table::OpenHolds,
        Table::Documents,
        Table::DocumentsByTeam,
        Table::Papers,
        Table::Series,
        Table::Unbilled,
        Table::Billed,
        Table::Meta,
        Table::Bookings,
    ] {
        let mut shelf = sound();
        let last = keys(&shelf, table).pop().unwrap_or_else(|| panic!("{table:?} is empty in the sound books"));
        shelf.rows.remove(&(table, last));
        assert_ne!(shelf.breaches(), [], "{table:?}");
    }
}

#[test]
fn a_changed_amount_is_found_in_every_table() {
    for table in [Table::Accounts, Table::Entries, Table::Transfers, Table::Holds, Table::Documents] {
        let shelf = sound();
        for key in keys(&shelf, table) {
            let mut shelf = sound();
            let row = shelf.rows.get_mut(&(table, key)).unwrap();
            let text = String::from_utf8(row[1..].to_vec()).unwrap();
            let changed = text.replacen("3333333", "3333334", 1).replacen("10000000", "10000001", 1);
            if changed == text {
                continue;
            }
            row.truncate(1);
            row.extend(changed.into_bytes());
            assert_ne!(shelf.breaches(), [], "{table:?}: {text}");
        }
    }
}

#[test]
fn a_rewritten_transfer_breaks_the_chain_where_it_stands() {
    let mut shelf = sound();
    let first = keys(&shelf, Table::Transfers).remove(0);
    let row = shelf.rows.get_mut(&(Table::Transfers, first)).unwrap();
    let text = String::from_utf8(row[1..].to_vec()).unwrap().replace("a test", "a jest");
    row.truncate(1);
    row.extend(text.into_bytes());
    assert!(matches!(shelf.breaches().as_slice(), [Breach::ChainBroken { sequence: 1, .. }]), "{:?}", shelf.breaches());
}

#[test]
fn an_exchanged_pdf_is_found() {
    let mut shelf = sound();
    let key = keys(&shelf, Table::Papers).remove(0);
    shelf.rows.insert((Table::Papers, key), b"another".to_vec());
    assert!(matches!(shelf.breaches().as_slice(), [Breach::Document { why, .. }] if why.contains("PDF")));
}
