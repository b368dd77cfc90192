//! A machine looks itself over before it becomes a node: what it finds, and what to do about each thing. The same look is
//! taken by `gristmill agent --check`, by the install script and on joining. It refuses to change anything, and to judge by
//! presence where it can try.
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant as Monotonic};

use super::dial::Server;
use super::gpu::Source;
use super::identity;
use super::join::{self, JoinError, Pin};
use super::kernel_log;
use super::observe;
use crate::base::preflight::{Finding, SKEW_LIMIT, Subject};
use crate::base::program::Glibc;
use crate::base::text::{spoken, without_control};
use crate::base::window::Instant;
use crate::clock;
use crate::wire::node::{MillFacts, PROTOCOL};

/// Below this a container gets out through the toolkit (CVE-2025-23266, mended in 1.17.8).
const TOOLKIT: [u32; 3] = [1, 17, 8];
/// Drivers before this lack what CUDA 12 programs need.
const DRIVER: u32 = 525;
/// Free bytes below which homes and logs have no room, and below which there is little.
const DISK_STOPS: u64 = 2 << 30;
const DISK_LITTLE: u64 = 20 << 30;
/// How long a tool may take to say its version.
const TOOL_WAIT: Duration = Duration::from_secs(10);

/// What is looked at.
pub struct Ground {
    /// Where homes and leases lie or will lie.
    pub data: PathBuf,
    pub server: Option<Server>,
    pub pin: Option<Pin>,
    pub simulated: bool,
}

/// Looks at everything; takes a few seconds.
pub async fn look(ground: &Ground) -> Vec<Finding> {
    let (data, simulated) = (ground.data.clone(), ground.simulated);
    let looked = tokio::task::spawn_blocking(move || machine(&data, simulated)).await;
    let mut findings = looked.unwrap_or_default();
    if let Some(server) = &ground.server {
        findings.extend(mill(server, ground.pin.as_ref(), simulated).await);
    }
    for finding in &mut findings {
        for text in [&mut finding.said, &mut finding.remedy] {
            *text = short(text);
        }
    }
    findings
}

/// On one line, and no longer than the mill believes.
fn short(text: &str) -> String {
    let mut plain = without_control(text).replace(['\n', '\t'], " ");
    while plain.len() > crate::base::preflight::LONGEST_TEXT {
        plain.pop();
    }
    plain
}

/// The findings as people read them, one or two lines each.
pub fn written(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { subject, verdict, said, remedy } in findings {
        text += &format!("  {:<8} {:<20} {said}\n", verdict.word(), subject.name());
        if !remedy.is_empty() {
            text += &format!("  {:<8} {:<20} → {remedy}\n", "", "");
        }
    }
    text
}

fn machine(data: &Path, simulated: bool) -> Vec<Finding> {
    let mut findings = vec![architecture(), libc()];
    findings.extend(driver(simulated));
    findings.extend(kernel_log(simulated));
    findings.extend(abilities());
    findings.extend(container());
    findings.push(disk(data));
    findings
}

fn architecture() -> Finding {
    let here = std::env::consts::ARCH;
    match here {
        "x86_64" | "aarch64" => Finding::good(Subject::Architecture, here),
        other => Finding::lacking(
            Subject::Architecture,
            format!("{other} was never tried."),
            "Use a machine with x86_64 or aarch64 where you can.",
        ),
    }
}

/// It runs, so its library is new enough; what it needs is said for the next machine.
fn libc() -> Finding {
    let needs = program_needs().map_or_else(|| "no glibc".to_owned(), |glibc| format!("glibc {glibc} or newer"));
    let here = tool("getconf", &["GNU_LIBC_VERSION"]).unwrap_or_else(|| "a library that does not say".to_owned());
    Finding::good(Subject::Libc, format!("{here}; this program needs {needs}"))
}

/// The oldest glibc on which this program runs.
pub fn program_needs() -> Option<Glibc> {
    let mut file = std::fs::File::open("/proc/self/exe").ok()?;
    Glibc::needed_by(&mut file).ok()?
}

