//! Children of this process that try something, and the parent that watches them.
#![expect(unsafe_code, reason = "fork")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use crate::calls::Page;

/// How long a child may go without making a call before it is taken to hang: far longer than any call may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It did all that it was to do.
    Done,
    /// By a signal, or a status that is not 0.
    Otherwise(WaitStatus),
    /// It made no call for long, and was killed.
    Hung,
}

impl std::fmt::Display for Ending {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done => formatter.write_str("ended in order"),
            Self::Otherwise(WaitStatus::Signaled(_, signal, _)) => write!(formatter, "ended by {signal}"),
            Self::Otherwise(status) => write!(formatter, "ended: {status:?}"),
            Self::Hung => write!(formatter, "hung for {} s", PATIENCE.as_secs()),
        }
    }
}

impl From<WaitStatus> for Ending {
    fn from(status: WaitStatus) -> Self {
        match status {
            WaitStatus::Exited(_, 0) => Self::Done,
            status => Self::Otherwise(status),
        }
    }
}

/// A child that does not outlive this value.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    ended: Option<WaitStatus>,
}

impl Child {
    /// Forks a child that runs `act` and ends. This process must have one thread.
    ///
    /// # Errors
    ///
    /// Those of `fork`.
    pub fn start(act: impl FnOnce()) -> nix::Result<Self> {
        // SAFETY: this process has one thread, so that the child may do whatever the parent may.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Ok(Self { pid: child, ended: None }),
            ForkResult::Child => {
                // Goes with its parent, however that ends.
                let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
                // Nothing of the parent's is run at the end, nor unwound.
                let done = catch_unwind(AssertUnwindSafe(act)).is_ok();
                // SAFETY: ends this process.
                unsafe { nix::libc::_exit(if done { 0 } else { 101 }) }
            }
        }
    }

    /// Its pid.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<WaitStatus> {
        if self.ended.is_none() {
            self.ended = match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(_) => None,
                Ok(status) => Some(status),
            };
        }
        self.ended
    }

    /// Waits for its end. It is killed if it makes no call for long.
    pub fn wait(mut self, page: &Page) -> Ending {
        let mut seen = (page.made(), Instant::now());
        loop {
            if let Some(status) = self.ended() {
                return status.into();
            }
            if page.made() != seen.0 {
                seen = (page.made(), Instant::now());
            } else if seen.1.elapsed() > PATIENCE {
                return Ending::Hung;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends it by SIGKILL, and waits for that.
    pub fn kill(&mut self) {
        if self.ended.is_none() {
            let _ = kill(self.pid, Signal::SIGKILL);
            self.ended = waitpid(self.pid, None).ok();
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}
