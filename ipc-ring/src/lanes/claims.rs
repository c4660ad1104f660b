//! Which consumer has what of a lane whose consumers are many: a word for each place where a span of messages can begin.
//!
//! A consumer takes messages by **claiming a span**: one compare-and-swap on the claim word of the span's *first* message, which says who has it and how long it is. Where it ends the
//! next span begins, so all who follow the spans from a boundary that they know agree on the boundaries, and once a boundary, always one: a split adds one, nothing takes one
//! away. Words in the middle of a span are never looked at, and keep what an earlier lap left there; so a word says its lap, and that of an
//! earlier one says that nobody has claimed what begins here now.
//!
//! ```text
//! free ──claim──▶ claimed(tenure, length) ──acknowledge──▶ done(length)
//!                   │   ▲       │ ▲
//!                give back  take│ │take over, from one who is dead
//!                   ▼   │       ▼ │
//!                 returned    claimed(another tenure)
//! ```
//!
//! What is **done** never comes back: no step leads from there but the producer's next lap. A span is acknowledged in part by a split: first the word of the rest, which nobody looks at
//! yet, says that the rest is claimed; then the first word says that the part before it is done. Whoever dies between the two has acknowledged nothing.
//!
//! Every step is one compare-and-swap from a word that was seen whole. A lap has 33 bits and a tenure 18: who is stopped between seeing a word and changing it errs only if exactly
//! 2^33 laps, or 2^18 tenures in one lap, go by meanwhile. A word that is passed over for exactly 2^33 laps is misread: in the smallest ring that takes twenty minutes of nothing but
//! pushing, and then spans that end at the one place that never began one.
#![expect(unsafe_code, reason = "words at computed places of a lane whose length was checked once")]

use std::ptr::NonNull;

use ipc_core::sync::{self, AtomicU64, CACHE_LINE, MODEL, Ordering};

use crate::error::RingError;

// The word, from its lowest bit.
const LENGTH_SHIFT: u32 = 2;
const LENGTH_BITS: u32 = 11;
const TENURE_SHIFT: u32 = LENGTH_SHIFT + LENGTH_BITS;
const TENURE_BITS: u32 = 18;
const LAP_SHIFT: u32 = TENURE_SHIFT + TENURE_BITS;
const LAP_MASK: u64 = u64::MAX >> LAP_SHIFT;
const LENGTH_MASK: u64 = (1 << LENGTH_BITS) - 1;
/// A tenure is one of these bits.
pub(crate) const TENURE_MASK: u64 = (1 << TENURE_BITS) - 1;

const CLAIMED: u64 = 1;
const RETURNED: u64 = 2;
const DONE: u64 = 3;

/// The longest span, in the units of the claim's length. A model has short ones, so that a record can be longer.
pub(crate) const LONGEST: u64 = if MODEL { 8 } else { LENGTH_MASK };

/// Bits for the length of a span that is too long for its claim: in the word behind, between the lap and a state of 0.
const LONG_BITS: u32 = LAP_SHIFT - LENGTH_SHIFT;
const LONG_MASK: u64 = (1 << LONG_BITS) - 1;
/// The most positions that a lane can have if such spans begin there, in the units of a claim's length.
pub(crate) const MOST_UNITS: u64 = LONG_MASK;

/// A position, and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Spot {
    pub(crate) position: u64,
    /// `position` in the ring.
    pub(crate) offset: u64,
    /// Trips round the ring before this one.
    lap: u64,
}

/// What a claim word says of the span that begins there in this lap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nobody has claimed it.
    Free,
    /// A consumer has it.
    Claimed { tenure: u64, length: u64 },
    /// A consumer that left had it: it goes to another, whole.
    Returned { length: u64 },
    /// It is acknowledged.
    Done { length: u64 },
    /// The producer has gone round meanwhile: who looks is late, and the head is beyond this place. If it is not, the word is more than 2^32 laps old, and says that nobody has claimed it.
    Later,
}

