//! Starts the process of a check, watches it, and kills it at its deadline or when it is in the way. Whatever becomes of it is
//! a report: a death or a hang is a failure of the GPU, what could not run or was stopped is unknown. It refuses to wait for
//! a process that the kernel does not let go.
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use super::child;
use crate::base::check::{CheckKind, CheckReport, CheckedGpu, Code, Suite, SuiteReport, Verdict, clipped};
use crate::base::proof::log::Mismatches;
use crate::base::proof::probe::Challenge;
use crate::clock;
use crate::wire::check::{CHILD_PROTOCOL, ChildOrder, FromChild, LONGEST_LINE, MOST_LINES, OrderedGpu};

/// How often a stop is looked for. With [`REAPED_WITHIN`] less than the two seconds that a check in the way may take.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a killed process is waited for. One that hangs in the driver's kernel part ends later, or never.
const REAPED_WITHIN: Duration = Duration::from_millis(1500);
/// What a process said last on standard error, in bytes.
const LAST_WORDS: usize = 1500;
/// Rust's exit status of a panic.
const PANICKED: i32 = 101;
/// Rows of a probe that are computed again.
const SAMPLED_ROWS: u32 = 3;

/// Tells a running check that it is in the way.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Which program plays the child: this one, wherever its file lies now.
#[derive(Clone, Debug)]
pub struct Launcher {
    pub program: PathBuf,
}

impl Default for Launcher {
    fn default() -> Self {
        Self { program: PathBuf::from("/proc/self/exe") }
    }
}

/// What the reading thread hears.
enum Heard {
    Line(Box<FromChild>),
    /// Not a line of the protocol, or too many of them.
    Garbage(String),
}

/// How the process ended.
enum End {
    Over(Option<ExitStatus>),
    Deadline,
    Stopped,
    Garbage(String),
}

impl Launcher {
    /// Runs one check and answers what became of it; blocks until then. `progress` hears of each step.
    pub fn run(&self, order: &ChildOrder, stop: &Stop, progress: &mut dyn FnMut(u32, u32, &str)) -> CheckReport {
        let (began, started) = (clock::now(), Instant::now());
        let mut blank = blank(order);
        blank.began = began;
        let mut done = match self.start(order) {
            Ok(running) => running.watch(order, stop, blank, progress),
            Err(error) => {
                blank.verdict = Verdict::unknown(format!("its process could not be started: {error}"));
                blank
            }
        };
        done.began = began;
        done.took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        done
    }

