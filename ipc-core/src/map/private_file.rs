//! A file's contents as a slice.
#![expect(unsafe_code, reason = "mmap, and a slice over a file")]

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, mmap, munmap};

use super::cause;
use super::protection::{Protection, ReadOnly, ReadWrite};
use super::range::FileRange;
use crate::error::{Error, Result};
use crate::os;

/// A private mapping of a file: its contents as bytes, without a copy. With [`ReadWrite`] what is stored stays in this process, page by page copied when
/// first written, and never reaches the file.
///
/// For reading what no other process changes; what is to be exchanged is a [`Mapping`](super::Mapping). An empty file is an empty slice.
#[derive(Debug)]
pub struct PrivateFile<P: Protection = ReadOnly> {
    /// The page in which the contents begin; `None` if there are none.
    pages: Option<(NonNull<u8>, usize)>,
    /// Where in that page.
    within: usize,
    len: usize,
    protection: PhantomData<P>,
}

// SAFETY: plain memory, owned by the value like a vector's.
unsafe impl<P: Protection> Send for PrivateFile<P> {}
// SAFETY: as above.
unsafe impl<P: Protection> Sync for PrivateFile<P> {}

impl<P: Protection> PrivateFile<P> {
    /// Maps the whole file.
    ///
    /// # Errors
    ///
    /// As [`map_range`](Self::map_range).
    ///
    /// # Safety
    ///
    /// As for [`map_range`](Self::map_range).
    pub unsafe fn map(file: impl AsFd) -> Result<Self> {
        let stat = os::fstat(&file).map_err(|source| Error::system("fstat", None, source))?;
        match u64::try_from(stat.st_size) {
            // Nothing to map, unless it is no file: then the error of the check.
            Ok(0) if FileRange::check(&file, 0, 1).is_err_and(|error| matches!(error, Error::InvalidRange { .. })) => {
                Ok(Self { pages: None, within: 0, len: 0, protection: PhantomData })
            }
            // SAFETY: the caller's promise is the same.
            Ok(len) => unsafe { Self::map_range(file, 0, len.max(1)) },
            Err(_) => Err(Error::InvalidRange { offset: 0, len: 0, reason: "the file has a negative size".into() }),
        }
    }

    /// Maps `len` bytes from `offset` on, which need not be aligned.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRange`] if the length is zero or the file does not have the range; [`Error::NotMappable`]; [`Error::WrongAccess`] if the descriptor
    /// cannot be read; [`Error::LimitReached`], [`Error::NoSpace`].
    ///
    /// # Safety
    ///
    /// While the value lives nobody truncates the file below the end of the range (an access would be SIGBUS, in copied pages too), and nobody
    /// changes the range's bytes: whether a private mapping sees that is not defined, and a `&[u8]` must not change.
    pub unsafe fn map_range(file: impl AsFd, offset: u64, len: u64) -> Result<Self> {
        let within = offset % os::page_size() as u64;
        let whole = len.checked_add(within).filter(|_| len > 0).ok_or_else(|| Error::InvalidRange {
            offset,
            len,
            reason: if len == 0 { "the length is zero".into() } else { "offset and length overflow".into() },
        })?;
        let range = FileRange::check(&file, offset - within, whole)?;
        if offset.checked_add(len).is_none_or(|end| end > range.file_size) {
            let reason = format!("the file has {} bytes", range.file_size);
            return Err(Error::InvalidRange { offset, len, reason });
        }
        let file = file.as_fd();
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that is in use.
        let mapped = unsafe { mmap(None, range.len, P::FLAGS, MapFlags::MAP_PRIVATE, file, range.offset) };
        let base = cause::of_refusal::<P, _>(mapped, "mmap", Some(file), range.len.get())?;
        Ok(Self {
            pages: Some((base.cast(), range.len.get())),
            within: within as usize,
            len: len as usize,
            protection: PhantomData,
        })
    }

    fn start(&self) -> *mut u8 {
        self.pages.map_or(NonNull::dangling().as_ptr(), |(base, _)| base.as_ptr().wrapping_add(self.within))
    }
}

impl<P: Protection> Deref for PrivateFile<P> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: mapped for at least `len` bytes from there on, initialised by the file, and not changed: whoever mapped it vouched for that.
        unsafe { std::slice::from_raw_parts(self.start(), self.len) }
    }
}

impl DerefMut for PrivateFile<ReadWrite> {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; what is stored stays in this process's own copy of the page, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.len) }
    }
}

impl<P: Protection> Drop for PrivateFile<P> {
    fn drop(&mut self) {
        if let Some((base, len)) = self.pages {
            // SAFETY: exactly what was mapped; no borrow outlives the value.
            let _ = unsafe { munmap(base.cast(), len) };
        }
    }
}
