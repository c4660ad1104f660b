//! An allocator that refuses what no length that was checked would ask for.
#![expect(unsafe_code, reason = "a global allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, with a [limit] for a single allocation.
#[derive(Debug)]
pub struct Limited;

static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);
static LARGEST: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Limited = Limited;

/// From now on allocations of more than `bytes` fail, in this process.
pub fn limit(bytes: usize) {
    LIMIT.store(bytes, Ordering::Relaxed);
    LARGEST.store(0, Ordering::Relaxed);
}

/// The largest allocation that was refused since [`limit`] was called, if there was one. Forgets it.
pub fn refused() -> Option<usize> {
    Some(LARGEST.swap(0, Ordering::Relaxed)).filter(|bytes| *bytes > 0)
}

fn permits(bytes: usize) -> bool {
    if bytes <= LIMIT.load(Ordering::Relaxed) {
        return true;
    }
    LARGEST.fetch_max(bytes, Ordering::Relaxed);
    false
}

// SAFETY: memory is the system allocator's, or there is none; what is passed on is passed on as it came.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !permits(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller says.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !permits(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller says.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !permits(size) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller says; the block came from the system's allocator, as all do.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller says; the block came from the system's allocator, as all do.
        unsafe { System.dealloc(block, layout) }
    }
}
