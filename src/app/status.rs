//! The mill at a glance. It counts what the reader may know anyway: machines and GPUs are everybody's to see.
use crate::app::error::Answer;
use crate::app::fleet::show;
use crate::app::mill::Mill;
use crate::app::people::signin::SignedIn;
use crate::app::people::{actor, setup};
use crate::base::window::Instant;
use crate::domain::people::installation::Mode;
use crate::domain::people::refusal::PeopleRefusal;
use crate::store::Readiness;
use crate::wire::api::people::StatusAnswer;

/// Counts of now.
pub fn status(mill: &Mill, who: &SignedIn, now: Instant) -> Answer<StatusAnswer> {
    let fleet = show::numbers(mill, now)?;
    let view = mill.store.read()?;
    let installation = setup::installation(&view)?.ok_or(PeopleRefusal::NotSetUp)?;
    Ok(StatusAnswer {
        organisation: installation.organisation.to_string(),
        simulated: installation.simulated(),
        mode: match installation.mode {
            Mode::Showback => "showback",
            Mode::Chargeback => "chargeback",
        }
        .to_owned(),
        currency: installation.currency.clone(),
        time_zone: installation.time_zone.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now: now.into(),
        nodes: count(fleet.nodes),
        nodes_connected: count(fleet.here),
        gpus: count(fleet.gpus),
        gpus_free_now: count(fleet.free),
        gpus_out_of_service: count(fleet.out_of_service),
        writable: matches!(mill.store.readiness(), Readiness::Ready),
        member: actor::view_of(&view, &who.member)?,
    })
}

fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}
