//! Which process is this: an identity that a fork child does not inherit.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::{map, os};

/// The process that made a handle. Copied into the handle; asking whether it is still the one that runs costs one load from
/// a line that nobody writes.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    id: u64,
    /// Zero in a fork child until it asks for its own identity.
    current: &'static AtomicU64,
}

/// A process, as /proc tells it; 0 for what it does not tell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    /// Clock ticks from boot to its start.
    pub(crate) start_time: u64,
    /// The inode that stands for its pid namespace.
    pub(crate) pid_namespace: u64,
    /// The inode that stands for its time namespace.
    pub(crate) time_namespace: u64,
}

/// The process that runs this code.
///
/// The first call in a process costs three system calls, the following ones a load.
///
/// # Errors
///
/// [`Error::System`] if the page that tells a child from its parent cannot be had.
pub fn current() -> Result<Process> {
    static CURRENT: OnceLock<&'static AtomicU64> = OnceLock::new();
    let current = match CURRENT.get() {
        Some(current) => *current,
        None => {
            // Mapped before, so that a fork in another thread finds the cell set or empty, but never being set for long. Two threads that
            // come here together map two pages, of which one is used: a page, once.
            let page = map::wiped_on_fork()?;
            CURRENT.get_or_init(|| page)
        }
    };
    let mut id = current.load(Ordering::Relaxed);
    if id == 0 {
        let random = os::random_bytes::<8>().map_err(|source| Error::system("getrandom", None, source))?;
        let fresh = u64::from_le_bytes(random) | 1;
        // Threads of one process must agree; nothing else is published with the word.
        id = match current.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => fresh,
            Err(other) => other,
        };
    }
    Ok(Process { id, current })
}

impl Process {
    /// Whether this is still the process that the value was made in, and not a child that inherited it by `fork`.
    #[inline(always)]
    pub fn is_current(&self) -> bool {
        self.current.load(Ordering::Relaxed) == self.id
    }

    /// [`Error::WrongProcess`] in a fork child.
    ///
    /// # Errors
    ///
    /// As it says.
    #[inline]
    pub fn check(&self) -> Result<()> {
        if self.is_current() { Ok(()) } else { Err(Error::WrongProcess) }
    }

    /// What tells this process from others that have its pid. Asked of /proc once, since attaching is to cost little: a process keeps
    /// its start time and, whatever it does for its children, its own namespaces of pids and of time.
    pub(crate) fn origin(&self) -> Origin {
        static KNOWN: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
        let [of, start_time, pid_namespace, time_namespace] = &KNOWN;
        // A fork child must not believe its parent's. Pairs with the Release below.
        if of.load(Ordering::Acquire) == self.id {
            return Origin {
                start_time: start_time.load(Ordering::Relaxed),
                pid_namespace: pid_namespace.load(Ordering::Relaxed),
                time_namespace: time_namespace.load(Ordering::Relaxed),
            };
        }
        let origin = Origin {
            start_time: os::process_stat("self").map_or(0, |stat| stat.start_time),
            pid_namespace: os::namespace("pid"),
            time_namespace: os::namespace("time"),
        };
        // Threads that come here together store the same.
        start_time.store(origin.start_time, Ordering::Relaxed);
        pid_namespace.store(origin.pid_namespace, Ordering::Relaxed);
        time_namespace.store(origin.time_namespace, Ordering::Relaxed);
        of.store(self.id, Ordering::Release);
        origin
    }

    /// A random number, another one in every process.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}
