//! The word on which one side sleeps and which the other side rings.

use std::time::Duration;

use crate::sync::{AtomicU32, Ordering, fence, futex_wait, futex_wake, heavy_fence};

const NOBODY: u32 = 0;
const SLEEPING: u32 = 1;

/// How often an announcement is tried against others, so that a hostile peer cannot keep it for ever.
const ATTEMPTS: usize = 1000;

/// A word in shared memory: its lowest bit is set while somebody sleeps or is about to.
///
/// One side sleeps, the other rings. Ringing costs one load from a line that nobody writes while nobody sleeps. [Several](Self::of_many) may sleep on one word.
///
/// # Why no wake-up is lost
///
/// The sleeper writes its announcement, then looks for what was published. The publisher publishes, then looks for an
/// announcement. If neither saw the other, each load went before the other side's store in every order that both agree on, which
/// a full fence between store and load on *both* sides forbids (the store-buffering litmus test). The sleeper's is
/// [`heavy_fence`], which makes every core that runs a registered process execute one at that moment; so the
/// publisher's is [`light_fence`](crate::sync::light_fence), an order to the compiler alone: either its store was complete before the sleeper's barrier reached its
/// core, and the sleeper's look finds it, or its load comes after, and finds the announcement. A core that does not run the publisher
/// went through a full barrier when it switched away from it.
///
/// Between announcement and sleep the kernel compares the word again: a ring that came in between has set it to 0, and the sleep does not
/// begin.
///
/// Where the publisher's process is not [registered](crate::sync::register_for_heavy_fences), the sleeper's first sleeps are short naps of 200 µs, then longer ones, up to
/// [`SLICE`](super::SLICE): a store leaves its core within nanoseconds and is found at the next look. A publisher that dies between its store and its
/// ring costs the sleeper at most a slice.
///
/// # Several sleepers
///
/// The word counts then how often it was cleared, above its lowest bit, and nobody but a publisher clears it. A sleeper sets the bit, remembers the whole word, and has the kernel compare that. So if a
/// publisher cleared the announcement before the sleep began, it does not begin, whoever announced himself since: with a bare bit, a second sleeper's announcement would have let the first one
/// fall asleep behind its ring. If the sleep had begun, the call behind the clearing ends it. A sleeper that finds something after it announced itself leaves the bit, which may be
/// another's: that costs the next publisher a call that may wake nobody.
#[derive(Debug, Clone, Copy)]
pub struct Bell<'a> {
    word: &'a AtomicU32,
    /// Whether others may sleep here as well.
    many: bool,
    /// Whether who rings executes a full fence before.
    full: bool,
}

/// How an attempt to sleep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sleep {
    /// The look after the announcement found something.
    NotNeeded,
    /// It slept, and was woken, or time passed, or a signal came.
    Slept,
}

impl<'a> Bell<'a> {
    /// The bell that `word` stands for, on which one side sleeps.
    pub fn new(word: &'a AtomicU32) -> Self {
        Self { word, many: false, full: false }
    }

    /// The bell that `word` stands for, on which any number of processes sleep: a ring wakes all of them.
    pub fn of_many(word: &'a AtomicU32) -> Self {
        Self { word, many: true, full: false }
    }

    /// The same bell, where whoever rings calls [`ring_after_full_fence`](Self::ring_after_full_fence): for what is rung so seldom that a fence does not matter. Falling asleep costs no
    /// barrier on other cores then, and whether the publisher is registered does not matter.
    pub fn with_full_fences(self) -> Self {
        Self { full: true, ..self }
    }

    /// As [`ring`](Self::ring), with the fence in it.
    pub fn ring_after_full_fence(&self) -> bool {
        // Between the publishing store and the look at the announcement; pairs with the one in `sleep`: the argument above, with both fences executed where they stand.
        fence(Ordering::SeqCst);
        self.ring()
    }

    /// Wakes the sleeper, if there is one; returns whether there was. Call it after publishing and a [`light_fence`](crate::sync::light_fence).
    #[inline(always)]
    pub fn ring(&self) -> bool {
        if !self.is_awaited() {
            return false;
        }
        self.wake();
        true
    }

    /// Whether somebody sleeps, or is about to: the first half of [`ring`](Self::ring), for those who do more than to wake.
    #[inline(always)]
    pub fn is_awaited(&self) -> bool {
        // Ordered after the publishing store by the caller's fence; pairs with `heavy_fence` in `sleep`.
        self.word.load(Ordering::Relaxed) & SLEEPING != 0
    }

    /// The second half of [`ring`](Self::ring): a system call.
    #[cold]
    pub fn wake(&self) {
        // First the word, so that one who is only about to sleep does not; then the call, for one who does. Carries no data: the
        // sleeper looks at what was published, which pairs by itself.
        if self.many {
            // While the bit is set no sleeper changes the word: to the next number, without it. Not by a store: another publisher may have cleared it, and a sleeper
            // announced itself since. The call below is still to be made then, as that publisher may die before it makes its own.
            let word = self.word.load(Ordering::Relaxed) | SLEEPING;
            let _ = self.word.compare_exchange(word, word.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed);
        } else {
            self.word.store(NOBODY, Ordering::Relaxed);
        }
        futex_wake(self.word);
    }

    /// Announces this side, looks once more, and sleeps for at most `longest`; where no fence reaches the publisher, for at most `nap`.
    pub(super) fn sleep(
        &self,
        registered: bool,
        nap: Duration,
        longest: Duration,
        look: impl FnOnce() -> bool,
    ) -> Sleep {
        let announced = self.announce();
        let fenced = if self.full {
            fence(Ordering::SeqCst);
            true
        } else {
            heavy_fence()
        };
        let registered = registered || self.full;
        if look() {
            self.take_back();
            return Sleep::NotNeeded;
        }
        let limit = if fenced && registered { longest } else { longest.min(nap) };
        if futex_wait(self.word, announced, limit).is_err() {
            // The word is gone from under us (a truncated file), or futexes are forbidden: pass the time in another way.
            std::thread::sleep(limit);
        }
        self.take_back();
        Sleep::Slept
    }

    /// Announces this side; returns what the word holds then.
    fn announce(&self) -> u32 {
        if !self.many {
            self.word.store(SLEEPING, Ordering::Relaxed);
            return SLEEPING;
        }
        let mut word = self.word.load(Ordering::Relaxed);
        // Fails only if another announces itself or a publisher rings meanwhile. Written even if the bit is set: the fences of the argument order a store.
        for _ in 0..ATTEMPTS {
            match self.word.compare_exchange(word, word | SLEEPING, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        word | SLEEPING
    }

    /// After a sleep, or instead of one. Of several sleepers' announcements nobody can say whose it is.
    fn take_back(&self) {
        if !self.many {
            self.word.store(NOBODY, Ordering::Relaxed);
        }
    }
}
