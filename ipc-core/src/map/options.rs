//! The builder of shared mappings that are more than the usual.
#![expect(unsafe_code, reason = "mmap")]

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, mmap, mmap_anonymous};

use super::cause;
use super::protection::{Protection, ReadWrite};
use super::range::{FileRange, rounded};
use super::reservation::Reservation;
use super::shared::Mapping;
use crate::error::{Error, Result};
use crate::os;

/// How to map: from [`MappingOptions::new`], which is what [`Mapping::shared_file`] and [`Mapping::shared_anonymous`] use as it is.
///
/// ```
/// use ipc_core::map::{Mapping, MappingOptions, ReadWrite};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let file = tempfile::tempfile()?;
/// file.set_len(4096)?;
/// let mapping: Mapping<ReadWrite> = MappingOptions::new().max_len(1 << 30).shared_file(&file, 0, 4096)?;
/// file.set_len(1 << 20)?; // here or in another process
/// assert_eq!(mapping.grow(&file)?, 1 << 20); // at the same address
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a builder does nothing until something is mapped"]
pub struct MappingOptions {
    max_len: Option<u64>,
    guard_pages: bool,
    huge_pages: Option<u64>,
    synchronous: bool,
    lazy: bool,
}

impl MappingOptions {
    /// A mapping like any other.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reserves addresses for up to `bytes`, so that the mapping can [grow](Mapping::grow) in place. Costs addresses, not memory.
    pub fn max_len(mut self, bytes: u64) -> Self {
        self.max_len = Some(bytes);
        self
    }

    /// Puts an inaccessible page before the mapping and one behind it: an overrun is a SIGSEGV there, not a store into something else.
    /// Costs one more system call and three mappings instead of one.
    pub fn guard_pages(mut self, guard: bool) -> Self {
        self.guard_pages = guard;
        self
    }

    /// Backs anonymous memory with huge pages of `size` bytes (2 MiB on most machines), or fails. For a memfd it is decided when that is made.
    pub fn huge_pages(mut self, size: u64) -> Self {
        self.huge_pages = Some(size);
        self
    }

    /// Asks for a mapping of persistent memory whose stores need no `msync` (MAP_SYNC). Never downgraded silently: without such memory it is
    /// [`Error::Unsupported`].
    pub fn synchronous(mut self, synchronous: bool) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// Leaves anonymous memory uncharged (MAP_NORESERVE) until its pages are [prefaulted](Mapping::prefault_range), which is an error where there is no
    /// memory; a store to a page that was not is a signal then.
    pub fn lazy(mut self, lazy: bool) -> Self {
        self.lazy = lazy;
        self
    }

    /// Maps `len` bytes of a regular file or memfd, beginning at `offset`. The length is rounded up to whole pages.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRange`] if the length is zero, the offset is not a whole number of pages, the sum overflows, or the range ends
    /// beyond the page-rounded end of the file; [`Error::NotMappable`] if the descriptor is no regular file or memfd; [`Error::WrongAccess`] if it
    /// was not opened for what `P` permits; [`Error::LimitReached`] or [`Error::NoSpace`] if there are no addresses or no memory left;
    /// [`Error::Unsupported`] for a synchronous mapping of what is not persistent memory.
    pub fn shared_file<P: Protection>(&self, file: impl AsFd, offset: u64, len: u64) -> Result<Mapping<P>> {
        if self.huge_pages.is_some() || self.lazy {
            return Err(Error::Unsupported {
                what: "huge_pages or lazy",
                backing: "a file, which is made so or not".into(),
            });
        }
        let range = FileRange::check(&file, offset, len)?;
        let reserved = match self.max_len {
            Some(max) => rounded(offset, max, range.page as u64)?.max(range.len),
            None => range.len,
        };
        let sharing = if self.synchronous {
            // SAFETY of the pair is the kernel's: SHARED_VALIDATE refuses flags that it does not know.
            MapFlags::MAP_SHARED_VALIDATE | MapFlags::MAP_SYNC
        } else {
            MapFlags::MAP_SHARED
        };
        let file = file.as_fd();
        let placed = self.place::<P>(reserved, range.page, Some(file), |address, fixed| {
            // SAFETY: at an address of the kernel's choice, or over a reservation that is ours alone: no memory in use is touched.
            unsafe { mmap(address, reserved, P::FLAGS, sharing | fixed, file, range.offset) }.map(NonNull::cast)
        });
        let (base, margin) = placed.map_err(|error| match error {
            Error::NoSpace { needed, .. } if range.page > os::page_size() => {
                os::no_huge_pages(range.page as u64, needed)
            }
            error => error,
        })?;
        Ok(Mapping::own(base, range.len.get(), reserved.get(), margin, range.page, Some(range.part())))
    }

