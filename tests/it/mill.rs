//! A whole mill as a user has it: the real program, set up and serving in a directory of its own with simulated GPUs, its
//! agent beside it, and the command line signed in. Dropping it ends every process it started, agent and workloads included,
//! and removes its directory. It refuses shortcuts into the program.
use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_gristmill");
pub const ADMIN: &str = "ada@lab.example";
pub const PASSWORD: &str = "correct horse battery staple";
pub const TEAM: &str = "Vision";
/// Longer than anything takes on a busy machine: when it has passed, something hangs.
pub const PATIENCE: Duration = Duration::from_secs(120);

static MADE: AtomicU32 = AtomicU32::new(0);

/// What a finished command said.
#[derive(Clone, Debug)]
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Done {
    /// Standard output of a command that had to work.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:#?}");
        self.out
    }

    /// The one JSON document of a command that had to work.
    pub fn json(self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|bad| panic!("{bad}: {text}"))
    }
}

/// A mill in a directory of its own.
pub struct Mill {
    pub dir: PathBuf,
    /// Of the front door, without a trailing slash.
    pub url: String,
    listen: String,
    gateway: String,
    /// Further arguments of `gristmill serve`.
    pub serving: Vec<String>,
    /// Further variables of `gristmill serve`, which its agent takes over as far as it knows them.
    pub environment: Vec<(&'static str, PathBuf)>,
    server: Option<Child>,
}

impl Mill {
    /// Set up with four simulated GPUs, serving, its node connected, the admin signed in.
    pub fn new() -> Self {
        let mut mill = Self::empty();
        mill.set_up(&["--simulated-gpus", "4"]);
        mill.start();
        mill.login("admin", ADMIN, PASSWORD);
        mill.until("four GPUs are free", |mill| mill.json(&["status"])["gpus_free_now"] == 4);
        mill
    }

    /// A directory and addresses, and nothing that runs.
    pub fn empty() -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("gristmill-mill-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let (listen, gateway) = (free_address(), free_address());
        Self {
            url: format!("http://{listen}"),
            dir,
            listen,
            gateway,
            serving: Vec::new(),
            environment: Vec::new(),
            server: None,
        }
    }

    /// Without this machine as its node.
    pub fn without_local_node(mut self) -> Self {
        self.serving.push("--no-local-node".to_owned());
        self
    }

    /// Off loopback, where the front door speaks TLS with a certificate of the mill's own authority.
    pub fn off_loopback(mut self) -> Self {
        let (_, port) = self.listen.rsplit_once(':').unwrap();
        (self.url, self.listen) = (format!("https://127.0.0.1:{port}"), format!("0.0.0.0:{port}"));
        self
    }

    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// `gristmill setup` with the usual names; `more` follows.
    pub fn set_up(&self, more: &[&str]) {
        let data = self.data();
        let mut words =
            vec!["setup", "--data", data.to_str().unwrap(), "--organisation", "Lab", "--admin-email", ADMIN];
        words.extend(["--admin-name", "Ada", "--team", TEAM, "--password-stdin"]);
        words.extend(more);
        self.say("admin", &words, PASSWORD).ok();
    }

