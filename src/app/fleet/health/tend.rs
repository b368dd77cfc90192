//! What happens to GPUs by the passing of time: draining becomes quarantine when the last lease is over, probation ends, and
//! what is booked on a GPU that is out is moved, told of, or given back. Each step is a transaction that looks anew. It
//! refuses to end work that runs.
use std::time::Duration;

use super::note::Noting;
use crate::app::bookings::{fault, leases, relocate};
use crate::app::error::Answer;
use crate::app::mill::Mill;
use crate::base::ids::UnitId;
use crate::base::window::Instant;
use crate::clock;
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::health::{GpuHealth, Signal, Stage};
use crate::domain::fleet::node::Unit;
use crate::store::command::Command;
use crate::store::read::{Order, Read};
use crate::store::view::View;

/// How often it is looked without a commit: starts come near as time passes.
const TEND_EVERY: Duration = Duration::from_secs(60);

/// Tends for as long as the mill runs.
pub async fn keep(mill: Mill) {
    let mut commits = mill.store.subscribe();
    loop {
        if let Err(error) = tend(&mill, clock::now()).await {
            tracing::warn!(%error, "GPUs that are out of service could not be tended; it is tried again");
        }
        let wake = async {
            loop {
                match commits.recv().await {
                    Ok(told) if !told.events.iter().any(|recorded| concerns(&recorded.event)) => {}
                    Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => return,
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        tokio::select! {
            () = wake => {}
            () = tokio::time::sleep(TEND_EVERY) => {}
        }
    }
}

const fn concerns(event: &Event) -> bool {
    matches!(event, Event::GpuMoved { .. })
}

/// One round; answers how many GPUs and bookings it changed.
pub async fn tend(mill: &Mill, now: Instant) -> Answer<usize> {
    let rows: Vec<GpuHealth> = mill.store.read()?.list(&[], Order::Ascending, usize::MAX)?;
    let mut changed = 0;
    for row in &rows {
        if matches!(row.state.stage(), Stage::Draining | Stage::Probation) {
            changed += usize::from(tick(mill, row.unit).await?);
        }
    }
    for row in rows.iter().filter(|row| !row.state.stage().is_bookable()) {
        let on_node = leases::on_node(&mill.store.read()?, row.node)?;
        for lease in on_node.iter().filter(|lease| relocate::is_waiting(lease) && lease.units.contains(&row.unit)) {
            changed += usize::from(fault::displace(mill, lease.booking, row.unit, now).await?);
        }
    }
    Ok(changed)
}

async fn tick(mill: &Mill, unit: UnitId) -> Answer<bool> {
    let speaking = mill.clone();
    let decide = move |view: &View<'_>, now: Instant| {
        let row: Unit = view.must(&unit)?;
        let mut noting = Noting::begin(view, &speaking, Cause::Mill, now)?;
        let before = noting.health(&row)?.state.stage();
        noting.step(&row, &Signal::Tick, false)?;
        let moved = noting.health(&row)?.state.stage() != before;
        let (changes, ()) = noting.finish()?;
        Ok((changes, moved))
    };
    Ok(mill.store.write(Command::new(Cause::Mill), decide).await?)
}
