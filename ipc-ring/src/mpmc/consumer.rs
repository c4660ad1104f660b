//! The consumers of values of one type.

use std::time::Instant;

use ipc_core::{Error, Payload, Segment};

use super::cells::Cells;
use super::ring::Ring;
use super::rounds::Rounds;
use super::sides::consumer_side;
use super::{Options, ValueView};
use crate::error::{RingError, end_is_none};
use crate::sides::pops_values;
use crate::spsc::cursor::Cursor;
use crate::value::LendsValue;

/// One of the consumers of a [`Ring`]: as many in all processes at a time as the ring has [places](Options::consumers).
///
/// `Send`, but not `Sync`. Dropping it acknowledges all that was popped, gives back what was only claimed, and leaves; in a panic nothing more is acknowledged, and all of it goes to others.
///
/// A pop costs the load of the value. Every so many values, a *span* is claimed: a look at the control word that travels with the values, a compare-and-swap that
/// claims it, and another one that acknowledges the span before, both on lines of the consumers' own. A lone consumer claims all that is there, up to a turn
/// of 64 values or 16 KiB; several claim about what is there ÷ (2 × consumers) each, and for that look at a line that the producer writes.
/// In a stream (a whole turn was there last time; or, of several consumers, more than 8 values are) a call that wants one value, of more than 28 bytes, lets the producer get four turns ahead, for 2 µs at most, and for half a microsecond if it does not.
/// [`set_prefetch`](Self::set_prefetch) claims less at a time.
///
/// **Acknowledging.** When a call that pops has come to the end of the span, it acknowledges the span before it claims the next: what earlier calls took, never what it takes itself.
/// [`acknowledge`](Self::acknowledge) acknowledges message by message; [`set_manual`](Self::set_manual) leaves it to that alone. If the process dies, another
/// consumer gets what was not acknowledged, within 100 ms if it waits.
#[derive(Debug)]
pub struct Consumer<T: Payload> {
    pub(super) rounds: Rounds<Cells<T>>,
    /// In the span in hand.
    cursor: Cursor<T>,
    /// Where that ends. ≥ `cursor.position`.
    end: u64,
    /// The cursor's lane.
    lane: usize,
}

impl<T: Payload> Consumer<T> {
    pub(super) fn new(rounds: Rounds<Cells<T>>, cursor: Cursor<T>) -> Self {
        let end = cursor.position;
        Self { rounds, cursor, end, lane: 0 }
    }

    #[inline(always)]
    fn popped(&self) -> u64 {
        self.cursor.position
    }

    /// Whether something in hand is not popped.
    fn has_hand(&self) -> bool {
        self.cursor.position != self.end
    }

    /// Whether there is a value in hand.
    #[inline(always)]
    fn is_ready(&self) -> bool {
        self.cursor.position != self.end && self.rounds.handle().is_current()
    }

    /// The span in hand is another one.
    #[inline]
    fn turn_to_hand(&mut self) -> Result<(), RingError> {
        let Some(span) = self.rounds.hand() else { return Err(RingError::Empty) };
        // Behind the last one, usually.
        if (self.lane, self.cursor.position) != (span.lane, span.first.position) {
            self.lane = span.lane;
            self.cursor = self.rounds.reader()?.cursor_at(span.first);
        }
        self.end = span.end();
        Ok(())
    }

    /// Whether there is a value, in hand or in any lane.
    #[inline]
    fn ready(&mut self, asked: usize) -> Result<bool, RingError> {
        if self.is_ready() {
            return Ok(true);
        }
        self.end = self.cursor.position;
        if !self.rounds.next(asked)? {
            return Ok(false);
        }
        self.turn_to_hand()?;
        Ok(true)
    }

    #[inline(always)]
    fn read(&mut self) -> Result<T, RingError> {
        let value = self.cursor.read();
        self.rounds.handle().check_pages()?;
        self.cursor.step();
        Ok(value)
    }

    /// Pops a value if there is one in any lane that no other consumer has.
    ///
    /// # Errors
    ///
    /// [`RingError::Empty`]; [`RingError::Closed`] if all producers have left and all is acknowledged; [`RingError::PeerGaveUp`], to one consumer for each that did;
    /// [`RingError::WrongProcess`], [`RingError::Corrupted`] once for each damaged lane, which is left out from then on. That somebody died is found out by waiting and by
    /// [`check_peers`](Self::check_peers).
    #[inline(always)]
    pub fn try_pop(&mut self) -> Result<T, RingError> {
        if self.is_ready() {
            return self.read();
        }
        self.try_pop_next()
    }

