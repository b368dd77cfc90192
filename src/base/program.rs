//! What a program file asks of the machine it runs on: the newest version of glibc whose symbols it names. Server and agent
//! both say it. It refuses to open files, and knows of ELF no more than the way to the table of names (64 bits, little
//! endian, as on x86_64 and aarch64).
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};

/// What a symbol's version begins with in the table of names.
const MARK: &str = "GLIBC_";
/// ELF's number for a section of needed versions; its link leads to the names (`SHT_GNU_verneed`).
const NEEDED_VERSIONS: u32 = 0x6fff_fffe;
/// More sections, and more bytes of names, than any program has.
const MOST_SECTIONS: usize = 4096;
const MOST_NAMES: u64 = 64 << 20;

/// A version of glibc, such as 2.34.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Glibc {
    pub major: u32,
    pub minor: u32,
}

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Glibc {
    /// Reads `2.34` or `2.3.4`, whose last part does not matter here.
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('.');
        let (major, minor) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { major, minor })
    }

    /// The oldest glibc that has everything a program names; `None` where it names none, or is no program.
    pub fn needed_by(file: &mut (impl Read + Seek)) -> io::Result<Option<Self>> {
        let Some((offset, size)) = names(file)? else { return Ok(None) };
        Ok(newest(&piece(file, offset, usize::try_from(size.min(MOST_NAMES)).unwrap_or(0))?))
    }
}

/// The newest version among names that end with zero bytes.
fn newest(names: &[u8]) -> Option<Glibc> {
    let versions = names.split(|&byte| byte == 0).filter_map(|name| std::str::from_utf8(name).ok()?.strip_prefix(MARK));
    versions.filter_map(Glibc::read).max()
}

/// Where the names that go with needed versions lie: offset and length.
fn names(file: &mut (impl Read + Seek)) -> io::Result<Option<(u64, u64)>> {
    let head = piece(file, 0, 64)?;
    if head.len() < 64 || !head.starts_with(b"\x7fELF\x02\x01") {
        return Ok(None);
    }
    let (offset, size) = (number(&head, 0x28, 8), usize::try_from(number(&head, 0x3a, 2)).unwrap_or(0));
    let count = usize::try_from(number(&head, 0x3c, 2)).unwrap_or(0).min(MOST_SECTIONS);
    if size < 64 {
        return Ok(None);
    }
    let table = piece(file, offset, size * count)?;
    let sections: Vec<&[u8]> = table.chunks_exact(size).collect();
    let needed = sections.iter().find(|section| number(section, 4, 4) == u64::from(NEEDED_VERSIONS));
    let linked = needed.and_then(|section| sections.get(usize::try_from(number(section, 40, 4)).ok()?));
    Ok(linked.map(|section| (number(section, 24, 8), number(section, 32, 8))))
}

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// Up to so many bytes from there; fewer where the file ends.
fn piece(file: &mut (impl Read + Seek), offset: u64, length: usize) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(length as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_newest_name_counts() {
        let names = b"\0GLIBC_2.2.5\0GLIBC_2.34\0XGLIBC_2.99\0GLIBC_PRIVATE\0\0GLIBC_2.17\0";
        assert_eq!(newest(names).map(|version| version.to_string()).as_deref(), Some("2.34"));
        assert_eq!(newest(b"\0main\0"), None);
        assert!(Glibc::read("2.4") < Glibc::read("2.31"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(mut bytes: Vec<u8>, elf: bool) {
            if elf {
                bytes.splice(0..0, *b"\x7fELF\x02\x01");
            }
            let _ = Glibc::needed_by(&mut io::Cursor::new(bytes));
        }
    }
}
