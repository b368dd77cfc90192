//! What time on GPUs costs: finding the rate in force, pinning its version, pricing windows. It refuses to change a rate
//! that was ever in force.
use super::{Occasion, Reject};
use crate::base::credits::{Credits, MICROS};
use crate::base::hardware::Portion;
use crate::base::text;
use crate::base::window::{Instant, Window};
use crate::domain::bookings::booking::RatePin;
use crate::domain::event::Event;
use crate::domain::money::rate::{self, Rate};
use crate::domain::money::refusal::MoneyRefusal;
use crate::domain::notice::Common;
use crate::store::changes::Changes;
use crate::store::money::RateKey;
use crate::store::read::{Order, Read};
use crate::wire::api::bookings::QuoteLine;

/// The rate in force for a model: its own, else that of its family (`H100` for `H100 80GB HBM3`), else the built-in
/// default as version 0.
pub fn pin(view: &impl Read, model: &str) -> Result<RatePin, Reject> {
    for name in [rate::key(model), rate::family(model)] {
        if let Some(rate) = newest(view, &name)? {
            return Ok(rate.pin());
        }
    }
    Ok(rate::default_pin(model))
}

/// The same for a unit: a MIG instance without a rate of its own costs its part of its GPU's (see [`rate::part`]).
pub fn pin_unit(view: &impl Read, model: &str, portion: Portion) -> Result<RatePin, Reject> {
    let Portion::Eighths(eighths) = portion else { return pin(view, model) };
    match newest(view, &rate::key(model))? {
        Some(own) => Ok(own.pin()),
        None => Ok(rate::part(model, &pin(view, rate::parent(model))?, eighths)),
    }
}

/// The newest stored version of exactly this model's rate.
pub fn newest(view: &impl Read, model: &str) -> Result<Option<Rate>, Reject> {
    Ok(view.list::<Rate>(&RateKey::prefix(model), Order::Descending, 1)?.pop())
}

/// The price of a window: GPUs times whole seconds times the pinned rate, rounded half up to a micro-credit once. The
/// segments of a hold sum to exactly this.
pub fn price(pin: &RatePin, gpus: u32, window: Window) -> Result<Credits, Reject> {
    Ok(pin.per_gpu_hour.for_duration(gpus, window.span().as_seconds()).map_err(MoneyRefusal::from)?)
}

/// How a price comes about, for a quote.
pub fn quote_lines(pin: &RatePin, gpus: u32, portion: Portion, window: Window) -> Result<Vec<QuoteLine>, Reject> {
    let text = if portion.is_instance() {
        let count = if gpus == 1 { "1 instance".to_owned() } else { format!("{gpus} instances") };
        let (model, rate) = (&pin.model, pin.per_gpu_hour);
        format!("{count} {model} for {} at {rate} per instance and hour", text::spoken(window.span()))
    } else {
        let count = if gpus == 1 { "1 GPU".to_owned() } else { format!("{gpus} GPUs") };
        format!("{count} {} for {} at {} per GPU and hour", pin.model, text::spoken(window.span()), pin.per_gpu_hour)
    };
    Ok(vec![QuoteLine { text, amount: price(pin, gpus, window)?.into() }])
}

/// Reads a typed rate: a decimal from 0 to [`rate::HIGHEST`].
pub fn read_rate(typed: &str) -> Result<Credits, Reject> {
    let rate: Credits = typed.parse().map_err(|bad: crate::base::credits::AmountError| Common::BadField {
        field: "per_gpu_hour",
        why: bad.to_string(),
    })?;
    if rate.is_negative() {
        return Err(MoneyRefusal::NotPositive { field: "per_gpu_hour" }.into());
    }
    if rate.micros() > rate::HIGHEST * MICROS {
        return Err(MoneyRefusal::RateTooHigh { highest: rate::HIGHEST }.into());
    }
    Ok(rate)
}

/// Puts the next version of a model's rate in force from now on; bookings that pinned an older one keep it. Setting the
/// rate that is in force already changes nothing.
pub fn set(
    view: &impl Read,
    changes: &mut Changes,
    model: &str,
    per_gpu_hour: Credits,
    occasion: &Occasion,
) -> Result<Rate, Reject> {
    let model = text::line(model, 80).map_err(|bad| Common::BadField { field: "model", why: bad.to_string() })?;
    let before = newest(view, &model)?;
    if let Some(same) = before.as_ref().filter(|rate| rate.per_gpu_hour == per_gpu_hour) {
        return Ok(same.clone());
    }
    let version = before.map_or(1, |rate| rate.version + 1);
    let rate = Rate { model: model.clone(), version, per_gpu_hour, since: occasion.now };
    changes.put(&rate).event(occasion.cause, Event::RateSet { model });
    Ok(rate)
}

/// A built-in default as it is listed: in force since the installation began.
pub fn built_in(model: &str, since: Instant) -> Rate {
    let pin = rate::default_pin(model);
    Rate { model: pin.model, version: pin.version, per_gpu_hour: pin.per_gpu_hour, since }
}
