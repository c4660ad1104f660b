//! The data area of a ring of records: control words and payload at positions.
#![expect(unsafe_code, reason = "control words and payload at computed places in a checked region")]

use std::ptr::NonNull;

use ipc_core::Region;
use ipc_core::copy::{self, racing};
use ipc_core::sync::{self, AtomicU64, Ordering};

use super::{CONTROL, Control, Place};
use crate::error::RingError;
use crate::record;
use crate::spsc::endpoint::Lines;

/// The bytes of a ring, addressed by positions. Its owner holds the region.
#[derive(Debug, Clone)]
pub(crate) struct Bytes {
    base: NonNull<u8>,
    /// How many there are: whole lines.
    pub(crate) ring: u64,
    /// The longest record.
    pub(crate) max_record: usize,
    /// A shorter one takes as much room as one of this length.
    least: usize,
}

/// A committed record that was found: checked to lie inside the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) start: u64,
    pub(crate) len: usize,
    pub(crate) end: u64,
}

// SAFETY: a pointer into shared memory, which no thread owns, and plain numbers. Not `Sync`: its owner is a handle with one user at a time.
unsafe impl Send for Bytes {}

impl Bytes {
    /// The `ring` bytes behind the control lines; the region was checked to be as long when its geometry was.
    pub(crate) fn new(lines: &Lines, capacity: u64, ring: u64) -> Self {
        let (base, len) = lines.data();
        assert!(ring > 0 && ring <= len as u64, "the geometry was checked");
        lines.enroll_data(ring as usize);
        // At most one record begins where a claim word stands for.
        let least = lines.spans().map_or(0, |claims| claims.grain() as usize - CONTROL);
        Self { base, ring, max_record: record::max_record(capacity), least }
    }

    /// The `ring` bytes at `at` in a region that was checked to have them, for records of at most `max_record` bytes.
    pub(crate) fn within(region: &Region, at: usize, ring: u64, max_record: usize) -> Self {
        assert!(ring > 0 && at as u64 + ring <= region.len() as u64, "the geometry was checked");
        sync::enroll(region, at, ring as usize);
        // SAFETY: inside the region, whose first byte is not at address zero.
        let base = unsafe { NonNull::new_unchecked(region.as_ptr().add(at)) };
        Self { base, ring, max_record, least: 0 }
    }

    /// Where a record of `len` bytes goes that is pushed at `position`, at `offset` in the ring.
    #[inline(always)]
    pub(crate) fn place(&self, position: u64, offset: u64, len: usize) -> Place {
        record::place(position, offset, len.max(self.least), self.ring)
    }

    /// Where a record of `len` bytes ends that begins at `start`.
    pub(crate) fn end(&self, start: u64, len: usize) -> u64 {
        record::end(start, len.max(self.least))
    }

    /// Where a position lies, from the beginning of the ring. Divides; callers keep it beside the position.
    pub(crate) fn offset(&self, position: u64) -> u64 {
        position % self.ring
    }

    /// The control word at `offset`: a multiple of 8 below the ring's size.
    #[inline(always)]
    pub(crate) fn control(&self, offset: u64) -> &AtomicU64 {
        debug_assert!(offset < self.ring && offset.is_multiple_of(CONTROL as u64));
        // SAFETY: inside the ring, which has whole lines and begins at one; accessed as an atomic word while nobody's payload lies there.
        unsafe { sync::word64(self.base.add(offset as usize)) }
    }

    /// Zeroes the words from `from` to `to` in one line, both multiples of 8: nothing is committed there.
    #[inline(always)]
    pub(crate) fn clear(&self, from: u64, to: u64) {
        let mut at = from;
        while at < to {
            // Ordered before the commit that makes the first of them the next to be looked at, by that commit's Release.
            self.control(at).store(0, Ordering::Relaxed);
            at += CONTROL as u64;
        }
    }

    /// The payload of the record that begins at `offset`.
    #[inline(always)]
    pub(crate) fn payload(&self, offset: u64) -> *mut u8 {
        self.base.as_ptr().wrapping_add(offset as usize + CONTROL)
    }

    /// A view in place of `len` bytes of payload.
    ///
    /// # Safety
    ///
    /// `offset` and `len` must be those of a place in the ring, and nobody may write there while the view lives: the record is committed, was
    /// not acknowledged, and all peers follow the protocol.
    pub(crate) unsafe fn view(&self, offset: u64, len: usize) -> &[u8] {
        sync::lend(self.payload(offset), len, false);
        // SAFETY: inside the ring by the caller's word, and initialised: shared memory begins as zeros.
        unsafe { std::slice::from_raw_parts(self.payload(offset), len) }
    }

    /// Room to write in place.
    ///
    /// # Safety
    ///
    /// As for [`view`](Self::view), and the place must be the producer's own: claimed and not committed. The caller has the only reference.
    #[expect(clippy::mut_from_ref, reason = "the memory is not part of the value that `&self` is of")]
    pub(crate) unsafe fn room(&self, offset: u64, len: usize) -> &mut [u8] {
        sync::lend(self.payload(offset), len, true);
        // SAFETY: as in `view`, and exclusive by the caller's word.
        unsafe { std::slice::from_raw_parts_mut(self.payload(offset), len) }
    }

