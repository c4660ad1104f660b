//! The producer of records of any length.

use std::time::Instant;

use ipc_core::sync::{CACHE_LINE, Ordering};
use ipc_core::{Error, Segment};

use super::checkpoint::{Checkpoint, Checkpoints};
use super::gate::Gate;
use super::grant::Grant;
use super::lines::ConsumerInfo;
use super::record_ring::RecordRing;
use super::sides::producer_side;
use crate::error::{PushError, RingError};
use crate::publisher::Leaving;
use crate::record::{self, CONTROL, Place};
use crate::spsc::bytes::Bytes;

const LINE: u64 = CACHE_LINE as u64;

/// The producer's side of a broadcast [`RecordRing`]: one in all processes at a time.
///
/// `Send`, but not `Sync`. Dropping it closes the ring, except in a panic, which the consumers are told of as such.
///
/// A push copies the record into the ring and stores one control word; [`claim`](Self::claim) lends the room instead, to be written in
/// place. Wait-free while the slowest consumer in the table leaves room. If the process dies before the commit, nothing of the record was published.
#[derive(Debug)]
pub struct RecordProducer {
    pub(super) gate: Gate,
    pub(super) bytes: Bytes,
    checkpoints: Checkpoints,
    /// Records committed since the ring was made.
    number: u64,
    /// Where the next control word goes. That word is zero, and so are those behind it in the same line.
    position: u64,
    /// `position` in the ring.
    offset: u64,
    /// A record may end here at most, so that the line of the control word behind it is free as well.
    limit: u64,
    batch: u64,
    /// The first word of every line that begins behind `position` and not behind this is zero.
    clean_to: u64,
    /// A word that is held back until all records of a slice stand: where, and what.
    held_back: Option<(u64, u64)>,
    holding_back: bool,
    /// Room that a grant was given for and that did not come back: leaked, if it is found here.
    pub(super) lent: Option<Place>,
}

impl RecordProducer {
    /// Goes on where the committed part ends.
    pub(super) fn new(gate: Gate, bytes: Bytes, tail: Checkpoint, checkpoints: Checkpoints, batch: u64) -> Self {
        let Checkpoint { position, number } = tail;
        let offset = bytes.offset(position);
        // The last producer may have written payload behind the tail.
        bytes.clear(offset + CONTROL as u64, (offset / LINE + 1) * LINE);
        let producer = Self {
            gate,
            bytes,
            checkpoints,
            number,
            position,
            offset,
            limit: position,
            batch,
            clean_to: position / LINE * LINE,
            held_back: None,
            holding_back: false,
            lent: None,
        };
        producer.leave_hint();
        producer
    }

    /// Bytes of the ring, framing included, used since it was made, by all its producers: where a successor goes on.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Records committed since the ring was made, by all its producers.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The longest record that the ring takes.
    pub fn max_record(&self) -> usize {
        self.bytes.max_record
    }

    /// Finds the place for a record of `len` bytes, if there is room.
    #[inline(always)]
    fn find_room(&mut self, len: usize) -> Result<Place, RingError> {
        self.gate.handle.check_process()?;
        if let Some(place) = self.lent.take() {
            self.forget_clean(place);
        }
        self.check_len(len)?;
        let place = record::place(self.position, self.offset, len, self.bytes.ring);
        if place.end <= self.limit {
            return Ok(place);
        }
        self.refresh(place)
    }

    #[inline(always)]
    fn check_len(&self, len: usize) -> Result<(), RingError> {
        let max = self.bytes.max_record;
        if len > max { Err(RingError::TooLarge { len, max }) } else { Ok(()) }
    }

    /// Declares what comes next, and looks who holds it back, as there is no room by what was last seen.
    #[cold]
    fn refresh(&mut self, place: Place) -> Result<Place, RingError> {
        // What is declared is for those who come to begin with: all before it has to stand.
        self.publish_held_back();
        self.leave_hint();
        if self.look_for_room(place)? {
            return Ok(place);
        }
        // Not if the dead are all who hold it back.
        if self.gate.ask_now_and_then() && self.look_for_room(place)? {
            return Ok(place);
        }
        Err(self.gate.handle.explain(RingError::Full))
    }

