//! The one file that chooses the atomics.
//!
//! Everything in shared memory is accessed through the types named here. A model checker swaps them in this file
//! and nowhere else: `--cfg ipc_model="loom"` or `"shuttle"` puts in the place of the words of rings, bells and roles those of `sync/model.rs`.
//! A checker's atomic is larger than eight bytes, so such words are not cast from memory but asked for by [`word64`] and [`word32`].
#![expect(unsafe_code, reason = "words of shared memory at places that the caller has checked")]

use std::ptr::NonNull;

pub use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(not(any(ipc_model = "loom", ipc_model = "shuttle")))]
pub use std::sync::atomic::{AtomicU32, AtomicU64, fence};

#[cfg(any(ipc_model = "loom", ipc_model = "shuttle"))]
pub mod model;
#[cfg(any(ipc_model = "loom", ipc_model = "shuttle"))]
pub use model::{AtomicU32, AtomicU64, fence};

#[cfg(any(ipc_model = "loom", ipc_model = "shuttle"))]
pub use model::PrivateBool;
/// A flag in this process's own memory by which its threads exclude each other: a model checker watches it as it does the words of shared memory.
#[cfg(not(any(ipc_model = "loom", ipc_model = "shuttle")))]
pub use std::sync::atomic::AtomicBool as PrivateBool;

#[cfg(not(any(ipc_model = "loom", ipc_model = "shuttle")))]
pub(crate) use crate::os::{futex_wait, futex_wake};
#[cfg(any(ipc_model = "loom", ipc_model = "shuttle"))]
pub(crate) use model::{futex_wait, futex_wake};

use crate::os;
use crate::segment::Region;

/// Whether a model checker runs this code.
pub const MODEL: bool = cfg!(any(ipc_model = "loom", ipc_model = "shuttle"));

/// The atomics of what no model covers: the segment's own tables, which change when a peer or an object comes or goes.
pub mod unmodelled {
    pub use std::sync::atomic::{AtomicU64, fence};
}

/// The 8-byte word of shared memory at `place`.
///
/// # Safety
///
/// `place` is a multiple of 8, valid for reads and writes of 8 bytes for as long as the reference is used, and accessed as an atomic word, or
/// through [`copy`](crate::copy), alone meanwhile.
#[inline(always)]
pub unsafe fn word64<'a>(place: NonNull<u8>) -> &'a AtomicU64 {
    #[cfg(any(ipc_model = "loom", ipc_model = "shuttle"))]
    // SAFETY: as the caller says.
    unsafe {
        model::word64(place)
    }
    #[cfg(not(any(ipc_model = "loom", ipc_model = "shuttle")))]
    // SAFETY: as the caller says; every bit pattern is a value, and writers elsewhere are what an atomic bears.
    unsafe {
        place.cast::<AtomicU64>().as_ref()
    }
}

/// The 4-byte word of shared memory at `place`.
///
/// # Safety
///
/// As for [`word64`], for 4 bytes.
#[inline(always)]
pub unsafe fn word32<'a>(place: NonNull<u8>) -> &'a AtomicU32 {
    #[cfg(any(ipc_model = "loom", ipc_model = "shuttle"))]
    // SAFETY: as the caller says.
    unsafe {
        model::word32(place)
    }
    #[cfg(not(any(ipc_model = "loom", ipc_model = "shuttle")))]
    // SAFETY: as in `word64`.
    unsafe {
        place.cast::<AtomicU32>().as_ref()
    }
}

/// Tells a model checker which part of a region holds words that it is to watch, and payload that lies among them. Nothing otherwise.
#[inline(always)]
pub fn enroll(region: &Region, at: usize, len: usize) {
    #[cfg(any(ipc_model = "loom", ipc_model = "shuttle"))]
    model::enroll(region, at, len);
    let _ = (region, at, len);
}

/// As [`enroll`], for statistics: words on which nothing depends that anybody does. A model checker leaves them out of what it explores.
#[inline(always)]
pub fn enroll_counters(region: &Region, at: usize, len: usize) {
    #[cfg(any(ipc_model = "loom", ipc_model = "shuttle"))]
    model::enroll_counters(region, at, len);
    let _ = (region, at, len);
}

/// Tells a model checker of a view of payload in place: `write` if it may be written through. Nothing otherwise.
#[inline(always)]
pub fn lend(place: *const u8, len: usize, write: bool) {
    #[cfg(any(ipc_model = "loom", ipc_model = "shuttle"))]
    model::lend(place, len, write);
    let _ = (place, len, write);
}

/// Whether a model says that the peer of these bits lives, or does not.
#[inline(always)]
pub(crate) fn modelled_life(peer: u64) -> Option<bool> {
    #[cfg(any(ipc_model = "loom", ipc_model = "shuttle"))]
    return model::life(peer);
    #[cfg(not(any(ipc_model = "loom", ipc_model = "shuttle")))]
    {
        let _ = peer;
        None
    }
}

/// Bytes in a cache line, as the format lays it out.
///
/// The format fixes it: both sides of a segment must agree, whatever processor each was compiled for. The value
/// stands in the header, and attaching to a segment made with another one is an error.
pub const CACHE_LINE: usize = 64;

/// Distance between two words that different processes write, so that they never share a line, nor a pair of lines
/// that a prefetcher fetches together.
pub const LINE_PAIR: usize = 2 * CACHE_LINE;

/// The publisher's half of an asymmetric fence: orders an earlier store before a later load of an announcement, at
/// no cost in instructions.
///
/// It holds only together with [`heavy_fence`] on the side of the process that sleeps, and only if this process had
/// [registered](register_for_heavy_fences) before. Where it did not, the sleeper knows (see
/// [`wait`](crate::wait)) and does not sleep for long without a look.
#[inline(always)]
pub fn light_fence() {
    #[cfg(any(ipc_model = "loom", ipc_model = "shuttle"))]
    model::light_fence();
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
}

/// The sleeper's half of an asymmetric fence: makes every other process that has
/// [registered](register_for_heavy_fences) execute a full memory barrier, and executes one here.
///
/// Costs one system call: 0.6 µs when the other cores are idle, 12 µs when they run a registered process
/// (measured on a virtual machine, where an inter-processor interrupt is dear). That is paid only on the way to
/// sleep, so that publishing needs no fence at all.
///
/// Returns whether the kernel did it; `false` means that only the local fence was executed.
pub fn heavy_fence() -> bool {
    fence(Ordering::SeqCst);
    if MODEL {
        return true;
    }
    let done = os::membarrier_global_expedited();
    fence(Ordering::SeqCst);
    done
}

/// Lets [`heavy_fence`] calls of other processes reach this process.
///
/// In a process with one thread this costs about 10 µs. In a process with several the kernel waits for a grace
/// period, 14 ms where it was measured, so it is then left out, unless `even_if_slow`: a publisher in such a process is
/// waited for with short naps instead (see [`wait`](crate::wait)). Long-running services with threads call this once
/// with `true` when they start.
///
/// Returns whether this process is now registered. Idempotent; a fork child inherits nothing and is asked again.
pub fn register_for_heavy_fences(even_if_slow: bool) -> bool {
    MODEL || os::membarrier_register(even_if_slow)
}
