//! The health of GPUs. The exit code is the verdict, apart from the codes of failures: 0 nothing speaks against them, 7
//! something is watched or out, 8 somebody has to look. It refuses to call anything healthy.
use super::client::{Client, segment};
use super::failure::Failure;
use super::output::{Output, Table, Voice};
use crate::wire::api::health::{FleetHealthView, GpuHealthView, NodeHealthView};

pub async fn health(client: &Client, given: Option<&str>, out: &Output) -> Result<u8, Failure> {
    match given {
        None => fleet(client, out).await,
        Some(given) => one(client, given, out).await,
    }
}

fn code(verdict: &str) -> u8 {
    match verdict {
        "fine" => 0,
        "watch" => 7,
        _ => 8,
    }
}

fn table(gpus: &[&GpuHealthView]) -> Table {
    let mut table = Table::new(&["node", ">GPU", "state", "last suite", "why", "what to do"]);
    for gpu in gpus {
        table.row(vec![
            gpu.node_name.clone(),
            gpu.index.to_string(),
            gpu.state.replace('_', " "),
            gpu.last_check.clone().unwrap_or_else(|| "none was run".to_owned()),
            gpu.needs_person.clone().unwrap_or_else(|| gpu.why.clone()),
            gpu.remedy.clone().unwrap_or_default(),
        ]);
    }
    table
}

async fn fleet(client: &Client, out: &Output) -> Result<u8, Failure> {
    let shown: FleetHealthView = client.get("health").await?;
    let ids: Vec<String> = shown.gpus.iter().map(|gpu| gpu.gpu.to_string()).collect();
    let gpus: Vec<&GpuHealthView> = shown.gpus.iter().collect();
    out.answer(&shown, &ids, || out.table(&table(&gpus), "Nothing was seen of any GPU."));
    if out.voice == Voice::Table {
        out.progress(&format!("Of {} further GPUs nothing was ever seen.", shown.untouched));
    }
    Ok(code(&shown.verdict))
}

async fn one(client: &Client, given: &str, out: &Output) -> Result<u8, Failure> {
    let shown: NodeHealthView = client.get(&format!("health/{}", segment(given))).await?;
    let ids: Vec<String> = shown.gpus.iter().map(|detail| detail.gpu.gpu.to_string()).collect();
    let gpus: Vec<&GpuHealthView> = shown.gpus.iter().map(|detail| &detail.gpu).collect();
    out.answer(&shown, &ids, || {
        out.table(&table(&gpus), "It has no GPUs.");
        let mut seen = Table::new(&[">GPU", "when", "what", "counts as"]);
        for detail in &shown.gpus {
            for one in detail.evidence.iter().take(20) {
                seen.row(vec![detail.gpu.index.to_string(), one.at.to_string(), one.what.clone(), one.fault.clone()]);
            }
        }
        out.table(&seen, "Nothing was seen of them.");
    });
    if let (Some(detail), Voice::Table) = (shown.gpus.first(), out.voice) {
        let score = &detail.score;
        out.progress(&format!(
            "Score of {}: {:.3}, from {:.2} failures.",
            score.node_name, score.chance, score.failures
        ));
    }
    if let Some(why) = shown.kernel_log.as_ref().filter(|_| out.voice == Voice::Table) {
        out.progress(&format!("Xids come from the driver alone: {why}."));
    }
    Ok(code(&shown.verdict))
}
