//! The JSON API, version 1: every action of the console for programs, with the command line as its first client. Who asks is
//! told by a bearer token alone. It refuses cookies, unknown fields, bodies beyond 64 KiB, and answers without a shape: what
//! does not go is a problem with what happened, why, and what to do next.
mod admin;
mod body;
mod bookings;
mod caller;
mod care;
mod fleet;
mod health;
mod log;
mod money;
pub mod openapi;
mod people;
mod pools;
mod terminal;
mod unbooked;

use rocket::{Catcher, Route, catchers, routes};

pub use body::caught;
pub use caller::Caller;

/// Where the API lies.
pub const BASE: &str = "/api/v1";

/// Every route of the API; mounted at [`BASE`].
pub fn routes() -> Vec<Route> {
    routes![
        openapi::document,
        people::login,
        people::status,
        people::invite,
        people::teams,
        fleet::nodes,
        fleet::gpus,
        care::duty,
        care::announce,
        care::cancel,
        care::rename,
        care::move_to,
        care::retire,
        pools::list,
        pools::make,
        pools::show,
        pools::change,
        unbooked::list,
        unbooked::void,
        unbooked::users,
        unbooked::assign,
        unbooked::remove,
        fleet::make_token,
        fleet::join_tokens,
        fleet::join_token,
        fleet::make_tokens,
        fleet::admit,
        fleet::revoke,
        fleet::upgrade,
        health::fleet,
        health::one,
        health::say,
        bookings::list,
        bookings::show,
        bookings::quote,
        bookings::book,
        bookings::extend,
        bookings::release,
        bookings::cancel,
        log::read,
        log::follow,
        terminal::ticket,
        terminal::socket,
        money::grant,
        money::statement,
        money::rates,
        money::set_rate,
        money::invoices,
        money::invoice,
        money::draft,
        money::issue,
        money::settle,
        money::pdf,
        admin::verify,
        admin::backup,
    ]
}

/// What answers when no handler did; registered at [`BASE`].
pub fn catchers() -> Vec<Catcher> {
    catchers![caught]
}
