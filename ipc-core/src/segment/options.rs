//! The builder: one for every backing, and for making as well as finding.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::stat::Mode;
use nix::unistd::geteuid;

use super::header::{self, Geometry, MAX_SLOTS, SegmentId};
use super::place::{self, Directory, Place};
use super::publish::{self, ByteLock, Unpublished};
use super::{Backing, Segment};
use crate::error::{Error, Result};
use crate::map::Mapping;
use crate::os::{self, Lock};
use crate::peer::{PeerTable, lease_bytes, process};

/// Room for objects in a segment whose size was not given: 1 MiB.
pub const DEFAULT_SIZE: u64 = 1 << 20;
/// Places in the table of peers, unless said otherwise.
pub const DEFAULT_PEERS: usize = 64;
/// Places in the directory of objects, unless said otherwise.
pub const DEFAULT_OBJECTS: usize = 64;

/// How often making and finding are tried in turn while others remove and make the same name.
const RACES: usize = 100;

#[derive(Debug)]
enum Target {
    Named { name: String, directory: Option<PathBuf> },
    Path(PathBuf),
    Memfd(String),
    Anonymous,
    Fd(OwnedFd),
}

/// What segment to make or to find: from [`Segment::named`] and its siblings.
///
/// ```
/// use ipc_core::Segment;
///
/// # fn main() -> Result<(), ipc_core::Error> {
/// let scratch = Segment::memfd("scratch").size(4 << 20).objects(8).create()?;
/// assert!(scratch.size() >= 4 << 20);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until `create`, `open` or `open_or_create` is called"]
pub struct SegmentOptions {
    target: Target,
    size: u64,
    peers: usize,
    objects: usize,
    mode: u32,
    owner: Option<u32>,
    replace_dead: bool,
    transient: bool,
}

impl SegmentOptions {
    fn new(target: Target) -> Self {
        Self {
            target,
            size: DEFAULT_SIZE,
            peers: DEFAULT_PEERS,
            objects: DEFAULT_OBJECTS,
            mode: 0o600,
            owner: None,
            replace_dead: false,
            transient: false,
        }
    }

    pub(super) fn named(name: &str) -> Self {
        Self::new(Target::Named { name: name.to_owned(), directory: None })
    }

    pub(super) fn at_path(path: &Path) -> Self {
        Self::new(Target::Path(path.to_owned()))
    }

    pub(super) fn memfd(name: &str) -> Self {
        Self::new(Target::Memfd(name.to_owned()))
    }

    pub(super) fn anonymous() -> Self {
        Self::new(Target::Anonymous)
    }

    pub(super) fn from_fd(fd: OwnedFd) -> Self {
        Self::new(Target::Fd(fd))
    }

