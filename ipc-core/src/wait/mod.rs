//! Waiting for another process: spin, then yield, then sleep; and waking it without a cost while nobody sleeps.

mod bell;
mod strategy;

pub use bell::Bell;
use bell::Sleep;
pub use strategy::{Cancel, WaitStrategy};

use std::time::{Duration, Instant};

use crate::sync::{AtomicU64, MODEL, Ordering};

/// Nanoseconds since the Unix epoch by the machine's wall clock, as of its last tick, 1 to 10 ms ago: a fifth of the cost of a look at the clock itself.
pub fn coarse_time() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME_COARSE);
    now.map_or(0, |now| (now.tv_sec() as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec() as u64))
}

/// Nanoseconds since the machine was started, as of the clock's last tick: costs as little as [`coarse_time`], and does not jump.
pub fn coarse_uptime() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC_COARSE);
    now.map_or(0, |now| (now.tv_sec() as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec() as u64))
}

/// How long a sleeper sleeps before it looks whether its peer is dead and whether it was cancelled. Nothing is taken from
/// anybody when it passes.
pub const SLICE: Duration = Duration::from_millis(if MODEL { MODEL_SLICE } else { 100 });

/// No time passes under a model checker: a wake-up that comes late there is one that never comes.
const MODEL_SLICE: u64 = 1 << 40;

/// The first nap where no fence reaches the publisher: far longer than a store takes to leave a core.
const FIRST_NAP: Duration = Duration::from_micros(200);

/// How many pauses pass between two readings of the clock while spinning.
const PAUSES_PER_CLOCK: u64 = 256;

/// How a wait ended without what was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupted<E> {
    /// The deadline passed.
    TimedOut,
    /// It was [cancelled](Cancel).
    Cancelled,
    /// A look, or the question after the peer, gave an error.
    Failed(E),
}

/// One side's wait for the other.
#[derive(Debug)]
pub struct Wait<'a> {
    /// What the other side rings.
    pub bell: Bell<'a>,
    /// How to wait.
    pub strategy: WaitStrategy,
    /// When to give up.
    pub deadline: Option<Instant>,
    /// What else ends the wait.
    pub cancel: Option<&'a Cancel>,
    /// Non-zero while the process on the other side is [registered](crate::sync::register_for_heavy_fences) to execute barriers on
    /// request. Looked at before each sleep: another process may have taken over there.
    pub fences: &'a AtomicU64,
}

impl Wait<'_> {
    /// Looks until `look` returns something.
    ///
    /// `look` is called many times and has to be cheap. `gone` is called before each sleep: it says, without a system call, whether those who could end the
    /// wait have left and rung the bell for that; then `peer` is asked instead of sleeping. `peer` is called about every [`SLICE`], and once before the deadline or a cancellation ends
    /// the wait: it asks whether those who could end the wait still live. `slept` counts the sleeps.
    ///
    /// Lock-free, without a system call while it spins; a sleep costs two.
    ///
    /// # Errors
    ///
    /// [`Interrupted`], whichever comes first.
    pub fn until<T, E>(
        &self,
        mut look: impl FnMut() -> Result<Option<T>, E>,
        mut gone: impl FnMut() -> bool,
        mut peer: impl FnMut() -> Result<(), E>,
        slept: impl FnMut(),
    ) -> Result<T, Interrupted<E>> {
        let registered = |_: &mut ()| self.fences.load(Ordering::Relaxed) != 0;
        self.until_announced(&mut (), |_| look(), registered, |_| gone(), |_| peer(), slept)
    }

    /// As [`until`](Self::until), for who waits for several publishers: `announce` is called before each sleep, and before the barrier that the look after it relies on.
    /// It stores whatever else tells the publishers that they have to ring, and returns whether all of them are registered; [`fences`](Self::fences) is not looked at. `state` is
    /// what the calls work on.
    ///
    /// # Errors
    ///
    /// As [`until`](Self::until).
    pub fn until_announced<S: ?Sized, T, E>(
        &self,
        state: &mut S,
        mut look: impl FnMut(&mut S) -> Result<Option<T>, E>,
        mut announce: impl FnMut(&mut S) -> bool,
        mut gone: impl FnMut(&mut S) -> bool,
        mut peer: impl FnMut(&mut S) -> Result<(), E>,
        mut slept: impl FnMut(),
    ) -> Result<T, Interrupted<E>> {
        let mut next_question: Option<Instant> = None;
        let mut nap = FIRST_NAP;
        let mut looks: u64 = 0;
        let looks_per_clock = (PAUSES_PER_CLOCK / u64::from(self.strategy.pauses()).max(1)).max(1);
        loop {
            if let Some(found) = look(state).map_err(Interrupted::Failed)? {
                return Ok(found);
            }
            looks += 1;
            let sleeps = match self.strategy.after(looks) {
                strategy::Step::Spin => {
                    // One when empty, unless the user says otherwise: sixteen cost four times the latency where it was measured.
                    for _ in 0..self.strategy.pauses() {
                        std::hint::spin_loop();
                    }
                    false
                }
                strategy::Step::Yield => {
                    std::thread::yield_now();
                    false
                }
                strategy::Step::Sleep => true,
            };
            if !sleeps && !looks.is_multiple_of(looks_per_clock) {
                continue;
            }
            let now = Instant::now();
            if next_question.is_some_and(|at| now >= at) || self.is_over(now) {
                peer(state).map_err(Interrupted::Failed)?;
            }
            if next_question.is_none_or(|at| now >= at) {
                next_question = Some(now + SLICE);
            }
            if self.cancel.is_some_and(Cancel::is_cancelled) {
                return Err(Interrupted::Cancelled);
            }
            if self.deadline.is_some_and(|deadline| now >= deadline) {
                // Last look: what came in time is not turned away.
                return look(state).map_err(Interrupted::Failed)?.ok_or(Interrupted::TimedOut);
            }
            if sleeps {
                let mut longest = SLICE;
                if let Some(deadline) = self.deadline {
                    longest = longest.min(deadline.saturating_duration_since(now));
                }
                let mut found = None;
                let registered = announce(state);
                let outcome = self.bell.sleep(registered, nap, longest, || {
                    found = look(state).transpose();
                    // Who left before the announcement did not ring.
                    found.is_some() || gone(state)
                });
                if outcome == Sleep::Slept {
                    slept();
                }
                // If for something that a look does not find: the other side may have left.
                next_question = Some(now);
                // A publisher that no fence reaches is looked for again soon, then less and less often.
                nap = (nap * 4).min(SLICE);
                if let Some(found) = found {
                    return found.map_err(Interrupted::Failed);
                }
            }
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline) || self.cancel.is_some_and(Cancel::is_cancelled)
    }
}

