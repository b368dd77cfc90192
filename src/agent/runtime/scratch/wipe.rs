//! Removes a tree that a stranger made: closed directories, chains of them deeper than any path or number of open files. It
//! refuses to follow links, and it never holds more than one directory open.
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Removes the directory and everything in it; blocks as long as that takes. One that is not there is no error. No process
/// may write in it any more.
pub fn wipe(root: &Path) -> io::Result<()> {
    let mut lifted = 0u64;
    loop {
        let entries = match open(root) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        let mut empty = true;
        for entry in entries {
            let entry = entry?;
            empty = false;
            if entry.file_type()?.is_dir() {
                flatten(root, &entry.path(), &mut lifted)?;
            } else {
                gone(fs::remove_file(entry.path()))?;
            }
        }
        if empty {
            return gone(fs::remove_dir(root));
        }
    }
}

/// Removes a directory; the directories in it are lifted up beside it, so that no path grows longer than two steps.
fn flatten(root: &Path, dir: &Path, lifted: &mut u64) -> io::Result<()> {
    for entry in open(dir)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            gone(fs::remove_file(entry.path()))?;
            continue;
        }
        // A directory takes part in its own move, so it must be writable too.
        fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o700))?;
        loop {
            *lifted += 1;
            let to = root.join(format!("lifted-{lifted}"));
            if fs::symlink_metadata(&to).is_err() {
                fs::rename(entry.path(), to)?;
                break;
            }
        }
    }
    gone(fs::remove_dir(dir))
}

/// The entries of a directory whose owner may have closed it.
fn open(dir: &Path) -> io::Result<fs::ReadDir> {
    if !fs::symlink_metadata(dir)?.is_dir() {
        return Err(io::Error::from(io::ErrorKind::NotADirectory));
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    fs::read_dir(dir)
}

/// Somebody else may have removed it meanwhile.
fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_trees_go_and_what_they_point_to_stays() {
        let here = std::env::temp_dir().join(format!("gristmill-wipe-{}", std::process::id()));
        let (root, outside) = (here.join("scratch"), here.join("outside"));
        fs::create_dir_all(root.join("lifted-1")).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("kept"), "kept").unwrap();
        std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
        // Deeper than a process may have files open, and than a path may be long.
        let mut deep = fs::File::open(&root).unwrap();
        for _ in 0..3000 {
            let below =
                Path::new("/proc/self/fd").join(std::os::fd::AsRawFd::as_raw_fd(&deep).to_string()).join("deep");
            fs::create_dir(&below).unwrap();
            fs::write(below.join("file"), "text").unwrap();
            std::os::unix::fs::symlink(&outside, below.join("link")).unwrap();
            deep = fs::File::open(&below).unwrap();
        }
        fs::create_dir_all(root.join("closed/inner/more")).unwrap();
        for dir in ["closed/inner/more", "closed/inner", "closed"] {
            fs::set_permissions(root.join(dir), fs::Permissions::from_mode(0o000)).unwrap();
        }
        wipe(&root).unwrap();
        assert!(!root.exists());
        assert_eq!(fs::read_to_string(outside.join("kept")).unwrap(), "kept");
        wipe(&root).unwrap();
        fs::remove_dir_all(here).unwrap();
    }
}
