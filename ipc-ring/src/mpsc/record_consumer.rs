//! The consumer of records of any length.

use std::time::Instant;

use ipc_core::{Error, Segment};

use super::ring::RecordRing;
use super::rounds::{Reader, Rounds};
use super::sides::consumer_side;
use crate::error::{RingError, Side, end_is_none};
use crate::lanes::{Geometry, Options};
use crate::record;
use crate::record::{Bytes, Found};
use crate::sides::pops_records;
use crate::spsc::endpoint::{Endpoint, Lines};
use crate::spsc::record_producer::read_head;
use crate::spsc::{self, View};

/// The consumer's side of a [`RecordRing`]: one in all processes at a time.
///
/// `Send`, but not `Sync`. Dropping it acknowledges all that was released and closes this side; in a panic nothing more is acknowledged.
///
/// [`pop`](Self::pop) copies a record out; [`peek`](Self::peek) lends a view of it in place. If the process dies, its successor gets again what was
/// not acknowledged, in each lane.
#[derive(Debug)]
pub struct RecordConsumer {
    pub(super) rounds: Rounds<spsc::RecordConsumer>,
}

impl Reader for spsc::RecordConsumer {
    fn open(lines: &Lines, geometry: &Geometry) -> Result<Self, RingError> {
        let endpoint = Endpoint::lent(lines.clone(), Side::Consumer);
        let bytes = Bytes::new(lines, geometry.capacity, geometry.extent);
        Ok(Self::new(endpoint, bytes, read_head(lines)?, record::batch(geometry.capacity)))
    }

    #[inline(always)]
    fn position(&self) -> u64 {
        self.position()
    }

    #[inline(always)]
    fn has_some(&mut self) -> Result<bool, RingError> {
        Ok(self.next()?.is_some())
    }

    fn acknowledge_taken(&mut self) {
        self.acknowledge_taken();
    }
}

impl RecordConsumer {
    /// Finds the next record: in the lane whose turn it is, or in the next that has one.
    #[inline(always)]
    fn find(&mut self) -> Result<Found, RingError> {
        // What is wrong with a lane is found again, and told, in its round.
        if let Some(reader) = self.rounds.on_turn()
            && let Ok(Some(found)) = reader.next()
        {
            return Ok(found);
        }
        if !self.rounds.find()? {
            return Err(self.rounds.empty());
        }
        self.rounds.current()?.next()?.ok_or(RingError::Empty)
    }

    /// As [`find`](Self::find), waiting for a record; `None` at the end of the stream.
    fn find_waiting(&mut self, deadline: Option<Instant>) -> Result<Option<Found>, RingError> {
        let found = match self.find() {
            Err(RingError::Empty) => self.find_after_waiting(deadline),
            done => done,
        };
        end_is_none(found)
    }

    fn find_after_waiting(&mut self, deadline: Option<Instant>) -> Result<Found, RingError> {
        self.rounds.wait(deadline)?;
        self.rounds.current()?.next()?.ok_or(RingError::Empty)
    }

    /// Lends a view of the next record in place, if there is one in any lane. [`View::release`] goes on to the next; dropping the view does not.
    ///
    /// # Errors
    ///
    /// [`RingError::Empty`]; [`RingError::Closed`] if all producers have left and all is taken; [`RingError::PeerGaveUp`], once for each that did;
    /// [`RingError::WrongProcess`], [`RingError::Corrupted`] once for each damaged lane, which is left out from then on.
    #[inline]
    pub fn try_peek(&mut self) -> Result<View<'_>, RingError> {
        let found = self.find()?;
        Ok(self.rounds.current()?.view(found))
    }

    /// Lends a view of the next record in place, waiting for one as long as a living producer may push some, or none has come yet. `None`: all producers
    /// have left and all is taken; if others come after that, their records can be taken.
    ///
    /// # Errors
    ///
    /// [`RingError::PeerDied`] if a producer is dead, [`RingError::PeerGaveUp`] if one left in a panic: in both cases once, after all that it had
    /// committed, and the next call goes on with the others. [`RingError::Cancelled`], [`RingError::WrongProcess`]; [`RingError::Corrupted`] once for each damaged lane, which is left out
    /// from then on.
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
        match self.find_waiting(deadline)? {
            Some(found) => Ok(Some(self.rounds.current()?.view(found))),
            None => Ok(None),
        }
    }

    /// Pops a record if there is one in any lane: `record` then holds exactly its bytes. Returns its length. Its room in the lane is free when it is
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

    fn pop_found(&mut self, found: Found, record: &mut Vec<u8>) -> Result<usize, RingError> {
        self.rounds.current()?.pop_found(found, record)
    }

    /// Pops the records of one producer that are there, at most `most` of them, and gives each to `each` as a view in place: in bulk, without a copy.
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

    fn pop_found_slice(&mut self, _: Found, most: usize, each: impl FnMut(&[u8])) -> Result<usize, RingError> {
        // In its lane it is the next.
        self.rounds.current()?.try_pop_slice(most, each)
    }
}

pops_records!(impl RecordConsumer, as: peek, end: "all producers have left and all is taken");
consumer_side!(impl [] RecordConsumer, ring: RecordRing);
