//! The one page of this process that a fork child finds zeroed.
#![expect(unsafe_code, reason = "mmap and madvise")]

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicU64;

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};

use crate::error::{Error, Result};
use crate::os;

/// A word of private memory that reads zero in every child that is forked from now on, for the rest of the process's life.
///
/// # Errors
///
/// [`Error::System`] if the page cannot be mapped or the kernel is older than 4.14.
pub(crate) fn wiped_on_fork() -> Result<&'static AtomicU64> {
    let len = NonZeroUsize::new(os::page_size()).unwrap_or(NonZeroUsize::MIN);
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory that is in use.
    let page =
        unsafe { mmap_anonymous(None, len, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE) }
            .map_err(|errno| Error::errno("mmap", errno))?;
    // SAFETY: the page is ours and its contents are not needed after a fork.
    if let Err(errno) = unsafe { madvise(page, len.get(), MmapAdvise::MADV_WIPEONFORK) } {
        // SAFETY: exactly the page mapped above, to which nothing refers.
        let _ = unsafe { munmap(page, len.get()) };
        return Err(Error::errno("madvise(MADV_WIPEONFORK)", errno));
    }
    // SAFETY: page-aligned, readable and writable, zeroed, and never unmapped from here on.
    Ok(unsafe { page.cast::<AtomicU64>().as_ref() })
}
