//! A thread that flushes what others append.

use std::thread::JoinHandle;
use std::time::Duration;

use ipc_core::sync::Ordering;
use ipc_core::wait::{Cancel, WaitStrategy};

use super::error::JournalError;
use super::leader::Terms;
use super::open::Journal;

/// A thread of this process that makes durable what is appended, by whichever process, within a time. Stops when it drops.
///
/// Appenders that push with [`Acknowledge::Async`](super::Acknowledge::Async) then lose with the power what is younger than that time, and a flush.
#[derive(Debug)]
pub struct Flusher {
    cancel: Cancel,
    thread: Option<JoinHandle<Result<(), JournalError>>>,
}

impl Flusher {
    /// Starts it: `within` that time after something was committed a flush of it begins.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`](ipc_core::Error::Unsupported) where nothing can be made durable; [`Error::System`](ipc_core::Error::System) if there is no thread to be had.
    pub fn start(journal: &Journal, within: Duration) -> Result<Self, JournalError> {
        journal.wait_durable(journal.durable())?;
        if let Some(backing) = &journal.shared.unsupported {
            let (what, backing) = ("a durable journal", backing.clone());
            return Err(ipc_core::Error::Unsupported { what, backing }.into());
        }
        let (cancel, journal) = (Cancel::new(), journal.clone());
        let stop = cancel.clone();
        let thread = std::thread::Builder::new()
            .name("journal-flusher".into())
            .spawn(move || run(&journal, within, &stop))
            .map_err(|source| ipc_core::Error::System { call: "clone", path: None, source })?;
        Ok(Self { cancel, thread: Some(thread) })
    }

    /// Stops it, after a last flush, and tells how it went.
    ///
    /// # Errors
    ///
    /// What a flush gave.
    pub fn stop(mut self) -> Result<(), JournalError> {
        self.join().unwrap_or(Ok(()))
    }

    fn join(&mut self) -> Option<Result<(), JournalError>> {
        self.cancel.cancel();
        self.thread.take()?.join().ok()
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        let _ = self.join();
    }
}

fn run(journal: &Journal, within: Duration, stop: &Cancel) -> Result<(), JournalError> {
    let shared = &journal.shared;
    let ahead = (shared.store.geometry().data / 8).min(1 << 20);
    let terms = Terms { strategy: WaitStrategy::sleep(), deadline: None, cancel: Some(stop) };
    loop {
        let look = || {
            let durable = shared.control.durable_mark().load(Ordering::Acquire);
            Ok((shared.frontier(false)? > durable).then_some(()))
        };
        // Advice: where it cannot be followed, appends take their page faults.
        let _ = shared.prefault(shared.control.tail().load(Ordering::Acquire), ahead);
        match shared.wait(shared.control.readers_bell(), terms, look, || shared.frontier(true).map(drop)) {
            Ok(()) => std::thread::sleep(within),
            Err(JournalError::Cancelled) => return journal.flush().map(drop),
            Err(error) => return Err(error),
        }
        journal.flush()?;
    }
}
