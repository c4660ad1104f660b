//! Shared mappings of files, memfds and anonymous memory.
#![expect(unsafe_code, reason = "mmap and munmap")]

use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use nix::sys::stat::SFlag;

use super::page_rounded;
use crate::copy;
use crate::error::{Error, Result};
use crate::os;

mod sealed {
    pub trait Sealed {}
}

/// What a mapping permits; [`ReadOnly`] or [`ReadWrite`].
pub trait Protection: sealed::Sealed + Send + Sync + 'static {
    #[doc(hidden)]
    const FLAGS: ProtFlags;
}

/// A mapping that can be read.
#[derive(Debug)]
pub enum ReadOnly {}

/// A mapping that can be read and written.
#[derive(Debug)]
pub enum ReadWrite {}

impl sealed::Sealed for ReadOnly {}
impl sealed::Sealed for ReadWrite {}
impl Protection for ReadOnly {
    const FLAGS: ProtFlags = ProtFlags::PROT_READ;
}
impl Protection for ReadWrite {
    const FLAGS: ProtFlags = ProtFlags::PROT_READ.union(ProtFlags::PROT_WRITE);
}

/// A shared mapping: what is written through it is seen by every other mapping of the same file or, if it is
/// anonymous, by the children that `fork` makes.
///
/// It lends no references to its bytes, since other processes may write them at any time: use [`as_ptr`](Self::as_ptr) with atomic or
/// volatile accesses, or the functions in [`copy`](crate::copy).
///
/// Costs one `mmap` to make and one `munmap` to drop; a page costs a fault when it is first touched.
#[derive(Debug)]
pub struct Mapping<P: Protection = ReadWrite> {
    base: NonNull<u8>,
    len: usize,
    protection: PhantomData<P>,
}

// SAFETY: a mapping is a range of addresses that any thread may use; it holds no thread-bound state, and its memory is only handed
// out as raw pointers.
unsafe impl<P: Protection> Send for Mapping<P> {}
// SAFETY: as above; `&Mapping` gives away only its address and length.
unsafe impl<P: Protection> Sync for Mapping<P> {}

impl<P: Protection> Mapping<P> {
    /// Maps `len` bytes of a regular file or memfd, beginning at `offset`.
    ///
    /// The length is rounded up to whole pages.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRange`] if the length is zero, the offset is not a whole number of pages, the sum overflows, the range ends
    /// beyond the page-rounded end of the file, or the descriptor is not a regular file; [`Error::System`] with `EACCES` if the descriptor
    /// was not opened for what `P` permits, `ENOMEM` at a limit of the process.
    pub fn shared_file(file: impl AsFd, offset: u64, len: u64) -> Result<Self> {
        let invalid = |reason: String| Error::InvalidRange { offset, len, reason };
        let rounded = page_rounded(offset, len)?;
        if !offset.is_multiple_of(os::page_size() as u64) {
            return Err(invalid(format!("the offset is not a multiple of {} bytes", os::page_size())));
        }
        let end =
            offset.checked_add(rounded.get() as u64).ok_or_else(|| invalid("offset and length overflow".into()))?;
        let stat = os::fstat(&file).map_err(|source| Error::system("fstat", None, source))?;
        if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Err(invalid("the descriptor is not a regular file or memfd".into()));
        }
        let file_size = u64::try_from(stat.st_size).unwrap_or(0);
        if os::round_to_pages(file_size).is_none_or(|size| end > size) {
            return Err(invalid(format!("the file has {file_size} bytes")));
        }
        let start = i64::try_from(offset).map_err(|_| invalid("the offset is too large for a file".into()))?;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that is in use.
        let base = unsafe { mmap(None, rounded, P::FLAGS, MapFlags::MAP_SHARED, file, start) }
            .map_err(|errno| Error::errno("mmap", errno))?;
        Ok(Self { base: base.cast(), len: rounded.get(), protection: PhantomData })
    }

    /// The first byte. Valid for [`len`](Self::len) bytes while the mapping lives and the file is not truncated under it.
    #[inline]
    pub fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Bytes mapped: whole pages.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "a mapping is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }
}

impl Mapping<ReadWrite> {
    /// Maps `len` bytes of new, zeroed memory, shared with the children that this process forks.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRange`] if the length is zero or cannot be addressed; [`Error::NoSpace`] if the system's memory or a limit
    /// does not allow it.
    pub fn shared_anonymous(len: u64) -> Result<Self> {
        let rounded = page_rounded(0, len)?;
        // SAFETY: as for a file.
        let base =
            unsafe { mmap_anonymous(None, rounded, ReadWrite::FLAGS, MapFlags::MAP_SHARED) }.map_err(|errno| {
                match errno {
                    Errno::ENOMEM => {
                        Error::NoSpace { path: "anonymous memory".into(), needed: rounded.get() as u64, available: 0 }
                    }
                    errno => Error::errno("mmap", errno),
                }
            })?;
        Ok(Self { base: base.cast(), len: rounded.get(), protection: PhantomData })
    }
}

impl Mapping<ReadWrite> {
    /// The 8-byte word at `offset`.
    ///
    /// # Panics
    ///
    /// If the offset is not a multiple of 8 or the word is not inside the mapping. Check offsets that come from shared memory first.
    #[inline]
    pub fn u64_at(&self, offset: usize) -> &AtomicU64 {
        assert!(self.contains(offset, 8) && offset.is_multiple_of(8), "offset {offset}");
        // SAFETY: in bounds and aligned, as just asserted (the base is page-aligned); an atomic word bears writers elsewhere, and every
        // bit pattern.
        unsafe { self.base.add(offset).cast::<AtomicU64>().as_ref() }
    }

