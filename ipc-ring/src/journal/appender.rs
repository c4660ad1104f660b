//! Appending: a claim that names its claimer, the record, and the store that commits it.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_core::sync::Ordering;
use ipc_core::wait::{Cancel, WaitStrategy, coarse_time};

use super::control::{Claim, ClaimState, Found};
use super::error::JournalError;
use super::format::{Frame, Geometry, Kind, LINE, MAX_POSITION};
use super::grant::JournalGrant;
use super::leader::Terms;
use super::open::{Journal, Shared};

/// When a push returns: what it promises, and to which loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledge {
    /// When the record is committed: it survives the death of this process and of all others, not the loss of power.
    Async,
    /// When the record is committed; and every so many bytes, or when so much time has passed since the first record that is not durable, with everything flushed. Looked at in each push: who
    /// pushes no more calls [`Appender::flush`], or has a [`Flusher`](super::Flusher).
    Batch {
        /// Bytes, with frames.
        bytes: u64,
        /// How long.
        within: Duration,
    },
    /// When the record is durable.
    EveryCommit,
}

/// A record that was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Appended {
    /// Where it begins: its name for good.
    pub position: u64,
    /// Where it ends: it is durable when everything before this is.
    pub end: u64,
    /// How far the journal was durable when the push returned.
    pub durable: u64,
}

/// Appends to a journal. One for each thread; there may be 256 appenders and handles of one journal at a time, in all processes.
///
/// A push makes no system call unless it flushes, waits for room, or wakes a sleeping reader. If the process dies in the middle of one, its claim
/// is found by the word that made it, and skipped by whoever needs to get past.
#[derive(Debug)]
pub struct Appender {
    pub(super) shared: Arc<Shared>,
    pub(super) member: usize,
    acknowledge: Acknowledge,
    strategy: WaitStrategy,
    cancel: Option<Cancel>,
    /// Where we may write: fetched again when it does not suffice.
    limit: u64,
    /// Bytes that this appender has committed since it last flushed, and since when.
    unflushed: u64,
    since: Option<Instant>,
    /// A claim that was not ended: its grant was forgotten.
    pub(super) open: Option<(u64, Claim)>,
}

/// Room that was claimed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) position: u64,
    pub(super) claim: Claim,
}

impl Journal {
    /// An appender.
    ///
    /// # Errors
    ///
    /// [`JournalError::TooMany`]; [`Error::Unsupported`](ipc_core::Error::Unsupported) for the durable modes where nothing can be made durable, with the name of the backing.
    pub fn appender(&self, acknowledge: Acknowledge) -> Result<Appender, JournalError> {
        let shared = &self.shared;
        shared.check()?;
        if let (Some(backing), Acknowledge::Batch { .. } | Acknowledge::EveryCommit) =
            (&shared.unsupported, acknowledge)
        {
            let (what, backing) = ("a durable journal", backing.clone());
            return Err(ipc_core::Error::Unsupported { what, backing }.into());
        }
        Ok(Appender {
            shared: shared.clone(),
            member: shared.join()?,
            acknowledge,
            strategy: WaitStrategy::default(),
            cancel: None,
            limit: 0,
            unflushed: 0,
            since: None,
            open: None,
        })
    }
}

impl Appender {
    /// How to wait for room and for others' flushes.
    pub fn set_wait_strategy(&mut self, strategy: WaitStrategy) {
        self.strategy = strategy;
    }

    /// What ends a wait from another thread.
    pub fn set_cancel(&mut self, cancel: Option<Cancel>) {
        self.cancel = cancel;
    }

    /// When pushes return from now on.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`](ipc_core::Error::Unsupported) as [`Journal::appender`].
    pub fn set_acknowledge(&mut self, acknowledge: Acknowledge) -> Result<(), JournalError> {
        if let (Some(backing), true) = (&self.shared.unsupported, acknowledge != Acknowledge::Async) {
            let (what, backing) = ("a durable journal", backing.clone());
            return Err(ipc_core::Error::Unsupported { what, backing }.into());
        }
        self.acknowledge = acknowledge;
        Ok(())
    }

    /// Appends a record, and returns when it is acknowledged as this appender's mode says. Waits for room as long as a cursor takes to make it.
    ///
    /// # Errors
    ///
    /// [`JournalError::Full`] if there is no room and no cursor to wait for: then only [`Journal::release`] would make some, and
    /// [`push_deadline`](Self::push_deadline) waits for that. [`JournalError::TooLarge`]; [`JournalError::Poisoned`] and [`Error::FlushFailed`](ipc_core::Error::FlushFailed): the record may have been appended then, and is not durable;
    /// [`JournalError::Cancelled`] with nothing appended if that came while it waited for room.
    pub fn push(&mut self, payload: &[u8]) -> Result<Appended, JournalError> {
        self.push_by(payload, None)
    }

    /// As [`push`](Self::push), but does not wait for room.
    ///
    /// # Errors
    ///
    /// As there, and [`JournalError::Full`] with who holds the space.
    pub fn try_push(&mut self, payload: &[u8]) -> Result<Appended, JournalError> {
        let room = self.try_claim_room(payload.len())?;
        self.write(room, payload)
    }

