//! A producer's side: claims at the tail of the order, and how they end.
//!
//! A claim is one compare-and-swap of the word at the tail, a commit another one of the same word; neither waits for another producer's. The tail is found by walking over what is claimed,
//! from where this producer was last or from a hint that all share.

use std::time::Instant;

use ipc_core::sync::{MODEL, Ordering};
use ipc_core::{Error, Object};

use super::control::{
    CLOSED, Control, GAVE_UP, HANDED_OVER, HIGH_WATER, PRODUCER_SLEEPS, PUBLISHED, PUBLISHED_BYTES, TIMES_FULL, count,
};
use super::track::{Cursor, Track};
use super::word::{Claim, Found, MAX_POSITION, State};
use crate::error::RingError;
use crate::presence::{Leaving, Presence};
use crate::publisher::Handle;

/// The hint is stored by whoever claims across a multiple of this: it is a line that all producers write, and a walk over so many slots costs less.
const HINT: u64 = if MODEL { 2 } else { 16 };

/// How many claims of others a search for the tail steps over, or loses its exchange to, beside those of a lap: a hostile peer could go on for ever.
const ATTEMPTS: u64 = 1 << 20;

/// How much is to be claimed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Slots, if there is room for all of them.
    pub(super) most: u64,
    /// Slots without which there is no point.
    pub(super) least: u64,
    /// Whether they may go over the end of the ring.
    pub(super) wraps: bool,
}

/// Slots that are claimed, and not yet committed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) at: Cursor,
    pub(super) claim: Claim,
}

/// One producer's side of a ring.
#[derive(Debug)]
pub(super) struct Claimer {
    pub(super) handle: Handle,
    pub(super) core: Core,
}

/// What of it changes while it waits.
#[derive(Debug)]
pub(super) struct Core {
    control: Control,
    track: Track,
    pub(super) place: usize,
    /// This peer, as the place's role says.
    me: u64,
    /// Where the tail was when it was last seen.
    tail: Cursor,
    /// Before this position there is room, as far as the consumer's progress was seen.
    limit: u64,
    /// Behind what was committed last.
    end: u64,
    /// A claim for which a grant was given: one that was forgotten, if it is found here.
    lent: Option<Room>,
    /// What all producers at this place have published: messages, and bytes in them.
    published: (u64, u64),
    /// The place's claims when it was taken.
    tenure: u64,
    /// Nothing more is done in its name: it left, or was taken for dead.
    over: bool,
    left: bool,
}

impl Claimer {
    /// Takes a place in the table.
    pub(super) fn join(object: &Object, control: &Control, track: &Track) -> Result<Self, Error> {
        let place = control.join(object, track)?;
        // Written by the one who has the place.
        let tenure = control.claims(place).load(Ordering::Relaxed);
        let me = control.region().segment().peer_id().to_bits();
        let corrupted = |error: RingError| object.corrupted("the ring", "a head and a tail in order", error);
        // Everything before it was claimed, and is ended.
        let head = match control.head() {
            Ok(head) => head.start,
            Err(error) => {
                control.part(place, tenure, CLOSED);
                return Err(corrupted(error));
            }
        };
        let (control, track, handle) = (control.clone(), track.clone(), Handle::new(control.region()));
        let tail = track.at(head);
        let load = |counter| control.of_producer(place, counter).load(Ordering::Relaxed);
        let published = (load(PUBLISHED), load(PUBLISHED_BYTES));
        let (limit, end) = (head, head);
        let (over, left) = (false, false);
        let mut core = Core { limit, end, tail, control, track, place, me, lent: None, published, tenure, over, left };
        core.follow_hint();
        Ok(Self { handle, core })
    }

    /// Behind what was committed last.
    pub(super) fn end(&self) -> u64 {
        self.core.end
    }

    /// Slots of the longest claim.
    pub(super) fn longest(&self) -> u64 {
        self.core.track.longest()
    }

    /// Claims slots at the tail.
    #[inline(always)]
    pub(super) fn claim(&mut self, wanted: Wanted) -> Result<Room, RingError> {
        self.handle.check_process()?;
        self.core.claim(wanted).map_err(|error| self.handle.explain(error))
    }

