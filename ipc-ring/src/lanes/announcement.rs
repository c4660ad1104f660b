//! Which lanes have something, for a consumer that does not look at them.
#![expect(unsafe_code, reason = "words at computed places of a region whose length was checked once")]

use std::ptr::NonNull;

use ipc_core::Region;
use ipc_core::sync::{self, AtomicU64, LINE_PAIR, Ordering, fence};

/// Lanes that one word announces.
const PER_WORD: usize = 64;

/// A bit for each lane, and a bit for each word of those: set by a lane's producer when its consumer does not look there, cleared by the consumer that takes note.
///
/// # Why nothing is left lying
///
/// A lane's **watch word** is 0 while the consumer looks at the lane in turn: then its producer announces nothing, and publishing costs a load of a line that
/// nobody writes. A consumer that stops looking stores 1, executes a [`heavy_fence`](ipc_core::sync::heavy_fence), and looks once more; a producer publishes, executes a
/// [`light_fence`](ipc_core::sync::light_fence), and looks at the word. By the argument at [`Bell`](ipc_core::wait::Bell) one of the two finds what the other did: if it is the producer, it stores
/// 0 in the watch word and then sets its bits here.
///
/// The 0 may come late, when the consumer has looked, taken what was there and stored another 1 meanwhile; then the lane is not looked at, and its producer does not know. But the
/// bits that follow the 0 are not yet set then, or not yet taken: had the consumer taken them before it stored that 1, it would have seen the 0 before (the bits are
/// set with Release and taken with Acquire), and its 1 would have come later. So the consumer takes the bits later, and looks.
///
/// A producer that dies between publishing and setting its bits leaves a lane that nobody announces: the consumer looks at all lanes
/// every [`SLICE`](ipc_core::wait::SLICE) that it waits, and now and then when it does not. A producer that comes announces its lane in any case.
///
/// After its bits a producer executes a full fence, and looks at the consumer's bell; a consumer sets the bell, executes one, and looks at the bits: the bell's argument again, here with a full
/// fence on both sides, as an announcement is rare.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Announcements {
    /// The word that has a bit for each other word; those follow, each on a pair of lines.
    base: NonNull<u8>,
    words: usize,
}

// SAFETY: a pointer into a region that the owner of this value holds, used for atomic accesses only: no thread owns it.
unsafe impl Send for Announcements {}
// SAFETY: as above.
unsafe impl Sync for Announcements {}

impl Announcements {
    /// Most lanes for which there is a bit.
    pub(crate) const MOST: usize = PER_WORD * PER_WORD;

    /// Bytes that the words take.
    pub(crate) const fn bytes(lanes: usize) -> usize {
        (1 + lanes.div_ceil(PER_WORD)) * LINE_PAIR
    }

    /// The words for so many lanes, at `at`. The region has to be held as long as this is used.
    ///
    /// # Panics
    ///
    /// If the region is too short: the ring's geometry was checked.
    pub(crate) fn new(region: &Region, at: usize, lanes: usize) -> Self {
        let end = at.checked_add(Self::bytes(lanes));
        assert!(lanes <= Self::MOST && end.is_some_and(|end| end <= region.len()), "the geometry was checked");
        (at..at + Self::bytes(lanes)).step_by(LINE_PAIR).for_each(|line| sync::enroll(region, line, 8));
        // SAFETY: inside the region, as just asserted.
        let base = unsafe { NonNull::new_unchecked(region.as_ptr().add(at)) };
        Self { base, words: lanes.div_ceil(PER_WORD) }
    }

    fn summary(&self) -> &AtomicU64 {
        // SAFETY: the first of `1 + words` pairs of lines in the region (checked in `new`); accessed as atomics only.
        unsafe { sync::word64(self.base) }
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        debug_assert!(index < self.words);
        // SAFETY: as above, one of those behind; callers keep `index` below `words`.
        unsafe { sync::word64(self.base.add((1 + index) * LINE_PAIR)) }
    }

