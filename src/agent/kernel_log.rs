//! The kernel's log, where the driver writes its Xids with everything that it knows. A thread reads /dev/kmsg from a little
//! before the agent's start. It refuses to make the agent depend on it: where the log may not be read, that is said, and the
//! driver's events are all there is.
use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::base::window::{Instant, Span};
use crate::base::xid::{self, LONGEST_LINE, MOST_XIDS, XidLine};
use crate::clock;

/// The kernel's log, one record for every read.
pub const LOG: &str = "/dev/kmsg";
/// What was written longer than this before the agent's start was told by the agent before it, or is over.
const BEFORE_START: Span = Span::from_minutes(10);
/// Between two looks at a log in which nothing stands.
const PAUSE: Duration = Duration::from_millis(500);

/// A line and when it was written, by this machine's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub at: Instant,
    pub line: XidLine,
}

/// What was read so far.
#[derive(Default)]
pub struct KernelLog(Mutex<State>);

#[derive(Default)]
struct State {
    written: VecDeque<Written>,
    /// Why it cannot be read.
    problem: Option<String>,
}

impl KernelLog {
    /// This machine's log; reading begins with the first call.
    pub fn of_this_machine() -> &'static Arc<Self> {
        static STARTED: OnceLock<Arc<KernelLog>> = OnceLock::new();
        STARTED.get_or_init(|| {
            let log = Arc::<KernelLog>::default();
            log.clone().start(Path::new(LOG));
            log
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last Xids, oldest first.
    pub fn written(&self) -> Vec<Written> {
        self.state().written.iter().cloned().collect()
    }

    /// Why it cannot be read; `None` where it can.
    pub fn problem(&self) -> Option<String> {
        self.state().problem.clone()
    }

    fn start(self: Arc<Self>, path: &Path) {
        let opened = match open(path) {
            Ok(file) => file,
            Err(why) => {
                tracing::info!(why, "the kernel's log cannot be read; Xids come from the driver alone");
                self.state().problem = Some(why);
                return;
            }
        };
        let log = Arc::clone(&self);
        let thread = std::thread::Builder::new().name("kernel-log".to_owned()).spawn(move || log.follow(opened));
        if let Err(error) = thread {
            self.state().problem = Some(format!("no thread can be started: {error}"));
        }
    }

    /// Reads for as long as the log can be read.
    fn follow(&self, mut file: File) {
        let begun = clock::now();
        let mut record = [0; LONGEST_LINE * 4];
        loop {
            match file.read(&mut record) {
                Ok(0) => std::thread::sleep(PAUSE),
                Ok(length) => self.take(&String::from_utf8_lossy(&record[..length]), begun),
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(PAUSE),
                // Records were overwritten before they were read, or one was cut off: the next one is there.
                Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::Interrupted) => {}
                Err(error) => {
                    self.state().problem = Some(format!("reading it failed: {error}"));
                    return;
                }
            }
        }
    }

    /// Takes in a record, if it is about an Xid.
    fn take(&self, record: &str, begun: Instant) {
        let Some(record) = xid::kernel_record(record) else { return };
        let Some(line) = xid::line(record.message) else { return };
        let micros = i64::try_from(record.micros).unwrap_or(i64::MAX);
        let up = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let up = up.tv_sec.saturating_mul(1000).saturating_add(up.tv_nsec / 1_000_000);
        let at = clock::now().minus(Span::from_millis(up.saturating_sub(micros / 1000).max(0)));
        if at < begun.minus(BEFORE_START) {
            return;
        }
        tracing::error!(bus = line.bus, xid = line.code, text = line.text, "the kernel reports an Xid");
        self.keep(Written { at, line });
    }

    fn keep(&self, written: Written) {
        let mut state = self.state();
        if state.written.len() == MOST_XIDS {
            state.written.pop_front();
        }
        state.written.push_back(written);
    }
}

/// Opens the log at its oldest record, or says why not, with what to do.
pub fn open(path: &Path) -> Result<File, String> {
    // Otherwise the read waits for the next record, and the thread with it.
    let flags = rustix::fs::OFlags::NONBLOCK.bits();
    let flags = i32::try_from(flags).unwrap_or_default();
    let mut file = File::options().read(true).custom_flags(flags).open(path).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => "only root or CAP_SYSLOG may read it (kernel.dmesg_restrict)".to_owned(),
        _ => error.to_string(),
    })?;
    // Some kernels open it at its end.
    let _ = file.seek(SeekFrom::Start(0));
    match file.read(&mut []) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err("it may not be read here".to_owned()),
        _ => Ok(file),
    }
}

#[cfg(test)]
mod tests;
