//! Calls into a driver that may never come back. Each runs on a thread of its own and is left behind when its time is over;
//! the same thing is not asked again until the stuck call has returned. It refuses to wait with it: whoever asks gets an
//! answer or a named silence, and at most one thread is lost per thing that hangs.
use std::collections::BTreeSet;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Nothing came in time, or an earlier question still waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the call does not return")]
pub struct Hangs;

/// What is being asked just now, by name.
#[derive(Default)]
pub struct Watchdog {
    asked: Mutex<BTreeSet<String>>,
}

impl Watchdog {
    fn asked(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `work` done within `patience`; blocks for no longer. `name` is what would hang: one GPU, or the driver.
    pub fn ask<T, F>(self: &Arc<Self>, name: &str, patience: Duration, work: F) -> Result<T, Hangs>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        if !self.asked().insert(name.to_owned()) {
            return Err(Hangs);
        }
        let (reply, answer) = mpsc::sync_channel(1);
        let returned = Returned { dog: Arc::clone(self), name: name.to_owned() };
        let thread = std::thread::Builder::new().name("gpu-driver".to_owned()).spawn(move || {
            // Nobody may be waiting any more. The name is free again before the answer is out, so that who hears it may
            // ask again.
            let done = work();
            drop(returned);
            let _ = reply.send(done);
        });
        if let Err(error) = thread {
            tracing::warn!(%error, "no thread can be started for the driver");
            return Err(Hangs);
        }
        match answer.recv_timeout(patience) {
            Ok(done) => Ok(done),
            // Disconnected: the call panicked, which the thread has said.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(Hangs),
        }
    }
}

/// Frees the name when the call is over, however it ended.
struct Returned {
    dog: Arc<Watchdog>,
    name: String,
}

impl Drop for Returned {
    fn drop(&mut self) {
        self.dog.asked().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_hangs_is_left_behind_and_asked_again_once_it_returned() {
        let dog = Arc::new(Watchdog::default());
        let (let_go, stuck) = mpsc::channel::<()>();
        let hung = dog.ask("gpu 0", SOON, move || stuck.recv().is_ok());
        assert_eq!(hung, Err(Hangs));
        assert_eq!(dog.ask("gpu 0", LONG, || 1), Err(Hangs), "it is still stuck, and nobody waits for it twice");
        assert_eq!(dog.ask("gpu 1", LONG, || 2), Ok(2), "another GPU answers meanwhile");
        let_go.send(()).unwrap();
        while dog.asked().contains("gpu 0") {
            std::thread::yield_now();
        }
        assert_eq!(dog.ask("gpu 0", LONG, || 3), Ok(3));
    }

    #[test]
    fn a_call_that_panics_is_a_silence() {
        let dog = Arc::new(Watchdog::default());
        assert_eq!(dog.ask("gpu 0", LONG, || -> u8 { panic!("as a library might") }), Err(Hangs));
        assert_eq!(dog.ask("gpu 0", LONG, || 1), Ok(1));
    }
}
