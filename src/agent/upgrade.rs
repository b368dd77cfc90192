//! Becoming the program that the mill offers: fetched over the node's own connection, held against its sum, tried, put in
//! place in one step, and gone on with in the same process, so that leases, which have processes of their own, notice
//! nothing. It refuses a program that does not start here, and keeps the one before beside it.
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::ClientConfig;

use super::dial::{DialError, Server};
use crate::base::secret::hex;

/// Larger programs are not believed, in bytes.
const LARGEST: u64 = 2 << 30;
/// How long the whole of it may take to come, and how long it may take to say its version.
const FETCH_WAIT: Duration = Duration::from_secs(900);
const START_WAIT: Duration = Duration::from_secs(30);

/// One at a time: the mill may ask again while the first is on its way.
static BUSY: AtomicBool = AtomicBool::new(false);

/// Why the agent stays what it is.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    #[error("the program could not be fetched: {0}")]
    Fetch(#[from] DialError),
    #[error("the program did not come within {} minutes", FETCH_WAIT.as_secs() / 60)]
    Slow,
    #[error("the program came damaged: its sum is {found}, and the mill said {wanted}")]
    Damaged { found: String, wanted: String },
    #[error("the program does not start on this machine: {0}")]
    DoesNotStart(String),
    #[error(
        "{path} cannot be {doing}: {source}. The agent’s user must be able to write there; else paste the install line again"
    )]
    File { path: PathBuf, doing: &'static str, source: io::Error },
    #[error("this program’s own file is not known: {0}")]
    Unknown(io::Error),
}

/// Fetches, checks and becomes the offered program. Answers only when that failed, or when another offer is being followed.
pub async fn become_program(
    server: &Server,
    tls: Arc<ClientConfig>,
    version: &str,
    sha256: &str,
) -> Result<(), UpgradeError> {
    if BUSY.swap(true, Ordering::AcqRel) {
        return Ok(());
    }
    let done = follow(server, tls, version, sha256).await;
    BUSY.store(false, Ordering::Release);
    done
}

async fn follow(server: &Server, tls: Arc<ClientConfig>, version: &str, sha256: &str) -> Result<(), UpgradeError> {
    let target = own_file()?;
    let draft = beside(&target, "new");
    tracing::info!(version, path = %target.display(), "the mill offers a program; it is fetched");
    let fetched = tokio::time::timeout(FETCH_WAIT, fetch(server, tls, &draft)).await.map_err(|_| UpgradeError::Slow);
    let checked = match fetched.and_then(|fetched| fetched) {
        Ok(found) if found == sha256.to_lowercase() => starts(&draft, version).await,
        Ok(found) => Err(UpgradeError::Damaged { found, wanted: sha256.to_owned() }),
        Err(error) => Err(error),
    };
    if let Err(error) = checked {
        // Nothing was put in place; what was fetched is of no use.
        let _ = fs::remove_file(&draft);
        return Err(error);
    }
    put_in_place(&draft, &target)?;
    tracing::info!(version, "this agent goes on as the new program; leases are not touched");
    Err(go_on(&target))
}

/// The file that this program was started from, also after another took its name.
fn own_file() -> Result<PathBuf, UpgradeError> {
    let path = std::env::current_exe().map_err(UpgradeError::Unknown)?;
    let text = path.to_string_lossy().into_owned();
    Ok(text.strip_suffix(" (deleted)").map_or(path, PathBuf::from))
}

fn beside(target: &Path, ending: &str) -> PathBuf {
    let name = target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    target.with_file_name(format!(".{name}.{ending}"))
}

/// Answers the sum of what came.
async fn fetch(server: &Server, tls: Arc<ClientConfig>, draft: &Path) -> Result<String, UpgradeError> {
    let failed = |doing| move |source| UpgradeError::File { path: draft.to_owned(), doing, source };
    let mut file = File::create(draft).map_err(failed("written"))?;
    file.set_permissions(Permissions::from_mode(0o755)).map_err(failed("made a program"))?;
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    let mut written = Ok(());
    server
        .download(tls, "/program", LARGEST, |piece| {
            digest.update(piece);
            if written.is_ok() {
                written = file.write_all(piece);
            }
            written.is_ok()
        })
        .await?;
    written.and_then(|()| file.sync_all()).map_err(failed("written"))?;
    Ok(hex(digest.finish().as_ref()))
}

/// Lets the program say its version: one that was built for another machine does not get that far.
async fn starts(draft: &Path, version: &str) -> Result<(), UpgradeError> {
    let wrong = |why: String| UpgradeError::DoesNotStart(why);
    let mut command = tokio::process::Command::new(draft);
    command.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
    let said = tokio::time::timeout(START_WAIT, command.output()).await;
    let said = said.map_err(|_| wrong("it says nothing".to_owned()))?.map_err(|error| wrong(error.to_string()))?;
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    if !said.status.success() {
        return Err(wrong(err.trim().chars().take(200).collect()));
    }
    if !out.split_whitespace().any(|word| word == version) {
        return Err(wrong(format!("it calls itself {}, and the mill said {version}", out.trim())));
    }
    Ok(())
}

/// The one before stays beside it, for whoever wants it back.
fn put_in_place(draft: &Path, target: &Path) -> Result<(), UpgradeError> {
    let failed = |doing| move |source| UpgradeError::File { path: target.to_owned(), doing, source };
    let previous = beside(target, "previous");
    let _ = fs::remove_file(&previous);
    // A file system without links has no previous one; the new one was tried.
    let _ = fs::hard_link(target, &previous);
    fs::rename(draft, target).map_err(failed("replaced"))?;
    let folder = target.parent().unwrap_or(Path::new("/"));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("written"))
}

/// Becomes the new program in this very process; answers only when that failed, with the one before in its place again.
fn go_on(target: &Path) -> UpgradeError {
    // The session was left once; a leader of one cannot leave it again.
    let words = std::env::args_os().skip(1).filter(|word| word != "--detach");
    let source = Command::new(target).args(words).exec();
    let previous = beside(target, "previous");
    let back = if previous.exists() { fs::rename(&previous, target) } else { Ok(()) };
    match back {
        Ok(()) => UpgradeError::DoesNotStart(source.to_string()),
        Err(source) => UpgradeError::File { path: target.to_owned(), doing: "put back", source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_is_tried_before_it_counts() {
        let dir = std::env::temp_dir().join(format!("gristmill-upgrade-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let make = |name: &str, text: &str| {
            let path = dir.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
            path
        };
        let good = make("good", "#!/bin/sh\necho gristmill 9.9.9\n");
        starts(&good, "9.9.9").await.unwrap();
        let said = |result: Result<(), UpgradeError>| result.unwrap_err().to_string();
        assert!(said(starts(&good, "1.0.0").await).contains("calls itself gristmill 9.9.9"));
        let bad = make("bad", "#!/bin/sh\necho 'GLIBC_9.9 not found' >&2; exit 1\n");
        assert!(said(starts(&bad, "9.9.9").await).contains("GLIBC_9.9 not found"));
        assert!(said(starts(&dir.join("none"), "9.9.9").await).contains("does not start"));
        // The one before stays beside the new one.
        let target = make("target", "before");
        put_in_place(&good, &target).unwrap();
        assert_eq!(fs::read_to_string(beside(&target, "previous")).unwrap(), "before");
        assert!(fs::read_to_string(&target).unwrap().contains("9.9.9") && !good.exists());
        fs::remove_dir_all(&dir).unwrap();
    }
}
