//! Documents as people handle them: draft, look, issue, fetch, mark as settled. Drafting, issuing and settling are an
//! admin's; a team's members see what their team was charged. It refuses to render an issued document a second time.
use super::{Occasion, document, print};
use crate::app::error::Answer;
use crate::app::ids;
use crate::app::mill::Mill;
use crate::app::people::actor;
use crate::base::credits::Credits;
use crate::base::ids::DocumentId;
use crate::base::secret::{hex, sha256};
use crate::base::window::Instant;
use crate::domain::event::Cause;
use crate::domain::money::invoice::{Document, DocumentState};
use crate::domain::money::period::{self, Period};
use crate::domain::notice::Common;
use crate::domain::people::installation::Installation;
use crate::domain::people::member::Team;
use crate::domain::people::refusal::PeopleRefusal;
use crate::domain::people::rights::Actor;
use crate::store::people::INSTALLATION;
use crate::store::read::Order;
use crate::store::{Changes, Command, IdempotencyKey, Read, Reject, StoreError, View};
use crate::wire::api::money::{DocumentLineView, DocumentView, DraftRequest};

/// A document's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PdfFile {
    /// Safe as a file name: `GM-2026-0001.pdf`.
    pub name: String,
    pub bytes: Vec<u8>,
    pub sha256: String,
}

/// Drafts a team's document for a month; admins only. An existing draft of the month is drawn up anew.
pub async fn draft(
    mill: &Mill,
    who: &Actor,
    request: DraftRequest,
    key: Option<IdempotencyKey>,
) -> Answer<DocumentView> {
    only_admins(who, "draft documents")?;
    let month: Period = request
        .period
        .parse()
        .map_err(|why: period::NotAPeriod| Common::BadField { field: "period", why: why.to_string() })?;
    let team = actor::team(&mill.store.read()?, who, &request.team)?;
    let member = who.member;
    let command = Command::new(Cause::Member(member)).maybe_keyed(key, &("draft", team.id, month.to_string()));
    decide(mill, command, move |view, changes, installation, occasion| {
        let team: Team = view.must(&team.id)?;
        document::draft(view, changes, (&team, month), installation, member, occasion)
    })
    .await
}

/// Issues a draft: from then on it has a number and never changes; admins only.
pub async fn issue(mill: &Mill, who: &Actor, id: DocumentId, key: Option<IdempotencyKey>) -> Answer<DocumentView> {
    only_admins(who, "issue documents")?;
    let command = Command::new(Cause::Member(who.member)).maybe_keyed(key, &("issue", id));
    decide(mill, command, move |view, changes, installation, occasion| {
        // Set inside the deciding run, because only there the number is known and certain.
        let print = |document: &Document| Ok(print::pdf(document, installation).map_err(|error| print::fault(&error))?);
        document::issue(view, changes, id, installation, &print, occasion)
    })
    .await
}

/// Marks an issued document as settled; admins only.
pub async fn settle(mill: &Mill, who: &Actor, id: DocumentId, key: Option<IdempotencyKey>) -> Answer<DocumentView> {
    only_admins(who, "settle documents")?;
    let command = Command::new(Cause::Member(who.member)).maybe_keyed(key, &("settle", id));
    decide(mill, command, move |view, changes, _, occasion| document::settle(view, changes, id, occasion)).await
}

/// The documents that the reader may see, newest first: an admin all, others those of their teams, drafts left out.
pub fn list(view: &impl Read, who: &Actor) -> Answer<Vec<DocumentView>> {
    let installation: Installation = view.must(&INSTALLATION)?;
    let documents = if who.admin {
        view.list::<Document>(&[], Order::Descending, usize::MAX)?
    } else {
        let mut documents = Vec::new();
        for membership in &who.memberships {
            documents.extend(document::of_team(view, membership.team)?);
        }
        documents.sort_by_key(|document| std::cmp::Reverse(document.id));
        documents
    };
    Ok(documents.iter().filter(|document| may_see(who, document)).map(|d| shown(d, &installation)).collect())
}

