//! Behaviour on demand: what the kernel is asked to do with the pages of a mapping.
#![expect(unsafe_code, reason = "madvise, mlock, mprotect and mbind")]

use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{mlock, mprotect, munlock};

use super::cause;
use super::protection::{Protection, ReadOnly, ReadWrite};
use super::range::pages_inside;
use super::shared::Mapping;
use crate::error::{Error, Result};
use crate::os;

/// What is known of the use of pages. None of it changes contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Advice {
    /// Nothing: the state at the beginning.
    Normal,
    /// One after the other: read ahead much, drop soon.
    Sequential,
    /// Here and there: do not read ahead.
    Random,
    /// Soon: read ahead now.
    WillNeed,
    /// Not for a while: reclaim them before others (Linux 5.4).
    Cold,
    /// Not for long: write back and reclaim them now (Linux 5.4).
    PageOut,
    /// In huge pages where the system has them ready; best effort, and nothing at all where
    /// `/sys/kernel/mm/transparent_hugepage/shmem_enabled` is `never`.
    HugePages,
    /// Never in huge pages.
    NoHugePages,
}

impl Advice {
    fn code(self) -> (libc::c_int, &'static str) {
        match self {
            Self::Normal => (libc::MADV_NORMAL, "madvise(MADV_NORMAL)"),
            Self::Sequential => (libc::MADV_SEQUENTIAL, "madvise(MADV_SEQUENTIAL)"),
            Self::Random => (libc::MADV_RANDOM, "madvise(MADV_RANDOM)"),
            Self::WillNeed => (libc::MADV_WILLNEED, "madvise(MADV_WILLNEED)"),
            Self::Cold => (libc::MADV_COLD, "madvise(MADV_COLD)"),
            Self::PageOut => (libc::MADV_PAGEOUT, "madvise(MADV_PAGEOUT)"),
            Self::HugePages => (libc::MADV_HUGEPAGE, "madvise(MADV_HUGEPAGE)"),
            Self::NoHugePages => (libc::MADV_NOHUGEPAGE, "madvise(MADV_NOHUGEPAGE)"),
        }
    }
}

/// Since Linux 6.1; not in libc for every target.
const MADV_COLLAPSE: libc::c_int = 25;
/// The memory policy that takes pages of the given nodes only.
const MPOL_BIND: libc::c_int = 2;
/// Words in the largest mask of nodes that any kernel is built for (1024).
const NODE_WORDS: usize = 16;

impl<P: Protection> Mapping<P> {
    fn madvise(&self, offset: usize, len: usize, advice: libc::c_int) -> nix::Result<()> {
        debug_assert!(offset.checked_add(len).is_some_and(|end| end <= self.max_len()));
        // SAFETY: inside the addresses of this mapping. Of the advice used in this file only MADV_REMOVE changes contents, and its caller vouches for that.
        Errno::result(unsafe { libc::madvise(self.as_ptr().add(offset).cast(), len, advice) }).map(|_| ())
    }

    /// Tells the kernel how the pages are going to be used. One system call.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if the kernel does not know the advice, or has no pages of that kind.
    pub fn advise(&self, advice: Advice) -> Result<()> {
        let (code, call) = advice.code();
        self.madvise(0, self.len(), code).map_err(|errno| Error::errno(call, errno))
    }

    /// Leaves the pages out of core dumps, or puts them back in; those by which the mapping grows as well.
    ///
    /// # Errors
    ///
    /// [`Error::System`].
    pub fn exclude_from_core_dumps(&self, exclude: bool) -> Result<()> {
        let advice = if exclude { libc::MADV_DONTDUMP } else { libc::MADV_DODUMP };
        self.madvise(0, self.max_len(), advice).map_err(|errno| Error::errno("madvise(MADV_DONTDUMP)", errno))
    }

    /// Leaves the mapping out of the children that this process forks, or puts it back in.
    ///
    /// # Errors
    ///
    /// [`Error::System`].
    ///
    /// # Safety
    ///
    /// A child that is forked while the mapping is left out must not use its copy of this value, not even drop it, and must not let what it maps itself be
    /// watched: the addresses are free there, so that an access is a SIGSEGV at best, and reaches something else at worst. A child that calls `exec` or
    /// `_exit` is fine.
    pub unsafe fn keep_from_children(&self, keep: bool) -> Result<()> {
        let advice = if keep { libc::MADV_DONTFORK } else { libc::MADV_DOFORK };
        self.madvise(0, self.max_len(), advice).map_err(|errno| Error::errno("madvise(MADV_DONTFORK)", errno))
    }

    /// Keeps the pages in memory, and brings them in now. Fork children hold no lock; dropping the mapping ends it.
    ///
    /// # Errors
    ///
    /// [`Error::LimitReached`] with `RLIMIT_MEMLOCK` for a process without the right to lock more.
    pub fn lock(&self) -> Result<()> {
        // SAFETY: the range is this mapping.
        unsafe { mlock(self.base().cast(), self.len()) }.map_err(|errno| cause::of_refused_lock(errno, self.len()))
    }

    /// Lets the pages be swapped out or dropped again.
    ///
    /// # Errors
    ///
    /// [`Error::System`].
    pub fn unlock(&self) -> Result<()> {
        // SAFETY: the range is this mapping.
        unsafe { munlock(self.base().cast(), self.len()) }.map_err(|errno| Error::errno("munlock", errno))
    }

