//! Documents: what was delivered to a team in a month, in lines that are rounded to the currency's minor unit and then
//! summed. What rounding left over is carried to the team's next document, so that all documents together say what was
//! posted. It refuses to list a delivery twice and to change what was issued.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::table::Kind;
use super::transfer::Transfer;
use crate::base::credits::{AmountError, Credits};
use crate::base::ids::{BookingId, DocumentId, MemberId, TeamId};
use crate::base::window::{Instant, Span, Window};

/// How long after issuing a document is due.
pub const TERM: Span = Span::from_days(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentKind {
    /// Between cost centres, outside the scope of tax.
    InternalCharge,
}

impl DocumentKind {
    pub const fn word(self) -> &'static str {
        match self {
            Self::InternalCharge => "internal_charge",
        }
    }
}

/// A document of money for one team and one month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    pub id: DocumentId,
    pub kind: DocumentKind,
    pub team: TeamId,
    /// As the team was called when it was drafted.
    pub team_name: String,
    pub cost_centre: Option<String>,
    /// Such as `2026-11`.
    pub period: String,
    /// The stretch it speaks of: the month, or what of it had passed when it was drafted.
    pub covers: Window,
    /// It lists what was posted up to this position of the chain; what came later is for the next document.
    pub through: u64,
    pub drafted: Instant,
    pub drafted_by: MemberId,
    pub lines: Vec<Line>,
    /// Carried over from rounding the team's earlier documents.
    pub carried: Credits,
    /// Lines and what was carried.
    pub total: Credits,
    /// What the team's credits covered; of a draft, what they would cover now.
    pub set_off: Credits,
    /// Total less what was set off.
    pub due: Credits,
    pub state: DocumentState,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum DocumentState {
    Draft,
    Issued { issue: Issue },
    Settled { issue: Issue, at: Instant },
}

/// What issuing fixed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    pub number: String,
    pub at: Instant,
    pub due_at: Instant,
    /// Of the stored PDF, in hexadecimal.
    pub pdf_sha256: String,
}

/// What one booking used at one rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub text: String,
    pub booking: Option<BookingId>,
    /// From its first delivered second to its last.
    pub window: Window,
    pub gpu_seconds: i64,
    pub rate: Credits,
    /// By the team's own node.
    pub own: bool,
    /// Sum of the postings.
    pub exact: Credits,
    /// The same, rounded half up to the minor unit.
    pub amount: Credits,
}

impl Line {
    /// GPU hours with three decimals, rounded half up.
    pub fn gpu_hours(&self) -> String {
        gpu_hours(self.gpu_seconds)
    }
}

/// GPU hours with three decimals, rounded half up.
pub fn gpu_hours(gpu_seconds: i64) -> String {
    let thousandths = (i128::from(gpu_seconds) * 2000 + 3600) / 7200;
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
}

impl Document {
    pub const fn issue(&self) -> Option<&Issue> {
        match &self.state {
            DocumentState::Draft => None,
            DocumentState::Issued { issue } | DocumentState::Settled { issue, .. } => Some(issue),
        }
    }

    pub const fn settled_at(&self) -> Option<Instant> {
        match &self.state {
            DocumentState::Settled { at, .. } => Some(*at),
            _ => None,
        }
    }

    pub const fn word(&self) -> &'static str {
        match &self.state {
            DocumentState::Draft => "draft",
            DocumentState::Issued { .. } => "issued",
            DocumentState::Settled { .. } => "settled",
        }
    }

    /// Sum of the postings it lists.
    pub fn exact(&self) -> Credits {
        self.lines.iter().map(|line| line.exact).sum()
    }
}