/// One document.
pub fn show(view: &impl Read, who: &Actor, id: DocumentId) -> Answer<DocumentView> {
    let document = find(view, who, id)?;
    Ok(shown(&document, &view.must::<Installation>(&INSTALLATION)?))
}

/// A document's PDF: of an issued one exactly what was kept, of a draft one made now and marked so.
pub fn pdf(view: &impl Read, who: &Actor, id: DocumentId) -> Answer<PdfFile> {
    let document = find(view, who, id)?;
    let Some(issue) = document.issue() else {
        let installation: Installation = view.must(&INSTALLATION)?;
        let bytes = print::pdf(&document, &installation)?;
        let name = format!("draft-{}-{}.pdf", document.period, document.id.short());
        return Ok(PdfFile { name, sha256: hex(&sha256(&bytes)), bytes });
    };
    let bytes = document::stored_paper(view, id)?.ok_or(StoreError::Missing { table: "papers" })?;
    Ok(PdfFile { name: format!("{}.pdf", issue.number), sha256: issue.pdf_sha256.clone(), bytes })
}

fn only_admins(who: &Actor, what: &'static str) -> Answer<()> {
    if who.admin { Ok(()) } else { Err(PeopleRefusal::Denied { what, who_may: "admins" }.into()) }
}

/// Nobody but admins sees drafts: until it is issued a document is not meant for the team.
fn may_see(who: &Actor, document: &Document) -> bool {
    who.admin || (who.sees(document.team) && document.state != DocumentState::Draft)
}

fn find(view: &impl Read, who: &Actor, id: DocumentId) -> Answer<Document> {
    let document = document::find(view, id)?;
    if may_see(who, &document) { Ok(document) } else { Err(Common::NotFound { what: "document" }.into()) }
}

async fn decide<F>(mill: &Mill, command: Command, step: F) -> Answer<DocumentView>
where
    F: Fn(&View<'_>, &mut Changes, &Installation, &mut Occasion) -> Result<Document, Reject> + Send + 'static,
{
    let cause = command.cause;
    let decide = move |view: &View<'_>, now: Instant| {
        let installation: Installation = view.must(&INSTALLATION)?;
        let mut changes = Changes::new();
        let mut occasion = Occasion { now, cause, ids: &mut ids::fresh };
        let document = step(view, &mut changes, &installation, &mut occasion)?;
        Ok((changes, shown(&document, &installation)))
    };
    Ok(mill.store.write(command, decide).await?)
}

fn shown(document: &Document, installation: &Installation) -> DocumentView {
    let zone = period::zone(&installation.time_zone);
    let mut lines: Vec<DocumentLineView> = document
        .lines
        .iter()
        .map(|line| DocumentLineView {
            text: line.text.clone(),
            detail: print::detail(line, &zone),
            booking: line.booking,
            quantity: line.gpu_hours(),
            rate: line.rate.into(),
            amount: line.amount.into(),
        })
        .collect();
    if !document.carried.is_zero() {
        lines.push(DocumentLineView {
            text: "Rounding carried over from earlier documents".to_owned(),
            detail: String::new(),
            booking: None,
            quantity: "0.000".to_owned(),
            rate: Credits::ZERO.into(),
            amount: document.carried.into(),
        });
    }
    let issue = document.issue();
    DocumentView {
        id: document.id,
        kind: document.kind.word().to_owned(),
        state: document.word().to_owned(),
        number: issue.map(|issue| issue.number.clone()),
        team: document.team,
        team_name: document.team_name.clone(),
        period: document.period.clone(),
        lines,
        total: document.total.into(),
        set_off: document.set_off.into(),
        due: document.due.into(),
        issued_at: issue.map(|issue| issue.at.into()),
        due_at: issue.map(|issue| issue.due_at.into()),
        settled_at: document.settled_at().map(Into::into),
        pdf_sha256: issue.map(|issue| issue.pdf_sha256.clone()),
        simulated: installation.simulated(),
    }
}
