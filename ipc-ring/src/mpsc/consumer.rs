//! The consumer of values of one type.

use std::time::Instant;

use ipc_core::{Error, Payload, Segment};

use super::ring::Ring;
use super::rounds::{Reader, Rounds};
use super::sides::consumer_side;
use crate::error::{RingError, Side, end_is_none};
use crate::lanes::{AHEAD, FEW, Geometry, Options, backlog};
use crate::sides::pops_values;
use crate::spsc::cursor::Layout;
use crate::spsc::endpoint::{Endpoint, Lines};
use crate::spsc::ring::cursor_at_tail;
use crate::spsc::{self, ValueView};

/// The consumer's side of a [`Ring`]: one in all processes at a time.
///
/// `Send`, but not `Sync`. Dropping it acknowledges all that was popped and closes this side, so that producers are told; in a panic
/// nothing more is acknowledged.
///
/// A pop costs what it costs in a [one-to-one ring](spsc::Consumer), and a look at the next lane's control word and at one word of announcements when a lane's turn is
/// over or it has nothing. Between two turns of a stream (64 values of one lane or more, without a look that found nothing) it reads, where values have more than 28 bytes, how far the lane's producer is, and if that is less than four turns ahead lets it
/// get ahead, for 2 µs at most, and for half a microsecond if it does not. If the process dies, its successor gets again what was not acknowledged: in each lane, what was popped when it was last called to pop, in
/// batches of up to a quarter of the lane.
#[derive(Debug)]
pub struct Consumer<T: Payload> {
    pub(super) rounds: Rounds<spsc::Consumer<T>>,
}

impl<T: Payload> Reader for spsc::Consumer<T> {
    const PREPARES: bool = Layout::<T>::FILLS_LINES;

    fn open(lines: &Lines, geometry: &Geometry) -> Result<Self, RingError> {
        let endpoint = Endpoint::lent(lines.clone(), Side::Consumer);
        let (cursor, head) = cursor_at_tail(lines, geometry.extent)?;
        Ok(Self::at_head(endpoint, cursor, head, Layout::<T>::batch(geometry.capacity)))
    }

    #[inline(always)]
    fn position(&self) -> u64 {
        self.position()
    }

    #[inline(always)]
    fn has_some(&mut self) -> Result<bool, RingError> {
        self.has_some()
    }

    fn prepare_turn(&mut self, lines: &Lines, turn: u64) {
        if turn <= FEW {
            return;
        }
        // What is told may be anything: `prefetch` asks for lines of the lane only.
        let ahead = backlog(lines, self.position(), AHEAD * turn);
        self.prefetch(ahead.min(turn));
    }

    fn acknowledge_taken(&mut self) {
        self.acknowledge_taken();
    }
}

impl<T: Payload> Consumer<T> {
    /// Pops a value if there is one in any lane.
    ///
    /// # Errors
    ///
    /// [`RingError::Empty`]; [`RingError::Closed`] if all producers have left and all is popped; [`RingError::PeerGaveUp`], once for each that did;
    /// [`RingError::WrongProcess`], [`RingError::Corrupted`] once for each damaged lane, which is left out from then on. That a producer died is found out by waiting and by
    /// [`check_producers`](Self::check_producers).
    #[inline(always)]
    pub fn try_pop(&mut self) -> Result<T, RingError> {
        // What is wrong with a lane is found again, and told, in its round.
        if let Some(reader) = self.rounds.on_turn()
            && let Ok(Some(value)) = reader.take()
        {
            return Ok(value);
        }
        self.try_pop_elsewhere()
    }

    #[inline(never)]
    fn try_pop_elsewhere(&mut self) -> Result<T, RingError> {
        if !self.rounds.find()? {
            return Err(self.rounds.empty());
        }
        self.rounds.current()?.take()?.ok_or(RingError::Empty)
    }

    /// Pops a value, waiting for one as long as a living producer may push some, or none has come yet. `None`: all producers have left and all
    /// is popped; if others come after that, their values can be popped.
    ///
    /// # Errors
    ///
    /// [`RingError::PeerDied`] if a producer is dead, [`RingError::PeerGaveUp`] if one left in a panic: in both cases once, after all that it had
    /// published, and the next call goes on with the others. [`RingError::Cancelled`], [`RingError::WrongProcess`]; [`RingError::Corrupted`] once for each damaged lane, which is left out
    /// from then on.
    #[inline]
    pub fn pop(&mut self) -> Result<Option<T>, RingError> {
        // As it comes from the lane: taken apart and put together again, a value would be copied once more.
        if let Some(reader) = self.rounds.on_turn()
            && let taken @ Ok(Some(_)) = reader.take()
        {
            return taken;
        }
        self.pop_elsewhere()
    }

    #[inline(never)]
    fn pop_elsewhere(&mut self) -> Result<Option<T>, RingError> {
        match self.try_pop_elsewhere() {
            Err(RingError::Empty) => self.pop_waiting(None),
            done => end_is_none(done),
        }
    }

    fn pop_waiting(&mut self, deadline: Option<Instant>) -> Result<Option<T>, RingError> {
        let found = self.wait_for_some(deadline);
        end_is_none(found.and_then(|()| self.rounds.current()?.take()?.ok_or(RingError::Empty)))
    }

    fn wait_for_some(&mut self, deadline: Option<Instant>) -> Result<(), RingError> {
        if self.rounds.ready()? { Ok(()) } else { self.rounds.wait(deadline) }
    }

    /// Lends a view of the next value in place, if there is one in any lane. [`ValueView::release`] goes on to the next; dropping the view does not.
    ///
    /// # Errors
    ///
    /// As [`try_pop`](Self::try_pop).
    pub fn try_peek(&mut self) -> Result<ValueView<'_, T>, RingError> {
        if !self.rounds.ready()? {
            return Err(self.rounds.empty());
        }
        self.rounds.current()?.try_peek()
    }

    fn peek_waiting(&mut self, deadline: Option<Instant>) -> Result<Option<ValueView<'_, T>>, RingError> {
        match end_is_none(self.wait_for_some(deadline))? {
            Some(()) => self.rounds.current()?.try_peek().map(Some),
            None => Ok(None),
        }
    }

    /// Pops as many values of one producer as there are, up to the length of the slice, and returns how many that was. Costs less for each than
    /// one by one. They are acknowledged, and their room is free, with a later call.
    ///
    /// # Errors
    ///
    /// As [`try_pop`](Self::try_pop), if not even one was popped.
    pub fn try_pop_slice(&mut self, values: &mut [T]) -> Result<usize, RingError> {
        if values.is_empty() {
            return Ok(0);
        }
        if !self.rounds.ready()? {
            return Err(self.rounds.empty());
        }
        self.rounds.current()?.try_pop_slice(values)
    }

    fn pop_slice_waiting(&mut self, values: &mut [T], deadline: Option<Instant>) -> Result<usize, RingError> {
        if values.is_empty() {
            return Ok(0);
        }
        let popped = self.wait_for_some(deadline).and_then(|()| self.rounds.current()?.try_pop_slice(values));
        Ok(end_is_none(popped)?.unwrap_or(0))
    }
}

pops_values!(impl [<T: Payload>] Consumer<T>, peeks: ValueView, end: "all producers have left and all is popped");
consumer_side!(impl [<T: Payload>] Consumer<T>, ring: Ring<T>);