    fn start(&self, order: &ChildOrder) -> std::io::Result<Running> {
        let visible = match &order.gpu {
            // The driver wakes every GPU that a process may see: the others only where they are copied to.
            OrderedGpu::Real { uuid, others, .. } if order.order.check == CheckKind::Peers => {
                std::iter::once(uuid).chain(others).cloned().collect::<Vec<_>>().join(",")
            }
            OrderedGpu::Real { uuid, .. } => uuid.clone(),
            OrderedGpu::Simulated(_) => String::new(),
        };
        let mut child = Command::new(&self.program)
            .arg(child::ROLE)
            // Nothing is left on the machine's disk, and nothing that lies there is believed.
            .env("CUDA_CACHE_DISABLE", "1")
            .env("CUDA_VISIBLE_DEVICES", visible)
            .env("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (say, heard) = mpsc::sync_channel(64);
        let (gasp, last) = mpsc::sync_channel(1);
        if let Some(out) = child.stdout.take() {
            std::thread::Builder::new().name("gpu-check".into()).spawn(move || listen(out, &say))?;
        }
        if let Some(mut err) = child.stderr.take() {
            std::thread::Builder::new().name("gpu-check".into()).spawn(move || gasp.send(tail(&mut err)))?;
        }
        if let Some(mut input) = child.stdin.take() {
            // A child that is dead already says so by its end.
            let _ = input.write_all(serde_json::to_string(order)?.as_bytes());
        }
        Ok(Running { child, heard, last })
    }

    /// Runs a suite on one GPU, one check after another. After a hang or a loss nothing more is asked of the GPU.
    pub fn suite(
        &self,
        gpu: &OrderedGpu,
        suite: Suite,
        challenge: Challenge,
        stop: &Stop,
        progress: &mut dyn FnMut(CheckKind, u32, u32, &str),
    ) -> SuiteReport {
        let alone = matches!(gpu, OrderedGpu::Real { others, .. } if others.is_empty());
        let mut checks: Vec<CheckReport> = Vec::new();
        for order in suite.orders(challenge.seed, challenge) {
            let kind = order.check;
            if alone && kind == CheckKind::Peers {
                continue;
            }
            let whole = ChildOrder { protocol: CHILD_PROTOCOL, order, gpu: gpu.clone(), plant: None };
            let given_up = checks.last().and_then(|last| match last.verdict {
                Verdict::Failed { code: code @ (Code::Hang | Code::Lost), .. } => Some(code),
                _ => None,
            });
            let mut report = match given_up {
                Some(code) => blank_with(&whole, format!("not run after the check before ended with {}", code.name())),
                None if stop.wanted() => blank_with(&whole, "stopped before it began".to_owned()),
                None => self.run(&whole, stop, &mut |done, of, doing| progress(kind, done, of, doing)),
            };
            report.judge_answer(challenge, challenge.nonce, SAMPLED_ROWS);
            checks.push(report);
            if given_up.is_some() {
                break;
            }
        }
        SuiteReport { suite, checks }
    }
}

/// A process at work.
struct Running {
    child: Child,
    heard: Receiver<Heard>,
    last: Receiver<String>,
}

impl Running {
    fn watch(
        mut self,
        order: &ChildOrder,
        stop: &Stop,
        mut report: CheckReport,
        progress: &mut dyn FnMut(u32, u32, &str),
    ) -> CheckReport {
        let limit = Duration::from_millis(u64::try_from(order.order.limit.as_millis()).unwrap_or(0));
        let deadline = Instant::now() + limit;
        let mut answered = None;
        let end = self.follow(deadline, stop, &mut answered, progress);
        if !matches!(end, End::Over(_)) {
            let _ = self.child.kill();
        }
        let status = match end {
            End::Over(status) => status,
            _ => self.reap(),
        };
        let last = self.last.recv_timeout(LOOK_EVERY).unwrap_or_default();
        let verdict = judged(&end, status, answered.is_some(), limit, &last);
        if let Some(answer) = answered {
            report = answer;
            report.verdict = report.verdict.and(verdict);
        } else {
            report.verdict = verdict;
        }
        if status.is_none() {
            report.notes.push("its process is killed and does not end: the kernel holds it in the driver".to_owned());
        }
        report
    }

    /// Listens until the process is over or its time is.
    fn follow(
        &mut self,
        deadline: Instant,
        stop: &Stop,
        answered: &mut Option<CheckReport>,
        progress: &mut dyn FnMut(u32, u32, &str),
    ) -> End {
        loop {
            if stop.wanted() {
                return End::Stopped;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return End::Deadline;
            }
            match self.heard.recv_timeout(left.min(LOOK_EVERY)) {
                Ok(Heard::Line(line)) => match *line {
                    FromChild::Progress { done, of, doing } => progress(done, of, &clipped(doing)),
                    FromChild::Report(report) => *answered = Some(*report),
                    FromChild::Began { protocol: CHILD_PROTOCOL, .. } => {}
                    FromChild::Began { protocol, .. } => {
                        return End::Garbage(format!("it speaks version {protocol} of the protocol"));
                    }
                },
                Ok(Heard::Garbage(what)) => return End::Garbage(what),
                Err(RecvTimeoutError::Timeout) => {}
                // It closed its output: it ends, or it hangs at its end.
                Err(RecvTimeoutError::Disconnected) => match self.child.try_wait() {
                    Ok(Some(status)) => return End::Over(Some(status)),
                    Ok(None) => std::thread::sleep(Duration::from_millis(2)),
                    Err(_) => return End::Over(None),
                },
            }
        }
    }