fn driver(simulated: bool) -> Vec<Finding> {
    if simulated {
        return vec![Finding::good(Subject::Driver, "none is asked for: the GPUs are simulated")];
    }
    let remedy = "Install NVIDIA’s data-center driver (535 or newer), restart if it asks for it, and look again.";
    let found = match Source::Nvml.look() {
        Err(problem) => return vec![Finding::stops(Subject::Driver, format!("{problem}."), remedy)],
        Ok(found) => found,
    };
    let version = found.driver.unwrap_or_default();
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    let count = found.gpus.len();
    let said = format!("{version}, {count} GPU{}", if count == 1 { "" } else { "s" });
    let driver = match (count, major) {
        (0, _) => Finding::stops(
            Subject::Driver,
            format!("{version}, which sees no GPU."),
            "Look at dmesg for NVRM lines; the card may not sit or not have power.",
        ),
        (_, Some(major)) if major < DRIVER => {
            Finding::lacking(Subject::Driver, format!("{said}; CUDA 12 programs need {DRIVER} or newer."), remedy)
        }
        _ => Finding::good(Subject::Driver, said),
    };
    vec![driver, devices(found.gpus.iter().filter_map(|gpu| gpu.minor))]
}

/// Where the driver writes its Xids in full.
fn kernel_log(simulated: bool) -> Option<Finding> {
    if simulated {
        return None;
    }
    let subject = Subject::KernelLog;
    Some(match kernel_log::open(Path::new(kernel_log::LOG)) {
        Ok(_) => Finding::good(subject, "can be read; Xids are told with all that the driver says of them"),
        Err(why) => Finding::lacking(
            subject,
            format!(
                "{} cannot be read: {why}. Xids come from the driver’s events, without sub-codes.",
                kernel_log::LOG
            ),
            "Run the agent as a service of root, or give it CAP_SYSLOG.",
        ),
    })
}

/// The files through which workloads reach GPUs.
fn devices(minors: impl Iterator<Item = u32>) -> Finding {
    let mut wanted: Vec<String> = vec!["/dev/nvidiactl".to_owned(), "/dev/nvidia-uvm".to_owned()];
    wanted.extend(minors.map(|minor| format!("/dev/nvidia{minor}")));
    wanted.sort();
    wanted.dedup();
    let missing: Vec<&str> = wanted.iter().map(String::as_str).filter(|path| !Path::new(path).exists()).collect();
    if missing.is_empty() {
        return Finding::good(Subject::Devices, format!("{} are there", wanted.len()));
    }
    Finding::stops(
        Subject::Devices,
        format!("{} missing.", missing.join(", ")),
        "Run: nvidia-modprobe -u -c 0 (package nvidia-modprobe), and enable nvidia-persistenced so that they stay.",
    )
}

fn abilities() -> Vec<Finding> {
    let can = observe::abilities();
    let sandbox = match (&can.problem, can.cpu && can.memory) {
        (Some(problem), _) => Finding::stops(
            Subject::Sandbox,
            format!("Workloads cannot run: {problem}"),
            "Install bubblewrap, and allow user namespaces where the distribution forbids them.",
        ),
        (None, true) => Finding::good(Subject::Sandbox, "tried; CPU and memory shares are enforced"),
        (None, false) => Finding::lacking(
            Subject::Sandbox,
            "Workloads run; CPU and memory shares are not enforced.",
            "Run the agent as a service of root on a machine with control groups v2.",
        ),
    };
    let network = if can.network {
        Finding::good(Subject::Network, "outbound, apart from the host’s")
    } else {
        Finding::lacking(
            Subject::Network,
            "Workloads have none.",
            "Install slirp4netns or passt, and load the module tun.",
        )
    };
    vec![sandbox, network]
}

