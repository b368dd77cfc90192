//! `gristmill agent --selftest`: tests this machine's GPUs, prints progress and a table or JSON, and ends with a status that
//! says how it went. It works without a mill and without a data directory. It refuses to print "healthy".
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Args;

use crate::agent::check::parent::{Launcher, Stop};
use crate::agent::selftest::{self, News, Selftest, SelftestProblem, Wish};
use crate::base::check::{CheckReport, Figure, Suite, Unit, Verdict};
use crate::base::zone::Zone;
use crate::clock;
use crate::wire::check::SimulatedFault;

/// Everything passed.
pub const PASSED: u8 = 0;
/// A GPU did something wrong.
pub const FAILED: u8 = 1;
/// Something could not run, and nothing failed.
pub const UNKNOWN: u8 = 3;
/// There is no driver, or no GPU to test.
pub const NO_GPU: u8 = 4;

/// Figures of a check that stand in the table; all stand in the JSON.
const SHOWN_FIGURES: usize = 4;
/// Mismatches in the table.
const SHOWN_MISMATCHES: usize = 3;

/// What `--selftest` takes besides the agent's own words.
#[derive(Clone, Debug, Args)]
pub struct SelftestArgs {
    /// Only test this machine's GPUs and print what was seen; needs no mill and joins none. Ends with 0 where everything
    /// passed, 1 where a GPU failed, 3 where something could not run, 4 where there is no GPU
    #[arg(long, conflicts_with_all = ["join", "check", "server"])]
    pub selftest: bool,
    /// boundary, probe, nightly, enroll or deep; enroll and deep take minutes
    #[arg(long, requires = "selftest", default_value = "nightly", value_parser = suite)]
    pub suite: Suite,
    /// Only the GPU with this number
    #[arg(long, requires = "selftest")]
    pub gpu: Option<u32>,
    /// A fault of a simulated GPU, as JSON: for seeing how that looks
    #[arg(long, requires = "selftest", requires = "simulated_gpus", hide = true, value_parser = fault)]
    pub fault: Vec<SimulatedFault>,
}

fn suite(name: &str) -> Result<Suite, String> {
    let all = Suite::ALL.map(Suite::name).join(", ");
    Suite::parse(name).ok_or_else(|| format!("there is no suite of that name; there are {all}"))
}

fn fault(text: &str) -> Result<SimulatedFault, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// Tests and prints; ends with the status.
pub async fn run(asked: SelftestArgs, simulated: Option<u32>, json: bool) -> ExitCode {
    let stop = Stop::default();
    let ended = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            ended.now();
        }
    });
    let done = tokio::task::spawn_blocking(move || test(asked, simulated, &stop)).await;
    match done {
        Ok(Ok(result)) => {
            let text = if json { serde_json::to_string_pretty(&result).unwrap_or_default() } else { table(&result) };
            println!("{}", text.trim_end());
            ExitCode::from(status(&result.verdict()))
        }
        Ok(Err(problem)) => {
            eprintln!("gristmill: nothing was tested: {problem}");
            if json {
                println!("{}", serde_json::json!({ "version": 1, "problem": problem.to_string(), "gpus": [] }));
            }
            ExitCode::from(NO_GPU)
        }
        Err(_) => {
            eprintln!("gristmill: the selftest ended in an error of this program; nothing is known of the GPUs");
            ExitCode::from(UNKNOWN)
        }
    }
}

fn test(asked: SelftestArgs, simulated: Option<u32>, stop: &Stop) -> Result<Selftest, SelftestProblem> {
    let wish =
        Wish { suite: asked.suite, gpu: asked.gpu, simulated, faults: asked.fault, launcher: Launcher::default() };
    let live = std::io::stderr().is_terminal();
    let mut last = String::new();
    selftest::run(&wish, stop, &mut |news| {
        let line = match news {
            News::Step { gpu, check, done, of, doing } => {
                format!("GPU {gpu}: {} ({doing}), step {} of {of}", check.name(), done + 1)
            }
            News::Done { gpu, check } => format!("GPU {gpu}: {} {}", check.check.name(), check.verdict.word()),
        };
        // On a terminal one line is written over; elsewhere each check is one line, not each step.
        if live {
            eprint!("\r\u{1b}[2K{line}");
        } else if matches!(news, News::Done { .. }) && line != last {
            eprintln!("{line}");
        }
        last = line;
    })
    .inspect(|_| {
        if live {
            eprint!("\r\u{1b}[2K");
        }
    })
}

const fn status(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Passed => PASSED,
        Verdict::Failed { .. } => FAILED,
        Verdict::Unknown { .. } => UNKNOWN,
    }
}

/// For people.
pub fn table(result: &Selftest) -> String {
    let mut text = String::new();
    let at = Zone::named("UTC").zoned(clock::now()).strftime("%Y-%m-%d %H:%M UTC").to_string();
    for gpu in &result.gpus {
        let mark = if result.simulated { " (simulated: this says nothing about any hardware)" } else { "" };
        let _ = writeln!(text, "GPU {} {} {}{mark}", gpu.index, gpu.model, gpu.uuid);
        let _ = writeln!(text, "  {:<12} {:<8} {:>9}  what was seen", "check", "verdict", "took");
        for check in &gpu.report.checks {
            row(&mut text, check);
        }
        let suite = gpu.report.suite.name();
        let _ = match gpu.report.verdict() {
            Verdict::Passed => writeln!(text, "  passed suite {suite} at {at}\n"),
            Verdict::Failed { .. } => writeln!(text, "  failed suite {suite} at {at}\n"),
            Verdict::Unknown { .. } => writeln!(text, "  suite {suite} did not run to its end at {at}\n"),
        };
    }
    text
}

fn row(text: &mut String, check: &CheckReport) {
    let seen = match &check.verdict {
        Verdict::Passed => figures(&check.figures),
        Verdict::Failed { code, said } => format!("{}: {said}", code.name()),
        Verdict::Unknown { why } => why.clone(),
    };
    let took = format!("{} ms", check.took_ms);
    let _ = writeln!(text, "  {:<12} {:<8} {took:>9}  {seen}", check.check.name(), check.verdict.word());
    let mut also = |what: &str| writeln!(text, "  {:<12} {:<8} {:>9}  {what}", "", "", "");
    if !matches!(check.verdict, Verdict::Passed) && !check.figures.is_empty() {
        let _ = also(&figures(&check.figures));
    }
    for wrong in check.mismatches.first.iter().take(SHOWN_MISMATCHES) {
        let on = wrong.sm.map_or_else(String::new, |sm| format!(", processor {sm}"));
        let _ = also(&format!("at {:#x}{on}: {:016x} instead of {:016x}", wrong.address, wrong.got, wrong.expected));
    }
    for note in &check.notes {
        let _ = also(note);
    }
    if !check.remedy().is_empty() {
        let _ = also(check.remedy());
    }
}

fn figures(all: &[Figure]) -> String {
    let one = |figure: &Figure| {
        let name = figure.name.replace('_', " ");
        let value = match figure.unit {
            Unit::Bytes | Unit::Count => format!("{:.0}", figure.value),
            _ => format!("{:.1}", figure.value),
        };
        format!("{name} {value} {}", figure.unit.sign()).trim_end().to_owned()
    };
    all.iter().take(SHOWN_FIGURES).map(one).collect::<Vec<_>>().join(", ")
}
