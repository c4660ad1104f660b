//! The one file that chooses the atomics.
//!
//! Everything in shared memory is accessed through the types named here. A model checker swaps them in this file
//! and nowhere else.

pub use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

use crate::os;

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
    os::membarrier_register(even_if_slow)
}
