//! The machines and their GPUs.
use super::client::Client;
use super::failure::Failure;
use super::output::{Output, Table};
use crate::wire::api::fleet::{GpuView, JoinTokensAnswer, JoinTokensRequest, NodeView};
use crate::wire::api::people::StatusAnswer;

pub async fn nodes(client: &Client, out: &Output) -> Result<(), Failure> {
    let nodes: Vec<NodeView> = client.get("nodes").await?;
    let ids: Vec<String> = nodes.iter().map(|node| node.id.to_string()).collect();
    let mut table = Table::new(&["id", "name", "pool", "state", "connected", ">GPUs", ">free", "note"]);
    for (node, id) in nodes.iter().zip(&ids) {
        let free = node.gpus.iter().filter(|gpu| gpu.state == "free").count();
        table.row(vec![
            id.clone(),
            node.name.clone(),
            node.pool.clone(),
            node.state.clone(),
            if node.connected { "yes" } else { "no" }.to_owned(),
            node.gpus.len().to_string(),
            free.to_string(),
            node.state_note.clone().or_else(|| node.agent.as_ref()?.note.clone()).unwrap_or_default(),
        ]);
    }
    out.answer(&nodes, &ids, || out.table(&table, "No machine has joined yet. Add one: gristmill node add"));
    Ok(())
}

pub async fn gpus(client: &Client, out: &Output) -> Result<(), Failure> {
    let gpus: Vec<GpuView> = client.get("gpus").await?;
    let ids: Vec<String> = gpus.iter().map(|gpu| gpu.id.to_string()).collect();
    if out.voice != super::output::Voice::Table {
        out.answer(&gpus, &ids, || {});
        return Ok(());
    }
    let zone = client.zone().await?;
    let mut table = Table::new(&["node", "unit", "model", ">memory", "state", "until", "note"]);
    for gpu in &gpus {
        table.row(vec![
            gpu.node_name.clone(),
            gpu.name.clone(),
            gpu.model.clone(),
            format!("{} GB", gpu.memory_bytes / 1_000_000_000),
            gpu.state.clone(),
            gpu.until.map(|until| zone.minute(until)).unwrap_or_default(),
            gpu.state_note.clone().unwrap_or_default(),
        ]);
    }
    out.table(&table, "There are no GPUs yet.");
    if gpus.iter().any(|gpu| gpu.until.is_some()) {
        out.progress(&format!("Times in {}.", zone.name()));
    }
    Ok(())
}

/// Tokens with which simulated machines join the mill that this user is signed in to as an admin. A real mill is left alone.
pub async fn tokens_for_simulated(count: u32, pool: Option<&str>) -> Result<JoinTokensAnswer, Failure> {
    let client = Client::signed_in()?;
    let status: StatusAnswer = client.get("status").await?;
    if !status.simulated {
        return Err(Failure::Usage {
            what: "Nothing was simulated.".to_owned(),
            why: format!("The mill at {} is a real one, and only real machines may join it.", client.url()),
            next: "Set up a simulated mill in a directory of its own (gristmill setup --simulated-gpus 8 …) and sign in to \
                   that."
                .to_owned(),
        });
    }
    let request = JoinTokensRequest { count, pool: pool.map(str::to_owned), owner: None, admit: true };
    client.post("join-tokens/many", &request).await
}
