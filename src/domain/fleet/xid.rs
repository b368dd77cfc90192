//! What to do about an Xid, as data: a table whose defaults are `config/xid.toml` and whose lines an installation may
//! replace. The most exact line counts: unit and severity, unit, sub-code, severity, number, and one for all others. It
//! refuses a table that it does not understand wholly, and names the line.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::window::Span;
use crate::base::xid::{Detail, XidFact};

/// The table that is built in.
pub const DEFAULTS: &str = include_str!("../../../config/xid.toml");
/// Longest table that is read, in bytes.
pub const LARGEST: usize = 256 * 1024;
/// Within this, the same Xid on the same GPU is the second one.
pub const AGAIN_WITHIN: Span = Span::from_days(7);
/// Longest text of a line, in characters.
const LONGEST_TEXT: usize = 120;
/// The section for all that are not listed.
const OTHERS: &str = "default";

/// What the mill does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Log,
    /// Our own check decides whether it counts.
    Probe,
    Suspect,
    /// Reset when the present lease is over.
    Boundary,
    /// The present lease is over; our own check decides.
    Check,
    /// Suspect, and a person is asked to look at its links.
    Links,
    Reset,
    /// Reset, and the whole memory is checked.
    Deep,
    Reboot,
    /// A person has to look.
    Review,
}

impl Action {
    const ALL: [Self; 10] = [
        Self::Log,
        Self::Probe,
        Self::Suspect,
        Self::Boundary,
        Self::Check,
        Self::Links,
        Self::Reset,
        Self::Deep,
        Self::Reboot,
        Self::Review,
    ];

    /// As the table writes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Probe => "probe",
            Self::Suspect => "suspect",
            Self::Boundary => "boundary",
            Self::Check => "check",
            Self::Links => "links",
            Self::Reset => "reset",
            Self::Deep => "deep",
            Self::Reboot => "reboot",
            Self::Review => "review",
        }
    }

    /// Whether it takes the GPU out of the calendar whatever else is the case: no brake and no trial holds it.
    pub const fn is_hard(self) -> bool {
        matches!(self, Self::Reset | Self::Deep | Self::Reboot | Self::Review)
    }
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// NVIDIA's words.
    pub says: String,
    /// NVIDIA's immediate resolution.
    pub nvidia: String,
    pub action: Action,
    /// Usually the program of whoever has the GPU: never counts against the node.
    pub tenant: bool,
    /// Nothing that runs on the GPU can go on.
    pub ends_lease: bool,
    /// Instead of `action`, for the second within [`AGAIN_WITHIN`].
    pub again: Option<Action>,
}

impl Rule {
    /// What is done, when it came before within [`AGAIN_WITHIN`] or not.
    pub fn action(&self, came_before: bool) -> Action {
        self.again.filter(|_| came_before).unwrap_or(self.action)
    }
}

/// Why a table cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTable {
    #[error("line {line}: {what}")]
    Line { line: usize, what: String },
    #[error("the section [{section}], which begins on line {line}, has no {key}")]
    Lacks { section: String, line: usize, key: &'static str },
    #[error("it is larger than {LARGEST} bytes")]
    Large,
}

/// Which rule holds for which Xid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    rules: BTreeMap<String, Rule>,
    others: Rule,
}

impl Table {
    /// The built-in table.
    pub fn built_in() -> Self {
        let mut rules = sections(DEFAULTS).expect("the built-in table is read by a test");
        let others = rules.remove(OTHERS).expect("the built-in table has a line for all others");
        Self { rules, others }
    }

    /// The built-in table with the sections of `text` in place of those with the same name.
    pub fn with(text: &str) -> Result<Self, BadTable> {
        let mut table = Self::built_in();
        let mut own = sections(text)?;
        if let Some(others) = own.remove(OTHERS) {
            table.others = others;
        }
        table.rules.extend(own);
        Ok(table)
    }

    /// The rule for an Xid, and the name of its section.
    pub fn rule(&self, fact: &XidFact) -> (&Rule, String) {
        for name in names(fact) {
            if let Some(rule) = self.rules.get(&name) {
                return (rule, name);
            }
        }
        (&self.others, OTHERS.to_owned())
    }

    /// All sections by name, the one for all others last.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Rule)> {
        self.rules.iter().map(|(name, rule)| (name.as_str(), rule)).chain([(OTHERS, &self.others)])
    }
}

/// Names of the sections that may hold for an Xid, most exact first.
fn names(fact: &XidFact) -> Vec<String> {
    let code = fact.code;
    let mut names = Vec::new();
    match &fact.detail {
        Detail::NvLink { unit, severity, sub_code, .. } => {
            // A unit may have two names: `TLW_RX/TLW_RX_PIPE0`.
            for unit in unit.split('/').rev() {
                names.push(format!("{code}.{unit}.{}", severity.word()));
                names.push(format!("{code}.{unit}"));
            }
            names.extend(sub_code.map(|sub| format!("{code}.{sub}")));
            names.push(format!("{code}.{}", severity.word()));
        }
        Detail::Recovery { action } => names.push(format!("{code}.{}", action.word())),
        Detail::Plain => {}
    }
    names.push(code.to_string());
    names
}

