//! Pages of money: statements and grants, rates, documents.
pub mod invoices;
pub mod rates;
pub mod statement;

use rocket::{Route, routes};

use crate::app::error::Answer;
use crate::app::mill::Mill;
use crate::app::people::teams;
use crate::web::guard::SignedIn;

pub fn routes() -> Vec<Route> {
    routes![
        statement::page,
        statement::grant,
        rates::page,
        rates::set,
        invoices::list,
        invoices::draft,
        invoices::page,
        invoices::issue,
        invoices::settle,
        invoices::pdf,
    ]
}

/// The teams whose money the reader sees, as choices of a form: id and name.
fn teams_seen(mill: &Mill, who: &SignedIn) -> Answer<Vec<(String, String)>> {
    let teams = teams::list(&mill.store.read()?, &who.who.actor)?;
    Ok(teams.into_iter().map(|team| (team.team.to_string(), team.name)).collect())
}
