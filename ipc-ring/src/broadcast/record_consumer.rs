//! The consumer of records that holds the producer back.

use std::time::Instant;

use ipc_core::wait::{Cancel, WaitStrategy};
use ipc_core::{Error, Segment};

use super::Start;
use super::consumer::end_is_none;
use super::record_ring::RecordRing;
use super::seat::Seat;
use super::sides::{any_consumer, consumer_side};
use crate::error::RingError;
use crate::publisher::Presence;
use crate::spsc::bytes::{Bytes, Found};

/// A consumer of a broadcast [`RecordRing`] that gets every record from where it began: it has a place in the ring's table, and the producer waits for it.
///
/// `Send`, but not `Sync`. Dropping it acknowledges all that was released and lets go of its place; in a panic nothing more is acknowledged.
///
/// [`pop`](Self::pop) copies a record out; [`peek`](Self::peek) lends a view of it in place. Wait-free while there is something. If the process dies, the producer finds that out and is held
/// back no more; a successor may [go on](RecordRing::resume) where this one had acknowledged, if it comes before that is written over.
#[derive(Debug)]
pub struct RecordConsumer {
    seat: Seat,
    bytes: Bytes,
    /// Where the next control word is.
    position: u64,
    /// `position` in the ring.
    offset: u64,
    /// How far what was taken may be ahead of what was acknowledged.
    batch: u64,
    missed: u64,
}

impl RecordConsumer {
    pub(super) fn new(seat: Seat, bytes: Bytes, position: u64, batch: u64, missed: u64) -> Self {
        let offset = bytes.offset(position);
        Self { seat, bytes, position, offset, batch, missed }
    }

    /// Where the next record begins: bytes of the ring, framing included, since it was made.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Finds the next record; acknowledges in batches what was taken by earlier calls.
    #[inline(always)]
    fn find(&mut self) -> Result<Found, RingError> {
        self.seat.handle.check_process()?;
        if self.position.wrapping_sub(self.seat.acknowledged()) >= self.batch {
            self.acknowledge();
        }
        let found = match self.bytes.look(self.position, self.offset) {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => self.empty(),
            Err(error) => Err(error),
        };
        found.map_err(|error| self.seat.handle.explain(error))
    }

    /// Empty for now, or for good.
    #[inline]
    fn empty(&mut self) -> Result<Found, RingError> {
        // Nothing to do: a good moment to let the producer know.
        if self.seat.acknowledged() != self.position {
            self.acknowledge();
        }
        let Some(gone) = self.seat.lines().publisher().gone() else { return Err(RingError::Empty) };
        // What was committed before it left is visible now that its leaving is: look once more.
        self.bytes.look(self.position, self.offset)?.ok_or(gone)
    }

    fn find_waiting(&mut self, deadline: Option<Instant>) -> Result<Found, RingError> {
        match self.find() {
            Err(RingError::Empty) => {
                let Self { seat, bytes, position, offset, .. } = self;
                seat.wait(deadline, || bytes.look(*position, *offset))
            }
            done => done,
        }
    }

    #[inline(always)]
    fn offset_of(&self, position: u64) -> u64 {
        // A record and the padding before it are at most a lap together: `Bytes::find` has checked it.
        let offset = self.offset + position.wrapping_sub(self.position);
        if offset >= self.bytes.ring { offset - self.bytes.ring } else { offset }
    }

    /// Done with a record.
    #[inline(always)]
    fn step_over(&mut self, found: Found) {
        self.offset = self.offset_of(found.end);
        self.position = found.end;
    }

