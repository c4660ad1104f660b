//! Room in the journal, written in place.
#![expect(unsafe_code, reason = "payload lent in place")]

use std::ops::{Deref, DerefMut};

use ipc_core::sync;

use super::appender::{Appended, Appender, Room};
use super::error::JournalError;
use super::format::FRAME;

/// Room for a record, claimed and not yet committed. What is in it at first is anything.
///
/// As long as it is neither committed nor dropped, and its process lives, what stands behind it is not read and not made durable, whoever appended it: a thread that has one, and waits without a
/// deadline until another appender's record is durable, waits for itself. One that is forgotten is given back at its appender's next claim, or when that drops.
///
/// Sound as long as every attached peer follows the protocol: nobody else writes to claimed room.
#[derive(Debug)]
pub struct JournalGrant<'a> {
    appender: &'a mut Appender,
    room: Option<Room>,
    place: *mut u8,
    len: usize,
}

impl<'a> JournalGrant<'a> {
    pub(super) fn new(appender: &'a mut Appender, room: Room, len: usize) -> Self {
        let store = &appender.shared.store;
        let place = store.backend().place(store.offset_at(room.place.at) + FRAME, len);
        Self { appender, room: Some(room), place, len }
    }

    /// Appends all of it as a record, and acknowledges it as the appender's mode says. Computes the checksum in place.
    ///
    /// # Errors
    ///
    /// As [`Appender::push`].
    pub fn commit(self) -> Result<Appended, JournalError> {
        let len = self.len;
        self.commit_len(len)
    }

    /// As [`commit`](Self::commit), the first `len` bytes of it.
    ///
    /// # Errors
    ///
    /// As there; [`JournalError::TooLarge`] if less was claimed, and the claim is aborted.
    pub fn commit_len(mut self, len: usize) -> Result<Appended, JournalError> {
        if len > self.len {
            return Err(JournalError::TooLarge { len, max: self.len });
        }
        let Some(room) = self.room.take() else { return Err(JournalError::ClaimLost { position: 0 }) };
        // For a model checker: what was written in place counts from here on.
        sync::lend(self.place, len, true);
        let mut frame = self.appender.frame(room, len);
        let store = &self.appender.shared.store;
        frame.checksum = frame.checksum_of(store.geometry().id, &self[..len]);
        store.write_frame(&frame);
        self.appender.open = None;
        self.appender.commit(room, None)
    }
}

impl Deref for JournalGrant<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len` bytes that were checked to be inside the region, which the appender holds; ours alone while they are claimed.
        unsafe { std::slice::from_raw_parts(self.place, self.len) }
    }
}

impl DerefMut for JournalGrant<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.place, self.len) }
    }
}

impl Drop for JournalGrant<'_> {
    fn drop(&mut self) {
        if let Some(room) = self.room.take()
            && self.appender.shared.process.is_current()
        {
            self.appender.abort(room);
        }
    }
}
