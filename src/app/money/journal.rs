//! The books as a journal that accounting programs read (hledger, ledger): every posted transfer in whole micro-credits,
//! and at the end an assertion of each account's balance, so that the reader adds it all up for itself. Holds are no
//! postings and are left out. It refuses decimals: a tolerance for fractions hides what does not add up.
use std::fmt::Write as _;

use crate::base::window::Instant;
use crate::domain::money::account::AccountRow;
use crate::domain::money::table::Phase;
use crate::domain::money::transfer::{Link, Transfer};
use crate::store::read::Order;
use crate::store::{Read, StoreError};

/// One micro-credit, as the journal's commodity.
const UNIT: &str = "microcredits";

/// The whole journal, oldest first. Credits count up, as on the team's side of the books.
pub fn journal(view: &impl Read) -> Result<String, StoreError> {
    let mut text =
        format!("; Gristmill ledger, whole micro-credits (1,000,000 are one credit)\ncommodity 1000. {UNIT}\n");
    let accounts = view.list::<AccountRow>(&[], Order::Ascending, usize::MAX)?;
    for row in &accounts {
        let _ = writeln!(text, "account {}", row.account);
    }
    let mut last = Instant::from_millis(0);
    for link in view.list::<Link>(&[], Order::Ascending, usize::MAX)? {
        let transfer: Transfer = view.must(&link.transfer)?;
        last = transfer.at;
        if !matches!(transfer.kind.row().phase, Phase::Post | Phase::PostHeld) {
            continue;
        }
        let amount = transfer.amount.micros();
        let _ = write!(
            text,
            "\n{} ({}) {}  ; {}\n    {}  {amount} {UNIT}\n    {}  -{amount} {UNIT}\n",
            date(transfer.at),
            transfer.sequence,
            transfer.kind.word(),
            transfer.id,
            transfer.credit,
            transfer.debit,
        );
    }
    if !accounts.is_empty() {
        let _ = writeln!(text, "\n{} balances", date(last));
    }
    for row in &accounts {
        let _ = writeln!(text, "    {}  0 {UNIT} = {} {UNIT}", row.account, row.posted().micros());
    }
    Ok(text)
}

/// `2026-11-22`, in UTC.
fn date(instant: Instant) -> jiff::civil::Date {
    let stamp = jiff::Timestamp::from_millisecond(instant.as_millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    jiff::tz::TimeZone::UTC.to_datetime(stamp).date()
}