    /// Maps `len` bytes of new, zeroed memory, shared with the children that this process forks.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRange`] if the length is zero or cannot be addressed; [`Error::NoSpace`] if the system's memory does not allow it;
    /// [`Error::LimitReached`] if a limit does not; [`Error::NoHugePages`].
    pub fn shared_anonymous(&self, len: u64) -> Result<Mapping<ReadWrite>> {
        if self.max_len.is_some() || self.synchronous {
            return Err(Error::Unsupported { what: "max_len or synchronous", backing: "anonymous memory".into() });
        }
        let usual = os::page_size() as u64;
        let page = self.huge_pages.unwrap_or(usual);
        let no_such_page = || Error::InvalidOption {
            option: "huge_pages",
            expected: "the size of a huge page of this machine, such as 2097152".into(),
            found: page.to_string(),
        };
        if !page.is_power_of_two() || (self.huge_pages.is_some() && page <= usual) {
            return Err(no_such_page());
        }
        let len = rounded(0, len, page)?;
        let mut flags = MapFlags::MAP_SHARED;
        if self.lazy {
            flags |= MapFlags::MAP_NORESERVE;
        }
        if self.huge_pages.is_some() {
            // The size's logarithm stands above bit 26.
            flags |= MapFlags::MAP_HUGETLB | MapFlags::from_bits_retain((page.trailing_zeros() << 26) as i32);
        }
        let (base, margin) = self
            .place::<ReadWrite>(len, page as usize, None, |address, fixed| {
                // SAFETY: as for a file.
                unsafe { mmap_anonymous(address, len, ReadWrite::FLAGS, flags | fixed) }.map(NonNull::cast)
            })
            .map_err(|error| match error {
                Error::System { .. } if self.huge_pages.is_some() => no_such_page(),
                Error::NoSpace { .. } if self.huge_pages.is_some() => os::no_huge_pages(page, len.get() as u64),
                error => error,
            })?;
        Ok(Mapping::own(base, len.get(), len.get(), margin, page as usize, None))
    }

    /// Where the mapping goes: anywhere, or into a reservation that leaves a page free on either side.
    fn place<P: Protection>(
        &self,
        len: NonZeroUsize,
        margin: usize,
        file: Option<BorrowedFd<'_>>,
        map: impl FnOnce(Option<NonZeroUsize>, MapFlags) -> nix::Result<NonNull<u8>>,
    ) -> Result<(NonNull<u8>, usize)> {
        if !self.guard_pages {
            return Ok((cause::of_refusal::<P, _>(map(None, MapFlags::empty()), "mmap", file, len.get())?, 0));
        }
        let around = (len.get() as u64).checked_add(2 * margin as u64).ok_or_else(|| Error::InvalidRange {
            offset: 0,
            len: len.get() as u64,
            reason: "the length with its guard pages is more than can be addressed".into(),
        })?;
        let mut reservation = Reservation::aligned(around, margin)?;
        let address = NonZeroUsize::new(reservation.as_ptr() as usize + margin).ok_or(Errno::EINVAL);
        let address = address.map_err(|errno| Error::errno("mmap", errno))?;
        let mapped = map(Some(address), MapFlags::MAP_FIXED);
        if mapped.is_err() {
            reservation.hold_again(margin, len);
        }
        let base = cause::of_refusal::<P, _>(mapped, "mmap", file, len.get())?;
        // The mapping unmaps the margins together with itself.
        std::mem::forget(reservation);
        Ok((base, margin))
    }
}
