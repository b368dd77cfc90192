//! A machine becomes a node by the line that the console and the command line print: the real script from the real server,
//! run by the shell as an admin would. It refuses to touch anything outside the mill's own directory.
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::mill::{ADMIN, Done, Mill, PASSWORD};

/// A mill behind TLS of its own authority, without a node, with the admin signed in.
fn mill() -> Mill {
    let mut mill = Mill::empty().off_loopback().without_local_node();
    mill.set_up(&["--simulated-gpus", "2"]);
    mill.start();
    let url = mill.url.clone();
    let words = ["login", &url, "--email", ADMIN, "--password-stdin", "--json"];
    let problem: Value = serde_json::from_str(&mill.say("admin", &words, PASSWORD).err).unwrap();
    let next = problem["next"].as_str().unwrap();
    let fingerprint = next.split([' ', '.', ',']).find(|word| word.len() == 64).unwrap().to_owned();
    mill.say("admin", &[&words[..], &["--ca-fingerprint", &fingerprint]].concat(), PASSWORD).ok();
    mill
}

/// What somebody pastes, with everything that it installs kept inside the mill's directory.
fn paste(mill: &Mill, line: &str) -> Done {
    let inside = format!(
        "install.sh --no-service --bin {0}/bin --data {0}/machine --pin",
        mill.dir.to_str().expect("the directory has a plain name")
    );
    let line = line.replace("install.sh --pin", &inside);
    let done = Command::new("sh").args(["-c", &line]).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Done { code: done.status.code().unwrap_or(-1), out: text(&done.stdout), err: text(&done.stderr) }
}

fn line(token: &Value) -> String {
    token["command"].as_str().unwrap().to_owned()
}

#[test]
fn one_line_makes_a_node_and_can_be_pasted_again() {
    let mill = mill();
    let token = mill.json(&["node", "add", "--name", "stone-1", "--owner-team", crate::mill::TEAM]);
    assert_eq!((token["state"].as_str(), token["auto_admit"].as_bool()), (Some("waiting"), Some(false)));
    let line = line(&token);
    assert!(!line.contains("--token") && line.starts_with("printf '%s\\n' '"), "{line}");
    // A mill that is not the pinned one gets no token and installs nothing.
    let pin = line.split("grep -q ^").nth(1).unwrap()[..64].to_owned();
    let forged = paste(&mill, &line.replace(&pin, &"0".repeat(64)));
    assert!(forged.code != 0 && forged.err.contains("This is not your mill"), "{forged:?}");
    assert!(!mill.dir.join("bin").exists() && mill.json(&["nodes"]) == serde_json::json!([]));

    let done = paste(&mill, &line);
    assert_eq!(done.code, 0, "{done:?}");
    for said in ["C library", "needed: ", "Sandbox", "is the mill that was pinned", "is node nd_"] {
        assert!(done.out.contains(said), "{said} is missing: {}", done.out);
    }
    let nodes = mill.json(&["nodes"]);
    assert_eq!((nodes[0]["name"].as_str(), nodes[0]["state"].as_str()), (Some("stone-1"), Some("pending")));
    assert_eq!(nodes[0]["owner"].as_str(), Some(crate::mill::TEAM));
    assert_eq!(mill.json(&["node", "admit", "stone-1"])["state"], "admitted");
    let again = paste(&mill, &line);
    assert!(again.code == 0 && again.out.contains("already and stays it"), "{again:?}");
    assert_eq!(mill.json(&["nodes"]).as_array().unwrap().len(), 1);

    // The name is taken now, and its node can be ended.
    let taken = mill.run(&["node", "add", "--name", "stone-1"]);
    assert!(taken.code == 1 && taken.err.contains("Something else already has it"), "{taken:?}");
    assert_eq!(mill.json(&["node", "revoke", "stone-1"])["state"], "revoked");
    let unknown = mill.run(&["node", "admit", "no-such"]);
    assert!(unknown.code == 1 && unknown.err.contains("There is no such node"), "{unknown:?}");
}

