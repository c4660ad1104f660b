//! Room for a record, lent to its producer.
#![expect(unsafe_code, reason = "room in the ring is lent as a slice")]

use std::ops::{Deref, DerefMut};

use super::{Place, Writer};
use crate::error::RingError;

/// A producer that lends room of a ring of bytes.
pub(crate) trait Lends {
    /// Whether somebody may read, and find out, what is being written.
    const RACING: bool;

    fn writer(&self) -> &Writer;

    fn writer_mut(&mut self) -> &mut Writer;

    /// Whether this is not a fork child with its parent's handle.
    fn check_process(&self) -> Result<(), RingError>;

    /// Whether all pages are there that were written up to here.
    fn check_pages(&self) -> Result<(), RingError>;

    /// Whether this process still has the producer's side.
    fn is_held(&self) -> bool;

    /// Makes a written record visible.
    fn commit(&mut self, place: Place, len: usize);

    /// Wakes who sleeps, after a commit.
    fn wake(&self);
}

/// Room for one record, to be written in place: from a producer's `claim`. Dropping it without a commit aborts it: nothing of it was ever visible.
///
/// It dereferences to the record's bytes, which hold whatever was there before. Writing through it is sound as long as every
/// attached peer follows the protocol, as with any memory map of a file: see docs/TRUST.md; [`write_at`](Self::write_at) holds against any peer.
#[derive(Debug)]
#[expect(private_bounds, reason = "only the producers of this crate lend")]
pub struct Grant<'a, P: Lends> {
    producer: &'a mut P,
    place: Place,
    len: usize,
}

#[expect(private_bounds, reason = "only the producers of this crate lend")]
impl<'a, P: Lends> Grant<'a, P> {
    pub(crate) fn new(producer: &'a mut P, place: Place, len: usize) -> Self {
        producer.writer_mut().lend(place);
        Self { producer, place, len }
    }

    fn offset(&self) -> u64 {
        self.producer.writer().offset_of(self.place.start)
    }

    /// Copies bytes into the record, from byte `at` on.
    ///
    /// # Errors
    ///
    /// [`RingError::TooLarge`] if they reach beyond the claimed length, [`RingError::WrongProcess`] in a fork child; nothing is written, then.
    pub fn write_at(&mut self, at: usize, bytes: &[u8]) -> Result<(), RingError> {
        self.producer.check_process()?;
        match at.checked_add(bytes.len()) {
            Some(end) if end <= self.len => {
                let (ring, offset) = (&self.producer.writer().bytes, self.offset());
                if P::RACING {
                    ring.write_racing(offset, at, bytes);
                } else {
                    ring.write(offset, at, bytes);
                }
                self.producer.check_pages()
            }
            end => Err(RingError::TooLarge { len: end.unwrap_or(usize::MAX), max: self.len }),
        }
    }

    /// Publishes the record, all of its claimed length.
    ///
    /// # Errors
    ///
    /// [`RingError::WrongProcess`] in a fork child, whose parent has the grant.
    pub fn commit(self) -> Result<(), RingError> {
        let len = self.len;
        self.commit_len(len)
    }

    /// Publishes the first `len` bytes as the record.
    ///
    /// # Errors
    ///
    /// [`RingError::TooLarge`] if that is more than was claimed: the grant is aborted; [`RingError::WrongProcess`] in a fork child.
    pub fn commit_len(self, len: usize) -> Result<(), RingError> {
        if len > self.len {
            return Err(RingError::TooLarge { len, max: self.len });
        }
        let (place, claimed) = (self.place, self.len);
        let producer = &mut *self.producer;
        producer.check_process()?;
        producer.writer_mut().take_back();
        let place = if len < claimed { producer.writer_mut().shorten(place.start, len) } else { place };
        producer.commit(place, len);
        producer.wake();
        producer.check_pages()
    }
}

impl<P: Lends> Drop for Grant<'_, P> {
    fn drop(&mut self) {
        // Not in a fork child: the room is its parent's.
        if self.producer.is_held() {
            self.producer.writer_mut().abort();
        }
    }
}

impl<P: Lends> Deref for Grant<'_, P> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the place was computed for `len` bytes in the ring; it is not committed, so the protocol gives it to this producer
        // alone, which this grant borrows exclusively.
        unsafe { self.producer.writer().bytes.view(self.offset(), self.len) }
    }
}

impl<P: Lends> DerefMut for Grant<'_, P> {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and `&mut self` makes this the only reference.
        unsafe { self.producer.writer().bytes.room(self.offset(), self.len) }
    }
}
