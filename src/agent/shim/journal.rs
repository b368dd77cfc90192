//! The output of a batch command: kept in one file up to a cap, readable while it grows. It refuses to fill the disk: past
//! the cap output is counted and dropped, and the cut is marked.
use std::cell::Cell;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use tokio::sync::watch;

use crate::wire::lease::LogFacts;

/// A log that one task writes and any number follow.
#[derive(Debug)]
pub struct Journal {
    file: File,
    cap: u64,
    facts: Cell<LogFacts>,
    /// Bytes in the file, and whether there will be more.
    length: watch::Sender<(u64, bool)>,
}

impl Journal {
    /// A new, empty log.
    pub fn create(path: &Path, cap: u64) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Ok(Self { file, cap, facts: Cell::new(LogFacts::default()), length: watch::Sender::new((0, true)) })
    }

    pub fn facts(&self) -> LogFacts {
        self.facts.get()
    }

    /// Appends; what does not fit under the cap, or on the disk, is dropped and counted.
    pub fn append(&self, bytes: &[u8]) {
        let mut facts = self.facts.get();
        if facts.dropped == 0 {
            let room = usize::try_from(self.cap.saturating_sub(facts.bytes)).unwrap_or(usize::MAX);
            let (kept, cut) = bytes.split_at(room.min(bytes.len()));
            let wrote = (&self.file).write_all(kept).is_ok();
            facts.bytes = self.file.metadata().map_or(facts.bytes, |file| file.len());
            if !wrote || !cut.is_empty() {
                facts.dropped = if wrote { cut.len() } else { bytes.len() } as u64;
                let mark = if wrote { format!("{} bytes", self.cap) } else { "the disk's last free byte".to_owned() };
                let mark = format!("\n[gristmill: the output is cut here after {mark}; the command went on]\n");
                if (&self.file).write_all(mark.as_bytes()).is_ok() {
                    facts.bytes += mark.len() as u64;
                }
            }
        } else {
            facts.dropped += bytes.len() as u64;
        }
        self.facts.set(facts);
        self.length.send_replace((facts.bytes, true));
    }

    /// Nothing more will come.
    pub fn close(&self) {
        let _ = self.file.sync_all();
        self.length.send_modify(|length| length.1 = false);
    }

    /// At most `limit` bytes from `offset` on; empty past the end.
    pub fn read(&self, offset: u64, limit: usize) -> io::Result<Vec<u8>> {
        read_at(&self.file, offset, limit)
    }

    /// Tells when the log grows or closes.
    pub fn watch(&self) -> watch::Receiver<(u64, bool)> {
        self.length.subscribe()
    }
}

/// At most `limit` bytes from `offset` on.
pub fn read_at(file: &File, offset: u64, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; limit];
    let length = file.read_at(&mut bytes, offset)?;
    bytes.truncate(length);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cut_is_marked_and_counted() {
        let path = std::env::temp_dir().join(format!("gristmill-journal-{}", std::process::id()));
        let journal = Journal::create(&path, 10).unwrap();
        journal.append(b"12345");
        journal.append(b"6789abcdef");
        journal.append(b"more");
        let text = String::from_utf8(journal.read(0, 1000).unwrap()).unwrap();
        assert!(text.starts_with("123456789a\n[gristmill: the output is cut"), "{text}");
        assert_eq!(journal.facts(), LogFacts { bytes: text.len() as u64, dropped: 9 });
        assert_eq!(journal.read(1 << 40, 10).unwrap(), b"");
        std::fs::remove_file(path).unwrap();
    }
}
