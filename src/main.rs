//! Chooses the role by the first word: the server and what belongs to it, or a verb of the command line. The three inner
//! roles are started by the program itself and are in no help text.
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use gristmill::agent::{check, shim};
use gristmill::cli::{Globals, Verb};
use gristmill::config;
use gristmill::launch::{self, clients};
use tokio::runtime::{Builder, Runtime};

#[derive(clap::Parser)]
#[command(name = "gristmill", version, about)]
struct Line {
    #[command(subcommand)]
    role: Role,
    #[command(flatten)]
    globals: Globals,
}

#[derive(clap::Subcommand)]
enum Role {
    /// Run the server
    Serve(Box<config::ServeSettings>),
    /// Make this machine a node of a mill
    Agent(Box<launch::agent::AgentArgs>),
    /// Run many simulated machines against a simulated mill, for demonstrations and load
    Simulate(launch::simulate::SimulateArgs),
    /// Set a data directory up without a browser
    Setup(Box<launch::setup::SetupArgs>),
    /// Say what is in a backup, or put it into an empty directory
    Restore(launch::restore::RestoreArgs),
    /// Run the server as a service of this machine
    InstallService(launch::service::ServiceArgs),
    #[command(flatten)]
    Client(Verb),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["shim", "--dir", dir] => shim::run(Path::new(dir)),
        [check::child::ROLE] => check::child::run(),
        ["inner", ..] => shim::inner(&arguments[1..]),
        _ => role(Line::parse()),
    }
}

fn role(Line { role, globals }: Line) -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = match role {
        Role::Serve(_) | Role::Agent(_) | Role::Simulate(_) => Builder::new_multi_thread(),
        _ => Builder::new_current_thread(),
    };
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(problem) => return failed(&problem),
    };
    let code = carry_out(&runtime, role, globals);
    // A thread that waits for the keyboard must not keep a finished command.
    runtime.shutdown_background();
    code
}

fn carry_out(runtime: &Runtime, role: Role, globals: Globals) -> ExitCode {
    match role {
        Role::Serve(settings) => {
            launch::memory::give_back_large_blocks();
            launch::logs::start(settings.log_json);
            serve(runtime, *settings)
        }
        Role::Agent(args) if args.selftest.selftest => {
            launch::logs::start_quiet();
            runtime.block_on(launch::selftest::run(args.selftest, args.simulated_gpus, globals.json))
        }
        Role::Agent(args) => {
            launch::logs::start(args.log_json);
            let done = runtime.block_on(launch::agent::run(*args));
            done.map_or_else(|problem| failed(&problem), |()| ExitCode::SUCCESS)
        }
        Role::Simulate(args) => {
            launch::logs::start_quiet();
            let done = runtime.block_on(launch::simulate::run(args, &globals));
            done.map_or_else(|problem| failed(&problem), |()| ExitCode::SUCCESS)
        }
        Role::Setup(args) => runtime.block_on(clients::setup(*args, globals)),
        Role::Restore(args) => runtime.block_on(clients::restore(args, globals)),
        Role::InstallService(args) => clients::install_service(&args, &globals),
        Role::Client(verb) => runtime.block_on(clients::verb(verb, globals)),
    }
}

/// Serves with a second set of threads for the machines.
fn serve(runtime: &Runtime, settings: config::ServeSettings) -> ExitCode {
    let machines = match Builder::new_multi_thread().thread_name("machines").enable_all().build() {
        Ok(machines) => machines,
        Err(problem) => return failed(&problem),
    };
    let done = runtime.block_on(launch::serve::run(settings, machines.handle().clone()));
    machines.shutdown_background();
    done.map_or_else(|problem| failed(&problem), |()| ExitCode::SUCCESS)
}

fn failed(problem: &dyn std::error::Error) -> ExitCode {
    eprintln!("gristmill: {problem}");
    ExitCode::FAILURE
}