impl Claim {
    pub(crate) fn decode(word: u64, spot: Spot) -> Self {
        let length = word >> LENGTH_SHIFT & LENGTH_MASK;
        let laps = (word >> LAP_SHIFT).wrapping_sub(spot.lap) & LAP_MASK;
        match word & 3 {
            _ if laps > LAP_MASK / 2 => Self::Free,
            _ if laps > 0 => Self::Later,
            CLAIMED => Self::Claimed { tenure: word >> TENURE_SHIFT & TENURE_MASK, length },
            RETURNED => Self::Returned { length },
            DONE => Self::Done { length },
            _ => Self::Free,
        }
    }
}

fn word(spot: Spot, state: u64, tenure: u64, length: u64) -> u64 {
    debug_assert!(length <= LENGTH_MASK && tenure <= TENURE_MASK);
    (spot.lap & LAP_MASK) << LAP_SHIFT | tenure << TENURE_SHIFT | length << LENGTH_SHIFT | state
}

/// Of what the spans of a lane are made, and where their words stand in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClaimsLayout {
    /// Where the words begin in the lane's data.
    pub(crate) at: u64,
    /// Positions in the lane: items, or bytes.
    pub(crate) ring: u64,
    /// Positions that share a word: at most one message begins in them.
    pub(crate) grain: u64,
    /// What a span's length counts, in positions.
    pub(crate) unit: u64,
}

impl ClaimsLayout {
    /// One behind the other, whole lines.
    pub(crate) fn bytes(ring: u64, grain: u64) -> Option<u64> {
        ring.div_ceil(grain).checked_mul(8)?.checked_next_multiple_of(CACHE_LINE as u64)
    }
}

/// The claim words of one lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claims {
    base: NonNull<u8>,
    layout: ClaimsLayout,
}

// SAFETY: a pointer into a region that the owner of this value holds, used for atomic accesses only: no thread owns it.
unsafe impl Send for Claims {}
// SAFETY: as above.
unsafe impl Sync for Claims {}

impl Claims {
    /// The words of a lane with `data`: where its data begins, and how many bytes there are. The region has to be held as long as this is used.
    ///
    /// # Panics
    ///
    /// If they are not inside the data: the ring's geometry was checked.
    pub(crate) fn new((data, len): (NonNull<u8>, usize), layout: ClaimsLayout) -> Self {
        let end = ClaimsLayout::bytes(layout.ring, layout.grain).and_then(|bytes| bytes.checked_add(layout.at));
        let inside = end.is_some_and(|end| end <= len as u64) && layout.at.is_multiple_of(8);
        let units = layout.unit > 0 && layout.grain > 0 && layout.ring.is_multiple_of(layout.unit);
        assert!(inside && layout.ring > 0 && units, "the geometry was checked");
        // SAFETY: inside the data, as just asserted.
        Self { base: unsafe { data.add(layout.at as usize) }, layout }
    }

    /// Positions in the lane.
    pub(crate) fn ring(&self) -> u64 {
        self.layout.ring
    }

    /// What a span's length counts, in positions.
    pub(crate) fn unit(&self) -> u64 {
        self.layout.unit
    }

    /// Positions that share a word.
    pub(crate) fn grain(&self) -> u64 {
        self.layout.grain
    }

    /// Where a position lies; of one where no message can begin, the last one before it where one can. Divides: not for the common path.
    pub(crate) fn spot(&self, position: u64) -> Spot {
        let position = position - position % self.layout.unit;
        Spot { position, offset: position % self.layout.ring, lap: position / self.layout.ring }
    }