    /// Copies bytes into a record, from byte `at` of its payload on.
    #[inline(always)]
    pub(crate) fn write(&self, offset: u64, at: usize, bytes: &[u8]) {
        assert!(offset + (CONTROL + at + bytes.len()) as u64 <= self.ring, "inside the ring");
        // SAFETY: inside the ring, as just asserted; private memory does not overlap it.
        unsafe { copy::copy(bytes.as_ptr(), self.payload(offset).add(at), bytes.len()) }
    }

    /// Copies `len` bytes of payload to the end of a vector.
    ///
    /// The length is at most the ring's longest record; but a segment with holes may claim to be larger than all memory.
    #[inline]
    pub(crate) fn append_to(&self, offset: u64, len: usize, target: &mut Vec<u8>) -> Result<(), RingError> {
        assert!(offset + (CONTROL + len) as u64 <= self.ring, "inside the ring");
        target.try_reserve(len).map_err(|_| RingError::OutOfMemory { len })?;
        let filled = target.len();
        // SAFETY: the source is inside the ring, as just asserted; `reserve` made room for `len` bytes behind the filled ones, and the copy
        // initialises exactly those.
        unsafe {
            copy::copy(self.payload(offset), target.as_mut_ptr().add(filled), len);
            target.set_len(filled + len);
        }
        Ok(())
    }

    /// As [`write`](Self::write), where others may read meanwhile, and find out.
    #[inline(always)]
    pub(crate) fn write_racing(&self, offset: u64, at: usize, bytes: &[u8]) {
        assert!(offset + (CONTROL + at + bytes.len()) as u64 <= self.ring, "inside the ring");
        // SAFETY: as in `write`.
        unsafe { racing::copy(bytes.as_ptr(), self.payload(offset).add(at), bytes.len()) }
    }

    /// As [`append_to`](Self::append_to), where the producer may write meanwhile: what was appended may be torn.
    #[inline]
    pub(crate) fn append_racing_to(&self, offset: u64, len: usize, target: &mut Vec<u8>) -> Result<(), RingError> {
        assert!(offset + (CONTROL + len) as u64 <= self.ring, "inside the ring");
        target.try_reserve(len).map_err(|_| RingError::OutOfMemory { len })?;
        let filled = target.len();
        // SAFETY: as in `append_to`.
        unsafe {
            racing::copy(self.payload(offset), target.as_mut_ptr().add(filled), len);
            target.set_len(filled + len);
        }
        Ok(())
    }

    /// Copies the payload into a slice of the same length.
    #[inline]
    pub(crate) fn read(&self, offset: u64, target: &mut [u8]) {
        assert!(offset + (CONTROL + target.len()) as u64 <= self.ring, "inside the ring");
        // SAFETY: inside the ring, as just asserted; private memory does not overlap it.
        unsafe { copy::copy(self.payload(offset), target.as_mut_ptr(), target.len()) }
    }

    /// As [`find`](Self::find), with the error that a caller of the ring gets.
    #[inline(always)]
    pub(crate) fn look(&self, position: u64, offset: u64) -> Result<Option<Found>, RingError> {
        self.find(position, offset).map_err(|(found, what)| RingError::Corrupted {
            what,
            found,
            limit: self.max_record as u64,
        })
    }

    /// The record at `position`, at `offset` in the ring, or behind padding there; `None` if nothing is committed.
    ///
    /// Every word is fetched once and checked: what is returned lies inside the ring, whatever stands there.
    #[inline(always)]
    fn find(&self, position: u64, offset: u64) -> Result<Option<Found>, (u64, &'static str)> {
        // Acquire: pairs with the commit's Release, so the payload is seen, and what was written behind padding.
        let word = self.control(offset).load(Ordering::Acquire);
        match record::decode(word, position) {
            Control::Nothing => Ok(None),
            Control::Record(len) => self.check(position, position, offset, len, word).map(Some),
            Control::Padding(bytes) => self.find_behind_padding(position, offset, bytes, word).map(Some),
            Control::Foreign => Err((word, "a control word")),
        }
    }

    #[cold]
    fn find_behind_padding(
        &self,
        position: u64,
        offset: u64,
        padding: u64,
        word: u64,
    ) -> Result<Found, (u64, &'static str)> {
        if padding == 0 || !padding.is_multiple_of(CONTROL as u64) || padding > self.ring {
            return Err((word, "the length of padding"));
        }
        let start = position.wrapping_add(padding);
        let at = (offset + padding) % self.ring;
        // Stored before the padding was committed.
        let word = self.control(at).load(Ordering::Acquire);
        match record::decode(word, start) {
            Control::Record(len) => self.check(position, start, at, len, word),
            _ => Err((word, "a control word behind padding")),
        }
    }

    /// That a record of `len` bytes pushed at `position` would lie at `start`, at `offset`.
    #[inline(always)]
    fn check(
        &self,
        position: u64,
        start: u64,
        offset: u64,
        len: usize,
        word: u64,
    ) -> Result<Found, (u64, &'static str)> {
        // A hostile peer could lead us there, a step at a time.
        if start > 2 * record::MAX_POSITION {
            return Err((start, "the position of a record"));
        }
        if len > self.max_record {
            return Err((word, "the length of a record"));
        }
        let place = self.place(start, offset, len);
        // In its own line, or from a line's beginning, and not split: else `place` would have moved it.
        let jump = place.end.wrapping_sub(position);
        if place.start != start || jump > self.ring {
            return Err((word, "the place of a record"));
        }
        Ok(Found { start, len, end: place.end })
    }
}
