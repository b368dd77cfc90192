//! `gristmill setup`: the first start without a browser, on the data directory of a server that does not run. It refuses to
//! read a password from the command line, where other users could see it.
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::serve::{self, ServeError};
use crate::app::error::AppError;
use crate::app::fleet::hub::Hub;
use crate::app::mill::Mill;
use crate::app::people::setup::{self, SetUp, SetupInput};
use crate::base::secret::Secret;
use crate::config;
use crate::domain::notice::Common;
use crate::domain::people::installation::{Installation, Mode, Reality};

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ModeArg {
    Showback,
    Chargeback,
}

/// What `gristmill setup` takes.
#[derive(Clone, Debug, Args)]
pub struct SetupArgs {
    /// Where the database, keys and logs lie; made when missing
    #[arg(long, env = "GRISTMILL_DATA", default_value_os_t = config::default_data())]
    pub data: PathBuf,
    /// Stands on every page and document
    #[arg(long)]
    pub organisation: String,
    /// The first admin signs in with it
    #[arg(long)]
    pub admin_email: String,
    /// The first admin's name
    #[arg(long)]
    pub admin_name: String,
    /// The first team
    #[arg(long)]
    pub team: String,
    /// Read the admin's password from standard input (its first line)
    #[arg(long, required = true)]
    pub password_stdin: bool,
    /// Three letters; one credit is one unit of it
    #[arg(long, default_value = Installation::DEFAULT_CURRENCY)]
    pub currency: String,
    /// In which times are shown, and in which days and months begin
    #[arg(long, default_value = Installation::DEFAULT_TIME_ZONE)]
    pub time_zone: String,
    /// Showback prices and reports; in chargeback a balance refuses as well
    #[arg(long, value_enum, default_value = "showback")]
    pub mode: ModeArg,
    /// Credits granted to the first team
    #[arg(long, default_value = "1000")]
    pub grant: String,
    /// Make a simulated installation with so many GPUs, for evaluation
    #[arg(long)]
    pub simulated_gpus: Option<u32>,
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Reads the first line of standard input.
pub fn password_from_stdin() -> std::io::Result<Secret> {
    let mut text = String::new();
    std::io::stdin().take(4096).read_to_string(&mut text)?;
    Ok(Secret::new(text.lines().next().unwrap_or_default()))
}

/// What was set up, for the one who asked.
pub struct Made {
    pub done: SetUp,
    input: SetupInput,
    data: PathBuf,
}

impl Made {
    /// What there is now, every value with it, and what to do next.
    pub fn lines(&self) -> Vec<String> {
        let SetupInput {
            organisation, admin_email, admin_name, team, currency, time_zone, mode, grant, reality, ..
        } = &self.input;
        let mode = match mode {
            Mode::Showback => "showback: everything is priced, a balance refuses nobody",
            Mode::Chargeback => "chargeback: teams spend what they were granted or have paid",
        };
        let gpus = match reality {
            Reality::Real => "those that this machine's NVIDIA driver shows".to_owned(),
            Reality::Simulated { gpus } => format!("{gpus} simulated; nothing here is real, documents are specimens"),
        };
        let data = self.data.display();
        let facts = [
            ("organisation", organisation.to_string()),
            ("admin", format!("{admin_name} <{admin_email}>")),
            ("team", format!("{team}, granted {grant} credits")),
            ("currency", format!("{currency}; 1 credit is 1 {currency}")),
            ("time zone", time_zone.clone()),
            ("mode", mode.to_owned()),
            ("GPUs", gpus),
            ("rates", "the built-in ones; change them with: gristmill rate set".to_owned()),
            ("data", data.to_string()),
        ];
        let mut lines = vec!["The mill is set up.".to_owned()];
        lines.extend(facts.into_iter().map(|(name, value)| format!("  {name:<13} {value}")));
        lines.push(format!("Start it: gristmill serve --data {data}"));
        lines.push(format!(
            "Then sign in: gristmill login http://127.0.0.1:8080 --email {admin_email} --password-stdin"
        ));
        lines
    }
}

/// Sets a data directory up.
pub async fn run(args: SetupArgs) -> Result<Made, ServeError> {
    let input = input(&args)?;
    let (store, seal) = serve::open(&args.data, 64)?;
    let mill = Mill::new(store, seal, Arc::new(Hub::default()), "http://localhost", &args.data);
    let made = setup::set_up(&mill, None, input.clone(), None).await;
    mill.store.clone().stop();
    Ok(Made { done: made?, input, data: args.data })
}

fn input(args: &SetupArgs) -> Result<SetupInput, ServeError> {
    let bad = |field: &'static str| move |why: &dyn std::fmt::Display| Common::BadField { field, why: why.to_string() };
    let wrong = |common: Common| ServeError::App(AppError::from(common));
    let name = |field, text: &str| text.parse().map_err(|why| wrong(bad(field)(&why as &crate::base::text::BadText)));
    Ok(SetupInput {
        organisation: name("organisation", &args.organisation)?,
        admin_name: name("admin-name", &args.admin_name)?,
        team: name("team", &args.team)?,
        admin_email: args
            .admin_email
            .parse()
            .map_err(|why: crate::base::text::BadText| wrong(bad("admin-email")(&why)))?,
        password: password_from_stdin()?,
        currency: args.currency.to_uppercase(),
        time_zone: args.time_zone.clone(),
        mode: match args.mode {
            ModeArg::Showback => Mode::Showback,
            ModeArg::Chargeback => Mode::Chargeback,
        },
        grant: args.grant.parse().map_err(|why: crate::base::credits::AmountError| wrong(bad("grant")(&why)))?,
        reality: args.simulated_gpus.map_or(Reality::Real, |gpus| Reality::Simulated { gpus }),
    })
}
