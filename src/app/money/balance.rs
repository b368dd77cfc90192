//! What a team has. It refuses to add anything up: the account carries its totals.
use super::Reject;
use crate::base::ids::TeamId;
use crate::domain::money::account::{Account, AccountRow, Balance};
use crate::store::read::Read;

/// What stands on a team's account; zero for a team that never had anything.
pub fn balance(view: &impl Read, team: TeamId) -> Result<Balance, Reject> {
    Ok(view.get::<AccountRow>(&Account::Team(team))?.as_ref().map(Balance::from).unwrap_or_default())
}
