//! A range of a segment that belongs to one object: every access is checked against the range.

use super::{ObjectInfo, Segment};
use crate::error::Error;
use crate::map::Mapping;
use crate::sync::AtomicBool;
use crate::sync::unmodelled::AtomicU64;

/// An object that was found or made: what the directory says of it, and its bytes.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its bytes.
    pub region: Region,
    /// Its entry in the directory, as it was checked.
    pub info: ObjectInfo,
}

impl Object {
    /// The error for control data of this object that contradicts itself.
    pub fn corrupted(&self, what: &'static str, expected: impl ToString, found: impl ToString) -> Error {
        let path = self.region.segment().path();
        Error::Corrupted { path, what, expected: expected.to_string(), found: found.to_string() }
    }
}

/// A range of a segment's bytes. Holds on to the attachment.
#[derive(Debug, Clone)]
pub struct Region {
    segment: Segment,
    offset: usize,
    len: usize,
}

impl Region {
    /// `offset` and `len` were checked against the mapping by whoever calls.
    pub(super) fn new(segment: Segment, offset: usize, len: usize) -> Self {
        Self { segment, offset, len }
    }

    fn map(&self) -> &Mapping {
        &self.segment.inner.map
    }

    /// The attachment that the range is part of.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Where it begins in the segment.
    pub fn offset(&self) -> u64 {
        self.offset as u64
    }

    /// What becomes true when a page is lost under the attachment: see
    /// [`SegmentOptions::survive_truncation`](super::SegmentOptions::survive_truncation). For those who look at every step; it speaks of this attachment while this
    /// value or a clone lives.
    pub fn lost(&self) -> &'static AtomicBool {
        self.map().lost()
    }

    /// Bytes in the range.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the range has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first byte; a multiple of two cache lines. Valid for [`len`](Self::len) bytes while this value or a clone lives.
    pub fn as_ptr(&self) -> *mut u8 {
        self.map().as_ptr().wrapping_add(self.offset)
    }

    /// Has the kernel make the pages of a part of the range ready to be written, in one system call: who writes them then takes no page fault. A page of a file that was
    /// flushed, or that the kernel wrote out, takes one again.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`](crate::Error::NoSpace) and others of the kernel's.
    ///
    /// # Panics
    ///
    /// If the part is not inside the range.
    pub fn prefault(&self, offset: usize, len: usize) -> crate::Result<()> {
        self.map().prefault_range(self.check(offset, len), len)
    }

    fn check(&self, offset: usize, len: usize) -> usize {
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.len);
        assert!(inside, "{len} bytes at {offset} of {}", self.len);
        self.offset + offset
    }

    /// The 8-byte word at `offset` in the range.
    ///
    /// # Panics
    ///
    /// If it is not inside the range, or not aligned. Check offsets that come from shared memory first.
    pub fn u64_at(&self, offset: usize) -> &AtomicU64 {
        self.map().u64_at(self.check(offset, 8))
    }
}
