//! What a GPU costs per hour, by model. Admins set it; bookings keep the rate that they were quoted. It refuses to change a
//! rate that was ever in force.
use askama::Template;
use rocket::response::Redirect;
use rocket::{State, get, post};

use crate::app::error::AppError;
use crate::app::mill::Mill;
use crate::app::money::rates;
use crate::web::error::PageError;
use crate::web::form::{Again, Posted};
use crate::web::format;
use crate::web::guard::{Admin, SignedIn};
use crate::web::page::{Html, Page, Place, Typed};
use crate::web::site::{self, Frame};
use crate::wire::api::money::{RateRequest, RateView};

#[derive(Template)]
#[template(path = "money/rates.html")]
pub struct RatesPage {
    page: Page,
    form: Typed,
    answer: String,
    currency: String,
    rows: Vec<Row>,
    models: Vec<String>,
    may_set: bool,
}

pub struct Row {
    model: String,
    rate: String,
    version: String,
    since: String,
}

fn show(mill: &Mill, who: &SignedIn, form: Typed) -> Result<RatesPage, PageError> {
    let Frame { page, zone, money, now, installation } = site::frame(mill, who, Place::Rates, "Rates")?;
    let found: Vec<RateView> = rates::list(&mill.store.read()?)?;
    // A rate is multiplied: it is never rounded.
    let column = money.exact(found.iter().map(|rate| rate.per_gpu_hour.credits()));
    let rows = found.iter().map(|rate| Row {
        model: rate.model.clone(),
        rate: column.figure(rate.per_gpu_hour.credits()).shown,
        version: match (&rate.part, rate.version) {
            (Some(part), _) => part.clone(),
            (None, 0) => "built in".to_owned(),
            (None, version) => version.to_string(),
        },
        since: zone.moment(rate.since.0, now),
    });
    let answer = match found.as_slice() {
        [] => "No GPUs, no rates yet".to_owned(),
        [only] => format!("{} costs {} per hour", only.model, only.per_gpu_hour.credits()),
        many => format!("{} have a rate", format::count(many.len(), "model")),
    };
    Ok(RatesPage {
        page,
        answer,
        currency: installation.currency,
        rows: rows.collect(),
        models: found.into_iter().map(|rate| rate.model).collect(),
        may_set: who.who.actor.admin,
        form,
    })
}

#[get("/rates")]
pub fn page(who: SignedIn, mill: &State<Mill>) -> Result<Html<RatesPage>, PageError> {
    show(mill, &who, Typed::default()).map(Html)
}

#[post("/rates", data = "<posted>")]
pub async fn set(who: Admin, mill: &State<Mill>, posted: Posted) -> Result<Redirect, Again<RatesPage>> {
    let request =
        RateRequest { model: posted.text("model").to_owned(), per_gpu_hour: posted.text("per_gpu_hour").to_owned() };
    match rates::set(mill, &who.0.who.actor, request, posted.key()).await {
        Ok(_) => Ok(Redirect::to("/rates")),
        Err(AppError::Refused(why)) => Err(Again::form(&why, show(mill, &who.0, posted.refused(&why)))),
        Err(other) => Err(other.into()),
    }
}
