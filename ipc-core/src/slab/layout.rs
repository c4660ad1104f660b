//! Where everything stands in a slab: derived from a few numbers, which are read once. docs/FORMAT.md draws it.

use crate::sync::{CACHE_LINE, LINE_PAIR};

/// The most size classes.
pub const MAX_CLASSES: usize = 16;

/// The most slots of one slab, over all its classes.
pub const MAX_SLOTS: usize = 1 << 20;

/// Members and rings together: a bit each in the word of those who share a slot.
pub const MAX_HOLDERS: usize = 64;

/// How many handles of a slab, in all processes, and how many rings it takes, unless [said otherwise](Holders).
pub const DEFAULT_HOLDERS: Holders = Holders { members: 40, rings: 24 };

// Offsets; docs/FORMAT.md draws them.
pub(super) const SLOTS: usize = 0;
pub(super) const CLASSES: usize = 8;
pub(super) const MEMBERS: usize = 16;
pub(super) const RINGS: usize = 24;
pub(super) const CLASS_TABLE: usize = LINE_PAIR;
pub(super) const CLASS_ENTRY: usize = 16;
/// A bit for each member that waits. Written on the way to sleep only.
pub(super) const WAITERS: usize = CLASS_TABLE + MAX_CLASSES * CLASS_ENTRY;
/// Zero once a member came whose process does not execute barriers on request.
pub(super) const FENCED: usize = WAITERS + 8;
/// Slots taken from the free ones, and the most that ever were. Written when a cache is filled or emptied.
pub(super) const TAKEN: usize = WAITERS + LINE_PAIR;
pub(super) const HIGH_WATER: usize = TAKEN + 8;
pub(super) const HOLDERS: usize = TAKEN + LINE_PAIR;

/// Bytes of a holder's entry: a pair of lines for what others look at, one that its member alone writes.
pub(super) const HOLDER_ENTRY: usize = 2 * LINE_PAIR;
// Offsets in it.
pub(super) const ROLE: usize = 0;
pub(super) const SINCE_JOINED: usize = 8;
pub(super) const BELL: usize = CACHE_LINE;
pub(super) const OWN: usize = LINE_PAIR;
pub(super) const INTENT_WORD: usize = OWN;
pub(super) const INTENT_SLOT: usize = OWN + 8;
pub(super) const INTENT_RING: usize = OWN + 16;
pub(super) const CACHED: usize = OWN + 24;
pub(super) const ALLOCATED: usize = OWN + 32;
pub(super) const RELEASED: usize = OWN + 40;
pub(super) const FAILED: usize = OWN + 48;
pub(super) const SLEPT: usize = OWN + 56;
/// Of a ring that keeps handles which were popped: the position before which it holds none any more.
pub(super) const RELEASED_BEFORE: usize = OWN;

/// Bytes of what stands for a slot beside its contents: a line, so that neighbours in two processes do not disturb each other.
pub(super) const SLOT_LINE: usize = CACHE_LINE;
// Offsets in it.
pub(super) const WORD: usize = 0;
pub(super) const SHARERS: usize = 8;
pub(super) const SINCE: usize = 16;
pub(super) const LENGTH: usize = 24;

/// How many can hold slots of a slab: handles of it in all processes, and rings that carry its handles. At most 64 together, as those who share a slot are
/// named by a bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holders {
    /// Handles of the slab that are open at a time, over all processes; at least 1.
    pub members: usize,
    /// Rings that ever carry handles of the slab.
    pub rings: usize,
}

/// Slots of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeClass {
    /// Bytes that a slot takes; at least 1.
    pub bytes: usize,
    /// How many there are; at least 1.
    pub slots: usize,
}

/// One class, with where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Class {
    /// Bytes that one slot takes.
    pub(super) bytes: usize,
    pub(super) slots: usize,
    /// The number of its first slot.
    pub(super) first: usize,
    /// A bit for each slot that looks taken, in words of 64.
    pub(super) taken: usize,
    /// A bit for each of those words that looks full.
    pub(super) full: usize,
    pub(super) payload: usize,
    pub(super) stride: usize,
}

impl Class {
    pub(super) fn words(&self) -> usize {
        self.slots.div_ceil(64)
    }

    pub(super) fn summaries(&self) -> usize {
        self.words().div_ceil(64)
    }
}

