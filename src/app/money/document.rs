//! Documents, step by step: draft, issue, settle. Numbers are given in the issuing run itself, so that they have no gaps;
//! the PDF is made there too, because it carries the number, and kept for ever. It refuses to issue anything but what the
//! draft showed.
use std::collections::BTreeMap;
use std::ops::Bound;

use super::ledger::{Ledger, Posting};
use super::{Occasion, Reject};
use crate::base::credits::Credits;
use crate::base::ids::{BookingId, DocumentId, MemberId, TeamId, TransferId};
use crate::base::secret::{hex, sha256};
use crate::base::text;
use crate::base::window::Window;
use crate::domain::bookings::booking::Booking;
use crate::domain::event::Event;
use crate::domain::money::account::Account;
use crate::domain::money::currency;
use crate::domain::money::invoice::{self, Document, DocumentKind, DocumentState, Issue, Line, Series, Sums};
use crate::domain::money::period::{self, Period};
use crate::domain::money::refusal::MoneyRefusal;
use crate::domain::money::table::{Kind, Parties};
use crate::domain::money::transfer::{About, Transfer};
use crate::domain::notice::Common;
use crate::domain::people::installation::Installation;
use crate::domain::people::member::Team;
use crate::store::changes::Changes;
use crate::store::money::{put_document, unbilled_key};
use crate::store::read::{Order, Overlaid, Read, StoreError, prefix_bounds};
use crate::store::record::Key as _;
use crate::store::tables::Table;

/// Makes the PDF of a document that has its number.
pub type Printer<'a> = &'a dyn Fn(&Document) -> Result<Vec<u8>, Reject>;

/// A team's documents, newest first.
pub fn of_team(view: &impl Read, team: TeamId) -> Result<Vec<Document>, Reject> {
    Ok(view.list_via(Table::DocumentsByTeam, &team.to_bytes(), Order::Descending, usize::MAX)?)
}

/// Drafts a team's document for a month, or draws an existing draft up anew: everything delivered in it that no document
/// lists yet. Drafting the current month covers what has been delivered so far.
pub fn draft(
    view: &impl Read,
    changes: &mut Changes,
    (team, period): (&Team, Period),
    installation: &Installation,
    member: MemberId,
    occasion: &mut Occasion,
) -> Result<Document, Reject> {
    let zone = period::zone(&installation.time_zone);
    let month = period.window(&zone);
    let Ok(passed) = Window::new(month.start(), month.end().min(occasion.now)) else {
        return Err(MoneyRefusal::PeriodNotBegun { period: period.spoken() }.into());
    };
    if team.separate_entity {
        return Err(MoneyRefusal::NoTax { team: team.name.to_string() }.into());
    }
    let seen = Overlaid::new(view, changes);
    let mut ledger = Ledger::open(&seen)?;
    let unlisted = Unlisted::of(&seen, team.id, month, u64::MAX)?;
    if unlisted.here.is_empty() {
        return Err(MoneyRefusal::NothingToInvoice { period: period.spoken() }.into());
    }
    let decimals = currency::decimals(&installation.currency);
    let titles = titles(&seen, &unlisted.here)?;
    let lines = invoice::lines(&unlisted.here, &titles, decimals).map_err(MoneyRefusal::from)?;
    let sums = add_up(&mut ledger, team.id, &lines, decimals, unlisted.elsewhere)?;
    let drafts = of_team(&seen, team.id)?;
    let earlier = drafts.iter().find(|d| d.state == DocumentState::Draft && d.period == period.to_string());
    let id = earlier.map_or_else(|| DocumentId::from_u128((occasion.ids)()), |draft| draft.id);
    let document = Document {
        id,
        kind: DocumentKind::InternalCharge,
        team: team.id,
        team_name: team.name.to_string(),
        cost_centre: team.cost_centre.clone(),
        period: period.to_string(),
        covers: covered(passed, &lines),
        through: ledger.sequence(),
        drafted: occasion.now,
        drafted_by: member,
        lines,
        carried: sums.carried,
        total: sums.total,
        set_off: sums.set_off,
        due: sums.due,
        state: DocumentState::Draft,
    };
    put_document(changes, &document);
    changes.event(occasion.cause, Event::InvoiceDrafted { document: id, team: team.id });
    Ok(document)
}

