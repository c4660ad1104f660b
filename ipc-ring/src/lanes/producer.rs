//! The producers of values of one type, each with a lane.

use std::fmt;
use std::marker::PhantomData;
use std::time::Instant;

use ipc_core::{Error, Payload, Segment};

use super::RingOfLanes;
use super::sides::producer_side;
use crate::error::{PushError, RingError};
use crate::sides::pushes_values;
use crate::spsc::cursor::Cursor;
use crate::spsc::endpoint::Endpoint;
use crate::spsc::{self, ValueGrant};

/// One of the producers of a ring `R` of values of type `T`: [`mpsc::Producer`](crate::mpsc::Producer) or [`mpmc::Producer`](crate::mpmc::Producer). As many in all processes at a time as the
/// ring has lanes.
///
/// `Send`, but not `Sync`. Dropping it closes its lane, except in a panic, which who consumes is told of as such.
///
/// A push costs what it costs in a [one-to-one ring](spsc::Producer): the stores of the value and of one control word in the same cache line, and a look at a word that
/// says whether anybody is to be told. It is wait-free while there is room in the lane, whatever the other producers do. If the process dies in the middle of a
/// push, nothing of it was published.
pub struct Producer<T: Payload, R> {
    inner: spsc::Producer<T>,
    lane: usize,
    ring: PhantomData<fn() -> R>,
}

impl<T: Payload + fmt::Debug, R> fmt::Debug for Producer<T, R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Producer").field("inner", &self.inner).field("lane", &self.lane).finish()
    }
}

impl<T: Payload, R> Producer<T, R> {
    pub(crate) fn new(endpoint: Endpoint, cursor: Cursor<T>, lane: usize) -> Self {
        let lines = endpoint.lines().clone();
        let inner = spsc::Producer::new(endpoint, cursor);
        lines.announce_lane();
        Self { inner, lane, ring: PhantomData }
    }

    /// Values pushed in this lane since the ring was made, by all its producers.
    pub fn position(&self) -> u64 {
        self.inner.position()
    }

    /// Pushes a value if there is room in the lane.
    ///
    /// # Errors
    ///
    /// The value comes back in a [`PushError`], with [`RingError::Full`]; or [`RingError::Closed`], [`RingError::PeerGaveUp`],
    /// [`RingError::WrongProcess`], [`RingError::Corrupted`].
    #[inline(always)]
    pub fn try_push(&mut self, value: T) -> Result<(), PushError<T>> {
        self.inner.try_push(value)
    }

    /// Claims room for a value, to be written in place and published by committing the grant; dropping it aborts it.
    ///
    /// # Errors
    ///
    /// [`RingError::Full`]; [`RingError::Closed`], [`RingError::PeerGaveUp`], [`RingError::WrongProcess`], [`RingError::Corrupted`].
    pub fn try_claim(&mut self) -> Result<ValueGrant<'_, T>, RingError> {
        self.inner.try_claim()
    }

    fn claim_waiting(&mut self, deadline: Option<Instant>) -> Result<ValueGrant<'_, T>, RingError> {
        self.inner.claim_waiting(deadline)
    }

    /// Pushes a value, waiting for room as long as a living consumer may make some, or none has come yet.
    ///
    /// # Errors
    ///
    /// The value comes back in a [`PushError`], with [`RingError::Closed`] or [`RingError::PeerGaveUp`] if the consumer left;
    /// [`RingError::PeerDied`] if the lane is full and it is dead; [`RingError::Cancelled`], [`RingError::WrongProcess`],
    /// [`RingError::Corrupted`].
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), PushError<T>> {
        self.inner.push(value)
    }

    /// As [`push`](Self::push), until a deadline.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push), and [`RingError::TimedOut`].
    pub fn push_deadline(&mut self, value: T, deadline: Instant) -> Result<(), PushError<T>> {
        self.inner.push_deadline(value, deadline)
    }

    /// Pushes as many of the values as there is room for, and returns how many that was. Costs less for each than one by one.
    ///
    /// # Errors
    ///
    /// As [`try_push`](Self::try_push), if not even one was pushed; nothing was, then.
    pub fn try_push_slice(&mut self, values: &[T]) -> Result<usize, RingError> {
        self.inner.try_push_slice(values)
    }

    fn push_slice_waiting(&mut self, values: &[T], deadline: Option<Instant>) -> Result<(), PushError<usize>> {
        self.inner.push_slice_waiting(values, deadline)
    }
}

pushes_values!(impl [<T: Payload, R>] Producer<T, R>);
producer_side!(impl [<T: Payload, R>] Producer<T, R>, made: [<T: Payload, R: RingOfLanes<Producer = Producer<T, R>>>]);
