//! The consumer of records of any length.

use std::time::Instant;

use ipc_core::sync::Ordering;
use ipc_core::{Error, Segment};

use super::endpoint::Endpoint;
use super::ring::RecordRing;
use super::sides::consumer_side;
use super::stats::{CONSUMED, Counted};
use crate::error::{RingError, Side, end_is_none};
use crate::record::{self, Bytes, Cursor, Found, Takes, pop_each};
use crate::sides::pops_records;

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

    /// As [`find`](Self::find), waiting for a record; `None` at the end of the stream.
    fn find_waiting(&mut self, deadline: Option<Instant>) -> Result<Option<Found>, RingError> {
        let found = match self.find() {
            Err(RingError::Empty) => {
                let Self { endpoint, cursor, .. } = self;
                endpoint.wait(deadline, || cursor.look())
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
        self.pop_found_slice(found, most, each)
    }

    fn pop_found_slice(&mut self, found: Found, most: usize, each: impl FnMut(&[u8])) -> Result<usize, RingError> {
        pop_each(self, found, most, each)
    }
}

pops_records!(impl RecordConsumer, as: peek, end: "the producer has closed and all is taken");
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
