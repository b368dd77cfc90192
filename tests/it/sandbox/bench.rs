//! A lease to try things on, and a person at its terminal.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use gristmill::agent::shim::client::ShimClient;
use gristmill::agent::shim::stream::Connection;
use gristmill::agent::{boot, gpu, lease};
use gristmill::base::hardware::Share;
use gristmill::base::ids::LeaseId;
use gristmill::base::window::Span;
use gristmill::clock;
use gristmill::wire::frame::{Frame, Size};
use gristmill::wire::lease::*;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_gristmill");
const SIZE: Size = Size { cols: 100, rows: 30 };

/// A lease of a test: its folder goes when the test is over, and so does its shim.
pub struct Bench {
    pub root: PathBuf,
    pub spec: LeaseSpec,
}

impl Bench {
    pub fn new(kind: LeaseKind) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lease-{}-{number}", std::process::id());
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(&root).unwrap();
        let lease = u128::from(std::process::id()) << 32 | u128::from(number);
        let simulated = gpu::simulated::gpus("bench", 2);
        let spec = LeaseSpec {
            lease: LeaseId::from_u128(lease),
            attempt: 1,
            kind,
            env: BTreeMap::from([("GREETING".to_owned(), "good day".to_owned())]),
            gpus: simulated
                .into_iter()
                .map(|gpu| LeasedGpu { uuid: gpu.uuid, minor: gpu.minor, instance: None })
                .collect(),
            simulated: true,
            share: Share::default(),
            home: root.join("homes/ada"),
            member: MemberAccount { name: "ada".to_owned(), uid: 100_123, gid: 100_123 },
            deadline: deadline(1, Duration::from_secs(600)),
            grace_seconds: 2,
            warnings: DEFAULT_WARNINGS.to_vec(),
            log_cap: DEFAULT_LOG_CAP,
        };
        Self { root, spec }
    }

    pub fn batch(script: &str) -> Self {
        Self::new(LeaseKind::Batch { command: ["sh", "-c", script].map(str::to_owned).into() })
    }

    pub fn dir(&self) -> PathBuf {
        self.root.join("lease")
    }

    pub fn client(&self) -> ShimClient {
        ShimClient::new(&self.dir())
    }

    pub async fn start(&self) {
        self.start_by(Path::new(PROGRAM)).await;
    }

    /// Starts it as an agent that is not root would: the shim and everything it makes belong to somebody else.
    pub async fn start_unprivileged(&self) {
        if !rustix::process::geteuid().is_root() {
            return self.start().await;
        }
        use std::os::unix::fs::PermissionsExt as _;
        let somebody = "65533";
        let wrapper = self.root.join("unprivileged");
        let script = format!(
            "#!/bin/sh\nchown -R {somebody}:{somebody} '{}' &&\n\
             exec setpriv --reuid={somebody} --regid={somebody} --clear-groups '{PROGRAM}' \"$@\"\n",
            self.root.display()
        );
        std::fs::write(&wrapper, script).unwrap();
        std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
        self.start_by(&wrapper).await;
    }

    async fn start_by(&self, program: &Path) {
        lease::spawn(&self.dir(), &self.spec, program).await.unwrap();
        loop {
            let seen = lease::inspect(&self.dir()).unwrap();
            match seen.state.phase {
                Phase::Starting => tokio::time::sleep(Duration::from_millis(20)).await,
                Phase::Ended { exit: ExitKind::Failed(why), .. } => {
                    panic!("the sandbox did not start (bubblewrap and user namespaces are needed here): {why}")
                }
                _ => return,
            }
        }
    }

    pub async fn end(&self) -> LeaseState {
        let waiting = async {
            loop {
                let seen = lease::inspect(&self.dir()).unwrap();
                if seen.standing != lease::Standing::Live {
                    return seen.state;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("the lease ends within a minute")
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&lease::read_log(&self.dir(), 0, 1 << 20).unwrap()).into_owned()
    }

    /// Runs a script to its end and gives back what it said.
    pub async fn say(script: &str) -> String {
        let bench = Self::batch(script);
        bench.start().await;
        bench.end().await;
        bench.log()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // After a failed test the shim may still run; it alone is ended, and everything dies with it.
        if let Ok(seen) = lease::inspect(&self.dir())
            && seen.standing == lease::Standing::Live
        {
            let _ = Command::new("kill").args(["-9", &seen.state.shim.pid.to_string()]).status();
            while boot::is_alive(seen.state.shim) {
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = lease::collect(&self.dir());
        }
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

pub fn deadline(generation: u64, after: Duration) -> Deadline {
    let after = i64::try_from(after.as_millis()).unwrap();
    Deadline { generation, end: clock::now().plus(Span::from_millis(after)), boot_ms: boot::boot_ms() + after }
}

pub fn ended(state: &LeaseState) -> (&ExitKind, &EndCause) {
    match &state.phase {
        Phase::Ended { exit, cause, .. } => (exit, cause),
        other => panic!("not ended: {other:?}"),
    }
}

/// A terminal as a person uses it.
pub struct Terminal {
    pub connection: Connection,
    pub screen: String,
}

impl Terminal {
    pub async fn open(bench: &Bench, tab: u16) -> (Self, bool) {
        let mut connection = bench.client().attach(tab, SIZE).await.unwrap();
        match connection.reader.next().await.unwrap() {
            Some(Frame::Attached(attached)) => (Self { connection, screen: String::new() }, attached.fresh),
            other => panic!("not attached: {other:?}"),
        }
    }

    pub async fn type_in(&mut self, text: &str) {
        self.connection.writer.send(&Frame::Input(text.as_bytes().to_vec())).await.unwrap();
    }

    /// Reads until the screen shows `wanted`.
    pub async fn see(&mut self, wanted: &str) {
        let reading = async {
            while !self.screen.contains(wanted) {
                match self.connection.reader.next().await.unwrap() {
                    Some(Frame::Output(bytes)) => self.screen.push_str(&String::from_utf8_lossy(&bytes)),
                    other => panic!("{other:?} instead of {wanted:?} on:\n{}", self.screen),
                }
            }
        };
        if tokio::time::timeout(Duration::from_secs(30), reading).await.is_err() {
            panic!("{wanted:?} never came on:\n{}", self.screen);
        }
    }

    /// What a command prints. The marks are written so that the echo of the command itself does not hold them.
    pub async fn ask(&mut self, command: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.type_in(&format!("echo '<''{number}'; {command}; echo '>''{number}'\n")).await;
        self.see(&format!(">{number}")).await;
        let (_, after) = self.screen.rsplit_once(&format!("<{number}")).unwrap();
        after.split_once(&format!(">{number}")).unwrap().0.trim().to_owned()
    }
}
