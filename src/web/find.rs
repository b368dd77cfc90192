//! Finding by a few letters: bookings, nodes, teams and people, among what the reader sees anyway. It refuses to search
//! what the lists would not show.
use askama::Template;
use rocket::response::Redirect;
use rocket::{State, get};

use super::bookings::words;
use super::error::PageError;
use super::format;
use super::guard::SignedIn;
use super::page::{Html, Page, Place};
use super::site::{self, Frame};
use crate::app::bookings::show::{self, Filter};
use crate::app::error::Answer;
use crate::app::fleet::show as fleet;
use crate::app::mill::Mill;
use crate::app::money::invoices;
use crate::app::people::teams;
use crate::base::ids::{BookingId, DocumentId, NodeId};
use crate::base::window::Instant;
use crate::domain::fleet::roll::Entry;
use crate::domain::people::rights::Actor;
use crate::web::format::Zone;

/// Most hits shown of one kind.
const MOST: usize = 20;
/// Letters of the question that count.
const LONGEST: usize = 100;

#[derive(Template)]
#[template(path = "find.html")]
pub struct FindPage {
    page: Page,
    asked: String,
    answer: String,
    groups: Vec<Group>,
}

pub struct Group {
    heading: &'static str,
    hits: Vec<Hit>,
}

pub struct Hit {
    href: String,
    name: String,
    beneath: String,
}

/// A whole id leads straight to its page, which knows who may see it.
fn direct(asked: &str) -> Option<String> {
    let booking = asked.parse::<BookingId>().map(|id| format!("/bookings/{id}")).ok();
    let node = || asked.parse::<NodeId>().map(|id| format!("/nodes/{id}")).ok();
    let document = || asked.parse::<DocumentId>().map(|id| format!("/invoices/{id}")).ok();
    booking.or_else(node).or_else(document)
}

#[get("/find?<q>")]
pub fn page(who: SignedIn, mill: &State<Mill>, q: Option<&str>) -> Result<Result<Html<FindPage>, Redirect>, PageError> {
    let asked: String = q.unwrap_or_default().trim().chars().take(LONGEST).collect();
    if let Some(there) = direct(&asked) {
        return Ok(Err(Redirect::to(there)));
    }
    let Frame { page, zone, now, .. } = site::frame(mill, &who, Place::Elsewhere, "Find")?;
    let groups = if asked.is_empty() { Vec::new() } else { search(mill, &who.who.actor, &asked, &zone, now)? };
    let count = groups.iter().map(|group| group.hits.len()).sum();
    let answer = match (asked.is_empty(), count) {
        (true, _) => "What are you looking for?".to_owned(),
        (_, 0) => format!("Nothing found for “{asked}”"),
        (_, count) => format!("{} for “{asked}”", format::count(count, "hit")),
    };
    Ok(Ok(Html(FindPage { page, asked, answer, groups })))
}

fn search(mill: &Mill, actor: &Actor, asked: &str, zone: &Zone, now: Instant) -> Answer<Vec<Group>> {
    let wanted = asked.to_lowercase();
    let fits = |text: &str| text.to_lowercase().contains(&wanted);
    let mut groups = Vec::new();
    let mut add = |heading, hits: Vec<Hit>| {
        if !hits.is_empty() {
            groups.push(Group { heading, hits });
        }
    };
    let bookings = show::list(mill, actor, &Filter::default(), now)?.into_iter();
    let bookings = bookings.filter(|b| fits(&b.title) || fits(&b.member_name) || b.id.to_string().ends_with(&wanted));
    let hit = |b: crate::wire::api::bookings::BookingView| Hit {
        href: format!("/bookings/{}", b.id),
        name: words::title(&b),
        beneath: format!("{} × {}, {}, {}", b.gpus, b.model, words::window(&b, zone, now), b.state),
    };
    add("Bookings", bookings.take(MOST).map(hit).collect());
    let hit = |node: Entry| Hit {
        href: format!("/nodes/{}", node.id),
        beneath: format!("{}, {}", format::count(node.units.len(), "GPU"), fleet::state_word(&node.state)),
        name: node.name,
    };
    add("Nodes", fleet::named(mill, &wanted, MOST)?.into_iter().map(hit).collect());
    let view = mill.store.read()?;
    let (mut named, mut people) = (Vec::new(), Vec::new());
    for team in teams::list(&view, actor)? {
        let href = format!("/people?team={}", team.team);
        let members = teams::show(&view, actor, &team.team.to_string(), now)?.members;
        let hits = members.into_iter().filter(|member| fits(&member.name) || fits(&member.email));
        people.extend(hits.map(|member| Hit {
            href: href.clone(),
            beneath: format!("{}, {} of {}", member.email, member.role, team.name),
            name: member.name,
        }));
        if fits(&team.name) {
            named.push(Hit { href, name: team.name, beneath: "team".to_owned() });
        }
    }
    people.truncate(MOST);
    add("Teams", named);
    add("People", people);
    let documents = invoices::list(&view, actor)?.into_iter().filter(|d| d.number.as_deref().is_some_and(fits));
    let hit = |document: crate::wire::api::money::DocumentView| Hit {
        href: format!("/invoices/{}", document.id),
        beneath: format!("{}, {}, {}", document.team_name, document.period, document.state),
        name: document.number.unwrap_or_default(),
    };
    add("Invoices", documents.take(MOST).map(hit).collect());
    Ok(groups)
}
