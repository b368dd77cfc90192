//! The file tree that a workload sees: which host paths are shown, read-only, and the few files made for it. It refuses
//! the host's accounts, secrets and homes: only what is listed here is there.
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use crate::base::hardware::MigPlace;
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

/// Names a folder in which `dev` and `proc/driver/nvidia` are looked for instead of at the top: for tests, and for drivers
/// that live in a container.
pub const DRIVER_ROOT_ENV: &str = "GRISTMILL_DRIVER_ROOT";

/// A device file that a leased GPU needs is missing.
#[derive(Debug, thiserror::Error)]
pub enum MissingDevice {
    #[error("the device file {0} of a leased GPU is missing; the driver may have failed, see nvidia-smi on the node")]
    File(PathBuf),
    #[error(
        "the driver does not say which device files open the MIG instance {0}; look for /proc/driver/nvidia/capabilities on \
         the node"
    )]
    Capability(String),
}

/// Arguments for the leased GPUs' device files and no others; `at` says under which path one that lies elsewhere than in
/// /dev is reached.
pub fn devices(gpus: &[LeasedGpu], at: impl FnMut(&Path) -> PathBuf) -> Result<Vec<OsString>, MissingDevice> {
    match std::env::var_os(DRIVER_ROOT_ENV) {
        Some(root) => devices_in(Path::new(&root), gpus, at),
        None => devices_in(Path::new("/"), gpus, Path::to_owned),
    }
}

fn devices_in(
    root: &Path,
    gpus: &[LeasedGpu],
    mut at: impl FnMut(&Path) -> PathBuf,
) -> Result<Vec<OsString>, MissingDevice> {
    let mut needed = BTreeSet::new();
    for gpu in gpus {
        needed.extend(gpu.minor.map(|minor| format!("dev/nvidia{minor}")));
        if gpu.instance.is_some() || gpu.uuid.starts_with("MIG-") {
            // The driver gates an instance by two files: one opens the GPU instance, the other the compute instance in it.
            let opened = capabilities(root, gpu).ok_or_else(|| MissingDevice::Capability(gpu.uuid.clone()))?;
            needed.extend(opened.map(|number| format!("dev/nvidia-caps/nvidia-cap{number}")));
        }
    }
    let mut args = Vec::new();
    for path in needed {
        let (from, to) = (root.join(&path), Path::new("/").join(&path));
        if !from.exists() {
            return Err(MissingDevice::File(from));
        }
        args.extend(bind("--dev-bind", &at(&from), &to));
    }
    for path in ["dev/nvidiactl", "dev/nvidia-uvm", "dev/nvidia-uvm-tools"] {
        let from = root.join(path);
        if !gpus.is_empty() && from.exists() {
            args.extend(bind("--dev-bind-try", &at(&from), &Path::new("/").join(path)));
        }
    }
    Ok(args)
}

/// The numbers of the capability devices that open an instance, as the driver tells them.
fn capabilities(root: &Path, gpu: &LeasedGpu) -> Option<[u32; 2]> {
    let MigPlace { gpu_instance, compute_instance } = gpu.instance?;
    let mig = root.join(format!("proc/driver/nvidia/capabilities/gpu{}/mig/gi{gpu_instance}", gpu.minor?));
    let number = |access: PathBuf| {
        let said = fs::read_to_string(access).ok()?;
        said.lines().find_map(|line| line.strip_prefix("DeviceFileMinor:")?.trim().parse().ok())
    };
    Some([number(mig.join("access"))?, number(mig.join(format!("ci{compute_instance}/access")))?])
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A driver's files in a folder: one GPU with two instances, of which each has its own two capabilities.
    fn driver() -> PathBuf {
        let root = std::env::temp_dir().join(format!("gristmill-driver-{}", std::process::id()));
        let put = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (path, number) in [("gi7", 66), ("gi7/ci0", 67), ("gi8", 75), ("gi8/ci0", 76)] {
            let said = format!("DeviceFileMinor: {number}\nDeviceFileMode: 292\nDeviceFileModify: 1\n");
            put(&format!("proc/driver/nvidia/capabilities/gpu0/mig/{path}/access"), &said);
        }
        for file in ["nvidia0", "nvidia1", "nvidiactl", "nvidia-caps/nvidia-cap66", "nvidia-caps/nvidia-cap67"] {
            put(&format!("dev/{file}"), "");
        }
        root
    }

    fn leased(uuid: &str, minor: u32, instance: Option<u32>) -> LeasedGpu {
        let instance = instance.map(|gpu_instance| MigPlace { gpu_instance, compute_instance: 0 });
        LeasedGpu { uuid: uuid.to_owned(), minor: Some(minor), instance }
    }

    #[test]
    fn an_instance_is_opened_by_its_own_capabilities_and_no_others() {
        let root = driver();
        let shown = |gpus: &[LeasedGpu]| {
            let args = devices_in(&root, gpus, Path::to_owned).unwrap();
            let targets: Vec<String> = args
                .chunks(3)
                .filter(|bind| bind[0] == "--dev-bind")
                .map(|bind| bind[2].to_str().unwrap().into())
                .collect();
            targets
        };
        let caps = ["/dev/nvidia-caps/nvidia-cap66", "/dev/nvidia-caps/nvidia-cap67", "/dev/nvidia0"];
        assert_eq!(shown(&[leased("MIG-a", 0, Some(7))]), caps);
        assert_eq!(shown(&[leased("GPU-1", 1, None)]), ["/dev/nvidia1"], "a whole GPU needs no capability");
        // Two instances of one GPU share its file; a file that the driver names and that is not there stops the lease.
        let both = devices_in(&root, &[leased("MIG-a", 0, Some(7)), leased("MIG-b", 0, Some(8))], Path::to_owned);
        assert!(matches!(both, Err(MissingDevice::File(path)) if path.ends_with("dev/nvidia-caps/nvidia-cap75")));
        for unknown in [leased("MIG-c", 0, Some(9)), leased("MIG-c", 0, None)] {
            assert!(
                matches!(devices_in(&root, &[unknown], Path::to_owned), Err(MissingDevice::Capability(uuid)) if uuid == "MIG-c")
            );
        }
        fs::remove_dir_all(root).unwrap();
    }
}
