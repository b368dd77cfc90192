//! A fleet of simulated machines against a real server, both as processes of their own on this machine: how long until all
//! are connected, what a connection costs the server in memory, what the pages take meanwhile, and what a steady fleet costs.
//! `cargo bench --bench fleet -- [--json] [--nodes N] [--gpus-per-node M] [--steady SECONDS]`.
//!
//! Server and machines share the processors: each machine's half of the TLS handshake is paid for here as well, so the
//! seconds are an upper limit for a server that has them to itself. GRISTMILL_BENCH_PROGRAM measures a program that was
//! built before.
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant as Stopwatch};

/// The program that is measured: the one built beside this bench, or the one that [`OTHER`] names.
const PROGRAM: &str = env!("CARGO_BIN_EXE_gristmill");
const OTHER: &str = "GRISTMILL_BENCH_PROGRAM";
const EMAIL: &str = "ada@lab.example";
const PASSWORD: &str = "a measured pinch of salt";
/// Nothing here takes this long unless it hangs.
const GUARD: Duration = Duration::from_secs(900);
/// How often a page is asked for while machines connect.
const PAGE_EVERY: Duration = Duration::from_millis(100);
/// Clock ticks of /proc/PID/stat in a second, as Linux has them on every machine that this runs on.
const TICKS: f64 = 100.0;

struct Settings {
    json: bool,
    nodes: u32,
    gpus: u32,
    steady: u64,
}

fn settings() -> Settings {
    let mut settings = Settings { json: false, nodes: 2000, gpus: 8, steady: 30 };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse::<u32>().ok()).expect("a number follows");
        match argument.as_str() {
            "--json" => settings.json = true,
            "--nodes" => settings.nodes = number(),
            "--gpus-per-node" => settings.gpus = number(),
            "--steady" => settings.steady = number().into(),
            // Cargo adds this one.
            "--bench" => {}
            other => panic!("unknown argument {other}"),
        }
    }
    settings
}

struct Report {
    json: bool,
}

impl Report {
    fn say(&self, figure: &str, value: f64, unit: &str) {
        if self.json {
            println!("{{\"bench\":\"fleet\",\"figure\":\"{figure}\",\"value\":{value:.2},\"unit\":\"{unit}\"}}");
        } else {
            println!("{figure:<64} {value:>12.2} {unit}");
        }
    }
}

/// A folder of this run alone, removed in the end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process that ends with this value, kindly at first.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("loopback is there").port()
}

/// Resident memory in kB.
fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says how much");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number of kB")
}

/// Seconds of processor time so far.
fn worked(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |place: usize| fields.get(place).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / TICKS
}

struct Bench {
    dir: PathBuf,
    url: String,
    gateway: String,
    ports: (u16, u16),
}

impl Bench {
    fn new(dir: &Path) -> Self {
        let ports = (free_port(), free_port());
        let (url, gateway) = (format!("http://127.0.0.1:{}", ports.0), format!("https://127.0.0.1:{}", ports.1));
        Self { dir: dir.to_owned(), url, gateway, ports }
    }

    fn gristmill(&self, words: &[&str]) -> Command {
        let mut command = Command::new(std::env::var_os(OTHER).unwrap_or_else(|| PROGRAM.into()));
        command.args(words).env("GRISTMILL_HOME", self.dir.join("home")).stdin(Stdio::null());
        command
    }

