//! Addresses without memory.
#![expect(unsafe_code, reason = "mmap and munmap")]

use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

use super::cause;
use super::protection::{Protection, ReadOnly};
use super::range::{FileRange, pages_inside, rounded};
use crate::error::{Error, Result};
use crate::os;

/// A range of addresses set aside: every access faults, no memory is used and none is charged.
///
/// The only use of private anonymous memory here: what is to stay at one address while it grows, or to stand beside something else, is
/// mapped over a part of it. Costs one `mmap`, whatever its size.
#[derive(Debug)]
pub struct Reservation {
    base: NonNull<u8>,
    len: NonZeroUsize,
    /// Whether a part of it may be somebody else's by now: then all of it is left as it is.
    torn: bool,
}

// SAFETY: a range of addresses whose contents are only handed out as raw pointers; any thread may own it.
unsafe impl Send for Reservation {}
// SAFETY: `&Reservation` gives away only its address and length.
unsafe impl Sync for Reservation {}

const FLAGS: MapFlags = MapFlags::MAP_PRIVATE.union(MapFlags::MAP_NORESERVE);

impl Reservation {
    /// Reserves `len` bytes of addresses, rounded up to whole pages, wherever the kernel has them.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRange`] if the length is zero or cannot be addressed; [`Error::LimitReached`] if a limit of the process
    /// (`RLIMIT_AS`, the count of mappings) is reached; [`Error::NoSpace`] if no such range is free.
    pub fn new(len: u64) -> Result<Self> {
        let len = rounded(0, len, os::page_size() as u64)?;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that is in use.
        let mapped = unsafe { mmap_anonymous(None, len, ProtFlags::PROT_NONE, FLAGS) };
        let base = cause::of_refusal::<ReadOnly, _>(mapped, "mmap", None, len.get())?.cast();
        Ok(Self { base, len, torn: false })
    }

    /// Reserves exactly the `len` bytes from `address` on, such as those behind a mapping that is to be continued. Never replaces anything.
    ///
    /// # Errors
    ///
    /// [`Error::AddressTaken`] if any page of the range is in use; [`Error::InvalidRange`] if the address is not that of a page; and those of
    /// [`new`](Self::new).
    pub fn at(address: usize, len: u64) -> Result<Self> {
        let len = rounded(0, len, os::page_size() as u64)?;
        let wanted = NonZeroUsize::new(address).filter(|address| address.get().is_multiple_of(os::page_size()));
        let wanted = wanted.ok_or_else(|| Error::InvalidRange {
            offset: address as u64,
            len: len.get() as u64,
            reason: "the address is not that of a page".into(),
        })?;
        let taken = || Error::AddressTaken { address, len: len.get() };
        let flags = FLAGS | MapFlags::MAP_FIXED_NOREPLACE;
        // SAFETY: a mapping that replaces nothing touches no memory that is in use.
        let reservation = match unsafe { mmap_anonymous(Some(wanted), len, ProtFlags::PROT_NONE, flags) } {
            Ok(base) => Self { base: base.cast(), len, torn: false },
            Err(Errno::EEXIST) => return Err(taken()),
            Err(errno) => return cause::of_refusal::<ReadOnly, _>(Err(errno), "mmap", None, len.get()),
        };
        // Kernels before 4.17 take the address for a hint.
        if reservation.base.as_ptr() as usize == address { Ok(reservation) } else { Err(taken()) }
    }

    /// Reserves `len` bytes that begin at a multiple of `align`, a power of two and whole pages.
    pub(super) fn aligned(len: u64, align: usize) -> Result<Self> {
        if align <= os::page_size() {
            return Self::new(len);
        }
        let whole = Self::new(len.saturating_add(align as u64))?;
        let head = whole.base.as_ptr().align_offset(align);
        let tail = whole.len.get() - head - len as usize;
        let inner = Self {
            torn: false,
            base: whole.base.map_addr(|address| address.saturating_add(head)),
            len: rounded(0, len, 1)?,
        };
        for (start, surplus) in
            [(whole.base, head), (inner.base.map_addr(|address| address.saturating_add(len as usize)), tail)]
        {
            if surplus > 0 {
                // SAFETY: whole pages at the ends of a reservation that is ours, and of which nothing was lent.
                let _ = unsafe { munmap(start.cast(), surplus) };
            }
        }
        std::mem::forget(whole);
        Ok(inner)
    }

