//! The words of a ring that are not its slots': who is there, how far the order is, who sleeps. docs/FORMAT.md draws them.
#![expect(unsafe_code, reason = "words at fixed places of a region whose length was checked once")]

use std::ptr::NonNull;

use ipc_core::peer::{PeerId, ROLE_ENTRY_SIZE, RoleState, RoleTable, Roles};
use ipc_core::sync::{self, AtomicU32, AtomicU64, LINE_PAIR, Ordering, light_fence, unmodelled};
use ipc_core::wait::Bell;
use ipc_core::{Error, Object, Region};

use super::word::{MAX_POSITION, MOST_PRODUCERS};
use crate::error::{RingError, Side};
use crate::presence::{self, Liveness, STATUS_SHIFT, SideState};
use crate::publisher::Publisher;
use crate::spsc::Stats;

// Offsets from the beginning of the object. Words that different processes write while data moves are a pair of lines apart.
/// Capacity, extent, places; written when the ring is made.
pub(super) const GEOMETRY: usize = 0;
/// The consumer's side, and the bell on which producers sleep who wait for room.
pub(super) const CONSUMER: usize = LINE_PAIR;
/// The consumer sleeps here.
const BELL: usize = CONSUMER + Publisher::SIZE;
/// Where a claim ended.
const TAIL: usize = BELL + LINE_PAIR;
/// What the consumer is done with.
const HEAD: usize = TAIL + LINE_PAIR;
/// Counters of the consumer, on a line that it owns.
const COUNTERS: usize = HEAD + LINE_PAIR;
/// The table of producers.
const PLACES: usize = COUNTERS + LINE_PAIR;

// Offsets in a producer's place: its role, and behind it what every role has.
const ROLE: usize = 0;
const STATUS: usize = 8;
const FENCES: usize = 16;
const CLAIMS: usize = ROLE_ENTRY_SIZE;
const LEFT: usize = CLAIMS + 8;
const PLACE_WORDS: usize = LEFT + 8;
/// Counters of the producers that had the place.
const PLACE_COUNTERS: usize = LINE_PAIR / 2;
const _: () = assert!(PLACE_WORDS <= PLACE_COUNTERS);

// Counters in a place.
pub(super) const PUBLISHED: usize = 0;
pub(super) const PUBLISHED_BYTES: usize = 8;
pub(super) const TIMES_FULL: usize = 16;
pub(super) const PRODUCER_SLEEPS: usize = 24;
pub(super) const HIGH_WATER: usize = 32;
/// Counters of the consumer.
pub(super) const CONSUMED: usize = 0;
pub(super) const CONSUMED_BYTES: usize = 8;
pub(super) const TIMES_EMPTY: usize = 16;
pub(super) const CONSUMER_SLEEPS: usize = 24;
const COUNTER_BYTES: usize = 40;

// How a producer left, beside its identity.
pub(super) const DIED: u64 = 0;
pub(super) const CLOSED: u64 = presence::CLOSED << STATUS_SHIFT;
pub(super) const GAVE_UP: u64 = presence::GAVE_UP << STATUS_SHIFT;
pub(super) const HANDED_OVER: u64 = presence::HANDED_OVER << STATUS_SHIFT;
const HOW: u64 = 3 << STATUS_SHIFT;

/// How often a place is looked at again while others come and go there.
const ATTEMPTS: usize = 100;

/// The head's low bits: how many items of the span that begins there.
const TAKEN_BITS: u32 = 8;
/// Items of the longest span.
pub(super) const LONGEST_SPAN: u64 = 1 << TAKEN_BITS;

/// Where the data begins, in a ring of so many places.
pub(super) const fn data(places: usize) -> u64 {
    PLACES as u64 + places as u64 * LINE_PAIR as u64
}

/// What is derived from a ring's options, and checked against what stands in the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    /// As it was asked for: values, or bytes.
    pub(super) capacity: u64,
    /// Slots, or lines.
    pub(super) extent: u64,
    /// Producers at a time.
    pub(super) places: usize,
    /// Bytes of the object.
    pub(super) size: u64,
}

