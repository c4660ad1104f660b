//! Slots that go from one to another: offered, shared, sent through a ring, and taken by what came with their handle.

use super::super::error::SlabError;
use super::super::layout::{INTENT_RING, INTENT_SLOT, INTENT_WORD, RELEASED, SHARERS};
use super::super::table::{bit, update};
use super::super::word::{State, Word};
use super::super::{Handle, RingPlace};
use super::{Held, Pool, count};
use crate::sync::Ordering;

/// From whom a slot is taken.
#[derive(Debug, Clone, Copy)]
pub(in crate::slab) enum From {
    Ring(RingPlace),
    Offerer,
    Sharers,
}

/// What came with a handle.
#[derive(Debug, Clone, Copy)]
pub(in crate::slab) enum Taken {
    Held(Held),
    Shared(Held),
}

impl Pool {
    /// The number of the slot that a handle names, if it is one of this slab's.
    fn slot_of(&self, handle: Handle) -> Result<usize, SlabError> {
        if handle.slab() != self.table.id {
            return Err(SlabError::ForeignSlab { expected: self.table.id, found: handle });
        }
        let slot = handle.slot() as usize;
        if slot < self.table.geometry.slots { Ok(slot) } else { Err(SlabError::Stale(handle)) }
    }

    pub(in crate::slab) fn handle(&self, held: Held) -> Handle {
        Handle::new(held.slot as u32, self.table.id, held.word.generation())
    }

    fn check_ring(&self, ring: RingPlace) -> Result<(), SlabError> {
        if ring.slab == self.table.id { Ok(()) } else { Err(SlabError::ForeignRing) }
    }

    /// Moves a slot to another state that names another holder, or none; a new tenure.
    fn pass(&self, held: &mut Held, state: State, holder: usize) -> Result<(), SlabError> {
        let next = held.word.next(state, holder);
        if self.table.turn(held.slot, held.word, next) {
            held.word = next;
            return Ok(());
        }
        // Nobody else changes the word of a slot that a living member holds.
        Err(SlabError::Corrupted { slot: held.slot as u32, found: self.table.word(held.slot).0 })
    }

    /// Offers a slot to whoever brings its handle.
    pub(in crate::slab) fn offer(&self, mut held: Held) -> Result<Handle, SlabError> {
        self.check_process()?;
        self.pass(&mut held, State::Offered, self.me)?;
        Ok(self.handle(held))
    }

    /// Makes a slot readable by all, first by this member.
    pub(in crate::slab) fn freeze(&self, mut held: Held) -> Result<Held, SlabError> {
        self.check_process()?;
        // Release: who takes one of these bits for those of an earlier tenure finds the word of this one, or none of both.
        self.table.of_slot(held.slot, SHARERS).store(bit(self.me), Ordering::Release);
        self.pass(&mut held, State::Shared, 0)?;
        self.shares[held.slot].set(1);
        Ok(held)
    }

    /// Once more the same shared slot, for this member.
    pub(in crate::slab) fn share_again(&self, held: Held) {
        if self.process.is_current() {
            let shares = &self.shares[held.slot];
            shares.set(shares.get().saturating_add(1));
        }
    }

    /// Lets go of one share.
    pub(in crate::slab) fn unshare(&self, held: Held) {
        if !self.process.is_current() {
            return;
        }
        let shares = &self.shares[held.slot];
        shares.set(shares.get().saturating_sub(1));
        if shares.get() == 0 {
            self.drop_bit(held);
        }
    }

    fn drop_bit(&self, held: Held) {
        if let Some(word) = self.table.unshare(held.slot, self.me) {
            self.cache(held.slot, held.class, word);
            count(self.table.of(self.me, RELEASED), &self.released);
            self.wake_waiting();
        }
    }

