//! Adding machines, admitting them, taking them out. It refuses to hold a token: it prints the line and forgets it.
use std::time::Duration;

use super::args::{NodeAddArgs, NodeVerb};
use super::client::{Client, segment};
use super::failure::Failure;
use super::output::Output;
use crate::base::preflight::Verdict;
use crate::wire::api::fleet::{JoinTokenRequest, JoinTokenView, NodeView, UpgradeRequest};

/// How often a machine that comes is asked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub async fn carry_out(client: &Client, verb: NodeVerb, out: &Output) -> Result<u8, Failure> {
    match verb {
        NodeVerb::Add(args) => return add(client, args, out).await,
        NodeVerb::Admit { node } => change(client, &node, "admit", out).await?,
        NodeVerb::Revoke { node } => change(client, &node, "revoke", out).await?,
        NodeVerb::Care(verb) => super::care::carry_out(client, verb, out).await?,
        NodeVerb::Upgrade { node, again } => upgrade(client, &node, again, out).await?,
    }
    Ok(0)
}

async fn change(client: &Client, node: &str, verb: &str, out: &Output) -> Result<(), Failure> {
    let path = format!("nodes/{}/{verb}", segment(node));
    let node: NodeView = client.post(&path, &serde_json::json!({})).await?;
    out.answer(&node, &[node.id.to_string()], || out.line(&format!("{} ({}) is {}.", node.name, node.id, node.state)));
    Ok(())
}

async fn upgrade(client: &Client, node: &str, again: bool, out: &Output) -> Result<(), Failure> {
    let path = format!("nodes/{}/upgrade", segment(node));
    let node: NodeView = client.post(&path, &UpgradeRequest { again }).await?;
    out.answer(&node, &[node.id.to_string()], || {
        let when = if node.connected { "It fetches the program now" } else { "It will when it connects" };
        out.line(&format!("{} ({}) is asked to become the mill's version.", node.name, node.id));
        out.progress(&format!("{when}; its leases are not touched. Its page, and gristmill nodes, say how it went."));
    });
    Ok(())
}

/// Exit code 1 when the line ended before a machine joined.
async fn add(client: &Client, args: NodeAddArgs, out: &Output) -> Result<u8, Failure> {
    let request =
        JoinTokenRequest { pool: args.pool.unwrap_or_default(), owner_team: args.owner_team, name: args.name };
    let made: JoinTokenView = client.post("join-tokens", &request).await?;
    let line = made.command.clone().unwrap_or_default();
    let say_line = || {
        out.line(&line);
        out.progress(&format!("Paste it on the machine, as root or with sudo. It works once, until {}.", made.expires));
    };
    if !args.wait {
        out.answer(&made, std::slice::from_ref(&line), say_line);
        return Ok(0);
    }
    // The answer comes at the end; the line is needed now.
    match out.voice {
        super::output::Voice::Table => say_line(),
        super::output::Voice::Json | super::output::Voice::Quiet => eprintln!("{line}"),
    }
    let seen = follow(client, &made, out).await?;
    let ids: Vec<String> = seen.node.iter().map(|node| node.id.to_string()).collect();
    out.answer(&seen, &ids, || out.line(&said(&seen)));
    Ok(u8::from(seen.state != "admitted"))
}

/// Until the machine is admitted, or cannot be any more.
async fn follow(client: &Client, made: &JoinTokenView, out: &Output) -> Result<JoinTokenView, Failure> {
    let path = format!("join-tokens/{}", made.id);
    let mut before = String::new();
    loop {
        let seen: JoinTokenView = client.get(&path).await?;
        if ["admitted", "revoked", "expired"].contains(&seen.state.as_str()) {
            return Ok(seen);
        }
        let said = said(&seen);
        if said != before {
            out.progress(&said);
            before = said;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How far it is, in a sentence.
fn said(seen: &JoinTokenView) -> String {
    let machine = seen.hostname.as_deref().unwrap_or("The machine");
    let node = seen.node.as_ref().map_or(machine, |node| node.name.as_str());
    match seen.state.as_str() {
        "waiting" => "Waiting for the machine.".to_owned(),
        "contacted" => format!("{machine} is here and looks itself over."),
        "checked" => format!("{machine} is checked and joins."),
        "stopped" => {
            let stops = seen.findings.iter().filter(|finding| finding.verdict == Verdict::Stops);
            let why: Vec<String> = stops
                .map(|finding| format!("{}: {} {}", finding.subject.name(), finding.said, finding.remedy))
                .collect();
            format!("{machine} cannot join like this. {}", why.join(" "))
        }
        "pending" => format!("{node} waits to be admitted: gristmill node admit {node}"),
        "admitted" => format!("{node} is a node."),
        "revoked" => format!("{node} was revoked."),
        _ => "The line is over: no machine joined within 15 minutes. Make a new one.".to_owned(),
    }
}
