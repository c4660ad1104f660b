//! The consumer of values of one type.

use std::time::Instant;

use ipc_core::{Error, Payload, Segment};

use super::ValueView;
use super::ring::{Options, Ring};
use super::sides::consumer_side;
use super::taker::{HeldBack, Taker};
use super::values::Values;
use crate::error::{RingError, end_is_none};
use crate::sides::pops_values;
use crate::value::LendsValue;

/// The consumer's side of a [`Ring`]: one in all processes at a time.
///
/// `Send`, but not `Sync`. Dropping it acknowledges all that was popped and closes this side, so that producers are told; in a panic
/// nothing more is acknowledged.
///
/// A pop costs the loads of a word and of the value in the same cache line; it is wait-free while the next message in the order is committed. If the process dies, its successor gets again what was not
/// acknowledged: what was popped when it was last called to pop, in batches of up to a quarter of the ring.
#[derive(Debug)]
pub struct Consumer<T: Payload> {
    pub(super) taker: Taker,
    pub(super) values: Values<T>,
}

impl<T: Payload> Consumer<T> {
    pub(super) fn new(taker: Taker, values: Values<T>) -> Self {
        Self { taker, values }
    }

    /// Where the next value is in the one order, which counts what was claimed since the ring was made: what was aborted, or left by the dead, as well.
    pub fn position(&self) -> u64 {
        self.taker.position()
    }

    /// Takes a value that was found.
    #[inline(always)]
    fn take(&mut self) -> Result<T, RingError> {
        let value = self.values.read(self.taker.slot());
        self.taker.handle.check_pages()?;
        self.taker.step(1, 1, size_of::<T>() as u64);
        Ok(value)
    }

    /// Pops a value if the next one in the order is committed.
    ///
    /// # Errors
    ///
    /// [`RingError::Empty`], also if only what is claimed before it keeps a committed value from being the next: see [`held_back_by`](Self::held_back_by); [`RingError::Closed`] if all producers have left and all is
    /// popped; [`RingError::PeerGaveUp`] and [`RingError::PeerDied`], once for each that did; [`RingError::WrongProcess`], [`RingError::Corrupted`]. That a producer died is found out by waiting, by
    /// [`check_producers`](Self::check_producers), and here every 4,096 calls that find nothing.
    #[inline(always)]
    pub fn try_pop(&mut self) -> Result<T, RingError> {
        // What is wrong is found again, and told.
        if matches!(self.taker.find(), Ok(true)) {
            return self.take();
        }
        self.try_pop_again()
    }

    #[cold]
    fn try_pop_again(&mut self) -> Result<T, RingError> {
        self.taker.why_not()?;
        self.take()
    }

    /// Pops a value, waiting for one as long as a living producer may push some, or none has come yet. `None`: all producers have left and all
    /// is popped; if others come after that, their values can be popped.
    ///
    /// # Errors
    ///
    /// [`RingError::PeerDied`] if a producer is dead, [`RingError::PeerGaveUp`] if one left in a panic: in both cases once, when everything that was claimed is popped,
    /// and the next call goes on with the others. [`RingError::Cancelled`], [`RingError::WrongProcess`], [`RingError::Corrupted`].
    #[inline]
    pub fn pop(&mut self) -> Result<Option<T>, RingError> {
        self.pop_waiting(None)
    }

    #[inline]
    fn pop_waiting(&mut self, deadline: Option<Instant>) -> Result<Option<T>, RingError> {
        match end_is_none(self.wait_for_some(deadline))? {
            Some(()) => self.take().map(Some),
            None => Ok(None),
        }
    }

    #[inline]
    fn wait_for_some(&mut self, deadline: Option<Instant>) -> Result<(), RingError> {
        if matches!(self.taker.find(), Ok(true)) { Ok(()) } else { self.taker.wait(deadline) }
    }

    /// Lends a view of the next value in place, if it is committed. [`ValueView::release`] goes on to the next; dropping the view does not.
    ///
    /// # Errors
    ///
    /// As [`try_pop`](Self::try_pop).
    pub fn try_peek(&mut self) -> Result<ValueView<'_, T>, RingError> {
        if !matches!(self.taker.find(), Ok(true)) {
            self.taker.why_not()?;
        }
        Ok(ValueView::new(self))
    }

    fn peek_waiting(&mut self, deadline: Option<Instant>) -> Result<Option<ValueView<'_, T>>, RingError> {
        Ok(end_is_none(self.wait_for_some(deadline))?.map(|()| ValueView::new(self)))
    }

    /// Pops as many values as are committed one after the other, up to the length of the slice, and returns how many that was; of whom the last one was,
    /// [`place`](Self::place) says. Costs less for each than one by one. They are acknowledged, and their room is free, with a later call.
    ///
    /// # Errors
    ///
    /// As [`try_pop`](Self::try_pop), if not even one was popped.
    pub fn try_pop_slice(&mut self, values: &mut [T]) -> Result<usize, RingError> {
        if values.is_empty() {
            return Ok(0);
        }
        if !matches!(self.taker.find(), Ok(true)) {
            self.taker.why_not()?;
        }
        self.take_slice(values)
    }

    /// Takes what there is, after a look that found some.
    fn take_slice(&mut self, values: &mut [T]) -> Result<usize, RingError> {
        let mut popped = 0;
        // What this call popped must not be acknowledged by it. Damage behind good values is told by the next call.
        while popped < values.len() && matches!(self.taker.see(), Ok(true)) {
            let run = usize::try_from(self.taker.left_in_claim()).unwrap_or(usize::MAX).min(values.len() - popped);
            self.values.read_run(self.taker.slot(), &mut values[popped..popped + run]);
            self.taker.handle.check_pages()?;
            self.taker.step(run as u64, run as u64, (run * size_of::<T>()) as u64);
            popped += run;
        }
        Ok(popped)
    }

    fn pop_slice_waiting(&mut self, values: &mut [T], deadline: Option<Instant>) -> Result<usize, RingError> {
        if values.is_empty() {
            return Ok(0);
        }
        match end_is_none(self.wait_for_some(deadline))? {
            Some(()) => self.take_slice(values),
            None => Ok(0),
        }
    }
}

impl<T: Payload> LendsValue<T> for Consumer<T> {
    fn place(&self) -> *const T {
        self.values.place(self.taker.slot(), false)
    }

    fn step_over(&mut self) -> Result<(), RingError> {
        self.taker.handle.check_process()?;
        self.taker.handle.check_pages()?;
        self.taker.step(1, 1, size_of::<T>() as u64);
        Ok(())
    }
}

pops_values!(impl [<T: Payload>] Consumer<T>, peeks: ValueView, end: "all producers have left and all is popped");
consumer_side!(impl [<T: Payload>] Consumer<T>, ring: Ring<T>);
