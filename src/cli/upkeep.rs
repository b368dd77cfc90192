//! What an admin asks of the running mill: verify, backup. It refuses to leave half a file behind.
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use futures_util::StreamExt as _;

use super::client::Client;
use super::failure::Failure;
use super::output::Output;
use crate::wire::api::money::VerifyAnswer;

pub async fn verify(client: &Client, out: &Output) -> Result<u8, Failure> {
    let found: VerifyAnswer = client.post("verify", &serde_json::json!({})).await?;
    out.answer(&found, &[], || said(&found).iter().for_each(|line| out.line(line)));
    Ok(u8::from(!found.holds))
}

/// What a verification found, line by line; for a stopped server's directory as well.
pub fn said(found: &VerifyAnswer) -> Vec<String> {
    let counts = found.checked.iter().map(|item| format!("{:>12}  {}", item.count, item.what));
    let breaches = found.breaches.iter().map(|breach| format!("BREACH: {breach}"));
    let verdict = match found.breaches.len() {
        0 => "Everything holds.".to_owned(),
        1 => "1 breach. Stop booking, keep a copy of the data directory, and restore a backup that holds.".to_owned(),
        n => format!("{n} breaches. Stop booking, keep a copy of the data directory, and restore a backup that holds."),
    };
    counts.chain(breaches).chain([verdict]).collect()
}

/// What `backup --json` says.
#[derive(serde::Serialize)]
struct Written<'a> {
    file: std::borrow::Cow<'a, str>,
    bytes: u64,
}

pub async fn backup(client: &Client, file: &Path, out: &Output) -> Result<(), Failure> {
    if file.exists() {
        return Err(Failure::file(file, &"It exists already, and a backup never replaces one"));
    }
    out.progress("Writing the backup…");
    let answer = client.post_open("backup", &serde_json::json!({})).await?;
    let bytes = write(client, answer, file, Existing::Refuse).await?;
    let written = Written { file: file.to_string_lossy(), bytes };
    out.answer(&written, &[], || {
        out.line(&format!("Wrote {} ({bytes} bytes).", file.display()));
        out.progress(
            "Keep the server's keys directory as well, in another place: the backup holds no key. Look inside with: \
             gristmill restore FILE --data DIR --preview",
        );
    });
    Ok(())
}

/// What to do with a file of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    Replace,
    Refuse,
}

/// Writes an answer's body to a file, for its owner alone; under its name only once it is whole and on disk.
pub async fn write(
    client: &Client,
    answer: reqwest::Response,
    file: &Path,
    existing: Existing,
) -> Result<u64, Failure> {
    let mut draft = file.as_os_str().to_owned();
    draft.push(format!(".{}.part", std::process::id()));
    let draft = Path::new(&draft);
    let written = fill(client, answer, draft).await;
    let failed = |why: std::io::Error| Failure::file(file, &why);
    let named = match written {
        // A hard link refuses an existing name, where a rename would replace it.
        Ok(_) if existing == Existing::Refuse => std::fs::hard_link(draft, file).map_err(failed),
        Ok(_) => return std::fs::rename(draft, file).map_err(failed).and(written),
        Err(_) => Ok(()),
    };
    // Either it bears its name by now, or it is half a file.
    let _ = std::fs::remove_file(draft);
    named.and(written)
}

async fn fill(client: &Client, answer: reqwest::Response, draft: &Path) -> Result<u64, Failure> {
    let failed = |why: std::io::Error| Failure::file(draft, &why);
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft).map_err(failed)?;
    let mut body = answer.bytes_stream();
    let mut written = 0;
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| client.unreachable(&error))?;
        out.write_all(&piece).map_err(failed)?;
        written += piece.len() as u64;
    }
    out.sync_all().map_err(failed)?;
    Ok(written)
}
