//! The command line: a client of the JSON API like any other. Each verb is one or a few requests and one answer, as a table
//! for people, as one JSON document for scripts, or as the bare id. It refuses to know anything that the API does not say,
//! and to print secrets other than the link that was asked for.
//!
//! Exit codes: 0 done; 1 refused by the mill; 2 the command line was wrong; 3 the mill cannot be reached; 4 not signed in;
//! 5 the mill itself failed; 6 a file or terminal of this machine is in the way. `run` answers its command's own code (128 +
//! signal), and 125 when the mill could not run it.
pub mod args;
mod attach;
mod bookings;
mod care;
mod client;
mod events;
mod failure;
mod fleet;
mod health;
mod home;
mod money;
mod nodes;
pub mod output;
mod people;
mod pools;
mod tls;
mod upkeep;
mod work;
mod zone;

use std::process::ExitCode;

pub use args::{Globals, Verb, VerifyArgs};
pub use failure::Failure;
pub use fleet::tokens_for_simulated;
pub use upkeep::said as verified;

use client::Client;
use output::Output;

/// Carries a verb out.
pub async fn run(verb: Verb, globals: Globals) -> ExitCode {
    let output = Output::new(&globals);
    let is_run = matches!(verb, Verb::Run(_));
    match carry_out(verb, &output).await {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(if is_run { failure::RUN_FAILED } else { failure.code() })
        }
    }
}

async fn carry_out(verb: Verb, out: &Output) -> Result<u8, Failure> {
    if let Verb::Login(args) = verb {
        return people::login(args, out).await.map(|()| 0);
    }
    let client = Client::signed_in()?;
    match verb {
        Verb::Login(_) => {}
        Verb::Status => people::status(&client, out).await?,
        Verb::Nodes => fleet::nodes(&client, out).await?,
        Verb::Health { given } => return health::health(&client, given.as_deref(), out).await,
        Verb::Node(verb) => return nodes::carry_out(&client, verb, out).await,
        Verb::Pool(verb) => pools::carry_out(&client, verb, out).await?,
        Verb::Unbooked(verb) => pools::unbooked(&client, verb, out).await?,
        Verb::UnixUser(verb) => pools::unix_users(&client, verb, out).await?,
        Verb::Gpus => fleet::gpus(&client, out).await?,
        Verb::Bookings(args) => bookings::list(&client, args, out).await?,
        Verb::Show { id } => bookings::show(&client, &id, out).await?,
        Verb::Quote(args) => bookings::quote(&client, args, out).await?,
        Verb::Book(args) => bookings::book(&client, args, out).await?,
        Verb::Run(args) => return work::run(&client, args, out).await,
        Verb::Attach { id, tab } => attach::attach(&client, &id, tab).await?,
        Verb::Logs { id, follow } => work::logs(&client, &id, follow, out).await?,
        Verb::Extend { id, by } => bookings::extend(&client, &id, by, out).await?,
        Verb::Release { id } => bookings::give_back(&client, &id, "release", out).await?,
        Verb::Cancel { id } => bookings::give_back(&client, &id, "cancel", out).await?,
        Verb::Invite(args) => people::invite(&client, args, out).await?,
        Verb::Grant(args) => money::grant(&client, args, out).await?,
        Verb::Statement(args) => money::statement(&client, args, out).await?,
        Verb::Invoice(verb) => money::invoice(&client, verb, out).await?,
        Verb::Rate(verb) => money::rate(&client, verb, out).await?,
        Verb::Verify(_) => return upkeep::verify(&client, out).await,
        Verb::Backup { file } => upkeep::backup(&client, &file, out).await?,
    }
    Ok(0)
}