impl Geometry {
    /// `extent` and `data` are what a ring of this capacity is made of, and its bytes. `None` if there is no such ring.
    pub(super) fn new(capacity: u64, places: usize, (extent, bytes): (u64, u64)) -> Option<Self> {
        if !(1..=MOST_PRODUCERS).contains(&places) {
            return None;
        }
        let size = bytes.checked_add(data(places)).filter(|size| isize::try_from(*size).is_ok())?;
        Some(Self { capacity, extent, places, size })
    }

    /// Where the roles stand: the consumer's, and the producers'.
    pub(super) fn roles(&self) -> Roles {
        let places = RoleTable { offset: PLACES as u64, stride: LINE_PAIR as u64, count: self.places as u32 };
        Roles { own: Publisher::roles(CONSUMER), places }
    }

    /// Writes what [`read`](Self::read) checks, and names the roles.
    pub(super) fn write(&self, region: &Region) {
        let Roles { own, places } = self.roles();
        own.name(region, 0, "consumer");
        (0..places.count).for_each(|place| places.name(region, place, "producer"));
        for (index, word) in [self.capacity, self.extent, self.places as u64].into_iter().enumerate() {
            region.u64_at(GEOMETRY + 8 * index).store(word, Ordering::Relaxed);
        }
    }

    /// Reads capacity and places once, derives everything from them, and compares that with what stands there and with the object's size.
    pub(super) fn read(object: &Object, derive: impl FnOnce(u64) -> Option<(u64, u64)>) -> Result<Self, Error> {
        if object.region.len() < PLACES {
            return Err(object.corrupted("the size of a ring", format!("at least {PLACES}"), object.region.len()));
        }
        let word = |index: usize| object.region.u64_at(GEOMETRY + 8 * index).load(Ordering::Relaxed);
        let (capacity, extent, places) = (word(0), word(1), word(2));
        let derived = usize::try_from(places)
            .ok()
            .and_then(|places| Self::new(capacity, places, derive(capacity)?))
            .filter(|derived| derived.extent == extent && derived.size == object.region.len() as u64);
        derived.ok_or_else(|| {
            object.corrupted(
                "the geometry of the ring",
                "places and an extent that make up its size",
                format!("capacity {capacity}, extent {extent}, places {places}, size {}", object.region.len()),
            )
        })
    }
}

/// How far the consumer is: everything before `start` is done with, and so many items of the span that begins there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) start: u64,
    pub(super) taken: u64,
}

impl Head {
    fn decode(word: u64) -> Result<Self, RingError> {
        let head = Self { start: word >> TAKEN_BITS, taken: word & (LONGEST_SPAN - 1) };
        if head.start > MAX_POSITION {
            return Err(RingError::Corrupted { what: "the head", found: head.start, limit: MAX_POSITION });
        }
        Ok(head)
    }

    pub(super) fn encode(self) -> u64 {
        self.start << TAKEN_BITS | self.taken & (LONGEST_SPAN - 1)
    }
}

/// The words of one ring.
#[derive(Debug, Clone)]
pub(super) struct Control {
    base: NonNull<u8>,
    places: usize,
    consumer: Publisher,
    region: Region,
}

// SAFETY: a pointer into a region that the value holds, used for atomic accesses only: no thread owns it.
unsafe impl Send for Control {}
// SAFETY: as above.
unsafe impl Sync for Control {}

impl Control {
    /// The words of a ring whose geometry was checked.
    pub(super) fn new(object: &Object, geometry: &Geometry) -> Self {
        let region = object.region.clone();
        assert!(data(geometry.places) <= region.len() as u64, "the geometry was checked");
        for at in [BELL, TAIL, HEAD] {
            sync::enroll(&region, at, 8);
        }
        for place in 0..geometry.places {
            sync::enroll(&region, PLACES + place * LINE_PAIR, PLACE_WORDS);
        }
        // SAFETY: the region's first byte is not at address zero.
        let base = unsafe { NonNull::new_unchecked(region.as_ptr()) };
        Self { base, places: geometry.places, consumer: Publisher::of_room(&region, CONSUMER), region }
    }

    pub(super) fn region(&self) -> &Region {
        &self.region
    }

    /// How many producers there may be.
    pub(super) fn places(&self) -> usize {
        self.places
    }

