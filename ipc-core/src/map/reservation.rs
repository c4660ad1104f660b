//! Addresses without memory.
#![expect(unsafe_code, reason = "mmap and munmap")]

use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::page_rounded;
use crate::error::{Error, Result};

/// A range of addresses set aside: every access faults, no memory is used and none is charged.
///
/// The only use of private anonymous memory here: what is to stay at one address while it grows is mapped over a part of it.
/// Costs one `mmap`, whatever its size.
#[derive(Debug)]
pub struct Reservation {
    base: NonNull<u8>,
    len: NonZeroUsize,
}

// SAFETY: a range of addresses without contents; any thread may own it.
unsafe impl Send for Reservation {}
// SAFETY: `&Reservation` gives away only its address and length.
unsafe impl Sync for Reservation {}

impl Reservation {
    /// Reserves `len` bytes of addresses, rounded up to whole pages.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRange`] if the length is zero or cannot be addressed; [`Error::System`] with `ENOMEM` if no such range is
    /// free or a limit of the process (`RLIMIT_AS`, the count of mappings) is reached.
    pub fn new(len: u64) -> Result<Self> {
        let len = page_rounded(0, len)?;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that is in use.
        let base = unsafe { mmap_anonymous(None, len, ProtFlags::PROT_NONE, flags) }
            .map_err(|errno| Error::errno("mmap of a reservation", errno))?;
        Ok(Self { base: base.cast(), len })
    }

    /// The first address. Not readable.
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
        // SAFETY: the range is exactly what was reserved, and nothing was lent from it.
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
        assert!(Reservation::new(1 << 62).is_err());
    }
}