#[test]
fn what_stops_a_machine_is_said_with_its_remedy_before_anything_joins() {
    let mill = mill();
    let token = mill.json(&["node", "add"]);
    // A real machine may not join a simulated mill; here it would not have a driver either.
    let done = paste(&mill, &line(&token).replace(" --simulated-gpus 4", ""));
    assert!(done.code == 1 && done.out.contains("offer simulated GPUs: --simulated-gpus 4"), "{done:?}");
    assert!(done.err.contains("cannot be a node like this"), "{done:?}");
    assert_eq!(mill.json(&["nodes"]), serde_json::json!([]));
    // The line is not spent by that.
    assert_eq!(paste(&mill, &line(&token)).code, 0);
    assert_eq!(mill.json(&["nodes"])[0]["state"], "pending");
    // Used by this machine; another one with the same line is told so.
    std::fs::remove_dir_all(mill.dir.join("machine")).unwrap();
    let used = paste(&mill, &line(&token));
    assert!(used.code != 0 && used.err.contains("Another machine has joined with this token"), "{used:?}");
    let foreign = line(&token).replace(token["token"].as_str().unwrap(), "of-another-mill");
    let foreign = paste(&mill, &foreign);
    assert!(foreign.code != 0 && foreign.err.contains("another mill’s"), "{foreign:?}");
}

#[test]
fn a_machine_can_be_looked_over_alone() {
    let mill = Mill::empty();
    let alone = mill.run(&["agent", "--check", "--simulated-gpus", "1", "--data", "nowhere/yet"]);
    assert!(alone.out.contains("this program needs") && alone.out.contains("Disk"), "{alone:?}");
    assert!(!mill.dir.join("nowhere").exists(), "looking changes nothing");
    let (address, words) = (crate::mill::free_address(), ["agent", "--check", "--simulated-gpus", "1", "--server"]);
    let url = format!("https://{address}");
    let away = mill.run(&[&words[..], &[url.as_str()]].concat());
    assert!(away.code == 1 && away.out.contains("stops") && away.out.contains("the firewall between"), "{away:?}");
}

#[test]
fn an_agent_becomes_the_mills_program_and_its_leases_notice_nothing() {
    let mill = mill();
    let token = mill.json(&["node", "add", "--name", "stone-1"]);
    let done = paste(&mill, &line(&token));
    assert_eq!(done.code, 0, "{done:?}");
    mill.json(&["node", "admit", "stone-1"]);
    // As a service manager would start it, by the words that the script said.
    let words = done.out.lines().find_map(|line| line.trim().split_once("/bin/gristmill agent ")).unwrap().1.to_owned();
    let program = mill.dir.join("bin/gristmill");
    let log = std::fs::File::create(mill.dir.join("agent.log")).unwrap();
    let mut agent = Command::new(&program)
        .arg("agent")
        .args(words.split(' '))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    mill.until("a GPU is free", |mill| mill.json(&["status"])["gpus_free_now"].as_u64() > Some(0));
    let id = mill.run(&["book", "--gpus", "1", "--for", "1h"]).ok().trim().to_owned();
    mill.until("it runs", |mill| mill.json(&["show", &id])["state"] == "active");
    let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&program).unwrap());
    let before = inode();
    let refused = mill.run(&["node", "upgrade", "stone-1"]);
    assert!(refused.code == 1 && refused.err.contains("--again"), "{refused:?}");
    assert_eq!(mill.json(&["node", "upgrade", "stone-1", "--again"])["agent"]["state"], "upgrading");
    mill.until("the agent is another file", |_| inode() != before);
    mill.until("it is there again", |mill| {
        let node = mill.json(&["nodes"])[0].clone();
        node["agent"]["state"] == "same" && node["connected"] == true
    });
    assert!(agent.try_wait().unwrap().is_none(), "it is the same process");
    assert!(mill.dir.join("bin/.gristmill.previous").exists() && !mill.dir.join("bin/.gristmill.new").exists());
    assert_eq!(mill.json(&["show", &id])["state"], "active");
    let shell = mill.say("admin", &["attach", &id], "echo $((6*7)); exit\n");
    assert!(shell.code == 0 && shell.out.contains("42"), "{shell:?}");
}