    #[inline(always)]
    fn u64(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at as u64 + 8 <= data(self.places) && at.is_multiple_of(8));
        // SAFETY: `at` is one of the constants above, or in a place of the table: before the data, which is inside the region (checked in
        // `new`), aligned, mapped while `region` lives, and used for atomic accesses only.
        unsafe { sync::word64(self.base.add(at)) }
    }

    #[inline(always)]
    fn of_place(&self, place: usize, offset: usize) -> &AtomicU64 {
        self.u64(self.place_at(place) + offset)
    }

    /// Where a place begins: inside the table, whatever number was found somewhere.
    #[inline(always)]
    fn place_at(&self, place: usize) -> usize {
        place_at(if place < self.places { place } else { 0 })
    }

    /// The consumer's side, and the bell of those who wait for room.
    #[inline(always)]
    pub(super) fn consumer(&self) -> &Publisher {
        &self.consumer
    }

    /// The consumer's bell.
    #[inline(always)]
    pub(super) fn bell(&self) -> Bell<'_> {
        // SAFETY: as for `u64`.
        let word: &AtomicU32 = unsafe { sync::word32(self.base.add(BELL)) };
        Bell::new(word)
    }

    /// Wakes the consumer, if it sleeps. Call it after what it waits for was stored.
    #[inline(always)]
    pub(super) fn wake_consumer(&self) {
        // Orders that store before the look at the bell; the proof stands at `Bell`.
        light_fence();
        self.bell().ring();
    }

    /// Where a claim ended, a moment ago: everything before it was claimed. It may go back when two are at it.
    #[inline(always)]
    pub(super) fn tail(&self) -> &AtomicU64 {
        self.u64(TAIL)
    }

    /// How far the consumer has acknowledged.
    #[inline(always)]
    pub(super) fn head(&self) -> Result<Head, RingError> {
        // Pairs with the consumer's Release: its reads happened before we write there again.
        Head::decode(self.u64(HEAD).load(Ordering::Acquire))
    }

    /// Tells the producers, and a successor, how far the consumer is.
    #[inline(always)]
    pub(super) fn set_head(&self, head: Head) {
        // Release: our reads happened before a producer, which loads this with Acquire, writes there again.
        self.u64(HEAD).store(head.encode(), Ordering::Release);
    }

    /// The role of a producer. Changed by compare-and-swap only.
    #[inline(always)]
    pub(super) fn role(&self, place: usize) -> &AtomicU64 {
        self.of_place(place, ROLE)
    }

    /// Who has a place, or had it last.
    pub(super) fn state(&self, place: usize) -> RoleState {
        // Acquire: who sees a holder gone sees what it did before, and how it left.
        RoleState::from_bits(self.role(place).load(Ordering::Acquire))
    }

    /// How the last producer there left, beside its identity. Of another one than the role's it says nothing.
    pub(super) fn status(&self, place: usize) -> &AtomicU64 {
        self.of_place(place, STATUS)
    }

    /// How `peer`, which had let go of the place or from whom it was taken back, had left it. Holds only if nobody has come since the role was looked at: see [`standing`](Self::standing).
    pub(super) fn how(&self, place: usize, peer: PeerId) -> u64 {
        how(self.status(place).load(Ordering::Relaxed), peer)
    }

    /// What stands in a place, word by word: it stood there at one moment if the same is found again afterwards, since nobody comes without being counted.
    pub(super) fn standing(&self, place: usize) -> Standing {
        Standing::read(|offset| self.of_place(place, offset).load(Ordering::Acquire))
    }

    /// Non-zero while the process of the producer there executes barriers on request.
    pub(super) fn fences(&self, place: usize) -> &AtomicU64 {
        self.of_place(place, FENCES)
    }

    /// How many producers the place has had. Written by the one who has it.
    pub(super) fn claims(&self, place: usize) -> &AtomicU64 {
        self.of_place(place, CLAIMS)
    }

    /// The last one there who died, or gave up, before anybody was told: its identity, and how. Written by its successor.
    pub(super) fn left(&self, place: usize) -> &AtomicU64 {
        self.of_place(place, LEFT)
    }

    /// Since when the role is held, for whoever lists the roles.
    pub(super) fn note_claim(&self, place: usize) {
        let table = RoleTable { offset: PLACES as u64, stride: LINE_PAIR as u64, count: self.places as u32 };
        table.note_claim(&self.region, place as u32);
    }

    /// How a producer is; asks the kernel whether it lives.
    pub(super) fn side(&self, place: usize) -> SideState {
        let load = |offset| self.of_place(place, offset).load(Ordering::Acquire);
        producer_side(load, self.region.segment())
    }

    #[inline(always)]
    fn counter_at(&self, at: usize) -> &unmodelled::AtomicU64 {
        debug_assert!(at as u64 + 8 <= data(self.places) && at.is_multiple_of(8));
        // SAFETY: as for `u64`. Not of the protocol, so no model checker looks at it.
        unsafe { self.base.add(at).cast().as_ref() }
    }

    /// A counter that the producer at this place writes, and anybody reads.
    #[inline(always)]
    pub(super) fn of_producer(&self, place: usize, counter: usize) -> &unmodelled::AtomicU64 {
        debug_assert!(counter < COUNTER_BYTES);
        self.counter_at(self.place_at(place) + PLACE_COUNTERS + counter)
    }

    /// A counter that the consumer writes.
    #[inline(always)]
    pub(super) fn of_consumer(&self, counter: usize) -> &unmodelled::AtomicU64 {
        debug_assert!(counter < COUNTER_BYTES);
        self.counter_at(COUNTERS + counter)
    }

    /// The counters of one place; those that are the consumer's, or the ring's, are zero.
    pub(super) fn producer_stats(&self, place: usize) -> Stats {
        producer_stats(self.place_at(place), |at| self.counter_at(at).load(Ordering::Relaxed))
    }

    /// The counters of the ring. `unit` is what a slot counts for in `capacity`.
    pub(super) fn stats(&self, capacity: u64, unit: u64) -> Stats {
        // The head first: it does not pass a tail that is read behind it.
        let head = self.head().map_or(0, Head::encode);
        let order = (head, self.tail().load(Ordering::Relaxed));
        stats(self.places, capacity, unit, order, |at| self.counter_at(at).load(Ordering::Relaxed))
    }

    /// Whether it is one that can be told to a producer: of the consumer's side only, and no end.
    pub(super) fn no_room(&self) -> RingError {
        self.consumer.gone().unwrap_or(RingError::Full)
    }

    /// The error of a dead producer.
    pub(super) fn died(&self, peer: PeerId) -> RingError {
        RingError::PeerDied { side: Side::Producer, peer: self.region.segment().describe_peer(peer) }
    }
}

