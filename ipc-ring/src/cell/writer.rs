//! The writer of a cell.

use std::marker::PhantomData;

use ipc_core::{Error, Payload, Segment};

use super::{Cell, Slots};
use crate::error::PushError;
#[cfg(doc)]
use crate::error::RingError;
use crate::presence::Leaving;
use crate::publisher::Handle;

/// The writer's side of a [`Cell`]: one in all processes at a time.
///
/// `Send`, but not `Sync`. Dropping it closes the cell, except in a panic: the value stays, and those who wait for a newer one are told.
///
/// A write costs the stores of the value, one of the version in another cache line, and a look at the readers' bell; it is wait-free, and makes a system call only if a
/// reader sleeps. If the process dies in the middle of a write, the value before it is the latest.
#[derive(Debug)]
pub struct Writer<T: Payload> {
    slots: Slots,
    handle: Handle,
    /// Of the latest value.
    version: u64,
    left: bool,
    payload: PhantomData<std::cell::Cell<T>>,
}

impl<T: Payload> Writer<T> {
    pub(super) fn claim(slots: Slots) -> Result<Self, Error> {
        slots.publisher().claim()?;
        let handle = Handle::new(slots.region());
        let version = slots.version();
        Ok(Self { slots, handle, version, left: false, payload: PhantomData })
    }

    /// Makes a cell and claims this side of it.
    ///
    /// # Errors
    ///
    /// As [`Cell::create`].
    pub fn create(segment: &Segment, name: &str) -> Result<Self, Error> {
        Cell::create(segment, name)?.writer()
    }

    /// Finds the cell of that name and claims this side of it.
    ///
    /// # Errors
    ///
    /// As [`Cell::open`], and [`Error::RoleHeld`] if a living writer has it.
    pub fn open(segment: &Segment, name: &str) -> Result<Self, Error> {
        Cell::open(segment, name)?.writer()
    }

    /// Finds the cell of that name or makes it, and claims this side of it.
    ///
    /// # Errors
    ///
    /// As [`Cell::open_or_create`], and [`Error::RoleHeld`] if a living writer has it.
    pub fn open_or_create(segment: &Segment, name: &str) -> Result<Self, Error> {
        Cell::open_or_create(segment, name)?.writer()
    }

    /// The version of the latest value: how many were written, by all writers.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Replaces the value, and returns its version. Never waits.
    ///
    /// # Errors
    ///
    /// The value comes back in a [`PushError`], with [`RingError::WrongProcess`] in a fork child or [`RingError::Lost`].
    #[inline(always)]
    pub fn write(&mut self, value: T) -> Result<u64, PushError<T>> {
        if let Err(reason) = self.handle.check_process() {
            return Err(PushError { value, reason });
        }
        // 0 says that there is none; reached only from a forged version.
        self.version = self.version.wrapping_add(1).max(1);
        self.slots.write(self.version, &value);
        self.slots.publisher().wake();
        match self.handle.check_pages() {
            Ok(()) => Ok(self.version),
            Err(reason) => Err(PushError { value, reason }),
        }
    }

    /// Says that no newer value will come: those who wait get the end. The same as dropping the writer.
    pub fn close(self) {}

    /// Leaves without having done its part: those who wait get [`RingError::PeerGaveUp`].
    pub fn give_up(mut self) {
        self.leave(Leaving::GivingUp);
    }

    /// Lets go of this side without closing: those who wait go on waiting, for a successor.
    pub fn hand_over(mut self) {
        self.leave(Leaving::HandingOver);
    }

    fn leave(&mut self, leaving: Leaving) {
        if !self.left && self.handle.is_current() {
            self.left = true;
            self.slots.publisher().leave(leaving);
        }
    }
}

impl<T: Payload> Drop for Writer<T> {
    fn drop(&mut self) {
        self.leave(Leaving::for_drop());
    }
}
