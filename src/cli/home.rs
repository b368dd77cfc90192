//! What the command line remembers between commands: which mill, the token, whom it trusts. One file that only its owner
//! can read. It refuses a file that others can read, and keeps no password.
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use crate::base::secret::Secret;

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Without a trailing slash.
    pub url: String,
    pub token: Secret,
    /// Trusted for this mill alone, PEM; the machine's own authorities where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Used where a command needs a team and names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
}

/// `$GRISTMILL_HOME`, else `gristmill` in the XDG config directory.
pub fn directory() -> Result<PathBuf, Failure> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("GRISTMILL_HOME")
        .or_else(|| set("XDG_CONFIG_HOME").map(|base| base.join("gristmill")))
        .or_else(|| set("HOME").map(|home| home.join(".config/gristmill")))
        .ok_or_else(|| Failure::Usage {
            what: "There is no place to keep the sign-in.".to_owned(),
            why: "Neither GRISTMILL_HOME nor XDG_CONFIG_HOME nor HOME is set.".to_owned(),
            next: "Set GRISTMILL_HOME to a directory of yours.".to_owned(),
        })
}

fn file(directory: &Path) -> PathBuf {
    directory.join("client.json")
}

/// What was remembered, or `None` before the first login.
pub fn load(directory: &Path) -> Result<Option<Remembered>, Failure> {
    let path = file(directory);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(Failure::file(path, &why)),
    };
    let mode = fs::metadata(&path).map_err(|why| Failure::file(&path, &why))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Failure::file(
            &path,
            &"It holds your token, and others can read it: chmod 600 it, or log in again",
        ));
    }
    let read = serde_json::from_str(&text);
    read.map(Some).map_err(|why| Failure::file(path, &format!("It is damaged ({why}); log in again to replace it")))
}

/// Replaces what was remembered, as a whole or not at all.
pub fn save(directory: &Path, remembered: &Remembered) -> Result<(), Failure> {
    let path = file(directory);
    let failed = |why: std::io::Error| Failure::file(&path, &why);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let draft = directory.join(format!("client.json.{}", std::process::id()));
    let mut out =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft).map_err(failed)?;
    let text = serde_json::to_vec_pretty(remembered).expect("text alone always serialises");
    out.write_all(&text).and_then(|()| out.sync_all()).and_then(|()| fs::rename(&draft, &path)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept_for_its_owner_alone() {
        let directory = std::env::temp_dir().join(format!("gristmill-home-{}", std::process::id()));
        assert!(load(&directory).unwrap().is_none());
        let remembered = Remembered {
            url: "https://mill.lab".into(),
            token: Secret::new("t"),
            ca: None,
            team: Some("Vision".into()),
        };
        save(&directory, &remembered).unwrap();
        assert_eq!(load(&directory).unwrap(), Some(remembered));
        let path = file(&directory);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(load(&directory), Err(Failure::File { .. })));
        fs::remove_dir_all(&directory).unwrap();
    }
}