    fn with_password(&self, words: &[&str]) {
        let mut command = self.gristmill(words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the program starts");
        let mut stdin = child.stdin.take().expect("it was asked for");
        writeln!(stdin, "{PASSWORD}").expect("it reads its password");
        drop(stdin);
        assert!(child.wait().expect("it ends").success(), "{words:?}");
    }

    fn set_up(&self) {
        let data = self.dir.join("data");
        let data = data.to_str().expect("a plain path");
        self.with_password(&[
            "setup",
            "--data",
            data,
            "--organisation",
            "Bench",
            "--admin-email",
            EMAIL,
            "--admin-name",
            "Ada",
            "--team",
            "Vision",
            "--simulated-gpus",
            "1",
            "--password-stdin",
        ]);
    }

    fn serve(&self) -> Running {
        let data = self.dir.join("data");
        let listen = format!("127.0.0.1:{}", self.ports.0);
        let gateway = format!("127.0.0.1:{}", self.ports.1);
        let log = std::fs::File::options().create(true).append(true).open(self.dir.join("serve.log"));
        let child = self
            .gristmill(&["serve", "--no-local-node", "--listen", &listen, "--gateway", &gateway, "--data"])
            .arg(data)
            .env("GRISTMILL_LOG", "warn")
            .stdout(Stdio::null())
            .stderr(log.expect("the folder is ours"))
            .spawn()
            .expect("the server starts");
        let begun = Stopwatch::now();
        for port in [self.ports.0, self.ports.1] {
            while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
                assert!(begun.elapsed() < GUARD, "the server does not listen");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Running(child)
    }

    fn sign_in(&self) {
        self.with_password(&["login", &self.url, "--email", EMAIL, "--password-stdin"]);
    }

    /// Machines as a process of their own, and the lines in which it says how far it is.
    fn machines(&self, settings: &Settings, spread: u32) -> (Running, mpsc::Receiver<Step>) {
        let (nodes, gpus) = (settings.nodes.to_string(), settings.gpus.to_string());
        let log = std::fs::File::options().create(true).append(true).open(self.dir.join("simulate.log"));
        let mut child = self
            .gristmill(&["simulate", "--json", "--server", &self.gateway, "--nodes", &nodes, "--gpus-per-node", &gpus])
            .args(["--spread", &spread.to_string()])
            .arg("--file")
            .arg(self.dir.join("fleet.json"))
            .env("GRISTMILL_LOG", "warn")
            .stdout(Stdio::piped())
            .stderr(log.expect("the folder is ours"))
            .spawn()
            .expect("the machines start");
        let steps = steps(child.stdout.take().expect("it was asked for"));
        (Running(child), steps)
    }
}

/// What the machines say of themselves.
#[derive(Debug)]
struct Step {
    step: String,
    seconds: f64,
    broken: f64,
}

fn steps(out: ChildStdout) -> mpsc::Receiver<Step> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            let Ok(said) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
            let number = |name: &str| said[name].as_f64().unwrap_or(0.0);
            let step = said["step"].as_str().unwrap_or_default().to_owned();
            if tell.send(Step { step, seconds: number("seconds"), broken: number("broken") }).is_err() {
                return;
            }
        }
    });
    told
}

fn wait_for(steps: &mpsc::Receiver<Step>, name: &str) -> Step {
    loop {
        let step = steps.recv_timeout(GUARD).unwrap_or_else(|error| panic!("never {name}: {error}"));
        if step.step == name {
            return step;
        }
    }
}

/// Someone who opens pages while the fleet connects, over a connection that is kept.
struct Reader {
    stop: Arc<AtomicBool>,
    waited: Arc<Mutex<Vec<Duration>>>,
    thread: std::thread::JoinHandle<()>,
}

impl Reader {
    fn start(url: &str, path: &str) -> Self {
        let (stop, waited) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (end, times) = (stop.clone(), waited.clone());
        let (url, path) = (url.to_owned(), path.to_owned());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let policy = reqwest::redirect::Policy::none();
                let client = reqwest::Client::builder().redirect(policy).build().expect("a client");
                let cookie = sign_in(&client, &url).await;
                while !end.load(Ordering::Relaxed) {
                    let watch = Stopwatch::now();
                    let answer = client.get(format!("{url}{path}")).header("cookie", &cookie).send().await;
                    let answer = answer.expect("the server answers");
                    assert!(answer.status().is_success(), "{}", answer.status());
                    answer.bytes().await.expect("a whole page");
                    times.lock().expect("nobody panics").push(watch.elapsed());
                    tokio::time::sleep(PAGE_EVERY.saturating_sub(watch.elapsed())).await;
                }
            });
        });
        Self { stop, waited, thread }
    }

    /// The longest of all but the slowest hundredth, in milliseconds, and how many pages there were.
    fn p99(self) -> (f64, f64) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the reader ends well");
        let mut waited = self.waited.lock().expect("nobody panics").clone();
        waited.sort_unstable();
        let place = (waited.len() * 99).div_ceil(100).max(1) - 1;
        (waited.get(place).map_or(0.0, |wait| wait.as_secs_f64() * 1e3), waited.len() as f64)
    }
}

