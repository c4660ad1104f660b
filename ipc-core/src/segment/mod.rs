//! Segments: made, found, attached to, and what stands in them.
//!
//! A named segment appears in its directory in one step, complete, and is found by name; it stays until somebody
//! [unlinks](Segment::unlink) it. Attached processes keep using one whose name is gone. docs/FORMAT.md draws the bytes.

mod attach;
mod create;
mod directory;
mod durable;
mod header;
mod list;
mod options;
mod pass;
mod place;
mod publish;
mod region;
mod space;
mod view;

pub use directory::{ObjectInfo, ObjectKind, PayloadType};
pub use durable::DurableSegment;
pub use header::SegmentId;
pub use list::SegmentInfo;
pub use options::{DEFAULT_OBJECTS, DEFAULT_PEERS, DEFAULT_SIZE, HugePages, SegmentOptions};
pub use region::{Object, Region};
pub use view::{ObjectView, SegmentView};

use std::any::Any;
use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, PeerDescription, Result};
use crate::map::{Mapping, ReadWrite};
use crate::os::{self, Lock};
use crate::peer::process::{self, Process};
use crate::peer::{HeldRole, PeerId, PeerInfo, PeerTable, Roles, lease_bytes};
use directory::{Directory, NewObject};
use header::Geometry;
use options::Behaviour;
use place::Place;
use publish::ByteLock;

/// What a segment is backed by.
#[derive(Debug, Clone)]
enum Backing {
    File(Arc<Place>),
    Memfd(String),
    Anonymous,
    /// A file or memfd that came as a descriptor.
    Received,
}

impl Backing {
    fn path(&self) -> PathBuf {
        match self {
            Self::File(place) => place.path(),
            Self::Memfd(name) => format!("memfd:{name}").into(),
            Self::Anonymous => "anonymous".into(),
            Self::Received => "a descriptor".into(),
        }
    }
}

/// An attachment of this process to a segment: a mapping, a place among its peers, and a lease.
///
/// Clones share the attachment; it ends when the last clone, and the last object opened through it, drops. If the process is killed
/// instead, the kernel frees the lease, and the others see that it is dead.
///
/// After a `fork` the child's copy answers with [`Error::WrongProcess`] until the child calls [`inherit`](Self::inherit); dropping it there
/// disturbs nobody.
#[derive(Clone)]
pub struct Segment {
    inner: Arc<Attachment>,
}

struct Attachment {
    map: Arc<Mapping>,
    geometry: Geometry,
    id: SegmentId,
    peers: PeerTable,
    backing: Backing,
    process: Process,
    /// Whether the last one to leave removes the name.
    transient: bool,
    behaviour: Behaviour,
    threads: Threads,
}

/// What the threads of this process have between them: they share a description, and so the kernel's locks.
#[derive(Debug, Default)]
struct Threads {
    /// Beside each of those locks but the one of repairs.
    locks: Mutex<()>,
    /// Beside the lock of repairs, which is held across calls that take the others.
    repair: Mutex<()>,
    /// Of those who flush: the kernel tells an error of writing once to those who flush through one description.
    flushing: Mutex<()>,
    /// What the handles of an object share in this process's own memory, by the object's place.
    private: Mutex<Vec<(u64, Arc<Private>)>>,
}

type Private = dyn Any + Send + Sync;

/// From [`Segment::lock_for_repair`]; freed when it drops, the kernel's lock first.
#[derive(Debug)]
pub struct RepairLock<'a> {
    process: Process,
    bytes: Option<ByteLock<'a>>,
    _threads: MutexGuard<'a, ()>,
}

impl Drop for RepairLock<'_> {
    fn drop(&mut self) {
        // In a fork child this is a copy, on a description that is its parent's as well.
        if !self.process.is_current()
            && let Some(bytes) = self.bytes.take()
        {
            bytes.keep();
        }
    }
}

/// Where it is and who we are in it: every handle of every object has one, so the rest would drown what the handle has to say.
impl fmt::Debug for Segment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = format_args!("{}", self.peer_id());
        formatter.debug_struct("Segment").field("path", &self.path()).field("peer", &peer).finish_non_exhaustive()
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // A child's copy: place and lease are the parent's.
        if !self.process.is_current() {
            return;
        }
        if let (true, Backing::File(place)) = (self.transient, &self.backing) {
            // Nobody can be told of an error here; the name stays, then.
            let _ = publish::remove(self.peers.lease(), place, true, || self.peers.detach());
        }
        self.peers.detach();
    }
}