    /// Notes up to where there is room; whether there is enough.
    fn look_for_room(&mut self, place: Place) -> Result<bool, RingError> {
        let Self { gate, checkpoints, position, number, batch, .. } = self;
        let here = Checkpoint { position: *position, number: *number };
        self.limit = limit(gate, checkpoints, here, *batch, place)?.max(self.limit);
        Ok(place.end <= self.limit)
    }

    /// As [`find_room`](Self::find_room), waiting for it.
    #[inline]
    fn find_room_waiting(&mut self, len: usize, deadline: Option<Instant>) -> Result<Place, RingError> {
        match self.find_room(len) {
            Err(RingError::Full) => self.wait_for_room(len, deadline),
            found => found,
        }
    }

    fn wait_for_room(&mut self, len: usize, deadline: Option<Instant>) -> Result<Place, RingError> {
        let Self { gate, bytes, position, offset, number, checkpoints, batch, limit: room, .. } = self;
        let place = record::place(*position, *offset, len, bytes.ring);
        let here = Checkpoint { position: *position, number: *number };
        *room = gate.wait(deadline, || {
            let found = limit(gate, checkpoints, here, *batch, place)?;
            Ok((place.end <= found).then_some(found))
        })?;
        Ok(place)
    }

    /// Claims room for a record of exactly `len` bytes, or of at most as many: [`Grant::commit_len`] decides. The grant is written in place,
    /// and published by committing it; dropping it aborts it.
    ///
    /// # Errors
    ///
    /// [`RingError::Full`]; [`RingError::TooLarge`]; [`RingError::WrongProcess`], [`RingError::Corrupted`], [`RingError::Lost`].
    pub fn try_claim(&mut self, len: usize) -> Result<Grant<'_>, RingError> {
        let place = self.find_room(len)?;
        Ok(Grant::new(self, place, len))
    }

    /// As [`try_claim`](Self::try_claim), waiting for room as long as a living consumer in the table holds it back.
    ///
    /// # Errors
    ///
    /// As [`try_claim`](Self::try_claim), and [`RingError::Cancelled`]; never [`RingError::Full`].
    pub fn claim(&mut self, len: usize) -> Result<Grant<'_>, RingError> {
        self.claim_waiting(len, None)
    }

    /// As [`claim`](Self::claim), until a deadline.
    ///
    /// # Errors
    ///
    /// As [`claim`](Self::claim), and [`RingError::TimedOut`].
    pub fn claim_deadline(&mut self, len: usize, deadline: Instant) -> Result<Grant<'_>, RingError> {
        self.claim_waiting(len, Some(deadline))
    }

    fn claim_waiting(&mut self, len: usize, deadline: Option<Instant>) -> Result<Grant<'_>, RingError> {
        let place = self.find_room_waiting(len, deadline)?;
        Ok(Grant::new(self, place, len))
    }

    /// Pushes a record if there is room.
    ///
    /// # Errors
    ///
    /// As [`try_claim`](Self::try_claim).
    #[inline]
    pub fn try_push(&mut self, record: &[u8]) -> Result<(), RingError> {
        let place = self.find_room(record.len())?;
        self.push_at(place, record)
    }

    /// Pushes a record, waiting for room as [`claim`](Self::claim) does.
    ///
    /// # Errors
    ///
    /// As [`claim`](Self::claim).
    #[inline]
    pub fn push(&mut self, record: &[u8]) -> Result<(), RingError> {
        let place = self.find_room_waiting(record.len(), None)?;
        self.push_at(place, record)
    }

    /// As [`push`](Self::push), until a deadline.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push), and [`RingError::TimedOut`].
    pub fn push_deadline(&mut self, record: &[u8], deadline: Instant) -> Result<(), RingError> {
        let place = self.find_room_waiting(record.len(), Some(deadline))?;
        self.push_at(place, record)
    }

    #[inline(always)]
    fn push_at(&mut self, place: Place, record: &[u8]) -> Result<(), RingError> {
        self.write(place, record);
        self.gate.lines().publisher().wake();
        self.gate.handle.check_pages()
    }

    #[inline(always)]
    fn write(&mut self, place: Place, record: &[u8]) {
        let offset = self.offset_of(place.start);
        self.bytes.write_racing(offset, 0, record);
        self.commit(place, record.len());
    }

    /// Pushes as many of the records as there is room for, and returns how many that was. Those that lie within one batch are published together.
    ///
    /// # Errors
    ///
    /// As [`try_push`](Self::try_push), if not even one was pushed; nothing was, then.
    pub fn try_push_slice<R: AsRef<[u8]>>(&mut self, records: &[R]) -> Result<usize, RingError> {
        let slice = Slice::begin(self);
        let mut pushed = 0;
        for record in records {
            // Asked once: it might answer otherwise the second time.
            let record = record.as_ref();
            match slice.0.find_room(record.len()) {
                Ok(place) => slice.0.write(place, record),
                Err(reason) if pushed == 0 => return Err(reason),
                Err(_) => break,
            }
            pushed += 1;
        }
        // Published first.
        drop(slice);
        self.gate.handle.check_pages()?;
        Ok(pushed)
    }

    /// Pushes all the records, waiting for room as [`push`](Self::push) does.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push); the error's value is how many were pushed.
    pub fn push_slice<R: AsRef<[u8]>>(&mut self, records: &[R]) -> Result<(), PushError<usize>> {
        self.push_slice_waiting(records, None)
    }

    /// As [`push_slice`](Self::push_slice), until a deadline.
    ///
    /// # Errors
    ///
    /// As [`push_slice`](Self::push_slice), and [`RingError::TimedOut`].
    pub fn push_slice_deadline<R: AsRef<[u8]>>(
        &mut self,
        records: &[R],
        deadline: Instant,
    ) -> Result<(), PushError<usize>> {
        self.push_slice_waiting(records, Some(deadline))
    }

    fn push_slice_waiting<R: AsRef<[u8]>>(
        &mut self,
        records: &[R],
        deadline: Option<Instant>,
    ) -> Result<(), PushError<usize>> {
        let mut pushed = 0;
        while pushed < records.len() {
            let step = match self.try_push_slice(&records[pushed..]) {
                Err(RingError::Full) => {
                    // Asked anew, so checked anew; and what it needs declared.
                    let len = records[pushed].as_ref().len();
                    self.find_room_waiting(len, deadline).map(|_| 0)
                }
                step => step,
            };
            pushed += step.map_err(|reason| PushError { value: pushed, reason })?;
        }
        Ok(())
    }

    /// Where a position not far behind our own lies in the ring.
    #[inline(always)]
    pub(super) fn offset_of(&self, position: u64) -> u64 {
        let offset = self.offset + position.wrapping_sub(self.position);
        if offset >= self.bytes.ring { offset - self.bytes.ring } else { offset }
    }

    /// Makes a written record visible: the one store that commits.
    ///
    /// Before it, the word where the next record will begin is zeroed, so that old payload there is never taken for a control word. That is
    /// usually done by then: the line behind is prepared after each commit, where it costs the consumers nothing.
    #[inline(always)]
    pub(super) fn commit(&mut self, place: Place, len: usize) {
        let Place { start, end } = place;
        let (at, next) = (self.offset_of(start), self.offset_of(end));
        let newly_opened = start.is_multiple_of(LINE);
        if end.is_multiple_of(LINE) {
            if end > self.clean_to {
                self.bytes.clear(next, next + CONTROL as u64);
            }
        } else if newly_opened {
            self.bytes.clear(next, (next / LINE + 1) * LINE);
        }
        let mut first = (self.offset, record::record_word(start, len));
        if start != self.position {
            // Behind padding: stands before the padding is committed, and is found through it.
            self.bytes.control(at).store(first.1, Ordering::Relaxed);
            first.1 = record::padding_word(self.position, start - self.position);
        }
        if !self.holding_back {
            // Release: who sees this word sees the payload, and the zeros behind it. Pairs with the consumers' Acquire.
            self.bytes.control(first.0).store(first.1, Ordering::Release);
        } else if self.held_back.is_none() {
            self.held_back = Some(first);
        } else {
            self.bytes.control(first.0).store(first.1, Ordering::Relaxed);
        }
        self.position = end;
        self.offset = next;
        self.number = self.number.wrapping_add(1);
        self.prepare_next_line();
    }

    /// Zeroes the first word of the line behind the one in which the next record begins, if there is room: also asks for the line before it is needed.
    #[inline(always)]
    fn prepare_next_line(&mut self) {
        let line = self.position / LINE * LINE;
        let behind = line + LINE;
        if behind > self.clean_to {
            if behind <= self.limit {
                let offset = self.offset_of(behind);
                self.bytes.clear(offset, offset + CONTROL as u64);
                self.clean_to = behind;
            } else {
                // Nothing is known beyond the line in which we stand.
                self.clean_to = line;
            }
        }
    }

    /// As [`commit`](Self::commit), of a record that is shorter than the room that was written for it.
    pub(super) fn commit_shorter(&mut self, start: u64, len: usize) {
        let end = record::end(start, len);
        // What was written behind the shorter record is not zero.
        self.clean_to = self.position / LINE * LINE;
        let next = self.offset_of(end);
        if !end.is_multiple_of(LINE) {
            self.bytes.clear(next, (next / LINE + 1) * LINE);
        }
        self.commit(Place { start, end }, len);
    }

    /// After payload was written that is not committed: nothing behind the control word at `position` is known to be zero.
    pub(super) fn forget_clean(&mut self, place: Place) {
        let start = self.offset_of(place.start);
        let line_end = (start / LINE + 1) * LINE;
        if !place.start.is_multiple_of(LINE) {
            // In the line in which we stand: keep it zero behind the next control word.
            self.bytes.clear(start + CONTROL as u64, line_end);
        }
        self.clean_to = self.position / LINE * LINE;
    }

    /// Publishes the records of a slice that stand so far; whether there were any.
    fn publish_held_back(&mut self) -> bool {
        let Some((offset, word)) = self.held_back.take() else { return false };
        // Release: who sees this word sees all records that hang on it. Pairs with the consumers' Acquire.
        self.bytes.control(offset).store(word, Ordering::Release);
        self.gate.lines().publisher().wake();
        true
    }
}

