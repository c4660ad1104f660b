//! The table of producers: how one comes and goes, and what becomes of the claims of one that died.
//!
//! A claim names a place, not a peer, so a place goes to another only when no claim names a dead one there: who gives it away goes over all claims first. Whether a claim is a dead
//! one's is found out in this order: **first the word, then the place's role, then the kernel**. The claimer had the role before it claimed, so who has seen the claim sees that role or a
//! later one; and a later one has it only after all claims of the earlier were ended, so that an exchange of the word that was seen fails. Nobody has to be alone in this, and whoever is killed in
//! it leaves nothing half done.

use ipc_core::peer::{PeerId, RoleState};
use ipc_core::sync::{Ordering, fence, register_for_heavy_fences};
use ipc_core::{Error, Object};

use super::control::{CLOSED, Control, DIED, GAVE_UP, HANDED_OVER};
use super::track::{Cursor, Track};
use super::word::{Claim, Found, State};
use crate::error::RingError;

/// So often all places are tried while others come and go: only a hostile peer goes on for that long.
const ATTEMPTS: usize = 100;

/// The claimer of what was found, as far as one can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claimer {
    /// It lives, so its claim is its own, however long it takes.
    Lives,
    /// The claim is nobody's any more.
    Gone,
}

impl Control {
    /// Whether the claimer of a claim that was just seen lives: asks the kernel.
    pub(super) fn claimer(&self, claim: Claim) -> Claimer {
        if claim.place >= self.places() {
            // Nobody's, and nobody's to commit.
            return Claimer::Gone;
        }
        match self.state(claim.place) {
            RoleState::Held(peer) if self.region().segment().is_alive(peer) => Claimer::Lives,
            // One that left had ended its claims before, so an exchange of what was seen fails if it did.
            RoleState::Held(_) | RoleState::Released(_) | RoleState::Unclaimed => Claimer::Gone,
        }
    }

    /// Skips every claim that a dead peer left, from one on: `from` is where the consumer is, or was. Returns whether there were any.
    fn skip_claims_of(&self, track: &Track, place: usize, dead: PeerId, from: Cursor) -> Result<bool, RingError> {
        let (mut at, mut skipped) = (from, false);
        // It made no claim since it died, and none beyond what the consumer of then left room for.
        let end = self.head()?.start.max(from.position) + track.slots;
        // Every step leads on by a slot at least.
        while at.position < end {
            match track.look(at) {
                Found::Free(_) => break,
                Found::Taken(claim) => {
                    track.check(at, claim)?;
                    if claim.state == State::Claimed && claim.place == place {
                        // Not if another has the place by now: then whoever gave it away has been here.
                        if self.state(place) != RoleState::Held(dead) {
                            break;
                        }
                        skipped |= track.exchange(at, claim, State::Skipped);
                    }
                    at = track.behind(at, claim.len);
                }
                // Everything before the head is ended.
                Found::Later => at = self.overtaken(track, at)?,
            }
        }
        Ok(skipped)
    }

    /// Where to go on if a slot was claimed again in a later lap: whoever did so had seen the head beyond it, and so do we.
    pub(super) fn overtaken(&self, track: &Track, at: Cursor) -> Result<Cursor, RingError> {
        let head = self.head()?.start;
        if head <= at.position {
            let (what, limit) = ("the lap of a claim behind the head", head);
            return Err(RingError::Corrupted { what, found: at.position, limit });
        }
        Ok(track.at(head))
    }

    /// Lets go of a place in a dead producer's stead, when nothing names it any more. The caller has asked the kernel.
    pub(super) fn bury(&self, track: &Track, place: usize, dead: PeerId, from: Cursor) -> Result<(), RingError> {
        let skipped = self.skip_claims_of(track, place, dead, from)?;
        // The word itself, whatever its bits say beside who has it.
        let held = self.role(place).load(Ordering::Relaxed);
        if RoleState::from_bits(held) == RoleState::Held(dead) {
            // Release: who takes the place next finds no claim that names it.
            let released = dead.to_bits() | RELEASED;
            let _ = self.role(place).compare_exchange(held, released, Ordering::AcqRel, Ordering::Relaxed);
        }
        if skipped {
            // Who waits for what was claimed goes on.
            self.wake_consumer();
        }
        Ok(())
    }

