//! The memory of one cell: a version, and slots that are written in turn.
#![expect(unsafe_code, reason = "a word and slots at computed places in a checked region")]

use std::ptr::NonNull;

use ipc_core::copy::racing;
use ipc_core::sync::{self, AtomicU64, LINE_PAIR, MODEL, Ordering, fence};
use ipc_core::{Payload, Region};

use crate::error::RingError;
use crate::publisher::Publisher;

/// Slots in turn, of so many bytes each: a power of two. Version `v` stands in slot `v % slots`, and is overwritten when `v + slots` is written: after `v + slots - 1` was published.
///
/// A reader fetches the version, the value, and the version again, from another core each time, and is overtaken if the writer writes all slots but one meanwhile. Of small values that is soon done:
/// with four slots of 64 bytes readers were overtaken a thousand times in a row by a writer that did nothing else. Writing a large one takes as long as reading it.
const fn slots(stride: usize) -> u64 {
    if MODEL || stride > 1024 { 4 } else { 16 }
}

/// How often a read begins again before it says that it is overtaken each time.
const ATTEMPTS: usize = 1000;

pub(super) const PUBLISHER: usize = 0;
/// The latest version. Written once for each value.
pub(super) const VERSION: usize = PUBLISHER + Publisher::SIZE;
const DATA: usize = VERSION + LINE_PAIR;

/// One cell's memory, for values of one length.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    region: Region,
    base: NonNull<u8>,
    /// Bytes from slot to slot.
    stride: usize,
    /// Slots, less one.
    mask: u64,
    publisher: Publisher,
}

// SAFETY: a pointer into a region that the value holds, through which only atomics and copies that may race go: no thread owns it.
unsafe impl Send for Slots {}
// SAFETY: as above.
unsafe impl Sync for Slots {}

impl Slots {
    fn stride(len: u64) -> Option<u64> {
        len.max(1).checked_next_multiple_of(LINE_PAIR as u64)
    }

    /// Bytes of a cell for values of `len` bytes: a multiple of two lines.
    pub(crate) fn size(len: u64) -> Option<u64> {
        let stride = Self::stride(len)?;
        stride.checked_mul(slots(usize::try_from(stride).ok()?))?.checked_add(DATA as u64)
    }

    /// The cell that begins at `at` in the region, for values of `len` bytes.
    ///
    /// # Panics
    ///
    /// If it is not inside the region: the caller has checked it.
    pub(crate) fn new(region: &Region, at: usize, len: usize) -> Self {
        let size = Self::size(len as u64).and_then(|size| size.checked_add(at as u64));
        assert!(at.is_multiple_of(LINE_PAIR) && size.is_some_and(|end| end <= region.len() as u64), "checked");
        let stride = len.max(1).next_multiple_of(LINE_PAIR);
        let publisher = Publisher::new(region, at + PUBLISHER, "writer");
        sync::enroll(region, at + VERSION, 8);
        (0..slots(stride) as usize).for_each(|slot| {
            sync::enroll(region, at + DATA + slot * stride, len.next_multiple_of(8));
        });
        // SAFETY: inside the region, whose first byte is not at address zero.
        let base = unsafe { NonNull::new_unchecked(region.as_ptr().add(at)) };
        Self { region: region.clone(), base, stride, mask: slots(stride) - 1, publisher }
    }

    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    #[inline(always)]
    pub(crate) fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    #[inline(always)]
    fn version_word(&self) -> &AtomicU64 {
        // SAFETY: inside the region (checked in `new`), aligned, mapped while `region` lives, and used for atomic accesses only.
        unsafe { sync::word64(self.base.add(VERSION)) }
    }

    /// How many values were written.
    #[inline(always)]
    pub(crate) fn version(&self) -> u64 {
        // Pairs with the Release of `write`: who sees a version sees its value, and can ask for it.
        self.version_word().load(Ordering::Acquire)
    }

    #[inline(always)]
    fn slot(&self, version: u64) -> *mut u8 {
        self.base.as_ptr().wrapping_add(DATA + (version & self.mask) as usize * self.stride)
    }

    /// Writes the value of `version` and publishes it. The version before it is the latest, and the caller the only writer.
    #[inline(always)]
    pub(super) fn write<T: Payload>(&self, version: u64, value: &T) {
        debug_assert!(size_of::<T>() <= self.stride);
        // Release: the version before this one was published before a byte of this one is written. Pairs with the Acquire fence in `read`: a reader that got such a byte sees
        // that version, and its own is `slots - 1` older then.
        fence(Ordering::Release);
        // SAFETY: a slot is as long as a value of `T`, whose length was checked against the object's type.
        unsafe { racing::write(self.slot(version), value) };
        // Release: who sees the version sees the value.
        self.version_word().store(version, Ordering::Release);
    }

    /// The latest value and its version, if there is one.
    ///
    /// # Errors
    ///
    /// [`RingError::Lapped`] if it was overtaken in a thousand attempts.
    #[inline(always)]
    pub(super) fn read<T: Payload>(&self) -> Result<Option<(u64, T)>, RingError> {
        debug_assert!(size_of::<T>() <= self.stride);
        let mut missed = 0;
        for _ in 0..ATTEMPTS {
            let version = self.version();
            if version == 0 {
                return Ok(None);
            }
            // SAFETY: as in `write`; every bit pattern is a `T`.
            let value = unsafe { racing::read(self.slot(version)) };
            // Acquire: the bytes were read before the version is looked at again. Pairs with the Release fence in `write`.
            fence(Ordering::Acquire);
            let now = self.version_word().load(Ordering::Relaxed);
            missed = now.wrapping_sub(version);
            // The one that is written next goes to slot `(now + 1) % slots`.
            if missed < self.mask {
                return Ok(Some((version, value)));
            }
        }
        Err(RingError::Lapped { missed })
    }
}
