//! Named cursors: readers whose place is kept in the journal.

use std::ops::{Deref, DerefMut};
use std::time::Instant;

use ipc_core::Error;
use ipc_core::peer::RoleState;
use ipc_core::sync::Ordering;

use super::error::JournalError;
use super::format::MAX_NAME;
use super::leader::Terms;
use super::open::Journal;
use super::reader::Reader;

/// How often a cursor is looked for again that was removed as its role was claimed.
const ATTEMPTS: usize = 1000;

/// A reader with a name, whose place lasts: what it has not [acknowledged](Self::acknowledge) is kept, for it and for whoever opens it after it.
///
/// One process has it at a time; from a dead one it is taken back. It comes back where it last acknowledged; after a loss of power where it had acknowledged
/// at the last checkpoint. So every record is seen at least once.
#[derive(Debug)]
pub struct Cursor {
    reader: Reader,
    journal: Journal,
    index: usize,
}

/// A cursor, as it stands in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CursorInfo {
    /// Its name.
    pub name: String,
    /// Everything before it is acknowledged.
    pub position: u64,
    /// Whether a process has it that lives.
    pub held: bool,
}

pub(super) fn name_of(name: &[u8; MAX_NAME]) -> String {
    let len = name.iter().position(|byte| *byte == 0).unwrap_or(MAX_NAME);
    String::from_utf8_lossy(&name[..len]).into_owned()
}

fn encode(name: &str) -> Result<[u8; MAX_NAME], JournalError> {
    let mut bytes = [0; MAX_NAME];
    if name.is_empty() || name.len() > MAX_NAME || name.as_bytes().contains(&0) {
        return Err(JournalError::InvalidName { name: name.to_owned(), max: MAX_NAME });
    }
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    Ok(bytes)
}

impl Journal {
    /// The cursor of that name: taken up where it was left, or made at the oldest record. A new one is durable when this returns, where anything is.
    ///
    /// # Errors
    ///
    /// [`JournalError::InvalidName`], [`JournalError::TooMany`]; [`Error::RoleHeld`](ipc_core::Error::RoleHeld) if a living process has it; for a new one also a failed flush.
    pub fn cursor(&self, name: &str) -> Result<Cursor, JournalError> {
        self.cursor_by(name, None)
    }

    /// As [`cursor`](Self::cursor); to make one, waits for another process's flush until the deadline only.
    ///
    /// # Errors
    ///
    /// As there, and [`JournalError::TimedOut`].
    pub fn cursor_deadline(&self, name: &str, deadline: Instant) -> Result<Cursor, JournalError> {
        self.cursor_by(name, Some(deadline))
    }

    fn cursor_by(&self, name: &str, deadline: Option<Instant>) -> Result<Cursor, JournalError> {
        let terms = Terms { deadline, ..Terms::default() };
        let (shared, bytes) = (&self.shared, encode(name)?);
        shared.check()?;
        for _ in 0..ATTEMPTS {
            let index = self.cursor_place(&bytes, terms)?;
            if let Some(cursor) = self.claim_cursor(index, &bytes)? {
                return Ok(cursor);
            }
        }
        Err(Error::Busy { what: "a cursor that others remove without end", seconds: 0 }.into())
    }

    /// The cursor at a place, if it is still the one of that name.
    fn claim_cursor(&self, index: usize, bytes: &[u8; MAX_NAME]) -> Result<Option<Cursor>, JournalError> {
        let control = &self.shared.control;
        let role = control.cursor_role(index);
        role.claim(&self.shared.segment)?;
        // Who removes a cursor has its role meanwhile: so this one is there, or was not any more before the role was ours.
        let is_there = control.cursor_used(index).load(Ordering::Acquire) != 0;
        if !is_there || control.cursor_name(index) != *bytes {
            role.release(&self.shared.segment);
            return Ok(None);
        }
        // Pairs with the Release of `acknowledge` of the one before.
        let position = control.cursor_position(index).load(Ordering::Acquire);
        Ok(Some(Cursor { reader: self.reader(position), journal: self.clone(), index }))
    }

    /// Where the cursor of that name stands, or is to stand from now on.
    fn cursor_place(&self, bytes: &[u8; MAX_NAME], terms: Terms<'_>) -> Result<usize, JournalError> {
        let shared = &self.shared;
        match self.find_cursor(bytes) {
            Some(index) => Ok(index),
            // As the leader: nobody gives space away meanwhile that it should hold.
            None => shared.lead_until(terms, |_| {
                if let Some(index) = self.find_cursor(bytes) {
                    return Ok(index);
                }
                let places = shared.store.geometry().cursors as usize;
                let free = (0..places).find(|index| shared.control.cursor_used(*index).load(Ordering::Acquire) == 0);
                let Some(index) = free else { return Err(JournalError::TooMany { what: "cursors", places }) };
                shared.control.set_cursor_name(index, bytes);
                let oldest = shared.control.head().load(Ordering::Acquire);
                shared.control.cursor_position(index).store(oldest, Ordering::Relaxed);
                // Release: name and place are seen with it.
                shared.control.cursor_used(index).store(1, Ordering::Release);
                shared.act(true, 0)?;
                Ok(index)
            }),
        }
    }

