//! Moving and doubling a mapping. Segments need neither: they reserve first and extend later.
#![expect(unsafe_code, reason = "mremap")]

use std::ptr::NonNull;

use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MRemapFlags, mremap};

use super::protection::Protection;
use super::range::rounded;
use super::shared::Mapping;
use crate::error::{Error, Result};

impl<P: Protection> Mapping<P> {
    /// Changes the length of the mapping, at the same address or, with `may_move`, at another one: every pointer into it is invalid then. Consumes the value, so
    /// that nothing borrowed from it survives. On an error the mapping is returned as it was.
    ///
    /// # Errors
    ///
    /// [`Error::AddressTaken`] if it may not move and something is in its way; [`Error::Unsupported`] for a mapping with guard pages or room to grow, which
    /// needs no moving, or one that is [watched](Self::watch); [`Error::InvalidRange`]; [`Error::NoSpace`].
    ///
    /// # Safety
    ///
    /// No raw pointer that was taken from the mapping is used afterwards. Nothing is accessed beyond the end of what is mapped: remapping does not make an
    /// object longer, so an access beyond the end of its file, or of anonymous memory as it was made, is a SIGBUS.
    #[expect(clippy::result_large_err, reason = "the mapping is given back")]
    pub unsafe fn remap(self, new_len: u64, may_move: bool) -> std::result::Result<Self, (Self, Error)> {
        if self.margin() != 0 || self.max_len() != self.len() || self.is_watched() {
            let backing = "a mapping with guard pages, room to grow or a watch".to_owned();
            return Err((self, Error::Unsupported { what: "remapping", backing }));
        }
        let len = match rounded(0, new_len, self.page_size() as u64) {
            Ok(len) => len.get(),
            Err(error) => return Err((self, error)),
        };
        let flags = if may_move { MRemapFlags::MREMAP_MAYMOVE } else { MRemapFlags::empty() };
        // SAFETY: the range is this mapping, owned here; the caller vouches for pointers into it.
        match unsafe { mremap(self.base().cast(), self.len(), len, flags, None) } {
            Ok(base) => {
                let (_, _, _, page, file) = self.disown();
                Ok(Self::own(base.cast(), len, len, 0, page, file))
            }
            Err(Errno::ENOMEM) if !may_move => {
                let address = self.as_ptr() as usize + self.len();
                let wanted = len.saturating_sub(self.len());
                Err((self, Error::AddressTaken { address, len: wanted }))
            }
            Err(Errno::EINVAL) => {
                let reason = "the length is more than can be addressed".into();
                Err((self, Error::InvalidRange { offset: 0, len: new_len, reason }))
            }
            Err(errno) => Err((
                self,
                super::cause::of_refusal::<P, ()>(Err(errno), "mremap", None, len)
                    .err()
                    .unwrap_or(Error::errno("mremap", errno)),
            )),
        }
    }

    /// A second mapping of the same pages, at another address. The only way to a second one of anonymous memory.
    ///
    /// # Errors
    ///
    /// [`Error::LimitReached`] or [`Error::NoSpace`] if there are no addresses left.
    pub fn alias(&self) -> Result<Self> {
        // SAFETY: an old size of zero leaves the old mapping as it is (mremap(2)); the new one is at an address of the kernel's choice.
        let base = unsafe { libc::mremap(self.as_ptr().cast(), 0, self.len(), libc::MREMAP_MAYMOVE) };
        let base = if base == libc::MAP_FAILED { Err(Errno::last()) } else { NonNull::new(base).ok_or(Errno::ENOMEM) };
        let base = super::cause::of_refusal::<P, _>(base, "mremap", None, self.len())?;
        Ok(Self::own(base.cast(), self.len(), self.len(), 0, self.page_size(), self.file()))
    }
}