impl Segment {
    /// A segment found by its name, as a file in `/dev/shm/ipc-UID` unless [said otherwise](SegmentOptions::directory).
    ///
    /// A name has 1 to 200 bytes, contains no `/` and no control characters, and does not begin with a dot; it is checked when the segment is made or
    /// opened.
    pub fn named(name: impl AsRef<str>) -> SegmentOptions {
        SegmentOptions::named(name.as_ref())
    }

    /// A segment in a file at any path, on any file system that can allocate space.
    pub fn at_path(path: impl AsRef<Path>) -> SegmentOptions {
        SegmentOptions::at_path(path.as_ref())
    }

    /// A segment in memory that has no name in any directory: its descriptor is inherited or passed on. `name` is for /proc only. Its size is sealed, so
    /// that nobody can truncate it; its contents are not.
    pub fn memfd(name: impl AsRef<str>) -> SegmentOptions {
        SegmentOptions::memfd(name.as_ref())
    }

    /// A segment in shared anonymous memory, for the children that this process forks.
    pub fn anonymous() -> SegmentOptions {
        SegmentOptions::anonymous()
    }

    /// A segment behind a descriptor that was inherited or received. It has to belong to this user, unless
    /// [said otherwise](SegmentOptions::owned_by), and the size of a memfd has to be sealed.
    pub fn from_fd(fd: OwnedFd) -> SegmentOptions {
        SegmentOptions::from_fd(fd)
    }

    /// A segment behind a descriptor that this program was started with, by its number: from [`pass_to`](Self::pass_to) in the process that started it, or
    /// from a service manager that keeps descriptors (3 and up). The descriptor itself stays open.
    pub fn from_inherited(number: i32) -> SegmentOptions {
        SegmentOptions::from_inherited(number)
    }

    fn assemble(attachment: Attachment) -> Self {
        #[cfg(feature = "tracing")]
        tracing::debug!(
            segment = %attachment.id,
            path = ?attachment.backing.path(),
            size = attachment.map.len(),
            peer = %attachment.peers.me(),
            "attached"
        );
        Self { inner: Arc::new(attachment) }
    }

    /// Attaches a fork child to the segment that it inherited: a peer of its own, with a lease of its own, on the same mapping.
    ///
    /// Works for every backing, and for an anonymous segment it is the only way in. Costs a few system calls. In the process that made
    /// this handle it attaches once more, as another peer.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyPeers`]; [`Error::System`] if /proc, through which the descriptor is opened anew, is missing.
    pub fn inherit(&self) -> Result<Self> {
        let inner = &self.inner;
        let process = process::current()?;
        let lease: File = os::reopen(inner.peers.lease())
            .map_err(|source| Error::system("reopen through /proc", Some(inner.backing.path()), source))?
            .into();
        // As when attaching by name: nobody takes the segment for unused while we arrive.
        ByteLock::acquire(&lease, lease_bytes::REMOVAL, Lock::Shared, "the segment's name")?.keep();
        let (offset, slots) = (inner.geometry.peers_offset as usize, inner.geometry.peer_slots as usize);
        let peers = PeerTable::attach(inner.map.clone(), offset, slots, lease)?;
        drop(ByteLock::kept(peers.lease(), lease_bytes::REMOVAL));
        self.checked(Ok(()))?;
        Ok(Self::assemble(Attachment {
            map: inner.map.clone(),
            backing: inner.backing.clone(),
            peers,
            process,
            threads: Threads::default(),
            ..**inner
        }))
    }

    /// The segment's identity: random, and the same for all who are attached to it.
    pub fn id(&self) -> SegmentId {
        self.inner.id
    }

    /// That this process made the handle, and that no page was lost under it.
    fn check(&self) -> Result<()> {
        self.inner.process.check()?;
        self.look_for_loss();
        if self.is_lost() { Err(Error::Lost { path: self.path() }) } else { Ok(()) }
    }

    /// Looks whether the file still has all that is mapped, for those who wait and touch nothing: [`is_lost`](Self::is_lost) tells then. Does nothing
    /// unless the attachment was asked to survive that. Costs an `fstat`.
    pub fn look_for_loss(&self) {
        if !matches!(self.inner.backing, Backing::Anonymous) {
            self.inner.map.look_for_loss(self.lease_file());
        }
    }

    /// What was read from the segment, if all of it was there: asked last.
    fn checked<T>(&self, outcome: Result<T>) -> Result<T> {
        if self.is_lost() { Err(Error::Lost { path: self.path() }) } else { outcome }
    }

