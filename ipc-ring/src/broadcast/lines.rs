//! The control lines of a broadcast ring: how far the producer may have written, and the table of those who hold it back.
#![expect(unsafe_code, reason = "words at computed places of a region whose length was checked once")]

use std::ptr::NonNull;

use ipc_core::peer::{PeerDescription, PeerId, Role, RoleState, RoleTable, Roles};
use ipc_core::sync::{self, AtomicU64, LINE_PAIR, Ordering};
use ipc_core::wait::Bell;
use ipc_core::{Error, Object, Region};

use crate::presence::Liveness;
use crate::publisher::Publisher;

// docs/FORMAT.md draws them. Words that different processes write while data moves are a pair of lines apart.
/// Written when the ring is made: capacity, extent, places for consumers.
pub(super) const GEOMETRY: usize = 0;
pub(super) const PUBLISHER: usize = LINE_PAIR;
/// The producer sleeps here, consumers ring. Not written while it is awake.
const PRODUCER_BELL: usize = PUBLISHER + Publisher::SIZE;
/// How far the producer may have written. Written once for a batch of messages; all who read look at it.
const REACH: usize = PRODUCER_BELL + LINE_PAIR;
/// The producer's own line.
const PRODUCER_LINE: usize = REACH + LINE_PAIR;
/// In it, behind where the producer is.
const TIMES_FULL: usize = PRODUCER_LINE + 8;
const PRODUCER_SLEEPS: usize = PRODUCER_LINE + 16;
/// Where the messages of a ring of records are counted: see `checkpoint.rs`.
pub(super) const CHECKPOINTS: usize = PRODUCER_LINE + LINE_PAIR;
/// The table of consumers, two lines each; behind it the data.
const TABLE: usize = CHECKPOINTS + 3 * LINE_PAIR;
const ENTRY: usize = LINE_PAIR;

/// The most consumers that may hold one producer back.
pub(super) const MAX_CONSUMERS: u64 = 1 << 14;

// Offsets in a consumer's entry: all in one line, which the consumer writes.
const ROLE: usize = 0;
const HEAD: usize = 8;
const FENCES: usize = 16;
// Then the role's name, and since when it is held: see `RoleTable`.
const TIMES_EMPTY: usize = 40;
const SLEEPS: usize = 48;

/// Where the data begins, with places for so many consumers.
pub(super) fn data(consumers: u64) -> u64 {
    TABLE as u64 + consumers * ENTRY as u64
}

/// Where the roles stand, for whoever lists them.
pub(super) fn roles(consumers: u64) -> Roles {
    let places = RoleTable { offset: TABLE as u64, stride: ENTRY as u64, count: consumers as u32 };
    Roles { own: Publisher::roles(PUBLISHER), places }
}

/// Names the roles of a ring that is being made.
pub(super) fn name_roles(region: &Region, consumers: u64) {
    let Roles { own, places } = roles(consumers);
    own.name(region, 0, "producer");
    (0..places.count).for_each(|place| places.name(region, place, "consumer"));
}

/// The producer's counters of a ring, as of one look. They are not of one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Position up to which the producer has published: messages, or bytes with framing for records. May be a few messages behind.
    pub published: u64,
    /// Position from which on messages are still there, in the same unit: the oldest that a consumer can begin with.
    pub oldest: u64,
    /// How often the producer found the ring full.
    pub times_full: u64,
    /// How often the producer slept.
    pub producer_sleeps: u64,
}

/// A consumer that holds its place in the table, as of one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerInfo {
    /// Its place in the table.
    pub place: usize,
    /// Who it is.
    pub peer: PeerDescription,
    /// Whether the kernel says that it lives. One that does not holds nobody back.
    pub alive: bool,
    /// Position up to which it has acknowledged: messages, or bytes with framing for records.
    pub acknowledged: u64,
    /// How far that is behind what the producer has published.
    pub behind: u64,
    /// How often it waited and found nothing at first.
    pub times_empty: u64,
    /// How often it slept.
    pub sleeps: u64,
}

