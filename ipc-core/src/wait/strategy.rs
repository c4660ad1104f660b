//! How to wait, as a value.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How to wait: how many looks to spin for, how many to yield for, and whether to sleep then.
///
/// The [default](Self::default) spins for a short time, about 50 µs, then sleeps: a wake-up across cores costs about 40 µs, so who waits less than that should
/// not have slept, and who waits much longer costs nothing. On a machine whose cores are all busy, prefer [`sleep`](Self::sleep).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitStrategy {
    spins: u64,
    yields: u64,
    sleeps: bool,
    pauses: u32,
}

/// What to do after a look that found nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Spin,
    Yield,
    Sleep,
}

impl Default for WaitStrategy {
    fn default() -> Self {
        Self { spins: 1500, yields: 4, sleeps: true, pauses: 1 }
    }
}

impl WaitStrategy {
    /// Never lets go of the core: the lowest latency, at the price of a core for each waiter.
    pub const fn spin() -> Self {
        Self { spins: u64::MAX, yields: 0, sleeps: false, pauses: 1 }
    }

    /// Spins for a short time, then offers the core to others at each look: for more waiters than cores, without system calls to
    /// wake them.
    pub const fn spin_then_yield() -> Self {
        Self { spins: 1500, yields: u64::MAX, sleeps: false, pauses: 1 }
    }

    /// Sleeps at once: the least use of the processor, about 40 µs of latency.
    pub const fn sleep() -> Self {
        Self { spins: 0, yields: 0, sleeps: true, pauses: 1 }
    }

    /// Spins for `spins` looks, yields for `yields` looks, then sleeps. A look costs some 25 ns.
    pub const fn spin_then_sleep(spins: u64, yields: u64) -> Self {
        Self { spins, yields, sleeps: true, pauses: 1 }
    }

    /// For streams in bulk: spins for about a millisecond, but looks only every 10 µs or so, then sleeps.
    ///
    /// A consumer that follows its producer line by line slows both: the lines go straight from one core's cache to the other's. Where
    /// it was measured, letting the producer get ahead moved 4 KiB records several times faster. Not for latency.
    pub const fn bulk() -> Self {
        Self::spin_then_sleep(100, 0).looking_every(400)
    }

    /// Has a spinning wait pause `pauses` times between two looks: once, unless said otherwise. A pause takes about 25 ns.
    #[must_use]
    pub const fn looking_every(self, pauses: u32) -> Self {
        Self { pauses, ..self }
    }

    /// Pauses between two looks.
    pub(super) const fn pauses(&self) -> u32 {
        self.pauses
    }

    #[inline]
    pub(super) fn after(&self, looks: u64) -> Step {
        if looks <= self.spins {
            Step::Spin
        } else if self.sleeps && looks - self.spins > self.yields {
            Step::Sleep
        } else {
            Step::Yield
        }
    }
}

/// A flag that ends waits, from another thread or a signal handler: the waiting call returns an error within a tenth of a second,
/// at once if a signal interrupts its sleep.
///
/// Made [from an `Arc<AtomicBool>`](From), it fits what signal libraries set.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends all waits that look at this flag, now and from now on.
    pub fn cancel(&self) {
        // Carries no data with it.
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is set.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl From<Arc<AtomicBool>> for Cancel {
    fn from(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_of_each_strategy() {
        assert_eq!(WaitStrategy::spin().after(u64::MAX), Step::Spin);
        assert_eq!(WaitStrategy::sleep().after(1), Step::Sleep);
        assert_eq!(WaitStrategy::spin_then_yield().after(1500), Step::Spin);
        assert_eq!(WaitStrategy::spin_then_yield().after(u64::MAX), Step::Yield);
        let mixed = WaitStrategy::spin_then_sleep(2, 3);
        let steps: Vec<_> = (1..8).map(|looks| mixed.after(looks)).collect();
        use Step::{Sleep, Spin, Yield};
        assert_eq!(steps, [Spin, Spin, Yield, Yield, Yield, Sleep, Sleep]);
    }
}