/// Where everything is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) slots: usize,
    pub(super) holders: Holders,
    pub(super) classes: Vec<Class>,
    /// Where the slots' lines begin.
    pub(super) lines: usize,
    pub(super) size: usize,
}

impl Geometry {
    /// The geometry for classes in order of their size; `None` if there is none, or it cannot be addressed.
    pub(super) fn derive(classes: &[SizeClass], holders: Holders) -> Option<Self> {
        let Holders { members, rings } = holders;
        let sorted = classes.is_sorted_by(|one, next| one.bytes < next.bytes);
        if classes.is_empty() || classes.len() > MAX_CLASSES || !sorted || members == 0 {
            return None;
        }
        if members.checked_add(rings)? > MAX_HOLDERS {
            return None;
        }
        let mut at = HOLDERS + (members + rings) * HOLDER_ENTRY;
        let (mut first, mut made) = (0_usize, Vec::with_capacity(classes.len()));
        for class in classes {
            let SizeClass { bytes, slots } = *class;
            if bytes == 0 || slots == 0 || slots > MAX_SLOTS {
                return None;
            }
            let stride = bytes.checked_next_multiple_of(CACHE_LINE)?;
            let mut one = Class { bytes, slots, first, taken: at, full: 0, payload: 0, stride };
            // Whole pairs of lines, so that classes do not disturb each other.
            one.full = at + (8 * one.words()).next_multiple_of(LINE_PAIR);
            at = one.full + (8 * one.summaries()).next_multiple_of(LINE_PAIR);
            first += slots;
            made.push(one);
        }
        if first > MAX_SLOTS {
            return None;
        }
        let lines = at;
        let mut at = (lines + first * SLOT_LINE).checked_next_multiple_of(LINE_PAIR)?;
        for class in &mut made {
            class.payload = at;
            at = at.checked_add(class.slots.checked_mul(class.stride)?)?.checked_next_multiple_of(LINE_PAIR)?;
        }
        i64::try_from(at).ok()?;
        Some(Self { slots: first, holders, classes: made, lines, size: at })
    }

    /// The class of a slot, by its number.
    pub(super) fn class_of(&self, slot: usize) -> usize {
        self.classes.partition_point(|class| class.first <= slot).saturating_sub(1)
    }

    /// Places in the table of holders.
    pub(super) fn places(&self) -> usize {
        self.holders.members + self.holders.rings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_do_not_overlap() {
        let classes = [(1, 1), (64, 65), (100, 4097), (5000, 3)].map(|(bytes, slots)| SizeClass { bytes, slots });
        let geometry = Geometry::derive(&classes, DEFAULT_HOLDERS).unwrap();
        let mut ranges = vec![(0, HOLDERS + 64 * HOLDER_ENTRY), (geometry.lines, geometry.slots * SLOT_LINE)];
        for class in &geometry.classes {
            ranges.push((class.taken, 8 * class.words()));
            ranges.push((class.full, 8 * class.summaries()));
            ranges.push((class.payload, class.stride * class.slots));
            assert!(class.payload.is_multiple_of(LINE_PAIR) && class.stride >= class.bytes);
        }
        ranges.sort_unstable();
        for pair in ranges.windows(2) {
            assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{pair:?}");
        }
        let (at, len) = ranges[ranges.len() - 1];
        assert!(at + len <= geometry.size);
        for (class, one) in geometry.classes.iter().enumerate() {
            assert_eq!(geometry.class_of(one.first), class);
            assert_eq!(geometry.class_of(one.first + one.slots - 1), class);
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let some = |bytes, slots| SizeClass { bytes, slots };
        for classes in [
            vec![],
            vec![some(0, 1)],
            vec![some(1, 0)],
            vec![some(8, 1), some(8, 1)],
            vec![some(16, 1), some(8, 1)],
            vec![some(8, MAX_SLOTS + 1)],
            vec![some(8, MAX_SLOTS), some(9, 1)],
            vec![some(usize::MAX, 1)],
            vec![some(usize::MAX / 2, 4)],
            (1..=17).map(|bytes| some(bytes, 1)).collect(),
        ] {
            assert_eq!(Geometry::derive(&classes, DEFAULT_HOLDERS), None, "{classes:?}");
        }
        for (members, rings) in [(0, 1), (64, 1), (usize::MAX, 1), (1, usize::MAX)] {
            assert_eq!(Geometry::derive(&[some(8, 8)], Holders { members, rings }), None);
        }
    }
}
