//! Errors of moving data. Making and finding rings gives [`ipc_core::Error`].

use ipc_core::peer::PeerDescription;

/// One side of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Who pushes; of a cell, who writes.
    Producer,
    /// Who pops.
    Consumer,
}

impl std::fmt::Display for Side {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        })
    }
}

/// Why nothing was pushed or popped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// The ring is empty, and the producer may still push: only from calls that do not wait.
    #[error("the ring is empty")]
    Empty,
    /// The ring is full: only from calls that do not wait.
    #[error("the ring is full")]
    Full,
    /// The other side has closed: the producer, and everything was popped; or the consumer, and nobody will pop.
    #[error("the {0} has closed the ring")]
    Closed(Side),
    /// The deadline passed.
    #[error("the deadline passed")]
    TimedOut,
    /// The wait was cancelled.
    #[error("the wait was cancelled")]
    Cancelled,
    /// The other side's process died without closing, or exited with its handle not dropped, as by [`std::process::exit`]. What it had committed was popped before this. The ring
    /// goes on when another process takes the role.
    #[error("the {side} died: {peer}")]
    PeerDied {
        /// Which side.
        side: Side,
        /// Who it was.
        peer: PeerDescription,
    },
    /// The other side let go of its role in a panic, without closing.
    #[error("the {0} gave up without closing the ring")]
    PeerGaveUp(Side),
    /// The handle belongs to the process that made it, and this is a child that inherited it by `fork`.
    #[error(
        "this handle belongs to the process that made it: after a fork, call Segment::inherit in the child and claim the role anew"
    )]
    WrongProcess,
    /// This producer's claim, or its place, was given up as a dead one's: the kernel had let go of its process's lease, which happens to one that lives only if it closes
    /// descriptors that are not its own. What was to be published was not, and this handle publishes nothing more: make another one.
    #[error("the claim at {position} was given up, as this process was taken for dead: make another producer")]
    ClaimLost {
        /// Where it was in the ring's order.
        position: u64,
    },
    /// The producer went on and wrote over what this consumer had not read yet, which only one that does not hold it back can be told. The next call goes on behind what was missed.
    #[error("{missed} messages were written over before they were read")]
    Lapped {
        /// How many messages were missed, exactly.
        missed: u64,
    },
    /// A page of the ring was lost under the mapping (its file was truncated, or its file system is full), on an attachment that was asked to survive that:
    /// see [`SegmentOptions::survive_truncation`](ipc_core::SegmentOptions::survive_truncation). Nothing that this call read or wrote can be relied on.
    #[error("the ring has lost pages under its mapping: its file was truncated, or its file system is full")]
    Lost,
    /// A record is longer than the ring takes, or than the buffer it should go to.
    #[error("the record has {len} bytes, {max} are possible")]
    TooLarge {
        /// Bytes of the record.
        len: usize,
        /// Bytes that are possible.
        max: usize,
    },
    /// There is no memory for a record of that length. It was not taken.
    #[error("no memory for a record of {len} bytes")]
    OutOfMemory {
        /// Bytes of the record.
        len: usize,
    },
    /// Control data in the ring contradicts itself: a peer does not follow the protocol. Nothing outside the ring was touched.
    #[error("the ring is corrupted: {what} is {found}, expected at most {limit}")]
    Corrupted {
        /// Which field.
        what: &'static str,
        /// What was found.
        found: u64,
        /// What would be possible.
        limit: u64,
    },
}

/// A push that did not happen: why, and what was to be pushed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PushError<T> {
    /// What was not pushed.
    pub value: T,
    /// Why.
    pub reason: RingError,
}

impl<T> std::fmt::Display for PushError<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.reason.fmt(formatter)
    }
}

// Whatever the value is: an error has to be printable, a payload need not.
impl<T> std::fmt::Debug for PushError<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PushError").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<T> std::error::Error for PushError<T> {}

impl<T> From<PushError<T>> for RingError {
    fn from(error: PushError<T>) -> Self {
        error.reason
    }
}

/// The producer's close is the end of the stream to those who wait for more.
pub(crate) fn end_is_none<T>(result: Result<T, RingError>) -> Result<Option<T>, RingError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(RingError::Closed(Side::Producer)) => Ok(None),
        Err(error) => Err(error),
    }
}
