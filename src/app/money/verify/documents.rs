//! Documents: each is the sum of its postings, kept with its paper, numbered without gaps; each delivery is on one document
//! or waits for one.
use std::collections::{BTreeMap, BTreeSet};

use super::books::Books;
use super::{Breach, each, transfer_id};
use crate::base::credits::Credits;
use crate::base::ids::{DocumentId, TeamId, TransferId};
use crate::base::secret::{hex, sha256};
use crate::domain::money::account::Account;
use crate::domain::money::invoice::{Document, Issue, Series};
use crate::store::read::{Read, StoreError};
use crate::store::record::{Key as _, Record};
use crate::store::tables::Table;

/// Answers how many documents there are.
pub fn check(view: &impl Read, books: &Books, breaches: &mut Vec<Breach>) -> Result<u64, StoreError> {
    let listed = listed(view, books, breaches)?;
    let mut count = 0;
    let mut numbers: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    let mut rounding: BTreeMap<TeamId, i128> = BTreeMap::new();
    let mut issued = BTreeSet::new();
    each(view, Table::Documents, |_, value| {
        count += 1;
        let document = Document::decode(value).map_err(StoreError::from)?;
        one(view, books, &document, listed.get(&document.id), &mut |why| {
            breaches.push(Breach::Document { document: document.id, why });
        })?;
        if let Some(issue) = document.issue() {
            issued.insert(document.id);
            let (series, number) = issue.number.rsplit_once('-').unwrap_or_default();
            let number = number.parse().unwrap_or(0);
            if !numbers.entry(series.to_owned()).or_default().insert(number) {
                breaches.push(Breach::Number { series: series.to_owned(), number });
            }
            let sums = books.documents.get(&document.id).copied().unwrap_or_default();
            *rounding.entry(document.team).or_default() += sums.rounding;
        }
        Ok(())
    })?;
    gapless(view, &numbers, breaches)?;
    for document in books.documents.keys().chain(listed.keys()).filter(|id| !issued.contains(id)) {
        breaches
            .push(Breach::Document { document: *document, why: "postings name it, but it is not there or a draft" });
    }
    for row in books.accounts.values() {
        let Account::Rounding(team) = row.account else { continue };
        if i128::from(row.posted().micros()) != rounding.get(&team).copied().unwrap_or(0) {
            breaches.push(Breach::Rounding { account: row.account });
        }
    }
    Ok(count)
}

/// Per document the deliveries it lists; a delivery that is on none must wait for one.
fn listed(
    view: &impl Read,
    books: &Books,
    breaches: &mut Vec<Breach>,
) -> Result<BTreeMap<DocumentId, Vec<TransferId>>, StoreError> {
    let mut on: BTreeMap<DocumentId, Vec<TransferId>> = BTreeMap::new();
    let mut times: BTreeMap<TransferId, u32> = BTreeMap::new();
    each(view, Table::Billed, |key, value| {
        let document: [u8; 16] =
            key.get(..16).and_then(|id| id.try_into().ok()).ok_or(StoreError::Missing { table: "billed" })?;
        let id = transfer_id(value, "billed")?;
        on.entry(DocumentId::from_u128(u128::from_be_bytes(document))).or_default().push(id);
        *times.entry(id).or_default() += 1;
        Ok(())
    })?;
    each(view, Table::Unbilled, |_, value| {
        *times.entry(transfer_id(value, "unbilled")?).or_default() += 1;
        Ok(())
    })?;
    let strangers = times.keys().filter(|id| !books.deliveries.contains_key(id));
    let wrong = books.deliveries.keys().filter(|id| times.get(id) != Some(&1));
    breaches.extend(strangers.chain(wrong).map(|transfer| Breach::Listed { transfer: *transfer }));
    Ok(on)
}

fn one(
    view: &impl Read,
    books: &Books,
    document: &Document,
    listed: Option<&Vec<TransferId>>,
    breach: &mut impl FnMut(&'static str),
) -> Result<(), StoreError> {
    let micros = |amount: Credits| i128::from(amount.micros());
    let lines: i128 = document.lines.iter().map(|line| micros(line.amount)).sum();
    if lines + micros(document.carried) != micros(document.total) {
        breach("its lines do not sum to its total");
    }
    if micros(document.set_off) + micros(document.due) != micros(document.total) {
        breach("what was set off and what is due do not sum to its total");
    }
    if view.raw(Table::DocumentsByTeam, &(document.team, document.id).bytes())?.is_none() {
        breach("its team does not lead to it");
    }
    let Some(issue) = document.issue() else { return Ok(()) };
    let of = |id: &TransferId| books.deliveries.get(id).copied();
    let deliveries: Vec<_> = listed.into_iter().flatten().filter_map(of).collect();
    if deliveries.iter().any(|(team, _)| *team != document.team) {
        breach("it lists another team's deliveries");
    }
    let postings: i128 = deliveries.iter().map(|(_, amount)| micros(*amount)).sum();
    if postings != micros(document.exact()) {
        breach("its lines are not the sum of their postings");
    }
    let sums = books.documents.get(&document.id).copied().unwrap_or_default();
    if sums.charged != micros(document.due) {
        breach("what is due was not posted");
    }
    if sums.rounding != micros(document.total) - postings {
        breach("its rounding was not posted");
    }
    let settled = if document.settled_at().is_some() { sums.charged } else { 0 };
    if sums.settled != settled {
        breach("it was settled for other than what was due");
    }
    paper(view, document, issue, breach)
}

/// The PDF of an issued document is there, and is the one that was issued.
pub fn paper(
    view: &impl Read,
    document: &Document,
    issue: &Issue,
    breach: &mut impl FnMut(&'static str),
) -> Result<(), StoreError> {
    match view.raw(Table::Papers, &document.id.bytes())? {
        Some(pdf) if hex(&sha256(&pdf)) == issue.pdf_sha256 => {}
        Some(_) => breach("its PDF is not the one that was issued"),
        None => breach("its PDF is not there"),
    }
    Ok(())
}

fn gapless(
    view: &impl Read,
    numbers: &BTreeMap<String, BTreeSet<u32>>,
    breaches: &mut Vec<Breach>,
) -> Result<(), StoreError> {
    let mut stored = BTreeSet::new();
    each(view, Table::Series, |_, value| {
        let series = Series::decode(value).map_err(StoreError::from)?;
        let given = numbers.get(&series.series);
        let missing = (1..=series.last).find(|number| !given.is_some_and(|given| given.contains(number)));
        let beyond = given.and_then(|given| given.iter().find(|number| !(1..=series.last).contains(*number))).copied();
        if let Some(number) = missing.or(beyond) {
            breaches.push(Breach::Number { series: series.series.clone(), number });
        }
        stored.insert(series.series);
        Ok(())
    })?;
    let unknown = numbers.iter().filter(|(series, _)| !stored.contains(*series));
    breaches.extend(unknown.map(|(series, _)| Breach::Number { series: series.clone(), number: 0 }));
    Ok(())
}
