//! Fills in what every page shares: the installation, who is looking, their team's balance and what waits for them. It
//! refuses to fail a page over its frame: a number that cannot be read is left out.
use super::figure::Money;
use super::format::Zone;
use super::guard::SignedIn;
use super::page::{Page, Place, Viewer, Waiting};
use crate::app::error::Answer;
use crate::app::fleet::unbooked;
use crate::app::mill::Mill;
use crate::app::people::{notices, setup};
use crate::base::window::Instant;
use crate::domain::people::installation::Installation;
use crate::domain::people::member::Team;
use crate::domain::people::refusal::PeopleRefusal;
use crate::store::record::Key as _;
use crate::store::tables::Table;
use crate::store::{Order, Read};

/// The frame of a page, with what its handler needs to write times.
pub struct Frame {
    pub page: Page,
    pub zone: Zone,
    pub money: Money,
    pub now: Instant,
    pub installation: Installation,
}

/// Live bookings counted for the rail; more are shown as this many.
const COUNTED: usize = 99;

/// For a member.
pub fn frame(mill: &Mill, who: &SignedIn, here: Place, title: &str) -> Answer<Frame> {
    let now = crate::clock::now();
    let view = mill.store.read()?;
    let installation = setup::installation(&view)?.ok_or(PeopleRefusal::NotSetUp)?;
    let zone = Zone::named(&installation.time_zone);
    let money = Money::of(&installation.currency);
    let member = &who.who.member;
    let first = who.who.actor.memberships.first();
    let (team, balance) = match first {
        Some(membership) => {
            let team: Team = view.must(&membership.team)?;
            let balance = crate::app::money::balance::balance(&view, team.id)?;
            (team.name.to_string(), format!("{} credits", money.alone(balance.available)))
        }
        None => (String::new(), String::new()),
    };
    let live: Vec<crate::domain::bookings::booking::Booking> =
        view.list_via(Table::BookingsByMember, &member.id.bytes(), Order::Descending, COUNTED)?;
    let waiting = Waiting {
        queued: 0,
        mine: live.iter().filter(|booking| booking.state.is_live()).count(),
        nodes: if who.who.actor.admin { view.roll().counted().waiting } else { 0 },
        unbooked: if who.who.actor.admin { unbooked::show::open(&view)? } else { 0 },
        notices: notices::unread(&view, member.id)?,
    };
    let viewer = Viewer { name: member.name.to_string(), team, balance, admin: who.who.actor.admin, waiting };
    let page = Page {
        title: title.to_owned(),
        here,
        viewer: Some(viewer),
        organisation: installation.organisation.to_string(),
        zone: zone.label(now),
        simulated: installation.simulated(),
        csrf: who.who.form_token.clone(),
        flash: None,
    };
    Ok(Frame { page, zone, money, now, installation })
}

/// The zone that pages show times in.
pub fn zone(mill: &Mill) -> Answer<Zone> {
    Ok(habits(mill)?.0)
}

/// The zone that pages show times in, and how they write amounts.
pub fn habits(mill: &Mill) -> Answer<(Zone, Money)> {
    let installation = setup::installation(&mill.store.read()?)?.ok_or(PeopleRefusal::NotSetUp)?;
    Ok((Zone::named(&installation.time_zone), Money::of(&installation.currency)))
}

/// For somebody who is not signed in.
pub fn porch(mill: &Mill, title: &str) -> Answer<Page> {
    let installed = setup::installation(&mill.store.read()?)?;
    Ok(Page {
        title: title.to_owned(),
        organisation: installed.as_ref().map(|i| i.organisation.to_string()).unwrap_or_default(),
        simulated: installed.is_some_and(|i| i.simulated()),
        ..Page::default()
    })
}
