//! kill -9 of the whole server under load, again and again: every booking and every grant that was acknowledged to somebody
//! is there afterwards, none is there twice, and the books hold. It refuses to look into the database; it asks as people do.
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::mill::{Mill, PROGRAM, TEAM};

/// As many kills as the store's own driver gives reason to trust; each costs a start of the server.
const ROUNDS: u64 = 20;
/// People who book and grant meanwhile.
const PEOPLE: usize = 3;

/// One command of one person: its output when the mill acknowledged it.
fn acknowledged(dir: &Path, words: &[&str]) -> Option<String> {
    let done = Command::new(PROGRAM)
        .env("GRISTMILL_HOME", dir.join("home/admin"))
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    done.status.success().then(|| String::from_utf8(done.stdout).unwrap().trim().to_owned())
}

#[test]
fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
    let mut mill = Mill::new();
    let dir = mill.dir.clone();
    let (bookings, grants) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for person in 0..PEOPLE {
            let (dir, bookings, grants, done) = (&dir, &bookings, &grants, &done);
            scope.spawn(move || {
                for round in 0_u32.. {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    if round % 2 == 0 {
                        let asked = ["book", "--gpus", "1", "--for", "1m", "--at", "2026-12-01T09:00"];
                        let soon = ["book", "--gpus", "1", "--for", "1m"];
                        // Most windows are taken after a while; as soon as possible always finds one.
                        let words = if round == 0 { &asked[..] } else { &soon[..] };
                        bookings.lock().unwrap().extend(acknowledged(dir, words));
                    } else {
                        let reason = format!("grant {person}-{round}");
                        let words = ["grant", "--team", TEAM, "--amount", "1", "--reason", &reason];
                        if acknowledged(dir, &words).is_some() {
                            grants.lock().unwrap().push(reason);
                        }
                    }
                }
            });
        }
        for round in 0..ROUNDS {
            std::thread::sleep(Duration::from_millis(150 + 53 * (round * 7 % 11)));
            mill.kill();
            mill.start();
        }
        done.store(true, Ordering::Relaxed);
    });
    let (bookings, grants) = (bookings.into_inner().unwrap(), grants.into_inner().unwrap());
    assert!(bookings.len() > 10 && grants.len() > 10, "{} bookings, {} grants", bookings.len(), grants.len());
    for id in &bookings {
        mill.run(&["show", id]).ok();
    }
    let mut lines = Vec::new();
    let journal = mill.json(&["statement", "--team", TEAM]);
    lines.extend(journal["lines"].as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap().to_owned()));
    let mut page = journal["next"].as_u64();
    let token = mill.token("admin");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    while let Some(before) = page {
        let url = format!("{}/api/v1/teams/{TEAM}/statement?before={before}", mill.url);
        let asked = async {
            let answer = reqwest::Client::new().get(&url).bearer_auth(&token).send().await.unwrap();
            answer.json::<serde_json::Value>().await.unwrap()
        };
        let journal = runtime.block_on(asked);
        lines.extend(journal["lines"].as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap().to_owned()));
        page = journal["next"].as_u64();
    }
    for reason in &grants {
        let found = lines.iter().filter(|line| line.ends_with(&format!(": {reason}"))).count();
        assert_eq!(found, 1, "{reason} stands {found} times in the statement");
    }
    let verified = mill.run(&["verify"]);
    assert!(verified.out.contains("Everything holds"), "{verified:?}");
    mill.stop();
    let data = mill.data();
    let stopped = mill.run(&["verify", "--data", data.to_str().unwrap()]);
    assert!(stopped.out.contains("Everything holds"), "{stopped:?}");
}