    /// Takes a share of what is shared by one of `from`'s bits at least; with `take`, that ring's share becomes ours.
    fn share(&self, handle: Handle, held: Held, from: u64, take: bool) -> Result<Taken, SlabError> {
        let (stale, sharers) = (Err(SlabError::Stale(handle)), self.table.sharers(held.slot));
        let shares = &self.shares[held.slot];
        if shares.get() == 0 {
            if update(sharers, |sharers| (sharers & from != 0).then_some(sharers | bit(self.me))).is_none() {
                return stale;
            }
            // Now that our bit is there the tenure lasts; but it may have been the next one's bits. Then that one's handle is good until we have let go, also if its last sharer has: its slot is still nobody else's.
            if self.table.word(held.slot) != held.word {
                self.drop_bit(held);
                return stale;
            }
        }
        // Ours first, then not the ring's any more: at every instant somebody has it.
        if take && update(sharers, |sharers| (sharers & from != 0).then_some(sharers & !from)).is_none() {
            if shares.get() == 0 {
                self.drop_bit(held);
            }
            return stale;
        }
        shares.set(shares.get().saturating_add(1));
        Ok(Taken::Shared(held))
    }

    /// Takes what a handle names: out of a ring, or from who offers or shares it.
    pub(in crate::slab) fn take(&self, handle: Handle, from: From) -> Result<Taken, SlabError> {
        self.check_process()?;
        if let From::Ring(ring) = from {
            self.check_ring(ring)?;
        }
        let slot = self.slot_of(handle)?;
        let stale = Err(SlabError::Stale(handle));
        if let From::Ring(ring) = from {
            // What the word of a whole slot is there is known: looked at first, its line would come twice, to be read and to be written.
            let word = Word::new(State::InFlight, ring.place, handle.generation());
            let mut held = Held { slot, class: self.table.geometry.class_of(slot), word };
            if word.generation() == handle.generation() {
                match self.take_whole(handle, &mut held) {
                    Err(SlabError::Stale(_)) => {}
                    taken => return taken,
                }
            }
        }
        let word = self.table.word(slot);
        if word.generation() != handle.generation() {
            return stale;
        }
        let mut held = Held { slot, class: self.table.geometry.class_of(slot), word };
        match (word.state(), from) {
            (None, _) => Err(SlabError::Corrupted { slot: handle.slot(), found: word.0 }),
            (Some(State::Shared), From::Ring(ring)) => self.share(handle, held, bit(ring.place), ring.once),
            (Some(State::Shared), From::Sharers) => self.share(handle, held, u64::MAX, false),
            (Some(State::Offered), From::Offerer) => self.take_whole(handle, &mut held),
            _ => stale,
        }
    }

    /// Whether the ring has what the handle names.
    pub(in crate::slab) fn is_in(&self, handle: Handle, ring: RingPlace) -> bool {
        let (Ok(()), Ok(slot)) = (self.check_ring(ring), self.slot_of(handle)) else { return false };
        let word = self.table.word(slot);
        word.generation() == handle.generation()
            && match word.state() {
                Some(State::InFlight) => word.holder() == ring.place,
                Some(State::Shared) => self.table.sharers(slot).load(Ordering::Acquire) & bit(ring.place) != 0,
                _ => false,
            }
    }

    fn take_whole(&self, handle: Handle, held: &mut Held) -> Result<Taken, SlabError> {
        let ours = held.word.to(State::Held, self.me);
        if !self.table.turn(held.slot, held.word, ours) {
            return Err(SlabError::Stale(handle));
        }
        held.word = ours;
        self.received(*held, None)?;
        Ok(Taken::Held(*held))
    }

    /// Gives a slot to a ring, and its handle to `push`. If that fails, the slot is ours again.
    pub(in crate::slab) fn send<E>(
        &self,
        held: &mut Held,
        ring: RingPlace,
        push: impl FnOnce(Handle) -> Result<(), E>,
    ) -> Result<Result<(), E>, SlabError> {
        self.check_process()?;
        self.check_ring(ring)?;
        let next = held.word.next(State::InFlight, ring.place);
        self.intend(held.slot, next, ring);
        let sent = self.pass(held, State::InFlight, ring.place).map(|()| push(self.handle(*held)));
        if let Ok(Err(_)) = sent {
            let back = held.word.to(State::Held, self.me);
            if !self.table.turn(held.slot, held.word, back) {
                self.intent_done();
                return Err(SlabError::Corrupted { slot: held.slot as u32, found: self.table.word(held.slot).0 });
            }
            held.word = back;
        }
        self.intent_done();
        sent
    }