    /// The spot `by` positions behind one: at most a lap.
    #[inline(always)]
    pub(crate) fn advance(&self, spot: Spot, by: u64) -> Spot {
        debug_assert!(by <= self.layout.ring);
        let (position, offset) = (spot.position.wrapping_add(by), spot.offset + by);
        if offset >= self.layout.ring {
            Spot { position, offset: offset - self.layout.ring, lap: spot.lap.wrapping_add(1) }
        } else {
            Spot { position, offset, lap: spot.lap }
        }
    }

    fn at(&self, index: u64) -> &AtomicU64 {
        debug_assert!(index < self.layout.ring.div_ceil(self.layout.grain));
        // SAFETY: an index below that of the ring's last position, for each of which there is a word inside the region (checked in `new`), aligned as its beginning is.
        unsafe { sync::word64(self.base.add(8 * index as usize)) }
    }

    fn word(&self, spot: Spot) -> &AtomicU64 {
        self.at(spot.offset / self.layout.grain)
    }

    /// The word of what begins here, whole.
    #[inline(always)]
    pub(crate) fn look(&self, spot: Spot) -> u64 {
        // Acquire: what was published before the claim is seen by who goes on behind it; the reads of who is done with it happened before its place is written again.
        // Pairs with the Release of the swaps.
        self.word(spot).load(Ordering::Acquire)
    }

