//! Errors of segments, objects and peers: typed, with what was expected and what was found.

use std::io;
use std::path::{Path, PathBuf};

use crate::peer::PeerId;

/// The result of an operation on a segment.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong when a segment is made, found or used.
///
/// An operation that fails leaves nothing behind: no file, no descriptor, no half-made object.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A segment or object name that cannot be used.
    #[error("name {name:?} cannot be used: {reason}")]
    InvalidName {
        /// The name as given.
        name: String,
        /// What a name has to be.
        reason: &'static str,
    },

    /// An option outside what is possible.
    #[error("{option}: expected {expected}, found {found}")]
    InvalidOption {
        /// The option of the builder.
        option: &'static str,
        /// What it may be.
        expected: String,
        /// What it was.
        found: String,
    },

    /// There is no segment by that name, or no such directory.
    #[error("{path:?} does not exist")]
    NotFound {
        /// Where it was looked for.
        path: PathBuf,
    },

    /// A segment by that name is there already.
    #[error("segment {path:?} exists already, {}", if *.in_use { "and a living process is attached to it" } else { "but no living process is attached to it: `replace_dead` replaces it" })]
    AlreadyExists {
        /// Where it is.
        path: PathBuf,
        /// Whether living processes are attached to it, as far as that could be seen.
        in_use: bool,
    },

    /// The file belongs to a user other than the one expected.
    #[error("{path:?} belongs to uid {found}, expected uid {expected}: `owned_by` says whose to expect")]
    ForeignOwner {
        /// The file or directory.
        path: PathBuf,
        /// The expected owner.
        expected: u32,
        /// Its owner.
        found: u32,
    },

    /// A directory that others could tamper with.
    #[error(
        "directory {path:?} is not safe for segments: expected {expected}, found owner {owner} and mode {mode:04o}"
    )]
    UnsafeDirectory {
        /// The directory.
        path: PathBuf,
        /// What it has to be.
        expected: String,
        /// Its owner.
        owner: u32,
        /// Its permission bits.
        mode: u32,
    },

    /// Something that is not a regular file, or has several names.
    #[error("{path:?} is not a segment: expected a regular file with one name, found {found}")]
    NotASegmentFile {
        /// Where it is.
        path: PathBuf,
        /// What it is.
        found: String,
    },

    /// This process may read the segment, but not write it, which a peer has to: because of the file's mode, a file system that is mounted read-only, or a memfd's seals.
    #[error(
        "this process may not write {path:?} ({reason}): `open_read_only` looks into it without the right to write"
    )]
    NotWritable {
        /// Where it is.
        path: PathBuf,
        /// What forbids it: the system's error, or what the descriptor is.
        reason: String,
    },

    /// The file is shorter than its header says, or too short for a header.
    #[error("segment {path:?} is truncated: expected {expected} bytes, found {found}")]
    Truncated {
        /// Where it is.
        path: PathBuf,
        /// Bytes that there should be.
        expected: u64,
        /// Bytes that there are.
        found: u64,
    },

    /// A field of the header is not what this build of the library uses. Without its magic, a file is not a segment at all.
    #[error("{}", display_incompatible(.path, .field, *.expected, *.found))]
    Incompatible {
        /// Where it is.
        path: PathBuf,
        /// The field: magic, format version, cache line, layout fingerprint.
        field: &'static str,
        /// This build's value.
        expected: u64,
        /// The segment's value.
        found: u64,
    },

    /// Control data in the segment that contradicts itself.
    #[error("segment {path:?} is corrupted: {what} is {found}, expected {expected}")]
    Corrupted {
        /// Where it is.
        path: PathBuf,
        /// Which field.
        what: &'static str,
        /// What would be valid.
        expected: String,
        /// What was found.
        found: String,
    },

    /// The file system, or a limit of it, has no room for the segment.
    #[error("no space for {needed} bytes in {path:?}: {available} bytes are available")]
    NoSpace {
        /// The directory, or what stands for it.
        path: PathBuf,
        /// Bytes that the segment needs.
        needed: u64,
        /// Bytes that are free there.
        available: u64,
    },

    /// A limit of the process or the system forbids it.
    #[error("{limit} is {value}, but {needed} would be needed")]
    LimitReached {
        /// The limit's name, as `setrlimit` or `sysctl` has it.
        limit: &'static str,
        /// Its value: bytes, or mappings for `vm.max_map_count`.
        value: u64,
        /// What would be needed, in the same unit.
        needed: u64,
    },

    /// The system has not enough huge pages, and no other kind was allowed.
    #[error("no huge pages of {size} bytes for {needed} bytes: {free} of them are free (see vm.nr_hugepages)")]
    NoHugePages {
        /// Bytes of one huge page.
        size: u64,
        /// Bytes that were to be mapped.
        needed: u64,
        /// Huge pages that are free.
        free: u64,
    },

    /// An object of that name is there already.
    #[error("object {name:?} exists already in the segment")]
    ObjectExists {
        /// The object's name.
        name: String,
    },

    /// There is no object of that name.
    #[error("object {name:?} does not exist in the segment")]
    ObjectNotFound {
        /// The object's name.
        name: String,
    },

    /// The object of that name is of another kind, type or geometry.
    #[error("object {name:?} differs in its {what}: expected {expected}, found {found}")]
    ObjectMismatch {
        /// The object's name.
        name: String,
        /// What differs: kind, type, capacity.
        what: &'static str,
        /// What was asked for.
        expected: String,
        /// What stands in the segment.
        found: String,
    },

    /// The directory of objects has no free place.
    #[error("the directory of the segment is full: all {slots} places are taken")]
    DirectoryFull {
        /// How many places it has.
        slots: usize,
    },

    /// The segment has no room for the object.
    #[error("no room in the segment: {needed} bytes are needed, the largest free range has {available}")]
    NoRoom {
        /// Bytes that the object needs.
        needed: u64,
        /// Bytes in the largest free range.
        available: u64,
    },

    /// The table of peers has no free place.
    #[error("the table of peers is full: {slots} processes are attached")]
    TooManyPeers {
        /// How many places it has.
        slots: usize,
    },

    /// Every place for a role of which an object has several is held by a process that lives, or it was made with none.
    #[error("no place for another {role}: {}", if *.places == 0 { "it was made with none".to_owned() } else { format!("processes that live hold all {places} that it was made with") })]
    NoFreePlace {
        /// Which role.
        role: &'static str,
        /// How many places there are.
        places: usize,
    },

    /// A role is held by another process that lives, or by another handle of this one.
    #[error("the role of {role} is held by {holder}")]
    RoleHeld {
        /// Which role.
        role: &'static str,
        /// Who holds it.
        holder: PeerDescription,
    },

    /// A lock that guards a rare operation was not released in time by a living process.
    #[error("{what} is locked by another process for more than {seconds} s")]
    Busy {
        /// What is locked.
        what: &'static str,
        /// How long it was waited for.
        seconds: u64,
    },

    /// The handle was made by another process, and came here by `fork`.
    #[error(
        "this handle belongs to the process that made it: after a fork, call Segment::inherit in the child and claim anew"
    )]
    WrongProcess,

    /// The backing cannot do what was asked.
    #[error("{what} is not possible for {backing}")]
    Unsupported {
        /// What was asked.
        what: &'static str,
        /// The kind of backing, or the file system.
        backing: String,
    },

    /// Arguments of a mapping that the kernel would refuse, or that would reach beyond the file.
    #[error("cannot map {len} bytes at offset {offset}: {reason}")]
    InvalidRange {
        /// Offset in the file.
        offset: u64,
        /// Length in bytes.
        len: u64,
        /// What is wrong with it.
        reason: String,
    },

    /// What a descriptor stands for cannot be mapped.
    #[error("cannot map {found}: expected a regular file or memfd")]
    NotMappable {
        /// What it is.
        found: &'static str,
    },

    /// A descriptor does not permit what the mapping's type says.
    #[error("a mapping for {needed} is not possible: the descriptor is {found}")]
    WrongAccess {
        /// What the mapping would permit.
        needed: &'static str,
        /// What the descriptor is.
        found: &'static str,
    },

    /// Addresses that were asked for are taken.
    #[error("the {len} bytes of addresses from {address:#x} on are not free")]
    AddressTaken {
        /// The first address.
        address: usize,
        /// Bytes from there on.
        len: usize,
    },

    /// A memfd whose giver could still truncate it.
    #[error("{path:?} can still be shrunk by others: expected seals {expected:#x}, found {found:#x}")]
    Unsealed {
        /// What stands for it.
        path: PathBuf,
        /// Seals that it must have, as `F_ADD_SEALS` takes them.
        expected: i32,
        /// Seals that it has.
        found: i32,
    },

    /// What came over a socket is not a segment handed over.
    #[error("no segment was received: expected {expected}, found {found}")]
    NotReceived {
        /// What should have come.
        expected: &'static str,
        /// What came.
        found: String,
    },

    /// The file was truncated under the mapping, or had no room for a page that was touched: seen by the guard. What was read from the segment
    /// since the last call that succeeded may be zeros, and what was written is lost. The attachment is of no more use.
    #[error("segment {path:?} has lost pages under its mapping: it was truncated, or its file system is full")]
    Lost {
        /// Where it is, or was.
        path: PathBuf,
    },

    /// A flush failed, now or before, in this process or in another: what was not durable by then may never be.
    #[error("a flush of segment {path:?} has failed{}: its file cannot be relied on any more", display_cause(.source))]
    FlushFailed {
        /// Where it is.
        path: PathBuf,
        /// The error, in the process in which it was seen.
        source: Option<io::Error>,
    },

    /// A system call failed.
    #[error("{call} failed{}: {source}", display_path(.path))]
    System {
        /// The call.
        call: &'static str,
        /// What it was about, if it was a file.
        path: Option<PathBuf>,
        /// The error that the system gave.
        source: io::Error,
    },
}

