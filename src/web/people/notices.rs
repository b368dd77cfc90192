//! The member's notices. It refuses to mark them as read by being looked at: a GET changes nothing.
use askama::Template;
use rocket::response::Redirect;
use rocket::{State, get, post};

use crate::app::mill::Mill;
use crate::app::people::notices;
use crate::web::error::PageError;
use crate::web::form::Posted;
use crate::web::guard::SignedIn;
use crate::web::page::{Html, Page, Place};
use crate::web::site::{self, Frame};

#[derive(Template)]
#[template(path = "people/notices.html")]
pub struct NoticesPage {
    page: Page,
    rows: Vec<Row>,
    unread: usize,
}

pub struct Row {
    at: String,
    subject: String,
    text: String,
    link: Option<String>,
    read: bool,
}

#[get("/notices")]
pub fn page(who: SignedIn, mill: &State<Mill>) -> Result<Html<NoticesPage>, PageError> {
    let Frame { page, zone, now, .. } = site::frame(mill, &who, Place::Notices, "Notices")?;
    let notices = notices::list(&mill.store.read()?, who.who.member.id)?;
    let unread = notices.iter().filter(|notice| !notice.read).count();
    let rows = notices.into_iter().map(|notice| Row {
        at: zone.moment(notice.at, now),
        subject: notice.subject,
        text: notice.text,
        link: notice.link,
        read: notice.read,
    });
    Ok(Html(NoticesPage { page, rows: rows.collect(), unread }))
}

#[post("/notices/read", data = "<_posted>")]
pub async fn read(who: SignedIn, mill: &State<Mill>, _posted: Posted) -> Result<Redirect, PageError> {
    notices::mark_read(mill, who.who.member.id).await?;
    Ok(Redirect::to("/notices"))
}