    /// Gives a share of a slot to a ring, and its handle to `push`. Our own share stays ours.
    pub(in crate::slab) fn send_shared<E>(
        &self,
        held: Held,
        ring: RingPlace,
        push: impl FnOnce(Handle) -> Result<(), E>,
    ) -> Result<Result<(), E>, SlabError> {
        self.check_process()?;
        self.check_ring(ring)?;
        let (sharers, of) = (self.table.sharers(held.slot), bit(ring.place));
        let handle = self.handle(held);
        // Looked at before the intent: ours must not be taken for that of another send.
        if sharers.load(Ordering::Relaxed) & of != 0 {
            return Err(SlabError::InFlight(handle));
        }
        self.intend(held.slot, held.word, ring);
        if update(sharers, |sharers| (sharers & of == 0).then_some(sharers | of)).is_none() {
            self.intent_done();
            return Err(SlabError::InFlight(handle));
        }
        let pushed = push(handle);
        if pushed.is_err() {
            update(sharers, |sharers| (sharers & of != 0).then_some(sharers & !of));
        }
        self.intent_done();
        Ok(pushed)
    }

    /// Says what we are about to send: should we die before it is done, the slot goes with us.
    fn intend(&self, slot: usize, word: Word, ring: RingPlace) {
        self.table.of(self.me, INTENT_RING).store(ring.place as u64, Ordering::Relaxed);
        self.table.of(self.me, INTENT_SLOT).store(slot as u64, Ordering::Relaxed);
        // Release: with the word, the two above. The slot is given by a swap that is a Release, so after it.
        self.table.of(self.me, INTENT_WORD).store(word.0, Ordering::Release);
    }

    fn intent_done(&self) {
        // Release: after the push.
        self.table.of(self.me, INTENT_WORD).store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Segment, Slab};

    /// The storm of kills took it for a stale handle that was accepted: a handle is good after its last sharer let go, while another process that follows a handle of before has not seen yet that it is stale. `dies`: it is killed
    /// in there.
    fn a_tenure_lasts_while_one_who_followed_an_older_handle_looks(dies: bool) {
        let segment = Segment::memfd("pool").create().unwrap();
        let (mine, theirs) =
            (Slab::<u64>::create(&segment, "slab", 1).unwrap(), Slab::<u64>::open(&segment, "slab").unwrap());
        let (pool, other) = (&mine.pool, &theirs.pool);
        let share_one = || pool.freeze(pool.try_allocate(8).unwrap()).unwrap();
        let share = |held| pool.take(pool.handle(held), From::Sharers);
        // It finds the word of the first tenure, and the bits of the second: the first half of `share`.
        let first = share_one();
        pool.unshare(first);
        let second = share_one();
        update(pool.table.sharers(0), |sharers| (sharers != 0).then_some(sharers | bit(other.me))).unwrap();
        pool.unshare(second);
        assert!(matches!(share(first), Err(SlabError::Stale(_))), "it is the second one that lasts");
        for _ in 0..2 {
            assert!(pool.try_allocate(8).is_err(), "nobody gets the slot meanwhile");
            let Ok(Taken::Shared(again)) = share(second) else { panic!("the tenure lasts") };
            assert_eq!(again.word, second.word);
            pool.unshare(again);
        }
        if dies {
            assert_eq!(pool.table.clear(other.me), 1);
        } else {
            // The second half: the word is another one.
            other.drop_bit(first);
        }
        assert!(matches!(share(second), Err(SlabError::Stale(_))), "now it is over");
        assert!(pool.try_allocate(8).is_ok(), "and its slot can be had");
    }

    #[test]
    fn a_handle_is_good_until_one_who_followed_an_older_one_lets_go() {
        a_tenure_lasts_while_one_who_followed_an_older_handle_looks(false);
    }

    #[test]
    fn a_handle_is_good_until_one_who_was_killed_as_it_followed_an_older_one_is_cleared_away() {
        a_tenure_lasts_while_one_who_followed_an_older_handle_looks(true);
    }
}
