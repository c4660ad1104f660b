//! What a member keeps of one class for itself.

use std::cell::Cell;

use super::super::layout::Class;
use super::super::word::Word;

/// The most slots of one class that a member keeps for itself.
const CACHE: usize = 32;

/// Slots of one class that this member has at hand: their numbers, and their words. Another member may have taken one meanwhile: then its word is another.
#[derive(Debug)]
pub(super) struct Cache {
    slots: [Cell<(u32, u64)>; CACHE],
    pub(super) len: Cell<usize>,
    /// How many it keeps: at most a sixteenth of the class.
    pub(super) capacity: usize,
    /// Where the search for free ones goes on.
    pub(super) start: Cell<usize>,
}

impl Cache {
    pub(super) fn new(class: &Class, member: usize, members: usize) -> Self {
        // Members begin far from each other.
        let start = Cell::new(member * class.words() / members);
        let capacity = (class.slots / 16).clamp(1, CACHE);
        Self { slots: [const { Cell::new((0, 0)) }; CACHE], len: Cell::new(0), capacity, start }
    }

    pub(super) fn pop(&self) -> Option<(usize, Word)> {
        let len = self.len.get().checked_sub(1)?;
        self.len.set(len);
        let (slot, word) = self.slots[len].get();
        Some((slot as usize, Word(word)))
    }

    pub(super) fn push(&self, slot: usize, word: Word) {
        let len = self.len.get();
        self.slots[len].set((slot as u32, word.0));
        self.len.set(len + 1);
    }
}