    /// Whether any lane is announced. One load.
    #[inline(always)]
    pub(crate) fn any(&self) -> bool {
        // Only whether `take` is worth its exchanges: pairs with nothing. Before a sleep the bell's fence stands before it.
        self.summary().load(Ordering::Relaxed) != 0
    }

    /// Takes note of all lanes that are announced: `each` gets every one once, and what was published there before is seen. What a hostile peer announces may be no lane.
    pub(crate) fn take(&self, mut each: impl FnMut(usize)) {
        // Acquire: pairs with the Release in `announce`, so that the lane's bit is seen.
        let mut announced = self.summary().swap(0, Ordering::Acquire);
        while announced != 0 {
            let index = announced.trailing_zeros() as usize;
            announced &= announced - 1;
            if index >= self.words {
                continue;
            }
            // Acquire: what was published before the bit was set is seen; and the watch word's 0: see above.
            let mut lanes = self.word(index).swap(0, Ordering::Acquire);
            while lanes != 0 {
                each(index * PER_WORD + lanes.trailing_zeros() as usize);
                lanes &= lanes - 1;
            }
        }
    }
}

/// One lane's part in [`Announcements`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Announcement {
    announcements: Announcements,
    lane: usize,
}

impl Announcement {
    /// # Panics
    ///
    /// If there is no such lane.
    pub(crate) fn new(announcements: Announcements, lane: usize) -> Self {
        assert!(lane / PER_WORD < announcements.words, "one of the lanes");
        Self { announcements, lane }
    }

    /// Announces the lane: what was published there before is found. The consumer's bell is to be rung then. Two contended exchanges and a fence.
    pub(crate) fn announce(&self) {
        let (index, bit) = (self.lane / PER_WORD, self.lane % PER_WORD);
        // Release: pairs with the Acquire in `take`.
        self.announcements.word(index).fetch_or(1 << bit, Ordering::Release);
        // Release: who sees this bit sees the one above.
        self.announcements.summary().fetch_or(1 << index, Ordering::Release);
        // Between the bits and the look at the bell; pairs with the one in `heavy_fence`.
        fence(Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipc_core::segment::PayloadType;
    use ipc_core::{ObjectKind, Segment};

    fn words(lanes: usize) -> (ipc_core::Object, Announcements) {
        let segment = Segment::memfd("test").size(1 << 16).create().unwrap();
        let kind = ObjectKind { name: "announcements", code: 1 };
        let size = Announcements::bytes(lanes) as u64;
        let object = segment.create_object("words", kind, PayloadType::bytes(), size, |_| {}).unwrap();
        let announcements = Announcements::new(&object.region, 0, lanes);
        (object, announcements)
    }

    fn taken(announcements: &Announcements) -> Vec<usize> {
        let mut taken = Vec::new();
        announcements.take(|lane| taken.push(lane));
        taken
    }

    #[test]
    fn what_is_announced_is_taken_once() {
        for lanes in [1, 64, 65, 1000] {
            let (_object, announcements) = words(lanes);
            assert!(!announcements.any());
            let some: Vec<usize> = (0..lanes).step_by(7).chain([lanes - 1]).collect();
            for lane in &some {
                Announcement::new(announcements, *lane).announce();
                Announcement::new(announcements, *lane).announce();
            }
            assert!(announcements.any());
            let mut expected = some.clone();
            expected.dedup();
            assert_eq!(taken(&announcements), expected);
            assert!(!announcements.any());
            assert_eq!(taken(&announcements), []);
        }
    }

    #[test]
    fn bits_of_words_that_are_not_there_lead_nowhere() {
        let (object, announcements) = words(64);
        object.region.u64_at(0).store(u64::MAX, Ordering::Relaxed);
        object.region.u64_at(LINE_PAIR).store(1 << 63 | 1, Ordering::Relaxed);
        assert_eq!(taken(&announcements), [0, 63]);
    }
}
