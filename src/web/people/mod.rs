//! Pages of people: setting up, signing in, joining, the team, the account, notices, settings.
pub mod account;
pub mod join;
pub mod notices;
pub mod settings;
pub mod setup;
pub mod signin;
pub mod team;
