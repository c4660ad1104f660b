//! The builder: one for every backing, and for making as well as finding.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::header::{Geometry, MAX_SLOTS, SegmentId};
use super::place::{self, Directory, Place};
use super::{Segment, publish};
use crate::error::{Error, Result};
use crate::map::Mapping;

/// Room for objects in a segment whose size was not given: 1 MiB.
pub const DEFAULT_SIZE: u64 = 1 << 20;
/// Places in the table of peers, unless said otherwise.
pub const DEFAULT_PEERS: usize = 64;
/// Places in the directory of objects, unless said otherwise.
pub const DEFAULT_OBJECTS: usize = 64;

/// How often making and finding are tried in turn while others remove and make the same name.
pub(super) const RACES: usize = 100;

#[derive(Debug)]
pub(super) enum Target {
    Named {
        name: String,
        directory: Option<PathBuf>,
    },
    Path(PathBuf),
    Memfd(String),
    Anonymous,
    Fd(OwnedFd),
    /// The number of a descriptor that this process was started with.
    Inherited(i32),
    /// What came over a socket: from whom, and of which segment.
    Received {
        fd: OwnedFd,
        sender: u32,
        id: SegmentId,
    },
}

/// Whether a segment is made of huge pages: 2 MiB each on most machines, set aside by the administrator (`vm.nr_hugepages`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HugePages {
    /// Of usual pages.
    #[default]
    Never,
    /// Of huge pages if there are enough, and else of usual ones: [`Segment::page_size`] tells which.
    Prefer,
    /// Of huge pages, or [`Error::NoHugePages`].
    Require,
}

/// What is asked of the kernel for the mapping of one attachment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Behaviour {
    pub(super) prefault: bool,
    pub(super) lock: bool,
    pub(super) exclude_from_core_dumps: bool,
    pub(super) numa_node: Option<u32>,
    pub(super) guard_pages: bool,
    pub(super) survive_truncation: bool,
}

impl Behaviour {
    /// Asks for it, before anybody uses the mapping.
    pub(super) fn apply(&self, map: &mut Mapping) -> Result<()> {
        if self.survive_truncation {
            map.watch()?;
        }
        if self.exclude_from_core_dumps {
            map.exclude_from_core_dumps(true)?;
        }
        if let Some(node) = self.numa_node {
            map.bind_to_node(node)?;
        }
        self.fetch(map, 0)
    }

    /// Brings in the pages from `from` on, as far as that was asked for.
    pub(super) fn fetch(&self, map: &Mapping, from: usize) -> Result<()> {
        if self.prefault && from < map.len() {
            map.prefault_range(from, map.len() - from)?;
        }
        if self.lock {
            map.lock()?;
        }
        Ok(())
    }
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
    pub(super) target: Target,
    pub(super) size: u64,
    pub(super) max_size: Option<u64>,
    pub(super) lazy: bool,
    pub(super) peers: usize,
    pub(super) objects: usize,
    pub(super) mode: u32,
    pub(super) owner: Option<u32>,
    pub(super) replace_dead: bool,
    pub(super) transient: bool,
    pub(super) huge_pages: HugePages,
    pub(super) seal_future_writes: bool,
    pub(super) behaviour: Behaviour,
}

impl SegmentOptions {
    fn new(target: Target) -> Self {
        Self {
            target,
            size: DEFAULT_SIZE,
            max_size: None,
            lazy: false,
            peers: DEFAULT_PEERS,
            objects: DEFAULT_OBJECTS,
            mode: 0o600,
            owner: None,
            replace_dead: false,
            transient: false,
            huge_pages: HugePages::Never,
            seal_future_writes: false,
            behaviour: Behaviour::default(),
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

    pub(super) fn from_inherited(fd: i32) -> Self {
        Self::new(Target::Inherited(fd))
    }

    pub(super) fn received(fd: OwnedFd, sender: u32, id: SegmentId) -> Self {
        Self::new(Target::Received { fd, sender, id })
    }

    /// Bytes of room for objects; the tables come on top, and the sum is rounded up to whole pages. 1 MiB unless said
    /// otherwise. Objects take somewhat more than their payload: each kind tells how much.
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = bytes;
        self
    }

    /// Room for objects to which the segment may [grow](Segment::grow): addresses for all of it are reserved wherever it is attached, memory and disk
    /// are not. Unless given, it cannot grow. Anonymous memory and huge pages cannot either way.
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.max_size = Some(bytes);
        self
    }

