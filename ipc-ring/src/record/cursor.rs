//! Where a consumer of records stands.

use super::{Bytes, Found};
use crate::error::RingError;

/// A place in a ring of records, at which the next record begins, or the padding before it.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) bytes: Bytes,
    /// Where the next control word is.
    pub(crate) position: u64,
    /// `position` in the ring.
    pub(crate) offset: u64,
}

impl Cursor {
    pub(crate) fn new(bytes: Bytes, position: u64) -> Self {
        let offset = bytes.offset(position);
        Self { bytes, position, offset }
    }

    /// Goes to another place at which a record begins. Divides.
    pub(crate) fn go_to(&mut self, position: u64) {
        (self.position, self.offset) = (position, self.bytes.offset(position));
    }

    /// The record that begins here; `None` if nothing is committed.
    #[inline(always)]
    pub(crate) fn look(&self) -> Result<Option<Found>, RingError> {
        self.bytes.look(self.position, self.offset)
    }

    #[inline(always)]
    pub(crate) fn offset_of(&self, position: u64) -> u64 {
        // A record and the padding before it are at most a lap together: `Bytes::find` has checked it.
        let offset = self.offset + position.wrapping_sub(self.position);
        if offset >= self.bytes.ring { offset - self.bytes.ring } else { offset }
    }

    /// Goes on behind a record that was found here.
    #[inline(always)]
    pub(crate) fn step_over(&mut self, found: Found) {
        self.offset = self.offset_of(found.end);
        self.position = found.end;
    }

    /// Copies a record that was found here to the end of a vector, which is empty if `check` says that pages are lost.
    #[inline(always)]
    pub(crate) fn append_to(
        &self,
        found: Found,
        record: &mut Vec<u8>,
        check: impl FnOnce() -> Result<(), RingError>,
    ) -> Result<(), RingError> {
        self.bytes.append_to(self.offset_of(found.start), found.len, record)?;
        check().inspect_err(|_| record.clear())
    }
}
