//! The row of slots, each with a word: where a position lies in it, and the steps by which a word changes.
#![expect(unsafe_code, reason = "words of slots at computed places in a checked region")]

use std::ptr::NonNull;

use ipc_core::Region;
use ipc_core::sync::{self, AtomicU64, Ordering};

use super::word::{Claim, Format, Found, MAX_POSITION, State};
use crate::error::RingError;

/// A place in the order, and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Slots before this one since the ring was made.
    pub(super) position: u64,
    /// Which slot it is.
    pub(super) index: u64,
    lap: u64,
}

/// The slots of one ring. Its owner holds the region.
#[derive(Debug, Clone)]
pub(super) struct Track {
    /// The first slot's word.
    pub(super) words: NonNull<u8>,
    /// From one word to the next.
    pub(super) stride: usize,
    /// How many slots there are.
    pub(super) slots: u64,
    format: Format,
}

// SAFETY: a pointer into shared memory, which no thread owns, and plain numbers.
unsafe impl Send for Track {}
// SAFETY: as above; the words are only accessed as atomics.
unsafe impl Sync for Track {}

impl Track {
    /// `slots` words at distances of `stride` from `at` on, for claims of up to `longest` slots.
    ///
    /// # Panics
    ///
    /// If they are not inside the region, or not aligned: the geometry was checked.
    pub(super) fn new(region: &Region, at: u64, stride: usize, slots: u64, longest: u64) -> Self {
        let end = slots.checked_mul(stride as u64).and_then(|bytes| bytes.checked_add(at));
        let inside = end.is_some_and(|end| end <= region.len() as u64);
        let aligned = at.is_multiple_of(8) && stride.is_multiple_of(8) && stride > 0;
        assert!(slots > 0 && inside && aligned, "the geometry was checked");
        sync::enroll(region, at as usize, slots as usize * stride);
        // SAFETY: inside the region, whose first byte is not at address zero.
        let words = unsafe { NonNull::new_unchecked(region.as_ptr().add(at as usize)) };
        Self { words, stride, slots, format: Format::new(longest) }
    }

    /// Slots of the longest claim.
    pub(super) fn longest(&self) -> u64 {
        self.format.longest()
    }

    /// Where a position lies. Divides: not for the common path.
    pub(super) fn at(&self, position: u64) -> Cursor {
        Cursor { position, index: position % self.slots, lap: position / self.slots }
    }

    /// Behind a claim of `len` slots, at most all there are.
    #[inline(always)]
    pub(super) fn behind(&self, at: Cursor, len: u64) -> Cursor {
        debug_assert!(len <= self.slots);
        let index = at.index + len;
        let wraps = index >= self.slots;
        Cursor {
            position: at.position + len,
            index: if wraps { index - self.slots } else { index },
            lap: at.lap + u64::from(wraps),
        }
    }

    /// The slot so many slots behind a cursor: fewer than there are.
    #[inline(always)]
    pub(super) fn slot(&self, at: Cursor, ahead: u64) -> usize {
        let index = at.index + ahead;
        (if index >= self.slots { index - self.slots } else { index }) as usize
    }

    #[inline(always)]
    fn word(&self, at: Cursor) -> &AtomicU64 {
        debug_assert!(at.index < self.slots);
        // SAFETY: cursors are made by `at` and `behind`, so the index is below `slots`, and the region holds as many (checked in `new`), aligned, for as long as the owner of
        // this value holds it; only accessed as an atomic.
        unsafe { sync::word64(self.words.add(at.index as usize * self.stride)) }
    }

    /// Looks at the word where a claim begins.
    #[inline(always)]
    pub(super) fn look(&self, at: Cursor) -> Found {
        // Pairs with the Release of `claim` and `exchange`: who sees a message committed sees its bytes; who sees a claim, that its claimer has its place in the table, and
        // the claims before it.
        self.format.decode(self.word(at).load(Ordering::Acquire), at.lap)
    }

    /// Claims the slots from one on that [`look`](Self::look) found free, with the word found. Names the claimer in the step that claims.
    #[inline(always)]
    pub(super) fn claim(&self, at: Cursor, found: u64, claim: Claim) -> bool {
        let word = self.format.encode(claim, at.lap);
        // AcqRel: a successor's claim, which is found through ours, comes after it.
        self.word(at).compare_exchange(found, word, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Changes a claim's state, if it is still what it was.
    #[inline(always)]
    pub(super) fn exchange(&self, at: Cursor, from: Claim, state: State) -> bool {
        let [from, to] = [from, Claim { state, ..from }].map(|claim| self.format.encode(claim, at.lap));
        // Release: the message's bytes before "committed". Pairs with the Acquire of `look`.
        self.word(at).compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// That what a word says can be: no longer than claims get, and not beyond what positions count.
    #[inline(always)]
    pub(super) fn check(&self, at: Cursor, claim: Claim) -> Result<(), RingError> {
        let longest = self.format.longest();
        if claim.len > longest || claim.len > self.slots {
            return Err(RingError::Corrupted { what: "the length of a claim", found: claim.len, limit: longest });
        }
        if at.position > MAX_POSITION {
            return Err(RingError::Corrupted { what: "a position", found: at.position, limit: MAX_POSITION });
        }
        Ok(())
    }
}