/// The field of the header that says that it is one.
pub(crate) const MAGIC_FIELD: &str = "magic";

/// Who a peer is, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerDescription {
    /// Its identity in the segment.
    pub id: PeerId,
    /// Its pid in its own pid namespace: information, never identity. 0 if it is not known.
    pub pid: u32,
}

impl std::fmt::Display for PeerDescription {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.pid == 0 {
            write!(formatter, "peer {}", self.id)
        } else {
            write!(formatter, "pid {} (peer {})", self.pid, self.id)
        }
    }
}

fn display_cause(cause: &Option<io::Error>) -> String {
    cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default()
}

fn display_incompatible(path: &Path, field: &str, expected: u64, found: u64) -> String {
    let values = format!("expected {expected:#x}, found {found:#x}");
    if field == MAGIC_FIELD {
        format!("{path:?} is not a segment: its {field} is another, {values}")
    } else {
        format!("segment {path:?} has another {field}: {values}")
    }
}

fn display_path(path: &Option<PathBuf>) -> String {
    path.as_ref().map(|path| format!(" for {path:?}")).unwrap_or_default()
}

impl Error {
    pub(crate) fn system(call: &'static str, path: Option<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::System { call, path, source: source.into() }
    }

    pub(crate) fn errno(call: &'static str, errno: nix::errno::Errno) -> Self {
        Self::system(call, None, errno)
    }
}