/// Gathers deliveries into lines: one per booking and rate, in order of their first delivered second. `titles` names the
/// bookings.
pub fn lines(
    deliveries: &[Transfer],
    titles: &BTreeMap<BookingId, String>,
    decimals: u32,
) -> Result<Vec<Line>, AmountError> {
    let mut gathered: BTreeMap<(Option<BookingId>, bool, Credits), Line> = BTreeMap::new();
    for transfer in deliveries {
        let about = &transfer.about;
        let own = transfer.kind == Kind::OwnDelivery;
        let rate = about.rate.unwrap_or_default();
        let window = match about.window {
            Some(window) => window,
            None => Window::lasting(transfer.at, Span::from_millis(1)).map_err(|_| AmountError::TooLarge)?,
        };
        let unbooked = transfer.kind == Kind::Unbooked;
        let nameless = if unbooked { "GPU time outside bookings" } else { "GPU time" };
        let text = || about.booking.and_then(|id| titles.get(&id)).cloned().unwrap_or_else(|| nameless.to_owned());
        let line = gathered.entry((about.booking, own, rate)).or_insert_with(|| Line {
            text: text(),
            booking: about.booking,
            window,
            gpu_seconds: 0,
            rate,
            own,
            exact: Credits::ZERO,
            amount: Credits::ZERO,
        });
        line.window = Window::new(line.window.start().min(window.start()), line.window.end().max(window.end()))
            .unwrap_or(line.window);
        let gpu_seconds = about.gpu_seconds.unwrap_or(0);
        line.gpu_seconds = line.gpu_seconds.checked_add(gpu_seconds).ok_or(AmountError::TooLarge)?;
        line.exact = line.exact.checked_add(transfer.amount)?;
    }
    let mut lines: Vec<Line> = gathered.into_values().collect();
    for line in &mut lines {
        line.amount = line.exact.rounded(decimals);
    }
    lines.sort_by_key(|line| (line.window.start(), line.booking));
    Ok(lines)
}

/// The sums of a document and what issuing it posts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sums {
    pub carried: Credits,
    pub total: Credits,
    /// Document less postings: above zero it was rounded up.
    pub rounding: Credits,
    pub set_off: Credits,
    pub due: Credits,
}

/// Adds a document up. `rounded_before` is what the team's earlier documents say beyond what was posted; `posted` is the
/// team's balance, and `unlisted` what was delivered to it that no document lists, this one neither. Credits cover what is
/// listed first; what is due is rounded down to the minor unit, and the rest stays on the account.
pub fn sums(
    lines: &[Line],
    decimals: u32,
    rounded_before: Credits,
    posted: Credits,
    unlisted: Credits,
) -> Result<Sums, AmountError> {
    let add = |sum: Result<Credits, AmountError>, amount: Credits| sum?.checked_add(amount);
    let exact = lines.iter().map(|line| line.exact).fold(Ok(Credits::ZERO), add)?;
    let rounded = lines.iter().map(|line| line.amount).fold(Ok(Credits::ZERO), add)?;
    let carried = rounded_before.negated().rounded(decimals);
    let total = rounded.checked_add(carried)?;
    let rounding = total.checked_sub(exact)?;
    let uncovered = posted.checked_sub(rounding)?.checked_add(unlisted)?.negated();
    let owed = uncovered.clamp(Credits::ZERO, total.max(Credits::ZERO));
    let step = 10_i64.pow(6_u32.saturating_sub(decimals));
    let due = Credits::from_micros(owed.micros() / step * step);
    Ok(Sums { carried, total, rounding, set_off: total.checked_sub(due)?, due })
}

/// How far a series of document numbers has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// Such as `GM-2026`.
    pub series: String,
    /// The last number given; numbers start at 1 and have no gaps.
    pub last: u32,
}

/// The series of a year; simulated installations have their own.
pub fn series_name(simulated: bool, year: i16) -> String {
    format!("{}-{year:04}", if simulated { "SPECIMEN" } else { "GM" })
}

