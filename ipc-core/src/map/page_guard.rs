//! Pages of a mapping that may not be touched for a while.
#![expect(unsafe_code, reason = "madvise and mprotect")]

use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{ProtFlags, mprotect};

use super::protection::Protection;
use super::range::pages_inside;
use super::shared::Mapping;
use crate::error::{Error, Result};

/// Since Linux 6.13, for files and shared memory since 6.15; not in libc for every target.
const MADV_GUARD_INSTALL: libc::c_int = 102;
const MADV_GUARD_REMOVE: libc::c_int = 103;

/// How the pages are kept from being touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Marks in the page table: no mapping is split.
    Marks,
    /// On older kernels, and for locked mappings: a protection of their own, which splits the mapping in three.
    Protection,
}

/// A range of a mapping in which every access of this process is a SIGSEGV, until the value drops: then the data is back as it was.
///
/// Other processes are not affected.
#[derive(Debug)]
pub struct GuardedPages<'a, P: Protection> {
    mapping: &'a mut Mapping<P>,
    offset: usize,
    len: usize,
    way: Way,
}

impl<P: Protection> Mapping<P> {
    /// Guards whole pages of the mapping against every access, such as those behind a buffer that something else fills.
    ///
    /// Borrows the mapping exclusively: what is to be used meanwhile is used by pointer. One system call, and one to end it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRange`] if offset and length are not whole pages inside the mapping; [`Error::LimitReached`] where the mapping has to be split and the
    /// process has too many; [`Error::System`].
    pub fn guard_pages(&mut self, offset: usize, len: usize) -> Result<GuardedPages<'_, P>> {
        pages_inside(offset, len, self.len(), self.page_size())?;
        let start = self.as_ptr().wrapping_add(offset);
        // SAFETY: whole pages of this mapping, borrowed exclusively; their contents stay.
        let marked = Errno::result(unsafe { libc::madvise(start.cast(), len, MADV_GUARD_INSTALL) });
        let way = match marked {
            Ok(_) => Way::Marks,
            Err(Errno::EINVAL) => {
                protect(self, offset, len, ProtFlags::PROT_NONE)?;
                Way::Protection
            }
            Err(errno) => return Err(Error::errno("madvise(MADV_GUARD_INSTALL)", errno)),
        };
        Ok(GuardedPages { mapping: self, offset, len, way })
    }
}

fn protect<P: Protection>(mapping: &Mapping<P>, offset: usize, len: usize, flags: ProtFlags) -> Result<()> {
    // SAFETY: the caller checked the range against the mapping.
    let start = unsafe { mapping.base().add(offset) };
    // SAFETY: whole pages of this mapping, in which nobody holds a reference; their contents stay.
    let protected = unsafe { mprotect(start.cast(), len, flags) };
    super::cause::of_refusal::<P, _>(protected, "mprotect", None, 0)
}

impl<P: Protection> GuardedPages<'_, P> {
    /// The first byte of the whole mapping; all of it but the guarded pages may be used.
    pub fn as_ptr(&self) -> *mut u8 {
        self.mapping.as_ptr()
    }
}

impl<P: Protection> Drop for GuardedPages<'_, P> {
    fn drop(&mut self) {
        match self.way {
            Way::Marks => {
                let start = self.mapping.as_ptr().wrapping_add(self.offset);
                // SAFETY: the pages that were marked; removing the marks brings the data back. It cannot fail for a range that was marked.
                let _ = unsafe { libc::madvise(start.cast(), self.len, MADV_GUARD_REMOVE) };
            }
            // Fails only where the mapping would have to be split further, which joining does not.
            Way::Protection => drop(protect(self.mapping, self.offset, self.len, P::FLAGS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_end_with_the_data_as_it_was() {
        let mut mapping = Mapping::shared_anonymous(3 * 4096).unwrap();
        mapping.write(4096, b"data");
        let guarded = mapping.guard_pages(4096, 4096).unwrap();
        let way = guarded.way;
        drop(guarded);
        let mut bytes = [0; 4];
        mapping.read(4096, &mut bytes);
        assert_eq!(&bytes, b"data", "{way:?}");
        // A locked mapping takes no marks.
        mapping.lock().unwrap();
        let guarded = mapping.guard_pages(4096, 4096).unwrap();
        assert_eq!(guarded.way, Way::Protection);
        drop(guarded);
        mapping.read(4096, &mut bytes);
        assert_eq!(&bytes, b"data");
    }
}
