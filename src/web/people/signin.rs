//! Signing in and out. It refuses to send anybody to another site afterwards.
use askama::Template;
use rocket::http::CookieJar;
use rocket::response::Redirect;
use rocket::{State, get, post};

use crate::app::error::AppError;
use crate::app::mill::Mill;
use crate::app::people::{setup, signin};
use crate::web::error::PageError;
use crate::web::form::{Again, Posted};
use crate::web::guard::{self, SignedIn, Visit};
use crate::web::page::{Html, Page, Typed};
use crate::web::site;

#[derive(Template)]
#[template(path = "people/sign_in.html")]
pub struct SignInPage {
    page: Page,
    form: Typed,
    next: String,
    /// Nobody has opened the setup link yet.
    unset: bool,
    /// Over TLS the certificate may be the mill's own.
    https: bool,
}

fn show(mill: &Mill, visit: &Visit, form: Typed, next: &str) -> Result<SignInPage, PageError> {
    let unset = setup::installation(&mill.store.read()?)?.is_none();
    Ok(SignInPage {
        page: site::porch(mill, "Sign in")?,
        form,
        next: local(next).to_owned(),
        unset,
        https: visit.https,
    })
}

/// A path on this server, or the first page.
fn local(next: &str) -> &str {
    let plain = next.starts_with('/') && !next.starts_with("//") && !next.contains(['\\', '\r', '\n']);
    if plain { next } else { "/" }
}

#[get("/sign-in?<next>")]
pub fn form(visit: Visit, mill: &State<Mill>, next: Option<&str>) -> Result<Html<SignInPage>, PageError> {
    show(mill, &visit, Typed::default(), next.unwrap_or("/")).map(Html)
}

#[post("/sign-in", data = "<posted>")]
pub async fn submit(
    visit: Visit,
    jar: &CookieJar<'_>,
    mill: &State<Mill>,
    posted: Posted,
) -> Result<Redirect, Again<SignInPage>> {
    let (email, password) = (posted.text("email"), posted.secret("password"));
    match signin::sign_in(mill, email, password, visit.address, &visit.agent).await {
        Ok((session, _)) => {
            guard::set_cookie(jar, &visit, &session);
            Ok(Redirect::to(local(posted.text("next")).to_owned()))
        }
        Err(AppError::Refused(why)) => {
            Err(Again::form(&why, show(mill, &visit, posted.refused(&why), posted.text("next"))))
        }
        Err(other) => Err(other.into()),
    }
}

#[post("/sign-out", data = "<_posted>")]
pub async fn out(
    who: SignedIn,
    jar: &CookieJar<'_>,
    mill: &State<Mill>,
    _posted: Posted,
) -> Result<Redirect, PageError> {
    signin::sign_out(mill, &who.who).await?;
    guard::clear_cookie(jar, &who.visit);
    Ok(Redirect::to("/sign-in"))
}

#[cfg(test)]
mod tests {
    use super::local;

    #[test]
    fn nobody_is_sent_away() {
        assert_eq!(local("/bookings?x=1"), "/bookings?x=1");
        for foreign in ["https://evil.example", "//evil.example", "/\\evil.example", "", "javascript:alert(1)"] {
            assert_eq!(local(foreign), "/", "{foreign}");
        }
    }
}