/// What the words of a place say of who has it, or had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) state: RoleState,
    /// Word of one who died, or gave up, from its successor.
    pub(super) left: u64,
    /// How many have come.
    pub(super) claims: u64,
    /// How the last one left, if it is its identity that stands beside.
    pub(super) status: u64,
}

impl Standing {
    /// As of one look: `load` gives the word at an offset in the place, with Acquire.
    fn read(load: impl Fn(usize) -> u64) -> Self {
        // In this order, which each Acquire keeps, so that what is found again was there all the time: who comes takes the role, clears the status, is counted. They pair with the Releases of
        // `take`: who sees the status cleared finds the role taken when it looks again.
        let (state, left, claims) = (RoleState::from_bits(load(ROLE)), load(LEFT), load(CLAIMS));
        Self { state, left, claims, status: load(STATUS) }
    }

    /// What stands there at one moment, unless others come and go without end.
    fn now(load: impl Fn(usize) -> u64) -> Self {
        let mut seen = Self::read(&load);
        for _ in 0..ATTEMPTS {
            let again = Self::read(&load);
            if again == seen {
                break;
            }
            seen = again;
        }
        seen
    }
}

/// How the producer of a place is: `load` gives the word at an offset in the place, with Acquire. Asks the kernel whether it lives.
pub(super) fn producer_side(load: impl Fn(usize) -> u64, peers: &impl Liveness) -> SideState {
    let told = || match Standing::now(&load) {
        Standing { state: RoleState::Unclaimed, .. } => Ok(SideState::Awaited),
        Standing { state: RoleState::Held(peer), .. } => Err(peer),
        Standing { state: RoleState::Released(peer), status, .. } => Ok(match how(status, peer) {
            CLOSED => SideState::Closed,
            HANDED_OVER => SideState::Awaited,
            GAVE_UP => SideState::GaveUp,
            _ => SideState::Died(peers.describe(peer)),
        }),
    };
    let peer = match told() {
        Ok(state) => return state,
        Err(peer) => peer,
    };
    if peers.lives(peer) {
        return SideState::Held(peers.describe(peer));
    }
    // It may have let go between the look at the role and the question: then it left in order.
    match told() {
        Ok(state) => state,
        // Killed on its last steps, with all published and said.
        Err(now) if now == peer && how(load(STATUS), peer) == CLOSED => SideState::Closed,
        Err(now) if now == peer => SideState::Died(peers.describe(peer)),
        // Another one already: it lived a moment ago.
        Err(now) => SideState::Held(peers.describe(now)),
    }
}

