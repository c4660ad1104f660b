//! What can go wrong with a journal.

use ipc_core::Error;

/// Why a journal could not be made, opened, appended to or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// An error of the segment or the kernel; among them [`Error::FlushFailed`], after which the journal is poisoned for all peers, and
    /// [`Error::Unsupported`] for durable modes where the backing keeps nothing.
    #[error(transparent)]
    Segment(#[from] Error),
    /// What stands in the journal is not what was written there: a damaged medium, a foreign file, or a peer that does not follow the protocol. Nothing was
    /// skipped and nothing changed.
    #[error("the journal is corrupted at {position}: {what} is {found:#x}, expected {expected:#x}")]
    Corrupted {
        /// Which field.
        what: &'static str,
        /// Where: a position in the journal, or an offset in superblock or headers.
        position: u64,
        /// What would have been right.
        expected: u64,
        /// What was found.
        found: u64,
    },
    /// A flush has failed in whatever process: no more appends, no more acknowledgements, for good. Reading goes on.
    #[error("the journal is poisoned: a flush of it has failed")]
    Poisoned,
    /// There is no room, and nothing may be given up for it: the named cursor, or what was not released, holds everything back.
    #[error(
        "the journal is full: {needed} bytes are needed, {available} are free, and nothing after {floor} is released: {}",
        match held_by {
            Some(cursor) => format!("cursor {cursor:?} has not acknowledged it"),
            None => "there is no cursor, and `Journal::release` has not named it".into(),
        }
    )]
    Full {
        /// Bytes that the record takes with its frame.
        needed: u64,
        /// Bytes that are free.
        available: u64,
        /// The cursor that holds back the most. None where there is no cursor: then only [`Journal::release`](super::Journal::release) makes room.
        held_by: Option<String>,
        /// The position that is held.
        floor: u64,
    },
    /// A record is longer than the journal takes, or than what was claimed for it.
    #[error("the record has {len} bytes, {max} are possible")]
    TooLarge {
        /// Bytes of the record.
        len: usize,
        /// Bytes that are possible.
        max: usize,
    },
    /// The reader was overtaken: its place was given up for room. It goes on at the oldest record when it reads again.
    #[error("the records from {position} on were given up for room; the oldest one is at {oldest}")]
    Lapped {
        /// Where the reader was.
        position: u64,
        /// Where it goes on.
        oldest: u64,
    },
    /// No record begins there.
    #[error("no record begins at {position}: the journal has {oldest} to {end}")]
    InvalidPosition {
        /// What was asked for.
        position: u64,
        /// The oldest record.
        oldest: u64,
        /// Where the last one ends.
        end: u64,
    },
    /// All places for handles, or for cursors, are taken.
    #[error("all {places} places for {what} are taken")]
    TooMany {
        /// What for.
        what: &'static str,
        /// How many there are.
        places: usize,
    },
    /// A cursor's name is empty, too long, or has a zero byte.
    #[error("{name:?} cannot be a cursor's name: it has to have 1 to {max} bytes, none of them zero")]
    InvalidName {
        /// The name.
        name: String,
        /// Bytes at most.
        max: usize,
    },
    /// There is no cursor of that name.
    #[error("the journal has no cursor {name:?}")]
    NoSuchCursor {
        /// The name.
        name: String,
    },
    /// The claim was taken over by another peer, which took this process for dead. Nothing was appended.
    #[error("the claim at {position} was taken over by another peer")]
    ClaimLost {
        /// Where it was.
        position: u64,
    },
    /// The record is appended, and the deadline passed, or the wait was cancelled, before it was durable: [`wait_durable`](super::Journal::wait_durable) with its end goes on waiting.
    #[error(
        "the record at {position} is appended, and was not durable when the wait for that ended; it is when everything before {end} is"
    )]
    NotYetDurable {
        /// Where it begins.
        position: u64,
        /// Where it ends.
        end: u64,
    },
    /// There is nothing to read yet: only from calls that do not wait.
    #[error("there is no further record yet")]
    Empty,
    /// The deadline passed.
    #[error("the deadline passed")]
    TimedOut,
    /// The wait was cancelled.
    #[error("the wait was cancelled")]
    Cancelled,
    /// Positions have run out: 2^62 bytes were appended.
    #[error("the journal has no positions left")]
    Exhausted,
}