    #[inline(never)]
    fn try_pop_next(&mut self) -> Result<T, RingError> {
        if self.ready(1)? { self.read() } else { Err(self.rounds.empty()) }
    }

    /// Pops a value, waiting for one as long as a living producer may push some, or none has come yet. `None`: all producers have left and all is
    /// acknowledged, also what the other consumers took; if others come after that, their values can be popped.
    ///
    /// A consumer that has not acknowledged all itself does not wait for the others to do so: it gets `None` when nothing is left to take.
    ///
    /// # Errors
    ///
    /// [`RingError::PeerDied`] if a producer is dead, [`RingError::PeerGaveUp`] if one left in a panic: in both cases to one consumer, after all that it had
    /// published was claimed, and the next call goes on with the others. [`RingError::Cancelled`], [`RingError::WrongProcess`]; [`RingError::Corrupted`] once for each damaged lane,
    /// which is left out from then on.
    #[inline]
    pub fn pop(&mut self) -> Result<Option<T>, RingError> {
        if self.is_ready() {
            return self.read().map(Some);
        }
        self.pop_waiting(None)
    }

    #[inline(never)]
    fn pop_waiting(&mut self, deadline: Option<Instant>) -> Result<Option<T>, RingError> {
        let waited = self.wait_for_some(1, deadline);
        match end_is_none(waited)? {
            Some(()) => self.read().map(Some),
            None => Ok(None),
        }
    }

    fn wait_for_some(&mut self, asked: usize, deadline: Option<Instant>) -> Result<(), RingError> {
        if self.ready(asked)? {
            return Ok(());
        }
        self.rounds.wait(asked, deadline)?;
        self.turn_to_hand()
    }

    /// Lends a view of the next value in place, if there is one. [`ValueView::release`] goes on to the next; dropping the view does not: the value stays this consumer's.
    ///
    /// # Errors
    ///
    /// As [`try_pop`](Self::try_pop).
    pub fn try_peek(&mut self) -> Result<ValueView<'_, T>, RingError> {
        if self.ready(1)? { Ok(ValueView::new(self)) } else { Err(self.rounds.empty()) }
    }

    fn peek_waiting(&mut self, deadline: Option<Instant>) -> Result<Option<ValueView<'_, T>>, RingError> {
        Ok(end_is_none(self.wait_for_some(1, deadline))?.map(|()| ValueView::new(self)))
    }

    /// Pops as many values of one producer as there are, up to the length of the slice, and returns how many that was. Costs less for each than
    /// one by one; claims as many as the slice has room for, whatever the other consumers get. They are acknowledged with the next call.
    ///
    /// # Errors
    ///
    /// As [`try_pop`](Self::try_pop), if not even one was popped.
    pub fn try_pop_slice(&mut self, values: &mut [T]) -> Result<usize, RingError> {
        if values.is_empty() {
            return Ok(0);
        }
        if !self.ready(values.len())? {
            return Err(self.rounds.empty());
        }
        self.read_slice(values)
    }

    fn read_slice(&mut self, values: &mut [T]) -> Result<usize, RingError> {
        let mut popped = 0;
        loop {
            let there = self.end.wrapping_sub(self.cursor.position);
            let span = (values.len() - popped).min(usize::try_from(there).unwrap_or(usize::MAX));
            self.cursor.read_slice(&mut values[popped..popped + span]);
            popped += span;
            if popped == values.len() || !self.rounds.more(values.len() - popped) {
                break;
            }
            self.turn_to_hand()?;
        }
        self.rounds.handle().check_pages()?;
        Ok(popped)
    }

    fn pop_slice_waiting(&mut self, values: &mut [T], deadline: Option<Instant>) -> Result<usize, RingError> {
        if values.is_empty() {
            return Ok(0);
        }
        let popped = self.wait_for_some(values.len(), deadline).and_then(|()| self.read_slice(values));
        Ok(end_is_none(popped)?.unwrap_or(0))
    }
}

impl<T: Payload> LendsValue<T> for Consumer<T> {
    fn place(&self) -> *const T {
        self.cursor.place(false)
    }

    fn step_over(&mut self) -> Result<(), RingError> {
        self.rounds.handle().check_process()?;
        self.rounds.handle().check_pages()?;
        self.cursor.step();
        Ok(())
    }
}

pops_values!(impl [<T: Payload>] Consumer<T>, peeks: ValueView, end: "all producers have left and all is acknowledged, as there");
consumer_side!(impl [<T: Payload>] Consumer<T>, ring: Ring<T>);
