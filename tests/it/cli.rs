//! The command line as people's scripts use it: the real program against a real server, every verb, every voice.
use std::fs;

use serde_json::Value;

use crate::mill::{Mill, TEAM};

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// The fields of a document with their types, one a line, sorted: what scripts rely on.
fn shape(path: &str, value: &Value, lines: &mut Vec<String>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(items) => {
            return match items.first() {
                Some(first) => shape(&format!("{path}[]"), first, lines),
                None => lines.push(format!("{path}[] empty")),
            };
        }
        // What a node observes of itself depends on the machine that tests run on.
        Value::Object(_) if path.ends_with(".observed") => "object",
        Value::Object(fields) => {
            return fields.iter().for_each(|(name, field)| shape(&format!("{path}.{name}"), field, lines));
        }
    };
    lines.push(format!("{path} {kind}"));
}

/// Collects the shapes of documents, to be held against the fixture.
#[derive(Default)]
struct Shapes(String);

impl Shapes {
    fn note(&mut self, verb: &str, document: &Value) {
        let mut lines = Vec::new();
        shape("", document, &mut lines);
        lines.sort();
        self.0.push_str(&format!("# {verb}\n{}\n\n", lines.join("\n")));
    }

    fn hold(&self) {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/cli-shapes.txt");
        if std::env::var_os("GRISTMILL_WRITE_SHAPES").is_some() {
            fs::write(path, &self.0).unwrap();
        }
        let known = fs::read_to_string(path).unwrap();
        assert!(
            known == self.0,
            "a document changed its shape; scripts rely on it. If it only grew, write it down with \
             GRISTMILL_WRITE_SHAPES=1.\n{}",
            first_difference(&known, &self.0)
        );
    }
}

fn first_difference(known: &str, now: &str) -> String {
    let mut pairs = known.lines().zip(now.lines());
    pairs.find(|(a, b)| a != b).map_or_else(|| "one is longer".to_owned(), |(a, b)| format!("known: {a}\nnow:   {b}"))
}

