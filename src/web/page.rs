//! What every page shares: title, place in the rail, who is looking, what was just done, and the hidden fields that a
//! form needs. A page's template embeds [`Page`] as its field `page` and extends `layout.html`. It refuses to read the
//! database: whoever fills it in knows the member's rights.
use std::collections::BTreeMap;

use askama::Template;
use rocket::http::ContentType;
use rocket::request::Request;
use rocket::response::{self, Responder};

use super::assets;
use crate::app::ids;
use crate::base::secret::Secret;
use crate::domain::notice::Sentence;

/// The hidden field that ties a form to the session.
pub const CSRF_FIELD: &str = "csrf";
/// The hidden field that makes sending a form twice the same as sending it once.
pub const KEY_FIELD: &str = "key";

/// A page of HTML. A template that cannot be written is the program's fault and answers 500.
pub struct Html<T>(pub T);

impl<'r, T: Template> Responder<'r, 'static> for Html<T> {
    fn respond_to(self, request: &'r Request<'_>) -> response::Result<'static> {
        let text = self.0.render().map_err(|error| {
            tracing::error!(%error, "a page could not be written");
            rocket::http::Status::InternalServerError
        })?;
        (ContentType::HTML, text).respond_to(request)
    }
}

/// Where a page stands in the rail. `Elsewhere` marks none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Place {
    Home,
    Calendar,
    Queue,
    Mine,
    Nodes,
    Pools,
    Unbooked,
    Statement,
    Invoices,
    Rates,
    People,
    Account,
    Notices,
    Settings,
    #[default]
    Elsewhere,
}

/// A link of the rail.
pub struct RailLink {
    pub place: Place,
    pub href: &'static str,
    pub label: &'static str,
    /// What waits there; nothing is shown at zero.
    pub count: usize,
    /// Whether what waits needs a person.
    pub needs: bool,
}

/// One of the four areas, or the two links that belong to none (no heading).
pub struct RailArea {
    pub heading: &'static str,
    pub links: Vec<RailLink>,
}

/// The numbers of the rail: only where something waits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waiting {
    /// Bookings without a place yet.
    pub queued: usize,
    /// The member's own bookings that are running or to come.
    pub mine: usize,
    /// Nodes that need somebody.
    pub nodes: usize,
    /// Processes on GPUs without a booking.
    pub unbooked: usize,
    /// Notices not read yet.
    pub notices: usize,
}

/// Who is looking.
#[derive(Clone, Debug)]
pub struct Viewer {
    pub name: String,
    /// The team whose money is shown.
    pub team: String,
    /// That team's balance, written out: `412.60 credits`.
    pub balance: String,
    pub admin: bool,
    pub waiting: Waiting,
}

/// The mood of a notice; the word is also its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Info,
    Done,
    Needs,
}

impl Mood {
    pub fn class(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Done => "done",
            Self::Needs => "needs",
        }
    }
}

/// One notice at the top of a page: what was just done, or why not.
#[derive(Clone, Debug)]
pub struct Flash {
    pub mood: Mood,
    pub what: String,
    pub why: String,
    pub next: String,
}

impl Flash {
    pub fn done(what: impl Into<String>) -> Self {
        Self { mood: Mood::Done, what: what.into(), why: String::new(), next: String::new() }
    }

    pub fn refused(sentence: &Sentence) -> Self {
        let Sentence { what, why, next } = sentence.clone();
        Self { mood: Mood::Needs, what, why, next }
    }
}

/// What every page needs. `Page::default()` is a page for somebody who is not signed in.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub title: String,
    pub here: Place,
    /// Nobody: the page is one centred card.
    pub viewer: Option<Viewer>,
    pub organisation: String,
    /// The reader's zone, named: `Europe/Berlin, UTC+1`.
    pub zone: String,
    pub simulated: bool,
    /// The session's token (or, before there is one, the one bound to the visitor's cookie).
    pub csrf: String,
    pub flash: Option<Flash>,
}

impl Page {
    pub fn asset(&self, name: &str) -> String {
        assets::asset(name)
    }

    /// A fresh idempotency key: one for each form on each page.
    pub fn key(&self) -> String {
        Secret::from_bytes(&ids::random_256()).expose().to_owned()
    }

    /// The hidden fields of a form; written with `|safe`, since both are made of letters, digits, `-` and `_` alone.
    pub fn guard(&self) -> String {
        let plain: String = self.csrf.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.=+/".contains(*c)).collect();
        format!(
            r#"<input type="hidden" name="{CSRF_FIELD}" value="{plain}"><input type="hidden" name="{KEY_FIELD}" value="{}">"#,
            self.key()
        )
    }

    /// The document's title: page, then organisation.
    pub fn full_title(&self) -> String {
        let mill = if self.organisation.is_empty() { "Gristmill" } else { &self.organisation };
        if self.title.is_empty() { mill.to_owned() } else { format!("{} · {mill}", self.title) }
    }