impl Stats {
    /// The counters of a ring that holds so many positions: `load` gives the word at an offset in its control lines.
    pub(super) fn read(span: u64, load: impl Fn(usize) -> u64) -> Self {
        Self {
            published: load(PRODUCER_LINE),
            oldest: load(REACH).saturating_sub(span),
            times_full: load(TIMES_FULL),
            producer_sleeps: load(PRODUCER_SLEEPS),
        }
    }
}

impl ConsumerInfo {
    /// Who has a place, and how far that one is: `load` gives the word at an offset in the ring's control lines.
    fn read(place: usize, peer: PeerId, load: impl Fn(usize) -> u64, peers: &impl Liveness) -> Self {
        let of = |offset: usize| load(entry(place) + offset);
        let acknowledged = of(HEAD);
        Self {
            place,
            peer: peers.describe(peer),
            alive: peers.lives(peer),
            acknowledged,
            behind: load(PRODUCER_LINE).saturating_sub(acknowledged),
            times_empty: of(TIMES_EMPTY),
            sleeps: of(SLEEPS),
        }
    }

    /// Everyone in a table of so many places, and whether they live: a few system calls for each.
    pub(super) fn all(places: usize, load: impl Fn(usize) -> u64, peers: &impl Liveness) -> Vec<Self> {
        let held = |place| match RoleState::from_bits(load(entry(place) + ROLE)) {
            RoleState::Held(peer) => Some(Self::read(place, peer, &load, peers)),
            RoleState::Unclaimed | RoleState::Released(_) => None,
        };
        (0..places).filter_map(held).collect()
    }
}

/// Where a place of the table begins.
const fn entry(place: usize) -> usize {
    TABLE + place * ENTRY
}

/// The control lines of one ring.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    base: NonNull<u8>,
    region: Region,
    publisher: Publisher,
    /// Places in the table.
    places: usize,
    /// Positions that the data holds.
    pub(super) span: u64,
    /// What is written over together: the items of a cell, or the bytes of a line.
    pub(super) unit: u64,
}

// SAFETY: a pointer into a region that the value holds, used for atomic accesses only: no thread owns it.
unsafe impl Send for Lines {}
// SAFETY: as above.
unsafe impl Sync for Lines {}

impl Lines {
    /// The lines at the beginning of the object, with a table of so many places; the geometry was checked.
    pub(super) fn new(object: &Object, places: u64, span: u64, unit: u64) -> Result<Self, Error> {
        let region = object.region.clone();
        let Some(base) = NonNull::new(region.as_ptr()).filter(|_| data(places) <= region.len() as u64) else {
            return Err(object.corrupted("the size of a ring", format!("at least {}", data(places)), region.len()));
        };
        let publisher = Publisher::new(&region, PUBLISHER, "producer");
        sync::enroll(&region, PRODUCER_BELL, 8);
        sync::enroll(&region, REACH, 8);
        sync::enroll(&region, PRODUCER_LINE, 32);
        sync::enroll(&region, CHECKPOINTS, 8);
        sync::enroll(&region, CHECKPOINTS + LINE_PAIR, 2 * LINE_PAIR);
        (0..places as usize).for_each(|place| sync::enroll(&region, TABLE + place * ENTRY, 56));
        Ok(Self { base, region, publisher, places: places as usize, span, unit })
    }

