//! The producers of records of any length.

use std::time::Instant;

use ipc_core::{Error, Segment};

use super::claimer::{Claimer, Room, Wanted};
use super::control::LONGEST_SPAN;
use super::lines::{Lines, layout};
use super::record::Grant;
use super::ring::{Options, RecordRing};
use super::sides::producer_side;
use crate::error::{PushError, RingError};
use crate::sides::{push_in_steps, pushes_records};

/// At most so many records are claimed by one word.
const RUN: usize = 64;

/// One of the producers of a [`RecordRing`]: as many in all processes at a time as the ring has places.
///
/// `Send`, but not `Sync`. Dropping it closes it, except in a panic, which the consumer is told of as such.
///
/// A push costs two compare-and-swaps of one word, the copy of the record, and a look at the consumer's bell; [`claim`](Self::claim) lends the room instead, to be written in place. Lock-free while there is room: it claims
/// again if another producer was faster, and waits for none. If the process dies before the commit, nothing of the record was published, and what was claimed is stepped over.
#[derive(Debug)]
pub struct RecordProducer {
    pub(super) claimer: Claimer,
    pub(super) lines: Lines,
}

/// Room for records that take so many lines together, of which the first takes `least`.
fn wanted(most: u64, least: u64) -> Wanted {
    Wanted { most, least, wraps: false }
}

impl RecordProducer {
    pub(super) fn new(claimer: Claimer, lines: Lines) -> Self {
        Self { claimer, lines }
    }

    /// Behind the record that this producer pushed last in the one order, which counts the lines that were claimed since the ring was made: by all producers, and what was skipped as well. Before the
    /// first, where the consumer had acknowledged when it came.
    pub fn position(&self) -> u64 {
        self.claimer.end()
    }

    /// The longest record that the ring takes.
    pub fn max_record(&self) -> usize {
        self.lines.max_record
    }

    #[inline(always)]
    fn check_len(&self, len: usize) -> Result<Wanted, RingError> {
        let max = self.lines.max_record;
        if len > max {
            return Err(RingError::TooLarge { len, max });
        }
        let lines = layout::lines(len);
        Ok(wanted(lines, lines))
    }

