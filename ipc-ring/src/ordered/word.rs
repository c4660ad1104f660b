//! What the word of a slot says: which lap it is of, who claimed, and how far that is. Pure arithmetic, without memory.
//!
//! As the word of a line of the journal, with as many bits for the lap as the length leaves. Since the longest claim is half the slots at most, a word comes again only after 2^54 slots were claimed: at 10^8 a
//! second, 5.7 years.

/// Most producers of a ring at a time.
pub(super) const MOST_PRODUCERS: usize = 1 << PRODUCER_BITS;
/// Positions count slots since the ring was made; a head has bits for a position and for a place in a span.
pub(super) const MAX_POSITION: u64 = 1 << 55;

const PRODUCER_BITS: u32 = 8;
const STATE_BITS: u32 = 2;

/// How far a claim is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Its producer writes there, or died before it was done.
    Claimed,
    /// It can be taken.
    Committed,
    /// There is nothing, and never will be in this lap.
    Skipped,
}

/// What the word says in which a claim begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) state: State,
    /// The producer's place in the ring's table.
    pub(super) place: usize,
    /// How many slots it takes: at least one.
    pub(super) len: u64,
}

/// What stands in a slot's word, for a lap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The word of an earlier lap: nobody has claimed the slot in this one.
    Free(u64),
    Taken(Claim),
    /// A later lap: the position is long gone.
    Later,
}

/// How the bits of a word are divided, which follows from the longest claim: lap, state, place, length less one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    len_bits: u32,
    longest: u64,
}

impl Format {
    /// For claims of up to `longest` slots.
    pub(super) const fn new(longest: u64) -> Self {
        let longest = if longest == 0 { 1 } else { longest };
        Self { len_bits: u64::BITS - (longest - 1).leading_zeros(), longest }
    }

    /// Slots of the longest claim.
    pub(super) const fn longest(&self) -> u64 {
        self.longest
    }

    const fn lap_shift(self) -> u32 {
        self.len_bits + PRODUCER_BITS + STATE_BITS
    }

    /// The word of a claim in a lap.
    #[inline(always)]
    pub(super) const fn encode(self, claim: Claim, lap: u64) -> u64 {
        let state = match claim.state {
            State::Claimed => 1,
            State::Committed => 2,
            State::Skipped => 3,
        };
        lap << self.lap_shift()
            | state << (self.len_bits + PRODUCER_BITS)
            | (claim.place as u64 & (MOST_PRODUCERS as u64 - 1)) << self.len_bits
            | (claim.len - 1)
    }

    /// What a word says in a lap. Any word says something.
    #[inline(always)]
    pub(super) const fn decode(self, word: u64, lap: u64) -> Found {
        let shift = self.lap_shift();
        let state = match word >> (self.len_bits + PRODUCER_BITS) & 3 {
            1 => State::Claimed,
            2 => State::Committed,
            3 => State::Skipped,
            // As it was made.
            _ => return Found::Free(word),
        };
        // Half of all laps are ahead, so that any is or is not: by the bits that there are.
        let ahead = (word >> shift).wrapping_sub(lap) << shift;
        if ahead == 0 {
            let place = (word >> self.len_bits) as usize & (MOST_PRODUCERS - 1);
            Found::Taken(Claim { state, place, len: (word & ((1 << self.len_bits) - 1)) + 1 })
        } else if ahead < 1 << 63 {
            Found::Later
        } else {
            Found::Free(word)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_word_of_zeros_says_nothing() {
        for longest in [1, 2, 256, 1 << 34] {
            assert_eq!(Format::new(longest).decode(0, 0), Found::Free(0));
            assert_eq!(Format::new(longest).decode(0, 77), Found::Free(0));
        }
    }

    #[test]
    fn what_the_length_does_not_need_is_the_laps() {
        assert_eq!(Format::new(1).lap_shift(), 10);
        assert_eq!(Format::new(256).lap_shift(), 18);
        assert_eq!(Format::new(257).lap_shift(), 19);
    }

    #[test]
    fn a_word_comes_again_after_very_many_slots_only() {
        use super::super::lines::layout;
        use super::super::values::SlotLayout;
        let laps = |longest: u64| 1_u128 << (64 - Format::new(longest).lap_shift());
        for capacity in (1..2000).chain([1 << 20, 1 << 30, 1 << 40]) {
            let (slots, _) = SlotLayout::<u64>::slots(capacity).unwrap();
            assert!(laps(SlotLayout::<u64>::longest(capacity)) * u128::from(slots) >= 1 << 54, "{capacity}");
            if let Some((lines, _)) = layout::extent(capacity) {
                let longest = layout::lines(layout::max_record(capacity));
                assert!(laps(longest) * u128::from(lines) >= 1 << 54, "{capacity}");
            }
        }
    }

    fn states() -> impl Strategy<Value = State> {
        prop_oneof![Just(State::Claimed), Just(State::Committed), Just(State::Skipped)]
    }

    proptest! {
        #[test]
        fn a_claim_is_what_it_was_in_its_lap_only(
            longest in 1_u64..1 << 34, len in 0_u64..1 << 34, place in 0_usize..MOST_PRODUCERS, lap in 0_u64..1 << 18, state in states(), apart in 1_u64..1 << 17,
        ) {
            let format = Format::new(longest);
            let claim = Claim { state, place, len: 1 + len % longest };
            let word = format.encode(claim, lap);
            prop_assert_eq!(format.decode(word, lap), Found::Taken(claim));
            prop_assert_eq!(format.decode(word, lap + apart), Found::Free(word));
            prop_assert_eq!(format.decode(word, lap.wrapping_sub(apart)), Found::Later);
        }

        #[test]
        fn any_word_says_something_of_at_least_a_slot(word: u64, lap: u64, longest in 1_u64..1 << 34) {
            if let Found::Taken(claim) = Format::new(longest).decode(word, lap) {
                prop_assert!(claim.len >= 1 && claim.place < MOST_PRODUCERS);
            }
        }
    }
}
