//! The producer of records of any length.

use std::time::Instant;

use ipc_core::sync::{CACHE_LINE, Ordering};
use ipc_core::{Error, Segment};

use super::bytes::Bytes;
use super::endpoint::{Endpoint, Leaving, Lines, Other};
use super::grant::Grant;
use super::ring::RecordRing;
use super::sides::producer_side;
use super::stats::{Counted, PUBLISHED};
use crate::error::{PushError, RingError, Side};
use crate::lanes::LONGEST;
use crate::record::{self, CONTROL, Place};

const LINE: u64 = CACHE_LINE as u64;
/// With the padding before it a record that is longer does not say in its claim how long it is.
const LONG: u64 = LONGEST * CONTROL as u64;

/// The producer's side of a [`RecordRing`]: one in all processes at a time.
///
/// `Send`, but not `Sync`. Dropping it closes the ring, except in a panic, which the consumer is told of as such.
///
/// A push copies the record into the ring and stores one control word; [`claim`](Self::claim) lends the room instead, to be written in
/// place. Wait-free while there is room. If the process dies before the commit, nothing of the record was published.
#[derive(Debug)]
pub struct RecordProducer {
    pub(crate) endpoint: Endpoint,
    pub(super) bytes: Bytes,
    /// Where the next control word goes. That word is zero, and so are those behind it in the same line.
    position: u64,
    /// `position` in the ring.
    offset: u64,
    /// A record may end here at most, so that the line of the control word behind it is free as well.
    limit: u64,
    /// The first word of every line that begins behind `position` and not behind this is zero.
    clean_to: u64,
    /// A word that is held back until all records of a slice stand: where, and what.
    held_back: Option<(u64, u64)>,
    holding_back: bool,
    /// What was published by all producers.
    counted: Counted,
    /// Looks that found no room.
    looks: u32,
    /// Room that a grant was given for and that did not come back: leaked, if it is found here.
    pub(super) lent: Option<Place>,
}

impl RecordProducer {
    /// Goes on at `position`, where the committed part ends.
    pub(crate) fn new(endpoint: Endpoint, bytes: Bytes, position: u64, counted: Counted) -> Self {
        let offset = bytes.offset(position);
        // The last producer may have written payload behind the tail.
        bytes.clear(offset + CONTROL as u64, (offset / LINE + 1) * LINE);
        let (limit, clean_to) = (position, position / LINE * LINE);
        let producer = Self {
            endpoint,
            bytes,
            position,
            offset,
            limit,
            clean_to,
            held_back: None,
            holding_back: false,
            counted,
            looks: 0,
            lent: None,
        };
        producer.leave_hint();
        producer
    }

    /// Bytes of the ring, framing included, used since it was made, by all its producers: where a successor goes on.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Tells whoever looks how much was published.
    #[inline(always)]
    fn count_published(&self) {
        self.counted
            .store(self.endpoint.lines().counter::<PUBLISHED>(), self.endpoint.lines().counter::<{ PUBLISHED + 8 }>());
    }

    /// The longest record that the ring takes.
    pub fn max_record(&self) -> usize {
        self.bytes.max_record
    }

    /// Finds the place for a record of `len` bytes, if there is room.
    #[inline(always)]
    fn find_room(&mut self, len: usize) -> Result<Place, RingError> {
        self.endpoint.check_process()?;
        if let Some(place) = self.lent.take() {
            self.forget_clean(place);
        }
        self.check_len(len)?;
        let place = self.bytes.place(self.position, self.offset, len);
        if place.end <= self.limit || self.refresh(place.end)? {
            return Ok(place);
        }
        Err(self.endpoint.explain(self.no_room()))
    }

    #[inline(always)]
    fn check_len(&self, len: usize) -> Result<(), RingError> {
        let max = self.bytes.max_record;
        if len > max { Err(RingError::TooLarge { len, max }) } else { Ok(()) }
    }

