//! The page behind an invitation link. Showing it consumes nothing; only the form does. It refuses to say why a link does
//! not work beyond that it does not.
use askama::Template;
use rocket::http::CookieJar;
use rocket::response::Redirect;
use rocket::{State, get, post};

use crate::app::error::AppError;
use crate::app::mill::Mill;
use crate::app::people::{invite, setup, signin};
use crate::web::error::PageError;
use crate::web::form::{Again, Posted};
use crate::web::format::Zone;
use crate::web::guard::{self, Visit};
use crate::web::page::{Html, Page, Typed};
use crate::web::site;

#[derive(Template)]
#[template(path = "people/join.html")]
pub struct JoinPage {
    page: Page,
    form: Typed,
    link: String,
    offer: invite::Offer,
    expires: String,
}

fn show(mill: &Mill, link: &str, form: Typed) -> Result<JoinPage, PageError> {
    let now = crate::clock::now();
    let view = mill.store.read()?;
    let offer = invite::offer(&view, link, now)?;
    let zone = Zone::named(setup::installation(&view)?.map_or("UTC".to_owned(), |i| i.time_zone).as_str());
    let expires = format!("{} ({})", zone.moment(offer.expires, now), zone.label(now));
    Ok(JoinPage { page: site::porch(mill, "Join")?, form, link: link.to_owned(), expires, offer })
}

#[get("/join/<link>")]
pub fn form(_visit: Visit, mill: &State<Mill>, link: &str) -> Result<Html<JoinPage>, PageError> {
    show(mill, link, Typed::default()).map(Html)
}

#[post("/join/<link>", data = "<posted>")]
pub async fn submit(
    visit: Visit,
    jar: &CookieJar<'_>,
    mill: &State<Mill>,
    link: &str,
    posted: Posted,
) -> Result<Redirect, Again<JoinPage>> {
    let name = match posted.given("name").map(|_| posted.name("name")).transpose() {
        Ok(name) => name,
        Err(bad) => {
            let why = bad.into();
            return Err(Again::form(&why, show(mill, link, posted.refused(&why))));
        }
    };
    match invite::accept(mill, link, name, posted.secret("password")).await {
        Ok(joined) => {
            let session = signin::open_session(mill, joined.member, &visit.agent).await?;
            guard::set_cookie(jar, &visit, &session);
            Ok(Redirect::to("/?welcome"))
        }
        Err(AppError::Refused(why)) => Err(Again::form(&why, show(mill, link, posted.refused(&why)))),
        Err(other) => Err(other.into()),
    }
}
