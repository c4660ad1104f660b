//! Shared mappings of files, memfds and anonymous memory.
#![expect(unsafe_code, reason = "munmap, and words at checked places")]

use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use nix::sys::mman::munmap;

use super::fault::Watch;
use super::options::MappingOptions;
use super::protection::{Protection, ReadWrite};
use super::range::FilePart;
use crate::copy;
use crate::error::{Error, Result};
use crate::sync::Ordering;
use crate::sync::unmodelled::{AtomicU64, fence};

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
    /// Bytes that may be used. Grows, never shrinks; written by `grow` alone.
    len: AtomicUsize,
    /// Bytes of addresses from `base` on: more than `len` if it can grow.
    reserved: usize,
    /// Bytes of inaccessible addresses before `base`, and as many behind the reserved ones.
    margin: usize,
    page: usize,
    /// What of which file it is, if it has one.
    file: Option<FilePart>,
    watch: Option<Watch>,
    protection: PhantomData<P>,
}

// SAFETY: a mapping is a range of addresses that any thread may use; it holds no thread-bound state, and its memory is only handed
// out as raw pointers and atomics.
unsafe impl<P: Protection> Send for Mapping<P> {}
// SAFETY: as above.
unsafe impl<P: Protection> Sync for Mapping<P> {}

impl<P: Protection> Mapping<P> {
    /// Maps `len` bytes of a regular file or memfd, beginning at `offset`. The length is rounded up to whole pages.
    ///
    /// # Errors
    ///
    /// Those of [`MappingOptions::shared_file`].
    pub fn shared_file(file: impl AsFd, offset: u64, len: u64) -> Result<Self> {
        MappingOptions::new().shared_file(file, offset, len)
    }

    /// Takes over what was mapped: `reserved` bytes from `base` on, of which `len` exist, between two margins.
    pub(super) fn own(
        base: NonNull<u8>,
        len: usize,
        reserved: usize,
        margin: usize,
        page: usize,
        file: Option<FilePart>,
    ) -> Self {
        Self { base, len: AtomicUsize::new(len), reserved, margin, page, file, watch: None, protection: PhantomData }
    }

    /// Gives up the range without unmapping it: address, bytes that exist, bytes reserved, page, offset in the file.
    pub(super) fn disown(self) -> (NonNull<u8>, usize, usize, usize, Option<FilePart>) {
        let mut kept = std::mem::ManuallyDrop::new(self);
        kept.watch = None;
        (kept.base, kept.len(), kept.reserved, kept.page, kept.file)
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(super) fn file(&self) -> Option<FilePart> {
        self.file
    }

    pub(super) fn is_watched(&self) -> bool {
        self.watch.is_some()
    }

    /// The same range with another protection, which it has got already.
    pub(super) fn with_protection<Q: Protection>(mut self) -> Mapping<Q> {
        let (margin, watch) = (self.margin, self.watch.take());
        if let Some(watch) = &watch {
            watch.set_protection(Q::FLAGS);
        }
        let (base, len, reserved, page, file) = self.disown();
        let mut mapping = Mapping::own(base, len, reserved, margin, page, file);
        mapping.watch = watch;
        mapping
    }

    pub(super) fn margin(&self) -> usize {
        self.margin
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
        // Relaxed: the pages exist since the kernel said so, whoever stored the number.
        self.len.load(Ordering::Relaxed)
    }

    /// Bytes up to which it can [grow](Self::grow) in place.
    pub fn max_len(&self) -> usize {
        self.reserved
    }

    /// Bytes in a page: more than usual with huge pages.
    pub fn page_size(&self) -> usize {
        self.page
    }

    /// Makes usable what `file`, the one that was mapped, has by now, up to [`max_len`](Self::max_len); at the same addresses. Returns the
    /// new length, which is never less than the old one. Costs one `fstat`.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if the mapping has no file; [`Error::System`].
    pub fn grow(&self, file: impl AsFd) -> Result<usize> {
        let part = self.file.ok_or_else(|| Error::Unsupported {
            what: "growing",
            backing: "anonymous memory, which has the size that it was made with".into(),
        })?;
        let there = part.len(file)?;
        // Whole pages only: bytes behind the end of a file in its last page would be everybody's and nobody's.
        let usable = (there - there % self.page as u64).min(self.reserved as u64) as usize;
        let before = self.len.fetch_max(usable, Ordering::Relaxed);
        Ok(before.max(usable))
    }

    /// Bytes that `file`, the one that was mapped, has by now from where the mapping begins. Costs one `fstat`.
    ///
    /// # Errors
    ///
    /// [`Error::System`].
    pub(crate) fn file_len(&self, file: impl AsFd) -> Result<u64> {
        self.file.map_or(Ok(self.len() as u64), |part| part.len(file))
    }

    /// Looks whether `file`, the one that was mapped, still has all that is mapped, and otherwise does what touching a page that it has lost would. The part of
    /// a page that is lost raises no signal: this is how it is found out. Does nothing unless the mapping is watched. Costs one `fstat`.
    pub(crate) fn look_for_loss(&self, file: impl AsFd) {
        if let (Some(watch), Some(part)) = (&self.watch, self.file)
            && part.len(file).is_ok_and(|there| there < self.len() as u64)
        {
            watch.lost().store(true, Ordering::Relaxed);
        }
    }

    /// Lets an access to a page that its file has no more (truncated by another process) or cannot have (a full file system) read zeros and
    /// write nowhere, instead of ending the process by SIGBUS; from then on [`is_lost`](Self::is_lost) is true for good. See
    /// [`survive_lost_pages`](super::survive_lost_pages), which this calls.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if the handler cannot be installed.
    pub fn watch(&mut self) -> Result<()> {
        if self.watch.is_none() {
            self.watch = Some(Watch::new(self.base, self.reserved, self.page, P::FLAGS)?);
        }
        Ok(())
    }

    /// Whether a page was lost under the mapping. Always false without [`watch`](Self::watch). Costs a load.
    #[inline]
    pub fn is_lost(&self) -> bool {
        self.lost().load(Ordering::Relaxed)
    }

    /// What becomes true when a page is lost, for those who look often. It speaks of this mapping while that lives.
    #[inline]
    pub fn lost(&self) -> &'static AtomicBool {
        static NEVER: AtomicBool = AtomicBool::new(false);
        self.watch.as_ref().map_or(&NEVER, Watch::lost)
    }

