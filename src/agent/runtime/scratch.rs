//! A lease's scratch space: made at its start, seen by nobody else, gone at its end. Where the agent is root and the machine
//! has loop devices, it is a file system of exactly its share, whose room is set aside beforehand: a full one tells the
//! program "no space left" and harms nobody, nor does a full disk harm it. Elsewhere it is a directory that is measured. It
//! refuses to pretend: what is only measured, or smaller than promised, is said.
mod measure;
mod wipe;

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::thread::UnshareFlags;

pub use self::measure::{Gauge, Reading, Verdict, read};
use super::network::find;
use crate::wire::lease::ScratchFacts;

/// Where the workload finds it.
pub const INSIDE: &str = "/scratch";
/// In the lease's directory: what is shown inside, and the file that its file system lies in.
const DIR: &str = "scratch";
const IMAGE: &str = "scratch.img";
/// A file system smaller than this is all bookkeeping.
const SMALLEST: u64 = 32 << 20;
/// How the kernel names a file system that lies in memory (linux/magic.h).
const TMPFS: rustix::fs::FsWord = 0x0102_1994;
/// One part in so many of the disk is left to homes and logs.
const KEPT_BACK: u64 = 10;

/// The scratch space of one lease.
#[derive(Clone, Debug)]
pub struct Scratch {
    /// What the sandbox shows as [`INSIDE`].
    pub dir: PathBuf,
    /// Its size; `None` without a limit.
    bytes: Option<u64>,
    /// Whether the kernel holds the workload to it.
    enforced: bool,
    /// What is missing, in words for people.
    pub lacking: Vec<String>,
}

/// Why a file system of its own could not be made.
#[derive(Debug, thiserror::Error)]
enum NoImage {
    #[error("the agent does not run as root")]
    NotRoot,
    #[error("{0} is not installed (package {1})")]
    NoTool(&'static str, &'static str),
    #[error("{0}: {1}")]
    Io(&'static str, #[source] io::Error),
    #[error("{0} failed: {1}")]
    Tool(&'static str, String),
    #[error("the disk has only {0} left for it")]
    Full(String),
    #[error("the agent's directory lies in memory")]
    Memory,
}

impl Scratch {
    /// Makes the space of the lease in `dir`; `bytes` of zero means no limit, `owner` is `None` when the agent is not root.
    /// This process gets a view of mounts of its own, so that the file system is gone with it, whatever ends it.
    pub fn make(dir: &Path, bytes: u64, owner: Option<(u32, u32)>) -> io::Result<Self> {
        let space = dir.join(DIR);
        fs::DirBuilder::new().mode(0o700).create(&space)?;
        if let Some((uid, gid)) = owner {
            chown(&space, Some(uid), Some(gid))?;
        }
        let mut scratch =
            Self { dir: space, bytes: (bytes > 0).then_some(bytes), enforced: false, lacking: Vec::new() };
        if bytes == 0 {
            return Ok(scratch);
        }
        match image(dir, &scratch.dir, bytes, owner) {
            Ok(given) => {
                (scratch.bytes, scratch.enforced) = (Some(given), true);
                if given < bytes {
                    let (given, bytes) = (in_words(given), in_words(bytes));
                    scratch.lacking.push(format!("scratch is {given} instead of {bytes}: the disk has no more room"));
                }
            }
            Err(why) => {
                // Nothing half-made is left to take up room.
                let _ = fs::remove_file(dir.join(IMAGE));
                scratch.lacking.push(format!("the scratch share is measured and not enforced: {why}"));
            }
        }
        Ok(scratch)
    }

    pub fn facts(&self) -> Option<ScratchFacts> {
        self.bytes.map(|bytes| ScratchFacts { bytes, enforced: self.enforced })
    }

    /// What must be measured: the limit; `None` where there is none or the kernel sees to it.
    pub fn gauge(&self) -> Option<Gauge> {
        self.bytes.filter(|_| !self.enforced).map(Gauge::new)
    }

    /// Takes it down and removes everything in it. Nothing of the workload may run any more.
    pub fn end(&self) -> io::Result<()> {
        if self.enforced {
            // With this process its view goes, and the mount with it; so it is only room that waits if this fails.
            let _ = tool("umount", "mount", &[self.dir.as_os_str()]);
        }
        self.dir.parent().map_or(Ok(()), remove)
    }
}

/// Removes what is left of the scratch space in a lease's directory, whatever its workload made of it; it may be gone
/// already.
pub fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_file(dir.join(IMAGE)) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
        _ => {}
    }
    wipe::wipe(&dir.join(DIR))
}

/// Whether this machine has what a file system of one's own needs. Looked at and not tried: trying it every minute would
/// fill the kernel's log; a lease whose space came out otherwise says so.
pub fn is_enforced() -> bool {
    let tools = ["mkfs.ext4", "mount", "umount"].iter().all(|tool| find(tool).is_some());
    rustix::process::geteuid().is_root() && tools && Path::new("/dev/loop-control").exists()
}

