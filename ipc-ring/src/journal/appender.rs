//! Appending: a claim that names its claimer, the record, and the store that commits it.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering as StdOrdering;
use std::time::{Duration, Instant};

use ipc_core::sync::Ordering;
use ipc_core::wait::{Cancel, WaitStrategy, coarse_time, coarse_uptime};

use super::control::{Claim, ClaimState, Found, Lap, Place};
use super::error::JournalError;
use super::format::{Frame, Geometry, Kind, LINE, MAX_LINES, MAX_POSITION};
use super::grant::JournalGrant;
use super::leader::Terms;
use super::open::{Journal, Shared};
use super::store::Marks;

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
/// A push makes no system call unless it flushes, waits for room, or wakes a sleeping reader; and one for each 64 KiB, by which the kernel makes those pages ready, instead of a page fault for
/// each. It costs a checksum, a copy and two compare-and-swaps: one claims the first line's word, the other one commits it. If the process dies in the middle of one, its claim
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
    lap: Lap,
    /// Bytes that this appender has committed since it last flushed, and since when.
    unflushed: u64,
    since: Option<Since>,
    /// A claim that is lent, as a grant or to a caller's code that may panic: if it is not ended, the next one finds it here.
    pub(super) open: Option<Room>,
}

/// Room that was claimed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) place: Place,
    pub(super) claim: Claim,
}

/// A time from which it is counted how long something has not been flushed.
#[derive(Debug, Clone, Copy)]
enum Since {
    /// For times that are long beside the tick of the kernel's clock: a look at it costs a fifth.
    Tick(u64),
    Exactly(Instant),
}

/// The kernel's clock ticks at least a hundred times a second.
const COARSE: Duration = Duration::from_millis(50);

impl Shared {
    /// Has the pages from here on made ready, for all threads of this process.
    #[cold]
    fn make_ready(&self, tail: u64, needed: u64) {
        let (end, before) = (tail + needed, self.own.ready.load(StdOrdering::Relaxed));
        // One thread for all.
        let take = || self.own.ready.compare_exchange(before, end + READY, StdOrdering::Relaxed, StdOrdering::Relaxed);
        if before < end && take().is_ok() {
            let from = tail.max(before);
            // Advice: where it cannot be followed, appends take their page faults.
            let _ = self.prefault(from, end + READY - from);
        }
    }
}

impl Since {
    fn now(within: Duration) -> Self {
        if within >= COARSE { Self::Tick(coarse_uptime()) } else { Self::Exactly(Instant::now()) }
    }

    fn has_passed(self, within: Duration) -> bool {
        match self {
            Self::Tick(begun) => u128::from(coarse_uptime().saturating_sub(begun)) >= within.as_nanos(),
            Self::Exactly(begun) => begun.elapsed() >= within,
        }
    }
}

/// Bytes whose pages are made ready at a time. A system call for sixteen pages of a file costs as much as seven page faults did where that was measured; and on ext4 a page fault waits
/// for a flush that is under way, so that nobody would come to wait for the next one.
const READY: u64 = 64 << 10;

/// Bytes ahead of a record that was just appended whose lines are fetched for the next ones: as far as they take to come.
const AHEAD: u64 = 512;

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
            lap: Lap::new(shared.store.geometry().data, shared.epoch),
            unflushed: 0,
            since: None,
            open: None,
        })
    }
}

impl Appender {
    /// How to wait for room and for others' flushes.
    pub fn set_strategy(&mut self, strategy: WaitStrategy) {
        self.strategy = strategy;
    }

    /// What ends waits early.
    pub fn set_cancel(&mut self, cancel: Cancel) {
        self.cancel = Some(cancel);
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
        self.write(room, payload, None)
    }

    /// As [`push`](Self::push), but waits for room until the deadline, whoever is to make it; and no longer for the flush of another process.
    ///
    /// # Errors
    ///
    /// As there but for [`JournalError::Full`], and [`JournalError::TimedOut`] with nothing appended, [`JournalError::NotYetDurable`] with the record appended.
    pub fn push_deadline(&mut self, payload: &[u8], deadline: Instant) -> Result<Appended, JournalError> {
        self.push_by(payload, Some(deadline))
    }