    /// Whether `len` bytes at `offset` are inside the mapping.
    #[inline]
    pub(crate) fn contains(&self, offset: usize, len: usize) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.len)
    }

    /// Copies `bytes` into the mapping, where no other thread of this process accesses them meanwhile.
    ///
    /// # Panics
    ///
    /// If the range is not inside the mapping.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(self.contains(offset, bytes.len()), "offset {offset}");
        // SAFETY: in bounds as asserted, and private memory does not overlap a mapping.
        unsafe { copy::copy(bytes.as_ptr(), self.base.as_ptr().add(offset), bytes.len()) }
    }

    /// Copies bytes out of the mapping; other processes may write them meanwhile.
    ///
    /// # Panics
    ///
    /// If the range is not inside the mapping.
    pub(crate) fn read(&self, offset: usize, bytes: &mut [u8]) {
        assert!(self.contains(offset, bytes.len()), "offset {offset}");
        // SAFETY: in bounds as asserted, and private memory does not overlap a mapping.
        unsafe { copy::copy(self.base.as_ptr().add(offset), bytes.as_mut_ptr(), bytes.len()) }
    }

    /// Zeroes a range of the mapping.
    ///
    /// # Panics
    ///
    /// If the range is not inside the mapping.
    pub(crate) fn zero(&self, offset: usize, len: usize) {
        const ZEROS: [u8; 4096] = [0; 4096];
        let mut done = 0;
        while done < len {
            let step = (len - done).min(ZEROS.len());
            self.write(offset + done, &ZEROS[..step]);
            done += step;
        }
    }
}

impl Mapping<ReadWrite> {
    /// Allocates every page now, and enters it in this process's page table.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] if the system has no memory for them, where the first store to one would have been a signal. On kernels older than
    /// 5.14, which cannot be asked, nothing is done.
    pub fn populate(&self) -> Result<()> {
        loop {
            // SAFETY: the range is this mapping, whole; populating changes no contents.
            let outcome = unsafe { libc::madvise(self.base.as_ptr().cast(), self.len, libc::MADV_POPULATE_WRITE) };
            match Errno::result(outcome) {
                Ok(_) | Err(Errno::EINVAL) => return Ok(()),
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(Errno::ENOMEM | Errno::EFAULT | Errno::ENOSPC) => {
                    let path = "memory for a mapping".into();
                    return Err(Error::NoSpace { path, needed: self.len as u64, available: 0 });
                }
                Err(errno) => return Err(Error::errno("madvise(MADV_POPULATE_WRITE)", errno)),
            }
        }
    }
}

impl<P: Protection> Drop for Mapping<P> {
    fn drop(&mut self) {
        // SAFETY: the range is exactly what was mapped, it is mapped until here, and no reference into it outlives the value.
        // An error is impossible for such a range, except ENOMEM where splitting would exceed a limit: nothing is split.
        let _ = unsafe { munmap(self.base.cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn file_of(len: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        file
    }

    #[test]
    fn bad_ranges_are_named() {
        let file = file_of(8192);
        for (offset, len, word) in [
            (0, 0, "zero"),
            (1, 4096, "multiple"),
            (0, 8193, "8192 bytes"),
            (8192, 1, "8192 bytes"),
            (u64::MAX - 4095, 4096, "overflow"),
            (0, u64::MAX, "addressed"),
            (1 << 62, 1 << 62, "bytes"),
        ] {
            let error = Mapping::<ReadWrite>::shared_file(&file, offset, len).unwrap_err().to_string();
            assert!(error.contains(word), "{offset} {len}: {error}");
        }
        let directory = File::open("/").unwrap();
        let error = Mapping::<ReadOnly>::shared_file(&directory, 0, 1).unwrap_err().to_string();
        assert!(error.contains("not a regular file"), "{error}");
    }

    #[test]
    fn two_mappings_of_a_file_share_and_the_tail_of_a_page_counts() {
        let file = file_of(5000);
        let one = Mapping::<ReadWrite>::shared_file(&file, 0, 5000).unwrap();
        let two = Mapping::<ReadOnly>::shared_file(&file, 4096, 1).unwrap();
        assert_eq!((one.len(), two.len()), (8192, 4096));
        // SAFETY: both mappings cover the byte, and the file has it.
        let seen = unsafe {
            one.as_ptr().add(4099).write_volatile(77);
            two.as_ptr().add(3).read_volatile()
        };
        assert_eq!(seen, 77);
    }

    #[test]
    fn a_read_only_descriptor_gives_no_writable_mapping() {
        let named = tempfile::NamedTempFile::new().unwrap();
        named.as_file().set_len(4096).unwrap();
        let read_only = File::open(named.path()).unwrap();
        assert!(Mapping::<ReadOnly>::shared_file(&read_only, 0, 4096).is_ok());
        let error = Mapping::<ReadWrite>::shared_file(&read_only, 0, 4096).unwrap_err().to_string();
        assert!(error.contains("Permission denied"), "{error}");
    }

    #[test]
    fn anonymous_memory_is_zero_and_too_much_of_it_is_an_error() {
        let mapping = Mapping::shared_anonymous(1).unwrap();
        assert_eq!(mapping.len(), os::page_size());
        // SAFETY: the mapping has at least a page.
        assert_eq!(unsafe { mapping.as_ptr().add(4095).read_volatile() }, 0);
        assert!(matches!(Mapping::shared_anonymous(1 << 46), Err(Error::NoSpace { .. })));
        assert!(matches!(Mapping::shared_anonymous(0), Err(Error::InvalidRange { .. })));
    }
}
