//! The backend in earnest: a mapping, flushed where its file can be.
#![expect(unsafe_code, reason = "copies to and from places of a region whose length is checked")]

use ipc_core::copy::racing;
use ipc_core::sync::{self, MODEL};
use ipc_core::{DurableSegment, Error, Region, copy};

use super::backend::{Backend, Purpose};

/// The lasting part of a journal in its segment.
#[derive(Debug)]
pub(super) struct Mapped {
    region: Region,
    /// Where it begins in the region: at a page of the file.
    at: usize,
    len: usize,
    /// `None` where nothing can be made durable.
    durable: Option<DurableSegment>,
}

/// Pages are flushed whole: what lasts begins at one. Models have small ones.
pub(super) const PAGE: u64 = if MODEL { 128 } else { 4096 };

impl Mapped {
    /// The part of the region from the first page on; `len` is cut to what there is.
    pub(super) fn new(region: Region, len: u64, durable: Option<DurableSegment>) -> Self {
        let at = (PAGE - region.offset() % PAGE) % PAGE;
        let at = (at as usize).min(region.len());
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(region.len() - at);
        Self { region, at, len, durable }
    }

    /// Tells a model checker where the records are.
    pub(super) fn enroll(&self, at: u64, len: u64) {
        sync::enroll(&self.region, self.at + at as usize, len as usize);
    }

    /// Where what comes behind it begins in the region.
    pub(super) fn end(&self) -> usize {
        self.at + self.len
    }

    /// The same bytes, and no more than `len` of them.
    pub(super) fn shortened(self, len: u64) -> Self {
        Self { len: self.len.min(usize::try_from(len).unwrap_or(usize::MAX)), ..self }
    }

    /// Makes every page of it dirty without changing it, for the first flush to write them all: blocks that were only allocated would be
    /// marked as written at the first flush of each later on, which costs a transaction of the file system every time.
    pub(super) fn dirty(&self) {
        for at in (0..self.len).step_by(PAGE as usize) {
            self.region.u64_at(self.at + at).store(0, ipc_core::sync::Ordering::Relaxed);
        }
    }

    pub(super) fn keep_pages_single(&self) {
        if let Some(durable) = &self.durable {
            durable.keep_pages_single(self.region.offset() + self.at as u64, self.len as u64);
        }
    }

    fn checked(&self, at: u64, len: usize) -> *mut u8 {
        let inside = at.checked_add(len as u64).is_some_and(|end| end <= self.len as u64);
        assert!(inside, "{len} bytes at {at} of {}", self.len);
        self.region.as_ptr().wrapping_add(self.at + at as usize)
    }

    /// Has the kernel make pages ready to be written.
    pub(super) fn prefault(&self, at: u64, len: u64) -> Result<(), Error> {
        let at = at.min(self.len as u64);
        self.region.prefault(self.at + at as usize, len.min(self.len as u64 - at) as usize)
    }

    /// Asks for lines that are to be written soon: a place that is not inside is ignored.
    #[inline(always)]
    pub(super) fn prefetch(&self, at: u64, len: u64) {
        copy::prefetch_to_write(self.region.as_ptr().wrapping_add(self.at + at as usize), len as usize);
    }

    /// The bytes in place.
    pub(super) fn place(&self, at: u64, len: usize) -> *mut u8 {
        self.checked(at, len)
    }
}

impl Backend for Mapped {
    fn len(&self) -> u64 {
        self.len as u64
    }

    #[inline]
    fn read(&self, at: u64, bytes: &mut [u8]) {
        let source = self.checked(at, bytes.len());
        // SAFETY: inside the region, which is mapped while it lives; private memory does not overlap it.
        unsafe { racing::copy(source, bytes.as_mut_ptr(), bytes.len()) }
    }

    #[inline]
    fn write(&self, at: u64, bytes: &[u8]) {
        let target = self.checked(at, bytes.len());
        // SAFETY: as above.
        unsafe { racing::copy(bytes.as_ptr(), target, bytes.len()) }
    }

    fn flush(&self, at: u64, len: u64, _: Purpose) -> Result<(), Error> {
        match &self.durable {
            Some(durable) => durable.flush_range(self.region.offset() + self.at as u64 + at, len),
            None => {
                // A model's medium: what is flushed has to be there, for the one who flushes.
                sync::lend(self.checked(at, len as usize), len as usize, false);
                Ok(())
            }
        }
    }
}