    #[inline(always)]
    pub(super) fn u64(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset + 8 <= TABLE + self.places * ENTRY && offset.is_multiple_of(8));
        // SAFETY: all callers name words of the control lines, which are inside the region (checked in `new`); aligned as its beginning is a multiple of two
        // lines, mapped while `region` lives, and used for atomic accesses only.
        unsafe { sync::word64(self.base.add(offset)) }
    }

    pub(super) fn region(&self) -> &Region {
        &self.region
    }

    #[inline(always)]
    pub(super) fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    pub(super) fn places(&self) -> usize {
        self.places
    }

    /// Where the data begins.
    pub(super) fn data(&self) -> usize {
        TABLE + self.places * ENTRY
    }

    /// The position at and beyond which the producer has written nothing: a multiple of the unit. It is stored before anything is written
    /// that it allows, so a position less than a [span](Self::span) before it is intact.
    #[inline(always)]
    pub(super) fn reach(&self) -> &AtomicU64 {
        self.u64(REACH)
    }

    /// How far the producer is, or was a moment ago: a position at which a publication ended.
    #[inline(always)]
    pub(super) fn tail_hint(&self) -> &AtomicU64 {
        self.u64(PRODUCER_LINE)
    }

    pub(super) fn times_full(&self) -> &AtomicU64 {
        self.u64(TIMES_FULL)
    }

    pub(super) fn producer_sleeps(&self) -> &AtomicU64 {
        self.u64(PRODUCER_SLEEPS)
    }

    /// The producer's note whether all who hold it back execute barriers on request: its own word, here because a wait looks for one in shared memory.
    pub(super) fn fences_of_all(&self) -> &AtomicU64 {
        self.u64(PRODUCER_LINE + 24)
    }

    pub(super) fn producer_bell(&self) -> Bell<'_> {
        // SAFETY: as for `u64`.
        Bell::new(unsafe { sync::word32(self.base.add(PRODUCER_BELL)) })
    }

    fn entry(&self, place: usize, offset: usize) -> &AtomicU64 {
        assert!(place < self.places, "a place in the table");
        self.u64(entry(place) + offset)
    }

    pub(super) fn role(&self, place: usize) -> Role<'_> {
        Role::new(self.entry(place, ROLE), "consumer")
    }

    /// How far the consumer there has acknowledged.
    pub(super) fn head(&self, place: usize) -> &AtomicU64 {
        self.entry(place, HEAD)
    }

    pub(super) fn fences(&self, place: usize) -> &AtomicU64 {
        self.entry(place, FENCES)
    }

    /// Notes since when the place is held, for whoever lists the roles.
    pub(super) fn note_claim(&self, place: usize) {
        roles(self.places as u64).places.note_claim(&self.region, place as u32);
    }

    pub(super) fn times_empty(&self, place: usize) -> &AtomicU64 {
        self.entry(place, TIMES_EMPTY)
    }

    pub(super) fn sleeps(&self, place: usize) -> &AtomicU64 {
        self.entry(place, SLEEPS)
    }

    /// Who has that place, whether it lives or not.
    pub(super) fn holder(&self, place: usize) -> Option<PeerId> {
        match self.role(place).state() {
            RoleState::Held(peer) => Some(peer),
            RoleState::Unclaimed | RoleState::Released(_) => None,
        }
    }

    /// The oldest position that is intact when the producer's reach is this.
    #[inline(always)]
    pub(super) fn oldest(&self, reach: u64) -> u64 {
        reach.saturating_sub(self.span)
    }

    /// How far the producer may write when everything before `head` is done with: a multiple of the unit.
    #[inline(always)]
    pub(super) fn limit(&self, head: u64) -> u64 {
        (head / self.unit * self.unit).wrapping_add(self.span)
    }

    /// Whether what was read from `position` on, before an Acquire fence, had not been written over.
    #[inline(always)]
    pub(super) fn is_intact(&self, position: u64) -> bool {
        // Relaxed: the caller's fence orders it behind the reads. Pairs with the fence in `Gate::declare`: bytes of a later lap come with the reach that allowed them.
        self.reach().load(Ordering::Relaxed).wrapping_sub(position) <= self.span
    }

    pub(super) fn stats(&self) -> Stats {
        Stats::read(self.span, |offset| self.u64(offset).load(Ordering::Relaxed))
    }

    /// Everyone in the table, and whether they live: a few system calls for each.
    pub(super) fn consumers(&self) -> Vec<ConsumerInfo> {
        let load = |offset| self.u64(offset).load(Ordering::Acquire);
        ConsumerInfo::all(self.places, load, self.region.segment())
    }

    pub(super) fn consumer(&self, place: usize, peer: PeerId) -> ConsumerInfo {
        ConsumerInfo::read(place, peer, |offset| self.u64(offset).load(Ordering::Relaxed), self.region.segment())
    }
}

/// Adds one to a counter that only this process writes.
pub(super) fn count(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}
