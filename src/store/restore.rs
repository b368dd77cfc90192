//! The way back from a backup: say what is in it, and put it into an empty directory. It refuses to declare restored what
//! was not opened and checked page by page.
use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Write};
use std::path::Path;

use redb::{ReadableDatabase, ReadableTableMetadata, TableHandle};

use super::backup::{BackupError, Draft, Header, measure, private, unpack};
use super::create::name;
use super::engine::engine;
use super::lock;
use super::medium::builder;
use super::open::FILE;
use super::writer::{explain, panic_text};

/// Names that may already lie in the directory: the sealing key is brought along first, by hand.
const ALLOWED: [&str; 1] = ["keys"];

/// Reads the whole file and says what is in it; changes nothing.
pub fn preview(file: &Path) -> Result<Header, BackupError> {
    let (header, input) = unpack(file)?;
    unzip(file, &header, input, io::sink())?;
    Ok(header)
}

/// Unpacks a backup into an empty directory, checks it, and only then gives it its name.
pub fn restore(file: &Path, dir: &Path) -> Result<Header, BackupError> {
    let io = |source| BackupError::Io { path: dir.to_owned(), source };
    let (header, input) = unpack(file)?;
    if holds_anything(dir).map_err(io)? {
        return Err(BackupError::NotEmpty { dir: dir.to_owned() });
    }
    let _lock = lock::take(dir)?;
    let path = dir.join(FILE);
    let draft = Draft(path.with_extension("redb.new"));
    let mut out = BufWriter::new(private(&draft.0).map_err(io)?);
    unzip(file, &header, input, &mut out)?;
    out.flush().map_err(io)?;
    drop(out);
    let checked = std::panic::catch_unwind(|| check(&draft.0, &header));
    checked
        .unwrap_or_else(|panic| Err(panic_text(panic.as_ref())))
        .map_err(|why| BackupError::Unusable { path: file.to_owned(), why })?;
    name(&draft.0, dir, &path).map_err(io)?;
    Ok(header)
}

fn holds_anything(dir: &Path) -> io::Result<bool> {
    match fs::read_dir(dir) {
        Ok(entries) => {
            for entry in entries {
                if !ALLOWED.iter().any(|allowed| entry.as_ref().is_ok_and(|entry| entry.file_name() == *allowed)) {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Unpacks the data and holds it against the header.
fn unzip(file: &Path, header: &Header, input: io::BufReader<File>, out: impl Write) -> Result<(), BackupError> {
    let unusable = |why: String| BackupError::Unusable { path: file.to_owned(), why };
    let decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(|error| unusable(error.to_string()))?;
    // One byte more than promised is enough to see that the promise is broken.
    let (bytes, sha256) = measure(decoder.take(header.bytes.saturating_add(1)), out).map_err(|error| {
        if error.kind() == io::ErrorKind::StorageFull {
            BackupError::Io { path: file.to_owned(), source: error }
        } else {
            unusable(format!("it is damaged or was cut off ({error})"))
        }
    })?;
    if bytes != header.bytes || sha256 != header.sha256 {
        return Err(unusable("its data is not what its header promises".into()));
    }
    Ok(())
}

/// Every page and every count.
fn check(path: &Path, header: &Header) -> Result<(), String> {
    let text = |error: super::read::StoreError| explain(&error);
    let mut database = builder().open(path).map_err(|error| explain(&error))?;
    database.check_integrity().map_err(|error| explain(&error))?;
    let transaction = database.begin_read().map_err(|error| text(engine(error)))?;
    let mut tables = 0;
    for table in transaction.list_tables().map_err(|error| text(engine(error)))? {
        let name = table.name().to_owned();
        let rows = transaction.open_untyped_table(table).and_then(|table| Ok(table.len()?));
        let rows = rows.map_err(|error| text(engine(error)))?;
        if header.counts.get(&name) != Some(&rows) {
            return Err(format!("{name} holds {rows} rows, its header promises others"));
        }
        tables += 1;
    }
    if tables == header.counts.len() { Ok(()) } else { Err("tables are missing".into()) }
}
