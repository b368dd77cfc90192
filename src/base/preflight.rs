//! What was found when a machine was looked over before it becomes a node: one finding per subject, each with what to do
//! about it. It refuses to decide whether the machine may join; a finding that stops is a word to people.
use serde::{Deserialize, Serialize};

use crate::base::window::Span;

/// Clocks of mill and node further apart than this take no new lease.
pub const SKEW_LIMIT: Span = Span::from_seconds(60);
/// More findings than there are subjects are not believed.
pub const MOST_FINDINGS: usize = 16;
/// Longest text of a finding, in bytes.
pub const LONGEST_TEXT: usize = 400;

/// What a finding is about. The list is closed: a node writes nothing else about itself here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    Architecture,
    Libc,
    Driver,
    Devices,
    Sandbox,
    Network,
    Container,
    Toolkit,
    Disk,
    Gateway,
    Clock,
    Version,
    KernelLog,
}

impl Subject {
    /// As it stands in a list.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Architecture => "Architecture",
            Self::Libc => "C library",
            Self::Driver => "NVIDIA driver",
            Self::Devices => "Device files",
            Self::Sandbox => "Sandbox",
            Self::Network => "Workloads’ network",
            Self::Container => "Container engine",
            Self::Toolkit => "Container toolkit",
            Self::Disk => "Disk",
            Self::Gateway => "Gateway",
            Self::Clock => "Clock",
            Self::Version => "Program",
            Self::KernelLog => "Kernel’s log",
        }
    }
}

/// How a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works, with something missing.
    Lacking,
    /// The machine cannot be a node like this.
    Stops,
}

impl Verdict {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Lacking => "lacking",
            Self::Stops => "stops",
        }
    }
}

/// One subject, what was found, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Finding {
    pub subject: Subject,
    pub verdict: Verdict,
    /// What was found, in a sentence.
    pub said: String,
    /// What to do; empty where nothing is to be done.
    pub remedy: String,
}

impl Finding {
    pub fn good(subject: Subject, said: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Good, said: said.into(), remedy: String::new() }
    }

    pub fn lacking(subject: Subject, said: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Lacking, said: said.into(), remedy: remedy.into() }
    }

    pub fn stops(subject: Subject, said: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Stops, said: said.into(), remedy: remedy.into() }
    }
}

/// Whether anything stops the machine from being a node.
pub fn any_stops(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.verdict == Verdict::Stops)
}

/// Whether findings can be believed at all: few, each subject once, short and printable.
pub fn credible(findings: &[Finding]) -> Result<(), &'static str> {
    if findings.len() > MOST_FINDINGS {
        return Err("it reports more findings than there are subjects");
    }
    let plain = |text: &str| text.len() <= LONGEST_TEXT && !text.chars().any(char::is_control);
    if !findings.iter().all(|finding| plain(&finding.said) && plain(&finding.remedy)) {
        return Err("it reports a finding in text that is too long or cannot be shown");
    }
    let mut subjects: Vec<Subject> = findings.iter().map(|finding| finding.subject).collect();
    subjects.sort_unstable();
    if subjects.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("it reports the same subject twice");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_printable_findings_are_believed() {
        let good = Finding::good(Subject::Disk, "plenty");
        assert_eq!(credible(std::slice::from_ref(&good)), Ok(()));
        assert!(credible(&[good.clone(), good.clone()]).is_err(), "one subject twice");
        assert!(credible(&[Finding::good(Subject::Disk, "x".repeat(LONGEST_TEXT + 1))]).is_err());
        assert!(credible(&[Finding::stops(Subject::Disk, "full", "clear \u{1b}[2J")]).is_err());
        assert!(
            serde_json::from_str::<Finding>(r#"{"subject":"owner","verdict":"good","said":"","remedy":""}"#).is_err()
        );
        assert!(!any_stops(&[good]) && any_stops(&[Finding::stops(Subject::Clock, "wrong", "set it")]));
    }
}