/// `GM-2026-0001`.
pub fn number(series: &Series) -> String {
    format!("{}-{:04}", series.series, series.last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn credits(text: &str) -> Credits {
        text.parse().unwrap()
    }

    fn line(exact: &str, decimals: u32) -> Line {
        let exact = credits(exact);
        Line {
            text: String::new(),
            booking: None,
            window: Window::lasting(Instant::from_seconds(0), Span::from_seconds(1)).unwrap(),
            gpu_seconds: 1,
            rate: Credits::ZERO,
            own: false,
            exact,
            amount: exact.rounded(decimals),
        }
    }

    /// lines | decimals | rounded before | posted | unlisted → carried, total, rounding, set off, due
    #[test]
    #[rustfmt::skip]
    fn sums_by_the_table() {
        for (lines, decimals, before, posted, unlisted, expected) in [
            // Grants cover all of it.
            (vec!["20"],             2, "0",      "980",    "0",  ["0.00", "20.00", "0.00", "20.00", "0.00"]),
            // No grants: all is due.
            (vec!["20"],             2, "0",      "-20",    "0",  ["0.00", "20.00", "0.00", "0.00", "20.00"]),
            // Grants cover a part; what another month delivered is left for its own document.
            (vec!["20"],             2, "0",      "-25",    "10", ["0.00", "20.00", "0.00", "5.00", "15.00"]),
            // Each line is rounded half up, then summed.
            (vec!["0.005", "0.005"], 2, "0",      "-0.01",  "0",  ["0.00", "0.02", "0.01", "0.00", "0.02"]),
            (vec!["0.004", "0.004"], 2, "0",      "-0.008", "0",  ["0.00", "0.00", "-0.008", "0.00", "0.00"]),
            // Earlier documents said 0.008 too little.
            (vec!["1"],              2, "-0.008", "-1"    , "0",  ["0.01", "1.01", "0.01", "0.00", "1.01"]),
            // They said 0.012 too much.
            (vec!["1"],              2, "0.012",  "-1",     "0",  ["-0.01", "0.99", "-0.01", "0.00", "0.99"]),
            // A currency without a minor unit.
            (vec!["1.5", "1.4"],     0, "0",      "-2.9",   "0",  ["0.00", "3.00", "0.10", "0.00", "3.00"]),
            // A grant of less than a minor unit: what is due is rounded down.
            (vec!["5"],              2, "0",      "-4.999", "0",  ["0.00", "5.00", "0.00", "0.01", "4.99"]),
        ] {
            let lines: Vec<Line> = lines.iter().map(|exact| line(exact, decimals)).collect();
            let Sums { carried, total, rounding, set_off, due } =
                sums(&lines, decimals, credits(before), credits(posted), credits(unlisted)).unwrap();
            assert_eq!([carried, total, rounding, set_off, due], expected.map(credits), "{lines:?} {posted} {unlisted}");
        }
    }

    #[test]
    fn hours_are_rounded_half_up() {
        for (gpu_seconds, hours) in
            [(0, "0.000"), (1, "0.000"), (2, "0.001"), (5400, "1.500"), (7199, "2.000"), (7196, "1.999")]
        {
            let line = Line { gpu_seconds, ..line("0", 2) };
            assert_eq!(line.gpu_hours(), hours, "{gpu_seconds}");
        }
    }

    proptest! {
        /// Over any number of documents, all totals together stay within a minor unit's half per line of what was posted,
        /// and what was left over is exactly what the rounding account carries.
        #[test]
        fn rounding_is_never_lost(months in proptest::collection::vec(proptest::collection::vec(0i64..30_000, 1..20), 1..12)) {
            let (mut rounded_before, mut documents, mut postings) = (Credits::ZERO, 0i64, 0i64);
            for month in &months {
                let lines: Vec<Line> = month.iter().map(|micros| line(&Credits::from_micros(*micros).to_decimal(6), 2)).collect();
                let sums = sums(&lines, 2, rounded_before, Credits::ZERO, Credits::ZERO).unwrap();
                documents += sums.total.micros();
                postings += month.iter().sum::<i64>();
                rounded_before = rounded_before.checked_add(sums.rounding).unwrap();
                prop_assert_eq!(rounded_before.micros(), documents - postings);
                prop_assert!(rounded_before.micros().abs() <= 5_000 * (lines.len() as i64 + 1));
                prop_assert_eq!(sums.total, sums.set_off.checked_add(sums.due).unwrap());
            }
        }
    }
}