    /// The rail for whoever is looking: what a member may not open is not in it.
    pub fn rail(&self) -> Vec<RailArea> {
        let (waiting, admin) = self.viewer.as_ref().map_or_else(Default::default, |v| (v.waiting, v.admin));
        let link = |place, href, label, count, needs| RailLink { place, href, label, count, needs };
        let plain = |place, href, label| link(place, href, label, 0, false);
        let mut people = vec![plain(Place::People, "/people", "Members"), plain(Place::Account, "/account", "Account")];
        if admin {
            people.push(plain(Place::Settings, "/settings", "Settings"));
        }
        let mut fleet = vec![link(Place::Nodes, "/nodes", "Nodes", waiting.nodes, true)];
        if admin {
            fleet.push(plain(Place::Pools, "/pools", "Pools"));
            fleet.push(link(Place::Unbooked, "/unbooked", "Unbooked use", waiting.unbooked, true));
        }
        vec![
            RailArea {
                heading: "",
                links: vec![
                    plain(Place::Home, "/", "Home"),
                    link(Place::Notices, "/notices", "Notices", waiting.notices, true),
                ],
            },
            RailArea {
                heading: "Bookings",
                links: vec![
                    plain(Place::Calendar, "/calendar", "Calendar"),
                    link(Place::Queue, "/queue", "Queue", waiting.queued, false),
                    link(Place::Mine, "/bookings", "Mine", waiting.mine, false),
                ],
            },
            RailArea { heading: "Fleet", links: fleet },
            RailArea {
                heading: "Money",
                links: vec![
                    plain(Place::Statement, "/statement", "Statement"),
                    plain(Place::Invoices, "/invoices", "Invoices"),
                    plain(Place::Rates, "/rates", "Rates"),
                ],
            },
            RailArea { heading: "People", links: people },
        ]
    }
}

/// A form as it was typed, and what was wrong with it. Empty for a form shown for the first time; secrets are never kept.
#[derive(Clone, Debug, Default)]
pub struct Typed {
    values: BTreeMap<String, String>,
    wrong: Option<(Option<String>, Sentence)>,
}

impl Typed {
    /// Keeps a value, to be shown again.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.values.insert(name.to_owned(), value.into());
        self
    }

    /// Says what was wrong, at the field it speaks of or above the form.
    #[must_use]
    pub fn refused(mut self, field: Option<&str>, sentence: Sentence) -> Self {
        self.wrong = Some((field.map(str::to_owned), sentence));
        self
    }

    pub fn value(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    pub fn is(&self, name: &str, value: &str) -> bool {
        self.value(name) == value
    }

    /// What is wrong with this field.
    pub fn error(&self, name: &str) -> Option<&Sentence> {
        self.wrong.as_ref().filter(|(field, _)| field.as_deref() == Some(name)).map(|(_, sentence)| sentence)
    }

    /// What is wrong with the form as a whole.
    pub fn general(&self) -> Option<&Sentence> {
        self.wrong.as_ref().filter(|(field, _)| field.is_none()).map(|(_, sentence)| sentence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Template)]
    #[template(
        source = r#"{% extends "layout.html" %}{% import "parts/macros.html" as p %}{% block content %}
        {% call p::field(form, "name", "Name", hint="Short.", attrs="required") %}{% endcall %}
        {% call p::badge("passed", "moss") %}{% endcall %}{% endblock %}"#,
        ext = "html"
    )]
    struct Sample {
        page: Page,
        form: Typed,
    }

    fn sample(page: Page) -> String {
        let sentence = Sentence::new("This name is taken.", "Another team has it.", "Choose <another>.");
        let form = Typed::default().with("name", "\"Vision\" & co").refused(Some("name"), sentence);
        Sample { page, form }.render().expect("the layout renders")
    }

    fn viewer() -> Viewer {
        let waiting = Waiting { notices: 2, ..Waiting::default() };
        Viewer { name: "Ada".into(), team: "Vision".into(), balance: "412.60 credits".into(), admin: false, waiting }
    }

    #[test]
    fn a_page_obeys_the_content_policy_and_escapes() {
        let flash = Some(Flash::done("Booked <2> GPUs."));
        let text =
            sample(Page { viewer: Some(viewer()), flash, here: Place::Mine, simulated: true, ..Page::default() });
        assert!(!text.contains("style="), "no inline style");
        assert!(!text.contains("<script>") && !text.contains(" onclick="), "no inline script");
        assert!(text.contains("Booked &#60;2&#62; GPUs.") && text.contains("Choose &#60;another&#62;."));
        assert!(text.contains("&#34;Vision&#34; &#38; co"), "what was typed is kept");
        assert!(text.contains(r#"href="/bookings" aria-current="page""#));
        assert!(!text.contains("/settings"), "only an admin sees the settings");
        assert!(text.contains("simulated"));
    }

    #[test]
    fn signed_out_there_is_no_rail() {
        let text = sample(Page::default());
        assert!(text.contains("class=\"porch") && !text.contains("/statement"));
    }

    #[test]
    fn each_form_has_a_key_of_its_own() {
        let page = Page { csrf: "abc\"><b>".into(), ..Page::default() };
        assert_ne!(page.key(), page.key());
        assert!(page.guard().contains(r#"value="abcb""#), "{}", page.guard());
    }
}