    /// Bytes of room for objects; the tables come on top, and the sum is rounded up to whole pages. 1 MiB unless said
    /// otherwise. Objects take somewhat more than their payload: each kind tells how much.
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = bytes;
        self
    }

    /// How many processes can be attached at the same time: 64 unless said otherwise, at most 16384.
    pub fn peers(mut self, slots: usize) -> Self {
        self.peers = slots;
        self
    }

    /// How many objects the directory can hold: 64 unless said otherwise, at most 16384.
    pub fn objects(mut self, slots: usize) -> Self {
        self.objects = slots;
        self
    }

    /// The directory of a named segment, instead of the environment's `IPC_DIRECTORY` or `/dev/shm/ipc-UID`.
    ///
    /// It has to exist, and to be safe: owned by this user or root, and not writable by others unless sticky.
    pub fn directory(mut self, path: impl Into<PathBuf>) -> Self {
        if let Target::Named { directory, .. } = &mut self.target {
            *directory = Some(path.into());
        }
        self
    }

    /// Permission bits of the file that is made: 0600 unless said otherwise. Who may write the file can do anything to the
    /// segment, truncation included.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// The user to whom the file has to belong when it is opened: this process's effective user unless said otherwise.
    pub fn owned_by(mut self, uid: u32) -> Self {
        self.owner = Some(uid);
        self
    }

    /// Lets `create` and `open_or_create` replace a segment of that name to which no living process is attached.
    pub fn replace_dead(mut self, replace: bool) -> Self {
        self.replace_dead = replace;
        self
    }

    /// Has this attachment remove the segment's name when it ends, if it is the last one then. Ask for it wherever the segment is made and
    /// opened: whoever leaves last in order removes the name. A process that is killed removes nothing; the next one to leave, or
    /// [`replace_dead`](Self::replace_dead), does.
    pub fn transient(mut self, transient: bool) -> Self {
        self.transient = transient;
        self
    }

    fn owner(&self) -> u32 {
        self.owner.unwrap_or_else(|| geteuid().as_raw())
    }

    /// The file of a segment that has a name.
    fn place(&self, make_directory: bool) -> Result<Place> {
        match &self.target {
            Target::Named { name, directory } => {
                place::check_name(name)?;
                let directory = Directory::for_names(directory.as_deref(), make_directory)?;
                Ok(Place { directory, file: name.into() })
            }
            Target::Path(path) => Directory::split(path),
            Target::Memfd(_) | Target::Anonymous | Target::Fd(_) => {
                Err(Error::Unsupported { what: "finding by name", backing: "a segment that has none".into() })
            }
        }
    }

    fn geometry(&self) -> Result<Geometry> {
        for (option, slots) in [("peers", self.peers), ("objects", self.objects)] {
            if !(1..=MAX_SLOTS).contains(&(slots as u64)) {
                return Err(Error::InvalidOption {
                    option,
                    expected: format!("1 to {MAX_SLOTS}"),
                    found: slots.to_string(),
                });
            }
        }
        let invalid = |expected: &str| Error::InvalidOption {
            option: "size",
            expected: expected.to_owned(),
            found: format!("{} bytes", self.size),
        };
        if self.size == 0 {
            return Err(invalid("at least one byte"));
        }
        Geometry::new(self.size, self.peers as u64, self.objects as u64)
            .filter(|geometry| geometry.size <= i64::MAX as u64)
            .ok_or_else(|| invalid("what can be addressed"))
    }

    /// Makes a new segment.
    ///
    /// All its space is allocated now. Others see it when it is complete, in one step; a process that dies in here leaves nothing
    /// behind. Costs about ten system calls, and the time to allocate and zero the pages.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] if the name is taken; [`Error::NoSpace`] if the file system or the memory has no room;
    /// [`Error::InvalidName`], [`Error::InvalidOption`], [`Error::UnsafeDirectory`], [`Error::LimitReached`]; [`Error::Unsupported`]
    /// for a descriptor, which can only be opened; [`Error::System`] for what else a call may say.
    pub fn create(self) -> Result<Segment> {
        self.create_new()
    }

    fn create_new(&self) -> Result<Segment> {
        let geometry = self.geometry()?;
        match &self.target {
            Target::Fd(_) => {
                Err(Error::Unsupported { what: "creating", backing: "a descriptor: it can be opened".into() })
            }
            Target::Anonymous => {
                publish::check_memory(geometry.size, "anonymous memory")?;
                let map = Mapping::shared_anonymous(geometry.size)?;
                map.prefault()?;
                // An anonymous mapping has no file to lock: an empty memfd beside it carries the leases.
                self.furnish(map, geometry, publish::memfd("leases")?.into(), Backing::Anonymous)
            }
            Target::Memfd(name) => {
                place::check_name(name)?;
                let file: File = publish::memfd(name)?.into();
                publish::allocate(&file, geometry.size, Path::new("memory for a memfd"))?;
                publish::seal_size(&file)?;
                let map = Mapping::shared_file(&file, 0, geometry.size)?;
                self.furnish(map, geometry, file, Backing::Memfd(name.clone()))
            }
            Target::Named { .. } | Target::Path(_) => self.create_file(geometry, Arc::new(self.place(true)?)),
        }
    }

    /// Makes a segment that has a name, and gives it that last.
    fn create_file(&self, geometry: Geometry, place: Arc<Place>) -> Result<Segment> {
        let mut replaced = 0;
        if self.replace_dead {
            // What stands there has to be ours to replace; whether it is dead is asked when the new one is complete.
            match publish::open(&place, self.owner()) {
                Ok(old) => replaced = old.metadata().map_or(0, |metadata| metadata.len()),
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let mode = Mode::from_bits_truncate(self.mode & 0o777);
        let (file, unpublished) = Unpublished::create(place.clone(), mode)?;
        let allocate = || publish::allocate(&file, geometry.size, place.directory.path());
        match allocate() {
            // The dead one may be what takes the room: it goes first, if that is enough.
            Err(Error::NoSpace { needed, available, .. })
                if needed <= available.saturating_add(replaced) && publish::remove_dead(&place, self.owner())? =>
            {
                allocate()?;
            }
            outcome => outcome?,
        }
        let map = Mapping::shared_file(&file, 0, geometry.size)?;
        let segment = self.furnish(map, geometry, file, Backing::File(place.clone()))?;
        // Only now: where making the new one failed, the old one is still there.
        if self.replace_dead {
            publish::remove_dead(&place, self.owner())?;
        }
        unpublished.publish(segment.lease_file(), self.owner())?;
        Ok(segment)
    }

    /// Writes header and tables, and attaches as the first peer.
    fn furnish(&self, map: Mapping, geometry: Geometry, lease: File, backing: Backing) -> Result<Segment> {
        let id = SegmentId::random()?;
        header::write(&map, &geometry, id);
        let map = Arc::new(map);
        let process = process::current()?;
        let peers =
            PeerTable::attach(map.clone(), geometry.peers_offset as usize, geometry.peer_slots as usize, lease)?;
        Ok(Segment::assemble(map, geometry, id, peers, backing, process, self.transient))
    }

    /// Attaches to a segment that exists. Never makes one.
    ///
    /// Everything in the header is checked against the file's real size before any of it is used. Costs about ten system calls,
    /// whatever the segment's size.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::ForeignOwner`], [`Error::NotASegmentFile`], [`Error::UnsafeDirectory`] for what cannot be
    /// trusted; [`Error::Truncated`], [`Error::Incompatible`], [`Error::Corrupted`] for what cannot be used;
    /// [`Error::TooManyPeers`]; [`Error::Unsupported`] for an anonymous segment, which is inherited by `fork`
    /// ([`Segment::inherit`]), and for a memfd's name, which finds nothing.
    pub fn open(self) -> Result<Segment> {
        self.open_existing()
    }

    fn open_existing(&self) -> Result<Segment> {
        match &self.target {
            Target::Anonymous => {
                let backing = "an anonymous segment: fork hands it down, Segment::inherit attaches to it".into();
                return Err(Error::Unsupported { what: "opening", backing });
            }
            Target::Memfd(_) => {
                let backing = "a memfd's name: pass the descriptor and use Segment::from_fd".into();
                return Err(Error::Unsupported { what: "opening", backing });
            }
            Target::Fd(fd) => {
                let path = PathBuf::from("a descriptor");
                let stat = os::fstat(fd).map_err(|source| Error::system("fstat", None, source))?;
                publish::check_kind(&stat, &path)?;
                // A description of our own: locks on the one that was handed over would be shared with its giver.
                let file: File = os::reopen(fd).map_err(|source| Error::system("reopen", None, source))?.into();
                let attached = attach(file, Backing::Memfd("received".into()), self.transient)?;
                return attached.ok_or(Error::NotFound { path });
            }
            Target::Named { .. } | Target::Path(_) => {}
        }
        let place = Arc::new(self.place(false)?);
        for _ in 0..RACES {
            let file = publish::open(&place, self.owner())?;
            if let Some(segment) = attach(file, Backing::File(place.clone()), self.transient)? {
                return Ok(segment);
            }
            // Removed between open and attach: its name may stand for another one by now.
        }
        Err(Error::Busy { what: "the segment's name, made and removed again and again,", seconds: 0 })
    }

    /// Attaches to the segment, or makes it if it does not exist; without a race between the two.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open) and [`create`](Self::create), except that neither existing nor missing is one. A memfd or an anonymous segment
    /// has nothing to be found by, and is made.
    pub fn open_or_create(self) -> Result<Segment> {
        if matches!(self.target, Target::Memfd(_) | Target::Anonymous) {
            // Nothing to be found by.
            return self.create_new();
        }
        if self.replace_dead {
            publish::remove_dead(&self.place(true)?, self.owner())?;
        }
        for _ in 0..RACES {
            match self.open_existing() {
                Err(Error::NotFound { .. }) => {}
                other => return other,
            }
            match self.create_new() {
                Err(Error::AlreadyExists { .. }) => {}
                other => return other,
            }
        }
        Err(Error::Busy { what: "the segment's name, made and removed again and again,", seconds: 0 })
    }
}

/// Checks and maps the file, and takes a place as a peer; `None` if the file lost its name meanwhile.
fn attach(file: File, backing: Backing, transient: bool) -> Result<Option<Segment>> {
    let path = backing.path();
    let stat = os::fstat(&file).map_err(|source| Error::system("fstat", Some(path.clone()), source))?;
    publish::check_kind(&stat, &path)?;
    let file_size = u64::try_from(stat.st_size).unwrap_or(0);
    if file_size < header::HEADER_SIZE as u64 {
        return Err(Error::Truncated { path, expected: header::HEADER_SIZE as u64, found: file_size });
    }
    let map = Mapping::shared_file(&file, 0, file_size)?;
    let (geometry, id) = header::read(&map, &path, file_size)?;
    let map = Arc::new(map);
    let process = process::current()?;
    // Nobody removes the name between our look at it and our lease.
    let arrival = ByteLock::acquire(&file, lease_bytes::REMOVAL, Lock::Shared, "the segment's name")?;
    if matches!(backing, Backing::File(_)) && !publish::has_name(&file) {
        return Ok(None);
    }
    let lease = file.try_clone().map_err(|source| Error::system("dup", Some(path), source))?;
    let peers = PeerTable::attach(map.clone(), geometry.peers_offset as usize, geometry.peer_slots as usize, lease)?;
    drop(arrival);
    Ok(Some(Segment::assemble(map, geometry, id, peers, backing, process, transient)))
}
