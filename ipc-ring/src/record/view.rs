//! A record in place, lent to its consumer.
#![expect(unsafe_code, reason = "the one place where a record is lent")]

use std::ops::Deref;

use super::{Cursor, Found};
use crate::error::RingError;

/// A consumer that lends records of a ring of bytes in place.
pub(crate) trait Takes {
    /// Where it stands: at the record that is lent.
    fn cursor(&self) -> &Cursor;

    /// Whether all pages are there that were read up to here.
    fn check_pages(&self) -> Result<(), RingError>;

    /// Whether a record may be done with now.
    #[inline(always)]
    fn check_release(&self) -> Result<(), RingError> {
        self.check_pages()
    }

    /// Done with a record.
    fn step_over(&mut self, found: Found);

    /// The next record, if it is there and this call may take it as well. Damage is told by the next call.
    #[inline(always)]
    fn another(&self) -> Option<Found> {
        self.cursor().look().ok().flatten()
    }
}

/// A record in place, lent by a consumer's `peek`. Dereferences to its bytes.
///
/// The bytes do not change while the view lives as long as every attached peer follows the protocol, as with any memory
/// map of a file: see docs/TRUST.md; the consumer's `pop` holds against any peer.
#[derive(Debug)]
pub struct View<'a, C> {
    consumer: &'a mut C,
    found: Found,
}

#[expect(private_bounds, reason = "only the consumers of this crate lend")]
impl<'a, C: Takes> View<'a, C> {
    /// Lends the record that was found at the consumer's cursor just now.
    #[inline(always)]
    pub(crate) fn new(consumer: &'a mut C, found: Found) -> Self {
        Self { consumer, found }
    }

    /// Done with the record: the next call gives the next one.
    ///
    /// # Errors
    ///
    /// [`RingError::Lost`] if pages of it were lost while it was looked at: it may have read as zeros, and is not taken. [`RingError::WrongProcess`] in a fork child of a process that has claimed the
    /// record among others.
    #[inline]
    pub fn release(self) -> Result<(), RingError> {
        self.consumer.check_release()?;
        self.consumer.step_over(self.found);
        Ok(())
    }

    /// Copies the record out, as the consumer's `pop` would have.
    ///
    /// # Errors
    ///
    /// [`RingError::TooLarge`] if the slice is shorter than the record: nothing is copied, and the record is not taken.
    pub fn copy_to(&self, target: &mut [u8]) -> Result<usize, RingError> {
        let Some(target) = target.get_mut(..self.found.len) else {
            return Err(RingError::TooLarge { len: self.found.len, max: target.len() });
        };
        let cursor = self.consumer.cursor();
        cursor.bytes.read(cursor.offset_of(self.found.start), target);
        self.consumer.check_pages()?;
        Ok(self.found.len)
    }
}

impl<C: Takes> Deref for View<'_, C> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let cursor = self.consumer.cursor();
        // SAFETY: `Bytes::find` checked that the record lies in the ring; it is committed, and this consumer's to take, and not acknowledged while this view borrows the consumer, so
        // a producer that follows the protocol does not write there.
        unsafe { cursor.bytes.view(cursor.offset_of(self.found.start), self.found.len) }
    }
}

/// Gives the record that was found just now, and those behind it that are there, at most `most` in all, to `each`, and is done with each then. Returns how many that was.
#[inline]
pub(crate) fn pop_each<C: Takes>(
    consumer: &mut C,
    first: Found,
    most: usize,
    mut each: impl FnMut(&[u8]),
) -> Result<usize, RingError> {
    let (mut found, mut popped) = (first, 0);
    loop {
        let view = View::new(consumer, found);
        each(&view);
        view.release()?;
        popped += 1;
        match if popped < most { consumer.another() } else { None } {
            Some(next) => found = next,
            None => return Ok(popped),
        }
    }
}