/// A section while it is read.
#[derive(Default)]
struct Draft {
    line: usize,
    says: Option<String>,
    nvidia: Option<String>,
    action: Option<Action>,
    tenant: Option<bool>,
    ends_lease: Option<bool>,
    again: Option<Action>,
}

impl Draft {
    fn finish(self, section: &str) -> Result<Rule, BadTable> {
        let line = self.line;
        let lacks = |key| BadTable::Lacks { section: section.to_owned(), line, key };
        Ok(Rule {
            says: self.says.ok_or_else(|| lacks("says"))?,
            nvidia: self.nvidia.unwrap_or_default(),
            action: self.action.ok_or_else(|| lacks("action"))?,
            tenant: self.tenant.unwrap_or(false),
            ends_lease: self.ends_lease.unwrap_or(false),
            again: self.again,
        })
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), String> {
        let twice = || format!("{key} stands there twice");
        fn once<T>(slot: &mut Option<T>, value: T, twice: impl Fn() -> String) -> Result<(), String> {
            if slot.replace(value).is_some() { Err(twice()) } else { Ok(()) }
        }
        match key {
            "says" => once(&mut self.says, text(value)?, twice),
            "nvidia" => once(&mut self.nvidia, text(value)?, twice),
            "action" => once(&mut self.action, action(value)?, twice),
            "again" => once(&mut self.again, action(value)?, twice),
            "tenant" => once(&mut self.tenant, truth(value)?, twice),
            "ends_lease" => once(&mut self.ends_lease, truth(value)?, twice),
            _ => Err(format!("there is no {key}; there are says, nvidia, action, tenant, ends_lease and again")),
        }
    }
}

/// Reads sections of `key = value`, the part of TOML that is needed here and nothing more.
fn sections(text: &str) -> Result<BTreeMap<String, Rule>, BadTable> {
    if text.len() > LARGEST {
        return Err(BadTable::Large);
    }
    let mut drafts: BTreeMap<String, Draft> = BTreeMap::new();
    let mut present: Option<String> = None;
    for (line, said) in text.lines().enumerate().map(|(at, said)| (at + 1, said.trim())) {
        let bad = |what: String| BadTable::Line { line, what };
        if said.is_empty() || said.starts_with('#') {
            continue;
        }
        if let Some(rest) = said.strip_prefix('[') {
            let name = section(rest).map_err(bad)?;
            if drafts.insert(name.clone(), Draft { line, ..Draft::default() }).is_some() {
                return Err(bad(format!("there is a section [{name}] already")));
            }
            present = Some(name);
            continue;
        }
        let draft = present.as_ref().and_then(|name| drafts.get_mut(name));
        let draft = draft.ok_or_else(|| bad("it stands before the first section, such as [79]".to_owned()))?;
        let (key, value) = said.split_once('=').ok_or_else(|| bad("it is no section and no key = value".to_owned()))?;
        draft.take(key.trim(), value.trim()).map_err(bad)?;
    }
    drafts.into_iter().map(|(name, draft)| Ok((name.clone(), draft.finish(&name)?))).collect()
}

/// `79]`, `145.RLW_REMAP.fatal]`, `149.37]`, `default]`.
fn section(rest: &str) -> Result<String, String> {
    let (name, after) = rest.split_once(']').ok_or_else(|| "the section’s name does not end with ]".to_owned())?;
    let after = after.trim();
    if !after.is_empty() && !after.starts_with('#') {
        return Err("something stands behind the section’s name".to_owned());
    }
    let mut parts = name.split('.');
    let code = parts.next().unwrap_or_default();
    let number =
        !code.is_empty() && code.len() <= 4 && code.bytes().all(|b| b.is_ascii_digit()) && !code.starts_with('0');
    let part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let rest: Vec<&str> = parts.collect();
    if name == OTHERS || (number && rest.len() <= 2 && rest.iter().all(|one| part(one))) {
        Ok(name.to_owned())
    } else {
        Err(format!("[{name}] names no Xid; write its number, such as [79] or [145.fatal], or [{OTHERS}]"))
    }
}

/// A text in quotes, with nothing but a comment behind it.
fn text(value: &str) -> Result<String, String> {
    let inner = value.strip_prefix('"').ok_or_else(|| "a text stands in \"quotes\"".to_owned())?;
    let (inner, after) = inner.split_once('"').ok_or_else(|| "the text does not end with a quote".to_owned())?;
    let after = after.trim();
    if !after.is_empty() && !after.starts_with('#') {
        return Err("something stands behind the text".to_owned());
    }
    if inner.contains('\\') || inner.chars().any(char::is_control) || inner.chars().count() > LONGEST_TEXT {
        return Err(format!("the text is longer than {LONGEST_TEXT} characters, or holds \\ or control characters"));
    }
    Ok(inner.to_owned())
}

fn action(value: &str) -> Result<Action, String> {
    let word = text(value)?;
    Action::ALL.into_iter().find(|action| action.word() == word).ok_or_else(|| {
        let known: Vec<&str> = Action::ALL.iter().map(|action| action.word()).collect();
        format!("there is no action {word}; there are {}", known.join(", "))
    })
}

fn truth(value: &str) -> Result<bool, String> {
    match value.split('#').next().unwrap_or_default().trim() {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(format!("{other} is neither true nor false")),
    }
}

#[cfg(test)]
mod tests;
