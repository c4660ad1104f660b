//! Records of any length in lines: where they lie, and how long they are.
//!
//! A record begins at a line with its length and takes whole lines; none is split at the end of the ring. The words stand by themselves in front of the lines, one for each, so no word
//! is ever where payload was.
#![expect(unsafe_code, reason = "records at computed places in a checked region")]

use std::ptr::NonNull;

use ipc_core::sync::CACHE_LINE;
use ipc_core::{Region, copy, sync};

use super::values::ACKNOWLEDGE_BYTES;
use crate::error::RingError;

/// Bytes of a line, which is a slot of a ring of records.
pub(super) const LINE: u64 = CACHE_LINE as u64;
/// Bytes in front of a record: its length.
const HEADER: u64 = 8;
/// Beside the length: another record of the same claim follows in the next line.
const FOLLOWED: u64 = 1 << 63;

/// How records of up to half of so many bytes lie in lines.
pub(super) mod layout {
    use super::{ACKNOWLEDGE_BYTES, HEADER, LINE};
    use crate::record::{MAX_CAPACITY, MIN_CAPACITY};

    /// Lines of a record.
    #[inline(always)]
    pub(crate) const fn lines(len: usize) -> u64 {
        (len as u64 + HEADER).div_ceil(LINE)
    }

    /// The longest record.
    pub(crate) const fn max_record(capacity: u64) -> usize {
        (capacity / 2) as usize
    }

    /// How many lines may be taken without being acknowledged.
    pub(crate) fn batch(capacity: u64) -> u64 {
        (capacity / LINE / 4).clamp(1, ACKNOWLEDGE_BYTES / LINE)
    }

    /// Lines of a ring such that its longest record always fits beside what is not yet acknowledged, wherever the tail is: the end of the ring may have to be skipped for it. And
    /// the bytes of the lines and of their words.
    pub(crate) fn extent(capacity: u64) -> Option<(u64, u64)> {
        if !(MIN_CAPACITY..=MAX_CAPACITY).contains(&capacity) {
            return None;
        }
        let lines = capacity.div_ceil(LINE).max(2 * lines(max_record(capacity))) + batch(capacity);
        Some((lines, words(lines) + lines * LINE))
    }

    /// Bytes of the words of so many lines: whole pairs of lines.
    pub(crate) const fn words(lines: u64) -> u64 {
        (lines * 8).next_multiple_of(2 * LINE)
    }
}

/// The lines of a ring of records.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    first: NonNull<u8>,
    lines: u64,
    pub(super) max_record: usize,
}

// SAFETY: a pointer into shared memory, which no thread owns, and plain numbers.
unsafe impl Send for Lines {}

impl Lines {
    /// `lines` lines from `at` on, for records of at most `max_record` bytes.
    ///
    /// # Panics
    ///
    /// If they are not inside the region: the geometry was checked.
    pub(super) fn new(region: &Region, at: u64, lines: u64, max_record: usize) -> Self {
        let end = lines.checked_mul(LINE).and_then(|bytes| bytes.checked_add(at));
        assert!(
            end.is_some_and(|end| end <= region.len() as u64) && at.is_multiple_of(LINE),
            "the geometry was checked"
        );
        sync::enroll(region, at as usize, (lines * LINE) as usize);
        // SAFETY: inside the region, whose first byte is not at address zero.
        let first = unsafe { NonNull::new_unchecked(region.as_ptr().add(at as usize)) };
        Self { first, lines, max_record }
    }

    /// Where `len` bytes lie from byte `at` of a line on, in the ring.
    #[inline(always)]
    fn place(&self, line: u64, at: u64, len: usize) -> *mut u8 {
        let from = line * LINE + at;
        assert!(line < self.lines && from + len as u64 <= self.lines * LINE, "inside the ring");
        self.first.as_ptr().wrapping_add(from as usize)
    }

    /// Says how long the record is that begins at a line, and whether another one follows in the same claim.
    #[inline(always)]
    pub(super) fn set_len(&self, line: u64, len: usize, followed: bool) {
        let header = len as u64 | if followed { FOLLOWED } else { 0 };
        // SAFETY: inside the ring, as `place` asserts; private memory does not overlap it.
        unsafe { copy::write(self.place(line, 0, 8), &header) }
    }