    /// As [`push`](Self::push), but waits for room until the deadline, whoever is to make it.
    ///
    /// # Errors
    ///
    /// As there but for [`JournalError::Full`], and [`JournalError::TimedOut`] with nothing appended.
    pub fn push_deadline(&mut self, payload: &[u8], deadline: Instant) -> Result<Appended, JournalError> {
        self.push_by(payload, Some(deadline))
    }

    fn push_by(&mut self, payload: &[u8], deadline: Option<Instant>) -> Result<Appended, JournalError> {
        let room = self.claim_room(payload.len(), deadline)?;
        self.write(room, payload)
    }

    #[inline]
    fn write(&mut self, room: Room, payload: &[u8]) -> Result<Appended, JournalError> {
        let frame = self.frame(room, payload.len());
        self.shared.store.write_record(frame, payload);
        self.commit(room)
    }

    pub(super) fn frame(&self, room: Room, len: usize) -> Frame {
        let durable = self.shared.control.durable_mark().load(Ordering::Acquire);
        let (lines, epoch) = (room.claim.lines, self.shared.epoch);
        Frame::new(Kind::Record, len as u32, lines, room.position, epoch, coarse_time(), durable)
    }

    /// Claims room for a record of up to `len` bytes, to be written in place; waits for it as [`push`](Self::push). Dropping the grant aborts: the room is skipped.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub fn claim(&mut self, len: usize) -> Result<JournalGrant<'_>, JournalError> {
        let room = self.claim_room(len, None)?;
        Ok(JournalGrant::new(self, room, len))
    }

    /// As [`claim`](Self::claim), but does not wait.
    ///
    /// # Errors
    ///
    /// As [`try_push`](Self::try_push).
    pub fn try_claim(&mut self, len: usize) -> Result<JournalGrant<'_>, JournalError> {
        let room = self.try_claim_room(len)?;
        Ok(JournalGrant::new(self, room, len))
    }

    /// Makes everything durable that this appender has committed, and what others have by now.
    ///
    /// # Errors
    ///
    /// As [`Journal::wait_durable`].
    pub fn flush(&mut self) -> Result<u64, JournalError> {
        let published = self.shared.frontier(true)?;
        let durable = self.shared.wait_durable(published, self.terms(None))?;
        (self.unflushed, self.since) = (0, None);
        Ok(durable)
    }

    fn terms(&self, deadline: Option<Instant>) -> Terms<'_> {
        Terms { strategy: self.strategy, deadline, cancel: self.cancel.as_ref() }
    }

    /// Publishes a record that was written, and acknowledges it.
    pub(super) fn commit(&mut self, room: Room) -> Result<Appended, JournalError> {
        let (shared, Room { position, claim }) = (&self.shared, room);
        self.open = None;
        if !shared.control.exchange(position, shared.epoch, claim, Claim { state: ClaimState::Committed, ..claim }) {
            return Err(JournalError::ClaimLost { position });
        }
        shared.ring_for_readers();
        let extent = claim.lines * LINE;
        let end = position + extent;
        let durable = match self.acknowledge {
            Acknowledge::Async => shared.control.durable_mark().load(Ordering::Relaxed),
            Acknowledge::EveryCommit => shared.wait_durable(end, Terms { deadline: None, ..self.terms(None) })?,
            Acknowledge::Batch { bytes, within } => {
                self.unflushed += extent;
                let since = *self.since.get_or_insert_with(Instant::now);
                if self.unflushed >= bytes || since.elapsed() >= within {
                    let durable = self.shared.wait_durable(end, self.terms(None))?;
                    (self.unflushed, self.since) = (0, None);
                    durable
                } else {
                    self.shared.control.durable_mark().load(Ordering::Relaxed)
                }
            }
        };
        self.shared.check_pages()?;
        Ok(Appended { position, end, durable })
    }

    /// Turns claimed room into skipped lines.
    pub(super) fn abort(&mut self, room: Room) {
        self.open = None;
        self.shared.skip(room.position, room.claim, self.member);
    }

    fn check_len(&self, len: usize) -> Result<u64, JournalError> {
        self.shared.check()?;
        self.shared.check_poison()?;
        let max = self.shared.store.geometry().max_record;
        if len as u64 > max {
            return Err(JournalError::TooLarge { len, max: max as usize });
        }
        Ok(Geometry::lines_for(len as u64))
    }

    fn claim_room(&mut self, len: usize, deadline: Option<Instant>) -> Result<Room, JournalError> {
        let lines = self.check_len(len)?;
        loop {
            match self.claim_lines(lines) {
                Err(JournalError::Full { .. }) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                    return Err(JournalError::TimedOut);
                }
                Err(JournalError::Full { held_by: None, floor, .. })
                    if deadline.is_none() && self.is_full_for_good(floor) =>
                {
                    return self.claim_lines(lines);
                }
                Err(JournalError::Full { floor, .. }) => self.wait_for_room(floor, deadline)?,
                outcome => return outcome,
            }
        }
    }

    fn try_claim_room(&mut self, len: usize) -> Result<Room, JournalError> {
        let lines = self.check_len(len)?;
        self.claim_lines(lines)
    }

    /// Whether what was released, up to `floor`, is given away already, and nothing else may be: no claim, no cursor and no flush stands before room.
    fn is_full_for_good(&self, floor: u64) -> bool {
        !self.shared.store.geometry().overwrite && floor <= self.shared.control.head().load(Ordering::Acquire)
    }

    /// Waits until somebody has released something since `floor` was all. From time to time it goes back without: a claim that held everything back may
    /// have been committed.
    fn wait_for_room(&mut self, floor: u64, deadline: Option<Instant>) -> Result<(), JournalError> {
        let shared = &self.shared;
        let (head, again) = (shared.control.head().load(Ordering::Acquire), Cell::new(false));
        let look = || {
            shared.check_poison()?;
            let moved = shared.control.head().load(Ordering::Acquire) != head || shared.held_by().1 != floor;
            Ok((moved || again.get()).then_some(()))
        };
        let ask = || {
            again.set(true);
            Ok(())
        };
        let terms = Terms { strategy: WaitStrategy::sleep(), ..self.terms(deadline) };
        shared.wait(shared.control.room_bell(), terms, look, ask)
    }

    /// Claims lines at the tail, behind skipped ones where the record would go over the end of the area.
    fn claim_lines(&mut self, lines: u64) -> Result<Room, JournalError> {
        if let Some((position, claim)) = self.open.take() {
            self.abort(Room { position, claim });
        }
        let shared = self.shared.clone();
        let (control, data, epoch) = (&shared.control, shared.store.geometry().data, shared.epoch);
        // Pairs with the Release below; a hint: claims may go on behind it.
        let mut tail = control.tail().load(Ordering::Acquire);
        loop {
            if tail >= MAX_POSITION - data {
                return Err(JournalError::Exhausted);
            }
            let found = match control.look(tail, epoch) {
                Found::Taken(claim) => {
                    let extent = claim.lines * LINE;
                    if extent == 0 || extent > data - tail % data {
                        let (expected, found) = ((data - tail % data) / LINE, claim.lines);
                        let what = "the lines of a claim";
                        return Err(JournalError::Corrupted { what, position: tail, expected, found });
                    }
                    tail += extent;
                    continue;
                }
                Found::Free(found) => found,
                Found::Later => {
                    // The hint is of an earlier lap: somebody was stopped before it stored it. Everything before the head was claimed.
                    let again = control.tail().load(Ordering::Acquire).max(control.head().load(Ordering::Acquire));
                    if again <= tail {
                        let what = "the head of a journal that was written further";
                        return Err(JournalError::Corrupted {
                            what,
                            position: tail,
                            expected: tail + data,
                            found: again,
                        });
                    }
                    tail = again;
                    continue;
                }
            };
            let to_the_end = data - tail % data;
            let fits = lines * LINE <= to_the_end;
            let take = if fits { lines } else { to_the_end / LINE };
            if tail + take * LINE > self.limit {
                // Pairs with the Release of `set_head`: reads of those who released it come before our writes.
                self.limit = control.head().load(Ordering::Acquire) + data;
                if tail + take * LINE > self.limit {
                    self.make_room(tail, take * LINE)?;
                    // Others may have been faster.
                    continue;
                }
            }
            let claim = Claim { state: ClaimState::Claimed, owner: self.member, lines: take };
            if !control.claim(tail, epoch, found, claim) {
                continue;
            }
            // Whoever reads what we overwrite sees, by a look at the head after it, that it was given away: this fence pairs with the reader's.
            ipc_core::sync::fence(Ordering::Release);
            // Release: whoever begins there sees the claims before. It may go back when two are at it.
            control.tail().store(tail + take * LINE, Ordering::Release);
            let room = Room { position: tail, claim };
            if !fits {
                self.abort(room);
                tail += take * LINE;
                continue;
            }
            self.open = Some((room.position, claim));
            return Ok(room);
        }
    }

    /// Leads, and gives away what is released: needs a flush of all that is committed, and one of a header.
    fn make_room(&mut self, tail: u64, needed: u64) -> Result<(), JournalError> {
        let shared = &self.shared;
        let data = shared.store.geometry().data;
        // Before the act: what is released after it is seen as a change.
        let (held_by, floor) = shared.held_by();
        let head = shared.lead_until(self.terms(None), |leading| {
            let head = leading.shared.control.head().load(Ordering::Acquire);
            // Somebody else made room while we waited for him.
            if tail + needed <= head + data { Ok(head) } else { leading.shared.act(true, needed) }
        })?;
        self.limit = head + data;
        if tail + needed <= self.limit {
            return Ok(());
        }
        Err(JournalError::Full { needed, available: self.limit.saturating_sub(tail), held_by, floor })
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        if !self.shared.process.is_current() {
            return;
        }
        if let Some((position, claim)) = self.open.take() {
            self.abort(Room { position, claim });
        }
        self.shared.part(self.member);
    }
}
