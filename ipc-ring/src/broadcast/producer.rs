//! The producer of values of one type.

use std::ops::Range;
use std::time::Instant;

use ipc_core::sync::Ordering;
use ipc_core::{Error, Payload, Segment};

use super::ValueGrant;
use super::cells::{Cursor, Layout};
use super::gate::Gate;
use super::lines::ConsumerInfo;
use super::ring::Ring;
use super::sides::producer_side;
use crate::error::{PushError, RingError};
use crate::sides::{push_in_steps, pushes_values};
use crate::value::LendsRoom;

/// At most this many items are published together, so that consumers can begin while the rest of a long slice is written.
const SPAN: usize = 512;

/// The producer's side of a broadcast [`Ring`]: one in all processes at a time.
///
/// `Send`, but not `Sync`. Dropping it closes the ring, except in a panic, which the consumers are told of as such.
///
/// A push costs the stores of the value and of one control word in the same cache line, and a look at the consumers' bell; once in a batch (a quarter of the
/// ring, at most 64 KiB) also a store, a full fence and a look at each place for a consumer. It is wait-free while the slowest consumer in the table leaves room; those that are not in
/// it are never waited for. If the process dies in the middle of a push, nothing of it was published.
#[derive(Debug)]
pub struct Producer<T: Payload> {
    gate: Gate,
    cursor: Cursor<T>,
    /// Before this position there is room. ≥ `cursor.position`, at most what was declared.
    limit: u64,
    batch: u64,
}

impl<T: Payload> Producer<T> {
    pub(super) fn new(gate: Gate, cursor: Cursor<T>, batch: u64) -> Self {
        let limit = cursor.position;
        let producer = Self { gate, cursor, limit, batch };
        // The last one may have died before it left its own.
        producer.leave_hint();
        producer
    }

    /// Values pushed since the ring was made, by all its producers: where a successor goes on.
    pub fn position(&self) -> u64 {
        self.cursor.position
    }

    /// Declares what comes next, and looks who holds it back, as there is no room by what was last seen.
    #[cold]
    fn refresh(&mut self) -> Result<(), RingError> {
        if !self.look_for_room()? {
            // Not if the dead are all who hold it back.
            let asked = self.gate.ask_now_and_then();
            if !(asked && self.look_for_room()?) {
                return Err(self.gate.handle.explain(RingError::Full));
            }
        }
        Ok(())
    }

    /// Notes up to where there is room; whether there is any.
    fn look_for_room(&mut self) -> Result<bool, RingError> {
        let position = self.cursor.position;
        self.limit = room(&self.gate, position, self.batch, Layout::<T>::PER_CELL as u64)?.max(self.limit);
        Ok(self.limit > position)
    }

    #[inline(always)]
    fn room(&mut self) -> Result<(), RingError> {
        self.gate.handle.check_process()?;
        if self.cursor.position == self.limit { self.refresh() } else { Ok(()) }
    }

    /// Pushes a value if no consumer in the table holds it back.
    ///
    /// # Errors
    ///
    /// The value comes back in a [`PushError`], with [`RingError::Full`]; or [`RingError::WrongProcess`], [`RingError::Corrupted`], [`RingError::Lost`].
    #[inline(always)]
    pub fn try_push(&mut self, value: T) -> Result<(), PushError<T>> {
        if let Err(reason) = self.room() {
            return Err(PushError { value, reason });
        }
        self.cursor.write(&value);
        match self.publish_one() {
            Ok(()) => Ok(()),
            Err(reason) => Err(PushError { value, reason }),
        }
    }

    /// Publishes the value that was written at the cursor.
    #[inline(always)]
    fn publish_one(&mut self) -> Result<(), RingError> {
        let published = self.cursor.position.wrapping_add(1);
        // Release: who sees the position sees the item. Pairs with the consumers' Acquire load of the same word.
        self.cursor.control().store(published, Ordering::Release);
        if self.cursor.step() {
            self.leave_hint();
        }
        self.gate.lines().publisher().wake();
        self.gate.handle.check_pages()
    }

