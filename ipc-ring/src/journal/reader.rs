//! Reading: each reader at its own place, disturbing nobody.
#![expect(unsafe_code, reason = "payload lent in place")]

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use ipc_core::sync::{Ordering, fence};
use ipc_core::wait::{Cancel, WaitStrategy};

use super::backend::Backend;
use super::control::{ClaimState, Found, Lap};
use super::error::JournalError;
use super::format::{FRAME, Frame, Kind};
use super::leader::Terms;
use super::open::{Journal, Shared};
use super::rules::Rules;

/// What is known of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// Where it begins: its name for good.
    pub position: u64,
    /// Where it ends, and the next one begins.
    pub end: u64,
    /// Nanoseconds since the Unix epoch when it was appended, by the clock of who did, to a few milliseconds.
    pub time: u64,
    /// The session in which it was appended: one more after every recovery.
    pub epoch: u64,
    /// Bytes of its payload.
    pub len: usize,
}

/// Reads a journal from a place of its own on. Holds nothing back: if its place is given up for room, it is told, and goes on at the oldest record. A
/// [`Cursor`](super::Cursor) holds its place.
///
/// Every record is checked against its checksum. A read costs no system call and writes nothing that others see.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    position: u64,
    lap: Lap,
    durable_only: bool,
    strategy: WaitStrategy,
    cancel: Option<Cancel>,
}

impl Journal {
    /// A reader that begins at the oldest record.
    pub fn reader_from_oldest(&self) -> Reader {
        self.reader(self.oldest())
    }

    /// A reader that begins behind the last record that is committed now.
    ///
    /// # Errors
    ///
    /// [`JournalError::Corrupted`].
    pub fn reader_from_now(&self) -> Result<Reader, JournalError> {
        Ok(self.reader(self.end()?))
    }

    /// A reader that begins at a position, such as [`Record::end`] of the last record that was read.
    ///
    /// # Errors
    ///
    /// [`JournalError::InvalidPosition`] if no record begins or ends there, or none does any more.
    pub fn reader_from(&self, position: u64) -> Result<Reader, JournalError> {
        self.shared.check()?;
        self.shared.check_boundary(position)?;
        Ok(self.reader(position))
    }

    /// A reader that begins at the first record that was appended at or after a time, in nanoseconds since the Unix epoch; behind the last one if there is none. Looks at
    /// the frames from the oldest on: tens of millions a second.
    ///
    /// # Errors
    ///
    /// [`JournalError::Corrupted`].
    pub fn reader_from_time(&self, time: u64) -> Result<Reader, JournalError> {
        let mut reader = self.reader_from_oldest();
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) if frame.time >= time => return Ok(reader),
                Ok(Some(frame)) => reader.position += frame.extent(),
                Ok(None) => return Ok(reader),
                Err(JournalError::Lapped { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn reader(&self, position: u64) -> Reader {
        Reader {
            shared: self.shared.clone(),
            position,
            lap: Lap::new(self.shared.store.geometry().data, self.shared.epoch),
            durable_only: false,
            strategy: WaitStrategy::default(),
            cancel: None,
        }
    }
}

impl Reader {
    /// Whether to read only what is durable: nothing that it returns is lost with the power.
    pub fn set_durable_only(&mut self, durable_only: bool) {
        self.durable_only = durable_only;
    }

    /// How to wait.
    pub fn set_strategy(&mut self, strategy: WaitStrategy) {
        self.strategy = strategy;
    }

    /// What ends waits early.
    pub fn set_cancel(&mut self, cancel: Cancel) {
        self.cancel = Some(cancel);
    }

    /// Where the next record begins.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Takes the next record into `bytes`, which is cleared first; waits for it as long as it takes.
    ///
    /// # Errors
    ///
    /// [`JournalError::Lapped`], and the next call goes on at the oldest record; [`JournalError::Corrupted`] if a record is not what was written, with its position; the reader stays
    /// there; [`JournalError::Cancelled`]; [`JournalError::Poisoned`] if it waits for what is durable, and nothing more will be.
    pub fn pop(&mut self, bytes: &mut Vec<u8>) -> Result<Record, JournalError> {
        self.wait(None)?;
        self.try_pop(bytes)
    }

    /// As [`pop`](Self::pop), but does not wait.
    ///
    /// # Errors
    ///
    /// As there, and [`JournalError::Empty`].
    pub fn try_pop(&mut self, bytes: &mut Vec<u8>) -> Result<Record, JournalError> {
        self.shared.check()?;
        let Some(frame) = self.next_frame()? else { return Err(JournalError::Empty) };
        let (store, len) = (&self.shared.store, frame.len() as usize);
        bytes.clear();
        if bytes.try_reserve(len).is_err() {
            return Err(JournalError::TooLarge { len, max: bytes.capacity() });
        }
        bytes.resize(len, 0);
        let at = self.lap.place(self.position).at;
        store.backend().read(store.offset_at(at) + FRAME, bytes);
        self.check_still_there()?;
        self.check_whole(&frame, bytes)?;
        self.shared.check_pages()?;
        Ok(self.advance(&frame))
    }

    /// As [`pop`](Self::pop), until the deadline.
    ///
    /// # Errors
    ///
    /// As there, and [`JournalError::TimedOut`].
    pub fn pop_deadline(&mut self, bytes: &mut Vec<u8>, deadline: Instant) -> Result<Record, JournalError> {
        self.wait(Some(deadline))?;
        self.try_pop(bytes)
    }

    /// Lends the next record in place; waits for it as long as it takes.
    ///
    /// # Errors
    ///
    /// As [`pop`](Self::pop).
    pub fn peek(&mut self) -> Result<RecordView<'_>, JournalError> {
        self.wait(None)?;
        self.try_peek()
    }

    /// As [`peek`](Self::peek), until the deadline.
    ///
    /// # Errors
    ///
    /// As there, and [`JournalError::TimedOut`].
    pub fn peek_deadline(&mut self, deadline: Instant) -> Result<RecordView<'_>, JournalError> {
        self.wait(Some(deadline))?;
        self.try_peek()
    }

