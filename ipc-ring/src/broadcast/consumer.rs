//! The consumer of values of one type that holds the producer back.

use std::time::Instant;

use ipc_core::{Error, Payload, Segment};

use super::cells::Cursor;
use super::ring::Ring;
use super::seat::Seat;
use super::sides::{any_consumer, consumer_side};
use super::{Start, ValueView};
use crate::error::{RingError, end_is_none};
use crate::sides::pops_values;
use crate::value::LendsValue;

/// A consumer of a broadcast [`Ring`] that gets every message from where it began: it has a place in the ring's table, and the producer waits for it.
///
/// `Send`, but not `Sync`. Dropping it acknowledges all that was popped and lets go of its place; in a panic nothing more is acknowledged.
///
/// A pop costs the loads of a control word and of the value in the same cache line; it is wait-free while there is something. If the process dies, the producer finds that out and is held
/// back no more; a successor may [go on](Ring::resume) where this one had acknowledged, if it comes before that is written over.
#[derive(Debug)]
pub struct Consumer<T: Payload> {
    seat: Seat,
    cursor: Cursor<T>,
    /// Everything before this position is published. ≥ `cursor.position`, as far as it was seen.
    available: u64,
    /// How far what was popped may be ahead of what was acknowledged.
    batch: u64,
    missed: u64,
}

impl<T: Payload> Consumer<T> {
    pub(super) fn new(seat: Seat, cursor: Cursor<T>, available: u64, batch: u64, missed: u64) -> Self {
        Self { seat, cursor, available, batch, missed }
    }

    /// Position of the next value: how many were pushed before it since the ring was made.
    pub fn position(&self) -> u64 {
        self.cursor.position
    }

    /// Pops a value if there is one.
    ///
    /// # Errors
    ///
    /// [`RingError::Empty`]; [`RingError::Closed`] if the producer has closed and all is popped; [`RingError::PeerGaveUp`],
    /// [`RingError::WrongProcess`], [`RingError::Corrupted`]. That a producer died is found out by waiting.
    #[inline(always)]
    pub fn try_pop(&mut self) -> Result<T, RingError> {
        self.prepare()?;
        if self.cursor.position == self.available && !self.see()? {
            return Err(self.empty());
        }
        let value = self.cursor.read();
        self.seat.handle.check_pages()?;
        self.cursor.step();
        Ok(value)
    }