    /// Whether `len` bytes at `offset` are inside the mapping.
    #[inline]
    pub(crate) fn contains(&self, offset: usize, len: usize) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.len())
    }

    /// Reads the 8-byte word at `offset`, and whatever was written before it by who wrote it with Release.
    ///
    /// # Panics
    ///
    /// If the offset is not a multiple of 8 or the word is not inside the mapping. Check offsets that come from shared memory first.
    #[inline]
    pub fn load_u64(&self, offset: usize) -> u64 {
        assert!(self.contains(offset, 8) && offset.is_multiple_of(8), "offset {offset}");
        // SAFETY: in bounds and aligned, as just asserted (the base is page-aligned), and used for a load only.
        let value = unsafe { self.base.add(offset).cast::<AtomicU64>().as_ref() }.load(Ordering::Relaxed);
        // A Relaxed load and a fence: std does not promise that an Acquire load of memory without write permission is possible.
        fence(Ordering::Acquire);
        value
    }

    /// Copies bytes out of the mapping; other processes may write them meanwhile.
    ///
    /// # Panics
    ///
    /// If the range is not inside the mapping. Check ranges that come from shared memory first.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) {
        assert!(self.contains(offset, bytes.len()), "offset {offset}");
        // SAFETY: in bounds as asserted, and private memory does not overlap a mapping.
        unsafe { copy::copy(self.base.as_ptr().add(offset), bytes.as_mut_ptr(), bytes.len()) }
    }
}

impl Mapping<ReadWrite> {
    /// Maps `len` bytes of new, zeroed memory, shared with the children that this process forks.
    ///
    /// # Errors
    ///
    /// Those of [`MappingOptions::shared_anonymous`].
    pub fn shared_anonymous(len: u64) -> Result<Self> {
        MappingOptions::new().shared_anonymous(len)
    }

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

    /// Copies `bytes` into the mapping.
    ///
    /// Copies by two threads into one range at the same time leave a mixture of both, as they do by two processes.
    ///
    /// # Panics
    ///
    /// If the range is not inside the mapping. Check ranges that come from shared memory first.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(self.contains(offset, bytes.len()), "offset {offset}");
        // SAFETY: in bounds as asserted, and private memory does not overlap a mapping.
        unsafe { copy::copy(bytes.as_ptr(), self.base.as_ptr().add(offset), bytes.len()) }
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

impl<P: Protection> Drop for Mapping<P> {
    fn drop(&mut self) {
        // Before the addresses can be anybody else's.
        self.watch = None;
        // SAFETY: the margin stands before the base, in the same range of addresses.
        let base = unsafe { self.base.sub(self.margin) };
        // SAFETY: the range is exactly what was mapped, it is mapped until here, and no reference into it outlives the value.
        // An error is impossible for such a range, except ENOMEM where splitting would exceed a limit: nothing is split.
        let _ = unsafe { munmap(base.cast(), self.reserved + 2 * self.margin) };
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::ReadOnly;
    use crate::os;
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
        assert!(error.contains("a directory"), "{error}");
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
        assert!(error.contains("open for reading only"), "{error}");
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