/// Issues a draft: posts what it leaves due, gives it the next number of its series, and keeps its PDF.
pub fn issue(
    view: &impl Read,
    changes: &mut Changes,
    id: DocumentId,
    installation: &Installation,
    print: Printer,
    occasion: &mut Occasion,
) -> Result<Document, Reject> {
    let seen = Overlaid::new(view, changes);
    let mut document = find(&seen, id)?;
    if let Some(issue) = document.issue() {
        return Err(MoneyRefusal::NotADraft { number: issue.number.clone() }.into());
    }
    let zone = period::zone(&installation.time_zone);
    let period: Period = document.period.parse().map_err(|_| MoneyRefusal::DraftStale)?;
    let unlisted = Unlisted::of(&seen, document.team, period.window(&zone), document.through)?;
    let decimals = currency::decimals(&installation.currency);
    let mut ledger = Ledger::open(&seen)?;
    let lines = invoice::lines(&unlisted.here, &BTreeMap::new(), decimals).map_err(MoneyRefusal::from)?;
    let sums = add_up(&mut ledger, document.team, &lines, decimals, unlisted.elsewhere)?;
    if !same_figures(&lines, &document.lines) || sums.total != document.total {
        return Err(MoneyRefusal::DraftStale.into());
    }
    (document.set_off, document.due) = (sums.set_off, sums.due);
    let parties = Parties { team: Some(document.team), owner: None };
    let rounding = if sums.rounding.is_negative() { Kind::RoundingDown } else { Kind::RoundingUp };
    let magnitude = Credits::from_micros(sums.rounding.micros().abs());
    for (kind, amount) in [(rounding, magnitude), (Kind::Issue, sums.due)] {
        if !amount.is_zero() {
            let about = About { document: Some(id), ..About::default() };
            ledger.post(Posting { kind, parties, amount, about }, occasion)?;
        }
    }
    ledger.finish(changes, occasion);
    for transfer in &unlisted.here {
        changes.unindex(Table::Unbilled, &place_of(document.team, transfer));
        changes.index(Table::Billed, &(id, transfer.id), &transfer.id);
    }
    let series = next_number(&seen, installation.simulated(), Period::of(occasion.now, &zone).year())?;
    let (at, due_at) = (occasion.now, occasion.now.plus(invoice::TERM));
    let issue = Issue { number: invoice::number(&series), at, due_at, pdf_sha256: String::new() };
    document.state = DocumentState::Issued { issue: issue.clone() };
    let pdf = print(&document)?;
    document.state = DocumentState::Issued { issue: Issue { pdf_sha256: hex(&sha256(&pdf)), ..issue } };
    changes.put(&series).blob(Table::Papers, &id, pdf);
    put_document(changes, &document);
    changes.event(occasion.cause, Event::InvoiceIssued { document: id, team: document.team });
    Ok(document)
}

/// Marks an issued document as settled and posts what was due.
pub fn settle(
    view: &impl Read,
    changes: &mut Changes,
    id: DocumentId,
    occasion: &mut Occasion,
) -> Result<Document, Reject> {
    let seen = Overlaid::new(view, changes);
    let mut document = find(&seen, id)?;
    let issue = match &document.state {
        DocumentState::Draft => return Err(MoneyRefusal::NotIssued.into()),
        DocumentState::Settled { issue, .. } => {
            return Err(MoneyRefusal::AlreadySettled { number: issue.number.clone() }.into());
        }
        DocumentState::Issued { issue } => issue.clone(),
    };
    let mut ledger = Ledger::open(&seen)?;
    if !document.due.is_zero() {
        let parties = Parties { team: Some(document.team), owner: None };
        let about = About { document: Some(id), memo: Some(issue.number.clone()), ..About::default() };
        ledger.post(Posting { kind: Kind::Settle, parties, amount: document.due, about }, occasion)?;
    }
    ledger.finish(changes, occasion);
    document.state = DocumentState::Settled { issue, at: occasion.now };
    put_document(changes, &document);
    changes.event(occasion.cause, Event::InvoiceSettled { document: id, team: document.team });
    Ok(document)
}

