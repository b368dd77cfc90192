//! Pages and JSON API: every route on one page. It knows HTTP and no database: a handler is a guard, a typed form, one call
//! into `app`, and a page.
pub mod api;
pub mod assets;
pub mod bookings;
pub mod error;
pub mod figure;
pub mod find;
pub mod fleet;
pub mod form;
pub mod format;
pub mod gateway;
pub mod guard;
pub mod home;
pub mod live;
pub mod money;
pub mod page;
pub mod people;
pub mod security;
pub mod shelf;
pub mod site;
pub mod terminal;

use std::net::Ipv4Addr;

use rocket::config::{Ident, LogLevel, Shutdown};
use rocket::data::{Limits, ToByteUnit as _};
use rocket::{Build, Config, Rocket, catchers};

use crate::app::mill::Mill;
use crate::base::ids::SessionId;
use crate::base::secret::Secret;

/// The console on a loopback port, for the front door alone: requests without its secret see nothing.
pub fn console(mill: Mill, here: people::setup::Here, door: Secret, port: u16) -> Rocket<Build> {
    rocket::custom(config(port))
        .manage(mill)
        .manage(here)
        .manage(guard::EdgeSecret(door))
        .manage(live::Listeners::default())
        .manage(terminal::Tickets::<SessionId>::default())
        .manage(terminal::Tickets::<api::Caller>::default())
        .attach(security::Headers)
        .mount("/", rocket::routes![assets::serve, home::page, live::stream, find::page])
        .mount("/", people::routes())
        .mount("/", bookings::routes())
        .mount("/", fleet::routes())
        .mount("/", money::routes())
        .mount(api::BASE, api::routes())
        .register("/", catchers![error::caught])
        .register(api::BASE, api::catchers())
}

fn config(port: u16) -> Config {
    Config {
        address: Ipv4Addr::LOCALHOST.into(),
        port,
        // The front door says who the client is; a header of the client's own never does.
        ip_header: None,
        ident: Ident::none(),
        log_level: LogLevel::Critical,
        cli_colors: false,
        limits: Limits::new().limit("json", 64.kibibytes()).limit("form", 64.kibibytes()),
        // The launch owns the signals; streams that outlive the grace are cut.
        shutdown: Shutdown {
            ctrlc: false,
            signals: std::collections::HashSet::new(),
            grace: 1,
            mercy: 1,
            ..Shutdown::default()
        },
        ..Config::default()
    }
}
