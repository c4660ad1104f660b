//! The consumer of values of one type.

use std::time::Instant;

use ipc_core::sync::Ordering;
use ipc_core::{Error, Payload, Segment};

use super::ValueView;
use super::cursor::Cursor;
use super::endpoint::Endpoint;
use super::ring::Ring;
use super::sides::consumer_side;
use crate::error::{RingError, Side, end_is_none};
use crate::sides::pops_values;
use crate::value::LendsValue;

/// The consumer's side of a [`Ring`]: one in all processes at a time.
///
/// `Send`, but not `Sync`. Dropping it acknowledges all that was popped and closes this side, so that the producer is told; in a panic
/// nothing more is acknowledged.
///
/// A pop costs the loads of a control word and of the value in the same cache line; it is wait-free while there is something. If the process
/// dies, its successor gets again what was not acknowledged.
#[derive(Debug)]
pub struct Consumer<T: Payload> {
    endpoint: Endpoint,
    cursor: Cursor<T>,
    /// Everything before this position is published. ≥ `cursor.position`, as far as it was seen.
    available: u64,
    /// What the producer, and a successor, know to be done with. ≤ `cursor.position`.
    acknowledged: u64,
    /// How far the two may be apart.
    batch: u64,
}

impl<T: Payload> Consumer<T> {
    /// Goes on at `head`, before which all is acknowledged; `cursor` stands where the published part ends.
    pub(crate) fn at_head(endpoint: Endpoint, mut cursor: Cursor<T>, head: u64, batch: u64) -> Self {
        let available = cursor.position;
        cursor.go_to(head);
        let acknowledged = head;
        Self { endpoint, cursor, available, acknowledged, batch }
    }

    /// Values popped since the ring was made, counting once those that were popped again after a death.
    pub fn position(&self) -> u64 {
        self.cursor.position
    }

    /// Values are counted by their position.
    #[inline(always)]
    fn count_consumed(&self) {}

    /// Pops a value if there is one.
    ///
    /// # Errors
    ///
    /// [`RingError::Empty`]; [`RingError::Closed`] if the producer has closed and all is popped; [`RingError::PeerGaveUp`],
    /// [`RingError::WrongProcess`], [`RingError::Corrupted`]. That a producer died is found out by waiting.
    #[inline(always)]
    pub fn try_pop(&mut self) -> Result<T, RingError> {
        // Written so that a value goes straight to where the caller wants it: a result that may hold either it or an error would take it apart.
        if self.is_ready() {
            let value = self.cursor.read();
            if self.endpoint.has_pages() {
                self.cursor.step();
                return Ok(value);
            }
        }
        Err(self.why_not())
    }