    /// How long the record is that begins at a line, and how many lines it takes of the `left` ones of its claim. Fetched once, and checked.
    #[inline(always)]
    pub(super) fn len(&self, line: u64, left: u64) -> Result<(usize, u64), RingError> {
        // SAFETY: as in `set_len`.
        let header: u64 = unsafe { copy::read(self.place(line, 0, 8)) };
        let len = header & !FOLLOWED;
        let limit = (left.min(self.lines - line) * LINE - HEADER).min(self.max_record as u64);
        if len > limit {
            return Err(RingError::Corrupted { what: "the length of a record", found: len, limit });
        }
        let lines = layout::lines(len as usize);
        match header & FOLLOWED != 0 {
            true if lines >= left => Err(RingError::Corrupted {
                what: "the lines of a record that is followed",
                found: lines,
                limit: left - 1,
            }),
            true => Ok((len as usize, lines)),
            // Also those that were claimed and are not needed.
            false => Ok((len as usize, left)),
        }
    }

    /// Copies bytes into the record at a line, from byte `at` of it on.
    #[inline(always)]
    pub(super) fn write(&self, line: u64, at: usize, bytes: &[u8]) {
        let place = self.place(line, HEADER + at as u64, bytes.len());
        // SAFETY: as in `set_len`.
        unsafe { copy::copy(bytes.as_ptr(), place, bytes.len()) }
    }

    /// Copies a record of that length to the end of a vector. A segment with holes may claim to be larger than all memory.
    #[inline]
    pub(super) fn append_to(&self, line: u64, len: usize, target: &mut Vec<u8>) -> Result<(), RingError> {
        let place = self.place(line, HEADER, len);
        target.try_reserve(len).map_err(|_| RingError::OutOfMemory { len })?;
        let filled = target.len();
        // SAFETY: the source is inside the ring; `try_reserve` made room for `len` bytes behind the filled ones, and the copy initialises exactly those.
        unsafe {
            copy::copy(place, target.as_mut_ptr().add(filled), len);
            target.set_len(filled + len);
        }
        Ok(())
    }

    /// Copies a record into a slice of its length.
    pub(super) fn read(&self, line: u64, target: &mut [u8]) {
        let place = self.place(line, HEADER, target.len());
        // SAFETY: as in `set_len`.
        unsafe { copy::copy(place, target.as_mut_ptr(), target.len()) }
    }

    /// A view in place of a record.
    ///
    /// # Safety
    ///
    /// Nobody may write there while the view lives: the record is committed, was not acknowledged, and all peers follow the protocol.
    pub(super) unsafe fn view(&self, line: u64, len: usize) -> &[u8] {
        let place = self.place(line, HEADER, len);
        sync::lend(place, len, false);
        // SAFETY: inside the ring, and initialised: shared memory begins as zeros.
        unsafe { std::slice::from_raw_parts(place, len) }
    }

    /// Room to write in place.
    ///
    /// # Safety
    ///
    /// The caller has claimed it and not committed, and has the only reference; all peers follow the protocol.
    #[expect(clippy::mut_from_ref, reason = "the memory is not part of the value that `&self` is of")]
    pub(super) unsafe fn room(&self, line: u64, len: usize) -> &mut [u8] {
        let place = self.place(line, HEADER, len);
        sync::lend(place, len, true);
        // SAFETY: as in `view`, and exclusive by the caller's word.
        unsafe { std::slice::from_raw_parts_mut(place, len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_record_fits_wherever_the_tail_is() {
        for capacity in (64..5000).chain([1 << 20, 1 << 40]) {
            let (lines, bytes) = layout::extent(capacity).unwrap();
            let longest = layout::lines(layout::max_record(capacity));
            assert!(longest - 1 + longest + layout::batch(capacity) <= lines);
            assert!(lines * LINE >= capacity);
            assert_eq!(bytes, layout::words(lines) + lines * LINE);
        }
        assert_eq!(layout::extent(63), None);
        assert_eq!(layout::extent((1 << 40) + 1), None);
        assert_eq!([0, 56, 57, 120, 121].map(layout::lines), [1, 1, 2, 2, 3]);
    }
}