/// Signs in as soon as the console answers, and gives the session's cookie.
async fn sign_in(client: &reqwest::Client, url: &str) -> String {
    let form = format!("email={}&password={}", EMAIL.replace('@', "%40"), PASSWORD.replace(' ', "+"));
    let begun = Stopwatch::now();
    loop {
        let request = client.post(format!("{url}/sign-in")).header("origin", url);
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form.clone());
        if let Ok(answer) = request.send().await
            && let Some(cookie) = answer.headers().get("set-cookie").and_then(|cookie| cookie.to_str().ok())
        {
            return cookie.split(';').next().unwrap_or_default().to_owned();
        }
        assert!(begun.elapsed() < GUARD, "the console does not answer");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn main() {
    // The pages are asked for without TLS, but the client wants to know whose cryptography it would use.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = settings();
    let report = Report { json: settings.json };
    let folder = Folder(std::env::temp_dir().join(format!("gristmill-fleet-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0).expect("a folder for this run");
    let bench = Bench::new(&folder.0);
    bench.set_up();
    report.say("machines", f64::from(settings.nodes), "nodes");
    report.say("GPUs", f64::from(settings.nodes * settings.gpus), "GPUs");
    joining(&bench, &settings, &report);
    connecting(&bench, &settings, &report);
}

/// From nothing to a fleet that is known.
fn joining(bench: &Bench, settings: &Settings, report: &Report) {
    let _server = bench.serve();
    bench.sign_in();
    let (_machines, steps) = bench.machines(settings, 1);
    let joined = wait_for(&steps, "joined");
    report.say("joining: key, token, certificate", joined.seconds, "s");
    wait_for(&steps, "connected");
}

/// A known fleet comes back to a server that has just started.
fn connecting(bench: &Bench, settings: &Settings, report: &Report) {
    let server = bench.serve();
    let pid = server.0.id();
    // What every server has once its first page was shown.
    let warm = Reader::start(&bench.url, "/");
    std::thread::sleep(Duration::from_secs(2));
    warm.p99();
    let (memory, work) = (resident(pid), worked(pid));
    let home = Reader::start(&bench.url, "/");
    let (machines, steps) = bench.machines(settings, 0);
    wait_for(&steps, "joined");
    let connected = wait_for(&steps, "connected");
    let (p99, pages) = home.p99();
    report.say("all connected, all at once", connected.seconds, "s");
    report.say("connections that broke on the way", connected.broken, "connections");
    report.say("server's processor time per connection", (worked(pid) - work) * 1e3 / f64::from(settings.nodes), "ms");
    report.say("pages asked for meanwhile", pages, "pages");
    report.say("a page meanwhile, p99", p99, "ms");
    let nodes = Reader::start(&bench.url, "/nodes");
    std::thread::sleep(Duration::from_secs(5));
    report.say("the list of all nodes afterwards, p99", nodes.p99().0, "ms");
    steady(pid, machines.0.id(), settings, report);
    report.say("server's memory per connection", (resident(pid) - memory) / f64::from(settings.nodes), "kB");
    report.say("server's memory in all", resident(pid) / 1024.0, "MiB");
    let began = Stopwatch::now();
    drop(server);
    let _server = bench.serve();
    let home = Reader::start(&bench.url, "/");
    wait_for(&steps, "connected");
    report.say("server restarted: until all are back", began.elapsed().as_secs_f64(), "s");
    report.say("a page meanwhile, p99, after the restart", home.p99().0, "ms");
    drop(machines);
}

/// What a fleet costs that only says that it is there.
fn steady(server: u32, machines: u32, settings: &Settings, report: &Report) {
    let (watch, server_before, machines_before) = (Stopwatch::now(), worked(server), worked(machines));
    std::thread::sleep(Duration::from_secs(settings.steady));
    let seconds = watch.elapsed().as_secs_f64();
    report.say("steady: server's share of one processor", (worked(server) - server_before) / seconds * 100.0, "%");
    report.say("steady: all machines' share", (worked(machines) - machines_before) / seconds * 100.0, "%");
}
