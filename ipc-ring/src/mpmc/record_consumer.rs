//! The consumers of records of any length.

use std::time::Instant;

use ipc_core::wait::{Cancel, WaitStrategy};
use ipc_core::{Error, Segment};

use super::Options;
use super::record_ring::RecordRing;
use super::records::Records;
use super::rounds::Rounds;
use super::sides::consumer_side;
use crate::error::{RingError, Side};
use crate::spsc::SideState;
use crate::spsc::bytes::{Bytes, Found};
use crate::spsc::consumer::end_is_none;
use crate::spsc::endpoint::{Leaving, Lines, Other};

/// One of the consumers of a [`RecordRing`]: as many in all processes at a time as the ring has [places](Options::consumers).
///
/// `Send`, but not `Sync`. Dropping it acknowledges all that was popped, gives back what was only claimed, and leaves; in a panic nothing more is acknowledged, and all of it goes to others.
///
/// [`pop`](Self::pop) copies a record out; [`peek`](Self::peek) lends a view of it in place. Records are claimed and acknowledged as the values of a [ring of values](super::Consumer)
/// are, up to 16 KiB of them at a time, or one that is longer.
#[derive(Debug)]
pub struct RecordConsumer {
    rounds: Rounds<Records>,
    /// Of the lane of what is in hand.
    bytes: Bytes,
    lane: usize,
    /// Where the next control word is.
    position: u64,
    /// `position` in the lane.
    offset: u64,
    /// Where the span in hand ends. ≥ `position`.
    end: u64,
}

impl RecordConsumer {
    pub(super) fn new(rounds: Rounds<Records>, bytes: Bytes) -> Self {
        Self { rounds, bytes, lane: 0, position: 0, offset: 0, end: 0 }
    }

    #[inline(always)]
    fn popped(&self) -> u64 {
        self.position
    }

    /// Whether something in hand is not popped.
    #[inline(always)]
    fn has_hand(&self) -> bool {
        self.position != self.end
    }

    /// The span in hand is another one.
    #[inline]
    fn turn_to_hand(&mut self) -> Result<(), RingError> {
        let Some(span) = self.rounds.hand() else { return Err(RingError::Empty) };
        if span.lane != self.lane {
            self.lane = span.lane;
            self.bytes = self.rounds.reader()?.bytes().clone();
        }
        (self.position, self.offset, self.end) = (span.first.position, span.first.offset, span.end());
        Ok(())
    }

    /// The next record in hand.
    #[inline(always)]
    fn next_in_hand(&mut self) -> Result<Found, RingError> {
        self.rounds.handle().check_process()?;
        let left = self.end.wrapping_sub(self.position);
        match self.bytes.look(self.position, self.offset) {
            Ok(Some(found)) if found.end.wrapping_sub(self.position) <= left => Ok(found),
            found => Err(self.damaged(found, left)),
        }
    }

    /// What was claimed is not there.
    #[cold]
    fn damaged(&mut self, found: Result<Option<Found>, RingError>, limit: u64) -> RingError {
        let found = found.map(|found| found.map_or(0, |found| found.end.wrapping_sub(self.position)));
        let what = "the length of a claimed record";
        let damage = found.map_or_else(|damage| damage, |found| RingError::Corrupted { what, found, limit });
        self.end = self.position;
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

    fn find_waiting(&mut self, deadline: Option<Instant>) -> Result<Found, RingError> {
        if !self.has_hand() {
            self.rounds.wait(1, deadline)?;
            self.turn_to_hand()?;
        }
        self.next_in_hand()
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
        self.rounds.tally(found.len);
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
        Ok(View { consumer: self, found })
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

    /// Pops a record, waiting for one as [`peek`](Self::peek) does: `record` then holds exactly its bytes. Returns its length, or
    /// `None` as there.
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
        if let Err(lost) = self.rounds.handle().check_pages() {
            record.clear();
            return Err(lost);
        }
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
        self.pop_from(found, most, each)
    }

    /// As [`try_pop_slice`](Self::try_pop_slice), waiting for the first record as [`peek`](Self::peek) does; 0 if that would give `None`, or `most` is 0.
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
            Some(found) => self.pop_from(found, most, each),
            None => Ok(0),
        }
    }

    fn pop_from(&mut self, first: Found, most: usize, mut each: impl FnMut(&[u8])) -> Result<usize, RingError> {
        let (mut found, mut popped) = (first, 0);
        loop {
            let view = View { consumer: self, found };
            each(&view);
            view.release()?;
            popped += 1;
            if popped == most || !self.has_hand() {
                return Ok(popped);
            }
            // Damage behind good records is told by the next call.
            let next = self.bytes.look(self.position, self.offset);
            let left = self.end.wrapping_sub(self.position);
            match next {
                Ok(Some(next)) if next.end.wrapping_sub(self.position) <= left => found = next,
                Ok(_) | Err(_) => return Ok(popped),
            }
        }
    }
}

consumer_side!(impl [] RecordConsumer, ring: RecordRing);

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
        self.consumer.rounds.handle().check_process()?;
        self.consumer.rounds.handle().check_pages()?;
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
        self.consumer.rounds.handle().check_pages()?;
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
            // SAFETY: `Bytes::find` checked that the record lies in the ring; it is committed, and claimed by this consumer and not acknowledged while this view borrows it, so
            // a producer that follows the protocol does not write there.
            unsafe { self.consumer.bytes.view(offset, self.found.len) }
        }
    }
}