    fn push_by(&mut self, payload: &[u8], deadline: Option<Instant>) -> Result<Appended, JournalError> {
        let lines = self.check_len(payload.len())?;
        let room = self.claim_room(lines, deadline)?;
        self.write(room, payload, deadline)
    }

    #[inline(always)]
    fn write(&mut self, room: Room, payload: &[u8], deadline: Option<Instant>) -> Result<Appended, JournalError> {
        let (frame, store) = (self.frame(room, payload.len()), &self.shared.store);
        store.write_record_at(store.offset_at(room.place.at), frame, payload);
        self.commit(room, deadline)
    }

    /// Appends all the records, one behind the other with none of anybody else between them, and acknowledges them together. Readers see all of them or none, and so does who comes after the
    /// death of this process; after a loss of power the first of them alone may be there, unless they were acknowledged as durable. One claim and one look at the clock for all: what each of
    /// them costs is its checksum, its copy and one compare-and-swap.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push): nothing is appended where that says so. [`JournalError::TooLarge`] also if all together do not fit into half of the capacity.
    pub fn push_slice<R: AsRef<[u8]>>(&mut self, records: &[R]) -> Result<Appended, JournalError> {
        self.push_slice_by(records, None, Self::claim_room)
    }

    /// As [`push_slice`](Self::push_slice), but does not wait for room.
    ///
    /// # Errors
    ///
    /// As there, and [`JournalError::Full`] with who holds the space.
    pub fn try_push_slice<R: AsRef<[u8]>>(&mut self, records: &[R]) -> Result<Appended, JournalError> {
        self.push_slice_by(records, None, |appender, lines, _| appender.try_claim_lines(lines))
    }

