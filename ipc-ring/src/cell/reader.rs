//! A reader of a cell.

use std::marker::PhantomData;
use std::time::Instant;

use ipc_core::wait::{Cancel, WaitStrategy};
use ipc_core::{Error, Payload, Segment};

use super::{Cell, Slots};
use crate::error::{RingError, Side};
use crate::publisher::Handle;

/// A value and which one it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versioned<T> {
    /// How many were written up to it.
    pub version: u64,
    /// The value.
    pub value: T,
}

/// A reader of a [`Cell`], one of any number in any processes. The cell knows nothing of it; the writer does not wait for it.
///
/// `Send`, but not `Sync`. A read costs the loads of the version and of the value, in another line each, and of the version again.
#[derive(Debug)]
pub struct Reader<T: Payload> {
    slots: Slots,
    handle: Handle,
    payload: PhantomData<std::cell::Cell<T>>,
}

impl<T: Payload> Reader<T> {
    pub(super) fn new(slots: Slots) -> Self {
        let handle = Handle::new(slots.region());
        Self { slots, handle, payload: PhantomData }
    }

    /// Finds the cell of that name, to read it.
    ///
    /// # Errors
    ///
    /// As [`Cell::open`].
    pub fn open(segment: &Segment, name: &str) -> Result<Self, Error> {
        Cell::open(segment, name)?.reader()
    }

    /// Finds the cell of that name or makes it, to read it.
    ///
    /// # Errors
    ///
    /// As [`Cell::open_or_create`].
    pub fn open_or_create(segment: &Segment, name: &str) -> Result<Self, Error> {
        Cell::open_or_create(segment, name)?.reader()
    }

    /// How to wait: a short spin, then sleep, unless said otherwise.
    pub fn set_strategy(&mut self, strategy: WaitStrategy) {
        self.handle.strategy = strategy;
    }

    /// What ends waits early.
    pub fn set_cancel(&mut self, cancel: Cancel) {
        self.handle.cancel = Some(cancel);
    }

    /// The version of the latest value; 0 if there is none yet. One load.
    pub fn version(&self) -> u64 {
        self.slots.version()
    }

    /// Asks the kernel whether the writer lives, if one has come.
    ///
    /// # Errors
    ///
    /// [`RingError::PeerDied`], [`RingError::Closed`], [`RingError::PeerGaveUp`]. The value stays readable.
    pub fn check_writer(&self) -> Result<(), RingError> {
        self.slots.publisher().check()
    }

    /// The latest value; `None` if nothing was written yet. What is returned was written so, whole. It stays readable when the writer has left or died.
    ///
    /// Lock-free: it begins again if fifteen newer values were published while it read, or three of values of more than a KiB, which a writer that is not much faster at writing than this is at reading cannot do
    /// for long.
    ///
    /// # Errors
    ///
    /// [`RingError::Lapped`] if that happened a thousand times in a row; [`RingError::WrongProcess`], [`RingError::Lost`].
    #[inline(always)]
    pub fn read(&mut self) -> Result<Option<Versioned<T>>, RingError> {
        self.handle.check_process()?;
        let found = self.slots.read();
        self.handle.check_pages()?;
        Ok(found?.map(|(version, value)| Versioned { version, value }))
    }

    /// The latest value if it is newer than `version`.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    #[inline(always)]
    pub fn try_newer(&mut self, version: u64) -> Result<Option<Versioned<T>>, RingError> {
        self.handle.check_process()?;
        if is_newer(self.slots.version(), version) { self.read() } else { Ok(None) }
    }

    /// The latest value that is newer than `version`, waiting for one as long as a living writer may write it, or none has come yet. Values that were replaced meanwhile are not
    /// seen. `None`: the writer has closed, and there is none.
    ///
    /// # Errors
    ///
    /// [`RingError::PeerDied`] if the writer is dead, [`RingError::PeerGaveUp`] if it left in a panic, in both cases only if there is none;
    /// [`RingError::Cancelled`], and as [`read`](Self::read).
    pub fn wait_newer(&mut self, version: u64) -> Result<Option<Versioned<T>>, RingError> {
        self.wait(version, None)
    }

    /// As [`wait_newer`](Self::wait_newer), until a deadline.
    ///
    /// # Errors
    ///
    /// As [`wait_newer`](Self::wait_newer), and [`RingError::TimedOut`].
    pub fn wait_newer_deadline(&mut self, version: u64, deadline: Instant) -> Result<Option<Versioned<T>>, RingError> {
        self.wait(version, Some(deadline))
    }

    fn wait(&mut self, version: u64, deadline: Option<Instant>) -> Result<Option<Versioned<T>>, RingError> {
        let slots = &self.slots;
        let look = || Ok(is_newer(slots.version(), version).then_some(()));
        match slots.publisher().wait(&self.handle, deadline, look) {
            Ok(()) => self.read(),
            Err(RingError::Closed(Side::Producer)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Half of all numbers are, so that any is or is not.
fn is_newer(version: u64, than: u64) -> bool {
    version != 0 && version.wrapping_sub(than).wrapping_sub(1) < u64::MAX / 2
}
