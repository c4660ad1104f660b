//! The words of a slab, at checked places of its region.
#![expect(unsafe_code, reason = "words and contents at computed places of a region whose geometry was checked")]

use std::ptr::NonNull;

use super::layout::{
    ALLOCATED, BELL, Class, FENCED, Geometry, HIGH_WATER, HOLDER_ENTRY, HOLDERS, OWN, ROLE, SHARERS, SINCE,
    SINCE_JOINED, SLOT_LINE, TAKEN, WAITERS, WORD,
};
use super::word::{State, Word};
use crate::payload::{FNV_OFFSET, fnv1a, fnv1a_words};
use crate::segment::{Object, Region};
use crate::sync::{self, AtomicU64, CACHE_LINE, Ordering, fence};
use crate::wait::Bell;

/// How often a word that others keep changing is tried again. Each failure is another's success, so that many in a row are no protocol's.
const ATTEMPTS: usize = 1 << 20;

/// One slab's words, as this process sees them. Everything here may be called by any number of processes at a time.
#[derive(Debug)]
pub(super) struct Table {
    base: NonNull<u8>,
    pub(super) region: Region,
    pub(super) geometry: Geometry,
    /// What tells this slab from others.
    pub(super) id: u32,
}

// SAFETY: a pointer into a region that the value holds, used for atomic accesses only: no thread owns it.
unsafe impl Send for Table {}

/// The bit of a holder in the word of those who share a slot.
pub(super) fn bit(holder: usize) -> u64 {
    1 << holder
}

/// Changes a word by compare-and-swap, until it is done or `change` refuses; what it is then.
///
/// AcqRel: whoever shares, or lets go, sees what the one before did, and is seen by the next.
pub(super) fn update(word: &AtomicU64, mut change: impl FnMut(u64) -> Option<u64>) -> Option<u64> {
    let mut found = word.load(Ordering::Acquire);
    for _ in 0..ATTEMPTS {
        let new = change(found)?;
        match word.compare_exchange(found, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Some(new),
            Err(now) => found = now,
        }
    }
    None
}

/// Adds to a counter that several write.
fn add(word: &AtomicU64, by: u64) -> u64 {
    update(word, |value| Some(value.wrapping_add(by))).unwrap_or(0)
}

impl Table {
    /// The words of the object, whose geometry was derived from what stands in it and compared with its size.
    pub(super) fn new(object: &Object, geometry: Geometry) -> Self {
        let region = object.region.clone();
        assert!(geometry.size <= region.len(), "the geometry was checked");
        let hash = fnv1a(FNV_OFFSET, region.segment().id().bytes());
        let hash = fnv1a_words(hash, &[region.offset()]);
        // SAFETY: the address of a mapping is not zero.
        let base = unsafe { NonNull::new_unchecked(region.as_ptr()) };
        let table = Self { base, region, geometry, id: (hash ^ hash >> 32) as u32 };
        table.enroll();
        table
    }

    /// Tells a model which words there are.
    fn enroll(&self) {
        let enroll = |at, len| sync::enroll(&self.region, at, len);
        let counters = |at, len| sync::enroll_counters(&self.region, at, len);
        enroll(WAITERS, 16);
        counters(TAKEN, 16);
        for place in 0..self.geometry.places() {
            let entry = Self::entry(place);
            enroll(entry + ROLE, 8);
            counters(entry + SINCE_JOINED, 8);
            enroll(entry + BELL, 8);
            // The last of these is how many it caches, which others look at.
            enroll(entry + OWN, ALLOCATED - OWN);
            counters(entry + ALLOCATED, OWN + CACHE_LINE - ALLOCATED);
        }
        for class in &self.geometry.classes {
            enroll(class.taken, 8 * class.words());
            enroll(class.full, 8 * class.summaries());
        }
        if sync::MODEL {
            for slot in 0..self.geometry.slots {
                enroll(self.line(slot), SINCE);
                // And the length: as the contents, ordered by the slot's word.
                counters(self.line(slot) + SINCE, 16);
            }
            let contents = self.geometry.classes.first().map_or(self.geometry.size, |class| class.payload);
            enroll(contents, self.geometry.size - contents);
        }
    }

