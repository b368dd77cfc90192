//! The file tree that a workload sees: which host paths are shown, read-only, and the few files made for it. It refuses
//! the host's accounts, secrets and homes: only what is listed here is there.
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use crate::wire::lease::{LeasedGpu, MemberAccount};

/// The number of the member's user and group inside; outside it is the member's own.
pub const INSIDE_ID: u32 = 1000;
/// Where the program itself stands inside.
pub const PROGRAM: &str = "/run/gristmill/bin/gristmill";
/// Where notices to the member stand inside.
pub const NOTICE: &str = "/run/gristmill/notice";

/// Top-level names that are links into /usr on today's systems and directories on older ones.
const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// Parts of /etc that programs need and that hold no secrets.
const ETC: [&str; 17] = [
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "fonts",
    "inputrc",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "OpenCL",
    "pki/ca-trust",
    "pki/tls/certs",
    "profile",
    "ssl/certs",
    "ssl/openssl.cnf",
    "vulkan",
];
/// Where drivers put their libraries besides /usr.
const DRIVER: [&str; 3] = ["/usr/local/nvidia", "/run/nvidia", "/run/nvidia-persistenced"];
/// Hardware facts that CUDA and NCCL read; the same list as Flatpak's.
const SYS: [&str; 5] = ["/sys/block", "/sys/bus", "/sys/class", "/sys/dev", "/sys/devices"];

/// Arguments that show the system: /usr and what belongs to it, read-only.
pub fn system() -> Vec<OsString> {
    let mut args = words(&["--ro-bind", "/usr", "/usr"]);
    for name in MERGED {
        let path = Path::new("/").join(name);
        match fs::read_link(&path) {
            Ok(target) => args.extend(["--symlink".into(), target.into_os_string(), path.into_os_string()]),
            Err(_) if path.is_dir() => args.extend(bind("--ro-bind", &path, &path)),
            Err(_) => {}
        }
    }
    for name in ETC {
        let path = Path::new("/etc").join(name);
        args.extend(bind("--ro-bind-try", &path, &path));
    }
    for path in DRIVER.iter().filter(|path| !path.starts_with("/usr")).chain(&SYS) {
        args.extend(bind("--ro-bind-try", Path::new(path), Path::new(path)));
    }
    args.extend(words(&["--proc", "/proc", "--dev", "/dev"]));
    args
}

/// A device file that a leased GPU needs is missing.
#[derive(Debug, thiserror::Error)]
#[error("the device file {0} of a leased GPU is missing; the driver may have failed, see nvidia-smi on the node")]
pub struct MissingDevice(pub PathBuf);

/// Arguments for the leased GPUs' device files and no others.
pub fn devices(gpus: &[LeasedGpu]) -> Result<Vec<OsString>, MissingDevice> {
    let mut args = Vec::new();
    for minor in gpus.iter().filter_map(|gpu| gpu.minor) {
        let path = PathBuf::from(format!("/dev/nvidia{minor}"));
        if !path.exists() {
            return Err(MissingDevice(path));
        }
        args.extend(bind("--dev-bind", &path, &path));
    }
    if !gpus.is_empty() {
        for path in ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"] {
            args.extend(bind("--dev-bind-try", Path::new(path), Path::new(path)));
        }
    }
    Ok(args)
}

/// The directories of a lease that its sandbox sees.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Small files for /etc.
    pub etc: PathBuf,
    /// Becomes /run/gristmill.
    pub run: PathBuf,
}

/// Writes the files made for this lease under `dir`. `dns` is the name server to use, if there is a network.
pub fn prepare(dir: &Path, member: &MemberAccount, hostname: &str, dns: Option<&str>) -> io::Result<Shown> {
    let shown = Shown { etc: dir.join("etc"), run: dir.join("run") };
    for directory in [&shown.etc, &shown.run, &shown.run.join("bin")] {
        fs::create_dir_all(directory)?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    }
    let name = &member.name;
    let resolv = dns.map_or_else(String::new, |server| format!("nameserver {server}\n"));
    let files = [
        (
            "passwd",
            format!(
                "root:x:0:0::/root:/usr/sbin/nologin\n{name}:x:{INSIDE_ID}:{INSIDE_ID}::/home/{name}:/bin/bash\nnobody:x:65534:65534::/:/usr/sbin/nologin\n"
            ),
        ),
        ("group", format!("root:x:0:\n{name}:x:{INSIDE_ID}:\nnogroup:x:65534:\n")),
        ("hosts", format!("127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {hostname}\n")),
        ("hostname", format!("{hostname}\n")),
        ("resolv.conf", resolv),
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".to_owned()),
    ];
    for (file, text) in files {
        fs::write(shown.etc.join(file), text)?;
        fs::set_permissions(shown.etc.join(file), fs::Permissions::from_mode(0o644))?;
    }
    // Mount points must be there before the directory is bound read-only; the notice is written by the shim later.
    for file in [shown.run.join("bin/gristmill"), shown.run.join("notice")] {
        fs::OpenOptions::new().create(true).append(true).open(&file)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
    }
    Ok(shown)
}

/// Arguments that show the files of [`prepare`]; `at` says under which path each host path is reached.
pub fn made(shown: &Shown, program: &Path, mut at: impl FnMut(&Path) -> PathBuf) -> Vec<OsString> {
    let etc = at(&shown.etc);
    let mut args = Vec::new();
    for file in ["passwd", "group", "hosts", "hostname", "resolv.conf", "nsswitch.conf"] {
        args.extend(bind("--ro-bind", &etc.join(file), &Path::new("/etc").join(file)));
    }
    args.extend(bind("--ro-bind", &at(&shown.run), Path::new("/run/gristmill")));
    args.extend(bind("--ro-bind", &at(program), Path::new(PROGRAM)));
    args
}

/// Why a home cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadHome {
    #[error("the home {0} could not be made: {1}")]
    Io(PathBuf, #[source] io::Error),
    #[error("the home {0} is not a directory of its own (a link or a file is in its place)")]
    NotADirectory(PathBuf),
    #[error("the home {0} belongs to user {1}, not to the member")]
    Foreign(PathBuf, u32),
}

/// Makes the home (0700, the member's) or checks that it is the member's. `owner` is `None` when the agent is not root.
pub fn home(path: &Path, owner: Option<(u32, u32)>) -> Result<(), BadHome> {
    use std::os::unix::fs::MetadataExt;
    let io = |cause| BadHome::Io(path.to_owned(), cause);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(io)?;
    }
    match fs::create_dir(path) {
        Ok(()) => {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(io)?;
            if let Some((uid, gid)) = owner {
                chown(path, Some(uid), Some(gid)).map_err(io)?;
            }
            return Ok(());
        }
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
        Err(cause) => return Err(io(cause)),
    }
    let facts = fs::symlink_metadata(path).map_err(io)?;
    if !facts.is_dir() {
        return Err(BadHome::NotADirectory(path.to_owned()));
    }
    match owner {
        Some((uid, _)) if facts.uid() != uid => Err(BadHome::Foreign(path.to_owned(), facts.uid())),
        _ => Ok(()),
    }
}

pub(super) fn bind(how: &str, from: &Path, to: &Path) -> [OsString; 3] {
    [how.into(), from.into(), to.into()]
}

pub(super) fn words(list: &[&str]) -> Vec<OsString> {
    list.iter().map(OsString::from).collect()
}
