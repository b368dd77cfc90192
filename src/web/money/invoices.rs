//! Documents: the list, drafting a month, and one document as a page that says the same as its PDF. It refuses to offer a
//! step that the document's state does not allow.
use askama::Template;
use rocket::http::{ContentType, Header};
use rocket::response::{Redirect, Responder};
use rocket::{State, get, post};

use super::teams_seen;
use crate::app::error::{Answer, AppError};
use crate::app::mill::Mill;
use crate::app::money::invoices;
use crate::base::credits::Credits;
use crate::base::ids::DocumentId;
use crate::base::window::Instant;
use crate::domain::notice::Common;
use crate::web::error::PageError;
use crate::web::figure::Money;
use crate::web::form::{Again, Posted};
use crate::web::format::Zone;
use crate::web::guard::{Admin, SignedIn};
use crate::web::page::{Html, Page, Place, Typed};
use crate::web::site::{self, Frame};
use crate::wire::api::money::{DocumentLineView, DocumentView, DraftRequest};

#[derive(Template)]
#[template(path = "money/invoices.html")]
pub struct InvoicesPage {
    page: Page,
    form: Typed,
    answer: String,
    beneath: String,
    rows: Vec<Row>,
    teams: Vec<(String, String)>,
    may_draft: bool,
}

pub struct Row {
    href: String,
    number: String,
    team: String,
    period: String,
    state: String,
    tone: &'static str,
    issued: String,
    total: String,
    due: String,
}

#[derive(Template)]
#[template(path = "money/invoice.html")]
pub struct InvoicePage {
    page: Page,
    form: Typed,
    id: String,
    headline: String,
    beneath: String,
    kind: &'static str,
    state: String,
    tone: &'static str,
    organisation: String,
    currency: String,
    team: String,
    facts: Vec<(&'static str, String)>,
    lines: Vec<Line>,
    total: String,
    set_off: String,
    due: String,
    simulated: bool,
    may_issue: bool,
    may_settle: bool,
    may_redraft: Option<(String, String)>,
}

pub struct Line {
    text: String,
    href: Option<String>,
    detail: String,
    quantity: String,
    rate: String,
    amount: String,
}

fn tone(state: &str) -> &'static str {
    match state {
        "draft" => "wheat",
        "issued" => "water",
        "settled" => "moss",
        _ => "",
    }
}

fn kind(word: &str) -> &'static str {
    if word == "tax_invoice" { "Tax invoice" } else { "Internal charge" }
}

fn title(document: &DocumentView) -> String {
    match &document.number {
        Some(number) => number.clone(),
        None => format!("Draft, {} {}", document.team_name, document.period),
    }
}

fn show_list(mill: &Mill, who: &SignedIn, form: Typed) -> Result<InvoicesPage, PageError> {
    let Frame { page, zone, money, now, .. } = site::frame(mill, who, Place::Invoices, "Invoices")?;
    let found = invoices::list(&mill.store.read()?, &who.who.actor)?;
    let open: Vec<&DocumentView> = found.iter().filter(|document| document.state == "issued").collect();
    let due = open.iter().map(|document| document.due.micros).fold(0_i64, i64::saturating_add);
    let due = money.alone(Credits::from_micros(due));
    let answer = match (found.len(), open.len()) {
        (0, _) => "No documents yet".to_owned(),
        (_, 0) => "Nothing is open".to_owned(),
        (_, 1) => format!("1 document is open, {due} credits due"),
        (_, many) => format!("{many} documents are open, {due} credits due"),
    };
    let form = if form.value("period").is_empty() { form.with("period", zone.month(now)) } else { form };
    Ok(InvoicesPage {
        page,
        form,
        answer,
        beneath: "What a team used in a month, newest first.".to_owned(),
        rows: found.iter().map(|document| row(document, (&zone, &money), now)).collect(),
        teams: teams_seen(mill, who)?,
        may_draft: who.who.actor.admin,
    })
}

fn row(document: &DocumentView, (zone, money): (&Zone, &Money), now: Instant) -> Row {
    Row {
        href: format!("/invoices/{}", document.id),
        number: document.number.clone().unwrap_or_else(|| "Draft".to_owned()),
        team: document.team_name.clone(),
        period: document.period.clone(),
        tone: tone(&document.state),
        state: document.state.clone(),
        issued: document.issued_at.map(|at| zone.moment(at.0, now)).unwrap_or_default(),
        total: money.alone(document.total.credits()),
        due: money.alone(document.due.credits()),
    }
}