/// Where a place of the table begins.
pub(super) const fn place_at(place: usize) -> usize {
    PLACES + place * LINE_PAIR
}

/// The counters of the place that begins at `at`; those that are the consumer's, or the ring's, are zero. `load` gives the word at an offset in the object.
pub(super) fn producer_stats(at: usize, load: impl Fn(usize) -> u64) -> Stats {
    let of = |counter| load(at + PLACE_COUNTERS + counter);
    Stats {
        published: of(PUBLISHED),
        published_bytes: of(PUBLISHED_BYTES),
        times_full: of(TIMES_FULL),
        producer_sleeps: of(PRODUCER_SLEEPS),
        high_water: of(HIGH_WATER),
        ..Stats::default()
    }
}

/// The head and the tail of a ring that is only looked at, in this order: see [`Control::stats`].
pub(super) fn order(load: impl Fn(usize) -> u64) -> (u64, u64) {
    (load(HEAD), load(TAIL))
}

/// The counters of a ring of so many places. `unit` is what a slot counts for in `capacity`; `order` is its head and its tail; `load` gives the counter at an offset in the object.
pub(super) fn stats(
    places: usize,
    capacity: u64,
    unit: u64,
    (head, tail): (u64, u64),
    load: impl Fn(usize) -> u64,
) -> Stats {
    let of = |counter| load(COUNTERS + counter);
    let head = Head::decode(head).map_or(0, |head| head.start + head.taken);
    let own = Stats {
        consumed: of(CONSUMED),
        consumed_bytes: of(CONSUMED_BYTES),
        times_empty: of(TIMES_EMPTY),
        consumer_sleeps: of(CONSUMER_SLEEPS),
        capacity,
        // The tail is told of later than the consumer may have gone beyond it.
        in_use: tail.saturating_sub(head).saturating_mul(unit),
        ..Stats::default()
    };
    (0..places).fold(own, |sum, place| sum.and(&producer_stats(place_at(place), &load)))
}

/// How `peer` left, as a status says.
pub(super) fn how(status: u64, peer: PeerId) -> u64 {
    if status & !HOW == peer.to_bits() { status & HOW } else { DIED }
}

/// Whom a word of one who left names: zero if nobody.
pub(super) fn who(left: u64) -> u64 {
    left & !HOW
}

/// Adds one to a counter that only this process writes.
pub(super) fn count(counter: &unmodelled::AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometries_that_cannot_be() {
        assert!(Geometry::new(1, 0, (1, 64)).is_none());
        assert!(Geometry::new(1, MOST_PRODUCERS + 1, (1, 64)).is_none());
        assert!(Geometry::new(1, 1, (1, u64::MAX)).is_none());
        assert!(Geometry::new(1, 1, (1, u64::MAX / 2)).is_none());
        let geometry = Geometry::new(1, MOST_PRODUCERS, (1, 64)).unwrap();
        assert_eq!(geometry.size, (PLACES + MOST_PRODUCERS * LINE_PAIR + 64) as u64);
        assert!(geometry.roles().places.count == MOST_PRODUCERS as u32);
    }

    #[test]
    fn a_head_is_what_was_said() {
        for head in [Head { start: 0, taken: 0 }, Head { start: MAX_POSITION, taken: 255 }] {
            assert_eq!(Head::decode(head.encode()), Ok(head));
        }
        assert!(matches!(Head::decode(u64::MAX), Err(RingError::Corrupted { .. })));
    }
}