    /// Takes a place for a producer of this process: that of one that handed over, else one that nobody has, else a dead one's, after its claims were skipped.
    pub(super) fn join(&self, object: &Object, track: &Track) -> Result<usize, Error> {
        let segment = self.region().segment();
        segment.process().check()?;
        let corrupted = |error: RingError| object.corrupted("the ring", "words in order", error);
        let states = || (0..self.places()).map(|place| self.state(place)).collect::<Vec<_>>();
        for _ in 0..ATTEMPTS {
            let before = states();
            for step in [Step::HandedOver, Step::Free, Step::Dead] {
                for place in 0..self.places() {
                    if step == Step::Dead
                        && let RoleState::Held(peer) = self.state(place)
                        && !segment.is_alive(peer)
                    {
                        let from = track.at(self.head().map_err(corrupted)?.start);
                        self.bury(track, place, peer, from).map_err(corrupted)?;
                    }
                    if self.take(place, step) {
                        return Ok(place);
                    }
                }
            }
            if before == states() {
                break;
            }
        }
        Err(Error::NoFreePlace { role: "producer", places: self.places() })
    }

    /// Takes a place that nobody has.
    fn take(&self, place: usize, step: Step) -> bool {
        // Acquire: as `state`.
        let found = self.role(place).load(Ordering::Acquire);
        let last = match RoleState::from_bits(found) {
            RoleState::Held(_) => return false,
            RoleState::Unclaimed => None,
            RoleState::Released(last) => Some(last),
        };
        let handed_over = || last.is_some_and(|last| self.how(place, last) == HANDED_OVER);
        if step == Step::HandedOver && !handed_over() {
            return false;
        }
        let me = self.region().segment().peer_id().to_bits();
        // AcqRel: Acquire to see all that the one before did, and what was done in its stead; Release so that `state` sees it through us.
        if self.role(place).compare_exchange(found, me, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return false;
        }
        // The place is ours. Before anybody may rely on it. A process with several threads that has not registered is waited for in naps.
        let registered = register_for_heavy_fences(false);
        self.fences(place).store(u64::from(registered), Ordering::Relaxed);
        if !registered {
            // Between the role and each look at the bell; pairs with the consumer's between its announcement and its look at the places: it finds us there, and naps, or we find the announcement.
            fence(Ordering::SeqCst);
        }
        // Asked only now, when nobody else can have come and left meanwhile.
        if let Some(last) = last
            && let how @ (DIED | GAVE_UP) = self.how(place, last)
        {
            self.left(place).store(how | last.to_bits(), Ordering::Relaxed);
        }
        // Release, in this order: the proof stands at `standing`.
        self.status(place).store(0, Ordering::Release);
        let claims = self.claims(place);
        claims.store(claims.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        self.note_claim(place);
        true
    }

    /// Says how the producer at this place leaves, lets go of it, and wakes the consumer. Nothing names it any more. `tenure` is what its claims were when it had come: a place that was taken back from
    /// it, as from the dead, is another's to leave.
    pub(super) fn part(&self, place: usize, tenure: u64, how: u64) {
        let me = self.region().segment().peer_id().to_bits();
        let status = self.status(place);
        // Once, but for one whose place this was.
        for _ in 0..ATTEMPTS {
            // Acquire, before the look at the role: pairs with the Release below. So what another said when it left is not overwritten: who sees that sees that the place is not his.
            let found = status.load(Ordering::Acquire);
            if self.role(place).load(Ordering::Relaxed) != me || self.claims(place).load(Ordering::Relaxed) != tenure {
                break;
            }
            // What is replaced here even if we lost the place after that look says nothing of its holder, and what we say neither.
            if status.compare_exchange(found, how | me, Ordering::Release, Ordering::Relaxed).is_ok() {
                // Release: who sees it released sees all that was published, and how it left.
                let _ = self.role(place).compare_exchange(me, me | RELEASED, Ordering::AcqRel, Ordering::Relaxed);
                break;
            }
        }
        self.wake_consumer();
    }

    /// Takes note that somebody was told of how the last producer of a place left.
    pub(super) fn told(&self, place: usize, last: PeerId, how: u64) {
        let status = self.status(place);
        // One that gave up lives, and may have come again since, and must not be thought to have closed when it dies: only what was told of is changed.
        let found = if how == GAVE_UP { GAVE_UP | last.to_bits() } else { status.load(Ordering::Relaxed) };
        // Nothing is published with it. A producer that came meanwhile has stored another status, or will; of another than the role's holder it says nothing.
        let _ = status.compare_exchange(found, CLOSED | last.to_bits(), Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Which places are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    HandedOver,
    Free,
    Dead,
}

/// Beside the last holder's identity once the role was let go of: as `ipc_core::peer::Role` keeps it.
const RELEASED: u64 = 1 << 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_released_as_everywhere() {
        assert!(matches!(RoleState::from_bits(7 | RELEASED), RoleState::Released(peer) if peer.to_bits() == 7));
    }
}