    /// As [`find_room`](Self::find_room), waiting for it.
    #[inline]
    fn find_room_waiting(&mut self, len: usize, deadline: Option<Instant>) -> Result<Place, RingError> {
        match self.find_room(len) {
            Err(RingError::Full) => self.wait_for_room(len, deadline),
            found => found,
        }
    }

    #[cold]
    fn refresh(&mut self, end: u64) -> Result<bool, RingError> {
        look_for_room(&self.endpoint, &self.bytes, (self.position, end), &mut self.limit, &mut self.looks)
            .map_err(|error| self.endpoint.explain(error))
    }

    /// Claims room for a record of exactly `len` bytes, or of at most as many: [`Grant::commit_len`] decides. The grant is written in place,
    /// and published by committing it; dropping it aborts it.
    ///
    /// # Errors
    ///
    /// [`RingError::Full`]; [`RingError::TooLarge`]; [`RingError::Closed`], [`RingError::PeerGaveUp`], [`RingError::WrongProcess`],
    /// [`RingError::Corrupted`].
    pub fn try_claim(&mut self, len: usize) -> Result<Grant<'_>, RingError> {
        let place = self.find_room(len)?;
        Ok(Grant::new(self, place, len))
    }

    /// As [`try_claim`](Self::try_claim), waiting for room as long as a living consumer may make some, or none has come yet.
    ///
    /// # Errors
    ///
    /// As [`try_claim`](Self::try_claim), [`RingError::PeerDied`] if the ring is full and the consumer dead, [`RingError::Cancelled`];
    /// never [`RingError::Full`].
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

    fn wait_for_room(&mut self, len: usize, deadline: Option<Instant>) -> Result<Place, RingError> {
        let Self { endpoint, bytes, position, offset, limit, looks, .. } = self;
        let place = bytes.place(*position, *offset, len);
        let span = (*position, place.end);
        endpoint.wait(deadline, || Ok(look_for_room(endpoint, bytes, span, limit, looks)?.then_some(place)))
    }

    /// Pushes a record if there is room.
    ///
    /// # Errors
    ///
    /// As [`try_claim`](Self::try_claim).
    #[inline]
    pub fn try_push(&mut self, record: &[u8]) -> Result<(), RingError> {
        let place = self.find_room(record.len())?;
        self.write(place, record);
        self.endpoint.wake_other();
        self.endpoint.check_pages()
    }

    /// Pushes a record, waiting for room as [`claim`](Self::claim) does.
    ///
    /// # Errors
    ///
    /// As [`claim`](Self::claim).
    #[inline]
    pub fn push(&mut self, record: &[u8]) -> Result<(), RingError> {
        self.push_waiting(record, None)
    }

    /// As [`push`](Self::push), until a deadline.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push), and [`RingError::TimedOut`].
    pub fn push_deadline(&mut self, record: &[u8], deadline: Instant) -> Result<(), RingError> {
        self.push_waiting(record, Some(deadline))
    }

    #[inline]
    fn push_waiting(&mut self, record: &[u8], deadline: Option<Instant>) -> Result<(), RingError> {
        let place = self.find_room_waiting(record.len(), deadline)?;
        self.write(place, record);
        self.endpoint.wake_other();
        self.endpoint.check_pages()
    }

    #[inline(always)]
    fn write(&mut self, place: Place, record: &[u8]) {
        let offset = self.offset_of(place.start);
        self.bytes.write(offset, 0, record);
        self.commit(place, record.len());
    }

    /// Pushes as many of the records as there is room for, all published together, and returns how many that was.
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
        self.endpoint.check_pages()?;
        Ok(pushed)
    }

    /// Pushes all the records, waiting for room as [`push`](Self::push) does; those for which there is room together are published
    /// together.
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
                    // Asked anew, so checked anew.
                    let len = records[pushed].as_ref().len();
                    self.check_len(len).and_then(|()| self.wait_for_room(len, deadline)).map(|_| 0)
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
    /// usually done by then: the line behind is prepared after each commit, where it costs the consumer nothing.
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
        if end - self.position > LONG {
            self.note_long(end - self.position);
        }
        if !self.holding_back {
            // Release: who sees this word sees the payload, and the zeros behind it. Pairs with the consumer's Acquire.
            self.bytes.control(first.0).store(first.1, Ordering::Release);
        } else if self.held_back.is_none() {
            self.held_back = Some(first);
        } else {
            self.bytes.control(first.0).store(first.1, Ordering::Relaxed);
        }
        self.position = end;
        self.offset = next;
        self.counted.add(len);
        self.prepare_next_line();
    }

    /// Where consumers are many, tells those who claim the record that is about to be committed how long it is.
    #[cold]
    fn note_long(&self, positions: u64) {
        if let Some(claims) = self.endpoint.lines().spans() {
            claims.note_long(claims.spot(self.position), positions);
        }
    }

    /// Zeroes the first word of the line behind the one in which the next record begins, if the consumer is done with it: also
    /// asks for the line before it is needed.
    #[inline(always)]
    fn prepare_next_line(&mut self) {
        let line = self.position / LINE * LINE;
        let behind = line + LINE;
        if behind > self.clean_to {
            if !self.holding_back {
                self.leave_hint();
            }
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
        let end = self.bytes.end(start, len);
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
        let producer = &mut *self.0;
        producer.holding_back = false;
        if let Some((offset, word)) = producer.held_back.take() {
            // Release: who sees this word sees all records that hang on it. Pairs with the consumer's Acquire.
            producer.bytes.control(offset).store(word, Ordering::Release);
            producer.leave_hint();
            producer.endpoint.wake_other();
        }
    }
}

