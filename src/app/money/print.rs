//! From a document to its paper: the words around the figures. It refuses to compute any figure.
use super::paper::{self, Group, Line as PaperLine, Paper, Party, Row};
use crate::app::error::AppError;
use crate::base::credits::Credits;
use crate::domain::money::currency;
use crate::domain::money::invoice::{Document, DocumentKind, Line};
use crate::domain::money::period::{self, Period};
use crate::domain::money::refusal::MoneyRefusal;
use crate::domain::people::installation::Installation;

/// Sets a document as PDF. A draft is marked as one on every page.
pub fn pdf(document: &Document, installation: &Installation) -> Result<Vec<u8>, paper::PaperError> {
    paper::render(&paper(document, installation))
}

/// A paper that cannot be set is a fault of the mill, not of whoever asked; nothing is issued then.
pub fn fault(error: &paper::PaperError) -> MoneyRefusal {
    MoneyRefusal::Inconsistent { what: error.to_string() }
}

impl From<paper::PaperError> for AppError {
    fn from(error: paper::PaperError) -> Self {
        Self::outside("setting the document", error)
    }
}

fn paper(document: &Document, installation: &Installation) -> Paper {
    let zone = period::zone(&installation.time_zone);
    let date = |instant| period::spoken_date(instant, &zone);
    let issue = document.issue();
    let month = document.period.parse::<Period>();
    let name = month.map_or_else(|_| document.period.clone(), Period::spoken);
    let whole = month.is_ok_and(|month| month.window(&zone) == document.covers);
    let mut notes = vec![format!(
        "Covers {} to {} ({}). Time is billed by the second, at the rate each booking was quoted.",
        period::spoken_minute(document.covers.start(), &zone),
        period::spoken_minute(document.covers.end(), &zone),
        installation.time_zone,
    )];
    if !whole {
        notes.push("The month was not over; what is delivered later follows on the next document.".to_owned());
    }
    if installation.simulated() {
        notes.push("SPECIMEN: from a simulated installation. Nothing was delivered and nothing is owed.".to_owned());
    }
    Paper {
        kind: match document.kind {
            DocumentKind::InternalCharge => paper::Kind::InternalCharge,
        },
        simulated: installation.simulated(),
        number: issue.map(|issue| issue.number.clone()),
        issuer: Party {
            name: installation.organisation.to_string(),
            address: installation.address.clone(),
            cost_centre: None,
        },
        recipient: Party {
            name: document.team_name.clone(),
            address: Vec::new(),
            cost_centre: document.cost_centre.clone(),
        },
        period: format!("{name} ({})", installation.time_zone),
        issued: issue.map(|issue| date(issue.at)),
        due: issue.filter(|_| !document.due.is_zero()).map(|issue| date(issue.due_at)),
        currency: installation.currency.clone(),
        decimals: currency::decimals(&installation.currency) as usize,
        groups: vec![Group { title: None, lines: document.lines.iter().map(|l| line(l, &zone)).collect() }],
        additions: row("Rounding carried over from earlier documents", document.carried),
        total: document.total,
        set_off: row("Covered by the team's credits", document.set_off.negated()),
        outstanding: document.due,
        settlement: Some(settlement(document)),
        references: Vec::new(),
        notes,
        footer: format!("{} · internal charge, outside the scope of tax", installation.organisation),
        language: "en".to_owned(),
        as_of: issue.map_or(document.drafted, |issue| issue.at),
    }
}

fn settlement(document: &Document) -> String {
    match document.due.is_zero() {
        true => "Nothing is left to settle.".to_owned(),
        false => "Settled by transfer between cost centres.".to_owned(),
    }
}

fn row(label: &str, amount: Credits) -> Vec<Row> {
    if amount.is_zero() { Vec::new() } else { vec![Row { label: label.to_owned(), amount }] }
}

fn line(line: &Line, zone: &jiff::tz::TimeZone) -> PaperLine {
    PaperLine {
        description: line.text.clone(),
        detail: detail(line, zone),
        quantity: line.gpu_hours(),
        unit: "GPU h".to_owned(),
        rate: line.rate.to_decimal(2),
        amount: line.amount,
    }
}

/// From when to when, and whose booking by number.
pub fn detail(line: &Line, zone: &jiff::tz::TimeZone) -> String {
    let mut detail = period::spoken_window(line.window, zone);
    if let Some(booking) = line.booking {
        detail.push_str(&format!(" · booking {}", booking.short()));
    }
    if line.own {
        detail.push_str(" · on the team's own node");
    }
    detail
}
