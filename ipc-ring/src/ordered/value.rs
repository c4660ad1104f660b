//! A claimed slot, lent to its producer.
#![expect(unsafe_code, reason = "values in the ring are lent as references")]

use std::ops::{Deref, DerefMut};

use ipc_core::Payload;

use super::claimer::Room;
use super::producer::Producer;
use crate::error::RingError;

/// Room for one value, claimed in the order and to be written in place: from [`Producer::claim`]. Dropping it without a commit aborts it: nothing of it was ever visible, and the consumer steps over it.
///
/// It dereferences to the value, which holds whatever was there before. Writing through it is sound as long as every attached peer follows the protocol, as with
/// any memory map of a file: see docs/TRUST.md; [`Producer::push`] holds against any peer. For values of many cache lines, which `push` copies. Do not keep it for
/// long: what others push meanwhile waits behind it.
#[derive(Debug)]
pub struct ValueGrant<'a, T: Payload> {
    producer: &'a mut Producer<T>,
    room: Option<Room>,
    slot: usize,
}

impl<'a, T: Payload> ValueGrant<'a, T> {
    pub(super) fn new(producer: &'a mut Producer<T>, room: Room) -> Self {
        producer.claimer.lend(room);
        Self { producer, slot: room.at.index as usize, room: Some(room) }
    }

    /// Publishes the value. Costs a compare-and-swap.
    ///
    /// # Errors
    ///
    /// [`RingError::ClaimLost`] if the claim was given up for dead: nothing is published, then; [`RingError::WrongProcess`] in a fork child, whose parent has the grant; [`RingError::Lost`].
    pub fn commit(mut self) -> Result<(), RingError> {
        self.producer.claimer.handle.check_process()?;
        match self.room.take() {
            Some(room) => self.producer.commit_one(room),
            None => Ok(()),
        }
    }
}

impl<T: Payload> Drop for ValueGrant<'_, T> {
    fn drop(&mut self) {
        if let Some(room) = self.room.take() {
            self.producer.claimer.abort(room);
        }
    }
}

impl<T: Payload> Deref for ValueGrant<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the slot is claimed and not committed, so the protocol gives it to this producer alone, which this grant borrows exclusively; it is aligned
        // (`SlotLayout`) and every bit pattern is a `T`.
        unsafe { &*self.producer.values.place(self.slot, false) }
    }
}

impl<T: Payload> DerefMut for ValueGrant<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as for `deref`, and `&mut self` makes this the only reference.
        unsafe { &mut *self.producer.values.place(self.slot, true) }
    }
}