// Words of their own, which no checker watches.
#[cfg(test)]
#[cfg(not(any(ipc_model = "loom", ipc_model = "shuttle")))]
mod tests {
    use super::*;
    use crate::sync::AtomicU32;
    use std::convert::Infallible;
    use std::sync::atomic::AtomicBool;

    fn strategies() -> [WaitStrategy; 5] {
        let default = WaitStrategy::default();
        [WaitStrategy::spin(), WaitStrategy::spin_then_yield(), default, WaitStrategy::sleep(), WaitStrategy::bulk()]
    }

    static UNREGISTERED: AtomicU64 = AtomicU64::new(0);

    fn wait<'a>(word: &'a AtomicU32, strategy: WaitStrategy) -> Wait<'a> {
        Wait { bell: Bell::new(word), strategy, deadline: None, cancel: None, fences: &UNREGISTERED }
    }

    #[test]
    fn a_deadline_ends_every_strategy() {
        let word = AtomicU32::new(0);
        for strategy in strategies() {
            let wait = Wait { deadline: Some(Instant::now() + Duration::from_millis(5)), ..wait(&word, strategy) };
            let mut questions = 0;
            let result: Result<(), Interrupted<Infallible>> = wait.until(
                || Ok(None),
                || false,
                || {
                    questions += 1;
                    Ok(())
                },
                || {},
            );
            assert_eq!(result, Err(Interrupted::TimedOut));
            assert!(questions > 0, "asked after the peer before giving up");
            assert_eq!(word.load(Ordering::Relaxed), 0, "no announcement is left");
        }
    }

    #[test]
    fn cancelling_ends_every_strategy() {
        let word = AtomicU32::new(0);
        let cancel = Cancel::new();
        cancel.cancel();
        for strategy in strategies() {
            let wait = Wait { cancel: Some(&cancel), ..wait(&word, strategy) };
            let result: Result<(), Interrupted<Infallible>> = wait.until(|| Ok(None), || false, || Ok(()), || {});
            assert_eq!(result, Err(Interrupted::Cancelled));
        }
    }

    #[test]
    fn a_dead_peer_ends_a_sleep() {
        let word = AtomicU32::new(0);
        let result: Result<(), _> =
            wait(&word, WaitStrategy::sleep()).until(|| Ok(None), || false, || Err("dead"), || {});
        assert_eq!(result, Err(Interrupted::Failed("dead")));
    }

    #[test]
    fn a_ring_ends_a_sleep() {
        let word = AtomicU32::new(0);
        let published = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Not before the other side has announced itself: the sleep is what is tested.
                while word.load(Ordering::Relaxed) == 0 {
                    std::thread::yield_now();
                }
                published.store(true, Ordering::Release);
                std::sync::atomic::fence(Ordering::SeqCst);
                assert!(Bell::new(&word).ring());
            });
            let look = || Ok::<_, Infallible>(published.load(Ordering::Acquire).then_some(()));
            wait(&word, WaitStrategy::sleep()).until(look, || false, || Ok(()), || {}).unwrap();
        });
        assert!(!Bell::new(&word).ring(), "nobody sleeps any more");
    }
}
