//! Appending: a claim that names its claimer, the record, and the store that commits it.

mod room;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_core::sync::Ordering;
use ipc_core::wait::{Cancel, WaitStrategy, coarse_time, coarse_uptime};

pub(super) use self::room::Room;
use super::control::{Claim, ClaimState, Found, Lap, Place};
use super::error::JournalError;
use super::format::{Frame, Geometry, Kind, LINE, MAX_LINES};
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

/// Appends to a journal. One for each thread; there may be 255 appenders and handles of one journal at a time, in all processes.
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

/// A time from which it is counted how long something has not been flushed.
#[derive(Debug, Clone, Copy)]
enum Since {
    /// For times that are long beside the tick of the kernel's clock: a look at it costs a fifth.
    Tick(u64),
    Exactly(Instant),
}

/// The kernel's clock ticks at least a hundred times a second.
const COARSE: Duration = Duration::from_millis(50);

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
            member: shared.join(shared.member)?,
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
        self.shared.check()?;
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