    /// Whether a page was lost under the mapping, so that the attachment is of no more use. Always false unless it was asked to
    /// [survive](SegmentOptions::survive_truncation) that. Costs a load.
    pub fn is_lost(&self) -> bool {
        self.inner.map.is_lost()
    }

    /// Bytes of the segment, header and tables included: what it has [grown](Self::grow) to by now, which costs a system call where it may grow.
    pub fn size(&self) -> u64 {
        self.notice_growth();
        self.inner.map.len() as u64
    }

    /// Bytes to which it may grow.
    pub fn max_size(&self) -> u64 {
        self.inner.geometry.max_size.max(self.inner.map.len() as u64)
    }

    /// Bytes in a page of it: more than usual if it is made of [huge pages](SegmentOptions::huge_pages).
    pub fn page_size(&self) -> usize {
        self.inner.map.page_size()
    }

    /// Uses what others have made the segment grow to.
    fn notice_growth(&self) {
        let map = &self.inner.map;
        if map.len() < map.max_len() && !matches!(self.inner.backing, Backing::Anonymous) {
            let before = map.len();
            // What cannot be asked is not noticed: what is known stays as it is. What cannot be brought in now is brought in when it is touched.
            if map.grow(self.lease_file()).is_ok_and(|after| after > before) {
                let _ = self.inner.behaviour.fetch(map, before);
            }
        }
    }

    /// Makes the segment's room for objects at least `size` bytes, as the [builder](SegmentOptions::size) counts them, and returns
    /// [its size](Self::size) then. Everything stays at its address, here and in all other processes; they notice when they next make or find
    /// an object. Does nothing if it has that size already.
    ///
    /// The space is allocated now, unless the segment is [lazy](SegmentOptions::lazy). A process that dies in here leaves a segment that has grown, in part or
    /// whole, or not.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if that is more than [`max_size`](SegmentOptions::max_size); [`Error::NoSpace`], [`Error::LimitReached`];
    /// [`Error::Unsupported`] for an anonymous segment; [`Error::Busy`], [`Error::WrongProcess`]; [`Error::Truncated`], or [`Error::Lost`] with the
    /// [guard](SegmentOptions::survive_truncation), if another program has cut the file off: it is left as it is.
    pub fn grow(&self, size: u64) -> Result<u64> {
        self.check()?;
        let Attachment { map, geometry, .. } = &*self.inner;
        if matches!(self.inner.backing, Backing::Anonymous) {
            let backing = "anonymous memory, which has the size that it was made with".into();
            return Err(Error::Unsupported { what: "growing", backing });
        }
        let wanted = geometry.size_for(size).ok_or_else(|| Error::InvalidOption {
            option: "size",
            expected: format!("at most {} bytes with the tables, the segment's max_size", geometry.max_size),
            found: format!("{size} bytes"),
        })?;
        let _between_threads = self.inner.threads.locks.lock().unwrap_or_else(PoisonError::into_inner);
        let _between_processes = self.lock_objects()?;
        self.notice_growth();
        let before = map.len();
        if wanted > before as u64 {
            let check_file = || {
                self.check()?;
                let (expected, found) = (before as u64, map.file_len(self.lease_file())?);
                if found < expected { Err(Error::Truncated { path: self.path(), expected, found }) } else { Ok(()) }
            };
            space::extend(self.lease_file(), before as u64, wanted, geometry.lazy, &self.path(), check_file)?;
            let after = map.grow(self.lease_file())? as u64;
            if after < wanted {
                return Err(Error::Truncated { path: self.path(), expected: wanted, found: after });
            }
            self.inner.behaviour.fetch(map, before)?;
        }
        Ok(map.len() as u64)
    }