fn container() -> Vec<Finding> {
    let engine = ["podman", "docker"].into_iter().find_map(|name| Some((name, tool(name, &["--version"])?)));
    let Some((_, said)) = engine else {
        return vec![Finding::lacking(
            Subject::Container,
            "There is none; workloads run in the mill’s own sandbox, container images do not.",
            "Install podman (or docker) if images shall run here.",
        )];
    };
    let mut findings = vec![Finding::good(Subject::Container, said)];
    findings.push(match tool("nvidia-ctk", &["--version"]).map(|said| (version(&said), said)) {
        None => Finding::lacking(
            Subject::Toolkit,
            "The NVIDIA container toolkit is missing; images see no GPU.",
            "Install nvidia-container-toolkit, 1.17.8 or newer, and run: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml",
        ),
        Some((Some(found), said)) if found < TOOLKIT => Finding::lacking(
            Subject::Toolkit,
            format!("{said}, through which a container can take over the machine (CVE-2025-23266)."),
            "Upgrade nvidia-container-toolkit to 1.17.8 or newer.",
        ),
        Some((_, said)) => Finding::good(Subject::Toolkit, said),
    });
    findings
}

/// The first thing in a text that looks like a version.
fn version(text: &str) -> Option<[u32; 3]> {
    text.split(|c: char| !c.is_ascii_digit() && c != '.').find_map(|word| {
        let mut parts = word.split('.').map(str::parse::<u32>);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor)), patch) => Some([major, minor, patch.and_then(Result::ok).unwrap_or(0)]),
            _ => None,
        }
    })
}

/// What a tool says on its first line; `None` when it is not there, fails, or takes too long.
fn tool(name: &str, words: &[&str]) -> Option<String> {
    let mut child = Command::new(name)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let begun = Monotonic::now();
    let ended = loop {
        match child.try_wait().ok()? {
            Some(status) => break status.success(),
            None if begun.elapsed() < TOOL_WAIT => std::thread::sleep(Duration::from_millis(20)),
            None => {
                // It is asked for its version, so nothing is lost with it.
                let _ = child.kill();
                let _ = child.wait();
                break false;
            }
        }
    };
    let said = std::io::read_to_string(child.stdout.take()?).ok()?;
    let line = said.lines().next()?.trim().to_owned();
    (ended && !line.is_empty()).then_some(line)
}

fn disk(data: &Path) -> Finding {
    let there = data.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let free = rustix::fs::statvfs(there).map_or(0, |facts| facts.f_bavail.saturating_mul(facts.f_frsize));
    let said = format!("{} GB free for {}", free / 1_000_000_000, data.display());
    let remedy = "Make room, or name another place with --data.";
    match free {
        free if free < DISK_STOPS => Finding::stops(Subject::Disk, format!("Only {said}."), remedy),
        free if free < DISK_LITTLE => Finding::lacking(Subject::Disk, format!("Only {said}."), remedy),
        _ => Finding::good(Subject::Disk, said),
    }
}

async fn mill(server: &Server, pin: Option<&Pin>, simulated: bool) -> Vec<Finding> {
    match facts(server, pin).await {
        Ok((facts, proven)) => answered(server, &facts, proven, simulated),
        Err(JoinError::Dial(error)) if error.is_about_time() => vec![Finding::stops(
            Subject::Clock,
            format!(
                "This machine’s clock is so far off that the mill’s certificate is not good yet, or any more: {error}."
            ),
            "Set it: timedatectl set-ntp true (or install chrony), and look again.",
        )],
        Err(JoinError::Dial(error)) => vec![Finding::stops(
            Subject::Gateway,
            format!("{error}."),
            "Check the address and the firewall between; the server’s --gateway has to listen where machines reach it.",
        )],
        Err(error) => vec![Finding::stops(
            Subject::Gateway,
            format!("{error}."),
            "Make a new line on the nodes page of your mill and paste that.",
        )],
    }
}

/// What the mill says of itself, and whether it proved that it is the one that was pinned.
async fn facts(server: &Server, pin: Option<&Pin>) -> Result<(MillFacts, bool), JoinError> {
    let root = join::offered_root(server, pin).await?;
    let facts = server.get(identity::tls(&root, None)?, "/mill").await?;
    Ok((facts, pin.is_some()))
}

