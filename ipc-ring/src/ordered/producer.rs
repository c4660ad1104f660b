//! The producers of values of one type.

use std::time::Instant;

use ipc_core::{Error, Payload, Segment};

use super::claimer::{Claimer, Room, Wanted};
use super::ring::{Options, Ring};
use super::sides::producer_side;
use super::value::ValueGrant;
use super::values::Values;
use crate::error::{PushError, RingError};
use crate::sides::{push_in_steps, pushes_values};

/// One of the producers of a [`Ring`]: as many in all processes at a time as the ring has places.
///
/// `Send`, but not `Sync`. Dropping it closes it, except in a panic, which the consumer is told of as such.
///
/// A push costs two compare-and-swaps of one word and the stores of the value, in the same cache line while it fits in 56 bytes, and a look at the consumer's bell. It is lock-free: it claims again
/// if another producer was faster, and waits for none. If the process dies in the middle of a push, nothing of it was published, and what was claimed is stepped over.
#[derive(Debug)]
pub struct Producer<T: Payload> {
    pub(super) claimer: Claimer,
    pub(super) values: Values<T>,
    /// Values of the longest run that one claim takes.
    longest: u64,
}

/// Room for one value.
const ONE: Wanted = Wanted { most: 1, least: 1, wraps: true };

impl<T: Payload> Producer<T> {
    pub(super) fn new(claimer: Claimer, values: Values<T>, longest: u64) -> Self {
        Self { claimer, values, longest }
    }

    /// Behind the value that this producer pushed last in the one order, which counts what was claimed since the ring was made: by all producers, and what was aborted as well. Before the first, where
    /// the consumer had acknowledged when it came.
    pub fn position(&self) -> u64 {
        self.claimer.end()
    }

    /// Pushes a value if there is room.
    ///
    /// # Errors
    ///
    /// The value comes back in a [`PushError`], with [`RingError::Full`]; or [`RingError::Closed`], [`RingError::PeerGaveUp`], [`RingError::ClaimLost`],
    /// [`RingError::WrongProcess`], [`RingError::Corrupted`].
    #[inline(always)]
    pub fn try_push(&mut self, value: T) -> Result<(), PushError<T>> {
        match self.claimer.claim(ONE) {
            Ok(room) => self.fill(room, value),
            Err(reason) => Err(PushError { value, reason }),
        }
    }

    /// Writes a value where it was claimed, and publishes it.
    #[inline(always)]
    fn fill(&mut self, room: Room, value: T) -> Result<(), PushError<T>> {
        self.values.write(room.at.index as usize, &value);
        self.commit_one(room).map_err(|reason| PushError { value, reason })
    }

    #[inline(always)]
    pub(super) fn commit_one(&mut self, room: Room) -> Result<(), RingError> {
        self.claimer.commit(room, 1, size_of::<T>() as u64)
    }

    /// Claims room for a value, to be written in place and published by committing the grant; dropping it aborts it. Its place in the order is that of the claim: what others push meanwhile comes behind
    /// it, and waits for it.
    ///
    /// # Errors
    ///
    /// [`RingError::Full`]; [`RingError::Closed`], [`RingError::PeerGaveUp`], [`RingError::ClaimLost`], [`RingError::WrongProcess`], [`RingError::Corrupted`].
    pub fn try_claim(&mut self) -> Result<ValueGrant<'_, T>, RingError> {
        let room = self.claimer.claim(ONE)?;
        Ok(ValueGrant::new(self, room))
    }

    fn claim_waiting(&mut self, deadline: Option<Instant>) -> Result<ValueGrant<'_, T>, RingError> {
        let room = self.claimer.claim_waiting(ONE, deadline)?;
        Ok(ValueGrant::new(self, room))
    }

    /// Pushes a value, waiting for room as long as a living consumer may make some, or none has come yet.
    ///
    /// # Errors
    ///
    /// The value comes back in a [`PushError`], with [`RingError::Closed`] or [`RingError::PeerGaveUp`] if the consumer left;
    /// [`RingError::PeerDied`] if the ring is full and it is dead; [`RingError::ClaimLost`], [`RingError::Cancelled`], [`RingError::WrongProcess`],
    /// [`RingError::Corrupted`].
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), PushError<T>> {
        self.push_waiting(value, None)
    }

    /// As [`push`](Self::push), until a deadline.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push), and [`RingError::TimedOut`].
    pub fn push_deadline(&mut self, value: T, deadline: Instant) -> Result<(), PushError<T>> {
        self.push_waiting(value, Some(deadline))
    }

    #[inline]
    fn push_waiting(&mut self, value: T, deadline: Option<Instant>) -> Result<(), PushError<T>> {
        match self.claimer.claim_waiting(ONE, deadline) {
            Ok(room) => self.fill(room, value),
            Err(reason) => Err(PushError { value, reason }),
        }
    }

    /// Claims room for some of the values, or for all if one claim may take as many, and publishes them together.
    fn push_run(&mut self, values: &[T], deadline: Option<Option<Instant>>) -> Result<usize, RingError> {
        let most = self.longest.min(values.len() as u64);
        let wanted = Wanted { most, least: 1, wraps: true };
        let room = match deadline {
            None => self.claimer.claim(wanted)?,
            Some(deadline) => self.claimer.claim_waiting(wanted, deadline)?,
        };
        let run = &values[..(room.claim.len as usize).min(values.len())];
        self.values.write_run(room.at.index as usize, run);
        self.claimer.commit(room, run.len() as u64, size_of_val(run) as u64)?;
        Ok(run.len())
    }

    /// Pushes as many of the values as there is room for, and returns how many that was. Runs of up to 256 of them, or half of the ring, or 64 KiB, are claimed by one word and follow each other in the order; it costs
    /// less for each than one by one.
    ///
    /// # Errors
    ///
    /// As [`try_push`](Self::try_push), if not even one was pushed; nothing was, then.
    pub fn try_push_slice(&mut self, values: &[T]) -> Result<usize, RingError> {
        let mut pushed = 0;
        while pushed < values.len() {
            match self.push_run(&values[pushed..], None) {
                Ok(run) => pushed += run,
                Err(reason) if pushed == 0 => return Err(reason),
                // Told by the next call.
                Err(_) => break,
            }
        }
        Ok(pushed)
    }

    fn push_slice_waiting(&mut self, values: &[T], deadline: Option<Instant>) -> Result<(), PushError<usize>> {
        push_in_steps(values.len(), |pushed| self.push_run(&values[pushed..], Some(deadline)))
    }
}

pushes_values!(impl [<T: Payload>] Producer<T>);
producer_side!(impl [<T: Payload>] Producer<T>, ring: Ring<T>);
