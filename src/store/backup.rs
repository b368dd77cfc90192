//! A backup: one compressed file, made while the mill writes, with a header that says what is in it. The sealing key lies
//! outside the database and is never part of it. It refuses to overwrite a file.
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read as _, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use redb::{Database, Durability, ReadTransaction, ReadableTable, TableDefinition, TableHandle};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::create::name;
use super::engine::{Bytes, engine};
use super::medium::builder;
use super::open::{OpenError, Store};
use super::read::StoreError;
use super::record::{Key, Record};
use super::schema::{MIN_READER, SCHEMA};
use super::tables::Table;
use crate::base::window::Instant;

const MAGIC: &[u8; 8] = b"GRISTBK\n";
const FORMAT: u32 = 1;
/// Longest header accepted, in bytes: it is read into memory before anything about the file is known.
const LONGEST_HEADER: u32 = 16 * 1024 * 1024;
/// Rows copied per step, so that a large table does not gather in memory.
const STEP: usize = 50_000;
/// zstd's default: about a tenth of the size at the speed of a disk.
const LEVEL: i32 = 3;

/// Rows per table.
type Counts = BTreeMap<String, u64>;
/// Key and value of every meta row, in base 64.
type MetaRows = Vec<(String, String)>;

/// What stands before the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub format: u32,
    pub schema: u32,
    pub min_reader: u32,
    pub made_at: Instant,
    /// Rows per table.
    pub counts: Counts,
    /// Length of the database before compression.
    pub bytes: u64,
    /// Of the database before compression, in hex.
    pub sha256: String,
    /// Enough to say whose data this is without unpacking it.
    pub meta: MetaRows,
}

impl Header {
    /// A record of the meta table, such as the organisation.
    pub fn meta<R: Record>(&self, key: &R::Key) -> Result<Option<R>, StoreError> {
        let key = STANDARD.encode(key.bytes());
        let Some((_, value)) = self.meta.iter().find(|(there, _)| *there == key) else { return Ok(None) };
        let value = STANDARD.decode(value).map_err(|_| StoreError::Malformed { table: Table::Meta.name() })?;
        Ok(Some(R::decode(&value)?))
    }
}

/// Why there is no backup, or none that can be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{} exists already. Nothing was written. Choose another name for the backup.", path.display())]
    Exists { path: PathBuf },
    #[error("{} cannot be restored: {why}. Nothing was changed. Take another backup file.", path.display())]
    Unusable { path: PathBuf, why: String },
    #[error("{} was made by a newer Gristmill (form {found}; this program knows up to {known}). Restore it with that program.", path.display())]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("{} is not empty. A backup is only restored into an empty directory, so that it cannot mix with other data.", dir.display())]
    NotEmpty { dir: PathBuf },
    #[error("{} cannot be read or written. Check that it exists, belongs to you and has room.", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Removes what is left of an attempt.
pub(super) struct Draft(pub PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone already when the attempt succeeded.
        let _ = fs::remove_file(&self.0);
    }
}

impl Store {
    /// Writes a backup of the last commit to a new file. Blocks; writers and readers go on meanwhile.
    pub fn backup(&self, file: &Path) -> Result<Header, BackupError> {
        let io = |source| BackupError::Io { path: file.to_owned(), source };
        if file.try_exists().map_err(io)? {
            return Err(BackupError::Exists { path: file.to_owned() });
        }
        let plain = Draft(beside(file, "copy"));
        let packed = Draft(beside(file, "part"));
        let (counts, meta) = self.copy_to(&plain.0)?;
        let (bytes, sha256) = File::open(&plain.0).and_then(|copy| measure(copy, io::sink())).map_err(io)?;
        let (schema, min_reader) = (SCHEMA, MIN_READER);
        let made_at = self.now();
        let header = Header { format: FORMAT, schema, min_reader, made_at, counts, bytes, sha256, meta };
        pack(&header, &plain.0, &packed.0).map_err(io)?;
        let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        name(&packed.0, dir, file).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => BackupError::Exists { path: file.to_owned() },
            _ => io(source),
        })?;
        Ok(header)
    }

    fn copy_to(&self, plain: &Path) -> Result<(Counts, MetaRows), BackupError> {
        let io = |source| BackupError::Io { path: plain.to_owned(), source };
        match fs::remove_file(plain) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(io(source)),
            _ => {}
        }
        private(plain).map_err(io)?;
        let source = self.transaction()?;
        let target = builder().create(plain).map_err(engine)?;
        let counts = copy(&source, &target)?;
        let meta = source.open_table(TableDefinition::<Bytes, Bytes>::new(Table::Meta.name())).map_err(engine)?;
        let mut rows = Vec::new();
        for row in meta.iter().map_err(engine)? {
            let (key, value) = row.map_err(engine)?;
            rows.push((STANDARD.encode(key.value()), STANDARD.encode(value.value())));
        }
        Ok((counts, rows))
    }
}

