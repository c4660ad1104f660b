//! Values in place: room for one, lent to its producer, and one that was published, lent to its consumer.
#![expect(unsafe_code, reason = "values in the ring are lent as references")]

use std::ops::{Deref, DerefMut};

use ipc_core::Payload;

use super::consumer::Consumer;
use super::producer::Producer;
use crate::error::RingError;

/// Room for one value, to be written in place: from [`Producer::claim`]. Dropping it without a commit aborts it: nothing of it was ever visible.
///
/// It dereferences to the value, which holds whatever was there before. Writing through it is sound as long as every attached peer follows the protocol, as with
/// any memory map of a file: see docs/TRUST.md; [`Producer::push`] holds against any peer. For values of many cache lines, which `push` copies.
#[derive(Debug)]
pub struct ValueGrant<'a, T: Payload>(&'a mut Producer<T>);

impl<'a, T: Payload> ValueGrant<'a, T> {
    /// The producer has found room at its cursor.
    pub(super) fn new(producer: &'a mut Producer<T>) -> Self {
        Self(producer)
    }

    /// Publishes the value. Costs what a push costs, without the copy.
    ///
    /// # Errors
    ///
    /// [`RingError::WrongProcess`] in a fork child, whose parent has the grant; [`RingError::Lost`].
    pub fn commit(self) -> Result<(), RingError> {
        self.0.check_process()?;
        self.0.publish_one()
    }
}

impl<T: Payload> Deref for ValueGrant<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: there is room at the cursor, nothing is committed there, so the protocol gives the place to this producer alone, which this grant borrows
        // exclusively; it is aligned (`Layout`) and every bit pattern is a `T`.
        unsafe { &*self.0.place(false) }
    }
}

impl<T: Payload> DerefMut for ValueGrant<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as for `deref`, and `&mut self` makes this the only reference.
        unsafe { &mut *self.0.place(true) }
    }
}

/// A value in place: from [`Consumer::peek`]. [`release`](Self::release) goes on to the next; dropping it does not.
///
/// It does not change while the view lives as long as every attached peer follows the protocol, as with any memory map of a file: see docs/TRUST.md;
/// [`Consumer::pop`] holds against any peer.
#[derive(Debug)]
pub struct ValueView<'a, T: Payload>(&'a mut Consumer<T>);

impl<'a, T: Payload> ValueView<'a, T> {
    /// The consumer has found a value at its cursor.
    pub(super) fn new(consumer: &'a mut Consumer<T>) -> Self {
        Self(consumer)
    }

    /// Done with the value: the next call gives the next one.
    ///
    /// # Errors
    ///
    /// [`RingError::Lost`] if pages of it were lost while it was looked at: it may have read as zeros, and is not taken.
    pub fn release(self) -> Result<(), RingError> {
        self.0.step_over()
    }
}

impl<T: Payload> Deref for ValueView<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the value at the cursor is published and not acknowledged while this view borrows the consumer, so a producer that follows the protocol does not
        // write there; it is aligned (`Layout`) and every bit pattern is a `T`.
        unsafe { &*self.0.place() }
    }
}