    /// Gathers the pages into transparent huge pages now, as far as that goes (Linux 6.1); works also where the system makes none by itself.
    /// Ranges that are not aligned to a huge page in address and file stay as they are.
    ///
    /// # Errors
    ///
    /// [`Error::System`], with what the kernel says of the first page that it could not gather.
    pub fn collapse(&self) -> Result<()> {
        self.madvise(0, self.len(), MADV_COLLAPSE).map_err(|errno| Error::errno("madvise(MADV_COLLAPSE)", errno))
    }

    /// Takes pages that are allocated from now on from one NUMA node only. For a file on tmpfs and for a memfd that holds for everyone who maps it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if the machine has no such node; [`Error::Unsupported`] if the kernel has no nodes.
    pub fn bind_to_node(&self, node: u32) -> Result<()> {
        let invalid = || Error::InvalidOption {
            option: "numa_node",
            expected: std::fs::read_to_string("/sys/devices/system/node/online")
                .map_or_else(|_| "a node of this machine".into(), |nodes| nodes.trim().to_owned()),
            found: node.to_string(),
        };
        let mut mask = [0_u64; NODE_WORDS];
        *mask.get_mut(node as usize / 64).ok_or_else(invalid)? |= 1 << (node % 64);
        let bits = NODE_WORDS * 64 + 1;
        // SAFETY: the range is this mapping, and the mask has as many bits as are named.
        let bound =
            unsafe { libc::syscall(libc::SYS_mbind, self.as_ptr(), self.max_len(), MPOL_BIND, mask.as_ptr(), bits, 0) };
        match Errno::result(bound) {
            Ok(_) => Ok(()),
            Err(Errno::EINVAL) => Err(invalid()),
            Err(Errno::ENOSYS) => {
                let backing = "a kernel without NUMA".into();
                Err(Error::Unsupported { what: "binding to a node", backing })
            }
            Err(errno) => Err(Error::errno("mbind", errno)),
        }
    }
}

impl Mapping<ReadWrite> {
    /// Allocates every page now, and enters it in this process's page table: no store faults later, and none fails.
    ///
    /// # Errors
    ///
    /// As [`prefault_range`](Self::prefault_range).
    pub fn prefault(&self) -> Result<()> {
        self.prefault_range(0, self.len())
    }

    /// As [`prefault`](Self::prefault), for the pages of a range. One system call.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] if the file system or the system has no memory for them, where the first store to one would have been a signal;
    /// [`Error::InvalidRange`] if the range is empty or not inside the mapping. On kernels older than 5.14, which cannot be asked, nothing is done.
    pub fn prefault_range(&self, offset: usize, len: usize) -> Result<()> {
        let page = os::page_size();
        let from = offset - offset % page;
        if len == 0 {
            let reason = "the length is zero".into();
            return Err(Error::InvalidRange { offset: offset as u64, len: 0, reason });
        }
        let to = offset.checked_add(len).and_then(|end| end.checked_next_multiple_of(page)).unwrap_or(usize::MAX);
        pages_inside(from, to - from, self.len(), page)?;
        loop {
            match self.madvise(from, to - from, libc::MADV_POPULATE_WRITE) {
                Ok(()) | Err(Errno::EINVAL) => return Ok(()),
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(Errno::ENOMEM | Errno::EFAULT | Errno::ENOSPC) => {
                    let (needed, available) = ((to - from) as u64, os::available_memory().unwrap_or(0));
                    return Err(Error::NoSpace { path: "memory for a mapping".into(), needed, available });
                }
                Err(errno) => return Err(Error::errno("madvise(MADV_POPULATE_WRITE)", errno)),
            }
        }
    }

    /// Gives back the pages of a range, file blocks included: they read zeros from now on, for everyone who has them mapped.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRange`] if offset and length are not whole pages inside the mapping; [`Error::Unsupported`] for a backing that cannot.
    ///
    /// # Safety
    ///
    /// No process may have a reference into the range, and whoever else uses the range must expect zeros there: a size seal does not keep anybody
    /// from this, and a protocol that stores anything in the range is broken by it.
    pub unsafe fn punch_hole(&self, offset: usize, len: usize) -> Result<()> {
        pages_inside(offset, len, self.len(), self.page_size())?;
        self.madvise(offset, len, libc::MADV_REMOVE).map_err(|errno| match errno {
            Errno::EOPNOTSUPP | Errno::EINVAL => {
                Error::Unsupported { what: "giving back pages", backing: "this backing, or a locked mapping".into() }
            }
            errno => Error::errno("madvise(MADV_REMOVE)", errno),
        })
    }

    /// Gives up the right to write, for good: there is no way back, and none at all if the descriptor was read-only.
    ///
    /// A store through a pointer that was taken before is a SIGSEGV from now on, not a wrong value.
    ///
    /// # Errors
    ///
    /// [`Error::System`], after which the mapping is gone.
    pub fn into_read_only(self) -> Result<Mapping<ReadOnly>> {
        // SAFETY: the range is this mapping's, which is owned here; nobody holds a reference into it.
        unsafe { mprotect(self.base().cast(), self.max_len(), ReadOnly::FLAGS) }
            .map_err(|errno| Error::errno("mprotect", errno))?;
        Ok(self.with_protection())
    }
}
