//! Roles: what a peer is for an object, claimed, released, and taken back from the dead.

use crate::error::{Error, Result};
use crate::peer::PeerId;
use crate::segment::Segment;
use crate::sync::{AtomicU64, Ordering};

/// Set beside the last holder's identity once it has let go.
const RELEASED: u64 = 1 << 63;

/// How often a claim that lost to another looks again, so that a hostile peer cannot keep it for ever.
const ATTEMPTS: usize = 1000;

/// A role of one object, for which one word in shared memory stands: zero while nobody ever had it, then its holder, then its holder with a mark
/// when that let go.
///
/// The word is changed by compare-and-swap only, and names the claimer in the step that makes the claim: there is no
/// instruction at which a process could die with a role that cannot be traced to it.
#[derive(Debug, Clone, Copy)]
pub struct Role<'a> {
    word: &'a AtomicU64,
    name: &'static str,
}

/// How a claim succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Nobody had the role before.
    First,
    /// The last holder had let go.
    Released(PeerId),
    /// The last holder is dead.
    TakenBack(PeerId),
}

/// What a role's word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleState {
    /// Nobody ever had it.
    Unclaimed,
    /// The peer has it; whether it lives is another question.
    Held(PeerId),
    /// The peer had it and let go.
    Released(PeerId),
}

impl RoleState {
    /// What a role's word says, as it stands in shared memory. Any value says something.
    pub fn from_bits(bits: u64) -> Self {
        match bits {
            0 => Self::Unclaimed,
            bits if bits & RELEASED != 0 => Self::Released(PeerId::from_bits(bits)),
            bits => Self::Held(PeerId::from_bits(bits)),
        }
    }
}

impl<'a> Role<'a> {
    /// The role that `word` stands for; `name` is used in messages.
    pub fn new(word: &'a AtomicU64, name: &'static str) -> Self {
        Self { word, name }
    }

    /// Who has it.
    pub fn state(&self) -> RoleState {
        // Pairs with the Release of `claim` and `release`: who sees a holder sees what the one before it left.
        RoleState::from_bits(self.word.load(Ordering::Acquire))
    }

    /// Takes the role for this process, if nobody who lives has it.
    ///
    /// # Errors
    ///
    /// [`Error::RoleHeld`] if a living peer has it, or another handle of this attachment; [`Error::WrongProcess`] in a fork child that
    /// has not called [`Segment::inherit`]; [`Error::Busy`] if other claimers won a thousand times in a row.
    pub fn claim(&self, segment: &Segment) -> Result<Claim> {
        segment.process().check()?;
        for _ in 0..ATTEMPTS {
            let bits = self.word.load(Ordering::Acquire);
            let claim = match RoleState::from_bits(bits) {
                RoleState::Unclaimed => Claim::First,
                RoleState::Released(last) => Claim::Released(last),
                RoleState::Held(holder) if segment.is_alive(holder) => {
                    return Err(Error::RoleHeld { role: self.name, holder: segment.describe_peer(holder) });
                }
                RoleState::Held(dead) => Claim::TakenBack(dead),
            };
            let mine = segment.peer_id().to_bits();
            // AcqRel: Acquire to see all that the previous holder published, Release so that `state` sees it through us.
            if self.word.compare_exchange(bits, mine, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return Ok(claim);
            }
            // Another claimer was faster. It lives, or lived a moment ago: looking again ends with its name or with the role.
        }
        Err(Error::Busy { what: "a role that others claim and release without end", seconds: 0 })
    }

    /// Lets go of the role in the place of a holder that is dead, so that it is free without a successor; returns whether that is so now. Nothing is
    /// changed if somebody took it back before.
    ///
    /// The caller has [asked](Segment::is_alive) after the holder: the role of one that lives is not to be taken.
    pub fn release_dead(&self, segment: &Segment, dead: PeerId) -> bool {
        // Release: who claims it next sees all that we saw of the dead one's doings, and did about them.
        segment.process().is_current()
            && self
                .word
                .compare_exchange(dead.to_bits(), dead.to_bits() | RELEASED, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }

    /// Lets go of the role, if this process has it. Does nothing in a fork child, whose parent has it.
    pub fn release(&self, segment: &Segment) {
        if !segment.process().is_current() {
            return;
        }
        let mine = segment.peer_id().to_bits();
        // Release: the next holder's claim sees all that we did. If we do not hold it, nothing is changed.
        let _ = self.word.compare_exchange(mine, mine | RELEASED, Ordering::AcqRel, Ordering::Relaxed);
    }
}
