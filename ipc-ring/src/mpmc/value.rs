//! A value in place, lent to the consumer that has claimed it.
#![expect(unsafe_code, reason = "values in the ring are lent as references")]

use std::ops::Deref;

use ipc_core::Payload;

use super::consumer::Consumer;
use crate::error::RingError;

/// A value in place: from [`Consumer::peek`]. [`release`](Self::release) goes on to the next; dropping it does not.
///
/// It does not change while the view lives as long as every attached peer follows the protocol, as with any memory map of a file: see docs/TRUST.md;
/// [`Consumer::pop`] holds against any peer.
#[derive(Debug)]
pub struct ValueView<'a, T: Payload>(&'a mut Consumer<T>);

impl<'a, T: Payload> ValueView<'a, T> {
    /// The consumer has claimed the value at its cursor.
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
        // SAFETY: the value at the cursor is published, and claimed by this consumer and not acknowledged while this view borrows it, so a producer that follows the protocol does not
        // write there; it is aligned (`Layout`) and every bit pattern is a `T`.
        unsafe { &*self.0.here() }
    }
}
