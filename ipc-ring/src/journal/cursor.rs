//! Named cursors: readers whose place is kept in the journal.

use std::ops::{Deref, DerefMut};
use std::time::Instant;

use ipc_core::peer::RoleState;
use ipc_core::sync::Ordering;

use super::error::JournalError;
use super::format::MAX_NAME;
use super::leader::Terms;
use super::open::Journal;
use super::reader::Reader;

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
        let index = match self.find_cursor(&bytes) {
            Some(index) => index,
            // As the leader: nobody gives space away meanwhile that it should hold.
            None => shared.lead_until(terms, |_| {
                if let Some(index) = self.find_cursor(&bytes) {
                    return Ok(index);
                }
                let places = shared.store.geometry().cursors as usize;
                let free = (0..places).find(|index| shared.control.cursor_used(*index).load(Ordering::Acquire) == 0);
                let Some(index) = free else { return Err(JournalError::TooMany { what: "cursors", places }) };
                shared.control.set_cursor_name(index, &bytes);
                let oldest = shared.control.head().load(Ordering::Acquire);
                shared.control.cursor_position(index).store(oldest, Ordering::Relaxed);
                // Release: name and place are seen with it.
                shared.control.cursor_used(index).store(1, Ordering::Release);
                shared.act(true, 0)?;
                Ok(index)
            })?,
        };
        shared.control.cursor_role(index).claim(&shared.segment)?;
        // Pairs with the Release of `acknowledge` of the one before.
        let position = shared.control.cursor_position(index).load(Ordering::Acquire);
        Ok(Cursor { reader: self.reader(position), journal: self.clone(), index })
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