#[test]
fn a_command_runs_and_returns_its_exit_code() {
    let mill = Mill::new();
    let done = mill.run(&["run", "--gpus", "1", "--for", "10m", "--", "sh", "-c", "echo hello; exit 3"]);
    assert_eq!((done.code, done.out.as_str()), (3, "hello\n"), "{done:?}");

    let killed = mill.run(&["run", "--gpus", "1", "--for", "10m", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(killed.code, 128 + 9, "{killed:?}");

    let words = ["run", "--json", "--gpus", "2", "--for", "10m", "--", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES"];
    let done = mill.run(&words);
    assert_eq!(done.err.lines().last().unwrap().split(',').count(), 2, "{done:?}");
    let document = done.json();
    assert_eq!((&document["exit_code"], &document["booking"]["state"]), (&Value::from(0), &Value::from("ended")));

    let logs = mill.run(&["logs", text(&document["booking"]["id"])]).ok();
    assert!(logs.starts_with("GPU-") || logs.contains(','), "{logs}");
    assert_eq!(mill.run(&["run", "--gpus", "0", "--for", "10m", "--", "true"]).code, 125);
    mill.until("the books are closed", |mill| mill.json(&["bookings"]).as_array().unwrap().is_empty());
    assert_eq!(mill.json(&["verify"])["holds"], true);
}

#[test]
fn interrupting_gives_the_gpus_back() {
    let mill = Mill::new();
    let mut running = mill
        .program("admin")
        .args(["run", "-q", "--gpus", "4", "--for", "1h", "--", "sh", "-c", "echo here; sleep 3600"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(running.stdout.take().unwrap()), &mut line).unwrap();
    assert_eq!(line, "here\n");
    let pid = rustix::process::Pid::from_raw(i32::try_from(running.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(130));
    mill.until("all GPUs are free again", |mill| mill.json(&["status"])["gpus_free_now"] == 4);
    let list = mill.json(&["bookings", "--state", "ended"]);
    assert_eq!(list[0]["cause"], "released");
}

#[test]
fn a_server_that_dies_and_comes_back_ends_no_command() {
    let mut mill = Mill::new();
    let running = mill
        .program("admin")
        .args(["run", "--gpus", "1", "--for", "10m", "--"])
        .args(["sh", "-c", "echo one; sleep 6; echo two; exit 5"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    mill.until("it runs", |mill| mill.json(&["bookings"])[0]["state"] == "active");
    mill.kill();
    std::thread::sleep(std::time::Duration::from_secs(2));
    mill.start();
    let done = running.wait_with_output().unwrap();
    assert_eq!((done.status.code(), String::from_utf8_lossy(&done.stdout).as_ref()), (Some(5), "one\ntwo\n"));
    mill.until("it is settled", |mill| mill.json(&["bookings"]).as_array().unwrap().is_empty());
    assert_eq!(mill.json(&["verify"])["holds"], true);
}

#[test]
fn every_document_keeps_its_shape() {
    let mill = Mill::new();
    let mut shapes = Shapes::default();
    let mut note = |verb: &str, words: &[&str]| {
        let document = mill.json(words);
        shapes.note(verb, &document);
        document
    };
    note("status", &["status"]);
    note("nodes", &["nodes"]);
    note("gpus", &["gpus"]);
    note("health", &["health"]);
    note("node add", &["node", "add"]);
    note("quote", &["quote", "--gpus", "2", "--for", "3h"]);
    let later = note(
        "book",
        &["book", "--gpus", "1", "--for", "1h", "--at", "2099-01-01T09:00"].map(soon).each_ref().map(String::as_str),
    );
    // Something must have been delivered for a document to list it.
    note("run", &["run", "--gpus", "1", "--for", "10m", "--", "sleep", "2"]);
    let booking =
        note("book, a workspace", &["book", "--gpus", "2", "--for", "1h", "--team", TEAM, "--title", "train"]);
    let id = text(&booking["id"]);
    mill.until("it runs", |mill| mill.json(&["show", id])["state"] == "active");
    note("bookings", &["bookings"]);
    note("show", &["show", id]);
    note("extend", &["extend", id, "--by", "1h"]);
    note("cancel", &["cancel", text(&later["id"])]);
    note("release", &["release", id]);
    mill.until("it has ended", |mill| mill.json(&["show", id])["state"] == "ended");
    note("show, ended", &["show", id]);
    note("invite", &["invite", "--email", "bob@lab.example", "--team", TEAM, "--role", "member"]);
    note("grant", &["grant", "--team", TEAM, "--amount", "1000", "--reason", "a good year"]);
    note("statement", &["statement", "--team", TEAM]);
    note("rate set", &["rate", "set", "--model", "H200", "--per-gpu-hour", "2.50"]);
    note("rate list", &["rate", "list"]);
    let month = text(&booking["start"])[..7].to_owned();
    let draft = note("invoice draft", &["invoice", "draft", "--team", TEAM, "--period", &month]);
    let document = text(&draft["id"]);
    note("invoice issue", &["invoice", "issue", document]);
    note("invoice settle", &["invoice", "settle", document]);
    note("invoice list", &["invoice", "list"]);
    note("invoice pdf", &["invoice", "pdf", document, "--output", "invoice.pdf"]);
    assert!(fs::read(mill.dir.join("invoice.pdf")).unwrap().starts_with(b"%PDF-"));
    assert_eq!(note("verify", &["verify"])["holds"], true);
    note("backup", &["backup", "mill.backup"]);
    note("restore --preview", &["restore", "mill.backup", "--data", "new", "--preview"]);
    note("install-service", &["install-service", "--print"]);
    shapes.hold();
}

/// A start that lies within what can be booked, wherever the clock stands.
fn soon(word: &str) -> String {
    if !word.starts_with("2099") {
        return word.to_owned();
    }
    let stamp = jiff::Timestamp::from_millisecond(gristmill::clock::now().as_millis()).unwrap();
    let tomorrow = stamp.checked_add(jiff::SignedDuration::from_hours(24)).unwrap();
    tomorrow.to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y-%m-%dT%H:%M").to_string()
}

#[test]
fn people_get_tables_and_loops_get_ids() {
    let mill = Mill::new();
    let id = mill.run(&["book", "--gpus", "1", "--for", "1h"]).ok();
    assert!(id.starts_with("bk_") && id.lines().count() == 1, "the id alone: {id}");
    assert_eq!(mill.run(&["bookings", "-q"]).ok(), id);
    let table = mill.run(&["bookings"]).ok();
    assert!(table.starts_with("ID ") && table.contains(id.trim()), "{table}");
    for (words, said) in [
        (&["status"][..], "4"),
        (&["nodes"], "admitted"),
        (&["gpus"], "H200"),
        (&["show", id.trim()], "price"),
        (&["quote", "--gpus", "1", "--for", "90m"], "1 h 30 min"),
        (&["statement"], "Opening grant"),
        (&["rate", "list"], "H200"),
        (&["invoice", "list"], "invoice draft"),
        (&["verify"], "Everything holds."),
        (&["install-service", "--print"], "KillMode=process"),
    ] {
        let out = mill.run(words).ok();
        assert!(out.contains(said), "{words:?}: {out}");
    }
}

#[test]
fn a_terminal_is_attached_to() {
    let mill = Mill::new();
    let id = mill.run(&["book", "--gpus", "1", "--for", "1h"]).ok();
    let id = id.trim();
    mill.until("it runs", |mill| mill.json(&["show", id])["state"] == "active");
    // The command is typed before the shell has its prompt; a terminal keeps it.
    let done = mill.say("admin", &["attach", id], "echo $((6*7)) here; exit\n");
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.out.contains("42 here"), "{done:?}");
    assert!(done.err.contains("This shell has ended."), "{done:?}");
}

#[test]
fn every_no_has_a_reason_a_next_step_and_a_code() {
    let mill = Mill::new();
    let book = |gpus, more: &[&str]| {
        let mut words = vec!["book", "--gpus", gpus, "--for", "1h", "--json"];
        words.extend(more);
        mill.run(&words)
    };
    for done in [book("0", &[]), book("1000000", &[]), book("1", &["--at", "2020-01-01T09:00"])] {
        assert_eq!((done.code, done.out.as_str()), (1, ""), "{done:?}");
        let problem: Value = serde_json::from_str(&done.err).unwrap();
        for part in ["code", "what", "why", "next"] {
            assert!(!text(&problem[part]).is_empty(), "{problem}");
        }
    }
    let taken = mill.run(&["book", "--gpus", "4", "--for", "2h"]).ok();
    assert!(taken.starts_with("bk_"));
    let done = mill.run(&["extend", "bk_01m826e6dje2trna3kddhcvsn7", "--by", "1h"]);
    assert!(done.code == 1 && done.err.lines().count() == 3, "what, why, next: {done:?}");
    // The command line itself, nobody signed in, nobody there.
    assert_eq!(mill.run(&["book", "--gpus", "1", "--for", "soon"]).code, 2);
    assert_eq!(book("1", &["--at", "tomorrow"]).code, 2);
    let stranger = mill.say("nobody", &["status"], "");
    assert!(stranger.code == 4 && stranger.err.contains("gristmill login"), "{stranger:?}");
    let nowhere = format!("http://{}", crate::mill::free_address());
    let lost = mill.say("nobody", &["login", &nowhere, "--email", "a@b.c", "--password-stdin"], "secret");
    assert!(lost.code == 3 && lost.err.contains(&nowhere), "{lost:?}");
    let wrong = mill.say("nobody", &["login", &mill.url, "--email", crate::mill::ADMIN, "--password-stdin"], "wrong");
    assert!(wrong.code == 1 && wrong.err.lines().count() == 3, "{wrong:?}");
    assert!(mill.run(&["backup", "serve.log"]).err.contains("exists already"));
}

#[test]
fn a_mill_with_its_own_authority_is_trusted_by_fingerprint_alone() {
    let mut mill = Mill::empty().off_loopback();
    mill.set_up(&["--simulated-gpus", "1"]);
    mill.start();
    let url = mill.url.clone();
    let login = |more: &[&str]| {
        let mut words = vec!["login", &url, "--email", crate::mill::ADMIN, "--password-stdin", "--json"];
        words.extend(more);
        mill.say("admin", &words, crate::mill::PASSWORD)
    };
    let distrusted = login(&[]);
    assert_eq!(distrusted.code, 3, "{distrusted:?}");
    let problem: Value = serde_json::from_str(&distrusted.err).unwrap();
    assert_eq!(problem["code"], "untrusted");
    let words = text(&problem["next"]).split(' ').map(|word| word.trim_matches(['.', ','])).collect::<Vec<_>>();
    let fingerprint = words.iter().find(|word| word.len() == 64).unwrap();
    let forged: String = fingerprint.chars().rev().collect();
    assert_eq!(login(&["--ca-fingerprint", &forged]).code, 3);
    assert!(!mill.dir.join("home/admin/client.json").exists(), "nothing is kept of a mill that is not trusted");
    login(&["--ca-fingerprint", fingerprint]).ok();
    mill.until("a GPU is free", |mill| mill.json(&["status"])["gpus_free_now"] == 1);
    let done = mill.run(&["run", "--gpus", "1", "--for", "10m", "--", "echo", "over TLS"]);
    assert_eq!((done.code, done.out.as_str()), (0, "over TLS\n"), "{done:?}");
    let id = mill.run(&["book", "--gpus", "1", "--for", "1h"]).ok();
    mill.until("it runs", |mill| mill.json(&["show", id.trim()])["state"] == "active");
    let shell = mill.say("admin", &["attach", id.trim()], "echo $((6*7)); exit\n");
    assert!(shell.code == 0 && shell.out.contains("42"), "{shell:?}");
}

#[test]
fn a_backup_comes_back_elsewhere_and_a_stopped_mill_is_verified() {
    let mut mill = Mill::new();
    let done = mill.run(&["run", "--gpus", "1", "--for", "10m", "--", "true"]);
    assert_eq!(done.code, 0, "{done:?}");
    mill.until("it is settled", |mill| mill.json(&["bookings"]).as_array().unwrap().is_empty());
    mill.run(&["backup", "mill.backup"]).ok();
    let seen = mill.run(&["restore", "mill.backup", "--data", "new", "--preview"]).ok();
    assert!(seen.contains("Lab") && seen.contains("bookings    1") && seen.contains("seal.key"), "{seen}");
    assert!(!mill.dir.join("new").exists(), "a preview writes nothing");
    mill.run(&["restore", "mill.backup", "--data", "new", "--keys", "data/keys"]).ok();
    assert_eq!(mill.run(&["restore", "mill.backup", "--data", "new"]).code, 6, "not over what is there");
    assert_eq!(mill.json(&["verify", "--data", "new"])["holds"], true);
    // The running mill's directory is in use; a directory without data is not verified into one that holds.
    assert_eq!(mill.run(&["verify", "--data", "data"]).code, 6);
    assert_eq!(mill.run(&["verify", "--data", "nowhere"]).code, 6);
    assert!(!mill.dir.join("nowhere").exists());
    mill.stop();
    assert_eq!(mill.json(&["verify", "--data", "data"])["holds"], true);
    // The restored one takes over: the old token is void, the password works.
    fs::rename(mill.dir.join("data"), mill.dir.join("old")).unwrap();
    fs::rename(mill.dir.join("new"), mill.dir.join("data")).unwrap();
    mill.start();
    assert_eq!(mill.run(&["status"]).code, 4);
    mill.login("admin", crate::mill::ADMIN, crate::mill::PASSWORD);
    assert_eq!(mill.json(&["bookings", "--all"]).as_array().unwrap().len(), 1);
}
