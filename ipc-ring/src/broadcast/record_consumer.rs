//! The consumer of records that holds the producer back.

use std::time::Instant;

use ipc_core::{Error, Segment};

use super::Start;
use super::record_ring::RecordRing;
use super::seat::Seat;
use super::sides::{any_consumer, consumer_side};
use crate::error::{RingError, end_is_none};
use crate::record::{self, Bytes, Cursor, Found, Takes, pop_each};
use crate::sides::pops_records;

/// A consumer of a broadcast [`RecordRing`] that gets every record from where it began: it has a place in the ring's table, and the producer waits for it.
///
/// `Send`, but not `Sync`. Dropping it acknowledges all that was released and lets go of its place; in a panic nothing more is acknowledged.
///
/// [`pop`](Self::pop) copies a record out; [`peek`](Self::peek) lends a view of it in place. Wait-free while there is something. If the process dies, the producer finds that out and is held
/// back no more; a successor may [go on](RecordRing::resume) where this one had acknowledged, if it comes before that is written over.
#[derive(Debug)]
pub struct RecordConsumer {
    seat: Seat,
    cursor: Cursor,
    /// How far what was taken may be ahead of what was acknowledged.
    batch: u64,
    missed: u64,
}

impl RecordConsumer {
    pub(super) fn new(seat: Seat, bytes: Bytes, position: u64, batch: u64, missed: u64) -> Self {
        Self { seat, cursor: Cursor::new(bytes, position), batch, missed }
    }

    /// Where the next record begins: bytes of the ring, framing included, since it was made.
    pub fn position(&self) -> u64 {
        self.cursor.position
    }

    /// Finds the next record; acknowledges in batches what was taken by earlier calls.
    #[inline(always)]
    fn find(&mut self) -> Result<Found, RingError> {
        self.seat.handle.check_process()?;
        if self.cursor.position.wrapping_sub(self.seat.acknowledged()) >= self.batch {
            self.acknowledge();
        }
        let found = match self.cursor.look() {
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
        if self.seat.acknowledged() != self.cursor.position {
            self.acknowledge();
        }
        let Some(gone) = self.seat.lines().publisher().gone() else { return Err(RingError::Empty) };
        // What was committed before it left is visible now that its leaving is: look once more.
        self.cursor.look()?.ok_or(gone)
    }

    /// As [`find`](Self::find), waiting for a record; `None` at the end of the stream.
    fn find_waiting(&mut self, deadline: Option<Instant>) -> Result<Option<Found>, RingError> {
        let found = match self.find() {
            Err(RingError::Empty) => {
                let Self { seat, cursor, .. } = self;
                seat.wait(deadline, || cursor.look())
            }
            done => done,
        };
        end_is_none(found)
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
        Ok(View::new(self, found))
    }

    /// As [`try_peek`](Self::try_peek), waiting for a record as long as a living producer may push one, or none has come yet. `None`: the
    /// producer has closed and all is taken.
    ///
    /// # Errors
    ///
    /// [`RingError::PeerDied`] if the producer is dead, [`RingError::PeerGaveUp`] if it left in a panic, in both cases after all that it had
    /// committed; [`RingError::Cancelled`], [`RingError::WrongProcess`], [`RingError::Corrupted`].
    pub fn peek(&mut self) -> Result<Option<View<'_>>, RingError> {
        Ok(self.find_waiting(None)?.map(|found| View::new(self, found)))
    }

    /// As [`peek`](Self::peek), until a deadline.
    ///
    /// # Errors
    ///
    /// As [`peek`](Self::peek), and [`RingError::TimedOut`].
    pub fn peek_deadline(&mut self, deadline: Instant) -> Result<Option<View<'_>>, RingError> {
        Ok(self.find_waiting(Some(deadline))?.map(|found| View::new(self, found)))
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

    fn pop_found(&mut self, found: Found, record: &mut Vec<u8>) -> Result<usize, RingError> {
        self.cursor.append_to(found, record, || self.seat.handle.check_pages())?;
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
    pub fn try_pop_slice(&mut self, most: usize, each: impl FnMut(&[u8])) -> Result<usize, RingError> {
        if most == 0 {
            return Ok(0);
        }
        let found = self.find()?;
        self.pop_found_slice(found, most, each)
    }

    fn pop_found_slice(&mut self, found: Found, most: usize, each: impl FnMut(&[u8])) -> Result<usize, RingError> {
        pop_each(self, found, most, each)
    }
}

pops_records!(impl RecordConsumer, as: peek, end: "the producer has closed and all is taken");
any_consumer!(impl [] RecordConsumer, ring: RecordRing, made: consumer, waits: seat);
consumer_side!(impl [] RecordConsumer);

impl Takes for RecordConsumer {
    #[inline(always)]
    fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    #[inline(always)]
    fn check_pages(&self) -> Result<(), RingError> {
        self.seat.handle.check_pages()
    }

    #[inline(always)]
    fn step_over(&mut self, found: Found) {
        self.cursor.step_over(found);
    }
}

/// A record in place, lent by [`RecordConsumer::peek`].
pub type View<'a> = record::View<'a, RecordConsumer>;