    /// As [`claim`](Self::claim), waiting for room as long as a living consumer may make some, or none has come yet.
    #[inline]
    pub(super) fn claim_waiting(&mut self, wanted: Wanted, deadline: Option<Instant>) -> Result<Room, RingError> {
        match self.claim(wanted) {
            Err(RingError::Full) => self.wait_for_room(wanted, deadline),
            claimed => claimed,
        }
    }

    #[cold]
    fn wait_for_room(&mut self, wanted: Wanted, deadline: Option<Instant>) -> Result<Room, RingError> {
        let Self { handle, core } = self;
        let (control, place) = (core.control.clone(), core.place);
        count(control.of_producer(place, TIMES_FULL));
        let look = || match core.claim(wanted) {
            Ok(room) => Ok(Some(room)),
            Err(RingError::Full) => Ok(None),
            Err(error) => Err(error),
        };
        let slept = || count(control.of_producer(place, PRODUCER_SLEEPS));
        control.consumer().wait_counting(handle, deadline, look, slept)
    }

    /// Publishes what was written where it was claimed: `messages` of `bytes` together.
    #[inline(always)]
    pub(super) fn commit(&mut self, room: Room, messages: u64, bytes: u64) -> Result<(), RingError> {
        self.core.commit(room)?;
        // Behind the commit, as nothing hangs on it.
        let Core { control, place, published, .. } = &mut self.core;
        *published = (published.0.wrapping_add(messages), published.1.wrapping_add(bytes));
        control.of_producer(*place, PUBLISHED).store(published.0, Ordering::Relaxed);
        control.of_producer(*place, PUBLISHED_BYTES).store(published.1, Ordering::Relaxed);
        self.handle.check_pages()
    }

    /// A grant is given for a claim: should it be forgotten, the next claim ends this one.
    pub(super) fn lend(&mut self, room: Room) {
        self.core.lent = Some(room);
    }

    /// Gives claimed slots back: the consumer steps over them. Not in a fork child: they are its parent's.
    pub(super) fn abort(&mut self, room: Room) {
        if self.handle.is_current() {
            self.core.abort(room);
        }
    }

    /// Whether a consumer has come and not left.
    pub(super) fn has_other(&self) -> bool {
        matches!(self.core.control.consumer().presence(), Presence::Held(_))
    }

    /// Asks the kernel whether the consumer lives.
    pub(super) fn check_other(&self) -> Result<(), RingError> {
        self.core.control.consumer().check()
    }

    /// Waits until all that this producer committed is acknowledged.
    pub(super) fn drain(&self, deadline: Instant) -> Result<(), RingError> {
        let (control, end) = (&self.core.control, self.core.end);
        let look = || Ok((control.head()?.start >= end).then_some(()));
        control.consumer().wait(&self.handle, Some(deadline), look)
    }

    /// Lets go of the place. Does nothing the second time, and in a fork child.
    pub(super) fn leave(&mut self, leaving: Leaving) {
        if self.core.left || !self.handle.is_current() {
            return;
        }
        // A place is let go of when nothing names it.
        if let Some(room) = self.core.lent.take() {
            self.core.abort(room);
        }
        let how = match leaving {
            Leaving::Closing => CLOSED,
            Leaving::GivingUp => GAVE_UP,
            Leaving::HandingOver => HANDED_OVER,
        };
        // One that was taken for dead lets go as well: a place that nobody took back would be nobody's to use while this process lives.
        let how = if self.core.over { GAVE_UP } else { how };
        (self.core.over, self.core.left) = (true, true);
        self.core.control.part(self.core.place, self.core.tenure, how);
    }
}

impl Drop for Claimer {
    fn drop(&mut self) {
        self.leave(Leaving::for_drop());
    }
}

impl Core {
    /// Goes on from the shared hint, if that is further.
    fn follow_hint(&mut self) {
        // Acquire: pairs with the Release of who stored it, so that the claims before it are seen; who walks over the claims of the dead relies on that.
        let hint = self.control.tail().load(Ordering::Acquire);
        let ahead = hint.wrapping_sub(self.tail.position);
        // No claim is further ahead of the head than there are slots; what else stands there says nothing.
        if (1..=self.track.slots).contains(&ahead) {
            self.tail = self.track.at(hint);
        }
    }

