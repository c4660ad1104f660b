//! The clock, and what reading it costs.

use std::time::Instant;

/// Nanoseconds of the clock that all processes of the machine share.
pub(crate) fn monotonic() -> u64 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
        .map(|now| now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
        .unwrap_or(0)
}

/// What one reading costs, in nanoseconds: the middle one of many.
pub(crate) fn cost() -> u64 {
    let mut costs: Vec<u64> = (0..10_001)
        .map(|_| {
            let before = Instant::now();
            before.elapsed().as_nanos() as u64
        })
        .collect();
    costs.sort_unstable();
    costs[costs.len() / 2]
}