    /// Claims room for a value, to be written in place and published by committing the grant; dropping it aborts it.
    ///
    /// # Errors
    ///
    /// [`RingError::Full`]; [`RingError::WrongProcess`], [`RingError::Corrupted`], [`RingError::Lost`].
    pub fn try_claim(&mut self) -> Result<ValueGrant<'_, T>, RingError> {
        self.room()?;
        Ok(ValueGrant::new(self))
    }

    fn claim_waiting(&mut self, deadline: Option<Instant>) -> Result<ValueGrant<'_, T>, RingError> {
        match self.room() {
            Err(RingError::Full) => self.wait_for_room(deadline)?,
            found => found?,
        }
        Ok(ValueGrant::new(self))
    }

    /// Pushes a value, waiting for room as long as a living consumer in the table holds it back.
    ///
    /// # Errors
    ///
    /// The value comes back in a [`PushError`], with [`RingError::Cancelled`], [`RingError::WrongProcess`], [`RingError::Corrupted`], [`RingError::Lost`].
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), PushError<T>> {
        match self.try_push(value) {
            Err(PushError { value, reason: RingError::Full }) => self.push_waiting(value, None),
            done => done,
        }
    }

    /// As [`push`](Self::push), until a deadline.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push), and [`RingError::TimedOut`].
    pub fn push_deadline(&mut self, value: T, deadline: Instant) -> Result<(), PushError<T>> {
        match self.try_push(value) {
            Err(PushError { value, reason: RingError::Full }) => self.push_waiting(value, Some(deadline)),
            done => done,
        }
    }

    fn push_waiting(&mut self, value: T, deadline: Option<Instant>) -> Result<(), PushError<T>> {
        match self.wait_for_room(deadline) {
            Ok(()) => self.try_push(value),
            Err(reason) => Err(PushError { value, reason }),
        }
    }

    fn wait_for_room(&mut self, deadline: Option<Instant>) -> Result<(), RingError> {
        let Self { gate, cursor, limit, batch, .. } = self;
        let position = cursor.position;
        *limit = gate.wait(deadline, || {
            let found = room(gate, position, *batch, Layout::<T>::PER_CELL as u64)?;
            Ok((found > position).then_some(found))
        })?;
        Ok(())
    }

    /// Makes sure of room for one more value, waiting for it if that is said; which values were pushed and are not written over by it.
    pub(crate) fn kept_beside_next(&mut self, wait: Option<Option<Instant>>) -> Result<Range<u64>, RingError> {
        match (self.room(), wait) {
            (Err(RingError::Full), Some(deadline)) => self.wait_for_room(deadline)?,
            (room, _) => room?,
        }
        let position = self.cursor.position;
        Ok(position.wrapping_add(1).saturating_sub(self.gate.lines().span)..position)
    }

    /// Which values were pushed and are there still.
    pub(crate) fn kept(&self) -> Range<u64> {
        self.cursor.position.saturating_sub(self.gate.lines().span)..self.cursor.position
    }

    /// One of those.
    pub(crate) fn kept_at(&self, position: u64) -> Option<T> {
        self.kept().contains(&position).then(|| self.cursor.read_at(position))
    }

    /// Pushes as many of the values as there is room for, and returns how many that was. Costs less for each than one by one.
    ///
    /// # Errors
    ///
    /// As [`try_push`](Self::try_push), if not even one was pushed; nothing was, then.
    pub fn try_push_slice(&mut self, values: &[T]) -> Result<usize, RingError> {
        let mut pushed = 0;
        while pushed < values.len() {
            match self.room() {
                Ok(()) => {}
                Err(_) if pushed > 0 => break,
                Err(reason) => return Err(reason),
            }
            let room = self.limit.wrapping_sub(self.cursor.position);
            let span = (values.len() - pushed).min(SPAN).min(usize::try_from(room).unwrap_or(usize::MAX));
            self.cursor.publish_slice(&values[pushed..pushed + span]);
            self.leave_hint();
            pushed += span;
        }
        if pushed > 0 {
            self.gate.lines().publisher().wake();
            self.gate.handle.check_pages()?;
        }
        Ok(pushed)
    }

    fn push_slice_waiting(&mut self, values: &[T], deadline: Option<Instant>) -> Result<(), PushError<usize>> {
        push_in_steps(values.len(), |pushed| match self.try_push_slice(&values[pushed..]) {
            Err(RingError::Full) => self.wait_for_room(deadline).map(|()| 0),
            step => step,
        })
    }
}

impl<T: Payload> LendsRoom<T> for Producer<T> {
    fn place(&self, to_write: bool) -> *mut T {
        self.cursor.place(to_write)
    }

    fn publish(&mut self) -> Result<(), RingError> {
        self.gate.handle.check_process()?;
        self.publish_one()
    }
}

pushes_values!(impl [<T: Payload>] Producer<T>);
producer_side!(impl [<T: Payload>] Producer<T>, ring: Ring<T>);

/// Up to where there is room: to the end of the cell in which the next batch ends, at most.
fn room(gate: &Gate, position: u64, batch: u64, per_cell: u64) -> Result<u64, RingError> {
    let found = gate.open(position, position.wrapping_add(batch).next_multiple_of(per_cell), |_| ())?;
    let (room, limit) = (found.wrapping_sub(position), gate.lines().span);
    // Less than nothing while a consumer comes whose place says where another one was.
    if found > position && room > limit {
        return Err(RingError::Corrupted { what: "the room that the heads leave", found: room, limit });
    }
    Ok(found)
}