    /// The word at `at`: one of the offsets of this module's functions, all within the size that was checked.
    #[inline(always)]
    pub(super) fn at(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at.is_multiple_of(8) && at + 8 <= self.geometry.size);
        // SAFETY: callers compute `at` from the private geometry and an index below its bounds; mapped while `region` lives, aligned as the region
        // begins at a multiple of two lines, and accessed as an atomic word only.
        unsafe { sync::word64(self.base.add(at)) }
    }

    pub(super) fn entry(place: usize) -> usize {
        HOLDERS + place * HOLDER_ENTRY
    }

    /// A word of the entry of a holder.
    #[inline(always)]
    pub(super) fn of(&self, place: usize, offset: usize) -> &AtomicU64 {
        debug_assert!(place < self.geometry.places());
        self.at(Self::entry(place) + offset)
    }

    pub(super) fn role(&self, place: usize) -> &AtomicU64 {
        self.of(place, ROLE)
    }

    /// The bell on which the member in this place sleeps.
    pub(super) fn bell(&self, place: usize) -> Bell<'_> {
        let at = Self::entry(place) + BELL;
        debug_assert!(BELL.is_multiple_of(CACHE_LINE) && place < self.geometry.places());
        // SAFETY: as in `at`; a line of its own, of which the first four bytes are the bell.
        Bell::new(unsafe { sync::word32(self.base.add(at)) })
    }

    #[inline(always)]
    pub(super) fn waiters(&self) -> &AtomicU64 {
        self.at(WAITERS)
    }

    /// Not zero as long as all members execute barriers on request.
    pub(super) fn fenced(&self) -> &AtomicU64 {
        self.at(FENCED)
    }

    #[inline(always)]
    fn line(&self, slot: usize) -> usize {
        debug_assert!(slot < self.geometry.slots);
        self.geometry.lines + slot * SLOT_LINE
    }

    /// A word of the line of a slot, whose number was checked.
    #[inline(always)]
    pub(super) fn of_slot(&self, slot: usize, offset: usize) -> &AtomicU64 {
        self.at(self.line(slot) + offset)
    }

    /// The slot's word. Acquire: pairs with whoever gave the slot that word, and has seen its contents by then.
    #[inline(always)]
    pub(super) fn word(&self, slot: usize) -> Word {
        Word(self.of_slot(slot, WORD).load(Ordering::Acquire))
    }

    /// Changes the slot's word, if it is as expected. AcqRel: who gets the slot sees all that was done in it, and who gives it is seen.
    #[inline(always)]
    pub(super) fn turn(&self, slot: usize, from: Word, to: Word) -> bool {
        self.of_slot(slot, WORD).compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    #[inline(always)]
    pub(super) fn sharers(&self, slot: usize) -> &AtomicU64 {
        self.of_slot(slot, SHARERS)
    }

    /// The first byte of a slot of this class.
    #[inline(always)]
    pub(super) fn contents(&self, class: &Class, slot: usize) -> NonNull<u8> {
        debug_assert!(slot >= class.first && slot - class.first < class.slots);
        // SAFETY: inside the class's area, which is inside the region, by the geometry.
        unsafe { self.base.add(class.payload + (slot - class.first) * class.stride) }
    }

    /// Makes a slot free that nobody has, and says so to those who look for one.
    pub(super) fn free(&self, slot: usize, from: Word, to: Word) -> bool {
        let freed = self.turn(slot, from, to);
        if freed {
            self.put(slot);
        }
        freed
    }

    /// Takes `holder`'s bit from a shared slot; its word, if that was the last one: then it is for the first to take.
    pub(super) fn unshare(&self, slot: usize, holder: usize) -> Option<Word> {
        let left = update(self.sharers(slot), |sharers| (sharers & bit(holder) != 0).then_some(sharers & !bit(holder)));
        (left == Some(0)).then(|| self.unshared(slot)).flatten()
    }

    /// The slot's word, if it is of a shared slot that nobody shares any more.
    ///
    /// The word first, then the bits: they were those of that tenure if the word is still the same when it is taken. Within a tenure no bit is ever set when none is, so
    /// that what is found here is final, and the swap of the word makes one of all who find it the first.
    pub(super) fn unshared(&self, slot: usize) -> Option<Word> {
        let word = self.word(slot);
        let shared = word.state() == Some(State::Shared);
        (shared && self.sharers(slot).load(Ordering::Acquire) == 0).then_some(word)
    }

    /// Counts slots that were taken from the free ones, and the most that ever were.
    pub(super) fn count_taken(&self, slots: usize) {
        if slots > 0 {
            let now = add(self.at(TAKEN), slots as u64);
            update(self.at(HIGH_WATER), |most| (now > most && now <= self.geometry.slots as u64).then_some(now));
        }
    }

    /// Counts slots that were given back to the free ones.
    pub(super) fn count_given(&self, slots: usize) {
        if slots > 0 {
            add(self.at(TAKEN), (slots as u64).wrapping_neg());
        }
    }

    // Which slots look free: a bit each, set when it looks taken; above each 64 of these words one that says which of them look full. Hints: a slot's own word
    // is the truth, and who is led to a slot that is not free goes on looking.

    /// The bits of `index` among `total` that exist.
    fn mask(total: usize, index: usize) -> u64 {
        match total - index * 64 {
            left if left < 64 => (1 << left) - 1,
            _ => u64::MAX,
        }
    }

    /// Says that a slot is free.
    pub(super) fn put(&self, slot: usize) {
        let class = &self.geometry.classes[self.geometry.class_of(slot)];
        let (index, of) = ((slot - class.first) / 64, bit((slot - class.first) % 64));
        // Release, in `update`: who sees the bit sees the slot free.
        let left = update(self.at(class.taken + 8 * index), |taken| (taken & of != 0).then_some(taken & !of));
        if left.is_some_and(|left| left | of == Self::mask(class.slots, index)) {
            // It was full. Pairs with the fence in `mark_full`: either we see the mark, or who makes it sees that the word is not full.
            fence(Ordering::SeqCst);
            self.mark_open(class, index);
        }
    }

    fn mark_open(&self, class: &Class, index: usize) {
        let of = bit(index % 64);
        update(self.at(class.full + 8 * (index / 64)), |full| (full & of != 0).then_some(full & !of));
    }

    fn mark_full(&self, class: &Class, index: usize) {
        let of = bit(index % 64);
        update(self.at(class.full + 8 * (index / 64)), |full| (full & of == 0).then_some(full | of));
        // Pairs with the fence in `put`.
        fence(Ordering::SeqCst);
        let taken = self.at(class.taken + 8 * index).load(Ordering::Relaxed);
        if taken & Self::mask(class.slots, index) != Self::mask(class.slots, index) {
            self.mark_open(class, index);
        }
    }

    /// Opens the words that look full and are not: who marked one died before it looked again. Whether there were any.
    pub(super) fn open_all(&self) -> bool {
        let mut opened = false;
        for class in &self.geometry.classes {
            for index in 0..class.words() {
                let mask = Self::mask(class.slots, index);
                let full = self.at(class.full + 8 * (index / 64)).load(Ordering::Acquire) & bit(index % 64) != 0;
                if full && self.at(class.taken + 8 * index).load(Ordering::Acquire) & mask != mask {
                    self.mark_open(class, index);
                    opened = true;
                }
            }
        }
        opened
    }

    /// Whether a slot looks taken.
    pub(super) fn looks_taken(&self, slot: usize) -> bool {
        let class = &self.geometry.classes[self.geometry.class_of(slot)];
        let at = slot - class.first;
        self.at(class.taken + 8 * (at / 64)).load(Ordering::Relaxed) & bit(at % 64) != 0
    }

    /// Looks for up to `want` slots of a class that look free, from the word `start` on, and calls `claim` with each: whether it got it. Returns how many it
    /// got, and in which word it stopped.
    ///
    /// A look at one word for each 4096 slots of the class, and at the words that are not full.
    pub(super) fn find(
        &self,
        class: &Class,
        start: usize,
        want: usize,
        mut claim: impl FnMut(usize) -> bool,
    ) -> (usize, usize) {
        let (summaries, mut got) = (class.summaries(), 0);
        // One more, for the words before `start` in its own.
        for step in 0..=summaries {
            let summary = (start / 64 + step) % summaries;
            let mut open = !self.at(class.full + 8 * summary).load(Ordering::Acquire);
            open &= Self::mask(class.words(), summary);
            if step == 0 {
                open = open >> (start % 64) << (start % 64);
            }
            while open != 0 {
                let index = summary * 64 + open.trailing_zeros() as usize;
                open &= open - 1;
                got += self.find_in(class, index, want - got, &mut claim);
                if got == want {
                    return (got, index);
                }
            }
        }
        (got, start)
    }

    fn find_in(&self, class: &Class, index: usize, want: usize, mut claim: impl FnMut(usize) -> bool) -> usize {
        let (mask, word) = (Self::mask(class.slots, index), self.at(class.taken + 8 * index));
        let mut got = 0;
        // A round for every slot that turned out not to be free would be 64.
        for _ in 0..64 {
            let mut before = 0;
            let now = update(word, |taken| {
                before = taken;
                let free = !taken & mask;
                let picked = lowest(free, want - got);
                (free != 0).then_some(taken | picked)
            });
            let Some(now) = now else {
                self.mark_full(class, index);
                break;
            };
            // The bits first, then the slots: a slot whose bit we set and that is not free gets its bit back from who frees it.
            let mut picked = now & !before;
            while picked != 0 {
                got += usize::from(claim(class.first + index * 64 + picked.trailing_zeros() as usize));
                picked &= picked - 1;
            }
            if now & mask == mask {
                self.mark_full(class, index);
                break;
            }
            if got == want {
                break;
            }
        }
        got
    }
}

/// The lowest `count` bits of those that are set.
fn lowest(mut bits: u64, count: usize) -> u64 {
    let all = bits;
    for _ in 0..count {
        bits &= bits.wrapping_sub(1);
    }
    all & !bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowest_bits() {
        assert_eq!(lowest(0b1011_0100, 2), 0b1_0100);
        assert_eq!(lowest(0b1011_0100, 64), 0b1011_0100);
        assert_eq!(lowest(u64::MAX, 1), 1);
        assert_eq!(lowest(0, 3), 0);
    }

    #[test]
    fn masks_end_with_what_there_is() {
        assert_eq!(Table::mask(1, 0), 1);
        assert_eq!(Table::mask(64, 0), u64::MAX);
        assert_eq!(Table::mask(65, 1), 1);
        assert_eq!(Table::mask(130, 0), u64::MAX);
    }
}