    #[inline(always)]
    fn swap(&self, spot: Spot, found: u64, to: u64) -> bool {
        // Release: pairs with the Acquire in `look`. Acquire: what the one before did with the span is seen by who takes it.
        self.word(spot).compare_exchange(found, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Claims what begins at a word that was found free, returned, or a dead one's; whether it was still so.
    #[inline(always)]
    pub(crate) fn claim(&self, spot: Spot, found: u64, tenure: u64, length: u64) -> bool {
        self.swap(spot, found, word(spot, CLAIMED, tenure, length))
    }

    /// All of a span is done with. `false`: it was not ours any more.
    #[inline(always)]
    pub(crate) fn acknowledge(&self, spot: Spot, tenure: u64, length: u64) -> bool {
        self.swap(spot, word(spot, CLAIMED, tenure, length), word(spot, DONE, tenure, length))
    }

    /// The first `done` of a span are done with, the rest stays claimed.
    pub(crate) fn acknowledge_part(&self, spot: Spot, tenure: u64, length: u64, done: u64) -> bool {
        self.split(spot, tenure, (length, done), DONE, CLAIMED)
    }

    /// Gives back all of a span.
    pub(crate) fn give_back(&self, spot: Spot, tenure: u64, length: u64) -> bool {
        self.swap(spot, word(spot, CLAIMED, tenure, length), word(spot, RETURNED, tenure, length))
    }

    /// Gives back what is behind the first `kept` of a span.
    pub(crate) fn give_back_rest(&self, spot: Spot, tenure: u64, length: u64, kept: u64) -> bool {
        self.split(spot, tenure, (length, kept), CLAIMED, RETURNED)
    }

    fn split(&self, spot: Spot, tenure: u64, (length, first): (u64, u64), before: u64, behind: u64) -> bool {
        debug_assert!(0 < first && first < length);
        let rest = self.advance(spot, first * self.layout.unit);
        // Nobody looks there in this lap before the first word says that a span begins there. Release, for who takes it for a boundary of an earlier lap: that one has to see a head that is
        // beyond it.
        self.word(rest).store(word(rest, behind, tenure, length - first), Ordering::Release);
        self.swap(spot, word(spot, CLAIMED, tenure, length), word(spot, before, tenure, first))
    }

    /// Notes the length of a message that is too long for a claim: before it is published.
    pub(crate) fn note_long(&self, spot: Spot, positions: u64) {
        if positions / self.layout.unit > LONGEST {
            let second = self.second(spot);
            // With its lap, as every word has: whoever is late and takes this for a boundary of an earlier lap finds out. Release: pairs with the Acquire in `positions`.
            let word = (second.lap & LAP_MASK) << LAP_SHIFT | (positions / self.layout.unit) << LENGTH_SHIFT;
            self.word(second).store(word, Ordering::Release);
        }
    }

    /// The word behind a span's first: in the middle of one that is long.
    fn second(&self, spot: Spot) -> Spot {
        self.advance(spot, self.layout.grain.min(self.layout.ring))
    }

    /// How many positions a span takes that has this length; at most a lap. A length of 0 stands for one message that is too long for a word.
    pub(crate) fn positions(&self, spot: Spot, length: u64) -> Result<u64, RingError> {
        let positions = match length {
            0 if self.layout.unit > 1 => self.long(spot),
            length => length * self.layout.unit,
        };
        if positions == 0 || positions > self.layout.ring || !positions.is_multiple_of(self.layout.unit) {
            let (what, limit) = ("the length of claimed messages", self.layout.ring);
            return Err(RingError::Corrupted { what, found: positions, limit });
        }
        Ok(positions)
    }

    /// What a producer noted of a message that is too long for its claim; 0 if that is not of this lap.
    fn long(&self, spot: Spot) -> u64 {
        let second = self.second(spot);
        // Acquire: if a producer of a later lap wrote it, the head that let it is seen by the look at the head that follows.
        let word = self.word(second).load(Ordering::Acquire);
        let noted = word >> LAP_SHIFT == second.lap & LAP_MASK && word & 3 == 0;
        if noted { (word >> LENGTH_SHIFT & LONG_MASK) * self.layout.unit } else { 0 }
    }

    /// What `head` holds, and where the acknowledged part ends that reaches on from there. Ends after a lap, whatever stands in the words.
    pub(crate) fn end_of_done(&self, head: &AtomicU64) -> Result<(u64, u64), RingError> {
        // Pairs with the Release of who moved it: that all before it is done with happened before.
        let begun = head.load(Ordering::Acquire);
        let mut spot = self.spot(begun);
        let first = spot.position;
        while spot.position.wrapping_sub(first) < self.layout.ring {
            let Claim::Done { length } = Claim::decode(self.look(spot), spot) else { break };
            let positions = self.positions(spot, length);
            // A length that does not stand in the claim may be of a later lap, if others have moved the head beyond it meanwhile.
            if length == 0 && head.load(Ordering::Acquire) != begun {
                break;
            }
            spot = self.advance(spot, positions?);
        }
        Ok((begun, spot.position))
    }
}

// Words of their own, which no checker watches.
#[cfg(test)]
#[cfg(not(any(ipc_model = "loom", ipc_model = "shuttle")))]
mod tests {
    use super::*;
    use ipc_core::segment::PayloadType;
    use ipc_core::{Object, ObjectKind, Segment};
    use proptest::prelude::*;

    fn claims(ring: u64, grain: u64, unit: u64) -> (Object, Claims) {
        let segment = Segment::memfd("test").size(1 << 16).create().unwrap();
        let kind = ObjectKind { name: "claims", code: 1 };
        let size = ClaimsLayout::bytes(ring, grain).unwrap() + 64;
        let object = segment.create_object("words", kind, PayloadType::bytes(), size, |_| {}).unwrap();
        let data = (NonNull::new(object.region.as_ptr()).unwrap(), object.region.len());
        let claims = Claims::new(data, ClaimsLayout { at: 64, ring, grain, unit });
        (object, claims)
    }

    fn say(claims: &Claims, position: u64) -> Claim {
        let spot = claims.spot(position);
        Claim::decode(claims.look(spot), spot)
    }

    #[test]
    fn a_span_is_claimed_once_and_what_is_done_stays_done() {
        let (_object, claims) = claims(14, 1, 1);
        let spot = claims.spot(14 * 5 + 3);
        let free = claims.look(spot);
        assert!(claims.claim(spot, free, 7, 4));
        assert!(!claims.claim(spot, free, 8, 2), "claimed");
        assert_eq!(say(&claims, 73), Claim::Claimed { tenure: 7, length: 4 });
        assert!(!claims.acknowledge(spot, 8, 4), "another's");
        assert!(claims.acknowledge_part(spot, 7, 4, 1));
        assert_eq!(say(&claims, 73), Claim::Done { length: 1 });
        assert_eq!(say(&claims, 74), Claim::Claimed { tenure: 7, length: 3 });
        assert!(!claims.acknowledge(spot, 7, 4) && !claims.give_back(spot, 7, 4));
        let rest = claims.spot(74);
        assert!(claims.give_back_rest(rest, 7, 3, 2));
        assert_eq!(say(&claims, 76), Claim::Returned { length: 1 });
        let found = claims.look(claims.spot(76));
        assert!(claims.claim(claims.spot(76), found, 9, 1) && claims.acknowledge(rest, 7, 2));
        let head = AtomicU64::new(73);
        assert_eq!(claims.end_of_done(&head), Ok((73, 76)));
        assert!(claims.acknowledge(claims.spot(76), 9, 1));
        assert_eq!(claims.end_of_done(&head), Ok((73, 77)));
    }

    #[test]
    fn words_of_other_laps() {
        let (_object, claims) = claims(14, 1, 1);
        let spot = claims.spot(14 * 9);
        assert!(claims.claim(spot, 0, 7, 4));
        assert_eq!(say(&claims, 14 * 10), Claim::Free, "of an earlier lap");
        assert_eq!(say(&claims, 14 * 8), Claim::Later);
        assert_eq!(say(&claims, 14 * 9), Claim::Claimed { tenure: 7, length: 4 });
    }

    #[test]
    fn lengths_that_cannot_be() {
        let (object, claims) = claims(640, 32, 8);
        let spot = claims.spot(640);
        assert!(claims.positions(spot, 81).is_err());
        assert!(claims.positions(spot, 0).is_err(), "not noted");
        claims.note_long(spot, 8);
        assert!(claims.positions(spot, 0).is_err(), "short");
        let long = |lap: u64, positions: u64| {
            object.region.u64_at(64 + 8).store(lap << LAP_SHIFT | (positions / 8) << LENGTH_SHIFT, Ordering::Relaxed);
            claims.positions(spot, 0)
        };
        assert!(long(1, 648).is_err(), "more than a lap");
        assert!(long(0, 640).is_err() && long(2, 640).is_err(), "of another lap");
        assert_eq!(long(1, 640), Ok(640));
        // Of the lap before, where a span begins now: nobody has claimed it.
        assert_eq!(say(&claims, 2 * 640 + 32), Claim::Free);
        // Of a later one, to who is late.
        assert_eq!(say(&claims, 32), Claim::Later);
    }

    proptest! {
        /// Whatever stands in the words and in the head: an end, and no panic.
        #[test]
        fn any_words_have_an_end(words in proptest::collection::vec(any::<u64>(), 20), head in any::<u64>(), records in any::<bool>()) {
            let (object, claims) = if records { claims(640, 32, 8) } else { claims(20, 1, 1) };
            for (index, word) in words.into_iter().enumerate() {
                // Half of them of this lap.
                let of_lap = claims.spot(head).lap << LAP_SHIFT | word & ((1 << LAP_SHIFT) - 1);
                object.region.u64_at(64 + 8 * index).store(if index % 2 == 0 { of_lap } else { word }, Ordering::Relaxed);
            }
            if let Ok((begun, end)) = claims.end_of_done(&AtomicU64::new(head)) {
                prop_assert!(begun == head && end.wrapping_sub(head - head % 8) <= 2 * claims.ring());
            }
        }

        #[test]
        fn spots_go_on_as_positions_do(position in 0_u64..1 << 40, by in 0_u64..=20) {
            let (_object, claims) = claims(20, 1, 1);
            prop_assert_eq!(claims.advance(claims.spot(position), by), claims.spot(position + by));
        }
    }
}