    /// Leaves the space to be allocated object by object, as they are made, instead of all at once with the segment: a large segment of which little may be
    /// used costs what is used. What has been made is as safe either way: a full file system is an error of
    /// [`Segment::create_object`], not a signal later.
    pub fn lazy(mut self, lazy: bool) -> Self {
        self.lazy = lazy;
        self
    }

    /// Whether a memfd or anonymous segment is made of huge pages. Its size is rounded up to whole ones.
    pub fn huge_pages(mut self, huge_pages: HugePages) -> Self {
        self.huge_pages = huge_pages;
        self
    }

    /// Makes a memfd that only the process that makes it, and children that [inherit](Segment::inherit) it, can write: whoever receives the descriptor can only
    /// [open it for reading](Self::open_read_only), and cannot punch holes. For a feed that its readers are not to disturb.
    pub fn seal_future_writes(mut self, seal: bool) -> Self {
        self.seal_future_writes = seal;
        self
    }

    /// Enters all pages in this process's page table now, so that no store faults later.
    pub fn prefault(mut self, prefault: bool) -> Self {
        self.behaviour.prefault = prefault;
        self
    }

    /// Keeps the pages in memory (`mlock`), as far as `RLIMIT_MEMLOCK` permits.
    pub fn lock(mut self, lock: bool) -> Self {
        self.behaviour.lock = lock;
        self
    }

    /// Leaves the segment out of this process's core dumps.
    pub fn exclude_from_core_dumps(mut self, exclude: bool) -> Self {
        self.behaviour.exclude_from_core_dumps = exclude;
        self
    }

    /// Takes the segment's pages from one NUMA node, those that are allocated from now on: ask for it where the segment is made, together with
    /// [`lazy`](Self::lazy), or where it is attached first.
    pub fn numa_node(mut self, node: u32) -> Self {
        self.behaviour.numa_node = Some(node);
        self
    }

    /// Puts an inaccessible page before the mapping and one behind it.
    pub fn guard_pages(mut self, guard: bool) -> Self {
        self.behaviour.guard_pages = guard;
        self
    }

    /// Turns the loss of a page under the mapping, by another process that truncates the file or by a full file system, into
    /// [`Error::Lost`], which every later call on this attachment gives, instead of a SIGBUS that ends the process. Installs a signal handler, once:
    /// see [`survive_lost_pages`](crate::map::survive_lost_pages). For segments in files; the size of a memfd is sealed.
    pub fn survive_truncation(mut self, survive: bool) -> Self {
        self.behaviour.survive_truncation = survive;
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

    pub(super) fn owner(&self) -> u32 {
        self.owner.unwrap_or_else(|| geteuid().as_raw())
    }

    /// The file of a segment that has a name.
    pub(super) fn place(&self, make_directory: bool) -> Result<Place> {
        match &self.target {
            Target::Named { name, directory } => {
                place::check_name(name)?;
                let directory = Directory::for_names(directory.as_deref(), make_directory)?;
                Ok(Place { directory, file: name.into() })
            }
            Target::Path(path) => Directory::split(path),
            _ => Err(Error::Unsupported { what: "finding by name", backing: "a segment that has none".into() }),
        }
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        for (option, slots) in [("peers", self.peers), ("objects", self.objects)] {
            if !(1..=MAX_SLOTS).contains(&(slots as u64)) {
                return Err(Error::InvalidOption {
                    option,
                    expected: format!("1 to {MAX_SLOTS}"),
                    found: slots.to_string(),
                });
            }
        }
        let invalid = |option, bytes: u64, expected: &str| Error::InvalidOption {
            option,
            expected: expected.to_owned(),
            found: format!("{bytes} bytes"),
        };
        if self.size == 0 {
            return Err(invalid("size", 0, "at least one byte"));
        }
        let geometry = |option, bytes| {
            Geometry::new(bytes, self.peers as u64, self.objects as u64)
                .filter(|geometry| geometry.size <= i64::MAX as u64)
                .ok_or_else(|| invalid(option, bytes, "what can be addressed"))
        };
        let found = geometry("size", self.size)?;
        let Some(max) = self.max_size else { return Ok(Geometry { lazy: self.lazy, ..found }) };
        if max < self.size {
            return Err(invalid("max_size", max, "at least the size"));
        }
        if matches!(self.target, Target::Anonymous) || self.huge_pages != HugePages::Never {
            return Err(Error::Unsupported { what: "growing", backing: "anonymous memory and huge pages".into() });
        }
        Ok(Geometry { lazy: self.lazy, max_size: geometry("max_size", max)?.size, ..found })
    }

    /// Attaches to the segment, or makes it if it does not exist; without a race between the two. One that is there is taken as it is, whatever size and tables are asked for.
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
