//! The consumer of values of one type that never holds the producer back.

use std::time::Instant;

use ipc_core::sync::{Ordering, fence};
use ipc_core::{Error, Payload, Segment};

use super::Start;
use super::cells::Cursor;
use super::ring::Ring;
use super::sides::any_consumer;
use super::watch::Watch;
use crate::error::{RingError, end_is_none};
use crate::sides::pops_values;

/// A consumer of a broadcast [`Ring`] that the producer does not know of and never waits for: one of any number.
///
/// If it falls behind by more than the ring holds, it gets [`RingError::Lapped`] with the exact number of values that it missed, and goes on with what is there still. What a pop returns was
/// never torn: it is copied out, and then it is made sure that the producer had not been let to write there.
///
/// `Send`, but not `Sync`. A pop costs the loads of a control word and of the value in the same cache line, and one of a word that the producer writes once in a batch. If the process
/// dies or stops, nobody notices.
#[derive(Debug)]
pub struct LossyConsumer<T: Payload> {
    watch: Watch,
    cursor: Cursor<T>,
    /// Everything before this position was published. ≥ `cursor.position`, as far as it was seen.
    available: u64,
    /// Values that were missed, all in all.
    missed: u64,
}

impl<T: Payload> LossyConsumer<T> {
    pub(super) fn new(watch: Watch, start: Start) -> Result<Self, RingError> {
        let (oldest, hint) = watch.oldest_and_hint()?;
        let mut cursor = Cursor::new(watch.lines(), hint);
        if start == Start::Oldest {
            cursor.go_to(oldest);
        }
        let mut consumer = Self { watch, cursor, available: hint, missed: 0 };
        if start == Start::Now {
            // Beyond the hint lies at most what was published together since. Whatever this leaves is now as well as it can be told.
            for _ in 0..64 {
                match consumer.look() {
                    Ok(true) => consumer.cursor.go_to(consumer.available),
                    Ok(false) => break,
                    Err(Look::Lapped) => consumer.skip_to_hint()?,
                    Err(Look::Failed(error)) => return Err(error),
                }
            }
        }
        Ok(consumer)
    }

    /// Position of the next value: how many were pushed before it since the ring was made.
    pub fn position(&self) -> u64 {
        self.cursor.position
    }

    /// How many values were missed so far: the sum of all that was told.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Goes on with what is pushed from now on, and returns how many values that leaves out. They are not counted as [missed](Self::missed).
    ///
    /// # Errors
    ///
    /// [`RingError::WrongProcess`], [`RingError::Corrupted`].
    pub fn skip(&mut self) -> Result<u64, RingError> {
        self.watch.handle.check_process()?;
        let before = self.cursor.position;
        self.skip_to_hint()?;
        Ok(self.cursor.position.wrapping_sub(before))
    }

    fn skip_to_hint(&mut self) -> Result<(), RingError> {
        let (_, hint) = self.watch.oldest_and_hint()?;
        // Never back: what was seen may be ahead of the hint.
        let target = hint.max(self.available);
        self.available = target;
        self.cursor.go_to(target);
        Ok(())
    }

    /// Looks whether anything is published at the cursor.
    #[inline(always)]
    fn look(&mut self) -> Result<bool, Look> {
        look(&self.watch, &self.cursor, &mut self.available)
    }

    /// Goes on where there is something still, and says what was missed.
    #[cold]
    fn lapped(&mut self) -> RingError {
        match self.watch.oldest_and_hint() {
            Ok((oldest, hint)) => {
                let before = self.cursor.position;
                // Never back, even if the shared words say so.
                let target = hint.min(oldest.saturating_add(self.watch.margin())).max(before);
                if target == before {
                    let error = RingError::Corrupted { what: "the oldest position", found: oldest, limit: hint };
                    return self.watch.handle.explain(error);
                }
                self.cursor.go_to(target);
                self.available = hint.max(target);
                let missed = target.wrapping_sub(before);
                self.missed = self.missed.wrapping_add(missed);
                self.watch.handle.explain(RingError::Lapped { missed })
            }
            Err(error) => self.watch.handle.explain(error),
        }
    }

    #[inline]
    fn failed(&mut self, failed: Look) -> RingError {
        match failed {
            Look::Lapped => self.lapped(),
            Look::Failed(error) => self.watch.handle.explain(error),
        }
    }

    /// Pops a value if there is one.
    ///
    /// # Errors
    ///
    /// [`RingError::Lapped`] if values were written over before they were popped: the next call goes on behind them. [`RingError::Empty`]; [`RingError::Closed`] if the
    /// producer has closed and all is popped; [`RingError::PeerGaveUp`], [`RingError::WrongProcess`], [`RingError::Corrupted`]. That a producer died is found out by waiting.
    #[inline(always)]
    pub fn try_pop(&mut self) -> Result<T, RingError> {
        self.watch.handle.check_process()?;
        if self.cursor.position == self.available {
            match self.look() {
                Ok(true) => {}
                Ok(false) => return Err(self.empty()),
                Err(failed) => return Err(self.failed(failed)),
            }
        }
        let value = self.cursor.read_racing();
        // Acquire: the value was read before the reach is looked at.
        fence(Ordering::Acquire);
        if !self.watch.lines().is_intact(self.cursor.position) {
            return Err(self.lapped());
        }
        self.watch.handle.check_pages()?;
        self.cursor.step();
        Ok(value)
    }

