//! Making a segment's bytes last: only where the backing can.
#![expect(unsafe_code, reason = "msync, madvise")]

use std::ops::Deref;
use std::sync::{MutexGuard, PoisonError};

use nix::libc;
use nix::sys::mman::{MmapAdvise, MsFlags, madvise, msync};
use nix::sys::statfs::{FsType, HUGETLBFS_MAGIC, TMPFS_MAGIC, fstatfs};

use super::header::FLUSH_FAILED_AT;
use super::{Backing, Region, Segment};
use crate::error::{Error, Result};
use crate::os;
use crate::sync::Ordering;

/// From linux/magic.h; not in libc.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6 as libc::__fsword_t);

/// File systems that keep nothing: `msync` returns 0 there and does nothing.
const FORGETFUL: [FsType; 3] = [TMPFS_MAGIC, RAMFS_MAGIC, HUGETLBFS_MAGIC];

/// A segment whose file can outlive a loss of power, and the only type that has [`flush`](Self::flush): from [`Segment::durable`].
///
/// What a flush that returned had covered is on the medium. What was written since, or by others meanwhile, may be in part, in any combination of
/// 8-byte words: what has to be whole after a loss of power carries its own checksum.
#[derive(Debug, Clone)]
pub struct DurableSegment {
    segment: Segment,
}

impl Segment {
    /// The segment as one that can be flushed. Makes its file durable as it is now, and its name if it was made or found by one: costs an `fsync` of both.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for memfd and anonymous segments and for files on tmpfs, hugetlbfs and ramfs, which keep nothing (asked of `fstatfs`; what is
    /// below an overlay cannot be asked);
    /// [`Error::FlushFailed`] if a flush has failed before, in whatever process; [`Error::WrongProcess`], [`Error::Lost`], [`Error::System`].
    pub fn durable(&self) -> Result<DurableSegment> {
        self.check()?;
        let unsupported = |backing: String| Error::Unsupported { what: "flushing", backing };
        if matches!(self.inner.backing, Backing::Memfd(_) | Backing::Anonymous) {
            return Err(unsupported("memory without a file on a disk".into()));
        }
        let file = self.lease_file();
        let kind = fstatfs(file).map_err(|errno| Error::system("fstatfs", Some(self.path()), errno))?.filesystem_type();
        if FORGETFUL.contains(&kind) {
            return Err(unsupported(format!("{:?}, which is in memory only", self.path())));
        }
        let durable = DurableSegment { segment: self.clone() };
        let flushing = durable.begin()?;
        file.sync_all().map_err(|source| durable.failed(source))?;
        drop(flushing);
        if let Backing::File(place) = &self.inner.backing {
            // Says nothing of what is in the file: it may be tried again.
            place
                .directory
                .sync()
                .map_err(|source| Error::system("fsync of the directory", Some(self.path()), source))?;
        }
        Ok(durable)
    }
}

impl DurableSegment {
    /// Makes everything durable that was written to the segment before, by whichever process. Returns when it is.
    ///
    /// Costs one `msync`: 0.1 to 2 ms and more for what is dirty, by the medium.
    ///
    /// # Errors
    ///
    /// [`Error::FlushFailed`], now and at every flush by any peer from then on: the kernel may have marked pages clean that were not written, so that a flush which
    /// is tried again would succeed without them. Reading goes on. [`Error::WrongProcess`], [`Error::Lost`].
    pub fn flush(&self) -> Result<()> {
        self.flush_range(0, self.segment.size())
    }

