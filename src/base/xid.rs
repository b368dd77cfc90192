//! An Xid as a node tells it, and how it is read from the kernel's log, where sub-codes and severity stand that the
//! driver's events lack. The words of the log are hostile: a program's name is in them. It refuses to judge what an Xid
//! means (`domain::fleet::xid` does), and to read more than it must.
use serde::{Deserialize, Serialize};

use super::text::without_control;
use super::window::{Instant, Span};

/// Longest text of an Xid that is kept, in characters.
pub const LONGEST_TEXT: usize = 200;
/// Longest line of the log that is looked at, in bytes; the kernel's own records end before that.
pub const LONGEST_LINE: usize = 4096;
/// Most Xids that a node tells at once.
pub const MOST_XIDS: usize = 64;
/// The same GPU with the same Xid within this is one occurrence: log and driver tell of it apart.
pub const SAME_WITHIN: Span = Span::from_seconds(5);

/// The driver's prefix; a line that does not begin with it is not the driver's, whatever else it holds.
const PREFIX: &str = "NVRM: Xid (";

/// What the driver recommends to recover a GPU, as NVML field 230 and Xid 154 have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    None,
    Reset,
    Reboot,
    /// Stop traffic between GPUs, then it works on.
    DrainPeers,
    DrainAndReset,
}

impl Recovery {
    /// By the driver's number.
    pub const fn of(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::None,
            1 => Self::Reset,
            2 => Self::Reboot,
            3 => Self::DrainPeers,
            4 => Self::DrainAndReset,
            _ => return None,
        })
    }

    /// As the table of actions names it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Reset => "reset",
            Self::Reboot => "reboot",
            Self::DrainPeers => "drain_peers",
            Self::DrainAndReset => "drain_and_reset",
        }
    }
}

/// How bad the driver itself calls an NVLink error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Fatal,
    Nonfatal,
}

impl Severity {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fatal => "fatal",
            Self::Nonfatal => "nonfatal",
        }
    }
}

/// What an Xid says beyond its number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Detail {
    #[default]
    Plain,
    /// 144 to 150: the unit that failed, how badly, on which link, and the first two words of its registers.
    NvLink {
        unit: String,
        severity: Severity,
        link: Option<i32>,
        /// Bits 20 to 25 of the first word.
        sub_code: Option<u32>,
        /// The second word.
        status: Option<u32>,
    },
    /// 154: what is now recommended.
    Recovery { action: Recovery },
}

/// Who told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// The kernel's log, with everything that stands there.
    Kernel,
    /// An event of the driver: the number alone.
    Driver,
}

/// One Xid of one GPU, as the node tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct XidFact {
    /// The GPU's UUID; that of the whole GPU where it is cut into instances.
    pub uuid: String,
    pub code: u32,
    /// By the node's clock.
    pub at: Instant,
    pub told: Told,
    /// The process that was at work, where the line names one.
    #[serde(default)]
    pub pid: Option<u32>,
    #[serde(default)]
    pub detail: Detail,
    /// The driver's words, at most [`LONGEST_TEXT`] characters.
    #[serde(default)]
    pub text: String,
}

impl XidFact {
    /// Whether both tell of one occurrence.
    pub fn is_same(&self, other: &Self) -> bool {
        let apart = self.at.since(other.at).as_millis().abs();
        self.uuid == other.uuid && self.code == other.code && apart <= SAME_WITHIN.as_millis()
    }
}

/// A line about an Xid, not yet anybody's: the log names a bus, no UUID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XidLine {
    /// Lower case, as it stands: `0000:3b:00` or `0000:3b:00.0`.
    pub bus: String,
    pub code: u32,
    pub pid: Option<u32>,
    pub detail: Detail,
    pub text: String,
}

/// One record of /dev/kmsg: its place, its time since the kernel's start, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelRecord<'a> {
    pub sequence: u64,
    /// Microseconds since the start, by the kernel's monotonic clock.
    pub micros: u64,
    pub message: &'a str,
}

