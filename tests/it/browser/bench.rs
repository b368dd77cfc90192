//! The processes of the browser test: a real server with its agent, and a browser with its driver, all in a folder of
//! their own. It refuses to leave one behind, however the test ends: a watcher outlives it and puts an end to whatever
//! still names that folder.
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use gristmill::app::ids;
use rustix::process::{Pid, Signal, kill_process};

/// Nothing here takes this long unless it hangs.
const GUARD: Duration = Duration::from_secs(60);

/// Waits until the test is gone, then ends what it left. It finds processes by the folder's name alone, which no other has.
const WATCHER: &str = r#"
while kill -0 "$1" 2>/dev/null; do sleep 1; done
for round in 1 2 3; do
  for file in /proc/[0-9]*/cmdline; do
    pid=${file#/proc/}; pid=${pid%/cmdline}
    [ "$pid" = "$$" ] && continue
    tr '\0' ' ' <"$file" 2>/dev/null | grep -qF -- "$2" && kill -KILL "$pid" 2>/dev/null
  done
  sleep 1
done
rm -rf -- "$2"
"#;

pub struct Bench {
    pub dir: PathBuf,
    /// Where the console is.
    pub url: String,
    /// The one-time link that the server printed.
    pub setup: String,
    /// Where the driver listens.
    pub driver: String,
    children: Vec<Child>,
    watcher: Child,
}

pub fn gristmill() -> Command {
    Command::new(env!("CARGO_BIN_EXE_gristmill"))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Bench {
    pub fn start() -> Self {
        // Short: sockets lie in it, and their paths are limited to 108 bytes.
        let dir = PathBuf::from(format!("/tmp/gm-{:08x}", ids::fresh() as u32));
        std::fs::create_dir_all(&dir).unwrap();
        let mut watch = Command::new("sh");
        watch.args(["-c", WATCHER, "watcher"]).arg(std::process::id().to_string()).arg(&dir);
        watch.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let watcher = watch.spawn().expect("sh is there");
        let mut bench = Self {
            dir,
            url: String::new(),
            setup: String::new(),
            driver: String::new(),
            children: Vec::new(),
            watcher,
        };
        bench.serve();
        bench.drive();
        bench
    }

    fn serve(&mut self) {
        let log = std::fs::File::create(self.dir.join("serve.log")).unwrap();
        let gateway = format!("127.0.0.1:{}", free_port());
        let mut command = gristmill();
        command.arg("serve").arg("--data").arg(self.dir.join("data"));
        command.args(["--listen", &format!("127.0.0.1:{}", free_port()), "--gateway", &gateway]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).process_group(0);
        let mut child = command.spawn().expect("the server starts");
        let out = BufReader::new(child.stdout.take().unwrap());
        self.children.push(child);
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if let Some(link) = line.trim().strip_prefix("http").map(|rest| format!("http{rest}"))
                    && link.contains("/setup/")
                {
                    let _ = tell.send(link);
                }
            }
        });
        self.setup = told.recv_timeout(GUARD).unwrap_or_else(|_| panic!("no setup link was printed: {}", self.log()));
        self.url = self.setup.split("/setup/").next().unwrap().to_owned();
    }

    fn drive(&mut self) {
        let port = free_port();
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).arg(format!("--log-path={}", self.dir.join("driver.log").display()));
        command.env("HOME", &self.dir).env("TMPDIR", &self.dir);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        self.children.push(command.spawn().expect("chromedriver is there (scripts/test installs chromium-driver)"));
        self.driver = format!("http://127.0.0.1:{port}");
        let begun = std::time::Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < GUARD, "chromedriver does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the server wrote, for a failure's message.
    pub fn log(&self) -> String {
        let read = |path: &str| std::fs::read_to_string(self.dir.join(path)).unwrap_or_default();
        let tail = |text: String| text.lines().rev().take(20).map(|line| format!("\n  {line}")).collect::<String>();
        format!("server (newest first): {}\nagent: {}", tail(read("serve.log")), tail(read("data/agent/agent.log")))
    }
}

/// Processes whose command line names the folder; the watcher is not among them.
fn naming(dir: &Path, but: u32) -> Vec<i32> {
    let wanted = dir.to_string_lossy().into_owned();
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|&pid| pid != i32::try_from(but).unwrap_or(0))
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&wanted))
        })
        .collect()
}

impl Drop for Bench {
    fn drop(&mut self) {
        // The server first, or it would start its agent again.
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for _ in 0..50 {
            let left = naming(&self.dir, self.watcher.id());
            for pid in left.iter().filter_map(|&pid| Pid::from_raw(pid)) {
                let _ = kill_process(pid, Signal::KILL);
            }
            if left.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = self.watcher.kill();
        let _ = self.watcher.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
