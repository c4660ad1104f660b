//! The producer of values of one type.

use std::time::Instant;

use ipc_core::sync::Ordering;
use ipc_core::{Error, Payload, Segment};

use super::ValueGrant;
use super::cursor::Cursor;
use super::endpoint::Endpoint;
use super::ring::Ring;
use super::sides::producer_side;
use crate::error::{PushError, RingError, Side};
use crate::sides::{push_in_steps, pushes_values};
use crate::value::LendsRoom;

/// At most this many items are published together, so that the consumer can begin while the rest of a long slice is
/// written.
pub(crate) const SPAN: usize = 512;

/// The producer's side of a [`Ring`]: one in all processes at a time.
///
/// `Send`, but not `Sync`. Dropping it closes the ring, except in a panic, which the consumer is told of as such.
///
/// A push costs the stores of the value and of one control word in the same cache line, and a look at the consumer's bell; it is wait-free
/// while there is room. If the process dies in the middle of a push, nothing of it was published.
#[derive(Debug)]
pub struct Producer<T: Payload> {
    pub(crate) endpoint: Endpoint,
    cursor: Cursor<T>,
    /// Before this position there is room. ≥ `cursor.position`, as far as the consumer's progress was seen.
    limit: u64,
    /// Whether somebody may begin to pop in the middle of a slice.
    marks: bool,
    /// Looks that found no room.
    looks: u32,
}

impl<T: Payload> Producer<T> {
    pub(crate) fn new(endpoint: Endpoint, cursor: Cursor<T>) -> Self {
        let (limit, marks) = (cursor.position, endpoint.lines().spans().is_some());
        let producer = Self { endpoint, cursor, limit, marks, looks: 0 };
        // The last one may have died before it left its own, with the consumer far beyond it by now.
        producer.leave_hint();
        producer
    }

    /// Values pushed since the ring was made, by all its producers: where a successor goes on.
    pub fn position(&self) -> u64 {
        self.cursor.position
    }

    /// Values are counted by their position.
    #[inline(always)]
    fn count_published(&self) {}

    /// Looks at the consumer's progress, as the ring looks full by what was last seen of it.
    #[cold]
    fn refresh(&mut self) -> Result<(), RingError> {
        match look_for_room(&self.endpoint, &self.cursor, &mut self.limit, &mut self.looks) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.endpoint.explain(self.no_room())),
            Err(error) => Err(self.endpoint.explain(error)),
        }
    }

    #[inline(always)]
    fn room(&mut self) -> Result<(), RingError> {
        self.endpoint.check_process()?;
        if self.cursor.position == self.limit { self.refresh() } else { Ok(()) }
    }

    /// Pushes a value if there is room.
    ///
    /// # Errors
    ///
    /// The value comes back in a [`PushError`], with [`RingError::Full`]; or [`RingError::Closed`], [`RingError::PeerGaveUp`],
    /// [`RingError::WrongProcess`], [`RingError::Corrupted`].
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
        // Release: who sees the position sees the item. Pairs with the consumer's Acquire load of the same word.
        self.cursor.control().store(published, Ordering::Release);
        if self.cursor.step() {
            self.leave_hint();
        }
        self.endpoint.wake_other();
        self.endpoint.check_pages()
    }

    /// Claims room for a value, to be written in place and published by committing the grant; dropping it aborts it.
    ///
    /// # Errors
    ///
    /// [`RingError::Full`]; [`RingError::Closed`], [`RingError::PeerGaveUp`], [`RingError::WrongProcess`], [`RingError::Corrupted`].
    pub fn try_claim(&mut self) -> Result<ValueGrant<'_, T>, RingError> {
        self.room()?;
        Ok(ValueGrant::new(self))
    }

    pub(crate) fn claim_waiting(&mut self, deadline: Option<Instant>) -> Result<ValueGrant<'_, T>, RingError> {
        match self.room() {
            Err(RingError::Full) => self.wait_for_room(deadline)?,
            found => found?,
        }
        Ok(ValueGrant::new(self))
    }

    /// Pushes a value, waiting for room as long as a living consumer may make some, or none has come yet.
    ///
    /// # Errors
    ///
    /// The value comes back in a [`PushError`], with [`RingError::Closed`] or [`RingError::PeerGaveUp`] if the consumer left;
    /// [`RingError::PeerDied`] if the ring is full and it is dead; [`RingError::Cancelled`], [`RingError::WrongProcess`],
    /// [`RingError::Corrupted`].
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
        self.push_waiting(value, Some(deadline))
    }

    fn push_waiting(&mut self, value: T, deadline: Option<Instant>) -> Result<(), PushError<T>> {
        match self.wait_for_room(deadline) {
            Ok(()) => self.try_push(value),
            Err(reason) => Err(PushError { value, reason }),
        }
    }

    fn wait_for_room(&mut self, deadline: Option<Instant>) -> Result<(), RingError> {
        let Self { endpoint, cursor, limit, looks, .. } = self;
        endpoint.wait(deadline, || Ok(look_for_room(endpoint, cursor, limit, looks)?.then_some(())))
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
            self.cursor.publish_slice(&values[pushed..pushed + span], self.marks);
            self.leave_hint();
            pushed += span;
        }
        if pushed > 0 {
            self.endpoint.wake_other();
            self.endpoint.check_pages()?;
        }
        Ok(pushed)
    }

    pub(crate) fn push_slice_waiting(
        &mut self,
        values: &[T],
        deadline: Option<Instant>,
    ) -> Result<(), PushError<usize>> {
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
        self.endpoint.check_process()?;
        self.publish_one()
    }
}

pushes_values!(impl [<T: Payload>] Producer<T>);
producer_side!(impl [<T: Payload>] Producer<T>, ring: Ring<T>);

/// Looks at the consumer's progress, and notes up to where there is room; whether there is any.
fn look_for_room<T: Payload>(
    endpoint: &Endpoint,
    cursor: &Cursor<T>,
    limit: &mut u64,
    looks: &mut u32,
) -> Result<bool, RingError> {
    let head = endpoint.lines().head_for_room(looks, |head| cursor.limit(head) != cursor.position)?;
    let seen = cursor.limit(head);
    let room = seen.wrapping_sub(cursor.position);
    if room > cursor.items() {
        return Err(RingError::Corrupted { what: "the room that the head leaves", found: room, limit: cursor.items() });
    }
    endpoint.lines().note_use(cursor.position.wrapping_sub(head));
    *limit = seen;
    Ok(room > 0)
}
