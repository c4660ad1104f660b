//! Who holds slots: members come, go, and are cleared away when they died.

use super::layout::{CACHED, INTENT_RING, INTENT_SLOT, INTENT_WORD, SINCE_JOINED, TAKEN};
use super::table::{Table, bit, update};
use super::word::{State, Word};
use crate::error::{Error, Result};
use crate::os;
use crate::peer::PeerId;
use crate::sync::{self, AtomicU64, Ordering};

/// Beside a peer's identity: it clears away what a dead member left in this place.
const CLEARING: u64 = 1 << 62;
/// Beside the offset of an object: a ring.
const RING: u64 = 1 << 63;

/// What stands in a place of the table of holders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Nobody,
    Member(PeerId),
    /// A member died here, and this peer clears away after it.
    Clearing(PeerId),
    /// The ring at this offset in the segment.
    Ring(u64),
}

impl Role {
    pub(super) fn decode(bits: u64) -> Self {
        match bits {
            0 => Self::Nobody,
            bits if bits & RING != 0 => Self::Ring(bits & !RING),
            bits if bits & CLEARING != 0 => Self::Clearing(PeerId::from_bits(bits)),
            bits => Self::Member(PeerId::from_bits(bits)),
        }
    }
}

impl Table {
    fn me(&self) -> u64 {
        self.region.segment().peer_id().to_bits()
    }

    /// Takes a place among the members. If all are taken, that of one who died, and clears away after it.
    pub(super) fn join(&self) -> Result<usize> {
        let members = self.geometry.holders.members;
        let registered = sync::register_for_heavy_fences(false);
        let place = (0..members)
            // AcqRel: we see what the last one there left, and are seen with what we do from here on.
            .find(|place| swap(self.role(*place), 0, self.me()))
            .or_else(|| {
                (0..members).find(|place| {
                    let cleared = self.clear_if_dead(*place).is_some();
                    if cleared {
                        self.wake();
                    }
                    cleared && swap(self.role(*place), CLEARING | self.me(), self.me())
                })
            })
            .ok_or(Error::NoFreePlace { role: "member of a slab", places: members })?;
        if !registered {
            // For good: who waits then naps.
            self.fenced().store(0, Ordering::Relaxed);
        }
        self.of(place, SINCE_JOINED).store(os::coarse_nanos(), Ordering::Relaxed);
        Ok(place)
    }

    /// Gives the place up. Nothing names it any more.
    pub(super) fn leave(&self, place: usize) {
        swap(self.role(place), self.me(), 0);
    }

    /// Looks for members that died, and takes back what they held. Returns how many slots that were.
    pub(super) fn reclaim(&self) -> usize {
        let mut freed = 0;
        for place in 0..self.geometry.holders.members {
            if let Some(slots) = self.clear_if_dead(place) {
                freed += slots;
                // Release: who takes the place next finds nothing that names it.
                swap(self.role(place), CLEARING | self.me(), 0);
            }
        }
        if freed > 0 {
            self.wake();
        }
        freed
    }

    /// If who holds the place is dead, clears away what it left there, so that the place is ours to give. Only one does that at a time: if it dies in here, the
    /// next one does it again.
    fn clear_if_dead(&self, place: usize) -> Option<usize> {
        let found = self.role(place).load(Ordering::Acquire);
        let (Role::Member(peer) | Role::Clearing(peer)) = Role::decode(found) else { return None };
        let dead = !self.region.segment().is_alive(peer);
        (dead && swap(self.role(place), found, CLEARING | self.me())).then(|| self.clear(place))
    }

