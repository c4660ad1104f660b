//! The consumer of records of any length.

use std::time::Instant;

use ipc_core::sync::Ordering;
use ipc_core::{Error, Segment};

use super::consumer::end_is_none;
use super::endpoint::Endpoint;
use super::ring::RecordRing;
use super::sides::consumer_side;
use super::stats::{CONSUMED, Counted};
use crate::error::{RingError, Side};
use crate::record::{self, Bytes, Cursor, Found, Takes, pop_each};

/// The consumer's side of a [`RecordRing`]: one in all processes at a time.
///
/// `Send`, but not `Sync`. Dropping it acknowledges all that was released and closes this side; in a panic nothing more is acknowledged.
///
/// [`pop`](Self::pop) copies a record out; [`peek`](Self::peek) lends a view of it in place. Wait-free while there is something. If the process dies,
/// its successor gets again what was not acknowledged.
#[derive(Debug)]
pub struct RecordConsumer {
    endpoint: Endpoint,
    cursor: Cursor,
    /// What the producer, and a successor, know to be done with. ≤ `position`.
    acknowledged: u64,
    /// How far the two may be apart.
    batch: u64,
    /// What was taken by all consumers, counting once what was taken again after a death.
    counted: Counted,
}

impl RecordConsumer {
    /// Goes on at `position`: what lies before it is acknowledged.
    pub(crate) fn new(endpoint: Endpoint, bytes: Bytes, position: u64, batch: u64) -> Self {
        let counted =
            Counted::load(endpoint.lines().counter::<CONSUMED>(), endpoint.lines().counter::<{ CONSUMED + 8 }>());
        Self { endpoint, cursor: Cursor::new(bytes, position), acknowledged: position, batch, counted }
    }

    /// Bytes of the ring, framing included, taken since it was made.
    pub fn position(&self) -> u64 {
        self.cursor.position
    }

    /// Tells whoever looks how much was taken, with what is acknowledged.
    #[inline(always)]
    fn count_consumed(&self) {
        self.counted
            .store(self.endpoint.lines().counter::<CONSUMED>(), self.endpoint.lines().counter::<{ CONSUMED + 8 }>());
    }

    /// Finds the next record; acknowledges in batches what was taken by earlier calls.
    #[inline(always)]
    fn find(&mut self) -> Result<Found, RingError> {
        match self.next()? {
            Some(found) => Ok(found),
            None => self.empty().map_err(|error| self.endpoint.explain(error)),
        }
    }

    /// As [`find`](Self::find), without asking how the producer is if there is none.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Result<Option<Found>, RingError> {
        self.endpoint.check_process()?;
        if self.cursor.position.wrapping_sub(self.acknowledged) >= self.batch {
            self.acknowledge();
        }
        let found = self.cursor.look().map_err(|error| self.endpoint.explain(error))?;
        // Nothing to do: a good moment to let the producer know.
        if found.is_none() && self.acknowledged != self.cursor.position {
            self.acknowledge();
        }
        Ok(found)
    }

    /// Lends the record that [`next`](Self::next) found just now.
    #[inline(always)]
    pub(crate) fn view(&mut self, found: Found) -> View<'_> {
        View::new(self, found)
    }

    /// Empty for now, or for good.
    #[inline]
    fn empty(&self) -> Result<Found, RingError> {
        let Some(gone) = self.gone() else { return Err(RingError::Empty) };
        // What was committed before it left is visible now that its leaving is: look once more.
        self.cursor.look()?.ok_or(gone)
    }

    fn find_waiting(&mut self, deadline: Option<Instant>) -> Result<Found, RingError> {
        match self.find() {
            Err(RingError::Empty) => {
                let Self { endpoint, cursor, .. } = self;
                endpoint.wait(deadline, || cursor.look())
            }
            done => done,
        }
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
        Ok(end_is_none(found)?.map(|found| View::new(self, found)))
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

    pub(crate) fn pop_found(&mut self, found: Found, record: &mut Vec<u8>) -> Result<usize, RingError> {
        self.cursor.append_to(found, record, || self.endpoint.check_pages())?;
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
        pop_each(self, found, most, each)
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
            Some(found) => pop_each(self, found, most, each),
            None => Ok(0),
        }
    }
}

consumer_side!(impl [] RecordConsumer, ring: RecordRing);

impl Takes for RecordConsumer {
    #[inline(always)]
    fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    #[inline(always)]
    fn check_pages(&self) -> Result<(), RingError> {
        self.endpoint.check_pages()
    }

    #[inline(always)]
    fn step_over(&mut self, found: Found) {
        self.cursor.step_over(found);
        self.counted.add(found.len);
    }
}

/// A record in place, lent by [`RecordConsumer::peek`].
pub type View<'a> = record::View<'a, RecordConsumer>;
