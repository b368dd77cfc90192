//! The occasions on which the mill writes to somebody, with the finished values each one needs. It refuses values of more
//! than one line: a name must not be able to write a header or a paragraph of its own.
use crate::domain::notice::Sentence;

/// Longest value, in characters; what is longer is cut with an ellipsis.
const LIMIT: usize = 400;

/// A value as it stands in a mail: one line, no control characters, no direction marks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(String);

impl Line {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: AsRef<str>> From<T> for Line {
    fn from(text: T) -> Self {
        let steers = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let plain: String = text.as_ref().chars().filter(|c| !steers(*c)).collect();
        let words: Vec<&str> =
            plain.split(|c: char| c.is_control() || c.is_whitespace()).filter(|w| !w.is_empty()).collect();
        let line = words.join(" ");
        if line.chars().count() <= LIMIT {
            return Self(line);
        }
        Self(line.chars().take(LIMIT).chain(['…']).collect())
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// One occasion. Times are finished texts that name their zone; amounts name their currency; `path` leads to the page, from
/// the root of the public address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Letter {
    Invitation(Invitation),
    BookingConfirmed(BookingConfirmed),
    Reminder(Reminder),
    Problem(Problem),
    Settled(Settled),
    InvoiceIssued(InvoiceIssued),
    Test(Test),
}

/// Somebody may join; the path carries the one-use secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    pub inviter: Line,
    pub team: Line,
    pub role: Line,
    pub expires: Line,
    pub path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookingConfirmed {
    /// Such as `llama finetune`.
    pub booking: Line,
    /// Such as `2 × H200`.
    pub units: Line,
    pub start: Line,
    pub end: Line,
    pub team: Line,
    /// The most that it can cost.
    pub held: Line,
    pub path: String,
}

/// Which end of a booking is near.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Near {
    Start,
    End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reminder {
    pub near: Near,
    /// How near, such as `15 minutes`.
    pub lead: Line,
    /// The instant itself, in the reader's zone.
    pub at: Line,
    pub booking: Line,
    pub units: Line,
    pub path: String,
}

/// Something did not go as promised or asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it concerns, such as the booking's name; the subject of the mail.
    pub about: Line,
    pub what: Line,
    pub why: Line,
    pub next: Line,
    pub path: String,
}

impl Problem {
    pub fn new(about: impl Into<Line>, sentence: &Sentence, path: impl Into<String>) -> Self {
        let Sentence { what, why, next } = sentence;
        Self { about: about.into(), what: what.into(), why: why.into(), next: next.into(), path: path.into() }
    }
}

/// A booking has ended and its money is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    pub booking: Line,
    pub units: Line,
    /// How it ended, a sentence.
    pub ended: Line,
    /// Time that was delivered, such as `2 h 58 min`.
    pub delivered: Line,
    pub held: Line,
    pub charged: Line,
    pub returned: Line,
    pub team: Line,
    pub balance: Line,
    pub path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvoiceIssued {
    /// Such as `Internal charge`.
    pub title: Line,
    pub number: Line,
    pub team: Line,
    pub period: Line,
    pub outstanding: Line,
    pub due: Option<Line>,
    pub path: String,
}

/// Sent by the test button.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    pub asked_by: Line,
    pub path: String,
}