/// Looks at the consumer's progress, and notes up to where a record may end that is pushed at `position`; whether one may end at `end`.
fn look_for_room(
    endpoint: &Endpoint,
    bytes: &Bytes,
    (position, end): (u64, u64),
    limit: &mut u64,
    looks: &mut u32,
) -> Result<bool, RingError> {
    let head = endpoint.lines().head_for_room(looks, |head| end <= limit_of(head, bytes))?;
    let used = position.wrapping_sub(head);
    if used > bytes.ring {
        return Err(RingError::Corrupted { what: "the distance from head to tail", found: used, limit: bytes.ring });
    }
    endpoint.lines().note_use(used);
    *limit = limit_of(head, bytes);
    Ok(end <= *limit)
}

/// Where a record may end if everything before `head` is done with.
fn limit_of(head: u64, bytes: &Bytes) -> u64 {
    (head / LINE * LINE).wrapping_add(bytes.ring - LINE)
}

/// Follows committed records to the first word that is not: where a successor goes on, and what was published before.
pub(crate) fn find_tail(lines: &Lines, bytes: &Bytes) -> Result<(u64, Counted), RingError> {
    let head = read_head(lines)?;
    let hint = lines.tail_hint().load(Ordering::Acquire);
    let distance = |position: u64| {
        let used = position.wrapping_sub(head);
        let corrupted = RingError::Corrupted { what: "the distance from head to tail", found: used, limit: bytes.ring };
        if used > bytes.ring { Err(corrupted) } else { Ok(position) }
    };
    // Both are where some record began; the later one saves steps.
    let mut position = distance(if hint.is_multiple_of(CONTROL as u64) { head.max(hint) } else { head })?;
    // Each step goes forward, and all of them together no further than one lap.
    let mut counted = Counted::load(lines.counter::<PUBLISHED>(), lines.counter::<{ PUBLISHED + 8 }>());
    while let Some(found) = bytes.look(position, bytes.offset(position))? {
        position = distance(found.end)?;
        // Those before the hint are counted already.
        if position > hint {
            counted.add(found.len);
        }
    }
    Ok((position, counted))
}

/// How far the consumer has acknowledged, if it is a place where a record can begin.
pub(crate) fn read_head(lines: &Lines) -> Result<u64, RingError> {
    // Pairs with the consumer's Release.
    let head = lines.head().load(Ordering::Acquire);
    if head > record::MAX_POSITION || !head.is_multiple_of(CONTROL as u64) {
        return Err(RingError::Corrupted { what: "the head", found: head, limit: record::MAX_POSITION });
    }
    Ok(head)
}
