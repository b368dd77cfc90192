//! The vocabulary of the active GPU checks: what can be tested, in which suites, and how a test can end. Agent, server and
//! pages speak it. It refuses the word healthy: a GPU passed a suite at a time, and that is all that was seen.
pub mod code;
pub mod judge;
pub mod suite;

use serde::{Deserialize, Serialize};

pub use self::code::Code;
pub use self::suite::{CheckKind, CheckOrder, Suite};
use super::bounded::at_most;
use super::proof::log::Mismatches;
use super::proof::probe::{Challenge, LARGEST};
use super::window::Instant;

/// Most figures of one check.
pub const MOST_FIGURES: usize = 64;
/// Most notes of one check.
pub const MOST_NOTES: usize = 16;
const MOST_ROWS: usize = LARGEST as usize;
/// Longest text about a check, in bytes.
pub const LONGEST_SAYING: usize = 2000;

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    Passed,
    /// The GPU did something wrong.
    Failed {
        code: Code,
        /// What was seen, in a sentence.
        said: String,
    },
    /// It could not run, or not to its end; says nothing about the GPU.
    Unknown {
        why: String,
    },
}

impl Verdict {
    pub fn failed(code: Code, said: impl Into<String>) -> Self {
        Self::Failed { code, said: clipped(said.into()) }
    }

    pub fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown { why: clipped(why.into()) }
    }

    pub const fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed { .. } => "failed",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// The graver of two: a failure outweighs not knowing, which outweighs a pass.
    pub fn and(self, other: Self) -> Self {
        if other.weight() > self.weight() { other } else { self }
    }

    const fn weight(&self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Unknown { .. } => 1,
            Self::Failed { .. } => 2,
        }
    }
}

/// At most [`LONGEST_SAYING`] bytes, without control characters: it may come from a process that has gone mad.
pub fn clipped(text: String) -> String {
    let mut plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if plain.len() > LONGEST_SAYING {
        let end = (0..=LONGEST_SAYING).rev().find(|end| plain.is_char_boundary(*end)).unwrap_or(0);
        plain.truncate(end);
    }
    plain
}

/// In what a figure is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Bytes,
    /// 10^9 bytes in a second; a copy counts what is read and what is written.
    GigabytesPerSecond,
    /// 10^12 operations in a second.
    TeraopsPerSecond,
    Milliseconds,
    Microseconds,
    Percent,
    Celsius,
    Watts,
    Megahertz,
    Count,
}

impl Unit {
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Bytes => "B",
            Self::GigabytesPerSecond => "GB/s",
            Self::TeraopsPerSecond => "TOP/s",
            Self::Milliseconds => "ms",
            Self::Microseconds => "µs",
            Self::Percent => "%",
            Self::Celsius => "°C",
            Self::Watts => "W",
            Self::Megahertz => "MHz",
            Self::Count => "",
        }
    }
}

/// One thing that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Figure {
    /// Such as `device_to_device` or `covered`.
    pub name: String,
    pub value: f64,
    pub unit: Unit,
}

impl Figure {
    pub fn new(name: impl Into<String>, value: f64, unit: Unit) -> Self {
        // JSON has no word for what is not a number.
        Self { name: name.into(), value: if value.is_finite() { value } else { 0.0 }, unit }
    }
}

/// The GPU that a check ran on, as the check itself saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CheckedGpu {
    pub uuid: String,
    pub model: String,
    /// Processors (SMs) that it has.
    pub processors: u32,
    /// CUDA compute capability.
    pub capability: (u32, u32),
    pub memory_bytes: u64,
}

/// One check of one GPU, with everything that was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckReport {
    pub check: CheckKind,
    pub gpu: CheckedGpu,
    #[serde(flatten)]
    pub verdict: Verdict,
    pub began: Instant,
    /// From the start of its process to its end.
    pub took_ms: u64,
    #[serde(deserialize_with = "at_most::<MOST_FIGURES, _, _>")]
    pub figures: Vec<Figure>,
    /// What differed, where something was compared.
    pub mismatches: Mismatches,
    /// What else was seen, in sentences.
    #[serde(default, deserialize_with = "at_most::<MOST_NOTES, _, _>")]
    pub notes: Vec<String>,
    /// The checksums of a probe's rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "at_most::<MOST_ROWS, _, _>")]
    pub answer: Vec<u64>,
    /// With it the same patterns and products are made again.
    pub seed: u64,
    /// The program's version.
    pub program: String,
    /// Never weighed, never scored.
    pub simulated: bool,
}

impl CheckReport {
    pub fn figure(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.name == name).map(|figure| figure.value)
    }

    /// Compares a probe's answer in some rows that a number chooses which the node could not know. Whoever asked judges.
    pub fn judge_answer(&mut self, challenge: Challenge, chance: u64, rows: u32) {
        if self.check != CheckKind::Probe || self.verdict != Verdict::Passed {
            return;
        }
        if let Err(wrong) = challenge.judge(&self.answer, &challenge.sample(chance, rows)) {
            self.verdict = Verdict::failed(Code::Probe, wrong.to_string());
        }
    }

    /// What to do about it; empty where nothing is to be done.
    pub const fn remedy(&self) -> &'static str {
        match &self.verdict {
            Verdict::Failed { code, .. } => code.remedy(),
            Verdict::Passed | Verdict::Unknown { .. } => "",
        }
    }
}

/// A suite on one GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuiteReport {
    pub suite: Suite,
    #[serde(deserialize_with = "at_most::<16, _, _>")]
    pub checks: Vec<CheckReport>,
}

impl SuiteReport {
    /// The gravest verdict of its checks. A suite without any ran nothing, which is unknown.
    pub fn verdict(&self) -> Verdict {
        let nothing = || Verdict::unknown("no check of this suite ran");
        self.checks.iter().map(|check| check.verdict.clone()).reduce(Verdict::and).unwrap_or_else(nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_verdict_stands_and_nothing_is_no_pass() {
        let failed = Verdict::failed(Code::Memory, "a word");
        let unknown = Verdict::unknown("stopped");
        assert_eq!(Verdict::Passed.and(unknown.clone()), unknown);
        assert_eq!(unknown.clone().and(failed.clone()), failed);
        assert_eq!(failed.clone().and(unknown), failed);
        let empty = SuiteReport { suite: Suite::Probe, checks: Vec::new() };
        assert_eq!(empty.verdict().word(), "unknown");
    }

    #[test]
    fn texts_are_short_and_plain() {
        let mad = clipped(format!("\u{1b}[2J{}", "ä".repeat(LONGEST_SAYING)));
        assert!(mad.len() <= LONGEST_SAYING && !mad.chars().any(char::is_control));
    }

    #[test]
    fn reports_travel_whole() {
        let report = CheckReport {
            check: CheckKind::Memory,
            gpu: CheckedGpu { uuid: "GPU-1".into(), capability: (9, 0), ..CheckedGpu::default() },
            verdict: Verdict::failed(Code::Memory, "one word"),
            began: Instant::from_seconds(1),
            took_ms: 5,
            figures: vec![Figure::new("covered", 97.5, Unit::Percent)],
            mismatches: Mismatches::default(),
            notes: vec!["a note".into()],
            answer: vec![u64::MAX, 0],
            seed: u64::MAX,
            program: "0.1.0".into(),
            simulated: true,
        };
        let text = serde_json::to_string(&report).unwrap();
        assert!(text.contains(r#""verdict":"failed","code":"memory""#), "{text}");
        assert_eq!(serde_json::from_str::<CheckReport>(&text).unwrap(), report);
        assert_eq!(report.figure("covered"), Some(97.5));
    }
}
