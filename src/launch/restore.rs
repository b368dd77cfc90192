//! `gristmill restore FILE --data DIR [--preview]`: says what is in a backup, and puts it into an empty directory. Sessions,
//! tokens and open links of the backup's day end with it. It refuses directories with anything in them but keys, and to be
//! silent about keys: a backup holds none.
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::app::error::AppError;
use crate::app::upkeep;
use crate::domain::money::transfer::LedgerHead;
use crate::domain::people::installation::Installation;
use crate::store::backup::{BackupError, Header};
use crate::store::money::LEDGER_HEAD;
use crate::store::people::INSTALLATION;
use crate::store::{OpenError, Store, StoreError, restore as unpack};
use crate::wire::api::Moment;

/// The key that opens what the database holds sealed; see `app/trust`.
const SEAL: &str = "seal.key";

/// What `gristmill restore` takes.
#[derive(Clone, Debug, Args)]
pub struct RestoreArgs {
    /// A file that `gristmill backup` wrote
    pub file: PathBuf,
    /// An empty or missing directory
    #[arg(long)]
    pub data: PathBuf,
    /// Only say what is in it; changes nothing
    #[arg(long)]
    pub preview: bool,
    /// Your copy of the server's keys directory; its seal.key is put into place
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the backup's own description cannot be read: {0}")]
    Header(#[from] StoreError),
    #[error("{0}")]
    App(#[from] AppError),
    #[error("{} cannot be used: {source}. Name a copy of the directory “keys” of the server that was backed up.", path.display())]
    Keys { path: PathBuf, source: std::io::Error },
}

/// What is in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Preview {
    pub made_at: Moment,
    /// `None` for a mill that was never set up.
    pub organisation: Option<String>,
    pub currency: Option<String>,
    pub simulated: bool,
    pub members: u64,
    pub teams: u64,
    pub nodes: u64,
    pub bookings: u64,
    pub documents: u64,
    /// Transfers in the ledger's chain.
    pub transfers: u64,
    /// Length of the database, in bytes.
    pub bytes: u64,
    /// Always `false`: keys are kept apart from backups.
    pub holds_keys: bool,
    /// Whether it lies in the directory now, and not only in the file.
    pub restored: bool,
    /// What has to be done before the server can start.
    pub next: String,
}

/// Previews or restores.
pub async fn run(args: RestoreArgs) -> Result<Preview, RestoreError> {
    let key = args.keys.as_deref().map(read_key).transpose()?;
    if args.preview {
        let header = unpack::preview(&args.file)?;
        return preview(&header, false, next(&args.data, key.is_some(), false));
    }
    let header = unpack::restore(&args.file, &args.data)?;
    let store = Store::open(&args.data, crate::clock::now)?;
    let ended = upkeep::end_what_was_open(&store).await;
    store.stop();
    ended?;
    if let Some(key) = &key {
        put_key(&args.data.join("keys"), key)?;
    }
    preview(&header, true, next(&args.data, false, true))
}

fn preview(header: &Header, restored: bool, next: String) -> Result<Preview, RestoreError> {
    let installation: Option<Installation> = header.meta(&INSTALLATION)?;
    let head: Option<LedgerHead> = header.meta(&LEDGER_HEAD)?;
    let rows = |table: &str| header.counts.get(table).copied().unwrap_or(0);
    Ok(Preview {
        made_at: header.made_at.into(),
        organisation: installation.as_ref().map(|mill| mill.organisation.to_string()),
        currency: installation.as_ref().map(|mill| mill.currency.clone()),
        simulated: installation.as_ref().is_some_and(Installation::simulated),
        members: rows("members"),
        teams: rows("teams"),
        nodes: rows("nodes"),
        bookings: rows("bookings"),
        documents: rows("documents"),
        transfers: head.map_or(0, |head| head.sequence),
        bytes: header.bytes,
        holds_keys: false,
        restored,
        next,
    })
}

fn next(data: &Path, key_given: bool, restored: bool) -> String {
    let place = data.join("keys").join(SEAL);
    let start = format!("gristmill serve --data {}", data.display());
    if place.exists() || key_given {
        return match restored {
            true => format!("Everybody signs in anew. Start it: {start}"),
            false => "Restore it by leaving out --preview.".to_owned(),
        };
    }
    format!(
        "The backup holds no keys: the mill's certificate authority and the mail password lie in it sealed, and only {SEAL} of \
         the old server opens them. Copy it from your copy of its keys directory to {} (or restore with --keys DIR){}. \
         Without it the server does not start, because every node and browser trusts the old authority.",
        place.display(),
        if restored { format!(", then start it: {start}") } else { String::new() }
    )
}

/// Reads the seal's key before anything is written; opening it says whether it fits.
fn read_key(keys: &Path) -> Result<Vec<u8>, RestoreError> {
    let path = keys.join(SEAL);
    fs::read(&path).map_err(|source| RestoreError::Keys { path, source })
}

fn put_key(keys: &Path, key: &[u8]) -> Result<(), RestoreError> {
    let path = keys.join(SEAL);
    let write = || {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(keys)?;
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(key)?;
        file.sync_all()
    };
    match write() {
        // The same key may have been put there by hand.
        Err(there) if there.kind() == std::io::ErrorKind::AlreadyExists && fs::read(&path).is_ok_and(|k| k == key) => {
            Ok(())
        }
        other => other.map_err(|source| RestoreError::Keys { path, source }),
    }
}

impl Preview {
    /// As people read it.
    pub fn lines(&self) -> Vec<String> {
        let simulated = if self.simulated { " (simulated)" } else { "" };
        let whose = self.organisation.as_deref().unwrap_or("a mill that was not set up yet");
        vec![
            format!("{}: the mill of {whose}{simulated}", if self.restored { "Restored" } else { "In the backup" }),
            format!("made at     {}", self.made_at),
            format!("members     {}", self.members),
            format!("teams       {}", self.teams),
            format!("nodes       {}", self.nodes),
            format!("bookings    {}", self.bookings),
            format!("documents   {}", self.documents),
            format!("transfers   {}", self.transfers),
            self.next.clone(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::window::Instant;

    fn clock() -> Instant {
        Instant::from_seconds(1_800_000_000)
    }

    #[tokio::test]
    async fn a_backup_is_previewed_restored_and_asks_for_its_key() {
        let base = std::env::temp_dir().join(format!("gristmill-restore-{}", std::process::id()));
        let (old, new, keys, file) = (base.join("old"), base.join("new"), base.join("keys"), base.join("mill.backup"));
        let store = Store::open(&old, clock).unwrap();
        store.backup(&file).unwrap();
        store.stop();
        let args = |preview, keys| RestoreArgs { file: file.clone(), data: new.clone(), preview, keys };
        let seen = run(args(true, None)).await.unwrap();
        assert!(!seen.restored && seen.organisation.is_none() && seen.next.contains("--keys"), "{seen:?}");
        assert!(!new.exists());
        assert!(matches!(run(args(false, Some(keys.clone()))).await, Err(RestoreError::Keys { .. })));
        fs::create_dir_all(&keys).unwrap();
        fs::write(keys.join(SEAL), b"key").unwrap();
        let seen = run(args(false, Some(keys))).await.unwrap();
        assert!(seen.restored && seen.next.contains("gristmill serve"), "{seen:?}");
        assert_eq!(fs::read(new.join("keys").join(SEAL)).unwrap(), b"key");
        let twice = run(args(false, None)).await;
        assert!(matches!(twice, Err(RestoreError::Backup(BackupError::NotEmpty { .. }))), "{twice:?}");
        fs::remove_dir_all(&base).unwrap();
    }
}