    /// Removes a cursor that no living process has: it holds nothing back any more.
    ///
    /// # Errors
    ///
    /// [`JournalError::NoSuchCursor`], [`Error::RoleHeld`](ipc_core::Error::RoleHeld), a failed flush.
    pub fn remove_cursor(&self, name: &str) -> Result<(), JournalError> {
        self.remove_cursor_by(name, None)
    }

    /// As [`remove_cursor`](Self::remove_cursor), but waits for another process's flush until the deadline only.
    ///
    /// # Errors
    ///
    /// As there, and [`JournalError::TimedOut`].
    pub fn remove_cursor_deadline(&self, name: &str, deadline: Instant) -> Result<(), JournalError> {
        self.remove_cursor_by(name, Some(deadline))
    }

    fn remove_cursor_by(&self, name: &str, deadline: Option<Instant>) -> Result<(), JournalError> {
        let terms = Terms { deadline, ..Terms::default() };
        let (shared, bytes) = (&self.shared, encode(name)?);
        shared.check()?;
        shared.lead_until(terms, |_| {
            let missing = || JournalError::NoSuchCursor { name: name.to_owned() };
            let index = self.find_cursor(&bytes).ok_or_else(missing)?;
            let role = shared.control.cursor_role(index);
            role.claim(&shared.segment)?;
            shared.control.cursor_used(index).store(0, Ordering::Release);
            role.release(&shared.segment);
            shared.act(true, 0)
        })?;
        shared.ring_for_room();
        Ok(())
    }

    /// All cursors.
    pub fn cursors(&self) -> Vec<CursorInfo> {
        let control = &self.shared.control;
        let entries = self.shared.cursor_entries(u64::MAX).into_iter().enumerate();
        let info = |(index, entry): (usize, super::format::CursorEntry)| CursorInfo {
            name: name_of(&entry.name),
            position: entry.position,
            held: matches!(control.cursor_role(index).state(), RoleState::Held(peer) if self.shared.segment.is_alive(peer)),
        };
        entries.filter(|(_, entry)| entry.name[0] != 0).map(info).collect()
    }

    fn find_cursor(&self, name: &[u8; MAX_NAME]) -> Option<usize> {
        self.shared.cursor_entries(u64::MAX).iter().position(|entry| entry.name == *name)
    }
}

impl Cursor {
    /// Says that everything that was read is done with: the next one to open the cursor goes on from here, and the space may be used again after the next checkpoint. A store.
    pub fn acknowledge(&mut self) {
        let shared = &self.journal.shared;
        if !shared.process.is_current() {
            return;
        }
        // Release: our reads come before the writes of whoever gets the space.
        shared.control.cursor_position(self.index).store(self.reader.position(), Ordering::Release);
        shared.ring_for_room();
    }

    /// Where it last acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.journal.shared.control.cursor_position(self.index).load(Ordering::Relaxed)
    }
}

impl Deref for Cursor {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        &self.reader
    }
}

impl DerefMut for Cursor {
    fn deref_mut(&mut self) -> &mut Reader {
        &mut self.reader
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        let shared = &self.journal.shared;
        shared.control.cursor_role(self.index).release(&shared.segment);
    }
}

#[cfg(test)]
#[cfg(not(any(ipc_model = "loom", ipc_model = "shuttle")))]
mod tests {
    use super::*;
    use crate::journal::{Acknowledge, JournalOptions};
    use ipc_core::Segment;

    /// It was found by its name and claimed by its place, and moved the other one.
    #[test]
    fn a_cursor_that_is_removed_as_it_is_opened_is_not_taken_for_the_one_that_came_into_its_place() {
        let segment = Segment::memfd("cursors").size(1 << 20).create().unwrap();
        let journal = Journal::create(&segment, "log", JournalOptions::new().capacity(64 << 10)).unwrap();
        let appended = journal.appender(Acknowledge::Async).unwrap().push(b"one").unwrap();
        let name = encode("removed").unwrap();
        let index = journal.cursor_place(&name, Terms::default()).unwrap();
        journal.remove_cursor("removed").unwrap();
        drop(journal.cursor("another").unwrap());
        assert_eq!(journal.find_cursor(&encode("another").unwrap()), Some(index));
        assert!(journal.claim_cursor(index, &name).unwrap().is_none());
        let (mut another, mut again) = (journal.cursor("another").unwrap(), journal.cursor("removed").unwrap());
        assert_ne!(another.index, again.index);
        let mut record = Vec::new();
        again.try_pop(&mut record).unwrap();
        again.acknowledge();
        assert_eq!((again.acknowledged(), another.acknowledged()), (appended.end, 0));
        another.try_pop(&mut record).unwrap();
        assert_eq!(record, b"one");
    }
}