producer_side!(impl [] RecordProducer, ring: RecordRing);

/// Records that are published together when this drops; also if a caller's `as_ref` panics between two of them.
struct Slice<'a>(&'a mut RecordProducer);

impl<'a> Slice<'a> {
    fn begin(producer: &'a mut RecordProducer) -> Self {
        producer.holding_back = true;
        Self(producer)
    }
}

impl Drop for Slice<'_> {
    fn drop(&mut self) {
        self.0.holding_back = false;
        self.0.publish_held_back();
    }
}

/// Up to where a record may end, if at `place` the next one is to go: where the next batch ends, at most, or that record.
fn limit(
    gate: &Gate,
    checkpoints: &mut Checkpoints,
    here: Checkpoint,
    batch: u64,
    place: Place,
) -> Result<u64, RingError> {
    // And the line of the control word behind it.
    let wanted = here.position.wrapping_add(batch).max(place.end).next_multiple_of(LINE) + LINE;
    let found = gate.open(here.position, wanted, |reach| checkpoints.leave(gate.lines(), here, reach))?;
    let (room, limit) = (found.wrapping_sub(here.position), gate.lines().span);
    // Less than nothing while a consumer comes whose place says where another one was.
    if found > here.position && room > limit {
        return Err(RingError::Corrupted { what: "the room that the heads leave", found: room, limit });
    }
    Ok(found.saturating_sub(LINE))
}