    #[inline(always)]
    fn claim(&mut self, wanted: Wanted) -> Result<Room, RingError> {
        if let Some(room) = self.lent.take() {
            self.abort(room);
        }
        // A place that was taken back from us, as from the dead, is another's to claim with. A line that changes when producers come and go.
        if self.over || self.control.role(self.place).load(Ordering::Relaxed) != self.me {
            return Err(self.lost(self.tail.position));
        }
        // The common path: nobody else was here since.
        if let Found::Free(found) = self.track.look(self.tail)
            && self.tail.position + wanted.most <= self.limit
            && (wanted.wraps || wanted.most <= self.track.slots - self.tail.index)
            && let Some(room) = self.claim_here(found, State::Claimed, wanted.most)
        {
            return Ok(room);
        }
        self.claim_there(wanted)
    }

    /// Finds the tail, and claims there.
    #[inline(never)]
    fn claim_there(&mut self, wanted: Wanted) -> Result<Room, RingError> {
        let most_steps = ATTEMPTS + 2 * self.track.slots;
        for _ in 0..most_steps {
            let found = match self.track.look(self.tail) {
                Found::Free(found) => found,
                Found::Taken(claim) => {
                    self.track.check(self.tail, claim)?;
                    self.tail = self.track.behind(self.tail, claim.len);
                    self.follow_hint();
                    continue;
                }
                // Everything before the head was claimed.
                Found::Later => {
                    self.tail = self.control.overtaken(&self.track, self.tail)?;
                    self.follow_hint();
                    continue;
                }
            };
            let to_the_end = if wanted.wraps { u64::MAX } else { self.track.slots - self.tail.index };
            // Where a record does not fit before the end of the ring, the rest of it is skipped.
            let skips = wanted.least > to_the_end;
            let (most, least) =
                if skips { (to_the_end, to_the_end) } else { (wanted.most.min(to_the_end), wanted.least) };
            let mut room = self.limit.saturating_sub(self.tail.position);
            if room < most {
                room = self.look_for_room()?;
            }
            if room < least {
                return Err(self.control.no_room());
            }
            let state = if skips { State::Skipped } else { State::Claimed };
            match self.claim_here(found, state, most.min(room)) {
                Some(room) if !skips => return Ok(room),
                // Behind the skipped end; or somebody else was faster.
                Some(_) | None => {}
            }
        }
        let what = "the number of claims that others made while one was tried";
        Err(RingError::Corrupted { what, found: most_steps, limit: most_steps - 1 })
    }

    /// Looks at the consumer's progress; returns how much room there is at the tail.
    #[cold]
    fn look_for_room(&mut self) -> Result<u64, RingError> {
        if self.tail.position > MAX_POSITION {
            return Err(RingError::Corrupted { what: "a position", found: self.tail.position, limit: MAX_POSITION });
        }
        let head = self.control.head()?.start;
        self.limit = head + self.track.slots;
        let high_water = self.control.of_producer(self.place, HIGH_WATER);
        let used = self.tail.position.saturating_sub(head);
        if used > high_water.load(Ordering::Relaxed) {
            high_water.store(used, Ordering::Relaxed);
        }
        Ok(self.limit.saturating_sub(self.tail.position))
    }

    /// Claims slots at the tail, whose word was found free.
    #[inline(always)]
    fn claim_here(&mut self, found: u64, state: State, len: u64) -> Option<Room> {
        let room = Room { at: self.tail, claim: Claim { state, place: self.place, len } };
        if !self.track.claim(room.at, found, room.claim) {
            return None;
        }
        self.tail = self.track.behind(room.at, len);
        if room.at.position / HINT != self.tail.position / HINT {
            // Release: whoever begins there sees the claims before.
            self.control.tail().store(self.tail.position, Ordering::Release);
        }
        Some(room)
    }

    #[inline(always)]
    fn commit(&mut self, room: Room) -> Result<(), RingError> {
        self.lent = None;
        // Fails if the claim was given up for dead: whatever stands there by now is another's.
        if !self.track.exchange(room.at, room.claim, State::Committed) {
            return Err(self.lost(room.at.position));
        }
        self.end = room.at.position + room.claim.len;
        self.control.wake_consumer();
        Ok(())
    }

    fn abort(&mut self, room: Room) {
        self.lent = None;
        if self.track.exchange(room.at, room.claim, State::Skipped) {
            // It may wait for just this.
            self.control.wake_consumer();
        } else {
            self.over = true;
        }
    }

    /// This process was taken for dead: nothing more is done in its name.
    #[cold]
    fn lost(&mut self, position: u64) -> RingError {
        self.over = true;
        RingError::ClaimLost { position }
    }
}
