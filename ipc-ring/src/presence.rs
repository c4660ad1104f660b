//! How a side of a ring is: what its role says and the status beside it, whether its holder lives, and how it leaves.

use ipc_core::peer::{PeerDescription, PeerId, RoleState};
use ipc_core::{Segment, SegmentView};

/// How one side of a ring is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SideState {
    /// Nobody has come yet, or the last one handed over to a successor that has not come.
    Awaited,
    /// A living peer has it.
    Held(PeerDescription),
    /// Its last holder died with it.
    Died(PeerDescription),
    /// Its last holder closed.
    Closed,
    /// Its last holder left in a panic, or gave up.
    GaveUp,
}

// How a side left, beside its identity in the status word.
pub(crate) const STATUS_SHIFT: u32 = 62;
pub(crate) const CLOSED: u64 = 1;
pub(crate) const GAVE_UP: u64 = 2;
pub(crate) const HANDED_OVER: u64 = 3;

/// What the words of a side say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Nobody has come yet, or somebody let go to make room for a successor.
    Awaited,
    /// Somebody holds the role; whether it lives is another question.
    Held(PeerId),
    Closed,
    GaveUp,
}

impl Presence {
    /// What a role and the status beside it say.
    pub(crate) fn decode(state: RoleState, status: u64) -> Self {
        match state {
            RoleState::Held(peer) => Self::Held(peer),
            RoleState::Released(peer) if status_of(status) == (peer.to_bits(), CLOSED) => Self::Closed,
            RoleState::Released(peer) if status_of(status) == (peer.to_bits(), GAVE_UP) => Self::GaveUp,
            RoleState::Unclaimed | RoleState::Released(_) => Self::Awaited,
        }
    }

    /// As [`decode`](Self::decode), of a lane, whose dead are told of once: somebody was, and let go of the role in the dead one's place.
    pub(crate) fn decode_lane(state: RoleState, status: u64) -> Self {
        match (Self::decode(state, status), state) {
            (Self::Awaited, RoleState::Released(peer)) if status_of(status) != (peer.to_bits(), HANDED_OVER) => {
                Self::Closed
            }
            (other, _) => other,
        }
    }
}

/// Whom a status word is of, and what it says.
pub(crate) fn status_of(status: u64) -> (u64, u64) {
    (status & !(3 << STATUS_SHIFT), status >> STATUS_SHIFT)
}

impl SideState {
    /// How a side is: asks the kernel whether its holder lives. `presence` and `status` look at the side's words.
    pub(crate) fn look(
        presence: impl Fn() -> Presence,
        status: impl Fn() -> (u64, u64),
        peers: &impl Liveness,
    ) -> Self {
        let peer = match presence() {
            Presence::Awaited => return Self::Awaited,
            Presence::Closed => return Self::Closed,
            Presence::GaveUp => return Self::GaveUp,
            Presence::Held(peer) => peer,
        };
        if peers.lives(peer) {
            return Self::Held(peers.describe(peer));
        }
        // It may have let go between the look at the role and the question: then it left in order.
        match presence() {
            Presence::Held(now) if now == peer => {}
            Presence::Closed => return Self::Closed,
            Presence::GaveUp => return Self::GaveUp,
            Presence::Awaited => return Self::Awaited,
            // Another one already: it lived a moment ago.
            Presence::Held(now) => return Self::Held(peers.describe(now)),
        }
        // Killed on its last steps, with all published and said.
        if status() == (peer.to_bits(), CLOSED) { Self::Closed } else { Self::Died(peers.describe(peer)) }
    }

    /// As [`look`](Self::look), of a side whose words `load` reads: the role, and behind it the status.
    pub(crate) fn read(
        load: impl Fn(usize) -> u64,
        decode: fn(RoleState, u64) -> Presence,
        peers: &impl Liveness,
    ) -> Self {
        // The role first, as `decode` wants it: who sees it released sees the status before it.
        let presence = || decode(RoleState::from_bits(load(0)), load(8));
        Self::look(presence, || status_of(load(8)), peers)
    }
}

/// How a side leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// For good.
    Closing,
    /// Without having done its part.
    GivingUp,
    /// To a successor.
    HandingOver,
}

impl Leaving {
    /// What a side's status word says then.
    pub(crate) fn status(self, who: PeerId) -> u64 {
        let how = match self {
            Self::Closing => CLOSED,
            Self::GivingUp => GAVE_UP,
            Self::HandingOver => HANDED_OVER,
        };
        how << STATUS_SHIFT | who.to_bits()
    }

    /// When a handle drops: a panic does not say that all went well.
    pub(crate) fn for_drop() -> Self {
        if std::thread::panicking() { Self::GivingUp } else { Self::Closing }
    }
}

/// Who can tell whether a peer lives.
pub(crate) trait Liveness {
    /// Asks the kernel.
    fn lives(&self, peer: PeerId) -> bool;

    fn describe(&self, peer: PeerId) -> PeerDescription;
}

impl Liveness for SegmentView {
    fn lives(&self, peer: PeerId) -> bool {
        self.is_alive(peer)
    }

    fn describe(&self, peer: PeerId) -> PeerDescription {
        self.describe_peer(peer)
    }
}

impl Liveness for Segment {
    fn lives(&self, peer: PeerId) -> bool {
        self.is_alive(peer)
    }

    fn describe(&self, peer: PeerId) -> PeerDescription {
        self.describe_peer(peer)
    }
}
