//! The first start's page, behind the one-time link. It refuses to show anything once the mill is set up.
use askama::Template;
use rocket::http::CookieJar;
use rocket::response::Redirect;
use rocket::{State, get, post};

use crate::app::error::AppError;
use crate::app::mill::Mill;
use crate::app::people::setup::{self, SetupInput};
use crate::app::people::signin;
use crate::base::secret::Secret;
use crate::domain::notice::Common;
use crate::domain::people::installation::{Installation, Mode, Reality};
use crate::web::error::PageError;
use crate::web::form::{Again, Posted};
use crate::web::guard::{self, Visit};
use crate::web::page::{Html, Page, Typed};
use crate::web::site;

/// What the launch found on this machine: the GPUs' names, or why there are none.
pub struct Here {
    pub gpus: Result<Vec<String>, String>,
}

#[derive(Template)]
#[template(path = "people/setup.html")]
pub struct SetupPage {
    page: Page,
    form: Typed,
    link: String,
    /// Names of the GPUs found here; empty with the reason beside it.
    found: Vec<String>,
    missing: Option<String>,
    zones: Vec<String>,
}

fn show(mill: &Mill, here: &Here, link: &str, form: Typed) -> Result<SetupPage, PageError> {
    let (found, missing) = match &here.gpus {
        Ok(models) => (models.clone(), None),
        Err(why) => (Vec::new(), Some(why.clone())),
    };
    let zones = jiff::tz::db().available().map(|name| name.to_string()).collect();
    Ok(SetupPage { page: site::porch(mill, "Set up")?, form, link: link.to_owned(), found, missing, zones })
}

fn defaults() -> Typed {
    Typed::default()
        .with("currency", Installation::DEFAULT_CURRENCY)
        .with("time_zone", Installation::DEFAULT_TIME_ZONE)
        .with("grant", Installation::DEFAULT_GRANT.to_string())
        .with("mode", "showback")
        .with("team", "Research")
        .with("gpus", "simulated")
}

#[get("/setup/<link>")]
pub fn form(_visit: Visit, mill: &State<Mill>, here: &State<Here>, link: &str) -> Result<Html<SetupPage>, PageError> {
    setup::link_works(&mill.store.read()?, &Secret::new(link))?;
    show(mill, here, link, defaults()).map(Html)
}

#[post("/setup/<link>", data = "<posted>")]
pub async fn submit(
    visit: Visit,
    jar: &CookieJar<'_>,
    mill: &State<Mill>,
    here: &State<Here>,
    link: &str,
    posted: Posted,
) -> Result<Redirect, Again<SetupPage>> {
    let outcome = match input(&posted, here.gpus.is_ok()) {
        Ok(input) => setup::set_up(mill, Some(Secret::new(link)), input, posted.key()).await,
        Err(bad) => Err(bad.into()),
    };
    match outcome {
        Ok(made) => {
            let session = signin::open_session(mill, made.member, &visit.agent).await?;
            guard::set_cookie(jar, &visit, &session);
            mill.set_up_done.notify_waiters();
            Ok(Redirect::to("/?welcome"))
        }
        Err(AppError::Refused(why)) => Err(Again::form(&why, show(mill, here, link, posted.refused(&why)))),
        Err(other) => Err(other.into()),
    }
}

fn input(posted: &Posted, real: bool) -> Result<SetupInput, Common> {
    let reality = match posted.text("gpus") {
        "real" if real => Reality::Real,
        "real" => {
            let why = "There is no NVIDIA driver on this machine".to_owned();
            return Err(Common::BadField { field: "gpus", why });
        }
        _ => Reality::Simulated { gpus: 4 },
    };
    let mode = match posted.text("mode") {
        "chargeback" => Mode::Chargeback,
        _ => Mode::Showback,
    };
    let email = posted.text("admin_email").parse();
    Ok(SetupInput {
        organisation: posted.name("organisation")?,
        admin_email: email.map_err(|why: crate::base::text::BadText| Common::BadField {
            field: "admin_email",
            why: why.to_string(),
        })?,
        admin_name: posted.name("admin_name")?,
        team: posted.name("team")?,
        password: posted.secret("password"),
        currency: posted.text("currency").to_uppercase(),
        time_zone: posted.text("time_zone").to_owned(),
        mode,
        grant: posted.amount("grant")?,
        reality,
    })
}
