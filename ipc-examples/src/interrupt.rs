//! Ctrl-C and SIGTERM as a flag that ends waits, so that a program leaves in order and tells its peer.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ipc_core::wait::Cancel;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{SIGINT, SIGTERM};

/// Set by the first Ctrl-C; the second one ends the process in the usual way.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes over SIGINT and SIGTERM.
    ///
    /// # Errors
    ///
    /// If the system refuses the handlers.
    pub fn install() -> io::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register_conditional_default(signal, flag.clone())?;
            signal_hook::flag::register(signal, flag.clone())?;
        }
        Ok(Self(flag))
    }

    /// Whether a signal came.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The same flag for the library's waits.
    pub fn cancel(&self) -> Cancel {
        Cancel::from(self.0.clone())
    }

    /// Waits until a descriptor is ready, asking `meanwhile` ten times a second.
    ///
    /// # Errors
    ///
    /// What `meanwhile` gives, or an error that says that a signal came.
    pub fn until_ready(
        &self,
        fd: impl AsFd,
        flags: PollFlags,
        mut meanwhile: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        loop {
            anyhow::ensure!(!self.is_set(), "interrupted");
            let mut fds = [PollFd::new(fd.as_fd(), flags)];
            match poll(&mut fds, PollTimeout::from(100_u8)) {
                Ok(0) => meanwhile()?,
                Ok(_) => return Ok(()),
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