    /// Of all processes only one at a time makes objects, or makes the segment grow.
    fn lock_objects(&self) -> Result<ByteLock<'_>> {
        ByteLock::acquire(self.lease_file(), lease_bytes::OBJECTS, Lock::Exclusive, "the directory of objects")
    }

    /// Keeps all others from doing the same until the value drops, in this process and in any other: for crates whose objects are put in order by one process at a
    /// time, such as a journal that is recovered. The kernel frees it when the process dies. One lock for the whole segment, not for an object.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if a living process has it for seconds; [`Error::WrongProcess`], [`Error::Lost`].
    pub fn lock_for_repair(&self) -> Result<RepairLock<'_>> {
        self.check()?;
        let threads = self.inner.threads.repair.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes =
            ByteLock::acquire(self.lease_file(), lease_bytes::REPAIR, Lock::Exclusive, "the repair of the segment")?;
        Ok(RepairLock { process: self.process(), bytes: Some(bytes), _threads: threads })
    }

    /// What all handles of one object share that were opened through this attachment, in memory that no other process writes: for crates whose objects have
    /// to know what this process itself is at, whatever shared memory says of it. Made by the first who asks; a fork child's attachment has its own.
    ///
    /// `None` if another type was asked for before.
    pub fn private_state<T: Any + Send + Sync + Default>(&self, region: &Region) -> Option<Arc<T>> {
        let mut private = self.inner.threads.private.lock().unwrap_or_else(PoisonError::into_inner);
        let known = private.iter().find(|(at, _)| *at == region.offset()).map(|(_, state)| Arc::clone(state));
        let state = known.unwrap_or_else(|| {
            let state: Arc<Private> = Arc::new(T::default());
            private.push((region.offset(), Arc::clone(&state)));
            state
        });
        state.downcast().ok()
    }

    /// Whether both are clones of one attachment.
    fn is_same_attachment(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Where it is, for messages: a path, or what stands for one.
    pub fn path(&self) -> PathBuf {
        self.inner.backing.path()
    }

    /// This attachment's identity among the peers.
    pub fn peer_id(&self) -> PeerId {
        self.inner.peers.me()
    }

    /// The process that attached.
    pub fn process(&self) -> Process {
        self.inner.process
    }

    /// Everyone in the table of peers, this process included: since when, in which roles, and whether they live. A few system calls for each, and a look at
    /// every object.
    pub fn peers(&self) -> impl Iterator<Item = PeerInfo> + '_ {
        let held = self.held_roles();
        self.inner.peers.peers().map(move |peer| peer.with_roles(&held))
    }

    /// All roles that are held, by the living and by the dead: also by those whose place in the table of peers was taken again. At most 65,536.
    pub fn held_roles(&self) -> Vec<HeldRole> {
        self.with_directory(|directory| directory.held_roles())
    }

    /// Whether a peer lives: asked of the kernel, a few system calls. One that is stopped or slow lives.
    pub fn is_alive(&self, peer: PeerId) -> bool {
        self.inner.peers.is_alive(peer)
    }

    /// Who a peer is, for messages.
    pub fn describe_peer(&self, peer: PeerId) -> PeerDescription {
        self.inner.peers.describe(peer)
    }

    /// Removes the segment's name. Those who are attached go on; nobody finds it any more. A name that stands for another segment by
    /// now is left alone. Returns whether a name was removed; `false` for a backing that has none.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if a living process holds the lock of the name for seconds; [`Error::System`].
    pub fn unlink(&self) -> Result<bool> {
        self.remove_name(false)
    }

    /// As [`unlink`](Self::unlink), but only if no other peer lives. Two who ask this of each other both stay: to have the last one to leave remove
    /// the name, make and open the segment as [`transient`](SegmentOptions::transient).
    ///
    /// # Errors
    ///
    /// As [`unlink`](Self::unlink).
    pub fn unlink_if_last(&self) -> Result<bool> {
        self.remove_name(true)
    }

    fn remove_name(&self, only_if_unused: bool) -> Result<bool> {
        self.inner.process.check()?;
        match &self.inner.backing {
            Backing::File(place) => {
                let _between_threads = self.inner.threads.locks.lock().unwrap_or_else(PoisonError::into_inner);
                publish::remove(self.lease_file(), place, only_if_unused, || ())
            }
            Backing::Memfd(_) | Backing::Anonymous | Backing::Received => Ok(false),
        }
    }

    /// Whether the segment can still be found by its name, or never had one.
    pub fn is_linked(&self) -> bool {
        !matches!(self.inner.backing, Backing::File(_)) || publish::has_name(self.lease_file())
    }

    fn lease_file(&self) -> &File {
        self.inner.peers.lease()
    }

    /// The descriptor of the segment's file or memfd; an anonymous segment has none that would do: only its leases are behind one.
    ///
    /// Our lease stands on it: whoever keeps a duplicate of it after our death keeps our lock. To hand the segment on use [`send`](Self::send) and
    /// [`pass_to`](Self::pass_to), which give away another description, or open `/proc/self/fd/N` anew.
    pub fn segment_fd(&self) -> Option<BorrowedFd<'_>> {
        match self.inner.backing {
            Backing::Anonymous => None,
            Backing::File(_) | Backing::Memfd(_) | Backing::Received => Some(self.lease_file().as_fd()),
        }
    }

    fn with_directory<T>(&self, use_it: impl FnOnce(Directory<'_, ReadWrite>) -> T) -> T {
        let path = self.inner.backing.path();
        use_it(Directory { map: &self.inner.map, geometry: &self.inner.geometry, path: &path })
    }

    /// All objects in the segment.
    pub fn objects(&self) -> Vec<ObjectInfo> {
        self.with_directory(|directory| directory.objects().collect())
    }

    /// Makes an object: a name, a kind, a payload type, and `size` bytes that are zero. `initialise` gets them before anybody else does.
    ///
    /// For crates that bring a kind of object. `initialise` must not call the segment's other functions. A process that dies in here
    /// leaves nothing: the next one to make an object forgets it. Costs two system calls and a look at every entry.
    ///
    /// # Errors
    ///
    /// [`Error::ObjectExists`], [`Error::DirectoryFull`], [`Error::NoRoom`], [`Error::InvalidName`], [`Error::WrongProcess`];
    /// [`Error::Busy`] if a living process has been at it for seconds; [`Error::Corrupted`] if entries contradict themselves.
    pub fn create_object(
        &self,
        name: &str,
        kind: ObjectKind,
        payload: PayloadType,
        size: u64,
        initialise: impl FnOnce(&Region),
    ) -> Result<Object> {
        self.create_object_with_roles(name, kind, payload, size, Roles::NONE, initialise)
    }

    /// As [`create_object`](Self::create_object), of an object in which roles stand that anyone may list: `initialise` [names](crate::peer::RoleTable::name) them.
    ///
    /// # Errors
    ///
    /// As [`create_object`](Self::create_object).
    pub fn create_object_with_roles(
        &self,
        name: &str,
        kind: ObjectKind,
        payload: PayloadType,
        size: u64,
        roles: Roles,
        initialise: impl FnOnce(&Region),
    ) -> Result<Object> {
        self.check()?;
        debug_assert!(roles.can_be_kept(), "{roles:?}");
        directory::check_name(name)?;
        // A thread that panicked in here left at most an entry that the next one forgets.
        let _between_threads = self.inner.threads.locks.lock().unwrap_or_else(PoisonError::into_inner);
        let _between_processes = self.lock_objects()?;
        self.notice_growth();
        let made = self.with_directory(|directory| {
            directory.create(
                self.peer_id(),
                NewObject { name, kind, payload, size, roles },
                |offset, size| self.reserve(offset, size),
                |offset| initialise(&Region::new(self.clone(), offset as usize, size as usize)),
            )
        });
        self.checked(made.and_then(|info| self.object(info)))
    }

    /// Sees to it that there are pages behind an object: in a lazy segment nobody has done so yet, and in what a segment has grown by not everybody can
    /// be relied on to have.
    fn reserve(&self, offset: u64, size: u64) -> Result<()> {
        let Attachment { map, geometry, backing, .. } = &*self.inner;
        let end = offset.saturating_add(size);
        if size == 0 || (!geometry.lazy && end <= geometry.size) {
            return Ok(());
        }
        // Whole pages: a store needs every block of its page, and blocks may be smaller.
        let from = offset - offset % os::page_size() as u64;
        let to = os::round_to_pages(end).unwrap_or(end).min(map.len() as u64);
        match backing {
            Backing::Anonymous => map.prefault_range(offset as usize, size as usize),
            _ => space::allocate_range(self.lease_file(), from, to.saturating_sub(from), &backing.path()),
        }
    }

    /// Finds an object by name, and checks its kind and the type of its payload. Takes no lock and makes no system call.
    ///
    /// # Errors
    ///
    /// [`Error::ObjectNotFound`]; [`Error::ObjectMismatch`] if it is of another kind or type; [`Error::Corrupted`] if its entry is.
    pub fn open_object(&self, name: &str, kind: ObjectKind, payload: PayloadType) -> Result<Object> {
        self.check()?;
        directory::check_name(name)?;
        let found = self.with_directory(|directory| directory.find(name)).and_then(|found| {
            let info = found.ok_or_else(|| Error::ObjectNotFound { name: name.to_owned() })?;
            info.check(kind, payload)?;
            self.object(info)
        });
        self.checked(found)
    }

    fn object(&self, info: ObjectInfo) -> Result<Object> {
        let (map, offset, size) = (&self.inner.map, info.offset as usize, info.size as usize);
        if !map.contains(offset, size) {
            // In what others have made the segment grow by.
            self.notice_growth();
            if !map.contains(offset, size) {
                let (expected, found) = (info.offset.saturating_add(info.size), map.len() as u64);
                return Err(Error::Truncated { path: self.path(), expected, found });
            }
        }
        Ok(Object { region: Region::new(self.clone(), offset, size), info })
    }
}
