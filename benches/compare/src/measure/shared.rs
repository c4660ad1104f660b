//! Memory that processes share by inheriting it, without any of the systems that are measured.
#![expect(unsafe_code, reason = "maps memory and lends words and bytes of it")]

use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

use anyhow::Context;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// Anonymous shared memory: zeroed, its pages already there, handed down by `fork`.
#[derive(Debug)]
pub(crate) struct Shared {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: plain memory; what is handed out are atomics, and copies in and out whose order the callers establish through those.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub(crate) fn new(len: usize) -> anyhow::Result<Self> {
        let size = NonZeroUsize::new(len).context("shared memory of no bytes")?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses touches no other memory.
        let start = unsafe { mmap_anonymous(None, size, protection, MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE) };
        Ok(Self { start: start.context("mmap")?.cast(), len })
    }

    /// The word at the start of a line.
    pub(crate) fn word(&self, line: usize) -> &AtomicU64 {
        assert!((line + 1) * LINE <= self.len, "line {line} of {} bytes", self.len);
        // SAFETY: in the mapping, which lives as long as `self`; aligned to a line; an atomic has no invalid bits.
        unsafe { self.start.add(line * LINE).cast::<AtomicU64>().as_ref() }
    }

    /// The first half of that word, for futexes.
    pub(crate) fn half_word(&self, line: usize) -> &AtomicU32 {
        assert!((line + 1) * LINE <= self.len, "line {line} of {} bytes", self.len);
        // SAFETY: as for `word`; no line is used as both.
        unsafe { self.start.add(line * LINE).cast::<AtomicU32>().as_ref() }
    }

    /// The address of a byte, for what is laid out there by hand.
    pub(crate) fn at(&self, offset: usize) -> NonNull<u8> {
        assert!(offset < self.len, "byte {offset} of {}", self.len);
        // SAFETY: in the mapping.
        unsafe { self.start.add(offset) }
    }

    /// Copies bytes in. The caller has seen to it that nobody reads or writes there now.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= self.len, "{} bytes at {offset} of {}", bytes.len(), self.len);
        // SAFETY: in the mapping, and `bytes` is not in it, as only atomics of it are lent.
        unsafe { self.start.add(offset).copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) }
    }

    /// Copies bytes out. The caller has seen to it that nobody writes there now.
    pub(crate) fn read(&self, offset: usize, bytes: &mut [u8]) {
        assert!(offset + bytes.len() <= self.len, "{} bytes at {offset} of {}", bytes.len(), self.len);
        let target = NonNull::from(&mut *bytes).cast();
        // SAFETY: as for `write`.
        unsafe { self.start.add(offset).copy_to_nonoverlapping(target, bytes.len()) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nothing borrowed from it outlives `self`.
        let _ = unsafe { munmap(self.start.cast(), self.len) };
    }
}