    /// Lends a view of the next record in place, if there is one. [`View::release`] goes on to the next; dropping the view does not.
    ///
    /// # Errors
    ///
    /// [`RingError::Empty`]; [`RingError::Closed`] if the producer has closed and all is taken; [`RingError::PeerGaveUp`],
    /// [`RingError::WrongProcess`], [`RingError::Corrupted`].
    #[inline]
    pub fn try_peek(&mut self) -> Result<View<'_>, RingError> {
        let found = self.find()?;
        Ok(View { consumer: self, found })
    }

    /// As [`try_peek`](Self::try_peek), waiting for a record as long as a living producer may push one, or none has come yet. `None`: the
    /// producer has closed and all is taken.
    ///
    /// # Errors
    ///
    /// [`RingError::PeerDied`] if the producer is dead, [`RingError::PeerGaveUp`] if it left in a panic, in both cases after all that it had
    /// committed; [`RingError::Cancelled`], [`RingError::WrongProcess`], [`RingError::Corrupted`].
    pub fn peek(&mut self) -> Result<Option<View<'_>>, RingError> {
        self.peek_waiting(None)
    }

    /// As [`peek`](Self::peek), until a deadline.
    ///
    /// # Errors
    ///
    /// As [`peek`](Self::peek), and [`RingError::TimedOut`].
    pub fn peek_deadline(&mut self, deadline: Instant) -> Result<Option<View<'_>>, RingError> {
        self.peek_waiting(Some(deadline))
    }

    fn peek_waiting(&mut self, deadline: Option<Instant>) -> Result<Option<View<'_>>, RingError> {
        let found = self.find_waiting(deadline);
        Ok(end_is_none(found)?.map(|found| View { consumer: self, found }))
    }

    /// Pops a record if there is one: `record` then holds exactly its bytes. Returns its length. Its room in the ring is free when it is
    /// acknowledged: in a batch by a later call, or by [`acknowledge`](Self::acknowledge).
    ///
    /// # Errors
    ///
    /// As [`try_peek`](Self::try_peek), and [`RingError::OutOfMemory`]; `record` is empty, then.
    pub fn try_pop(&mut self, record: &mut Vec<u8>) -> Result<usize, RingError> {
        record.clear();
        let found = self.find()?;
        self.pop_found(found, record)
    }

    /// Pops a record, waiting for one as [`peek`](Self::peek) does: `record` then holds exactly its bytes. Returns its length, or
    /// `None` if the producer has closed and all is taken.
    ///
    /// # Errors
    ///
    /// As [`peek`](Self::peek), and [`RingError::OutOfMemory`]; `record` is empty, then.
    pub fn pop(&mut self, record: &mut Vec<u8>) -> Result<Option<usize>, RingError> {
        self.pop_waiting(record, None)
    }

    /// As [`pop`](Self::pop), until a deadline.
    ///
    /// # Errors
    ///
    /// As [`pop`](Self::pop), and [`RingError::TimedOut`].
    pub fn pop_deadline(&mut self, record: &mut Vec<u8>, deadline: Instant) -> Result<Option<usize>, RingError> {
        self.pop_waiting(record, Some(deadline))
    }

    fn pop_waiting(&mut self, record: &mut Vec<u8>, deadline: Option<Instant>) -> Result<Option<usize>, RingError> {
        record.clear();
        let found = self.find_waiting(deadline);
        end_is_none(found)?.map(|found| self.pop_found(found, record)).transpose()
    }

    fn pop_found(&mut self, found: Found, record: &mut Vec<u8>) -> Result<usize, RingError> {
        self.bytes.append_to(self.offset_of(found.start), found.len, record)?;
        if let Err(lost) = self.seat.handle.check_pages() {
            record.clear();
            return Err(lost);
        }
        self.step_over(found);
        Ok(found.len)
    }

    /// Pops the records that are there, at most `most` of them, and gives each to `each` as a view in place: in bulk, without a copy.
    /// Returns how many that was.
    ///
    /// If `each` panics, the record that it was given was not taken.
    ///
    /// # Errors
    ///
    /// As [`try_peek`](Self::try_peek), if there was not even one.
    pub fn try_pop_slice(&mut self, most: usize, mut each: impl FnMut(&[u8])) -> Result<usize, RingError> {
        let mut popped = 0;
        while popped < most {
            let found =
                match if popped == 0 { self.find().map(Some) } else { self.bytes.look(self.position, self.offset) } {
                    Ok(Some(found)) => found,
                    Err(error) if popped == 0 => return Err(error),
                    // Damage behind good records is told by the next call.
                    Ok(None) | Err(_) => break,
                };
            let view = View { consumer: self, found };
            each(&view);
            view.release()?;
            popped += 1;
        }
        Ok(popped)
    }

    /// As [`try_pop_slice`](Self::try_pop_slice), waiting for the first record as [`peek`](Self::peek) does; 0 if the producer has closed and
    /// all is taken, or `most` is 0.
    ///
    /// # Errors
    ///
    /// As [`peek`](Self::peek).
    pub fn pop_slice(&mut self, most: usize, each: impl FnMut(&[u8])) -> Result<usize, RingError> {
        self.pop_slice_waiting(most, each, None)
    }

    /// As [`pop_slice`](Self::pop_slice), until a deadline.
    ///
    /// # Errors
    ///
    /// As [`pop_slice`](Self::pop_slice), and [`RingError::TimedOut`].
    pub fn pop_slice_deadline(
        &mut self,
        most: usize,
        each: impl FnMut(&[u8]),
        deadline: Instant,
    ) -> Result<usize, RingError> {
        self.pop_slice_waiting(most, each, Some(deadline))
    }

    fn pop_slice_waiting(
        &mut self,
        most: usize,
        each: impl FnMut(&[u8]),
        deadline: Option<Instant>,
    ) -> Result<usize, RingError> {
        if most == 0 {
            return Ok(0);
        }
        let waited = self.find_waiting(deadline);
        match end_is_none(waited)? {
            Some(_) => self.try_pop_slice(most, each),
            None => Ok(0),
        }
    }
}

any_consumer!(impl [] RecordConsumer, ring: RecordRing, made: consumer, waits: seat);
consumer_side!(impl [] RecordConsumer);

/// A record in place, lent by [`RecordConsumer::peek`]. Dereferences to its bytes.
///
/// The bytes do not change while the view lives as long as every attached peer follows the protocol, as with any memory
/// map of a file: see docs/TRUST.md; [`RecordConsumer::pop`] holds against any peer.
#[derive(Debug)]
pub struct View<'a> {
    consumer: &'a mut RecordConsumer,
    found: Found,
}

impl View<'_> {
    /// Done with the record: the next call gives the next one.
    ///
    /// # Errors
    ///
    /// [`RingError::Lost`] if pages of it were lost while it was looked at: it may have read as zeros, and is not taken.
    pub fn release(self) -> Result<(), RingError> {
        self.consumer.seat.handle.check_pages()?;
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
        self.consumer.bytes.read(self.consumer.offset_of(self.found.start), target);
        self.consumer.seat.handle.check_pages()?;
        Ok(self.found.len)
    }
}

#[expect(unsafe_code, reason = "the one place where a record is lent")]
mod in_place {
    use super::View;
    use std::ops::Deref;

    impl Deref for View<'_> {
        type Target = [u8];

        fn deref(&self) -> &[u8] {
            let offset = self.consumer.offset_of(self.found.start);
            // SAFETY: `Bytes::find` checked that the record lies in the ring; it is committed and not acknowledged while this view borrows the consumer, so
            // a producer that follows the protocol does not write there.
            unsafe { self.consumer.bytes.view(offset, self.found.len) }
        }
    }
}
