//! What a slab's slots are, and who has them: looked at, without disturbing anybody.

use std::time::{Duration, SystemTime};

use super::kinds;
use super::layout::{
    ALLOCATED, CACHED, FAILED, Geometry, HIGH_WATER, HOLDER_ENTRY, HOLDERS, RELEASED, ROLE, SHARERS, SINCE,
    SINCE_JOINED, SLEPT, SLOT_LINE, WORD,
};
use super::members::Role;
use super::word::{State, Word};
use crate::error::{Error, PeerDescription, Result};
use crate::peer::PeerId;
use crate::segment::{ObjectView, Region, SegmentView};
use crate::sync::Ordering;

/// How many slots are what. Counted slot by slot while others use them: of one look, not of one instant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Usage {
    /// Slots in all.
    pub slots: u64,
    /// Free, for anybody.
    pub free: u64,
    /// In the caches of members: free, for the member first.
    pub cached: u64,
    /// In a member's hands, to write.
    pub held: u64,
    /// Offered by a member to whoever brings the handle.
    pub offered: u64,
    /// Whole, in a ring.
    pub in_flight: u64,
    /// Shared by members and rings, to read.
    pub shared: u64,
    /// In no state that there is: a peer does not follow the protocol.
    pub corrupted: u64,
    /// The most slots that were ever not free at once, those in caches included.
    pub high_water: u64,
    /// Slots that were allocated since the slab was made.
    pub allocated: u64,
    /// Slots that were released.
    pub released: u64,
    /// Allocations that found nothing.
    pub failed: u64,
    /// How often members slept for a slot.
    pub sleeps: u64,
    /// Its members.
    pub members: Vec<Member>,
}

/// A member of a slab: a handle of it, open in some process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// The process.
    pub peer: PeerDescription,
    /// When it joined, to some milliseconds.
    pub since: SystemTime,
    /// Slots that it holds, to write.
    pub held: u64,
    /// Slots that it offers.
    pub offered: u64,
    /// Slots in its cache.
    pub cached: u64,
    /// Slots that it shares.
    pub shared: u64,
}

/// What a slot is that is not free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlotState {
    /// In a member's cache.
    Cached,
    /// A member's, to write.
    Held,
    /// A member's, for whoever brings the handle.
    Offered,
    /// In a ring.
    InFlight,
    /// Shared, to read.
    Shared,
    /// In no state that there is.
    Corrupted,
}

/// Who has a slot, or a share of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Holder {
    /// A process; whether it lives is another question.
    Peer(PeerDescription),
    /// A ring, by its name; empty if the directory does not know it.
    Ring(String),
}

/// A slot that is not free.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holding {
    /// The slot's number.
    pub slot: u32,
    /// Bytes that it has room for.
    pub bytes: usize,
    /// What it is.
    pub state: SlotState,
    /// Who has it: one, unless it is shared.
    pub holders: Vec<Holder>,
    /// Since when: it was allocated or received then, to some milliseconds; a cached one last.
    pub since: SystemTime,
}

/// A slab that is only looked at, from a [`SegmentView`]: nothing is written, and nobody is disturbed beyond the fetching of lines.
#[derive(Debug)]
pub struct SlabView<'a> {
    segment: &'a SegmentView,
    object: ObjectView<'a>,
    geometry: Geometry,
}

impl<'a> SlabView<'a> {
    /// Finds the slab of that name, whatever its contents' type.
    ///
    /// # Errors
    ///
    /// [`Error::ObjectNotFound`]; [`Error::ObjectMismatch`] if it is no slab; [`Error::Corrupted`] if its geometry contradicts itself; those of
    /// [`SegmentView::view`].
    pub fn open(segment: &'a SegmentView, name: &str) -> Result<Self> {
        let info = segment.objects().into_iter().find(|info| info.name == name);
        let info = info.ok_or_else(|| Error::ObjectNotFound { name: name.to_owned() })?;
        if kinds().iter().all(|kind| kind.code != info.kind) {
            return Err(Error::ObjectMismatch {
                name: name.to_owned(),
                what: "kind",
                expected: "a slab".into(),
                found: info.describe_kind(),
            });
        }
        let object = segment.view(info)?;
        let len = object.len();
        let geometry = super::read_geometry(|at| if at + 8 <= len { object.load_u64(at) } else { 0 }, len);
        let geometry = geometry.map_err(|(expected, found)| Error::Corrupted {
            path: segment.path(),
            what: "the geometry of the slab",
            expected,
            found,
        })?;
        Ok(Self { segment, object, geometry })
    }

    fn look(&self) -> Look<'_> {
        Look {
            geometry: &self.geometry,
            load: Box::new(|at| self.object.load_u64(at)),
            peer: Box::new(|peer| self.segment.describe_peer(peer)),
            ring: Box::new(|offset| {
                let found = self.segment.objects().into_iter().find(|info| info.offset == offset);
                found.map_or_else(String::new, |info| info.name)
            }),
        }
    }

    /// How many slots are what, and who holds how many. Looks at every slot.
    pub fn usage(&self) -> Usage {
        self.look().usage()
    }

    /// Every slot that is not free: who has it, since when. Looks at every slot.
    pub fn holdings(&self) -> Vec<Holding> {
        self.look().holdings()
    }
}

