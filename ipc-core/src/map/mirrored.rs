//! The same pages twice in a row.
#![expect(unsafe_code, reason = "words at checked places")]

use std::os::fd::AsFd;

use super::protection::ReadWrite;
use super::range::FileRange;
use super::reservation::Reservation;
use crate::copy;
use crate::error::{Error, Result};
use crate::sync::unmodelled::AtomicU64;

/// Pages of a file or memfd, mapped twice in a row: what runs over the end of the first is at the beginning of the second, so that every run of up to
/// [`len`](Self::len) bytes is in one piece, wherever in the ring it begins.
///
/// Two addresses stand for each byte, so no references to the bytes are lent, and no mutable one may ever be formed: they would alias. Raw and atomic access, and
/// copying, are sound.
///
/// Costs three `mmap` and one `munmap`; addresses for twice the length, memory for once.
#[derive(Debug)]
pub struct MirroredMapping {
    both: Reservation,
    len: usize,
}

impl MirroredMapping {
    /// Maps `len` bytes at `offset` of a regular file or memfd, twice. Both are whole pages.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRange`] also if the length is not a whole number of pages; otherwise as for
    /// [`MappingOptions::shared_file`](super::MappingOptions::shared_file).
    pub fn shared_file(file: impl AsFd, offset: u64, len: u64) -> Result<Self> {
        let range = FileRange::check(&file, offset, len)?;
        let invalid = |reason: &str| Error::InvalidRange { offset, len, reason: reason.to_owned() };
        if range.len.get() as u64 != len {
            return Err(invalid(
                "the length is not a whole number of pages, and the second half would not follow the first",
            ));
        }
        let twice = len.checked_mul(2).ok_or_else(|| invalid("twice the length is more than can be addressed"))?;
        let mut both = Reservation::aligned(twice, range.page)?;
        both.map_shared_file::<ReadWrite>(0, &file, offset, range.len.get())?;
        both.map_shared_file::<ReadWrite>(range.len.get(), &file, offset, range.len.get())?;
        Ok(Self { both, len: range.len.get() })
    }

    /// The first byte; valid for twice [`len`](Self::len) bytes.
    pub fn as_ptr(&self) -> *mut u8 {
        self.both.as_ptr()
    }

    /// Bytes in one turn.
    #[expect(clippy::len_without_is_empty, reason = "a mapping is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Where `len` bytes from `position` on stand in one piece; positions count on through all turns.
    fn piece(&self, position: u64, len: usize) -> *mut u8 {
        assert!(len <= self.len, "{len} bytes of {}", self.len);
        self.as_ptr().wrapping_add((position % self.len as u64) as usize)
    }

    /// The 8-byte word at `position`, which counts on through all turns.
    ///
    /// # Panics
    ///
    /// If the position is not a multiple of 8.
    pub fn u64_at(&self, position: u64) -> &AtomicU64 {
        assert!(position.is_multiple_of(8), "position {position}");
        // SAFETY: inside the first of the two, aligned, and an atomic word bears being written through the other address.
        unsafe { &*self.piece(position, 8).cast::<AtomicU64>() }
    }

    /// Copies `bytes` to `position`, over the end if they reach it.
    ///
    /// # Panics
    ///
    /// If there are more than [`len`](Self::len).
    pub fn write(&self, position: u64, bytes: &[u8]) {
        let target = self.piece(position, bytes.len());
        // SAFETY: a piece of `bytes.len()` bytes, and private memory does not overlap it.
        unsafe { copy::copy(bytes.as_ptr(), target, bytes.len()) }
    }

    /// Copies bytes out, from `position` on, over the end if they reach it.
    ///
    /// # Panics
    ///
    /// If there are more than [`len`](Self::len).
    pub fn read(&self, position: u64, bytes: &mut [u8]) {
        let source = self.piece(position, bytes.len());
        // SAFETY: as in `write`.
        unsafe { copy::copy(source, bytes.as_mut_ptr(), bytes.len()) }
    }
}
