//! The consumer of records that never holds the producer back.

use std::time::Instant;

use ipc_core::sync::{Ordering, fence};
use ipc_core::{Error, Segment};

use super::Start;
use super::checkpoint::{self, Checkpoint};
use super::lossy_consumer::Look;
use super::record_ring::RecordRing;
use super::sides::any_consumer;
use super::watch::Watch;
use crate::error::{RingError, end_is_none};
use crate::record::{Bytes, Cursor, Found};
use crate::sides::pops_records;

/// How often one that is to begin now begins again because it was overtaken on the way to the end.
const ATTEMPTS: usize = 100;

/// A consumer of a broadcast [`RecordRing`] that the producer does not know of and never waits for: one of any number.
///
/// If it falls behind by more than the ring holds, it gets [`RingError::Lapped`] with the exact number of records that it missed, and goes on with what is there still. A record is copied out,
/// and then it is made sure that the producer had not been let to write there: what is returned was never torn. There are no views in place, as nothing keeps the producer from
/// writing under them.
///
/// `Send`, but not `Sync`. If the process dies or stops, nobody notices.
#[derive(Debug)]
pub struct LossyRecordConsumer {
    watch: Watch,
    cursor: Cursor,
    /// How many records were before the next one.
    number: u64,
    /// Records that were missed, all in all.
    missed: u64,
    /// For records that are given to a closure.
    copy: Vec<u8>,
}

impl LossyRecordConsumer {
    pub(super) fn new(watch: Watch, bytes: Bytes, start: Start) -> Result<Self, RingError> {
        let (next, _) = checkpoint::intact(watch.lines(), 0)?;
        let cursor = Cursor::new(bytes, next.position);
        let mut consumer = Self { watch, cursor, number: next.number, missed: 0, copy: Vec::new() };
        if start == Start::Now {
            consumer.skip_to_end()?;
        }
        Ok(consumer)
    }

    /// Where the next record begins: bytes of the ring, framing included, since it was made.
    pub fn position(&self) -> u64 {
        self.cursor.position
    }

    /// How many records were committed before the next one since the ring was made.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How many records were missed so far: the sum of all that was told.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Goes on with what is pushed from now on, and returns how many records that leaves out. They are not counted as [missed](Self::missed). Walks over the records from the
    /// last [place to begin](RecordRing::consumer) on.
    ///
    /// # Errors
    ///
    /// [`RingError::WrongProcess`], [`RingError::Corrupted`].
    pub fn skip(&mut self) -> Result<u64, RingError> {
        self.watch.handle.check_process()?;
        let before = self.number;
        self.skip_to_end().map_err(|error| self.watch.handle.explain(error))?;
        Ok(self.number.wrapping_sub(before))
    }

