//! A document of money as paper: what finance receives, files and audits. Takes finished texts and amounts and sets them
//! as an archival PDF (PDF/A-3u, fonts embedded, text extractable) whose bytes depend on nothing but the input. It refuses
//! to print what does not add up, to work out any price, tax or date, and to read the clock.
mod face;
mod flow;
mod head;
mod sheet;
mod table;
mod totals;

use crate::base::credits::Credits;
use crate::base::window::Instant;

#[cfg(test)]
mod tests;

/// What sort of document this is; it decides the title and the names of the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Between cost centres of one organisation, outside the scope of tax.
    InternalCharge,
    /// To a separate legal entity; taxes arrive as [`Paper::additions`].
    TaxInvoice,
    /// Corrects an issued document, which [`Paper::references`] names; amounts are positive when they favour the recipient.
    CreditNote,
}

impl Kind {
    pub const fn title(self) -> &'static str {
        match self {
            Self::InternalCharge => "Internal charge",
            Self::TaxInvoice => "Invoice",
            Self::CreditNote => "Credit note",
        }
    }

    const fn total(self) -> &'static str {
        match self {
            Self::InternalCharge | Self::TaxInvoice => "Total",
            Self::CreditNote => "Total credited",
        }
    }

    const fn outstanding(self) -> &'static str {
        match self {
            Self::InternalCharge => "Outstanding",
            Self::TaxInvoice => "Amount due",
            Self::CreditNote => "Remaining credit",
        }
    }
}

/// Who issues or receives the document, as it should stand on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party {
    pub name: String,
    /// Street, place, tax number, contact: one entry per line.
    pub address: Vec<String>,
    pub cost_centre: Option<String>,
}

/// One delivered thing and its price.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    pub description: String,
    /// Smaller text under the description; may be empty.
    pub detail: String,
    /// Finished figure, such as `12.500`.
    pub quantity: String,
    /// Such as `GPU h`.
    pub unit: String,
    /// Finished figure per unit.
    pub rate: String,
    /// Already rounded to the currency's minor unit.
    pub amount: Credits,
}

/// Lines that belong together, such as those of one booking or one pool. A title brings a subtotal with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub title: Option<String>,
    pub lines: Vec<Line>,
}

/// A named amount under the lines. The amount carries its sign: what reduces the sum is negative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub label: String,
    pub amount: Credits,
}

/// Another document or matter that this one points to, such as `Corrects` / `IC-2026-000007 of 3 November 2026`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    pub label: String,
    pub text: String,
}

/// The whole document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paper {
    pub kind: Kind,
    /// From a simulated installation: every page says SPECIMEN.
    pub simulated: bool,
    /// `None` marks every page DRAFT.
    pub number: Option<String>,
    pub issuer: Party,
    pub recipient: Party,
    /// Such as `November 2026 (Europe/Berlin)`.
    pub period: String,
    /// Such as `1 December 2026`; `None` on a draft.
    pub issued: Option<String>,
    pub due: Option<String>,
    /// ISO 4217 code.
    pub currency: String,
    /// Decimal places of the currency's minor unit.
    pub decimals: usize,
    pub groups: Vec<Group>,
    /// Between the lines and the total: taxes, rounding carried over.
    pub additions: Vec<Row>,
    /// Lines plus additions.
    pub total: Credits,
    /// What the total was set off against: grants, prepayments. Usually negative.
    pub set_off: Vec<Row>,
    /// Total plus set-off: what is left to pay or to settle.
    pub outstanding: Credits,
    /// How and when the outstanding amount is settled.
    pub settlement: Option<String>,
    pub references: Vec<Reference>,
    pub notes: Vec<String>,
    /// Small print at the foot of every page; two lines at most.
    pub footer: String,
    /// RFC 3066 tag of the texts given, such as `en`.
    pub language: String,
    /// When the document was issued, or the draft made: the creation date inside the file.
    pub as_of: Instant,
}

/// Why a document was not printed.
#[derive(Debug, thiserror::Error)]
pub enum PaperError {
    /// The caller's figures contradict each other; nothing is printed.
    #[error(
        "the document does not add up: its {what} is stated as {stated} but its parts make {computed}; nothing was printed"
    )]
    DoesNotAddUp { what: &'static str, stated: String, computed: String },
    #[error("the amounts of the document add up to more than can be counted; nothing was printed")]
    TooLarge(#[from] crate::base::credits::AmountError),
    /// A typeface inside the program is damaged: a fault of the build.
    #[error("the typeface {name} inside the program cannot be read; install an intact build")]
    Face { name: &'static str },
    #[error("the document could not be written as PDF: {cause}")]
    Pdf { cause: String },
}

/// Sets the document. The same input gives the same bytes within one build; keep what was issued, other builds may differ.
pub fn render(paper: &Paper) -> Result<Vec<u8>, PaperError> {
    adds_up(paper)?;
    let faces = face::Faces::shared()?;
    let mut flow = flow::Flow::new(faces);
    head::first_page(&mut flow, paper);
    table::lines(&mut flow, paper)?;
    totals::sums(&mut flow, paper)?;
    totals::closing_texts(&mut flow, paper);
    head::every_page(&mut flow, paper);
    sheet::print(faces, &flow.into_pages(), paper)
}

/// Sum of the lines, before additions.
fn net(paper: &Paper) -> Result<Credits, PaperError> {
    let amounts = paper.groups.iter().flat_map(|group| &group.lines).map(|line| line.amount);
    plus(Credits::ZERO, amounts)
}

fn plus(start: Credits, amounts: impl IntoIterator<Item = Credits>) -> Result<Credits, PaperError> {
    amounts.into_iter().try_fold(start, |sum, amount| Ok(sum.checked_add(amount)?))
}

fn adds_up(paper: &Paper) -> Result<(), PaperError> {
    let rows = |rows: &[Row]| rows.iter().map(|row| row.amount).collect::<Vec<_>>();
    let total = plus(net(paper)?, rows(&paper.additions))?;
    let outstanding = plus(paper.total, rows(&paper.set_off))?;
    for (what, stated, computed) in
        [("total", paper.total, total), ("outstanding amount", paper.outstanding, outstanding)]
    {
        if stated != computed {
            let (stated, computed) = (stated.to_decimal(paper.decimals), computed.to_decimal(paper.decimals));
            return Err(PaperError::DoesNotAddUp { what, stated, computed });
        }
    }
    Ok(())
}

/// An amount as documents write it: `-1,234.50`.
fn figure(amount: Credits, decimals: usize) -> String {
    let plain = amount.to_decimal(decimals);
    let (sign, digits) = plain.strip_prefix('-').map_or(("", plain.as_str()), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, fraction)| (whole, Some(fraction)));
    let mut grouped = String::from(sign);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    fraction.map_or(grouped.clone(), |fraction| format!("{grouped}.{fraction}"))
}
