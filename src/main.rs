//! Chooses the role by the first word. The two inner roles are started by the program itself and are in no help text.
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use gristmill::agent::shim;
use gristmill::{config, launch};

#[derive(clap::Parser)]
#[command(name = "gristmill", version, about)]
enum Role {
    /// Run the server
    Serve(config::ServeSettings),
    /// Make this machine a node of a mill
    Agent(launch::agent::AgentArgs),
    /// Set a data directory up without a browser
    Setup(launch::setup::SetupArgs),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["shim", "--dir", dir] => shim::run(Path::new(dir)),
        ["inner", ..] => shim::inner(&arguments[1..]),
        _ => role(Role::parse()),
    }
}

fn role(role: Role) -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(problem) => return failed(&problem),
    };
    let done = match role {
        Role::Serve(settings) => {
            launch::logs::start(settings.log_json);
            runtime.block_on(launch::serve::run(settings))
        }
        Role::Agent(args) => {
            launch::logs::start(args.log_json);
            return runtime.block_on(launch::agent::run(args)).map_or_else(|why| failed(&why), |()| ExitCode::SUCCESS);
        }
        Role::Setup(args) => runtime.block_on(launch::setup::run(args)).map(|_| ()),
    };
    done.map_or_else(|problem| failed(&problem), |()| ExitCode::SUCCESS)
}

fn failed(problem: &dyn std::error::Error) -> ExitCode {
    eprintln!("gristmill: {problem}");
    ExitCode::FAILURE
}