    /// Puts `len` bytes of a file, from `offset` on, at `at` bytes into the reservation, instead of what was there. All three are whole pages.
    ///
    /// Only what this reservation owns is ever replaced (MAP_FIXED). Costs one `mmap`; a run of pages that is not the next one of the file is a mapping
    /// of its own, of which a process may have 65,530.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRange`] if the range is not inside the reservation or the file, and those of
    /// [`MappingOptions::shared_file`](super::MappingOptions::shared_file).
    pub fn map_shared_file<P: Protection>(
        &mut self,
        at: usize,
        file: impl AsFd,
        offset: u64,
        len: usize,
    ) -> Result<()> {
        pages_inside(at, len, self.len.get(), os::page_size())?;
        let range = FileRange::check(&file, offset, len as u64)?;
        pages_inside(at, range.len.get(), self.len.get(), os::page_size())?;
        let file = file.as_fd();
        let address = self.base.map_addr(|address| address.saturating_add(at)).addr();
        // SAFETY: inside a reservation that is ours alone, borrowed exclusively here, and lent as raw pointers only.
        let mapped = unsafe {
            mmap(Some(address), range.len, P::FLAGS, MapFlags::MAP_SHARED | MapFlags::MAP_FIXED, file, range.offset)
        };
        if mapped.is_err() {
            self.hold_again(at, range.len);
        }
        cause::of_refusal::<P, _>(mapped, "mmap", Some(file), len).map(|_| ())
    }

    /// After a mapping into the reservation was refused: the kernel may have removed what was there before it found a reason to. Another thread may have got the
    /// addresses meanwhile; then the whole reservation is leaked, since unmapping it would take theirs.
    pub(super) fn hold_again(&mut self, at: usize, len: NonZeroUsize) {
        let address = self.base.map_addr(|address| address.saturating_add(at)).addr();
        let flags = FLAGS | MapFlags::MAP_FIXED_NOREPLACE;
        // SAFETY: replaces nothing.
        match unsafe { mmap_anonymous(Some(address), len, ProtFlags::PROT_NONE, flags) } {
            Ok(base) if base.addr() == address => {}
            // Nothing was removed, or somebody else is there: which of the two cannot be told.
            _ => self.torn |= !self.is_reserved(at, len.get()),
        }
    }

    /// Whether a range is without memory and inaccessible, as /proc tells it.
    fn is_reserved(&self, at: usize, len: usize) -> bool {
        let (from, to) = (self.base.as_ptr() as usize + at, self.base.as_ptr() as usize + at + len);
        let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return false };
        let mut covered = from;
        for line in maps.lines() {
            let Some((range, rest)) = line.split_once(' ') else { continue };
            let Some((start, end)) = range.split_once('-') else { continue };
            let (Ok(start), Ok(end)) = (usize::from_str_radix(start, 16), usize::from_str_radix(end, 16)) else {
                continue;
            };
            if start <= covered && covered < end && rest.starts_with("---p") {
                covered = end;
            }
        }
        covered >= to
    }

    /// Makes `len` bytes at `at` addresses without memory again. Both are whole pages.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRange`] if the range is not inside the reservation.
    pub fn clear(&mut self, at: usize, len: usize) -> Result<()> {
        pages_inside(at, len, self.len.get(), os::page_size())?;
        let range = rounded(at as u64, len as u64, 1)?;
        let address = self.base.map_addr(|address| address.saturating_add(at)).addr();
        // SAFETY: as in `map_shared_file`.
        let mapped = unsafe { mmap_anonymous(Some(address), range, ProtFlags::PROT_NONE, FLAGS | MapFlags::MAP_FIXED) };
        cause::of_refusal::<ReadOnly, _>(mapped, "mmap", None, len).map(|_| ())
    }

    /// The first address. What is readable behind it, and for how long, is what was mapped there.
    pub fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Bytes reserved: whole pages.
    #[expect(clippy::len_without_is_empty, reason = "a reservation is never empty")]
    pub fn len(&self) -> usize {
        self.len.get()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.torn {
            return;
        }
        // SAFETY: the range is exactly what was reserved; what was mapped into it is lent as raw pointers only.
        let _ = unsafe { munmap(self.base.cast(), self.len.get()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terabyte_of_addresses_costs_no_memory() {
        let reservation = Reservation::new(1 << 40).unwrap();
        assert_eq!(reservation.len(), 1 << 40);
        assert!(!reservation.as_ptr().is_null());
        assert!(matches!(Reservation::new(0), Err(Error::InvalidRange { .. })));
        assert!(matches!(Reservation::new(1 << 62), Err(Error::NoSpace { .. })));
    }

    #[test]
    fn an_aligned_reservation_is_aligned_and_no_longer_than_asked() {
        for align in [4096, 1 << 16, 2 << 20] {
            let reservation = Reservation::aligned(3 * 4096, align).unwrap();
            assert_eq!((reservation.as_ptr() as usize % align, reservation.len()), (0, 3 * 4096), "{align}");
        }
    }
}
