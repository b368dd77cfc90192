//! The roles that do one thing and end: verbs of the command line, verifying, restoring, installing. Their answers go to
//! standard output, as words or as one JSON document; what went wrong goes to standard error with its next step.
use std::process::ExitCode;

use serde::Serialize;

use super::restore::{self, RestoreArgs};
use super::service::{self, ServiceArgs};
use super::setup::{self, SetupArgs};
use super::verify;
use crate::cli::{self, Globals, Verb, VerifyArgs, output};

/// What verifying answers when something does not hold; 6, as everywhere, when it could not be looked at.
const BREACHED: u8 = 1;
const NOT_DONE: u8 = 6;

fn answer<T: Serialize>(globals: &Globals, document: &T, lines: &[String]) {
    let out = output::Output::new(globals);
    match globals.json {
        true => out.json(document),
        false => lines.iter().for_each(|line| out.line(line)),
    }
}

fn failed(problem: &dyn std::error::Error) -> ExitCode {
    let mut text = problem.to_string();
    let mut cause = problem.source();
    while let Some(deeper) = cause {
        // Transparent errors say the same as what is beneath them.
        if !text.contains(&deeper.to_string()) {
            text = format!("{text}: {deeper}");
        }
        cause = deeper.source();
    }
    eprintln!("gristmill: {text}");
    ExitCode::from(NOT_DONE)
}

/// A verb of the command line; verifying a directory needs no server.
pub async fn verb(verb: Verb, globals: Globals) -> ExitCode {
    let Verb::Verify(VerifyArgs { data: Some(dir) }) = &verb else { return cli::run(verb, globals).await };
    match verify::run(dir) {
        Err(problem) => failed(&problem),
        Ok(found) => {
            answer(&globals, &found, &cli::verified(&found));
            if found.holds { ExitCode::SUCCESS } else { ExitCode::from(BREACHED) }
        }
    }
}

pub async fn setup(args: SetupArgs, globals: Globals) -> ExitCode {
    let globals = Globals { json: globals.json || args.json, ..globals };
    match setup::run(args).await {
        Err(problem) => failed(&problem),
        Ok(made) => {
            answer(&globals, &made.done, &made.lines());
            ExitCode::SUCCESS
        }
    }
}

pub async fn restore(args: RestoreArgs, globals: Globals) -> ExitCode {
    match restore::run(args).await {
        Err(problem) => failed(&problem),
        Ok(seen) => {
            answer(&globals, &seen, &seen.lines());
            ExitCode::SUCCESS
        }
    }
}

pub fn install_service(args: &ServiceArgs, globals: &Globals) -> ExitCode {
    match service::run(args) {
        Err(problem) => failed(&problem),
        Ok(done) => {
            let unit = if done.running { Vec::new() } else { vec![done.unit.clone()] };
            let next = done.next.clone();
            answer(globals, &done, &unit);
            // The unit alone on standard output, so that it can be piped to where it belongs.
            if !globals.json {
                eprintln!("{next}");
            }
            ExitCode::SUCCESS
        }
    }
}
