//! The consumers of records of any length.

use std::time::Instant;

use ipc_core::{Error, Segment};

use super::Options;
use super::record_ring::RecordRing;
use super::records::Records;
use super::rounds::Rounds;
use super::sides::consumer_side;
use crate::error::{RingError, end_is_none};
use crate::record::{self, Bytes, Cursor, Found, Takes, pop_each};
use crate::sides::pops_records;

/// One of the consumers of a [`RecordRing`]: as many in all processes at a time as the ring has [places](Options::consumers).
///
/// `Send`, but not `Sync`. Dropping it acknowledges all that was popped, gives back what was only claimed, and leaves; in a panic nothing more is acknowledged, and all of it goes to others.
///
/// [`pop`](Self::pop) copies a record out; [`peek`](Self::peek) lends a view of it in place. Records are claimed and acknowledged as the values of a [ring of values](super::Consumer)
/// are, up to 16 KiB of them at a time, or one that is longer.
#[derive(Debug)]
pub struct RecordConsumer {
    rounds: Rounds<Records>,
    /// In the lane of what is in hand.
    cursor: Cursor,
    lane: usize,
    /// Where the span in hand ends. ≥ `position`.
    end: u64,
}

impl RecordConsumer {
    pub(super) fn new(rounds: Rounds<Records>, bytes: Bytes) -> Self {
        Self { rounds, cursor: Cursor::new(bytes, 0), lane: 0, end: 0 }
    }

    #[inline(always)]
    fn popped(&self) -> u64 {
        self.cursor.position
    }

    /// Whether something in hand is not popped.
    #[inline(always)]
    fn has_hand(&self) -> bool {
        self.cursor.position != self.end
    }

    /// The span in hand is another one.
    #[inline]
    fn turn_to_hand(&mut self) -> Result<(), RingError> {
        let Some(span) = self.rounds.hand() else { return Err(RingError::Empty) };
        if span.lane != self.lane {
            self.lane = span.lane;
            self.cursor.bytes = self.rounds.reader()?.bytes().clone();
        }
        (self.cursor.position, self.cursor.offset) = (span.first.position, span.first.offset);
        self.end = span.end();
        Ok(())
    }

    /// The next record in hand.
    #[inline(always)]
    fn next_in_hand(&mut self) -> Result<Found, RingError> {
        self.rounds.handle().check_process()?;
        let left = self.end.wrapping_sub(self.cursor.position);
        match self.cursor.look() {
            Ok(Some(found)) if found.end.wrapping_sub(self.cursor.position) <= left => Ok(found),
            found => Err(self.damaged(found, left)),
        }
    }

    /// What was claimed is not there.
    #[cold]
    fn damaged(&mut self, found: Result<Option<Found>, RingError>, limit: u64) -> RingError {
        let found = found.map(|found| found.map_or(0, |found| found.end.wrapping_sub(self.cursor.position)));
        let what = "the length of a claimed record";
        let damage = found.map_or_else(|damage| damage, |found| RingError::Corrupted { what, found, limit });
        self.end = self.cursor.position;
        self.rounds.spoil(damage)
    }

    /// Finds the next record: in hand, or in any lane.
    #[inline(always)]
    fn find(&mut self) -> Result<Found, RingError> {
        if !self.has_hand() {
            if !self.rounds.next(1)? {
                return Err(self.rounds.empty());
            }
            self.turn_to_hand()?;
        }
        self.next_in_hand()
    }

    /// As [`find`](Self::find), waiting for a record; `None` at the end of the stream.
    fn find_waiting(&mut self, deadline: Option<Instant>) -> Result<Option<Found>, RingError> {
        if !self.has_hand() {
            if end_is_none(self.rounds.wait(1, deadline))?.is_none() {
                return Ok(None);
            }
            self.turn_to_hand()?;
        }
        self.next_in_hand().map(Some)
    }

    /// Lends a view of the next record in place, if there is one in any lane that no other consumer has. [`View::release`] goes on to the next; dropping the view does not: the record stays
    /// this consumer's.
    ///
    /// # Errors
    ///
    /// [`RingError::Empty`]; [`RingError::Closed`] if all producers have left and all is acknowledged; [`RingError::PeerGaveUp`], to one consumer for each that did;
    /// [`RingError::WrongProcess`], [`RingError::Corrupted`] once for each damaged lane, which is left out from then on.
    #[inline]
    pub fn try_peek(&mut self) -> Result<View<'_>, RingError> {
        let found = self.find()?;
        Ok(View::new(self, found))
    }

    /// Lends a view of the next record in place, waiting for one as long as a living producer may push some, or none has come yet. `None`: all producers
    /// have left and all is acknowledged, also what the other consumers took; if others come after that, their records can be taken.
    ///
    /// A consumer that has not acknowledged all itself does not wait for the others to do so: it gets `None` when nothing is left to take.
    ///
    /// # Errors
    ///
    /// [`RingError::PeerDied`] if a producer is dead, [`RingError::PeerGaveUp`] if one left in a panic: in both cases to one consumer, after all that it had
    /// committed was claimed, and the next call goes on with the others. [`RingError::Cancelled`], [`RingError::WrongProcess`]; [`RingError::Corrupted`] once for each damaged lane,
    /// which is left out from then on.
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

    /// Pops a record if there is one in any lane that no other consumer has: `record` then holds exactly its bytes. Returns its length.
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
        self.cursor.append_to(found, record, || self.rounds.handle().check_pages())?;
        self.step_over(found);
        Ok(found.len)
    }

    /// Pops records of one producer, at most `most` of them and those that are claimed together, and gives each to `each` as a view in place: in bulk, without a copy.
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

pops_records!(impl RecordConsumer, as: peek, end: "all producers have left and all is acknowledged, as there");
consumer_side!(impl [] RecordConsumer, ring: RecordRing);

impl Takes for RecordConsumer {
    #[inline(always)]
    fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    #[inline(always)]
    fn check_pages(&self) -> Result<(), RingError> {
        self.rounds.handle().check_pages()
    }

    #[inline(always)]
    fn check_release(&self) -> Result<(), RingError> {
        self.rounds.handle().check_process()?;
        self.check_pages()
    }

    /// Of those that are claimed together.
    #[inline(always)]
    fn another(&self) -> Option<Found> {
        let left = self.end.wrapping_sub(self.cursor.position);
        let found = if left == 0 { None } else { self.cursor.look().ok().flatten() };
        found.filter(|found| found.end.wrapping_sub(self.cursor.position) <= left)
    }

    #[inline(always)]
    fn step_over(&mut self, found: Found) {
        self.cursor.step_over(found);
        self.rounds.tally(found.len);
    }
}

/// A record in place, lent by [`RecordConsumer::peek`].
pub type View<'a> = record::View<'a, RecordConsumer>;
