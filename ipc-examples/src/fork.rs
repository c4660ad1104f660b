//! Children that share what was mapped before they were made.
#![expect(unsafe_code, reason = "fork")]

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

/// A forked child; killed when this drops before it was waited for.
#[derive(Debug)]
pub struct Child {
    pid: Option<Pid>,
}

/// Runs `body` in a forked child, which exits with 0 if it returns `Ok`, and prints its error otherwise.
///
/// # Errors
///
/// If the system cannot make another process.
pub fn child(body: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Child> {
    // SAFETY: the programs that call this have one thread, so the child may do whatever its parent could.
    match unsafe { fork() }.context("fork")? {
        ForkResult::Parent { child } => Ok(Child { pid: Some(child) }),
        ForkResult::Child => {
            // Also a panic must not return into the parent's code.
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            let status = match outcome {
                Ok(Ok(())) => 0,
                Ok(Err(error)) => {
                    eprintln!("demo: a child failed: {error:#}");
                    1
                }
                Err(_) => 101,
            };
            // SAFETY: ends this process at once; what the parent registered for its own exit must not run here.
            unsafe { nix::libc::_exit(status) }
        }
    }
}

/// Kills this process where it stands, as anybody's SIGKILL would: nothing is dropped, closed, or told to anybody.
pub fn die() -> ! {
    let _ = kill(Pid::this(), Signal::SIGKILL);
    // Not reached: a process cannot keep that signal away.
    std::process::abort()
}

impl Child {
    /// Waits until the child has ended well.
    ///
    /// # Errors
    ///
    /// If it failed, or had to be killed when the time was over.
    pub fn join(self, patience: Duration) -> anyhow::Result<()> {
        if self.was_killed(patience)? { bail!("a child was killed") } else { Ok(()) }
    }

    /// Waits until the child has ended well, or by SIGKILL: whether it was that.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join), but for that.
    pub fn was_killed(mut self, patience: Duration) -> anyhow::Result<bool> {
        let Some(pid) = self.pid else { return Ok(false) };
        let begun = Instant::now();
        loop {
            match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) if begun.elapsed() > patience => {
                    bail!("a child did not end in {patience:?}")
                }
                Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_micros(500)),
                Err(nix::errno::Errno::EINTR) => {}
                Ok(status) => {
                    self.pid = None;
                    return match status {
                        WaitStatus::Exited(_, 0) => Ok(false),
                        WaitStatus::Signaled(_, Signal::SIGKILL, _) => Ok(true),
                        status => bail!("a child failed: {status:?}"),
                    };
                }
                Err(errno) => return Err(errno).context("waitpid"),
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(pid) = self.pid {
            let _ = kill(pid, Signal::SIGKILL);
            let _ = waitpid(pid, None);
        }
    }
}