    /// As [`peek`](Self::peek), but does not wait.
    ///
    /// # Errors
    ///
    /// As [`try_pop`](Self::try_pop).
    pub fn try_peek(&mut self) -> Result<RecordView<'_>, JournalError> {
        self.shared.check()?;
        let Some(frame) = self.next_frame()? else { return Err(JournalError::Empty) };
        let (store, at) = (&self.shared.store, self.lap.place(self.position).at);
        let place = store.backend().place(store.offset_at(at) + FRAME, frame.len() as usize);
        let view = RecordView { reader: self, frame, place };
        let checked = view.reader.check_whole(&view.frame, &view);
        view.reader.check_still_there_or_tell()?;
        checked?;
        Ok(view)
    }

    /// The next record's frame, checked but for the checksum; goes over skipped lines. `None` if there is none yet.
    fn next_frame(&mut self) -> Result<Option<Frame>, JournalError> {
        loop {
            let at = self.position;
            let place = self.lap.place(at);
            if at >= self.shared.begun_at {
                match self.shared.control.look(place) {
                    Found::Taken(claim) if claim.state != ClaimState::Claimed => {}
                    Found::Taken(_) | Found::Free(_) => return Ok(None),
                    Found::Later => return Err(self.overtaken(at)),
                }
            }
            let frame = self.shared.store.read_frame_at(place.at);
            if self.shared.control.head().load(Ordering::Acquire) > at {
                return Err(self.lapped());
            }
            let checked = frame.check(self.shared.store.geometry(), at, Rules::SOUND);
            let checked = checked
                .map_err(|(what, expected, found)| JournalError::Corrupted { what, position: at, expected, found })
                .and_then(|kind| self.shared.check_epoch(at, &frame).map(|()| kind));
            let kind = match checked {
                Ok(kind) => kind,
                Err(error) => {
                    self.check_still_there()?;
                    self.shared.check_pages()?;
                    return Err(error);
                }
            };
            if self.durable_only && self.shared.control.durable_mark().load(Ordering::Acquire) < at + frame.extent() {
                return Ok(None);
            }
            match kind {
                Kind::Record => return Ok(Some(frame)),
                Kind::Skip => {
                    let whole = frame.checksum == frame.checksum_of(self.shared.store.geometry().id, &[]);
                    self.check_still_there()?;
                    if !whole {
                        let (expected, found) = (frame.seed(0), frame.checksum);
                        let what = "the checksum of skipped lines";
                        return Err(JournalError::Corrupted { what, position: at, expected, found });
                    }
                    self.position = at + frame.extent();
                }
            }
        }
    }

    fn check_whole(&self, frame: &Frame, payload: &[u8]) -> Result<(), JournalError> {
        let expected = frame.checksum_of(self.shared.store.geometry().id, payload);
        if expected == frame.checksum {
            return Ok(());
        }
        let (what, position, found) = ("the checksum of a record", frame.position, frame.checksum);
        Err(JournalError::Corrupted { what, position, expected, found })
    }

    /// Whether what was read at our place up to here was not given up meanwhile.
    #[inline(always)]
    fn check_still_there(&mut self) -> Result<(), JournalError> {
        if self.is_still_there() { Ok(()) } else { Err(self.lapped()) }
    }

    fn check_still_there_or_tell(&self) -> Result<(), JournalError> {
        let oldest = self.shared.control.head().load(Ordering::Acquire);
        if self.is_still_there() { Ok(()) } else { Err(JournalError::Lapped { position: self.position, oldest }) }
    }

    #[inline(always)]
    fn is_still_there(&self) -> bool {
        // Acquire: if any byte that was read is of a later lap, its appender had seen the head that gave our place away, with a Release fence behind that; then we see it here.
        fence(Ordering::Acquire);
        self.shared.control.head().load(Ordering::Relaxed) <= self.position
    }

    /// The line at our place was claimed for a later lap. Whoever claims it has seen the head that gave our place away, so that we see it too: if not, the word is wrong.
    fn overtaken(&mut self, at: u64) -> JournalError {
        let head = self.shared.control.head().load(Ordering::Acquire);
        if head > at {
            return self.lapped();
        }
        JournalError::Corrupted {
            what: "the head, with a line that is of a later lap",
            position: at,
            expected: at.saturating_add(1),
            found: head,
        }
    }

    /// Goes on at the oldest record.
    fn lapped(&mut self) -> JournalError {
        let (position, oldest) = (self.position, self.shared.control.head().load(Ordering::Acquire));
        self.position = oldest.max(position);
        JournalError::Lapped { position, oldest }
    }

    fn advance(&mut self, frame: &Frame) -> Record {
        let (position, end) = (self.position, self.position + frame.extent());
        self.position = end;
        Record { position, end, time: frame.time, epoch: frame.epoch, len: frame.len() as usize }
    }

    /// Waits until there is something to read, or an error to tell.
    fn wait(&mut self, deadline: Option<Instant>) -> Result<(), JournalError> {
        let shared = self.shared.clone();
        shared.check()?;
        let (strategy, cancel) = (self.strategy, self.cancel.clone());
        let terms = Terms { strategy, deadline, cancel: cancel.as_ref() };
        let durable_only = self.durable_only;
        // What is to be durable is rung for by the leader.
        let bell = if durable_only { shared.control.durable_bell() } else { shared.control.readers_bell() };
        let look = || {
            let found = self.next_frame()?.map(drop);
            if found.is_none() && durable_only {
                shared.check_poison()?;
            }
            Ok(found)
        };
        // Claims of the dead between us and the next record are skipped.
        shared.wait(bell, terms, look, || shared.frontier(true).map(drop))
    }
}