    /// As [`push_slice`](Self::push_slice), until the deadline as [`push_deadline`](Self::push_deadline).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn push_slice_deadline<R: AsRef<[u8]>>(
        &mut self,
        records: &[R],
        deadline: Instant,
    ) -> Result<Appended, JournalError> {
        self.push_slice_by(records, Some(deadline), Self::claim_room)
    }

    fn push_slice_by<R: AsRef<[u8]>>(
        &mut self,
        records: &[R],
        deadline: Option<Instant>,
        claim: impl FnOnce(&mut Self, u64, Option<Instant>) -> Result<Room, JournalError>,
    ) -> Result<Appended, JournalError> {
        let (mut lines, mut bytes) = (0, 0_usize);
        for record in records {
            let len = record.as_ref().len();
            (lines, bytes) = (lines + self.check_len(len)?, bytes.saturating_add(len));
        }
        let Some((first, others)) = records.split_first() else {
            self.shared.check()?;
            let (end, durable) = (self.shared.frontier(false)?, self.shared.control.durable());
            return Ok(Appended { position: end, end, durable });
        };
        let most = (self.shared.store.geometry().data / 2 / LINE).min(MAX_LINES);
        if lines > most {
            return Err(JournalError::TooLarge { len: bytes, max: (most * LINE) as usize });
        }
        let room = claim(self, lines, deadline)?;
        self.open = Some(room);
        let outcome = self.write_slice(room, first.as_ref(), others);
        if outcome.is_err() {
            self.abort(room);
        }
        let first = outcome?;
        self.open = None;
        self.commit_as(room, first, deadline)
    }

    /// Writes records into room that was claimed for all of them, and makes the claims of all but the first. Returns how many lines the first one takes.
    fn write_slice<R: AsRef<[u8]>>(&mut self, room: Room, first: &[u8], others: &[R]) -> Result<u64, JournalError> {
        let Self { shared, lap, member, .. } = self;
        let (control, store, max) = (&shared.control, &shared.store, shared.store.geometry().max_record);
        let (time, durable, end) = (coarse_time(), control.durable(), room.place.position + room.claim.lines * LINE);
        let write = |place: Place, record: &[u8]| {
            // Asked once more, so checked once more: it may say something else the second time.
            let lines = Geometry::lines_for(record.len() as u64);
            if record.len() as u64 > max || place.position + lines * LINE > end {
                return Err(JournalError::TooLarge { len: record.len(), max: max as usize });
            }
            let frame =
                Frame::new(Kind::Record, record.len() as u32, lines, place.position, shared.epoch, time, durable);
            store.write_record_at(store.offset_at(place.at), frame, record);
            Ok(lines)
        };
        let first_lines = write(room.place, first)?;
        let mut position = room.place.position + first_lines * LINE;
        for record in others {
            let place = lap.place(position);
            let lines = write(place, record.as_ref())?;
            let committed = Claim { state: ClaimState::Committed, owner: *member, lines };
            let claimed = match control.look(place) {
                Found::Free(found) => control.claim(place, found, committed),
                Found::Taken(_) | Found::Later => false,
            };
            if !claimed {
                return Err(JournalError::ClaimLost { position });
            }
            position += lines * LINE;
        }
        // Fewer bytes than were said at first: a gap that is no record's.
        if position != end {
            return Err(JournalError::ClaimLost { position });
        }
        Ok(first_lines)
    }

    pub(super) fn frame(&self, room: Room, len: usize) -> Frame {
        let durable = self.shared.control.durable();
        let (lines, epoch) = (room.claim.lines, self.shared.epoch);
        Frame::new(Kind::Record, len as u32, lines, room.place.position, epoch, coarse_time(), durable)
    }

    /// Claims room for a record of up to `len` bytes, to be written in place; waits for it as [`push`](Self::push). Dropping the grant aborts: the room is skipped.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub fn claim(&mut self, len: usize) -> Result<JournalGrant<'_>, JournalError> {
        self.claim_by(len, None)
    }

    /// As [`claim`](Self::claim), but waits for room until the deadline, whoever is to make it.
    ///
    /// # Errors
    ///
    /// As there but for [`JournalError::Full`], and [`JournalError::TimedOut`].
    pub fn claim_deadline(&mut self, len: usize, deadline: Instant) -> Result<JournalGrant<'_>, JournalError> {
        self.claim_by(len, Some(deadline))
    }

    fn claim_by(&mut self, len: usize, deadline: Option<Instant>) -> Result<JournalGrant<'_>, JournalError> {
        let lines = self.check_len(len)?;
        let room = self.claim_room(lines, deadline)?;
        self.open = Some(room);
        Ok(JournalGrant::new(self, room, len))
    }

    /// As [`claim`](Self::claim), but does not wait.
    ///
    /// # Errors
    ///
    /// As [`try_push`](Self::try_push).
    pub fn try_claim(&mut self, len: usize) -> Result<JournalGrant<'_>, JournalError> {
        let room = self.try_claim_room(len)?;
        self.open = Some(room);
        Ok(JournalGrant::new(self, room, len))
    }

    /// Makes everything durable that this appender has committed, and what others have by now.
    ///
    /// # Errors
    ///
    /// As [`Journal::wait_durable`].
    pub fn flush(&mut self) -> Result<u64, JournalError> {
        self.flush_by(None)
    }

    /// As [`flush`](Self::flush), until the deadline. A flush that has begun is not cut short.
    ///
    /// # Errors
    ///
    /// As there, and [`JournalError::TimedOut`].
    pub fn flush_deadline(&mut self, deadline: Instant) -> Result<u64, JournalError> {
        self.flush_by(Some(deadline))
    }

    fn flush_by(&mut self, deadline: Option<Instant>) -> Result<u64, JournalError> {
        let published = self.shared.frontier(true)?;
        let durable = self.shared.wait_durable(published, self.terms(deadline))?;
        (self.unflushed, self.since) = (0, None);
        Ok(durable)
    }

    fn terms(&self, deadline: Option<Instant>) -> Terms<'_> {
        Terms { strategy: self.strategy, deadline, cancel: self.cancel.as_ref() }
    }

    /// Publishes a record that was written, and acknowledges it.
    #[inline(always)]
    pub(super) fn commit(&mut self, room: Room, deadline: Option<Instant>) -> Result<Appended, JournalError> {
        self.commit_as(room, room.claim.lines, deadline)
    }

    /// As `commit`; the first record takes so many lines of the room, and the rest is others', which are published with it.
    #[inline(always)]
    fn commit_as(&mut self, room: Room, first: u64, deadline: Option<Instant>) -> Result<Appended, JournalError> {
        let (shared, Room { place, claim }) = (&*self.shared, room);
        let committed = Claim { state: ClaimState::Committed, lines: first, ..claim };
        if !shared.control.exchange(place, claim, committed) {
            return Err(JournalError::ClaimLost { position: place.position });
        }
        shared.ring_for_readers();
        let (position, extent) = (place.position, claim.lines * LINE);
        let end = position + extent;
        shared.prefetch(place.at + extent + AHEAD, extent);
        let durable = match self.acknowledge {
            Acknowledge::Async => shared.control.durable_mark().load(Ordering::Relaxed),
            mode => self.acknowledge(mode, position, end, deadline)?,
        };
        self.shared.check_pages()?;
        Ok(Appended { position, end, durable })
    }

    /// What the durable modes do when a record, or several, were committed. Returns how far the journal is durable.
    fn acknowledge(
        &mut self,
        mode: Acknowledge,
        position: u64,
        end: u64,
        deadline: Option<Instant>,
    ) -> Result<u64, JournalError> {
        if let Acknowledge::Batch { bytes, within } = mode {
            self.unflushed += end - position;
            let since = *self.since.get_or_insert_with(|| Since::now(within));
            if self.unflushed < bytes && !since.has_passed(within) {
                return Ok(self.shared.control.durable_mark().load(Ordering::Relaxed));
            }
        }
        let durable = self.shared.wait_durable(end, self.terms(deadline)).map_err(|error| match error {
            JournalError::TimedOut | JournalError::Cancelled => JournalError::NotYetDurable { position, end },
            error => error,
        })?;
        (self.unflushed, self.since) = (0, None);
        Ok(durable)
    }

    /// Turns claimed room into skipped lines.
    pub(super) fn abort(&mut self, room: Room) {
        self.open = None;
        self.shared.skip(room.place.position, room.claim, self.member);
    }

    #[inline(always)]
    fn check_len(&self, len: usize) -> Result<u64, JournalError> {
        self.shared.check()?;
        self.shared.check_poison()?;
        let max = self.shared.store.geometry().max_record;
        if len as u64 > max {
            return Err(JournalError::TooLarge { len, max: max as usize });
        }
        Ok(Geometry::lines_for(len as u64))
    }

    #[inline(always)]
    fn claim_room(&mut self, lines: u64, deadline: Option<Instant>) -> Result<Room, JournalError> {
        match self.claim_lines(lines, deadline) {
            Err(full @ JournalError::Full { .. }) => self.claim_room_waiting(lines, full, deadline),
            outcome => outcome,
        }
    }

    #[cold]
    fn claim_room_waiting(
        &mut self,
        lines: u64,
        full: JournalError,
        deadline: Option<Instant>,
    ) -> Result<Room, JournalError> {
        let mut outcome = Err(full);
        loop {
            match outcome {
                Err(JournalError::Full { .. }) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                    return Err(JournalError::TimedOut);
                }
                Err(JournalError::Full { held_by: None, floor, .. })
                    if deadline.is_none() && self.is_full_for_good(floor) =>
                {
                    return self.claim_lines(lines, deadline);
                }
                Err(JournalError::Full { floor, .. }) => self.wait_for_room(floor, deadline)?,
                outcome => return outcome,
            }
            outcome = self.claim_lines(lines, deadline);
        }
    }

    #[inline(always)]
    fn try_claim_room(&mut self, len: usize) -> Result<Room, JournalError> {
        let lines = self.check_len(len)?;
        self.try_claim_lines(lines)
    }

    #[inline(always)]
    fn try_claim_lines(&mut self, lines: u64) -> Result<Room, JournalError> {
        self.claim_lines(lines, None)
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
    #[inline(always)]
    fn claim_lines(&mut self, lines: u64, deadline: Option<Instant>) -> Result<Room, JournalError> {
        if let Some(room) = self.open.take() {
            self.abort(room);
        }
        // Pairs with the Release below; a hint: claims may go on behind it.
        let mut tail = self.shared.control.tail().load(Ordering::Acquire);
        loop {
            let (shared, place) = (&*self.shared, self.lap.place(tail));
            let (control, data) = (&shared.control, shared.store.geometry().data);
            let to_the_end = data - place.at;
            if tail >= MAX_POSITION - data {
                return Err(JournalError::Exhausted);
            }
            let found = match control.look(place) {
                Found::Free(found) => found,
                other => {
                    tail = self.beyond(place, other)?;
                    continue;
                }
            };
            let fits = lines * LINE <= to_the_end;
            let take = if fits { lines } else { to_the_end / LINE };
            if tail + take * LINE > self.limit {
                // Pairs with the Release of `set_head`: reads of those who released it come before our writes.
                self.limit = control.head().load(Ordering::Acquire).saturating_add(data);
                if tail + take * LINE > self.limit {
                    self.make_room(tail, take * LINE, deadline)?;
                    // Others may have been faster.
                    continue;
                }
            }
            let claim = Claim { state: ClaimState::Claimed, owner: self.member, lines: take };
            if !control.claim(place, found, claim) {
                continue;
            }
            // Whoever reads what we overwrite sees, by a look at the head after it, that it was given away: this fence pairs with the reader's.
            ipc_core::sync::fence(Ordering::Release);
            // Release: whoever begins there sees the claims before. It may go back when two are at it.
            control.tail().store(tail + take * LINE, Ordering::Release);
            if tail + take * LINE > shared.own.ready.load(StdOrdering::Relaxed) {
                shared.make_ready(tail, take * LINE);
            }
            let room = Room { place, claim };
            if !fits {
                self.abort(room);
                tail += take * LINE;
                continue;
            }
            return Ok(room);
        }
    }

    /// Where to look for free lines next, if those at a place are not free.
    #[cold]
    fn beyond(&self, place: Place, found: Found) -> Result<u64, JournalError> {
        let (control, data, tail) = (&self.shared.control, self.shared.store.geometry().data, place.position);
        let corrupted = |what, expected, found| JournalError::Corrupted { what, position: tail, expected, found };
        if let Found::Taken(claim) = found {
            let (extent, to_the_end) = (claim.lines * LINE, data - place.at);
            if extent == 0 || extent > to_the_end {
                return Err(corrupted("the lines of a claim", to_the_end / LINE, claim.lines));
            }
            return Ok(tail + extent);
        }
        // The hint is of an earlier lap: somebody was stopped before it stored it. Everything before the head was claimed.
        let again = control.tail().load(Ordering::Acquire).max(control.head().load(Ordering::Acquire));
        if again <= tail {
            return Err(corrupted("the head of a journal that was written further", tail + data, again));
        }
        Ok(again)
    }

    /// Leads, and gives away what is released: needs a flush of all that is committed, and one of a header.
    #[cold]
    fn make_room(&mut self, tail: u64, needed: u64, deadline: Option<Instant>) -> Result<(), JournalError> {
        let shared = &self.shared;
        let data = shared.store.geometry().data;
        // Before the act: what is released after it is seen as a change.
        let (held_by, floor) = shared.held_by();
        let head = shared.lead_until(self.terms(deadline), |leading| {
            let head = leading.shared.control.head().load(Ordering::Acquire);
            // Somebody else made room while we waited for him.
            if tail + needed <= head.saturating_add(data) { Ok(head) } else { leading.shared.act(true, needed) }
        })?;
        self.limit = head.saturating_add(data);
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
        if let Some(room) = self.open.take() {
            self.abort(room);
        }
        self.shared.part(self.member);
    }
}
