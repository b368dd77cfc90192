//! Pages of people: setting up, signing in, joining, the team, the account, notices, settings.
pub mod account;
pub mod join;
pub mod notices;
pub mod settings;
pub mod setup;
pub mod signin;
pub mod team;

use rocket::{Route, routes};

pub fn routes() -> Vec<Route> {
    routes![
        signin::form,
        signin::submit,
        signin::out,
        setup::form,
        setup::submit,
        join::form,
        join::submit,
        team::page,
        team::invite,
        team::revoke,
        team::create,
        account::page,
        account::password,
        account::make_token,
        account::revoke,
        account::end_others,
        notices::page,
        notices::read,
        settings::page,
        settings::mail,
        settings::verify,
        settings::make_scrape,
        settings::end_scrape,
        settings::backup,
    ]
}
