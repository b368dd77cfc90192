//! Text that people type, brought into a shape that can be stored and shown: names, addresses, durations. It refuses to
//! guess: what it cannot read it names, with an example of what it can.
use serde::{Deserialize, Serialize};

use super::window::Span;

/// Why a typed text is refused; its display is fit for the person who typed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadText {
    #[error("this may not be empty")]
    Empty,
    #[error("this is longer than {limit} characters")]
    TooLong { limit: usize },
    #[error("this contains a control character or a line break")]
    Control,
    #[error("an e-mail address looks like ada@example.org")]
    NotAnAddress,
    #[error("a duration looks like 90m, 3h, 2d or 1h30m")]
    NotADuration,
}

/// A person's, team's or thing's name: 1 to 80 visible characters, trimmed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    pub const LIMIT: usize = 80;

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Lower-cased, to find and compare names as people mean them.
    pub fn key(&self) -> String {
        self.0.to_lowercase()
    }
}

impl TryFrom<String> for Name {
    type Error = BadText;

    fn try_from(text: String) -> Result<Self, BadText> {
        line(&text, Self::LIMIT).map(Self)
    }
}

impl std::str::FromStr for Name {
    type Err = BadText;

    fn from_str(text: &str) -> Result<Self, BadText> {
        line(text, Self::LIMIT).map(Self)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// An e-mail address, lower-cased. The check keeps header injection and slips out; only a delivered mail proves it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Email(String);

impl Email {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Email {
    type Err = BadText;

    fn from_str(text: &str) -> Result<Self, BadText> {
        let text = line(text, 254).map_err(|_| BadText::NotAnAddress)?.to_lowercase();
        let plain = |c: char| c.is_alphanumeric() || "._+-@".contains(c);
        let (local, host) = text.split_once('@').ok_or(BadText::NotAnAddress)?;
        let host_ok = !host.is_empty() && !host.contains('@') && host.split('.').all(|part| !part.is_empty());
        if local.is_empty() || !host_ok || !text.chars().all(plain) {
            return Err(BadText::NotAnAddress);
        }
        Ok(Self(text))
    }
}

impl TryFrom<String> for Email {
    type Error = BadText;

    fn try_from(text: String) -> Result<Self, BadText> {
        text.parse()
    }
}

impl From<Email> for String {
    fn from(email: Email) -> Self {
        email.0
    }
}

impl std::fmt::Display for Email {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// One trimmed line of at most `limit` characters.
pub fn line(text: &str, limit: usize) -> Result<String, BadText> {
    let text = text.trim();
    if text.is_empty() {
        return Err(BadText::Empty);
    }
    if text.chars().count() > limit {
        return Err(BadText::TooLong { limit });
    }
    if text.chars().any(char::is_control) {
        return Err(BadText::Control);
    }
    Ok(text.to_owned())
}

/// Removes control characters except line feed and tab: for what a node or a workload says outside a terminal.
pub fn without_control(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// Reads `90s`, `90m`, `3h`, `2d`, or several such as `1h30m`; always positive, at most ten years.
pub fn duration(text: &str) -> Result<Span, BadText> {
    const LIMIT_SECONDS: i64 = 10 * 366 * 86_400;
    let text: String = text.trim().to_lowercase().split_whitespace().collect();
    let mut seconds: i64 = 0;
    let mut digits = String::new();
    for letter in text.chars() {
        if letter.is_ascii_digit() && digits.len() < 12 {
            digits.push(letter);
            continue;
        }
        let unit = match letter {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 7 * 86_400,
            _ => return Err(BadText::NotADuration),
        };
        let count: i64 = digits.parse().map_err(|_| BadText::NotADuration)?;
        seconds = seconds.saturating_add(count.saturating_mul(unit));
        digits.clear();
    }
    if !digits.is_empty() || seconds <= 0 || seconds > LIMIT_SECONDS {
        return Err(BadText::NotADuration);
    }
    Ok(Span::from_seconds(seconds))
}

/// Writes a length of time as people say it: `3 h`, `1 h 30 min`, `2 d 4 h`, `45 s`.
pub fn spoken(span: Span) -> String {
    let seconds = span.as_seconds().abs();
    let parts = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let said: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).take(2).map(|(n, unit)| format!("{n} {unit}")).collect();
    if said.is_empty() { "0 s".to_owned() } else { said.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        for (text, seconds) in [("3h", 10_800), ("1h30m", 5400), (" 90 m ", 5400), ("2d", 172_800), ("10s", 10)] {
            assert_eq!(duration(text), Ok(Span::from_seconds(seconds)), "{text}");
        }
        for bad in ["", "h", "3", "0h", "-3h", "3y", "99999999999999h", "9999w"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(spoken(Span::from_seconds(5400)), "1 h 30 min");
    }

    #[test]
    fn addresses() {
        assert_eq!("Ada@Lab.example".parse::<Email>().unwrap().as_str(), "ada@lab.example");
        for bad in ["", "ada", "@x", "a@", "a@b..c", "a@b@c", "a b@c.d", "a@b.c\r\nBcc: x@y.z"] {
            assert!(bad.parse::<Email>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text: String) {
            let _ = (duration(&text), text.parse::<Email>(), text.parse::<Name>(), without_control(&text));
        }
    }
}