    /// Takes back all that names the member in this place, which is ours to clear: nobody makes a word that names it meanwhile. Looks at every slot.
    pub(super) fn clear(&self, member: usize) -> usize {
        let (mut freed, mut taken) = (usize::from(self.revoke(member)), 0);
        for slot in 0..self.geometry.slots {
            freed += usize::from(self.clear_slot(slot, member));
            taken += u64::from(self.word(slot).state() != Some(State::Free));
        }
        // A model of a killed releaser found it.
        freed += usize::from(self.open_all());
        // Who dies between a step and its count leaves the count wrong: here it is put right, but for what moves meanwhile.
        self.at(TAKEN).store(taken, Ordering::Relaxed);
        update(self.waiters(), |waiters| (waiters & bit(member) != 0).then_some(waiters & !bit(member)));
        self.of(member, INTENT_WORD).store(0, Ordering::Relaxed);
        self.of(member, CACHED).store(0, Ordering::Relaxed);
        freed
    }

    /// Undoes a send that had not returned: whether the handle was pushed or not, it is stale from here on, unless it was received.
    fn revoke(&self, member: usize) -> bool {
        let word = |offset| self.of(member, offset).load(Ordering::Acquire);
        let (intent, slot, ring) = (Word(word(INTENT_WORD)), word(INTENT_SLOT), word(INTENT_RING));
        let slots = self.geometry.slots;
        let Some(slot) = usize::try_from(slot).ok().filter(|slot| *slot < slots) else { return false };
        match intent.state() {
            Some(State::InFlight) => self.free(slot, intent, intent.next(State::Free, 0)),
            Some(State::Shared) if self.is_ring(ring) => {
                // The dead one's own bit holds the tenure while the ring's is taken away; it goes with the others of its bits.
                let pinned = update(self.sharers(slot), |sharers| (sharers != 0).then_some(sharers | bit(member)));
                if pinned.is_some() && self.word(slot) == intent {
                    update(self.sharers(slot), |sharers| Some(sharers & !bit(ring as usize)));
                }
                false
            }
            _ => false,
        }
    }

    fn is_ring(&self, place: u64) -> bool {
        (self.geometry.holders.members as u64..self.geometry.places() as u64).contains(&place)
    }

    /// Takes a slot from a member that died, if it has it; whether it is free then. Also mends what others who died left half done.
    fn clear_slot(&self, slot: usize, member: usize) -> bool {
        // Also where it is not shared: who dies while it freezes a slot, or finds out that a handle is stale, leaves its bit.
        let of = bit(member);
        update(self.sharers(slot), |sharers| (sharers & of != 0).then_some(sharers & !of));
        let word = self.word(slot);
        if word.is_of(member) {
            return self.free(slot, word, word.next(State::Free, 0));
        }
        // Also where the last one to share it died between its two steps. If it lives, one of us is the first.
        if let Some(word) = self.unshared(slot) {
            return self.free(slot, word, word.next(State::Free, 0));
        }
        // Who freed it died before it said so, or who was to take it.
        let overlooked = word.state() == Some(State::Free) && self.looks_taken(slot);
        if overlooked {
            self.put(slot);
        }
        // Whoever finds nothing looks again for this one as well: a model of a killed releaser found that it did not.
        overlooked
    }

    /// Rings for all who wait. After what they wait for was stored, and a fence.
    pub(super) fn wake(&self) {
        sync::light_fence();
        let mut waiting = self.waiters().load(Ordering::Relaxed);
        while waiting != 0 {
            let place = waiting.trailing_zeros() as usize;
            waiting &= waiting - 1;
            if place < self.geometry.holders.members {
                self.bell(place).ring();
            }
        }
    }

    /// The place of the ring that is the object at `offset`; taken if it has none yet. A ring keeps its place.
    pub(super) fn ring(&self, offset: u64) -> Option<usize> {
        let ring = RING | offset;
        // All look in the same order, and no place is ever given back: two who come for one ring meet in one place.
        (self.geometry.holders.members..self.geometry.places())
            .find(|place| swap(self.role(*place), 0, ring) || self.role(*place).load(Ordering::Acquire) == ring)
    }
}

/// Whether the word was as expected, and is `to` now.
fn swap(word: &AtomicU64, from: u64, to: u64) -> bool {
    word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}
