//! The word of a slot: its state, who holds it, and its generation, all changed in one step.

/// What a slot is, as its word says it. The truth table stands at [`slab`](super).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody's.
    Free,
    /// In a member's cache: anybody may take it when nothing is free.
    Cached,
    /// A member's own, to read and write.
    Held,
    /// A member's, for whoever has the handle.
    Offered,
    /// A ring's, for who receives the handle there.
    InFlight,
    /// Of all those whose bits are set beside the word, to read.
    Shared,
}

const STATE_BITS: u32 = 3;
const HOLDER_BITS: u32 = 7;
const GENERATION_SHIFT: u32 = STATE_BITS + HOLDER_BITS;
const GENERATION_MASK: u64 = u64::MAX >> GENERATION_SHIFT;

/// State in bits 0–2, holder in bits 3–9, generation above.
///
/// The generation counts up whenever a slot is allocated, sent, offered, or taken from somebody who did not let go of it: 54 bits, which at a hundred million
/// a second, all of them in one slot, come around after five years. Whoever compares a word of before with that of now is told apart from all who had the slot between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

impl Word {
    pub(super) fn new(state: State, holder: usize, generation: u64) -> Self {
        let state = match state {
            State::Free => 0,
            State::Cached => 1,
            State::Held => 2,
            State::Offered => 3,
            State::InFlight => 4,
            State::Shared => 5,
        };
        Self(state | (holder as u64) << STATE_BITS | (generation & GENERATION_MASK) << GENERATION_SHIFT)
    }

    /// The state; `None` if no state is written so.
    pub(super) fn state(self) -> Option<State> {
        Some(match self.0 & ((1 << STATE_BITS) - 1) {
            0 => State::Free,
            1 => State::Cached,
            2 => State::Held,
            3 => State::Offered,
            4 => State::InFlight,
            5 => State::Shared,
            _ => return None,
        })
    }

    /// The place of the holder in the table; any value below 128.
    pub(super) fn holder(self) -> usize {
        (self.0 >> STATE_BITS & ((1 << HOLDER_BITS) - 1)) as usize
    }

    pub(super) fn generation(self) -> u64 {
        self.0 >> GENERATION_SHIFT
    }

    /// Another state and holder, the same generation.
    pub(super) fn to(self, state: State, holder: usize) -> Self {
        Self::new(state, holder, self.generation())
    }

    /// Another state and holder, and the next generation.
    pub(super) fn next(self, state: State, holder: usize) -> Self {
        Self::new(state, holder, self.generation().wrapping_add(1))
    }

    /// Whether the member in this place has the slot to itself, in use or not.
    pub(super) fn is_of(self, member: usize) -> bool {
        self.holder() == member && matches!(self.state(), Some(State::Cached | State::Held | State::Offered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_say_what_they_were_made_of() {
        let states = [State::Free, State::Cached, State::Held, State::Offered, State::InFlight, State::Shared];
        for state in states {
            for (holder, generation) in [(0, 0), (1, 1), (63, GENERATION_MASK), (127, 1 << 53)] {
                let word = Word::new(state, holder, generation);
                assert_eq!((word.state(), word.holder(), word.generation()), (Some(state), holder, generation));
            }
        }
        assert_eq!(Word(0).state(), Some(State::Free), "zeroed memory is free");
        assert_eq!(Word(6).state(), None);
    }

    #[test]
    fn a_generation_that_wraps_disturbs_nothing_else() {
        let last = Word::new(State::Held, 5, GENERATION_MASK);
        let next = last.next(State::InFlight, 7);
        assert_eq!((next.state(), next.holder(), next.generation()), (Some(State::InFlight), 7, 0));
    }
}
