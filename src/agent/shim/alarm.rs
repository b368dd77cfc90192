//! A timer on the boot clock, which goes on while the machine sleeps. It refuses to tell a time.
use std::io;
use std::os::fd::OwnedFd;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::ready;

pub(super) struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    /// Must be called inside a runtime.
    pub fn new() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self(ready::watch(timer)?))
    }

    /// Sets it to a moment of the boot clock.
    pub fn set(&self, at_ms: i64) -> io::Result<()> {
        // Zero would switch it off; a moment in the past fires at once.
        let at_ms = at_ms.max(1);
        let at = Timespec { tv_sec: at_ms / 1000, tv_nsec: (at_ms % 1000) * 1_000_000 };
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let setting = Itimerspec { it_interval: never, it_value: at };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::ABSTIME, &setting)?;
        // Forget that it fired before; setting it anew also emptied it.
        let _ = self.0.try_io(Interest::READABLE, |_| io::Result::<()>::Err(io::ErrorKind::WouldBlock.into()));
        Ok(())
    }

    /// Waits until the moment has come.
    pub async fn rang(&self) {
        // An error shows when it is set the next time.
        let _ = self.0.readable().await;
    }
}
