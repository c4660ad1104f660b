//! Values of one type in place: what the rings that carry them lend.
//!
//! Name the types by the rings' own names, [`spsc::ValueGrant`](crate::spsc::ValueGrant) and so on.
#![expect(unsafe_code, reason = "values in the ring are lent as references")]

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use ipc_core::Payload;

use crate::error::RingError;

/// A producer that lends room for its next value.
pub(crate) trait LendsRoom<T> {
    /// Where that value goes, after it was made sure of room: inside the region, aligned, and this producer's alone by the protocol.
    fn place(&self, to_write: bool) -> *mut T;

    /// Publishes the value that was written there.
    fn publish(&mut self) -> Result<(), RingError>;
}

/// A consumer that lends its next value.
pub(crate) trait LendsValue<T> {
    /// Where that value is, after it was found: inside the region, aligned, and not written by a producer that follows the protocol before this consumer is done with it.
    fn place(&self) -> *const T;

    /// Done with the value.
    fn step_over(&mut self) -> Result<(), RingError>;
}

/// Room for one value, to be written in place: from a producer's `claim`. Dropping it without a commit aborts it: nothing of it was ever visible.
///
/// It dereferences to the value, which holds whatever was there before. Writing through it is sound as long as every attached peer follows the protocol, as with
/// any memory map of a file: see docs/TRUST.md; the producer's `push` holds against any peer. For values of many cache lines, which `push` copies.
#[derive(Debug)]
pub struct ValueGrant<'a, T, P>(&'a mut P, PhantomData<fn() -> T>);

#[expect(private_bounds, reason = "only the producers of this crate lend")]
impl<'a, T: Payload, P: LendsRoom<T>> ValueGrant<'a, T, P> {
    /// The producer has found room at its cursor.
    pub(crate) fn new(producer: &'a mut P) -> Self {
        Self(producer, PhantomData)
    }

    /// Publishes the value. Costs what a push costs, without the copy.
    ///
    /// # Errors
    ///
    /// [`RingError::WrongProcess`] in a fork child, whose parent has the grant; [`RingError::Lost`].
    pub fn commit(self) -> Result<(), RingError> {
        self.0.publish()
    }
}

impl<T: Payload, P: LendsRoom<T>> Deref for ValueGrant<'_, T, P> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: there is room at the cursor, nothing is committed there, so the protocol gives the place to this producer alone, which this grant borrows
        // exclusively; it is aligned (`LendsRoom::place`) and every bit pattern is a value.
        unsafe { &*self.0.place(false) }
    }
}

impl<T: Payload, P: LendsRoom<T>> DerefMut for ValueGrant<'_, T, P> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as for `deref`, and `&mut self` makes this the only reference.
        unsafe { &mut *self.0.place(true) }
    }
}

/// A value in place: from a consumer's `peek`. [`release`](Self::release) goes on to the next; dropping it does not.
///
/// It does not change while the view lives as long as every attached peer follows the protocol, as with any memory map of a file: see docs/TRUST.md;
/// the consumer's `pop` holds against any peer.
#[derive(Debug)]
pub struct ValueView<'a, T, C>(&'a mut C, PhantomData<fn() -> T>);

#[expect(private_bounds, reason = "only the consumers of this crate lend")]
impl<'a, T: Payload, C: LendsValue<T>> ValueView<'a, T, C> {
    /// The consumer has found a value, which is its own to take.
    pub(crate) fn new(consumer: &'a mut C) -> Self {
        Self(consumer, PhantomData)
    }

    /// Done with the value: the next call gives the next one.
    ///
    /// # Errors
    ///
    /// [`RingError::Lost`] if pages of it were lost while it was looked at: it may have read as zeros, and is not taken; [`RingError::WrongProcess`] in a fork child.
    pub fn release(self) -> Result<(), RingError> {
        self.0.step_over()
    }
}

impl<T: Payload, C: LendsValue<T>> Deref for ValueView<'_, T, C> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the value is published, this consumer's to take, and not acknowledged while this view borrows the consumer, so a producer that follows the protocol does not
        // write there; it is aligned (`LendsValue::place`) and every bit pattern is a value.
        unsafe { &*self.0.place() }
    }
}
