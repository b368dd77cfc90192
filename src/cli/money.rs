//! Money: grants, statements, documents, rates.
use super::args::{GrantArgs, InvoiceVerb, RateVerb, StatementArgs};
use super::client::{Client, segment};
use super::failure::Failure;
use super::output::{Output, Table, Voice, amount};
use super::people::team;
use super::upkeep;
use crate::wire::api::money::{
    DocumentView, DraftRequest, GrantAnswer, GrantRequest, RateRequest, RateView, StatementView,
};

pub async fn grant(client: &Client, args: GrantArgs, out: &Output) -> Result<(), Failure> {
    let request = GrantRequest { team: team(client, args.team).await?, amount: args.amount, reason: args.reason };
    let done: GrantAnswer = client.post("grants", &request).await?;
    out.answer(&done, &[done.transfer.to_string()], || {
        out.line(&format!("Granted {} credits; the team can spend {}.", amount(&done.amount), amount(&done.balance)));
    });
    Ok(())
}

pub async fn statement(client: &Client, args: StatementArgs, out: &Output) -> Result<(), Failure> {
    let team = team(client, args.team).await?;
    let before = args.before.map(|before| format!("?before={before}")).unwrap_or_default();
    let statement: StatementView = client.get(&format!("teams/{}/statement{before}", segment(&team))).await?;
    if out.voice != Voice::Table {
        out.answer(&statement, &[], || {});
        return Ok(());
    }
    let zone = client.zone().await?;
    let mut table = Table::new(&["at", "kind", "text", ">amount", ">held", ">available"]);
    for line in &statement.lines {
        table.row(vec![
            zone.minute(line.at),
            line.kind.clone(),
            line.text.clone(),
            amount(&line.amount),
            amount(&line.held_change),
            amount(&line.available_after),
        ]);
    }
    out.facts(&[
        ("team", statement.team_name.clone()),
        ("available", format!("{} credits of 1 {}", amount(&statement.available), statement.currency)),
        ("posted", amount(&statement.posted)),
        ("held", amount(&statement.held)),
    ]);
    out.line("");
    out.table(&table, "Nothing was posted yet.");
    if let Some(next) = statement.next {
        out.progress(&format!("There is more: add --before {next}"));
    }
    out.progress(&format!("Times in {}.", zone.name()));
    Ok(())
}

pub async fn invoice(client: &Client, verb: InvoiceVerb, out: &Output) -> Result<(), Failure> {
    let nothing = serde_json::json!({});
    let document: DocumentView = match verb {
        InvoiceVerb::List => return list(client, out).await,
        InvoiceVerb::Pdf { id, output } => return pdf(client, &id, &output, out).await,
        InvoiceVerb::Draft { team: given, period } => {
            let request = DraftRequest { team: team(client, given).await?, period };
            client.post("invoices", &request).await?
        }
        InvoiceVerb::Issue { id } => client.post(&format!("invoices/{}/issue", segment(&id)), &nothing).await?,
        InvoiceVerb::Settle { id } => client.post(&format!("invoices/{}/settle", segment(&id)), &nothing).await?,
    };
    let id = document.id.to_string();
    out.answer(&document, std::slice::from_ref(&id), || {
        out.line(&id);
        out.progress(&format!(
            "{} is {}: {} for {}, total {}, due {}.",
            document.number.as_deref().unwrap_or("The document"),
            document.state,
            document.team_name,
            document.period,
            amount(&document.total),
            amount(&document.due)
        ));
    });
    Ok(())
}

async fn list(client: &Client, out: &Output) -> Result<(), Failure> {
    let documents: Vec<DocumentView> = client.get("invoices").await?;
    let ids: Vec<String> = documents.iter().map(|document| document.id.to_string()).collect();
    let mut table = Table::new(&["id", "number", "state", "team", "period", ">total", ">due"]);
    for (document, id) in documents.iter().zip(&ids) {
        table.row(vec![
            id.clone(),
            document.number.clone().unwrap_or_else(|| "-".to_owned()),
            document.state.clone(),
            document.team_name.clone(),
            document.period.clone(),
            amount(&document.total),
            amount(&document.due),
        ]);
    }
    out.answer(&documents, &ids, || {
        out.table(&table, "No documents yet. Draft one: gristmill invoice draft --team TEAM --period 2026-11");
    });
    Ok(())
}

/// What `invoice pdf --json` says.
#[derive(serde::Serialize)]
struct Written<'a> {
    file: std::borrow::Cow<'a, str>,
    bytes: u64,
}

async fn pdf(client: &Client, id: &str, file: &std::path::Path, out: &Output) -> Result<(), Failure> {
    let answer = client.open(&format!("invoices/{}/pdf", segment(id))).await?;
    let bytes = upkeep::write(client, answer, file, upkeep::Existing::Replace).await?;
    let written = Written { file: file.to_string_lossy(), bytes };
    out.answer(&written, &[], || out.line(&format!("Wrote {} ({bytes} bytes).", file.display())));
    Ok(())
}

/// Which version holds, or of which rate it is a part.
fn version(rate: &RateView) -> String {
    rate.part.clone().unwrap_or_else(|| rate.version.to_string())
}

pub async fn rate(client: &Client, verb: RateVerb, out: &Output) -> Result<(), Failure> {
    match verb {
        RateVerb::List => {
            let rates: Vec<RateView> = client.get("rates").await?;
            let mut table = Table::new(&["model", ">per GPU and hour", ">version", "since"]);
            for rate in &rates {
                let since = rate.since.to_string();
                table.row(vec![rate.model.clone(), amount(&rate.per_gpu_hour), version(rate), since]);
            }
            let models: Vec<String> = rates.iter().map(|rate| rate.model.clone()).collect();
            out.answer(&rates, &models, || out.table(&table, "No rates yet: no GPU has joined."));
        }
        RateVerb::Set { model, per_gpu_hour } => {
            let rate: RateView = client.post("rates", &RateRequest { model, per_gpu_hour }).await?;
            out.answer(&rate, std::slice::from_ref(&rate.model), || {
                out.line(&format!(
                    "{} costs {} credits per GPU and hour from now on (version {}).",
                    rate.model,
                    amount(&rate.per_gpu_hour),
                    rate.version
                ));
            });
        }
    }
    Ok(())
}
