//! Records in place: claimed lines, lent to their producer, and a record that was committed, lent to the consumer.
#![expect(unsafe_code, reason = "lines of the ring are lent as slices")]

use std::ops::{Deref, DerefMut};

use super::claimer::Room;
use super::record_consumer::{Found, RecordConsumer};
use super::record_producer::RecordProducer;
use crate::error::RingError;

/// Room for one record, claimed in the order and to be written in place: from [`RecordProducer::claim`]. Dropping it without a commit aborts it: nothing of it was ever visible, and the consumer steps over it.
///
/// It dereferences to the record's bytes, which hold whatever was there before. Writing through it is sound as long as every
/// attached peer follows the protocol, as with any memory map of a file: see docs/TRUST.md; [`write_at`](Self::write_at) holds against any peer. Do not keep it for long: what others
/// push meanwhile waits behind it.
#[derive(Debug)]
pub struct Grant<'a> {
    producer: &'a mut RecordProducer,
    room: Option<Room>,
    line: u64,
    len: usize,
}

impl<'a> Grant<'a> {
    pub(super) fn new(producer: &'a mut RecordProducer, room: Room, len: usize) -> Self {
        producer.claimer.lend(room);
        Self { producer, line: room.at.index, room: Some(room), len }
    }

    /// Copies bytes into the record, from byte `at` on.
    ///
    /// # Errors
    ///
    /// [`RingError::TooLarge`] if they reach beyond the claimed length, [`RingError::WrongProcess`] in a fork child; nothing is written, then.
    pub fn write_at(&mut self, at: usize, bytes: &[u8]) -> Result<(), RingError> {
        self.producer.claimer.handle.check_process()?;
        match at.checked_add(bytes.len()) {
            Some(end) if end <= self.len => {
                self.producer.lines.write(self.line, at, bytes);
                self.producer.claimer.handle.check_pages()
            }
            end => Err(RingError::TooLarge { len: end.unwrap_or(usize::MAX), max: self.len }),
        }
    }

    /// Publishes the record, all of its claimed length. Costs a compare-and-swap.
    ///
    /// # Errors
    ///
    /// [`RingError::ClaimLost`] if the claim was given up for dead: nothing is published, then; [`RingError::WrongProcess`] in a fork child, whose parent has the grant; [`RingError::Lost`].
    pub fn commit(self) -> Result<(), RingError> {
        let len = self.len;
        self.commit_len(len)
    }

    /// Publishes the first `len` bytes as the record.
    ///
    /// # Errors
    ///
    /// [`RingError::TooLarge`] if that is more than was claimed: the grant is aborted; otherwise as [`commit`](Self::commit).
    pub fn commit_len(mut self, len: usize) -> Result<(), RingError> {
        if len > self.len {
            return Err(RingError::TooLarge { len, max: self.len });
        }
        self.producer.claimer.handle.check_process()?;
        match self.room.take() {
            Some(room) => self.producer.commit_one(room, len),
            None => Ok(()),
        }
    }
}

impl Drop for Grant<'_> {
    fn drop(&mut self) {
        if let Some(room) = self.room.take() {
            self.producer.claimer.abort(room);
        }
    }
}

impl Deref for Grant<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the lines are claimed for `len` bytes and not committed, so the protocol gives them to this producer alone, which this grant borrows
        // exclusively.
        unsafe { self.producer.lines.view(self.line, self.len) }
    }
}

impl DerefMut for Grant<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and `&mut self` makes this the only reference.
        unsafe { self.producer.lines.room(self.line, self.len) }
    }
}

/// A record in place, lent by [`RecordConsumer::peek`]. Dereferences to its bytes.
///
/// The bytes do not change while the view lives as long as every attached peer follows the protocol, as with any memory
/// map of a file: see docs/TRUST.md; [`RecordConsumer::pop`] holds against any peer.
#[derive(Debug)]
pub struct View<'a> {
    consumer: &'a mut RecordConsumer,
    found: Found,
}

impl<'a> View<'a> {
    pub(super) fn new(consumer: &'a mut RecordConsumer, found: Found) -> Self {
        Self { consumer, found }
    }

    /// Done with the record: the next call gives the next one.
    ///
    /// # Errors
    ///
    /// [`RingError::Lost`] if pages of it were lost while it was looked at: it may have read as zeros, and is not taken.
    pub fn release(self) -> Result<(), RingError> {
        self.consumer.taker.handle.check_process()?;
        self.consumer.taker.handle.check_pages()?;
        self.consumer.step_over(self.found);
        Ok(())
    }

    /// Copies the record out, as [`RecordConsumer::pop`] would have.
    ///
    /// # Errors
    ///
    /// [`RingError::TooLarge`] if the slice is shorter than the record: nothing is copied, and the record is not taken.
    pub fn copy_to(&self, target: &mut [u8]) -> Result<usize, RingError> {
        let Some(target) = target.get_mut(..self.found.len) else {
            return Err(RingError::TooLarge { len: self.found.len, max: target.len() });
        };
        self.consumer.lines.read(self.found.line, target);
        self.consumer.taker.handle.check_pages()?;
        Ok(self.found.len)
    }
}

impl Deref for View<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the record is committed and not acknowledged while this view borrows the consumer, so a producer that follows the protocol does not write
        // there.
        unsafe { self.consumer.lines.view(self.found.line, self.found.len) }
    }
}
