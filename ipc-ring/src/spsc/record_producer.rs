//! The producer of records of any length.

use std::time::Instant;

use ipc_core::sync::{CACHE_LINE, Ordering};
use ipc_core::{Error, Segment};

use super::Grant;
use super::endpoint::{Endpoint, Lines};
use super::ring::RecordRing;
use super::sides::producer_side;
use super::stats::{Counted, PUBLISHED};
use crate::error::{PushError, RingError, Side};
use crate::lanes::LONGEST;
use crate::record::{self, Bytes, CONTROL, Commits, Lends, Place, Writer};
use crate::sides::pushes_records;

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
    writer: Writer,
    /// What was published by all producers.
    counted: Counted,
    /// Looks that found no room.
    looks: u32,
}

impl RecordProducer {
    /// Goes on at `position`, where the committed part ends.
    pub(crate) fn new(endpoint: Endpoint, bytes: Bytes, position: u64, counted: Counted) -> Self {
        let producer = Self { endpoint, writer: Writer::new(bytes, position), counted, looks: 0 };
        producer.leave_hint();
        producer
    }

    /// Bytes of the ring, framing included, used since it was made, by all its producers: where a successor goes on.
    pub fn position(&self) -> u64 {
        self.writer.position()
    }

    /// Tells whoever looks how much was published.
    #[inline(always)]
    fn count_published(&self) {
        self.counted
            .store(self.endpoint.lines().counter::<PUBLISHED>(), self.endpoint.lines().counter::<{ PUBLISHED + 8 }>());
    }

    /// The longest record that the ring takes.
    pub fn max_record(&self) -> usize {
        self.writer.bytes.max_record
    }

    #[cold]
    fn refresh(&mut self, end: u64) -> Result<bool, RingError> {
        look_for_room(&self.endpoint, &mut self.writer, end, &mut self.looks)
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

    pub(crate) fn claim_waiting(&mut self, len: usize, deadline: Option<Instant>) -> Result<Grant<'_>, RingError> {
        let place = self.find_room_waiting(len, deadline)?;
        Ok(Grant::new(self, place, len))
    }

    fn wait_for_room(&mut self, len: usize, deadline: Option<Instant>) -> Result<Place, RingError> {
        let Self { endpoint, writer, looks, .. } = self;
        let place = writer.place_of(len);
        endpoint.wait(deadline, || Ok(look_for_room(endpoint, writer, place.end, looks)?.then_some(place)))
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

    #[inline]
    pub(crate) fn push_waiting(&mut self, record: &[u8], deadline: Option<Instant>) -> Result<(), RingError> {
        let place = self.find_room_waiting(record.len(), deadline)?;
        self.push_at(place, record)
    }

    /// Pushes as many of the records as there is room for, all published together, and returns how many that was.
    ///
    /// # Errors
    ///
    /// As [`try_push`](Self::try_push), if not even one was pushed; nothing was, then.
    pub fn try_push_slice<R: AsRef<[u8]>>(&mut self, records: &[R]) -> Result<usize, RingError> {
        record::try_push_slice(self, records)
    }

    pub(crate) fn push_slice_waiting<R: AsRef<[u8]>>(
        &mut self,
        records: &[R],
        deadline: Option<Instant>,
    ) -> Result<(), PushError<usize>> {
        record::push_slice(self, records, deadline)
    }

    /// Where consumers are many, tells those who claim the record that is about to be committed how long it is.
    #[cold]
    fn note_long(&self, positions: u64) {
        if let Some(claims) = self.endpoint.lines().spans() {
            claims.note_long(claims.spot(self.writer.position()), positions);
        }
    }
}

pushes_records! {
    impl [] RecordProducer, together: "those for which there is room together are published together";

    /// As [`try_claim`](Self::try_claim), waiting for room as long as a living consumer may make some, or none has come yet.
    ///
    /// # Errors
    ///
    /// As [`try_claim`](Self::try_claim), [`RingError::PeerDied`] if the ring is full and the consumer dead, [`RingError::Cancelled`];
    /// never [`RingError::Full`].
    pub fn claim;
}

producer_side!(impl [] RecordProducer, ring: RecordRing);

impl Lends for RecordProducer {
    const RACING: bool = false;

    #[inline(always)]
    fn writer(&self) -> &Writer {
        &self.writer
    }

    #[inline(always)]
    fn writer_mut(&mut self) -> &mut Writer {
        &mut self.writer
    }

    #[inline(always)]
    fn check_process(&self) -> Result<(), RingError> {
        self.endpoint.check_process()
    }

    #[inline(always)]
    fn check_pages(&self) -> Result<(), RingError> {
        self.endpoint.check_pages()
    }

    fn is_held(&self) -> bool {
        self.endpoint.is_held()
    }

    #[inline(always)]
    fn commit(&mut self, place: Place, len: usize) {
        let positions = place.end - self.writer.position();
        if positions > LONG {
            self.note_long(positions);
        }
        let in_another_line = self.writer.commit(place, len);
        self.counted.add(len);
        if in_another_line {
            self.leave_hint();
        }
    }

    #[inline(always)]
    fn wake(&self) {
        self.endpoint.wake_other();
    }
}

impl Commits for RecordProducer {
    #[inline(always)]
    fn find_room(&mut self, len: usize) -> Result<Place, RingError> {
        self.endpoint.check_process()?;
        let place = self.writer.place(len)?;
        if place.end <= self.writer.limit || self.refresh(place.end)? {
            return Ok(place);
        }
        Err(self.endpoint.explain(self.no_room()))
    }

    #[inline]
    fn find_room_waiting(&mut self, len: usize, deadline: Option<Instant>) -> Result<Place, RingError> {
        match self.find_room(len) {
            Err(RingError::Full) => self.wait_for_room(len, deadline),
            found => found,
        }
    }

    #[inline(always)]
    fn write(&mut self, place: Place, record: &[u8]) {
        let offset = self.writer.offset_of(place.start);
        self.writer.bytes.write(offset, 0, record);
        self.commit(place, record.len());
    }

    fn publish_held_back(&mut self) {
        if self.writer.publish_held_back() {
            self.leave_hint();
            self.endpoint.wake_other();
        }
    }
}

/// Looks at the consumer's progress, and notes up to where a record may end; whether one may end at `end`.
fn look_for_room(endpoint: &Endpoint, writer: &mut Writer, end: u64, looks: &mut u32) -> Result<bool, RingError> {
    let bytes = &writer.bytes;
    let head = endpoint.lines().head_for_room(looks, |head| end <= limit_of(head, bytes))?;
    let used = writer.position().wrapping_sub(head);
    if used > bytes.ring {
        return Err(RingError::Corrupted { what: "the distance from head to tail", found: used, limit: bytes.ring });
    }
    endpoint.lines().note_use(used);
    writer.limit = limit_of(head, bytes);
    Ok(end <= writer.limit)
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