    /// Starts the server and waits until it says where it is. Answers what it said: before setup, with the one-time link.
    pub fn start(&mut self) -> String {
        let (said, log) = (self.dir.join("serve.out"), self.dir.join("serve.log"));
        let append = |path: &Path| File::options().create(true).append(true).open(path).unwrap();
        File::create(&said).unwrap();
        let server = self
            .program("admin")
            .args(["serve", "--data", self.data().to_str().unwrap()])
            .args(["--listen", &self.listen, "--gateway", &self.gateway, "--disk-floor-mib", "1"])
            .args(&self.serving)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(append(&said))
            .stderr(append(&log))
            .spawn()
            .unwrap();
        self.server = Some(server);
        let begun = Instant::now();
        loop {
            let text = fs::read_to_string(&said).unwrap();
            if text.contains("Gristmill is running") && text.ends_with("\n\n") {
                return text;
            }
            let ended = self.server.as_mut().and_then(|server| server.try_wait().unwrap());
            let log = || fs::read_to_string(&log).unwrap_or_default();
            assert!(ended.is_none(), "the server ended: {}", log());
            assert!(begun.elapsed() < PATIENCE, "the server does not start: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops the server as an operator would; agent and workloads go on.
    pub fn stop(&mut self) {
        self.end(Signal::TERM);
    }

    /// Sends the server a signal that it outlives.
    pub fn signal(&self, signal: Signal) {
        kill_process(pid(self.server.as_ref().unwrap().id()), signal).unwrap();
    }

    /// Kills the server without a word.
    pub fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    fn end(&mut self, signal: Signal) {
        if let Some(mut server) = self.server.take() {
            kill_process(pid(server.id()), signal).unwrap();
            server.wait().unwrap();
        }
    }

    /// The program with the home of `who`.
    pub fn program(&self, who: &str) -> Command {
        let mut program = Command::new(PROGRAM);
        program.env("GRISTMILL_HOME", self.dir.join("home").join(who)).env("NO_COLOR", "1").current_dir(&self.dir);
        for name in ["GRISTMILL_DATA", "GRISTMILL_LISTEN", "GRISTMILL_GATEWAY", "GRISTMILL_PUBLIC_URL"] {
            program.env_remove(name);
        }
        program
    }

    /// Carries a command out as `who`, with something on its standard input.
    pub fn say(&self, who: &str, words: &[&str], input: &str) -> Done {
        let mut child = self
            .program(who)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that does not read its input may have closed it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let done = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Done { code: done.status.code().unwrap_or(-1), out: text(&done.stdout), err: text(&done.stderr) }
    }

    /// Carries a command out as the admin.
    pub fn run(&self, words: &[&str]) -> Done {
        self.say("admin", words, "")
    }

    /// Carries a command out as the admin and reads its JSON document.
    pub fn json(&self, words: &[&str]) -> Value {
        // First, since what follows two dashes belongs to a command that is run.
        let words: Vec<&str> = std::iter::once("--json").chain(words.iter().copied()).collect();
        self.run(&words).json()
    }

    /// Signs somebody in under a home of their own.
    pub fn login(&self, who: &str, email: &str, password: &str) {
        self.say(who, &["login", &self.url, "--email", email, "--password-stdin"], password).ok();
    }

    /// The token that `who` signed in for.
    pub fn token(&self, who: &str) -> String {
        let kept = fs::read_to_string(self.dir.join("home").join(who).join("client.json")).unwrap();
        serde_json::from_str::<Value>(&kept).unwrap()["token"].as_str().unwrap().to_owned()
    }

    /// Looks again until it is so.
    pub fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !so(self) {
            assert!(begun.elapsed() < PATIENCE, "it never came to be that {what}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Every process of this mill: all of them name its directory.
    pub fn processes(&self) -> Vec<u32> {
        let mark = self.dir.to_str().unwrap();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let names = |file| fs::read(entry.path().join(file)).is_ok_and(|bytes| holds(&bytes, mark));
            if id != std::process::id() && (names("cmdline") || names("environ")) {
                found.push(id);
            }
        }
        found
    }
}

impl Default for Mill {
    fn default() -> Self {
        Self::new()
    }
}

fn holds(bytes: &[u8], mark: &str) -> bool {
    bytes.windows(mark.len()).any(|window| window == mark.as_bytes())
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).unwrap()).unwrap()
}

/// An address on loopback that is free now.
pub fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

impl Drop for Mill {
    fn drop(&mut self) {
        // Shims start nothing new once the agent is gone, but what they started may take a moment to die.
        for _ in 0..100 {
            let left = self.processes();
            for id in &left {
                let _ = kill_process(pid(*id), Signal::KILL);
            }
            if let Some(server) = &mut self.server {
                let _ = server.wait();
            }
            self.server = None;
            if left.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        if std::thread::panicking() {
            eprintln!("the mill's directory is left for a look: {}", self.dir.display());
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}
