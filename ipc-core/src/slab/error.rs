//! Errors of using a slab. Making and finding one gives [`Error`](crate::Error).

use super::Handle;

/// Why a slot was not had, given or found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SlabError {
    /// Every slot that would do is held, shared or in flight: only from calls that do not wait.
    #[error("all {slots} slots of at least {len} bytes are in use")]
    Exhausted {
        /// Bytes that were asked for.
        len: usize,
        /// Slots that are as large.
        slots: usize,
    },
    /// More bytes than the largest class has, or than the slot.
    #[error("{len} bytes are asked for, {max} are possible")]
    TooLarge {
        /// Bytes that were asked for.
        len: usize,
        /// Bytes that are possible.
        max: usize,
    },
    /// The handle's tenure is over: the slot was received by somebody, released, or taken back from the dead; or the handle never named one.
    #[error("handle {0} is stale")]
    Stale(Handle),
    /// The handle names a slot of another slab, or of another segment.
    #[error("handle {found} is of another slab, expected {expected:08x}")]
    ForeignSlab {
        /// This slab.
        expected: u32,
        /// The handle.
        found: Handle,
    },
    /// The ring stands in another segment than the slab: nobody there could be asked whether the other's peers live.
    #[error("the ring is in another segment than the slab")]
    ForeignRing,
    /// The slab knows as many rings as it was made for.
    #[error("the slab knows {rings} rings already, as many as it was made for")]
    TooManyRings {
        /// For how many it was made.
        rings: usize,
    },
    /// The shared slot is in flight in this ring already: it can be there once at a time.
    #[error("shared slot {0} is in flight in that ring already")]
    InFlight(Handle),
    /// The deadline passed.
    #[error("the deadline passed")]
    TimedOut,
    /// The wait was cancelled.
    #[error("the wait was cancelled")]
    Cancelled,
    /// The slab belongs to the process that opened it, and this is a child that inherited it by `fork`.
    #[error("this slab was opened by the process that forked: open it anew in the child")]
    WrongProcess,
    /// A page was lost under the mapping, on an attachment that was asked to survive that. Nothing that this call read or wrote can be relied on.
    #[error("the slab has lost pages under its mapping: its file was truncated, or its file system is full")]
    Lost,
    /// A word of the slab is not what a peer that follows the protocol writes. Nothing outside the slab was touched.
    #[error("slot {slot} is corrupted: its word is {found:#x}")]
    Corrupted {
        /// The slot.
        slot: u32,
        /// What was found.
        found: u64,
    },
}
