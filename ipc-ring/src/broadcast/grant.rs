//! Room for a record, lent to its producer.
#![expect(unsafe_code, reason = "room in the ring is lent as a slice")]

use std::ops::{Deref, DerefMut};

use super::record_producer::RecordProducer;
use crate::error::RingError;
use crate::record::Place;

/// Room for one record, to be written in place. Dropping it without a commit aborts it: nothing of it was ever visible.
///
/// It dereferences to the record's bytes, which hold whatever was there before. Writing through it is sound as long as every
/// attached peer follows the protocol, as with any memory map of a file: see docs/TRUST.md; [`write_at`](Self::write_at) holds against any peer.
#[derive(Debug)]
pub struct Grant<'a> {
    producer: &'a mut RecordProducer,
    place: Place,
    len: usize,
}

impl<'a> Grant<'a> {
    pub(super) fn new(producer: &'a mut RecordProducer, place: Place, len: usize) -> Self {
        producer.lent = Some(place);
        Self { producer, place, len }
    }

    fn offset(&self) -> u64 {
        self.producer.offset_of(self.place.start)
    }

    /// Copies bytes into the record, from byte `at` on.
    ///
    /// # Errors
    ///
    /// [`RingError::TooLarge`] if they reach beyond the claimed length, [`RingError::WrongProcess`] in a fork child; nothing is written, then.
    pub fn write_at(&mut self, at: usize, bytes: &[u8]) -> Result<(), RingError> {
        self.producer.gate.handle.check_process()?;
        match at.checked_add(bytes.len()) {
            Some(end) if end <= self.len => {
                self.producer.bytes.write_racing(self.offset(), at, bytes);
                self.producer.gate.handle.check_pages()
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
        producer.gate.handle.check_process()?;
        producer.lent = None;
        if len < claimed {
            producer.commit_shorter(place.start, len);
        } else {
            producer.commit(place, len);
        }
        producer.gate.lines().publisher().wake();
        producer.gate.handle.check_pages()
    }
}

impl Drop for Grant<'_> {
    fn drop(&mut self) {
        // Not in a fork child: the room is its parent's.
        if self.producer.gate.is_held()
            && let Some(place) = self.producer.lent.take()
        {
            self.producer.forget_clean(place);
        }
    }
}

impl Deref for Grant<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the place was computed for `len` bytes in the ring; it is not committed, so the protocol gives it to this producer
        // alone, which this grant borrows exclusively.
        unsafe { self.producer.bytes.view(self.offset(), self.len) }
    }
}

impl DerefMut for Grant<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and `&mut self` makes this the only reference.
        unsafe { self.producer.bytes.room(self.offset(), self.len) }
    }
}