fn show_one(mill: &Mill, who: &SignedIn, id: DocumentId, form: Typed) -> Result<InvoicePage, PageError> {
    let document = invoices::show(&mill.store.read()?, &who.who.actor, id)?;
    let title = title(&document);
    let Frame { page, zone, money, now, installation } = site::frame(mill, who, Place::Invoices, &title)?;
    let admin = who.who.actor.admin;
    let due = money.alone(document.due.credits());
    let headline = match document.state.as_str() {
        "draft" => format!("{due} {} would be due", installation.currency),
        "settled" => format!("Settled: {due} {}", installation.currency),
        _ => format!("{due} {} due", installation.currency),
    };
    let beneath = match (document.state.as_str(), document.due_at) {
        ("draft", _) => "A draft: nothing is posted, and it has no number yet. Look it over, then issue it.".to_owned(),
        ("issued", Some(at)) => format!("{title}, to be settled by {}.", zone.day(at.0)),
        _ => format!("{title}."),
    };
    Ok(InvoicePage {
        page,
        form,
        id: document.id.to_string(),
        headline,
        beneath,
        kind: kind(&document.kind),
        tone: tone(&document.state),
        organisation: installation.organisation.to_string(),
        currency: installation.currency,
        team: document.team_name.clone(),
        facts: facts(&document, &zone, now),
        lines: document.lines.iter().map(|line| draw(line, &document, &money)).collect(),
        total: money.alone(document.total.credits()),
        set_off: money.alone(document.set_off.credits()),
        due,
        simulated: document.simulated,
        may_issue: admin && document.state == "draft",
        may_settle: admin && document.state == "issued",
        may_redraft: (admin && document.state == "draft").then(|| (document.team.to_string(), document.period.clone())),
        state: document.state,
    })
}

fn facts(document: &DocumentView, zone: &Zone, now: Instant) -> Vec<(&'static str, String)> {
    let mut facts = vec![("Team", document.team_name.clone()), ("Period", document.period.clone())];
    let dates = [("Issued", document.issued_at), ("Due", document.due_at), ("Settled", document.settled_at)];
    facts.extend(dates.into_iter().filter_map(|(term, at)| Some((term, zone.moment(at?.0, now)))));
    facts.extend(document.pdf_sha256.clone().map(|hash| ("SHA-256 of the PDF", hash)));
    facts
}

fn draw(line: &DocumentLineView, document: &DocumentView, money: &Money) -> Line {
    let rates = money.exact(document.lines.iter().map(|line| line.rate.credits()));
    Line {
        text: line.text.clone(),
        href: line.booking.map(|id| format!("/bookings/{id}")),
        detail: line.detail.clone(),
        quantity: line.quantity.clone(),
        rate: rates.figure(line.rate.credits()).shown,
        // The lines of a document are rounded when it is drawn up.
        amount: money.rounded().figure(line.amount.credits()).shown,
    }
}

fn id(text: &str) -> Result<DocumentId, Common> {
    text.parse().map_err(|_| Common::NotFound { what: "document" })
}

#[get("/invoices")]
pub fn list(who: SignedIn, mill: &State<Mill>) -> Result<Html<InvoicesPage>, PageError> {
    show_list(mill, &who, Typed::default()).map(Html)
}

#[post("/invoices", data = "<posted>")]
pub async fn draft(who: Admin, mill: &State<Mill>, posted: Posted) -> Result<Redirect, Again<InvoicesPage>> {
    let request = DraftRequest { team: posted.text("team").to_owned(), period: posted.text("period").to_owned() };
    match invoices::draft(mill, &who.0.who.actor, request, posted.key()).await {
        Ok(document) => Ok(Redirect::to(format!("/invoices/{}", document.id))),
        Err(AppError::Refused(why)) => Err(Again::form(&why, show_list(mill, &who.0, posted.refused(&why)))),
        Err(other) => Err(other.into()),
    }
}

#[get("/invoices/<given>")]
pub fn page(who: SignedIn, mill: &State<Mill>, given: &str) -> Result<Html<InvoicePage>, PageError> {
    show_one(mill, &who, id(given)?, Typed::default()).map(Html)
}

fn outcome(
    mill: &Mill,
    who: &Admin,
    id: DocumentId,
    posted: &Posted,
    changed: Answer<DocumentView>,
) -> Result<Redirect, Again<InvoicePage>> {
    match changed {
        Ok(document) => Ok(Redirect::to(format!("/invoices/{}", document.id))),
        Err(AppError::Refused(why)) => Err(Again::form(&why, show_one(mill, &who.0, id, posted.refused(&why)))),
        Err(other) => Err(other.into()),
    }
}

#[post("/invoices/<given>/issue", data = "<posted>")]
pub async fn issue(
    who: Admin,
    mill: &State<Mill>,
    given: &str,
    posted: Posted,
) -> Result<Redirect, Again<InvoicePage>> {
    let id = id(given)?;
    let changed = invoices::issue(mill, &who.0.who.actor, id, posted.key()).await;
    outcome(mill, &who, id, &posted, changed)
}

#[post("/invoices/<given>/settle", data = "<posted>")]
pub async fn settle(
    who: Admin,
    mill: &State<Mill>,
    given: &str,
    posted: Posted,
) -> Result<Redirect, Again<InvoicePage>> {
    let id = id(given)?;
    let changed = invoices::settle(mill, &who.0.who.actor, id, posted.key()).await;
    outcome(mill, &who, id, &posted, changed)
}

/// A file to look at in the browser or to keep, under a name made here.
#[derive(Responder)]
pub struct Pdf {
    bytes: Vec<u8>,
    content_type: ContentType,
    disposition: Header<'static>,
}

#[get("/invoices/<given>/pdf")]
pub fn pdf(who: SignedIn, mill: &State<Mill>, given: &str) -> Result<Pdf, PageError> {
    let file = invoices::pdf(&mill.store.read()?, &who.who.actor, id(given)?)?;
    let disposition = Header::new("content-disposition", format!("inline; filename=\"{}\"", file.name));
    Ok(Pdf { bytes: file.bytes, content_type: ContentType::PDF, disposition })
}
