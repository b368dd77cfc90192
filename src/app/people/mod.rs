//! Intents of people: setting up, signing in, inviting, teams, notices. It refuses to tell unknown from forbidden.
pub mod actor;
pub mod invite;
pub mod notices;
pub mod password;
pub mod setup;
pub mod signin;
pub mod teams;
pub mod throttle;
pub mod tokens;
