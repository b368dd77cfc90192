//! Looking after nodes: what they take, maintenance, names, pools, retiring. It refuses a change that touches work without
//! a reason; the mill would.
use super::args::CareVerb;
use super::client::{Client, segment};
use super::failure::Failure;
use super::output::Output;
use crate::base::window::Instant;
use crate::wire::api::Moment;
use crate::wire::api::fleet::{DutyRequest, MaintenanceRequest, MoveRequest, NodeView, RenameRequest, RetireRequest};

pub async fn carry_out(client: &Client, verb: CareVerb, out: &Output) -> Result<(), Failure> {
    match verb {
        CareVerb::Open { node } => duty(client, &node, "open", String::new(), out).await,
        CareVerb::Cordon { node, why } => duty(client, &node, "cordoned", why, out).await,
        CareVerb::Drain { node, why } => duty(client, &node, "draining", why, out).await,
        CareVerb::Maintain { node, from, duration, why } => {
            let zone = client.zone().await?;
            let start = zone.read("--from", &from)?;
            let end = Moment(Instant::plus(start.0, duration));
            let request = MaintenanceRequest { start, end, why };
            let node: NodeView = client.post(&path(&node, "maintenance"), &request).await?;
            let said = format!(
                "{} is in maintenance from {} to {} {}.",
                node.name,
                zone.minute(start),
                zone.minute(end),
                zone.name()
            );
            let ids: Vec<String> = node.maintenance.iter().map(|one| one.id.to_string()).collect();
            out.answer(&node, &ids, || {
                out.line(&said);
                out.progress("What is in the way is moved or told; gristmill node call-off takes it back.");
            });
            Ok(())
        }
        CareVerb::CallOff { node, maintenance } => {
            let path = path(&node, &format!("maintenance/{}/cancel", segment(&maintenance)));
            let node: NodeView = client.post(&path, &serde_json::json!({})).await?;
            let said = format!("The maintenance of {} is called off.", node.name);
            answer(&node, &said, out);
            Ok(())
        }
        CareVerb::Rename { node, name } => {
            let node: NodeView = client.post(&path(&node, "rename"), &RenameRequest { name }).await?;
            answer(&node, &format!("{} is called {} now.", node.id, node.name), out);
            Ok(())
        }
        CareVerb::Move { node, pool } => {
            let node: NodeView = client.post(&path(&node, "move"), &MoveRequest { pool }).await?;
            answer(&node, &format!("{} is in the pool {} now.", node.name, node.pool), out);
            Ok(())
        }
        CareVerb::Retire { node, why } => {
            let node: NodeView = client.post(&path(&node, "retire"), &RetireRequest { why }).await?;
            answer(&node, &format!("{} is retired. Its history stays.", node.name), out);
            Ok(())
        }
    }
}

fn path(node: &str, verb: &str) -> String {
    format!("nodes/{}/{verb}", segment(node))
}

fn answer(node: &NodeView, said: &str, out: &Output) {
    out.answer(node, &[node.id.to_string()], || out.line(said));
}

async fn duty(client: &Client, node: &str, duty: &str, why: String, out: &Output) -> Result<(), Failure> {
    let request = DutyRequest { duty: duty.to_owned(), why };
    let node: NodeView = client.post(&path(node, "duty"), &request).await?;
    let said = match (duty, node.leases) {
        ("open", _) => format!("{} takes bookings again.", node.name),
        (_, 0) => format!("{} takes no new bookings; nothing is booked on it.", node.name),
        (_, 1) => format!("{} takes no new bookings; 1 lease is on it.", node.name),
        (_, leases) => format!("{} takes no new bookings; {leases} leases are on it.", node.name),
    };
    answer(&node, &said, out);
    Ok(())
}
