//! Processes that are started to be killed, by `fork`: the suite has one thread.
#![expect(unsafe_code, reason = "fork, memory shared with the child, and its end without the parent's destructors")]

use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};

/// Bytes for what a child has to say.
const SAID: NonZero<usize> = NonZero::new(4096).unwrap();

/// What a child says why it failed: memory shared with it.
#[derive(Debug)]
pub struct Said(NonNull<u8>);

// SAFETY: shared memory, whose length is an atomic.
unsafe impl Send for Said {}

impl Said {
    /// Empty.
    ///
    /// # Errors
    ///
    /// If there is no memory.
    pub fn new() -> Result<Self> {
        // SAFETY: a new mapping, wherever the kernel likes.
        let base =
            unsafe { mmap_anonymous(None, SAID, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED) }?;
        Ok(Self(base.cast()))
    }

    fn length(&self) -> &AtomicU32 {
        // SAFETY: the first word of the mapping, only ever accessed as an atomic.
        unsafe { self.0.cast::<AtomicU32>().as_ref() }
    }

    /// In the child.
    pub fn say(&self, what: &str) {
        let length = what.len().min(SAID.get() - 4);
        // SAFETY: inside the mapping; one child writes, before the parent is told of the length.
        unsafe { self.0.add(4).copy_from_nonoverlapping(NonNull::from(what.as_bytes()).cast(), length) };
        self.length().store(length as u32, Ordering::Release);
    }

    /// In the parent: what was said, once.
    pub fn take(&self) -> String {
        let length = (self.length().swap(0, Ordering::Acquire) as usize).min(SAID.get() - 4);
        // SAFETY: inside the mapping, and written before the length was.
        let bytes = unsafe { std::slice::from_raw_parts(self.0.add(4).as_ptr(), length) };
        String::from_utf8_lossy(bytes).into_owned()
    }
}

impl Drop for Said {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, with this extent.
        let _ = unsafe { munmap(self.0.cast(), SAID.get()) };
    }
}

/// A process that was forked; killed and waited for when this drops.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    ended: bool,
    /// How it ended, once that was asked.
    status: Option<WaitStatus>,
}

/// Forks. The child does `body`, says why it failed if it did, and ends with 0 or 1 without any destructor of the parent's.
///
/// # Errors
///
/// If there is no process to be had.
pub fn start(said: &Said, body: impl FnOnce() -> Result<()>) -> Result<Child> {
    let parent = getpid();
    // SAFETY: this process has one thread, so the child may do whatever the parent may.
    match unsafe { fork() }.context("fork")? {
        ForkResult::Parent { child } => Ok(Child { pid: child, ended: false, status: None }),
        ForkResult::Child => {
            // What is stopped when the suite is killed would stay for ever.
            let _ = set_pdeathsig(Signal::SIGKILL);
            // The parent may have died before; in a pid namespace of its own a child has none.
            if ![parent.as_raw(), 0].contains(&getppid().as_raw()) {
                end(1);
            }
            std::panic::set_hook(Box::new(|_| {}));
            let failure = match catch_unwind(AssertUnwindSafe(body)) {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("{error:#}")),
                Err(panic) => Some(format!("panic: {}", panicked(&*panic))),
            };
            if let Some(failure) = &failure {
                said.say(failure);
            }
            end(i32::from(failure.is_some()))
        }
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// Ends this process at once: no destructor, nothing flushed.
pub fn end(status: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(status) }
}

impl Child {
    /// Its pid.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it sleeps on a futex.
    ///
    /// # Errors
    ///
    /// If /proc does not say.
    pub fn sleeps(&self) -> Result<bool> {
        let call = std::fs::read_to_string(format!("/proc/{}/syscall", self.pid))?;
        Ok(call.split(' ').next().and_then(|number| number.parse().ok()) == Some(libc::SYS_futex))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// If it is waited for already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if self.ended {
            bail!("{} has ended", self.pid);
        }
        kill(self.pid, signal).with_context(|| format!("kill({}, {signal})", self.pid))
    }

    /// Kills it, and waits until the kernel has taken all that it held.
    pub fn kill(&mut self) {
        if !self.ended {
            let _ = kill(self.pid, Signal::SIGKILL);
            while matches!(waitpid(self.pid, None), Err(Errno::EINTR) | Ok(WaitStatus::Stopped(..))) {}
            self.ended = true;
        }
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    ///
    /// If it cannot be asked.
    pub fn ended(&mut self) -> Result<Option<WaitStatus>> {
        if self.status.is_some() {
            return Ok(self.status);
        }
        match waitpid(self.pid, Some(WaitPidFlag::WNOHANG))? {
            WaitStatus::StillAlive => Ok(None),
            status => {
                self.ended = matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..));
                // The kernel tells of an end once.
                self.status = self.ended.then_some(status);
                Ok(Some(status))
            }
        }
    }

    /// Waits until it succeeds.
    ///
    /// # Errors
    ///
    /// What it said, if it fails; that it did not end within `limit`, in which case it is killed.
    pub fn succeeds(mut self, said: &Said, limit: Duration) -> Result<()> {
        let begun = Instant::now();
        let mut pause = Duration::from_micros(30);
        loop {
            match self.ended()? {
                Some(WaitStatus::Exited(_, 0)) => return Ok(()),
                Some(WaitStatus::Exited(..)) => bail!("{}", said.take()),
                Some(other) => bail!("ended by {other:?}"),
                None if begun.elapsed() > limit => bail!("stuck: no end within {limit:?}"),
                None => std::thread::sleep(pause),
            }
            pause = (pause * 2).min(Duration::from_millis(1));
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Does `body` in a process of its own, and waits until it succeeds.
///
/// # Errors
///
/// What it said, if it fails or panics; that a signal ended it; that it did not end within `limit`.
pub fn survivor(said: &Said, limit: Duration, body: impl FnOnce() -> Result<()>) -> Result<()> {
    start(said, body)?.succeeds(said, limit)
}

/// How many descriptors this process has open.
///
/// # Errors
///
/// If /proc is not there.
pub fn descriptors() -> Result<usize> {
    Ok(std::fs::read_dir("/proc/self/fd")?.count())
}