/// A record in place, until it is [released](Self::release).
///
/// Sound as long as every attached peer follows the protocol. A [`Cursor`](super::Cursor) keeps its records where they are; for another reader's view the space may be given
/// up and written to meanwhile, which is told by [`release`](Self::release): what was seen before that cannot be relied on then.
#[derive(Debug)]
pub struct RecordView<'a> {
    reader: &'a mut Reader,
    frame: Frame,
    place: *const u8,
}

impl RecordView<'_> {
    /// What is known of the record.
    pub fn record(&self) -> Record {
        let Frame { position, time, epoch, .. } = self.frame;
        Record { position, end: position + self.frame.extent(), time, epoch, len: self.frame.len() as usize }
    }

    /// Ends the view, and goes on to the next record. If the view is dropped instead, the same record comes next.
    ///
    /// # Errors
    ///
    /// [`JournalError::Lapped`] if the record was given up meanwhile.
    pub fn release(self) -> Result<Record, JournalError> {
        self.reader.check_still_there()?;
        self.reader.shared.check_pages()?;
        Ok(self.reader.advance(&self.frame))
    }
}

impl Deref for RecordView<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: that many bytes were checked to be inside the region, which the reader holds; who follows the protocol does not write there before the
        // reader's place is given up, as said above.
        unsafe { std::slice::from_raw_parts(self.place, self.frame.len() as usize) }
    }
}