    /// Empty for now, or for good.
    #[inline]
    fn empty(&mut self) -> RingError {
        let Some(gone) = self.watch.lines().publisher().gone() else {
            return self.watch.handle.explain(RingError::Empty);
        };
        // What was published before it left is visible now that its leaving is: look once more.
        match self.look() {
            Ok(true) => RingError::Empty,
            Ok(false) => self.watch.handle.explain(gone),
            Err(failed) => self.failed(failed),
        }
    }

    /// Pops a value, waiting for one as long as a living producer may push some, or none has come yet. `None`: the producer has closed and all
    /// is popped.
    ///
    /// # Errors
    ///
    /// [`RingError::Lapped`] as for [`try_pop`](Self::try_pop); [`RingError::PeerDied`] if the producer is dead, [`RingError::PeerGaveUp`] if it left in a panic, in both cases
    /// after all that it had published; [`RingError::Cancelled`], [`RingError::WrongProcess`], [`RingError::Corrupted`].
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

    /// Waits until there is something, or it was overtaken: the next call tells which.
    fn wait_for_some(&mut self, deadline: Option<Instant>) -> Result<(), RingError> {
        let Self { watch, cursor, available, .. } = self;
        watch.wait(deadline, || {
            if cursor.position != *available {
                return Ok(Some(()));
            }
            match look(watch, cursor, available) {
                Ok(found) => Ok(found.then_some(())),
                Err(Look::Lapped) => Ok(Some(())),
                Err(Look::Failed(error)) => Err(error),
            }
        })
    }

    /// Pops as many values as there are, up to the length of the slice, and returns how many that was. Costs less for each than
    /// one by one. What stands in the slice behind them is worth nothing.
    ///
    /// # Errors
    ///
    /// As [`try_pop`](Self::try_pop), if not even one was popped.
    pub fn try_pop_slice(&mut self, values: &mut [T]) -> Result<usize, RingError> {
        self.watch.handle.check_process()?;
        let mut popped = 0;
        while popped < values.len() {
            if self.cursor.position == self.available {
                match self.look() {
                    Ok(true) => {}
                    Ok(false) => break,
                    // After good values it is told by the next call.
                    Err(_) if popped > 0 => break,
                    Err(failed) => return Err(self.failed(failed)),
                }
            }
            let begun = self.cursor.position;
            let there = self.available.wrapping_sub(begun);
            let span = (values.len() - popped).min(usize::try_from(there).unwrap_or(usize::MAX)).min(VALIDATED);
            self.cursor.read_slice::<true>(&mut values[popped..popped + span]);
            // Acquire: the values were read before the reach is looked at. The first of them is written over first.
            fence(Ordering::Acquire);
            if !self.watch.lines().is_intact(begun) {
                self.cursor.go_to(begun);
                if popped > 0 {
                    break;
                }
                return Err(self.lapped());
            }
            popped += span;
        }
        if popped == 0 && !values.is_empty() {
            return Err(self.empty());
        }
        self.watch.handle.check_pages()?;
        Ok(popped)
    }

    fn pop_slice_waiting(&mut self, values: &mut [T], deadline: Option<Instant>) -> Result<usize, RingError> {
        if values.is_empty() {
            return Ok(0);
        }
        let popped = self.wait_for_some(deadline).and_then(|()| self.try_pop_slice(values));
        Ok(end_is_none(popped)?.unwrap_or(0))
    }
}

pops_values!(impl [<T: Payload>] LossyConsumer<T>, end: "the producer has closed and all is popped");
any_consumer!(impl [<T: Payload>] LossyConsumer<T>, ring: Ring<T>, made: lossy_consumer, waits: watch);

/// So many values of a slice are copied before it is made sure that they are whole: if they are not, all of them are lost.
const VALIDATED: usize = 512;

/// Why a look told nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// The producer may have written over what was looked at.
    Lapped,
    Failed(RingError),
}

/// Looks whether anything is published at the cursor, and notes up to where.
#[inline(always)]
fn look<T: Payload>(watch: &Watch, cursor: &Cursor<T>, available: &mut u64) -> Result<bool, Look> {
    let mut published = *available;
    let found = cursor.look(&mut published);
    // The look is an Acquire: a word of a later lap comes with the reach that allowed it, and an older word than the one that should stand here
    // is believed only while none can have been written over.
    if !watch.lines().is_intact(cursor.position) {
        return Err(Look::Lapped);
    }
    if found.map_err(Look::Failed)? {
        *available = published;
        return Ok(true);
    }
    Ok(false)
}
