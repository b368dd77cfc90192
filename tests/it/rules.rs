//! The rules of the house, read from its own text: who may import whom, how large a file may grow, what no file may hold.
//! It refuses to guess: every rule names the file and the line that break it. Each reader of text has a test that it finds
//! a planted breach, since a rule that cannot be broken proves nothing.
mod floors;
mod paths;
mod text;

use std::collections::BTreeSet;

use paths::{PathUse, code_only, paths_in};
use text::{File, project};

/// All breaches at once, so that one run shows everything to mend.
fn none(what: &str, breaches: &[String]) {
    assert!(breaches.is_empty(), "{what}:\n  {}\n", breaches.join("\n  "));
}

fn sources(files: &[File]) -> impl Iterator<Item = &File> {
    files.iter().filter(|file| file.path.starts_with("src/") && file.path.ends_with(".rs"))
}

fn rust(files: &[File]) -> impl Iterator<Item = &File> {
    files.iter().filter(|file| file.path.ends_with(".rs"))
}

#[test]
fn imports_run_downward_only() {
    let files = project();
    let mut breaches = Vec::new();
    let mut seen = BTreeSet::new();
    for file in sources(&files) {
        for PathUse { line, path } in paths_in(&file.path, &file.text) {
            let Some(from) = floors::of(&file.path) else { continue };
            if path.first().is_some_and(|head| head == "crate") {
                seen.insert(from);
            }
            if let Some(why) = floors::breach(&file.path, from, &path) {
                breaches.push(format!("{}:{line} names {}: {why}", file.path, path.join("::")));
            }
        }
    }
    none("Imports against the floor plan", &breaches);
    for floor in ["domain", "store", "app", "web", "agent", "wire"] {
        assert!(seen.contains(floor), "no import was read in {floor}: the reader is blind there");
    }
}

#[test]
fn files_stay_small() {
    let files = project();
    let mut sizes: Vec<(usize, &str)> = Vec::new();
    for file in &files {
        let vendored = file.path.contains("/vendor/") || file.path.starts_with("tests/fixtures/");
        let made = file.path == "Cargo.lock" || file.path == "LICENSE" || file.path.ends_with(".ptx");
        if !vendored && !made {
            sizes.push((file.text.lines().count(), &file.path));
        }
    }
    let rust: Vec<usize> = sizes.iter().filter(|(_, path)| path.ends_with(".rs")).map(|(lines, _)| *lines).collect();
    let mut sorted = rust.clone();
    sorted.sort_unstable();
    println!(
        "{} Rust files, median {} lines, largest {}",
        sorted.len(),
        sorted[sorted.len() / 2],
        sorted.last().unwrap()
    );
    let large = sizes.iter().filter(|(lines, _)| *lines > 500);
    none("Files of more than 500 lines", &large.map(|(lines, path)| format!("{path}: {lines}")).collect::<Vec<_>>());
    assert!(sorted[sorted.len() / 2] <= 150, "the median of {} lines is over 150", sorted[sorted.len() / 2]);
}

#[test]
fn lints_hold_functions_to_seventy_lines() {
    let files = project();
    let of = |path: &str| files.iter().find(|file| file.path == path).unwrap().text.clone();
    assert!(of("config/clippy.toml").contains("too-many-lines-threshold = 70"));
    let cargo = of("Cargo.toml");
    for lint in [
        "too_many_lines = \"deny\"",
        "unwrap_used = \"deny\"",
        "disallowed_methods = \"deny\"",
        "unsafe_code = \"deny\"",
    ] {
        assert!(cargo.contains(lint), "Cargo.toml no longer says {lint}");
    }
    let allowed = rust(&files).filter(|file| !file.path.starts_with("tests/it/rules")).filter_map(|file| {
        let lines = file.text.lines().enumerate();
        let found = lines.filter(|(_, line)| line.contains("allow(") && line.contains("too_many_lines"));
        found.map(|(at, _)| format!("{}:{}", file.path, at + 1)).next()
    });
    none("Functions that excuse their length", &allowed.collect::<Vec<_>>());
}

#[test]
fn every_file_says_why_it_exists() {
    let files = project();
    let silent = rust(&files).filter(|file| !file.text.starts_with("//!")).map(|file| file.path.clone());
    none("Files that do not open with //!", &silent.collect::<Vec<_>>());
}

#[test]
fn every_file_is_part_of_the_program() {
    let files = project();
    let all: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let lost = rust(&files).filter(|file| !file.path.starts_with("tests/bench/")).filter_map(|file| {
        let (parents, name) = text::parents(&file.path)?;
        let named = parents.iter().filter(|parent| all.contains(parent.as_str())).any(|parent| {
            let text = &files.iter().find(|file| file.path == *parent).unwrap().text;
            code_only(text).lines().any(|line| {
                let line = line.trim().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
                line.strip_prefix("mod ").is_some_and(|rest| rest.trim_end_matches(';').trim() == name)
                    || line.trim_start_matches("pub(super) ").trim() == format!("mod {name};")
            })
        });
        (!named).then(|| format!("{}: no `mod {name};` in {}", file.path, parents.join(" or ")))
    });
    none("Files that nothing compiles", &lost.collect::<Vec<_>>());
}

#[test]
fn only_one_file_reads_the_time_of_day() {
    let files = project();
    let mut breaches = Vec::new();
    for file in sources(&files).filter(|file| file.path != "src/clock.rs") {
        for PathUse { line, path } in paths_in(&file.path, &file.text) {
            let tail: Vec<&str> = path.iter().rev().take(2).rev().map(String::as_str).collect();
            let reads = matches!(
                tail.as_slice(),
                [
                    "SystemTime" | "Timestamp" | "Zoned" | "Utc" | "Local" | "OffsetDateTime",
                    "now" | "now_utc" | "now_local"
                ]
            );
            if reads {
                breaches.push(format!("{}:{line}: {}", file.path, path.join("::")));
            }
        }
    }
    none("Files that read the time of day", &breaches);
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    let files = project();
    let mut breaches = Vec::new();
    for file in sources(&files).filter(|file| !text::is_test(&file.path)) {
        for (at, line) in paths::without_tests(&code_only(&file.text)).lines().enumerate() {
            let stops = [".unwrap()", ".unwrap_err()", "todo!(", "unimplemented!(", "dbg!("];
            if stops.iter().any(|stop| line.contains(stop)) {
                breaches.push(format!("{}:{}: {}", file.path, at + 1, line.trim()));
            }
        }
    }
    none("Places that stop the program without a reason", &breaches);
}

#[test]
fn pages_hold_no_inline_script_or_style() {
    let files = project();
    let mut breaches = Vec::new();
    // Mail programs know nothing but inline styles.
    let pages =
        files.iter().filter(|file| file.path.starts_with("templates/") && !file.path.starts_with("templates/mail/"));
    for file in pages {
        breaches.extend(text::inline(&file.text).into_iter().map(|what| format!("{}:{what}", file.path)));
    }
    none("Inline script or style, which the content security policy would drop", &breaches);
}

#[test]
fn nothing_depends_on_one_machine() {
    let files = project();
    let mut breaches = Vec::new();
    for file in files.iter().filter(|file| !file.path.contains("/vendor/") && !file.path.starts_with("tests/it/rules"))
    {
        breaches.extend(text::foreign(file));
    }
    none("Paths of one machine, or addresses that are not examples", &breaches);
}
