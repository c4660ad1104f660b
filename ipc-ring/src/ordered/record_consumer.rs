//! The consumer of records of any length.

use std::time::Instant;

use ipc_core::{Error, Segment};

use super::lines::Lines;
use super::record::View;
use super::ring::{Options, RecordRing};
use super::sides::consumer_side;
use super::taker::{HeldBack, Taker};
use crate::error::{RingError, end_is_none};
use crate::sides::pops_records;

/// The consumer's side of a [`RecordRing`]: one in all processes at a time.
///
/// `Send`, but not `Sync`. Dropping it acknowledges all that was released and closes this side; in a panic nothing more is acknowledged.
///
/// [`pop`](Self::pop) copies a record out; [`peek`](Self::peek) lends a view of it in place. Wait-free while the next record in the order is committed. If the process dies, its successor gets again what was
/// not acknowledged.
#[derive(Debug)]
pub struct RecordConsumer {
    pub(super) taker: Taker,
    pub(super) lines: Lines,
}

/// A committed record that was found: checked to lie inside the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) line: u64,
    pub(super) len: usize,
    /// Lines that it takes.
    takes: u64,
}

impl RecordConsumer {
    pub(super) fn new(taker: Taker, lines: Lines) -> Self {
        Self { taker, lines }
    }

    /// Where the next record is in the one order, which counts the lines that were claimed since the ring was made: what was skipped as well.
    pub fn position(&self) -> u64 {
        self.taker.position()
    }

    /// The record that a look has found.
    #[inline(always)]
    fn found(&self) -> Result<Found, RingError> {
        let line = self.taker.slot() as u64;
        let (len, takes) =
            self.lines.len(line, self.taker.left_in_claim()).map_err(|error| self.taker.handle.explain(error))?;
        Ok(Found { line, len, takes })
    }

    /// Finds the next record.
    #[inline(always)]
    fn find(&mut self) -> Result<Found, RingError> {
        // What is wrong is found again, and told.
        if !matches!(self.taker.find(), Ok(true)) {
            self.taker.why_not()?;
        }
        self.found()
    }

    /// As [`find`](Self::find), waiting for a record; `None` at the end of the stream.
    #[inline]
    fn find_waiting(&mut self, deadline: Option<Instant>) -> Result<Option<Found>, RingError> {
        if !matches!(self.taker.find(), Ok(true)) && end_is_none(self.taker.wait(deadline))?.is_none() {
            return Ok(None);
        }
        self.found().map(Some)
    }

    /// Done with a record.
    #[inline(always)]
    pub(super) fn step_over(&mut self, found: Found) {
        self.taker.step(found.takes, 1, found.len as u64);
    }

    #[inline(always)]
    fn pop_found(&mut self, found: Found, record: &mut Vec<u8>) -> Result<usize, RingError> {
        self.lines.append_to(found.line, found.len, record)?;
        if let Err(lost) = self.taker.handle.check_pages() {
            record.clear();
            return Err(lost);
        }
        self.step_over(found);
        Ok(found.len)
    }

    /// Lends a view of the next record in place, if it is committed. [`View::release`] goes on to the next; dropping the view does not.
    ///
    /// # Errors
    ///
    /// [`RingError::Empty`], also if only what is claimed before it keeps a committed record from being the next: see [`held_back_by`](Self::held_back_by); [`RingError::Closed`] if all producers have left and all is
    /// taken; [`RingError::PeerGaveUp`] and [`RingError::PeerDied`], once for each that did; [`RingError::WrongProcess`], [`RingError::Corrupted`]. That a producer died is found out by waiting, by
    /// [`check_producers`](Self::check_producers), and here every 4,096 calls that find nothing.
    #[inline]
    pub fn try_peek(&mut self) -> Result<View<'_>, RingError> {
        let found = self.find()?;
        Ok(View::new(self, found))
    }

    /// Lends a view of the next record in place, waiting for one as long as a living producer may push some, or none has come yet. `None`: all producers
    /// have left and all is taken; if others come after that, their records can be taken.
    ///
    /// # Errors
    ///
    /// [`RingError::PeerDied`] if a producer is dead, [`RingError::PeerGaveUp`] if one left in a panic: in both cases once, when everything that was claimed is taken,
    /// and the next call goes on with the others. [`RingError::Cancelled`], [`RingError::WrongProcess`], [`RingError::Corrupted`].
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

    /// Pops a record if the next one in the order is committed: `record` then holds exactly its bytes. Returns its length. Its room in the ring is free when it is
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

    /// Pops the records that are committed one after the other, at most `most` of them, and gives each to `each` as a view in place: in bulk, without a copy.
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

    fn pop_found_slice(&mut self, first: Found, most: usize, mut each: impl FnMut(&[u8])) -> Result<usize, RingError> {
        let (mut popped, mut found) = (0, first);
        loop {
            let view = View::new(self, found);
            each(&view);
            view.release()?;
            popped += 1;
            // What this call popped must not be acknowledged by it. Damage behind good records is told by the next call.
            if popped == most || !matches!(self.taker.see(), Ok(true)) {
                return Ok(popped);
            }
            match self.found() {
                Ok(next) => found = next,
                Err(_) => return Ok(popped),
            }
        }
    }
}

pops_records!(impl RecordConsumer, as: peek, end: "all producers have left and all is taken");
consumer_side!(impl [] RecordConsumer, ring: RecordRing);