/// A new file for its owner alone: a backup holds everything that pages show only to some.
pub(super) fn private(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{ending}"));
    name.into()
}

/// Copies every table of a snapshot, whatever program wrote it.
fn copy(source: &ReadTransaction, target: &Database) -> Result<Counts, StoreError> {
    let mut counts = BTreeMap::new();
    for table in source.list_tables().map_err(engine)? {
        let definition = TableDefinition::<Bytes, Bytes>::new(table.name());
        let from = source.open_table(definition).map_err(engine)?;
        let mut rows = from.iter().map_err(engine)?.peekable();
        let mut count = 0;
        loop {
            let mut transaction = target.begin_write().map_err(engine)?;
            transaction.set_durability(Durability::None).map_err(engine)?;
            let mut to = transaction.open_table(definition).map_err(engine)?;
            for row in rows.by_ref().take(STEP) {
                let (key, value) = row.map_err(engine)?;
                to.insert(key.value(), value.value()).map_err(engine)?;
                count += 1;
            }
            drop(to);
            transaction.commit().map_err(engine)?;
            if rows.peek().is_none() {
                break;
            }
        }
        counts.insert(table.name().to_owned(), count);
    }
    // One durable commit makes all the others durable.
    target.begin_write().map_err(engine)?.commit().map_err(engine)?;
    Ok(counts)
}

/// Copies bytes while counting and hashing them.
pub(super) fn measure(mut from: impl io::Read, mut to: impl Write) -> io::Result<(u64, String)> {
    let mut hash = Context::new(&SHA256);
    let mut buffer = vec![0; 256 * 1024];
    let mut bytes = 0;
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
        bytes += read as u64;
    }
    Ok((bytes, hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()))
}

fn pack(header: &Header, plain: &Path, packed: &Path) -> io::Result<()> {
    if let Err(source) = fs::remove_file(packed)
        && source.kind() != io::ErrorKind::NotFound
    {
        return Err(source);
    }
    let mut out = BufWriter::new(private(packed)?);
    let json = serde_json::to_vec(header)?;
    let length = u32::try_from(json.len()).map_err(|_| io::Error::other("the header is too long"))?;
    out.write_all(MAGIC)?;
    out.write_all(&length.to_be_bytes())?;
    out.write_all(&json)?;
    let mut encoder = zstd::stream::write::Encoder::new(out, LEVEL)?;
    io::copy(&mut File::open(plain)?, &mut encoder)?;
    encoder.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// The header, and a reader that stands at the compressed data.
pub(super) fn unpack(file: &Path) -> Result<(Header, BufReader<File>), BackupError> {
    let io = |source| BackupError::Io { path: file.to_owned(), source };
    let unusable = |why: &str| BackupError::Unusable { path: file.to_owned(), why: why.to_owned() };
    let mut input = BufReader::new(File::open(file).map_err(io)?);
    let mut start = [0; 12];
    input.read_exact(&mut start).map_err(|_| unusable("it is too short to be a backup"))?;
    let (magic, length) = start.split_first_chunk::<8>().expect("12 bytes hold 8");
    if magic != MAGIC {
        return Err(unusable("it is no backup of a mill"));
    }
    let length = u32::from_be_bytes(length.try_into().expect("4 bytes are left"));
    if length > LONGEST_HEADER {
        return Err(unusable("its header is damaged"));
    }
    let mut json = vec![0; length as usize];
    input.read_exact(&mut json).map_err(|_| unusable("it ends inside its header"))?;
    let header: Header = serde_json::from_slice(&json).map_err(|_| unusable("its header cannot be read"))?;
    if header.format > FORMAT || header.min_reader > SCHEMA {
        return Err(BackupError::Newer { path: file.to_owned(), found: header.schema, known: SCHEMA });
    }
    Ok((header, input))
}