/// A document that is there, or the answer for one that is not.
pub fn find(view: &impl Read, id: DocumentId) -> Result<Document, Reject> {
    Ok(view.get::<Document>(&id)?.ok_or(Common::NotFound { what: "document" })?)
}

/// The kept PDF of an issued document; `None` for a draft.
pub fn stored_paper(view: &impl Read, id: DocumentId) -> Result<Option<Vec<u8>>, Reject> {
    Ok(view.raw(Table::Papers, &id.bytes())?)
}

/// Deliveries to a team that no document lists.
struct Unlisted {
    /// In the document's month, up to its position of the chain.
    here: Vec<Transfer>,
    /// Sum of all others.
    elsewhere: Credits,
}

impl Unlisted {
    fn of(view: &impl Read, team: TeamId, month: Window, through: u64) -> Result<Self, Reject> {
        let (from, to): (Bound<_>, Bound<_>) = prefix_bounds(&team.to_bytes());
        let mut unlisted = Self { here: Vec::new(), elsewhere: Credits::ZERO };
        for (_, primary) in view.raw_range(Table::Unbilled, from, to, Order::Ascending, usize::MAX)? {
            let id: [u8; 16] = primary.as_slice().try_into().map_err(|_| StoreError::Missing { table: "transfers" })?;
            let transfer: Transfer = view.must(&TransferId::from_u128(u128::from_be_bytes(id)))?;
            let start = transfer.about.window.map_or(transfer.at, Window::start);
            if month.contains(start) && transfer.sequence <= through {
                unlisted.here.push(transfer);
            } else {
                let sum = unlisted.elsewhere.checked_add(transfer.amount);
                unlisted.elsewhere = sum.map_err(MoneyRefusal::from)?;
            }
        }
        Ok(unlisted)
    }
}

fn place_of(team: TeamId, transfer: &Transfer) -> (TeamId, crate::base::window::Instant, TransferId) {
    let start = transfer.about.window.map_or(transfer.at, Window::start);
    unbilled_key(team, start, transfer.id)
}

fn add_up<R: Read>(
    ledger: &mut Ledger<R>,
    team: TeamId,
    lines: &[Line],
    decimals: u32,
    elsewhere: Credits,
) -> Result<Sums, Reject> {
    let posted = ledger.balance(Account::Team(team))?.posted;
    let rounded_before = ledger.balance(Account::Rounding(team))?.posted;
    Ok(invoice::sums(lines, decimals, rounded_before, posted, elsewhere).map_err(MoneyRefusal::from)?)
}

/// From the beginning of what has passed of the month to its end; a booking's last second may lie just before `now`.
fn covered(passed: Window, lines: &[Line]) -> Window {
    let end = lines.iter().map(|line| line.window.end()).fold(passed.end(), Ord::max);
    Window::new(passed.start(), end).unwrap_or(passed)
}

fn same_figures(now: &[Line], drafted: &[Line]) -> bool {
    let figures = |line: &Line| (line.booking, line.own, line.rate, line.gpu_seconds, line.exact, line.amount);
    now.len() == drafted.len() && now.iter().zip(drafted).all(|(a, b)| figures(a) == figures(b))
}

fn next_number(view: &impl Read, simulated: bool, year: i16) -> Result<Series, Reject> {
    let name = invoice::series_name(simulated, year);
    let last = view.get::<Series>(&name)?.map_or(0, |series| series.last);
    Ok(Series { series: name, last: last + 1 })
}

/// What a line is called: the booking's title, and what was booked.
fn titles(view: &impl Read, deliveries: &[Transfer]) -> Result<BTreeMap<BookingId, String>, Reject> {
    let mut titles = BTreeMap::new();
    for id in deliveries.iter().filter_map(|transfer| transfer.about.booking) {
        let std::collections::btree_map::Entry::Vacant(slot) = titles.entry(id) else { continue };
        let title = match view.get::<Booking>(&id)? {
            Some(booking) => {
                let title = text::without_control(&booking.ask.title);
                let title = if title.trim().is_empty() { "Booking" } else { title.trim() };
                format!("{title}, {} × {}", booking.ask.gpus, booking.rate.model)
            }
            None => format!("Booking {}", id.short()),
        };
        slot.insert(title);
    }
    Ok(titles)
}
