//! The producer of records of any length.

use std::time::Instant;

use ipc_core::sync::{CACHE_LINE, Ordering};
use ipc_core::{Error, Segment};

use super::Grant;
use super::checkpoint::{Checkpoint, Checkpoints};
use super::gate::Gate;
use super::lines::ConsumerInfo;
use super::record_ring::RecordRing;
use super::sides::producer_side;
use crate::error::{PushError, RingError};
use crate::record::{self, Bytes, Commits, Lends, Place, Writer};
use crate::sides::pushes_records;

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
    writer: Writer,
    checkpoints: Checkpoints,
    /// Records committed since the ring was made.
    number: u64,
    batch: u64,
}

impl RecordProducer {
    /// Goes on where the committed part ends.
    pub(super) fn new(gate: Gate, bytes: Bytes, tail: Checkpoint, checkpoints: Checkpoints, batch: u64) -> Self {
        let Checkpoint { position, number } = tail;
        let producer = Self { gate, writer: Writer::new(bytes, position), checkpoints, number, batch };
        producer.leave_hint();
        producer
    }

    /// Bytes of the ring, framing included, used since it was made, by all its producers: where a successor goes on.
    pub fn position(&self) -> u64 {
        self.writer.position()
    }

    /// Records committed since the ring was made, by all its producers.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The longest record that the ring takes.
    pub fn max_record(&self) -> usize {
        self.writer.bytes.max_record
    }

    /// Declares what comes next, and looks who holds it back, as there is no room by what was last seen.
    #[cold]
    fn refresh(&mut self, place: Place) -> Result<Place, RingError> {
        // What is declared is for those who come to begin with: all before it has to stand.
        Commits::publish_held_back(self);
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
        let Self { gate, writer, checkpoints, number, batch } = self;
        let here = Checkpoint { position: writer.position(), number: *number };
        writer.limit = limit(gate, checkpoints, here, *batch, place)?.max(writer.limit);
        Ok(place.end <= writer.limit)
    }

    fn wait_for_room(&mut self, len: usize, deadline: Option<Instant>) -> Result<Place, RingError> {
        let Self { gate, writer, number, checkpoints, batch } = self;
        let place = writer.place_of(len);
        let here = Checkpoint { position: writer.position(), number: *number };
        writer.limit = gate.wait(deadline, || {
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

    #[inline]
    fn push_waiting(&mut self, record: &[u8], deadline: Option<Instant>) -> Result<(), RingError> {
        let place = self.find_room_waiting(record.len(), deadline)?;
        self.push_at(place, record)
    }

    /// Pushes as many of the records as there is room for, and returns how many that was. Those that lie within one batch are published together.
    ///
    /// # Errors
    ///
    /// As [`try_push`](Self::try_push), if not even one was pushed; nothing was, then.
    pub fn try_push_slice<R: AsRef<[u8]>>(&mut self, records: &[R]) -> Result<usize, RingError> {
        record::try_push_slice(self, records)
    }

    fn push_slice_waiting<R: AsRef<[u8]>>(
        &mut self,
        records: &[R],
        deadline: Option<Instant>,
    ) -> Result<(), PushError<usize>> {
        record::push_slice(self, records, deadline)
    }
}

pushes_records! {
    impl [] RecordProducer, together: "those that lie within one batch are published together";

    /// As [`try_claim`](Self::try_claim), waiting for room as long as a living consumer in the table holds it back.
    ///
    /// # Errors
    ///
    /// As [`try_claim`](Self::try_claim), and [`RingError::Cancelled`]; never [`RingError::Full`].
    pub fn claim;
}

producer_side!(impl [] RecordProducer, ring: RecordRing);

impl Lends for RecordProducer {
    const RACING: bool = true;

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
        self.gate.handle.check_process()
    }

    #[inline(always)]
    fn check_pages(&self) -> Result<(), RingError> {
        self.gate.handle.check_pages()
    }

    fn is_held(&self) -> bool {
        self.gate.is_held()
    }

    #[inline(always)]
    fn commit(&mut self, place: Place, len: usize) {
        // How far we are is told with what is declared.
        let _ = self.writer.commit(place, len);
        self.number = self.number.wrapping_add(1);
    }

    #[inline(always)]
    fn wake(&self) {
        self.gate.lines().publisher().wake();
    }
}

impl Commits for RecordProducer {
    #[inline(always)]
    fn find_room(&mut self, len: usize) -> Result<Place, RingError> {
        self.gate.handle.check_process()?;
        let place = self.writer.place(len)?;
        if place.end <= self.writer.limit { Ok(place) } else { self.refresh(place) }
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
        self.writer.bytes.write_racing(offset, 0, record);
        self.commit(place, record.len());
    }

    fn publish_held_back(&mut self) {
        if self.writer.publish_held_back() {
            self.wake();
        }
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
