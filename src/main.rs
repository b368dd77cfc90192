//! Chooses the role by the first word. The two inner roles are started by the program itself and are in no help text.
use std::path::Path;
use std::process::ExitCode;

use gristmill::agent::shim;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["shim", "--dir", dir] => shim::run(Path::new(dir)),
        ["inner", ..] => shim::inner(&arguments[1..]),
        _ => ExitCode::FAILURE,
    }
}
