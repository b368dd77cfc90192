//! The variables that a workload starts with. It refuses to let a member's own ones change facts.
use std::collections::BTreeMap;
use std::path::Path;

use crate::agent::runtime::{root, scratch};
use crate::wire::lease::LeaseSpec;

const PATH: &str =
    "/usr/local/cuda/bin:/usr/local/nvidia/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Everything that is set for a workload whose home is shown at `home`.
pub(super) fn environment(spec: &LeaseSpec, home: &str) -> BTreeMap<String, String> {
    let gpus: Vec<&str> = spec.gpus.iter().map(|gpu| gpu.uuid.as_str()).collect();
    let gpus = gpus.join(",");
    let name = &spec.member.name;
    let ours = [
        ("HOME", home),
        ("USER", name),
        ("LOGNAME", name),
        ("SHELL", "/bin/bash"),
        ("PATH", PATH),
        ("LANG", "C.UTF-8"),
        // /tmp lives in the lease's memory; what is put aside by the gigabyte belongs on a disk.
        ("TMPDIR", scratch::INSIDE),
        ("GRISTMILL_NOTICE", root::NOTICE),
    ];
    let mut env: BTreeMap<String, String> = ours.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    if Path::new("/usr/local/nvidia").exists() {
        let libraries = "/usr/local/nvidia/lib64:/usr/local/nvidia/lib";
        env.insert("LD_LIBRARY_PATH".to_owned(), libraries.to_owned());
    }
    env.extend(spec.env.clone());
    // These are facts and not wishes: the member's own variables cannot change them.
    env.insert("GRISTMILL_LEASE".to_owned(), spec.lease.to_string());
    env.insert("GRISTMILL_END".to_owned(), spec.deadline.end.as_seconds().to_string());
    env.insert("GRISTMILL_SCRATCH".to_owned(), scratch::INSIDE.to_owned());
    env.insert("CUDA_VISIBLE_DEVICES".to_owned(), gpus.clone());
    env.insert("NVIDIA_VISIBLE_DEVICES".to_owned(), if gpus.is_empty() { "void".to_owned() } else { gpus });
    env
}