/// Reads a record as the kernel gives it out: `level,sequence,micros,flags;message`. Records that were written by programs
/// (any facility but the kernel's own) are nobody's word here.
pub fn kernel_record(record: &str) -> Option<KernelRecord<'_>> {
    let (head, rest) = record.split_once(';')?;
    let mut fields = head.split(',');
    let level: u32 = fields.next()?.parse().ok()?;
    let sequence = fields.next()?.parse().ok()?;
    let micros = fields.next()?.parse().ok()?;
    // The facility is what is above the three bits of the level; 0 is the kernel.
    (level < 8).then_some(())?;
    Some(KernelRecord { sequence, micros, message: rest.split('\n').next().unwrap_or_default() })
}

/// Reads the driver's line about an Xid; `None` for every other line.
pub fn line(message: &str) -> Option<XidLine> {
    let rest = message.get(..message.len().min(LONGEST_LINE)).unwrap_or_default().strip_prefix(PREFIX)?;
    let (place, rest) = rest.split_once(')')?;
    // Instances are named after the bus: `PCI:0000:3d:00 GPU-I:05`.
    let bus = bus(place.split(' ').next()?)?;
    let rest = rest.strip_prefix(": ")?;
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let code = rest[..digits].parse().ok().filter(|code| (1..10_000).contains(code))?;
    let said = rest[digits..].strip_prefix(',').map_or_else(|| rest[digits..].trim(), str::trim_start);
    // A line that goes on in another way is another kind of line.
    (said.is_empty() || rest[digits..].starts_with(',')).then_some(())?;
    let (pid, named) = process(said);
    // What a process is named may look like anything: such lines are read for their number alone.
    let detail = if named { Detail::Plain } else { detail(code, said) };
    let plain = without_control(said).replace(['\t', '\n'], " ");
    let text = plain.trim().chars().take(LONGEST_TEXT).collect();
    Some(XidLine { bus, code, pid, detail, text })
}

/// `PCI:0000:3b:00` or `0000:3b:00`: at least domain, bus and device, in hexadecimal.
fn bus(place: &str) -> Option<String> {
    let bus = place.strip_prefix("PCI:").unwrap_or(place);
    let good = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit() || b == b'.');
    (bus.split(':').count() == 3 && bus.split(':').all(good)).then(|| bus.to_ascii_lowercase())
}

/// The process number, and whether a process is named at all.
fn process(said: &str) -> (Option<u32>, bool) {
    let Some(rest) = said.strip_prefix("pid=") else { return (None, said.contains("name=")) };
    let word = rest.split(',').next().unwrap_or_default();
    (word.trim_matches('\'').parse().ok(), true)
}

fn detail(code: u32, said: &str) -> Detail {
    match code {
        144..=150 => nvlink(said).unwrap_or_default(),
        154 => recovery(said).map_or(Detail::Plain, |action| Detail::Recovery { action }),
        _ => Detail::Plain,
    }
}

/// `RLW_REMAP Nonfatal XC0 i0 Link 05 (0x00000004 0x80000000 …)`.
fn nvlink(said: &str) -> Option<Detail> {
    let mut words = said.split_ascii_whitespace();
    let unit = words.next()?;
    let known = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'_' | b'/');
    (unit.len() <= 40 && unit.bytes().all(known)).then_some(())?;
    let severity = match words.next()?.to_ascii_lowercase().as_str() {
        "fatal" => Severity::Fatal,
        "nonfatal" | "non-fatal" => Severity::Nonfatal,
        _ => return None,
    };
    let link = said.split_once("Link ").and_then(|(_, rest)| rest.split_ascii_whitespace().next()?.parse().ok());
    let registers = said.split_once('(').and_then(|(_, rest)| rest.split(')').next()).unwrap_or_default();
    let mut registers = registers.split_ascii_whitespace().map(|word| {
        let digits = word.strip_prefix("0x").unwrap_or(word);
        u32::from_str_radix(digits, 16).ok()
    });
    let (first, status) = (registers.next().flatten(), registers.next().flatten());
    let sub_code = first.map(|word| (word >> 20) & 0x3f);
    Some(Detail::NvLink { unit: unit.to_owned(), severity, link, sub_code, status })
}

/// `GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)`: what it changed to.
fn recovery(said: &str) -> Option<Recovery> {
    let (_, to) = said.split_once(" to 0x")?;
    let digits = to.split(|c: char| !c.is_ascii_hexdigit()).next()?;
    Recovery::of(u64::from_str_radix(digits, 16).ok()?)
}

#[cfg(test)]
mod tests;