    /// Waits for the killed process; leaves it to a thread when it does not end.
    fn reap(&mut self) -> Option<ExitStatus> {
        let until = Instant::now() + REAPED_WITHIN;
        while Instant::now() < until {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            tracing::warn!(pid = self.child.id(), "the process of a check does not end; it is left to the kernel");
        }
    }
}

fn judged(end: &End, status: Option<ExitStatus>, answered: bool, limit: Duration, last: &str) -> Verdict {
    let said = |what: String| if last.is_empty() { what } else { format!("{what}; its last words: {last}") };
    match end {
        End::Stopped => Verdict::unknown("stopped, because it was in the way"),
        End::Garbage(what) => Verdict::unknown(said(format!("its process does not speak as agreed: {what}"))),
        End::Deadline => {
            Verdict::failed(Code::Hang, said(format!("it did not end within {} s and was killed", limit.as_secs())))
        }
        End::Over(_) => match status.map(|status| (status.code(), status.signal())) {
            Some((Some(0), _)) if answered => Verdict::Passed,
            Some((Some(PANICKED), _)) => Verdict::failed(Code::Died, said("its process panicked".to_owned())),
            Some((Some(code), _)) => Verdict::unknown(said(format!("its process ended with {code} and no report"))),
            // Nobody here sends this one before the deadline; the kernel does when the host runs out of memory.
            Some((None, Some(9))) => Verdict::unknown("its process was killed from outside"),
            Some((None, Some(signal))) => {
                Verdict::failed(Code::Died, said(format!("its process was killed by signal {signal}")))
            }
            Some((None, None)) | None => Verdict::unknown("nothing is known of its end"),
        },
    }
}

/// Reads lines until the end, or the first that is none.
fn listen(out: impl std::io::Read, say: &SyncSender<Heard>) {
    let mut out = BufReader::new(out);
    for _ in 0..MOST_LINES {
        let mut line = Vec::new();
        match out.by_ref().take(LONGEST_LINE as u64).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let heard = match serde_json::from_slice(&line) {
            Ok(line) => Heard::Line(Box::new(line)),
            Err(error) => Heard::Garbage(error.to_string()),
        };
        let over = matches!(heard, Heard::Garbage(_));
        if say.send(heard).is_err() || over {
            return;
        }
    }
    let _ = say.send(Heard::Garbage("too many lines".to_owned()));
}

/// The last words of a process, as plain text.
fn tail(err: &mut impl std::io::Read) -> String {
    let (mut kept, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = err.read(&mut piece) {
        kept.extend_from_slice(&piece[..count]);
        kept.drain(..kept.len().saturating_sub(LAST_WORDS));
    }
    clipped(String::from_utf8_lossy(&kept).trim().to_owned())
}

/// A report of a check that said nothing itself.
fn blank(order: &ChildOrder) -> CheckReport {
    CheckReport {
        check: order.order.check,
        gpu: CheckedGpu {
            uuid: order.gpu.uuid().to_owned(),
            model: order.gpu.model().to_owned(),
            ..CheckedGpu::default()
        },
        verdict: Verdict::Passed,
        began: clock::now(),
        took_ms: 0,
        figures: Vec::new(),
        mismatches: Mismatches::default(),
        notes: Vec::new(),
        answer: Vec::new(),
        seed: order.order.seed,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        simulated: matches!(order.gpu, OrderedGpu::Simulated(_)),
    }
}

fn blank_with(order: &ChildOrder, why: String) -> CheckReport {
    CheckReport { verdict: Verdict::unknown(why), ..blank(order) }
}
