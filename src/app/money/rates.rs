//! Rates as people see and set them. It refuses rates from anybody but admins.
use std::collections::BTreeMap;

use super::{Occasion, price};
use crate::app::error::Answer;
use crate::app::ids;
use crate::app::mill::Mill;
use crate::base::window::Instant;
use crate::domain::event::Cause;
use crate::domain::fleet::node::Unit;
use crate::domain::money::rate::{self, Rate};
use crate::domain::people::installation::Installation;
use crate::domain::people::refusal::PeopleRefusal;
use crate::domain::people::rights::Actor;
use crate::store::people::INSTALLATION;
use crate::store::read::Order;
use crate::store::{Changes, Command, IdempotencyKey, Read, View};
use crate::wire::api::money::{RateRequest, RateView};

/// The rate in force of every model that has one or that the fleet has; a built-in default has version 0. Everybody who
/// is signed in may know what things cost.
pub fn list(view: &impl Read) -> Answer<Vec<RateView>> {
    let since = view.get::<Installation>(&INSTALLATION)?.map_or(Instant::from_millis(0), |mill| mill.created);
    let mut rates: BTreeMap<String, Rate> = BTreeMap::new();
    let mut parts: BTreeMap<String, String> = BTreeMap::new();
    // Versions of a model lie in order, so the newest comes last and stays.
    for rate in view.list::<Rate>(&[], Order::Ascending, usize::MAX)? {
        rates.insert(rate::key(&rate.model), rate);
    }
    for unit in view.list::<Unit>(&[], Order::Ascending, usize::MAX)? {
        let key = rate::key(&unit.model);
        if !rates.contains_key(&key) {
            let portion = unit.shape.portion(unit.memory_bytes);
            let pin = price::pin_unit(view, &unit.model, portion)?;
            // An instance's part changes with its GPU's rate.
            let of = if portion.is_instance() { rate::parent(&pin.model) } else { &pin.model };
            let since = rates.get(&rate::key(of)).map_or(since, |own| own.since);
            if portion.is_instance() {
                parts.insert(key.clone(), format!("{}/8 of {}", portion.eighths(), rate::parent(&unit.model)));
            }
            rates.insert(key, Rate { model: unit.model, since, version: pin.version, per_gpu_hour: pin.per_gpu_hour });
        }
    }
    let shown = rates.into_iter().map(|(key, rate)| RateView { part: parts.remove(&key), ..shown(rate) });
    Ok(shown.collect())
}

/// Puts a new rate in force from now on; admins only. Bookings keep the rate they were quoted.
pub async fn set(mill: &Mill, who: &Actor, request: RateRequest, key: Option<IdempotencyKey>) -> Answer<RateView> {
    if !who.admin {
        return Err(PeopleRefusal::Denied { what: "set rates", who_may: "admins" }.into());
    }
    let per_gpu_hour = price::read_rate(&request.per_gpu_hour)?;
    let cause = Cause::Member(who.member);
    let command = Command::new(cause).maybe_keyed(key, &("rate", &request.model, per_gpu_hour));
    let decide = move |view: &View<'_>, now| {
        let mut changes = Changes::new();
        let occasion = Occasion { now, cause, ids: &mut ids::fresh };
        let rate = price::set(view, &mut changes, &request.model, per_gpu_hour, &occasion)?;
        Ok((changes, shown(rate)))
    };
    Ok(mill.store.write(command, decide).await?)
}

fn shown(rate: Rate) -> RateView {
    RateView {
        model: rate.model,
        version: rate.version,
        per_gpu_hour: rate.per_gpu_hour.into(),
        since: rate.since.into(),
        part: None,
    }
}