    fn skip_to_end(&mut self) -> Result<(), RingError> {
        for _ in 0..ATTEMPTS {
            let newest = checkpoint::newest_intact(self.watch.lines())?;
            // Never back.
            if newest.position > self.cursor.position {
                self.go_to(newest);
            }
            let begun = self.cursor.position;
            loop {
                match self.look() {
                    Ok(Some(found)) => self.step_over(found),
                    Ok(None) => return Ok(()),
                    Err(Look::Lapped) => break,
                    Err(Look::Failed(error)) => return Err(error),
                }
                // The producer runs ahead as fast as we follow: this is now, too.
                if self.cursor.position.wrapping_sub(begun) > self.cursor.bytes.ring {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn go_to(&mut self, place: Checkpoint) {
        self.number = place.number;
        self.cursor.go_to(place.position);
    }

    /// Done with a record.
    #[inline(always)]
    fn step_over(&mut self, found: Found) {
        self.cursor.step_over(found);
        self.number = self.number.wrapping_add(1);
    }

    /// Looks for the next record.
    #[inline(always)]
    fn look(&self) -> Result<Option<Found>, Look> {
        look(&self.watch, &self.cursor)
    }

    /// Goes on where there is something still, and says what was missed.
    #[cold]
    fn lapped(&mut self) -> RingError {
        let error = match checkpoint::intact(self.watch.lines(), self.watch.margin()) {
            Ok((found, _)) if found.position > self.cursor.position && found.number > self.number => {
                let missed = found.number - self.number;
                self.go_to(found);
                self.missed = self.missed.wrapping_add(missed);
                RingError::Lapped { missed }
            }
            Ok((found, _)) => {
                let (found, limit) = (found.position, self.cursor.position);
                RingError::Corrupted { what: "the oldest position", found, limit }
            }
            Err(error) => error,
        };
        self.watch.handle.explain(error)
    }

    #[inline]
    fn failed(&mut self, failed: Look) -> RingError {
        match failed {
            Look::Lapped => self.lapped(),
            Look::Failed(error) => self.watch.handle.explain(error),
        }
    }

    #[inline(always)]
    fn find(&mut self) -> Result<Found, RingError> {
        self.watch.handle.check_process()?;
        match self.look() {
            Ok(Some(found)) => Ok(found),
            Ok(None) => self.empty(),
            Err(failed) => Err(self.failed(failed)),
        }
    }

    /// Empty for now, or for good.
    #[inline]
    fn empty(&mut self) -> Result<Found, RingError> {
        let Some(gone) = self.watch.lines().publisher().gone() else {
            return Err(self.watch.handle.explain(RingError::Empty));
        };
        // What was committed before it left is visible now that its leaving is: look once more.
        match self.look() {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(self.watch.handle.explain(gone)),
            Err(failed) => Err(self.failed(failed)),
        }
    }

    /// As [`find`](Self::find), waiting for a record; `None` at the end of the stream.
    fn find_waiting(&mut self, deadline: Option<Instant>) -> Result<Option<Found>, RingError> {
        let found = match self.find() {
            Err(RingError::Empty) => {
                let Self { watch, cursor, .. } = self;
                watch.wait(deadline, || match look(watch, cursor) {
                    Ok(found) => Ok(found.map(|_| ())),
                    // The look behind it tells.
                    Err(Look::Lapped) => Ok(Some(())),
                    Err(Look::Failed(error)) => Err(error),
                })?;
                self.find()
            }
            done => done,
        };
        end_is_none(found)
    }

    /// Pops a record if there is one: `record` then holds exactly its bytes. Returns its length.
    ///
    /// # Errors
    ///
    /// [`RingError::Lapped`] if records were written over before they were popped: the next call goes on behind them. [`RingError::Empty`]; [`RingError::Closed`] if the
    /// producer has closed and all is taken; [`RingError::PeerGaveUp`], [`RingError::WrongProcess`], [`RingError::Corrupted`], [`RingError::OutOfMemory`]. `record` is empty, then.
    pub fn try_pop(&mut self, record: &mut Vec<u8>) -> Result<usize, RingError> {
        record.clear();
        let found = self.find()?;
        self.pop_found(found, record)
    }

    fn pop_found(&mut self, found: Found, record: &mut Vec<u8>) -> Result<usize, RingError> {
        self.take(found, record).map_err(|failed| self.failed(failed))
    }

    /// Copies a record out, if it is whole, and goes on to the next; `record` is empty otherwise.
    #[inline(always)]
    fn take(&mut self, found: Found, record: &mut Vec<u8>) -> Result<usize, Look> {
        self.cursor
            .bytes
            .append_racing_to(self.cursor.offset_of(found.start), found.len, record)
            .map_err(Look::Failed)?;
        // Acquire: the record was read before the reach is looked at.
        fence(Ordering::Acquire);
        let whole = if self.watch.lines().is_intact(self.cursor.position) {
            self.watch.handle.check_pages().map_err(Look::Failed)
        } else {
            Err(Look::Lapped)
        };
        match whole {
            Ok(()) => self.step_over(found),
            Err(_) => record.clear(),
        }
        whole.map(|()| found.len)
    }

    /// Pops the records that are there, at most `most` of them, and gives each to `each`, copied out. Returns how many that was.
    ///
    /// If `each` panics, the record that it was given was taken.
    ///
    /// # Errors
    ///
    /// As [`try_pop`](Self::try_pop), if there was not even one.
    pub fn try_pop_slice(&mut self, most: usize, mut each: impl FnMut(&[u8])) -> Result<usize, RingError> {
        let mut popped = 0;
        while popped < most {
            let found = if popped == 0 {
                self.find()?
            } else if let Ok(Some(found)) = self.look() {
                found
            } else {
                // What else there is to tell is told by the next call.
                break;
            };
            let mut copy = std::mem::take(&mut self.copy);
            copy.clear();
            let taken = self.take(found, &mut copy);
            if taken.is_ok() {
                each(&copy);
            }
            self.copy = copy;
            match taken {
                Ok(_) => popped += 1,
                Err(failed) if popped == 0 => return Err(self.failed(failed)),
                Err(_) => break,
            }
        }
        Ok(popped)
    }

    fn pop_found_slice(&mut self, _: Found, most: usize, each: impl FnMut(&[u8])) -> Result<usize, RingError> {
        // It may have been overtaken since.
        self.try_pop_slice(most, each)
    }
}

pops_records! {
    impl LossyRecordConsumer, as: pop, end: "the producer has closed and all is taken";

    /// Pops a record, waiting for one as long as a living producer may push one, or none has come yet: `record` then holds exactly its bytes. Returns its length, or
    /// `None` if the producer has closed and all is taken.
    ///
    /// # Errors
    ///
    /// [`RingError::Lapped`] as for [`try_pop`](Self::try_pop); [`RingError::PeerDied`] if the producer is dead, [`RingError::PeerGaveUp`] if it left in a panic, in both cases
    /// after all that it had committed; [`RingError::Cancelled`], [`RingError::WrongProcess`], [`RingError::Corrupted`], [`RingError::OutOfMemory`]. `record` is empty, then.
    pub fn pop;
}

any_consumer!(impl [] LossyRecordConsumer, ring: RecordRing, made: lossy_consumer, waits: watch);

/// Looks for the record at the cursor.
#[inline(always)]
fn look(watch: &Watch, cursor: &Cursor) -> Result<Option<Found>, Look> {
    let found = cursor.look();
    // What looks like a control word may be payload of a later lap, which no Release ordered.
    fence(Ordering::Acquire);
    if !watch.lines().is_intact(cursor.position) {
        return Err(Look::Lapped);
    }
    found.map_err(Look::Failed)
}
