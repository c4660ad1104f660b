//! The word on which one side sleeps and which the other side rings.

use std::time::Duration;

use crate::sync::{AtomicU32, Ordering, futex_wait, futex_wake, heavy_fence};

const NOBODY: u32 = 0;
const SLEEPING: u32 = 1;

/// A word in shared memory: 1 while somebody sleeps or is about to, 0 otherwise.
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
/// The argument speaks of one sleeper and one publication, so it holds for each of several if nobody but a publisher takes an announcement back, and so none of them does: one that
/// found something after it had announced itself leaves the word as it is, which costs the next publisher a call that may wake nobody. A publisher that clears the word wakes all whose
/// announcements it can have cleared: an announcement before the clearing belongs to one who is asleep by then, and is woken by the call behind it, or to one whose sleep the kernel does not let begin, as
/// the word is not 1 any more. An announcement behind the clearing stands.
#[derive(Debug, Clone, Copy)]
pub struct Bell<'a> {
    word: &'a AtomicU32,
    /// Whether others may sleep here as well.
    many: bool,
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
        Self { word, many: false }
    }

    /// The bell that `word` stands for, on which any number of processes sleep: a ring wakes all of them.
    pub fn of_many(word: &'a AtomicU32) -> Self {
        Self { word, many: true }
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
        self.word.load(Ordering::Relaxed) != NOBODY
    }

    /// The second half of [`ring`](Self::ring): a system call.
    #[cold]
    pub fn wake(&self) {
        // First the word, so that one who is only about to sleep does not; then the call, for one who does. Carries no data: the
        // sleeper looks at what was published, which pairs by itself.
        self.word.store(NOBODY, Ordering::Relaxed);
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
        self.word.store(SLEEPING, Ordering::Relaxed);
        let fenced = heavy_fence();
        if look() {
            self.take_back();
            return Sleep::NotNeeded;
        }
        let limit = if fenced && registered { longest } else { longest.min(nap) };
        if futex_wait(self.word, SLEEPING, limit).is_err() {
            // The word is gone from under us (a truncated file), or futexes are forbidden: pass the time in another way.
            std::thread::sleep(limit);
        }
        self.take_back();
        Sleep::Slept
    }

    /// After a sleep, or instead of one. Of several sleepers' announcements nobody can say whose it is.
    fn take_back(&self) {
        if !self.many {
            self.word.store(NOBODY, Ordering::Relaxed);
        }
    }
}