/// Bytes as people read them.
pub fn in_words(bytes: u64) -> String {
    match bytes {
        0..0x4000_0000 => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

/// Makes a file system in a file of its own and mounts it on `space`; answers its size.
fn image(dir: &Path, space: &Path, bytes: u64, owner: Option<(u32, u32)>) -> Result<u64, NoImage> {
    let (uid, gid) = owner.ok_or(NoImage::NotRoot)?;
    // There, room that is set aside is memory taken from everybody.
    if rustix::fs::statfs(dir).is_ok_and(|disk| disk.f_type == TMPFS) {
        return Err(NoImage::Memory);
    }
    let given = fair_part(dir, bytes).map_err(|cause| NoImage::Io("the disk's room cannot be read", cause))?;
    if given < SMALLEST {
        return Err(NoImage::Full(in_words(given)));
    }
    let path = dir.join(IMAGE);
    let file = fs::File::options().write(true).create_new(true).mode(0o600).open(&path);
    let file = file.map_err(|cause| NoImage::Io("its file cannot be made", cause))?;
    let set_aside = fallocate(&file, FallocateFlags::empty(), 0, given);
    set_aside.map_err(|cause| NoImage::Io("its room cannot be set aside", cause.into()))?;
    drop(file);
    let root = format!("lazy_itable_init=1,nodiscard,root_owner={uid}:{gid}");
    // No journal and no reserve: nobody mounts it a second time, and nobody but the member writes to it.
    let form = ["-q", "-F", "-m", "0", "-i", "32768", "-O", "^has_journal,^resize_inode", "-E", &root];
    tool("mkfs.ext4", "e2fsprogs", &[&form.map(AsRef::as_ref)[..], &[path.as_os_str()]].concat())?;
    own_view()?;
    // The loop device frees itself when the last mount of it is gone.
    let how = ["-t", "ext4", "-o", "loop,nosuid,nodev,noatime,noinit_itable"];
    tool("mount", "mount", &[&how.map(AsRef::as_ref)[..], &[path.as_os_str(), space.as_os_str()]].concat())?;
    // A repair tool's folder, which no repair will need.
    let _ = fs::remove_dir(space.join("lost+found"));
    Ok(given)
}

/// Of the promised bytes, what the disk can give so that others who were promised alike get alike: the promise is a share of
/// the whole disk, and it becomes the same share of what is not taken by anything else than scratch.
fn fair_part(dir: &Path, promised: u64) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(dir)?;
    let (total, free) = (disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize);
    let siblings = dir.parent().and_then(|leases| fs::read_dir(leases).ok());
    let images =
        siblings.into_iter().flatten().flatten().filter_map(|lease| fs::metadata(lease.path().join(IMAGE)).ok());
    let others: u64 = images.map(|image| image.blocks() * 512).sum();
    Ok(part(promised, total, free, others))
}

fn part(promised: u64, total: u64, free: u64, others: u64) -> u64 {
    let back = total / KEPT_BACK;
    let room = free.saturating_add(others).saturating_sub(back);
    let share = u128::from(room) * u128::from(promised) / u128::from(total.max(1));
    let share = u64::try_from(share).unwrap_or(u64::MAX);
    // In whole MiB, as file systems like it.
    promised.min(share).min(free.saturating_sub(back)) & !0xf_ffff
}

/// Gives this process a view of mounts of its own, once. New mounts of the machine still appear in it.
fn own_view() -> Result<(), NoImage> {
    // SAFETY: only the mounts' namespace is left; open descriptors stay what and whose they are.
    #[allow(unsafe_code)] // The call is unsafe for what it could do to descriptors with other flags.
    let left = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) };
    left.map_err(|cause| NoImage::Io("this process cannot have mounts of its own", cause.into()))?;
    tool("mount", "mount", &["--make-rslave".as_ref(), "/".as_ref()])
}

fn tool(name: &'static str, package: &'static str, arguments: &[&std::ffi::OsStr]) -> Result<(), NoImage> {
    let mut command = Command::new(find(name).ok_or(NoImage::NoTool(name, package))?);
    let done = command.args(arguments).stdin(Stdio::null()).output().map_err(|cause| NoImage::Io(name, cause))?;
    if done.status.success() {
        return Ok(());
    }
    Err(NoImage::Tool(name, format!("{}. {}", done.status, String::from_utf8_lossy(&done.stderr).trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn promises_on_an_empty_disk_are_kept_but_for_the_reserve() {
        // Four leases of a quarter each, one after the other: each gets the same, and the reserve stays.
        let (total, mut free, mut given) = (400 * GIB, 400 * GIB, Vec::new());
        for _ in 0..4 {
            let part = part(100 * GIB, total, free, given.iter().sum());
            free -= part;
            given.push(part);
        }
        assert_eq!((given, free), (vec![90 * GIB; 4], 40 * GIB));
    }

    #[test]
    fn a_fuller_disk_gives_less_and_a_full_one_nothing() {
        assert_eq!(part(100 * GIB, 400 * GIB, 120 * GIB, 0), 20 * GIB);
        assert_eq!(part(GIB, 400 * GIB, 400 * GIB, 0), (GIB * 9 / 10) & !0xf_ffff);
        assert_eq!((part(100 * GIB, 400 * GIB, 30 * GIB, 0), part(GIB, 0, 0, 0)), (0, 0));
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!((in_words(3 << 19), in_words(5 * GIB / 2)), ("1.5 MiB".to_owned(), "2.5 GiB".to_owned()));
    }
}