    /// Lends a view of the next value in place, if there is one. [`ValueView::release`] goes on to the next; dropping the view does not.
    ///
    /// # Errors
    ///
    /// As [`try_pop`](Self::try_pop).
    pub fn try_peek(&mut self) -> Result<ValueView<'_, T>, RingError> {
        if self.is_ready() { Ok(ValueView::new(self)) } else { Err(self.why_not()) }
    }

    fn peek_waiting(&mut self, deadline: Option<Instant>) -> Result<Option<ValueView<'_, T>>, RingError> {
        Ok(end_is_none(self.wait_for_some(deadline))?.map(|()| ValueView::new(self)))
    }

    /// Whether there is a value, as far as that is seen at a glance.
    #[inline(always)]
    fn is_ready(&mut self) -> bool {
        self.prepare().is_ok()
            && (self.cursor.position != self.available || look(&self.cursor, &mut self.available).unwrap_or(false))
    }

    /// As [`try_pop`](Self::try_pop), without asking how the producer is if there is none.
    #[inline(always)]
    pub(crate) fn take(&mut self) -> Result<Option<T>, RingError> {
        if self.is_ready() {
            let value = self.cursor.read();
            if self.endpoint.has_pages() {
                self.cursor.step();
                return Ok(Some(value));
            }
        }
        // What came since then, the next call finds.
        self.look_again().map(|_| None)
    }

    /// Whether there is something to pop. If not, all that was popped is acknowledged.
    #[inline(always)]
    pub(crate) fn has_some(&mut self) -> Result<bool, RingError> {
        if self.is_ready() { Ok(true) } else { self.look_again() }
    }

    /// Why there was none.
    #[cold]
    fn why_not(&mut self) -> RingError {
        match self.look_again() {
            // Since then: the next call finds it.
            Ok(true) => RingError::Empty,
            Ok(false) => self.empty(),
            Err(error) => error,
        }
    }

    /// Whether there is a value after all, after a glance that saw none or met an error.
    #[inline(never)]
    fn look_again(&mut self) -> Result<bool, RingError> {
        self.endpoint.check_process()?;
        self.endpoint.check_pages()?;
        self.see()
    }

    /// Acknowledges in batches what was popped by earlier calls.
    #[inline(always)]
    fn prepare(&mut self) -> Result<(), RingError> {
        self.endpoint.check_process()?;
        if self.cursor.position.wrapping_sub(self.acknowledged) >= self.batch {
            self.acknowledge();
        }
        Ok(())
    }

    /// Asks for the lines of so many values that are published.
    pub(crate) fn prefetch(&self, values: u64) {
        self.cursor.prefetch(values);
    }

    /// Looks whether more was published than was seen so far.
    #[inline(always)]
    fn see(&mut self) -> Result<bool, RingError> {
        if look(&self.cursor, &mut self.available).map_err(|error| self.endpoint.explain(error))? {
            return Ok(true);
        }
        // Nothing to do: a good moment to let the producer know.
        if self.acknowledged != self.cursor.position {
            self.acknowledge();
        }
        Ok(false)
    }

    /// Empty for now, or for good.
    #[inline]
    fn empty(&mut self) -> RingError {
        let Some(gone) = self.gone() else { return self.endpoint.explain(RingError::Empty) };
        // What was published before it left is visible now that its leaving is: look once more.
        match self.see() {
            Ok(true) => RingError::Empty,
            Ok(false) => self.endpoint.explain(gone),
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
        if self.is_ready() {
            let value = self.cursor.read();
            if self.endpoint.has_pages() {
                self.cursor.step();
                return Ok(Some(value));
            }
        }
        self.pop_waiting(None)
    }

    fn pop_waiting(&mut self, deadline: Option<Instant>) -> Result<Option<T>, RingError> {
        match end_is_none(self.wait_for_some(deadline))? {
            None => Ok(None),
            Some(()) => {
                let value = self.cursor.read();
                self.endpoint.check_pages()?;
                self.cursor.step();
                Ok(Some(value))
            }
        }
    }

    fn wait_for_some(&mut self, deadline: Option<Instant>) -> Result<(), RingError> {
        if self.has_some()? {
            return Ok(());
        }
        let Self { endpoint, cursor, available, .. } = self;
        // Everything is acknowledged already: `see` has done so.
        endpoint.wait(deadline, || Ok(look(cursor, available)?.then_some(())))
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
            self.cursor.read_slice(&mut values[popped..popped + span]);
            popped += span;
        }
        if popped == 0 && !values.is_empty() {
            return Err(self.empty());
        }
        self.endpoint.check_pages()?;
        Ok(popped)
    }

    /// As `see`, in the middle of a slice: what this call popped must not be acknowledged by it.
    #[inline]
    fn see_more(&mut self, popped: usize) -> Result<bool, RingError> {
        if popped == 0 {
            return self.see();
        }
        // Damage after good values is told by the next call.
        Ok(look(&self.cursor, &mut self.available).unwrap_or(false))
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
        self.endpoint.check_process()?;
        self.endpoint.check_pages()?;
        self.cursor.step();
        Ok(())
    }
}

pops_values!(impl [<T: Payload>] Consumer<T>, peeks: ValueView, end: "the producer has closed and all is popped");
consumer_side!(impl [<T: Payload>] Consumer<T>, ring: Ring<T>);

/// Looks whether anything is published at the cursor, and notes up to where.
#[inline(always)]
fn look<T: Payload>(cursor: &Cursor<T>, available: &mut u64) -> Result<bool, RingError> {
    // Pairs with the producer's Release: who sees the position sees the items before it.
    let published = cursor.control().load(Ordering::Acquire);
    let ahead = cursor.is_ahead(published)?;
    if ahead {
        *available = published;
    }
    Ok(ahead)
}