    /// Claims room for a record of exactly `len` bytes, or of at most as many: [`Grant::commit_len`] decides. The grant is written in place,
    /// and published by committing it; dropping it aborts it. Its place in the order is that of the claim: what others push meanwhile comes behind it, and waits for it.
    ///
    /// # Errors
    ///
    /// [`RingError::Full`]; [`RingError::TooLarge`]; [`RingError::Closed`], [`RingError::PeerGaveUp`], [`RingError::ClaimLost`], [`RingError::WrongProcess`],
    /// [`RingError::Corrupted`].
    pub fn try_claim(&mut self, len: usize) -> Result<Grant<'_>, RingError> {
        let room = self.claimer.claim(self.check_len(len)?)?;
        Ok(Grant::new(self, room, len))
    }

    fn claim_waiting(&mut self, len: usize, deadline: Option<Instant>) -> Result<Grant<'_>, RingError> {
        let room = self.claimer.claim_waiting(self.check_len(len)?, deadline)?;
        Ok(Grant::new(self, room, len))
    }

    /// Pushes a record if there is room.
    ///
    /// # Errors
    ///
    /// As [`try_claim`](Self::try_claim).
    #[inline]
    pub fn try_push(&mut self, record: &[u8]) -> Result<(), RingError> {
        let room = self.claimer.claim(self.check_len(record.len())?)?;
        self.fill(room, record)
    }

    #[inline]
    fn push_waiting(&mut self, record: &[u8], deadline: Option<Instant>) -> Result<(), RingError> {
        let room = self.claimer.claim_waiting(self.check_len(record.len())?, deadline)?;
        self.fill(room, record)
    }

    #[inline(always)]
    fn fill(&mut self, room: Room, record: &[u8]) -> Result<(), RingError> {
        self.lines.write(room.at.index, 0, record);
        self.commit_one(room, record.len())
    }

    #[inline(always)]
    pub(super) fn commit_one(&mut self, room: Room, len: usize) -> Result<(), RingError> {
        self.lines.set_len(room.at.index, len, false);
        self.claimer.commit(room, 1, len as u64)
    }

    /// Claims room for some of the records, or for all if one claim may take as many, and publishes them together.
    fn push_run<R: AsRef<[u8]>>(
        &mut self,
        records: &[R],
        deadline: Option<Option<Instant>>,
    ) -> Result<usize, RingError> {
        let mut run: [&[u8]; RUN] = [&[]; RUN];
        let (mut count, mut first, mut all) = (0, 0, 0);
        for (slot, record) in run.iter_mut().zip(records) {
            // Asked once: it might answer otherwise the second time.
            let record = record.as_ref();
            match self.check_len(record.len()) {
                Ok(wanted) if count == 0 => (first, all) = (wanted.least, wanted.least),
                Ok(wanted) if all + wanted.least <= LONGEST_SPAN.min(self.claimer.longest()) => all += wanted.least,
                Err(reason) if count == 0 => return Err(reason),
                Ok(_) | Err(_) => break,
            }
            *slot = record;
            count += 1;
        }
        let room = match deadline {
            None => self.claimer.claim(wanted(all, first))?,
            Some(deadline) => self.claimer.claim_waiting(wanted(all, first), deadline)?,
        };
        let (mut line, mut left, mut bytes, mut pushed) = (room.at.index, room.claim.len, 0, 0);
        for (index, record) in run[..count].iter().enumerate() {
            let lines = layout::lines(record.len());
            let next = run[..count].get(index + 1).map(|next| layout::lines(next.len()));
            self.lines.write(line, 0, record);
            let followed = next.is_some_and(|next| lines + next <= left);
            self.lines.set_len(line, record.len(), followed);
            (pushed, bytes) = (pushed + 1, bytes + record.len() as u64);
            if !followed {
                break;
            }
            (line, left) = (line + lines, left - lines);
        }
        self.claimer.commit(room, pushed as u64, bytes)?;
        Ok(pushed)
    }

    /// Pushes as many of the records as there is room for, and returns how many that was. Runs of up to 64 of them, or 16 KiB with what frames them, are claimed by one word, published together, and follow each
    /// other in the order.
    ///
    /// # Errors
    ///
    /// As [`try_push`](Self::try_push), if not even one was pushed; nothing was, then.
    pub fn try_push_slice<R: AsRef<[u8]>>(&mut self, records: &[R]) -> Result<usize, RingError> {
        let mut pushed = 0;
        while pushed < records.len() {
            match self.push_run(&records[pushed..], None) {
                Ok(run) => pushed += run,
                Err(reason) if pushed == 0 => return Err(reason),
                // Told by the next call.
                Err(_) => break,
            }
        }
        Ok(pushed)
    }

    fn push_slice_waiting<R: AsRef<[u8]>>(
        &mut self,
        records: &[R],
        deadline: Option<Instant>,
    ) -> Result<(), PushError<usize>> {
        push_in_steps(records.len(), |pushed| self.push_run(&records[pushed..], Some(deadline)))
    }
}

pushes_records! {
    impl [] RecordProducer, together: "each run of up to 64 of them, or 16 KiB with what frames them, is published together";

    /// As [`try_claim`](Self::try_claim), waiting for room as long as a living consumer may make some, or none has come yet.
    ///
    /// # Errors
    ///
    /// As [`try_claim`](Self::try_claim), [`RingError::PeerDied`] if the ring is full and the consumer dead, [`RingError::Cancelled`];
    /// never [`RingError::Full`].
    pub fn claim;
}

producer_side!(impl [] RecordProducer, ring: RecordRing);