fn answered(server: &Server, facts: &MillFacts, proven: bool, simulated: bool) -> Vec<Finding> {
    let gateway = match (facts.simulated, simulated) {
        (true, false) => Finding::stops(
            Subject::Gateway,
            format!("The mill at {server} is simulated, and no real machine may join it."),
            "Join a real mill, or offer simulated GPUs: --simulated-gpus 4.",
        ),
        (false, true) => Finding::stops(
            Subject::Gateway,
            format!("The mill at {server} is a real one, and no simulated machine may join it."),
            "Leave --simulated-gpus out.",
        ),
        _ if proven => Finding::good(Subject::Gateway, format!("{server} answers and is the mill that was pinned")),
        _ => Finding::good(
            Subject::Gateway,
            format!("{server} answers; give --ca-fingerprint to be sure which mill it is"),
        ),
    };
    vec![gateway, clock_finding(facts.clock, clock::now()), version_finding(facts)]
}

fn clock_finding(mill: Instant, here: Instant) -> Finding {
    let off = here.since(mill);
    let direction = if here > mill { "ahead of" } else { "behind" };
    if off.as_millis().abs() <= SKEW_LIMIT.as_millis() {
        return Finding::good(Subject::Clock, format!("within {} of the mill’s", spoken(SKEW_LIMIT)));
    }
    Finding::lacking(
        Subject::Clock,
        format!(
            "{} {direction} the mill’s; with more than {} a node takes no new lease.",
            spoken(off),
            spoken(SKEW_LIMIT)
        ),
        "Set it: timedatectl set-ntp true (or install chrony).",
    )
}

fn version_finding(facts: &MillFacts) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    if facts.protocol != PROTOCOL {
        return Finding::stops(
            Subject::Version,
            format!("This is {own}, the mill is {} and speaks another version of the node protocol.", facts.version),
            "Paste the install line of the nodes page: it installs the mill’s own version.",
        );
    }
    if facts.version != own {
        return Finding::lacking(
            Subject::Version,
            format!("This is {own}, the mill is {}.", facts.version),
            "The install line of the nodes page, or the node’s page, brings it to the mill’s version.",
        );
    }
    Finding::good(Subject::Version, format!("{own}, as the mill"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::preflight::{Verdict, credible};
    use crate::base::window::Span;

    #[tokio::test]
    async fn this_machine_can_be_looked_over() {
        let ground = Ground { data: "/no/such/place/yet".into(), server: None, pin: None, simulated: true };
        let findings = look(&ground).await;
        assert_eq!(credible(&findings), Ok(()), "{findings:?}");
        let said = written(&findings);
        assert!(said.contains("Disk") && said.contains("this program needs"), "{said}");
        assert!(findings.iter().all(|finding| finding.verdict == Verdict::Good || !finding.remedy.is_empty()));
    }

    #[test]
    fn clocks_apart_are_said_with_their_direction() {
        let mill = Instant::from_seconds(1_000_000);
        assert_eq!(clock_finding(mill, mill.plus(Span::from_seconds(59))).verdict, Verdict::Good);
        let ahead = clock_finding(mill, mill.plus(Span::from_minutes(10)));
        assert!(ahead.verdict == Verdict::Lacking && ahead.said.starts_with("10 min ahead of"), "{ahead:?}");
        let behind = clock_finding(mill, mill.minus(Span::from_minutes(10)));
        assert!(behind.said.starts_with("10 min behind"), "{behind:?}");
    }

    #[test]
    fn versions_in_words() {
        assert_eq!(version("NVIDIA Container Toolkit CLI version 1.17.4"), Some([1, 17, 4]));
        assert_eq!(version("podman version 4.3"), Some([4, 3, 0]));
        assert_eq!(version("none"), None);
        assert!(version("1.9.1") < Some(TOOLKIT) && version("1.18.0") > Some(TOOLKIT));
    }

    #[test]
    fn another_protocol_stops_and_another_version_lacks() {
        let facts = |protocol, version: &str| MillFacts {
            protocol,
            version: version.to_owned(),
            clock: Instant::from_seconds(0),
            simulated: false,
        };
        assert_eq!(version_finding(&facts(PROTOCOL + 1, "9.0.0")).verdict, Verdict::Stops);
        assert_eq!(version_finding(&facts(PROTOCOL, "9.0.0")).verdict, Verdict::Lacking);
        assert_eq!(version_finding(&facts(PROTOCOL, env!("CARGO_PKG_VERSION"))).verdict, Verdict::Good);
    }
}