    /// Lends a view of the next value in place, if there is one. [`ValueView::release`] goes on to the next; dropping the view does not.
    ///
    /// # Errors
    ///
    /// As [`try_pop`](Self::try_pop).
    pub fn try_peek(&mut self) -> Result<ValueView<'_, T>, RingError> {
        self.prepare()?;
        if self.cursor.position == self.available && !self.see()? {
            return Err(self.empty());
        }
        Ok(ValueView::new(self))
    }

    fn peek_waiting(&mut self, deadline: Option<Instant>) -> Result<Option<ValueView<'_, T>>, RingError> {
        Ok(end_is_none(self.wait_for_some(deadline))?.map(|()| ValueView::new(self)))
    }

    /// Acknowledges in batches what was popped by earlier calls.
    #[inline(always)]
    fn prepare(&mut self) -> Result<(), RingError> {
        self.seat.handle.check_process()?;
        if self.cursor.position.wrapping_sub(self.seat.acknowledged()) >= self.batch {
            self.acknowledge();
        }
        Ok(())
    }

    /// Looks whether more was published than was seen so far.
    #[inline(always)]
    fn see(&mut self) -> Result<bool, RingError> {
        if self.cursor.look(&mut self.available).map_err(|error| self.seat.handle.explain(error))? {
            return Ok(true);
        }
        // Nothing to do: a good moment to let the producer know.
        if self.seat.acknowledged() != self.cursor.position {
            self.acknowledge();
        }
        Ok(false)
    }

    /// Empty for now, or for good.
    #[inline]
    fn empty(&mut self) -> RingError {
        let Some(gone) = self.seat.lines().publisher().gone() else {
            return self.seat.handle.explain(RingError::Empty);
        };
        // What was published before it left is visible now that its leaving is: look once more.
        match self.see() {
            Ok(true) => RingError::Empty,
            Ok(false) => self.seat.handle.explain(gone),
            Err(error) => error,
        }
    }

    /// Pops a value, waiting for one as long as a living producer may push some, or none has come yet. `None`: the producer has closed and all
    /// is popped.
    ///
    /// # Errors
    ///
    /// [`RingError::PeerDied`] if the producer is dead, [`RingError::PeerGaveUp`] if it left in a panic, in both cases after all that it had
    /// published; [`RingError::Cancelled`], [`RingError::WrongProcess`], [`RingError::Corrupted`].
    #[inline]
    pub fn pop(&mut self) -> Result<Option<T>, RingError> {
        match self.try_pop() {
            Err(RingError::Empty) => self.pop_waiting(None),
            done => end_is_none(done),
        }
    }

    fn pop_waiting(&mut self, deadline: Option<Instant>) -> Result<Option<T>, RingError> {
        end_is_none(self.wait_for_some(deadline).and_then(|()| self.try_pop()))
    }

    fn wait_for_some(&mut self, deadline: Option<Instant>) -> Result<(), RingError> {
        self.prepare()?;
        if self.cursor.position != self.available || self.see()? {
            return Ok(());
        }
        let Self { seat, cursor, available, .. } = self;
        // Everything is acknowledged already: `see` has done so.
        seat.wait(deadline, || Ok(cursor.look(available)?.then_some(())))
    }

    /// Pops as many values as there are, up to the length of the slice, and returns how many that was. Costs less for each than
    /// one by one. They are acknowledged, and their room is free, with the next call.
    ///
    /// # Errors
    ///
    /// As [`try_pop`](Self::try_pop), if not even one was popped.
    pub fn try_pop_slice(&mut self, values: &mut [T]) -> Result<usize, RingError> {
        self.prepare()?;
        let mut popped = 0;
        while popped < values.len() {
            if self.cursor.position == self.available && !self.see_more(popped)? {
                break;
            }
            let there = self.available.wrapping_sub(self.cursor.position);
            let span = (values.len() - popped).min(usize::try_from(there).unwrap_or(usize::MAX));
            self.cursor.read_slice::<false>(&mut values[popped..popped + span]);
            popped += span;
        }
        if popped == 0 && !values.is_empty() {
            return Err(self.empty());
        }
        self.seat.handle.check_pages()?;
        Ok(popped)
    }

    /// As `see`, in the middle of a slice: what this call popped must not be acknowledged by it.
    #[inline]
    fn see_more(&mut self, popped: usize) -> Result<bool, RingError> {
        if popped == 0 {
            return self.see();
        }
        // Damage after good values is told by the next call.
        Ok(self.cursor.look(&mut self.available).unwrap_or(false))
    }

    fn pop_slice_waiting(&mut self, values: &mut [T], deadline: Option<Instant>) -> Result<usize, RingError> {
        if values.is_empty() {
            return Ok(0);
        }
        let popped = self.wait_for_some(deadline).and_then(|()| self.try_pop_slice(values));
        Ok(end_is_none(popped)?.unwrap_or(0))
    }
}

impl<T: Payload> LendsValue<T> for Consumer<T> {
    fn place(&self) -> *const T {
        self.cursor.place(false)
    }

    fn step_over(&mut self) -> Result<(), RingError> {
        self.seat.handle.check_process()?;
        self.seat.handle.check_pages()?;
        self.cursor.step();
        Ok(())
    }
}

pops_values!(impl [<T: Payload>] Consumer<T>, peeks: ValueView, end: "the producer has closed and all is popped");
any_consumer!(impl [<T: Payload>] Consumer<T>, ring: Ring<T>, made: consumer, waits: seat);
consumer_side!(impl [<T: Payload>] Consumer<T>);
