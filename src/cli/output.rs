//! The three voices: a table for people, one JSON document for scripts, bare ids for shell loops. Progress and refusals go to
//! standard error, so that standard output holds the answer alone. It refuses control characters that came from elsewhere.
use std::io::{IsTerminal as _, Write as _};

use serde::Serialize;

use super::args::Globals;
use super::failure::Failure;
use crate::base::text::without_control;
use crate::wire::api::{Amount, Problem};

/// How answers are said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    Table,
    Json,
    Quiet,
}

/// Where answers go.
#[derive(Clone, Debug)]
pub struct Output {
    pub voice: Voice,
    /// Whether headings may be set in bold.
    bold: bool,
}

/// A table: headings, of which those that begin with `>` stand over figures and align to the right.
#[derive(Clone, Debug, Default)]
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| clean(cell)).collect());
    }

    /// As lines; the first is the head.
    pub fn lines(&self) -> Vec<String> {
        let titles: Vec<String> = self.head.iter().map(|title| title.trim_start_matches('>').to_uppercase()).collect();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.chain(titles.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let line = |cells: &[String]| {
            let set = cells.iter().zip(&self.head).zip(&widths).map(|((cell, title), &width)| {
                if title.starts_with('>') { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            set.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        std::iter::once(line(&titles)).chain(self.rows.iter().map(|row| line(row))).collect()
    }
}

/// On one line, and without what could steer a terminal.
pub fn clean(text: &str) -> String {
    without_control(text).replace(['\n', '\t'], " ")
}

/// `12.50`, and nothing else: the heading names the unit.
pub fn amount(amount: &Amount) -> String {
    amount.decimal.clone()
}

impl Output {
    pub fn new(globals: &Globals) -> Self {
        let voice = match globals {
            Globals { json: true, .. } => Voice::Json,
            Globals { quiet: true, .. } => Voice::Quiet,
            _ => Voice::Table,
        };
        let bold = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { voice, bold }
    }

    /// Says an answer: the document to scripts, the id where only that is wanted, else whatever `say` makes of it.
    pub fn answer<T: Serialize>(&self, document: &T, ids: &[String], say: impl FnOnce()) {
        match self.voice {
            Voice::Json => self.json(document),
            Voice::Quiet => ids.iter().for_each(|id| self.line(id)),
            Voice::Table => say(),
        }
    }

    /// One document on standard output.
    pub fn json<T: Serialize>(&self, document: &T) {
        let text = serde_json::to_string_pretty(document).expect("answers are plain data and always serialise");
        self.line(&text);
    }

    /// One line on standard output. A closed pipe ends the command quietly, as shells expect.
    pub fn line(&self, text: &str) {
        self.bytes(format!("{text}\n").as_bytes());
    }

    /// Bytes on standard output, at once.
    pub fn bytes(&self, bytes: &[u8]) {
        let mut out = std::io::stdout().lock();
        if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
            std::process::exit(i32::from(super::failure::CLOSED_PIPE));
        }
    }

    pub fn table(&self, table: &Table, empty: &str) {
        if table.rows.is_empty() {
            return self.line(empty);
        }
        for (number, line) in table.lines().iter().enumerate() {
            match number {
                0 if self.bold => self.line(&format!("\x1b[1m{line}\x1b[0m")),
                _ => self.line(line),
            }
        }
    }

    /// Pairs of a name and a value, aligned.
    pub fn facts(&self, facts: &[(&str, String)]) {
        let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
            self.line(&format!("{name:<width$}  {}", clean(value)));
        }
    }

    /// Progress, on standard error; not where only ids are wanted.
    pub fn progress(&self, text: &str) {
        if self.voice != Voice::Quiet {
            note(&clean(text));
        }
    }

    /// A refusal, on standard error: what, why, and the next step; as the document to scripts.
    pub fn failure(&self, failure: &Failure) {
        let problem = failure.problem();
        match self.voice {
            Voice::Json => note(&serde_json::to_string_pretty(&problem).unwrap_or_default()),
            _ => note(&spoken(&problem)),
        }
    }
}

/// A refusal as people read it.
fn spoken(problem: &Problem) -> String {
    let parts = [&problem.what, &problem.why, &problem.next].map(|part| clean(part));
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

fn note(text: &str) {
    // Nobody is left to tell where standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_under_each_other_and_escapes_do_not_pass() {
        let mut table = Table::new(&["name", ">gpus"]);
        table.row(vec!["mill\x1b[31m".into(), "8".into()]);
        table.row(vec!["b".into(), "128".into()]);
        assert_eq!(table.lines(), ["NAME      GPUS", "mill[31m     8", "b          128"]);
    }
}