    /// As [`flush`](Self::flush), for the pages that hold any of the `len` bytes at `offset` in the segment.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush); [`Error::InvalidRange`] if the range is not inside the segment; [`Error::Truncated`] if its file does not have it any more.
    /// An empty range is flushed at once.
    pub fn flush_range(&self, offset: u64, len: u64) -> Result<()> {
        self.segment.check()?;
        let _flushing = self.begin()?;
        let map = &self.segment.inner.map;
        if offset.saturating_add(len) > map.len() as u64 {
            self.segment.notice_growth();
        }
        let invalid = || Error::InvalidRange { offset, len, reason: format!("the segment has {} bytes", map.len()) };
        let end = offset.checked_add(len).filter(|end| *end <= map.len() as u64).ok_or_else(invalid)?;
        if len == 0 {
            return Ok(());
        }
        let from = offset - offset % os::page_size() as u64;
        let to = os::round_to_pages(end).unwrap_or(end).min(map.len() as u64);
        // SAFETY: inside the mapping, which lives as long as the attachment; msync changes no contents.
        let start = unsafe { map.base().add(from as usize) };
        // SAFETY: as above.
        let flushed = unsafe { msync(start.cast(), (to - from) as usize, MsFlags::MS_SYNC) };
        flushed.map_err(|errno| self.failed(errno.into()))?;
        // What a file has no more is not flushed, and nobody says so.
        let found =
            os::fstat(self.segment.lease_file()).map_err(|source| Error::system("fstat", None, source))?.st_size;
        match u64::try_from(found).unwrap_or(0) {
            found if found < end => Err(Error::Truncated { path: self.segment.path(), expected: end, found }),
            _ => Ok(()),
        }
    }

    /// As [`flush`](Self::flush), for one object or a part of it.
    ///
    /// # Errors
    ///
    /// As [`flush_range`](Self::flush_range), and [`Error::InvalidRange`] for a region of another attachment.
    pub fn flush_region(&self, region: &Region) -> Result<()> {
        if !region.segment().is_same_attachment(&self.segment) {
            let reason = "the region is of another attachment".into();
            return Err(Error::InvalidRange { offset: region.offset(), len: region.len() as u64, reason });
        }
        self.flush_range(region.offset(), region.len() as u64)
    }

    /// Asks the kernel to keep the pages of a range one by one, and not in larger pieces: for what is flushed in small parts. A store through the mapping makes the
    /// whole piece dirty that the page is in, and a flush of one page then writes all of it: where that was measured, 440 to 830 µs instead of 150 to 180. Advice:
    /// nothing is said if it cannot be followed; and no page is fetched ahead of its use any more.
    pub fn keep_pages_single(&self, offset: u64, len: u64) {
        let map = &self.segment.inner.map;
        let from = offset - offset % os::page_size() as u64;
        let to = os::round_to_pages(offset.saturating_add(len)).unwrap_or(u64::MAX).min(map.len() as u64);
        if from < to {
            // SAFETY: inside the mapping, which lives as long as the attachment; the advice changes no contents.
            let start = unsafe { map.base().add(from as usize) };
            // SAFETY: as above.
            let _ = unsafe { madvise(start.cast(), (to - from) as usize, MmapAdvise::MADV_RANDOM) };
        }
    }

    /// One thread of this attachment at a time, from the look whether a flush has failed until it is said that this one did. The kernel tells an error of writing once for each open description:
    /// of two threads that flush through one, one would be told of it, and the other one that all is well with pages of its own that were not written.
    fn begin(&self) -> Result<MutexGuard<'_, ()>> {
        let alone = self.segment.inner.threads.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_flushes().map(|()| alone)
    }

    fn check_flushes(&self) -> Result<()> {
        // Pairs with the Release in `failed`. Any value but zero, whoever wrote it, means that the file cannot be relied on.
        match self.segment.inner.map.u64_at(FLUSH_FAILED_AT).load(Ordering::Acquire) {
            0 => Ok(()),
            _ => Err(Error::FlushFailed { path: self.segment.path(), source: None }),
        }
    }

    /// Tells all peers, for good: the kernel reports an error once, to one of them.
    fn failed(&self, source: std::io::Error) -> Error {
        self.segment.inner.map.u64_at(FLUSH_FAILED_AT).store(1, Ordering::Release);
        Error::FlushFailed { path: self.segment.path(), source: Some(source) }
    }
}

impl Deref for DurableSegment {
    type Target = Segment;

    fn deref(&self) -> &Segment {
        &self.segment
    }
}