/// A look through any mapping.
pub(super) struct Look<'a> {
    geometry: &'a Geometry,
    load: Box<dyn Fn(usize) -> u64 + 'a>,
    peer: Box<dyn Fn(PeerId) -> PeerDescription + 'a>,
    ring: Box<dyn Fn(u64) -> String + 'a>,
}

impl<'a> Look<'a> {
    pub(super) fn through(region: &'a Region, geometry: &'a Geometry) -> Self {
        let segment = region.segment();
        Look {
            geometry,
            load: Box::new(|at| region.u64_at(at).load(Ordering::Acquire)),
            peer: Box::new(|peer| segment.describe_peer(peer)),
            ring: Box::new(|offset| {
                let found = segment.objects().into_iter().find(|info| info.offset == offset);
                found.map_or_else(String::new, |info| info.name)
            }),
        }
    }

    fn of(&self, place: usize, offset: usize) -> u64 {
        (self.load)(HOLDERS + place * HOLDER_ENTRY + offset)
    }

    fn of_slot(&self, slot: usize, offset: usize) -> u64 {
        (self.load)(self.geometry.lines + slot * SLOT_LINE + offset)
    }

    fn role(&self, place: usize) -> Role {
        if place < self.geometry.places() { Role::decode(self.of(place, ROLE)) } else { Role::Nobody }
    }

    fn bits(&self, slot: usize) -> impl Iterator<Item = usize> {
        let sharers = self.of_slot(slot, SHARERS);
        (0..self.geometry.places()).filter(move |place| sharers >> place & 1 != 0)
    }

    pub(super) fn usage(&self) -> Usage {
        let geometry = self.geometry;
        let members = geometry.holders.members;
        let mut usage = Usage { slots: geometry.slots as u64, high_water: (self.load)(HIGH_WATER), ..Usage::default() };
        let mut of: Vec<[u64; 4]> = vec![[0; 4]; members];
        let mut count = |place: usize, what: usize| {
            if let Some(counts) = of.get_mut(place) {
                counts[what] += 1;
            }
        };
        for slot in 0..geometry.slots {
            let word = Word(self.of_slot(slot, WORD));
            match word.state() {
                Some(State::Free) => usage.free += 1,
                Some(State::Cached) => {
                    usage.cached += 1;
                    count(word.holder(), 2);
                }
                Some(State::Held) => {
                    usage.held += 1;
                    count(word.holder(), 0);
                }
                Some(State::Offered) => {
                    usage.offered += 1;
                    count(word.holder(), 1);
                }
                Some(State::InFlight) => usage.in_flight += 1,
                Some(State::Shared) => {
                    usage.shared += 1;
                    self.bits(slot).for_each(|place| count(place, 3));
                }
                None => usage.corrupted += 1,
            }
        }
        for (place, [held, offered, cached, shared]) in of.into_iter().enumerate() {
            usage.allocated = usage.allocated.wrapping_add(self.of(place, ALLOCATED));
            usage.released = usage.released.wrapping_add(self.of(place, RELEASED));
            usage.failed = usage.failed.wrapping_add(self.of(place, FAILED));
            usage.sleeps = usage.sleeps.wrapping_add(self.of(place, SLEPT));
            if let Role::Member(peer) | Role::Clearing(peer) = self.role(place) {
                let (peer, since) = ((self.peer)(peer), time(self.of(place, SINCE_JOINED)));
                usage.members.push(Member { peer, since, held, offered, cached, shared });
            }
        }
        usage
    }

    pub(super) fn holdings(&self) -> Vec<Holding> {
        // Once for each place: a ring's name is looked up in the whole directory.
        let holders: Vec<Option<Holder>> = (0..self.geometry.places()).map(|place| self.holder(place)).collect();
        (0..self.geometry.slots).filter_map(|slot| self.holding(slot, &holders)).collect()
    }

    fn holding(&self, slot: usize, holders: &[Option<Holder>]) -> Option<Holding> {
        let word = Word(self.of_slot(slot, WORD));
        // Who has come since then is looked up now.
        let of = |place: usize| holders.get(place).cloned().flatten().or_else(|| self.holder(place));
        let one = |state| (state, of(word.holder()).into_iter().collect());
        let (state, holders) = match word.state() {
            Some(State::Free) => return None,
            Some(State::Cached) => one(SlotState::Cached),
            Some(State::Held) => one(SlotState::Held),
            Some(State::Offered) => one(SlotState::Offered),
            Some(State::InFlight) => one(SlotState::InFlight),
            Some(State::Shared) => (SlotState::Shared, self.bits(slot).filter_map(of).collect()),
            None => (SlotState::Corrupted, Vec::new()),
        };
        let bytes = self.geometry.classes[self.geometry.class_of(slot)].bytes;
        Some(Holding { slot: slot as u32, bytes, state, holders, since: time(self.of_slot(slot, SINCE)) })
    }

    fn holder(&self, place: usize) -> Option<Holder> {
        match self.role(place) {
            Role::Nobody => None,
            Role::Member(peer) | Role::Clearing(peer) => Some(Holder::Peer((self.peer)(peer))),
            Role::Ring(offset) => Some(Holder::Ring((self.ring)(offset))),
        }
    }
}

fn time(nanos: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(nanos)).unwrap_or(SystemTime::UNIX_EPOCH)
}

const _: () = assert!(CACHED < HOLDER_ENTRY);
