//! Files of segments: made nameless, published whole, opened with suspicion, removed only if they are still ours.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FcntlArg, OFlag, RenameFlags, SealFlag, fcntl, openat, renameat2};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use super::place::Place;
use crate::error::{Error, MAGIC_FIELD, Result};
use crate::os::{self, Lock};
use crate::peer::lease_bytes;

/// How long a rare, short critical section of another living process is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What temporary names begin with: a name that begins with a dot is no segment's.
const TEMPORARY: &str = ".new-";

/// The name that a new file is to get; what it is called meanwhile is removed when this drops.
#[derive(Debug)]
pub(crate) struct Unpublished {
    place: Arc<Place>,
    /// The name it has meanwhile, on file systems without nameless files.
    temporary: Option<OsString>,
}

impl Unpublished {
    /// Makes a file without a name in the directory of `place`, readable and writable by `mode`.
    pub(crate) fn create(place: Arc<Place>, mode: Mode) -> Result<(File, Self)> {
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_TMPFILE;
        let (fd, unpublished) = match openat(&place.directory, ".", flags, mode) {
            Ok(fd) => (fd, Self { place, temporary: None }),
            // The file system, or the kernel, knows no nameless files.
            Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::EINVAL) => Self::create_named(place, mode)?,
            Err(errno) => return Err(Error::system("open(O_TMPFILE)", Some(place.path()), errno)),
        };
        // The umask must not decide who can attach.
        fchmod(&fd, mode).map_err(|errno| Error::system("fchmod", Some(unpublished.place.path()), errno))?;
        Ok((fd.into(), unpublished))
    }

    /// The other way, on file systems without nameless files: under a name that is nobody's.
    fn create_named(place: Arc<Place>, mode: Mode) -> Result<(OwnedFd, Self)> {
        sweep(&place);
        let random: [u8; 8] = os::random_bytes().map_err(|source| Error::system("getrandom", None, source))?;
        let name = OsString::from(format!("{TEMPORARY}{:016x}", u64::from_le_bytes(random)));
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let fd = openat(&place.directory, name.as_os_str(), flags, mode)
            .map_err(|errno| Error::system("open(O_CREAT)", Some(place.path()), errno))?;
        Ok((fd, Self { place, temporary: Some(name) }))
    }

    /// Gives `file`, which was made with this, its name in one step. `owner` is whose segment may be there already.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] if the name is taken.
    pub(crate) fn publish(mut self, file: &File, owner: u32) -> Result<()> {
        let (directory, name) = (&self.place.directory, self.place.file.as_os_str());
        let (call, linked) = match &self.temporary {
            None => {
                let nameless = os::fd_path(file);
                ("linkat", linkat(AT_FDCWD, nameless.as_str(), directory, name, AtFlags::AT_SYMLINK_FOLLOW))
            }
            // In one step, unlike a second link and the removal of the first: there is never a file with two names.
            Some(temporary) => {
                let flags = RenameFlags::RENAME_NOREPLACE;
                ("renameat2", renameat2(directory, temporary.as_os_str(), directory, name, flags))
            }
        };
        match linked {
            Ok(()) => {
                self.temporary = None;
                Ok(())
            }
            Err(Errno::EEXIST) => {
                let in_use =
                    open(&self.place, owner, Access::ReadOnly).is_ok_and(|(file, _)| any_lease(&file).unwrap_or(true));
                Err(Error::AlreadyExists { path: self.place.path(), in_use })
            }
            Err(errno) => Err(Error::system(call, Some(self.place.path()), errno)),
        }
    }
}

impl Drop for Unpublished {
    fn drop(&mut self) {
        if let Some(name) = self.temporary.take() {
            let _ = unlinkat(&self.place.directory, name.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// Removes what creators that were killed left under temporary names: without a lease, and a minute old. One that is only
/// stopped before it has its lease finds its file gone, and says so; it robs nobody and nobody had seen its segment.
fn sweep(place: &Place) {
    let Ok(entries) = std::fs::read_dir(place.directory.path()) else { return };
    for entry in entries.flatten() {
        let left_behind = || -> Option<()> {
            let name = entry.file_name();
            if !name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
                return None;
            }
            let metadata = entry.metadata().ok()?;
            let age = metadata.modified().ok()?.elapsed().ok()?;
            let candidate = Place { directory: place.directory.try_clone().ok()?, file: name };
            let (file, _) = open(&candidate, nix::unistd::geteuid().as_raw(), Access::ReadOnly).ok()?;
            if age > Duration::from_secs(60) && !any_lease(&file).unwrap_or(true) {
                let _ = unlinkat(&place.directory, candidate.file.as_os_str(), UnlinkatFlags::NoRemoveDir);
            }
            Some(())
        };
        left_behind();
    }
}

/// What an existing file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
}

/// Opens an existing file by name, and checks that it is what a segment's file has to be.
pub(crate) fn open(place: &Place, owner: u32, access: Access) -> Result<(File, FileStat)> {
    let access = match access {
        Access::ReadOnly => OFlag::O_RDONLY,
        Access::ReadWrite => OFlag::O_RDWR,
    };
    // Not to be led by a symbolic link, nor to wait for the other end of a fifo.
    let flags = access | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let path = || place.path();
    let fd = match openat(&place.directory, place.file.as_os_str(), flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::ENOENT) => return Err(Error::NotFound { path: path() }),
        Err(Errno::ELOOP) => return Err(Error::NotASegmentFile { path: path(), found: "a symbolic link".into() }),
        // What an open of a socket gives.
        Err(Errno::ENXIO) => return Err(Error::NotASegmentFile { path: path(), found: "a socket".into() }),
        Err(Errno::EISDIR) => return Err(Error::NotASegmentFile { path: path(), found: "a directory".into() }),
        Err(Errno::EACCES) => {
            let found = fstatat(&place.directory, place.file.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW);
            return Err(match found {
                Ok(stat) if stat.st_uid != owner => {
                    Error::ForeignOwner { path: path(), expected: owner, found: stat.st_uid }
                }
                _ => Error::system("open", Some(path()), Errno::EACCES),
            });
        }
        Err(errno) => return Err(Error::system("open", Some(path()), errno)),
    };
    let stat = fstat(&fd).map_err(|errno| Error::system("fstat", Some(path()), errno))?;
    check_kind(&stat, &path())?;
    if stat.st_uid != owner {
        return Err(Error::ForeignOwner { path: path(), expected: owner, found: stat.st_uid });
    }
    match stat.st_nlink {
        1 => Ok((fd.into(), stat)),
        0 => Err(Error::NotFound { path: path() }),
        links => Err(Error::NotASegmentFile { path: path(), found: format!("a file with {links} names") }),
    }
}

/// That a descriptor is a regular file or memfd.
pub(crate) fn check_kind(stat: &FileStat, path: &Path) -> Result<()> {
    let found = match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => return Ok(()),
        SFlag::S_IFDIR => "a directory",
        SFlag::S_IFIFO => "a fifo or pipe",
        SFlag::S_IFSOCK => "a socket",
        SFlag::S_IFCHR | SFlag::S_IFBLK => "a device",
        _ => "something else",
    };
    Err(Error::NotASegmentFile { path: path.to_owned(), found: found.into() })
}

/// A lock on a byte of the segment's file, given back when dropped; at death by the kernel.
#[derive(Debug)]
pub(crate) struct ByteLock<'a> {
    file: &'a File,
    byte: u64,
}

impl<'a> ByteLock<'a> {
    /// Waits a few seconds at most: those who hold these locks do so for microseconds, or are stopped.
    pub(crate) fn acquire(file: &'a File, byte: u64, lock: Lock, what: &'static str) -> Result<Self> {
        let begun = Instant::now();
        let mut pause = Duration::from_micros(20);
        while !Self::try_lock(file, byte, lock)? {
            if begun.elapsed() > PATIENCE {
                return Err(Error::Busy { what, seconds: PATIENCE.as_secs() });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
        Ok(Self { file, byte })
    }

    fn try_lock(file: &File, byte: u64, lock: Lock) -> Result<bool> {
        os::try_lock(file, byte, lock).map_err(|source| Error::system("fcntl(F_OFD_SETLK)", None, source))
    }
}

impl<'a> ByteLock<'a> {
    /// Keeps the lock for as long as its description is open, or until it is [taken up](Self::kept) again.
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }

    /// A lock that the description has already.
    pub(crate) fn kept(file: &'a File, byte: u64) -> Self {
        Self { file, byte }
    }
}

impl Drop for ByteLock<'_> {
    fn drop(&mut self) {
        let _ = os::unlock(self.file, self.byte);
    }
}

/// Removes the name of the segment behind `file`, if it is still this file's name. With `only_if_unused`, not if any peer but
/// this one lives. Returns whether the name was removed. `leave` is called under the lock, before the others are looked for: of two who
/// leave together one sees the other gone.
///
/// Whoever attaches holds the same lock shared until its lease stands, so that a segment is not removed under a peer that is arriving.
pub(crate) fn remove(file: &File, place: &Place, only_if_unused: bool, leave: impl FnOnce()) -> Result<bool> {
    let _removal = ByteLock::acquire(file, lease_bytes::REMOVAL, Lock::Exclusive, "the segment's name")?;
    leave();
    if only_if_unused && any_lease(file)? {
        return Ok(false);
    }
    let ours = fstat(file).map_err(|errno| Error::system("fstat", Some(place.path()), errno))?;
    match fstatat(&place.directory, place.file.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(named) if (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino) => {}
        Ok(_) | Err(Errno::ENOENT) => return Ok(false),
        Err(errno) => return Err(Error::system("fstatat", Some(place.path()), errno)),
    }
    match unlinkat(&place.directory, place.file.as_os_str(), UnlinkatFlags::NoRemoveDir) {
        Ok(()) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(Error::system("unlinkat", Some(place.path()), errno)),
    }
}

/// Whether another description than `file`'s holds any lease.
fn any_lease(file: &File) -> Result<bool> {
    os::any_locked_by_another(file, lease_bytes::PEERS, super::header::MAX_SLOTS)
        .map_err(|source| Error::system("fcntl(F_OFD_GETLK)", None, source))
}

/// Removes what a dead owner left behind under the name: a segment to which no process is attached. Returns whether there was one.
pub(crate) fn remove_dead(place: &Place, owner: u32) -> Result<bool> {
    remove_named(place, owner, true)
}

/// Removes whatever segment stands under the name; with `only_if_unused`, if no process is attached to it. Returns whether one was removed.
pub(crate) fn remove_named(place: &Place, owner: u32, only_if_unused: bool) -> Result<bool> {
    let file = match open(place, owner, Access::ReadWrite) {
        Ok((file, _)) => file,
        Err(Error::NotFound { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut magic = [0; 8];
    let read = file.read_at(&mut magic, 0).unwrap_or(0);
    let found = u64::from_le_bytes(magic);
    if read != magic.len() || found != super::header::MAGIC {
        let expected = super::header::MAGIC;
        return Err(Error::Incompatible { path: place.path(), field: MAGIC_FIELD, expected, found });
    }
    remove(&file, place, only_if_unused, || ())
}

/// Makes a memfd for a segment: it may be sealed, and cannot be executed where the kernel knows that (Linux 6.3).
pub(crate) fn memfd(name: &str, huge_pages: bool) -> Result<OwnedFd> {
    let mut flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    if huge_pages {
        flags |= MFdFlags::MFD_HUGETLB;
    }
    let created = match memfd_create(name, flags | MFD_NOEXEC_SEAL) {
        Err(Errno::EINVAL) => memfd_create(name, flags),
        created => created,
    };
    created.map_err(|errno| match errno {
        Errno::ENODEV | Errno::EOPNOTSUPP if huge_pages => {
            Error::Unsupported { what: "being made of huge pages", backing: "a kernel without them".into() }
        }
        errno => Error::system("memfd_create", Some(format!("memfd:{name}").into()), errno),
    })
}

/// Not in nix yet.
const MFD_NOEXEC_SEAL: MFdFlags = MFdFlags::from_bits_retain(8);

/// Fixes the size of a memfd for good: nobody who has its descriptor can take pages from under a mapping by truncating it. With `grows` it may still
/// become longer; with `one_way` nobody can map it for writing any more, nor punch holes: who has it mapped already goes on.
pub(crate) fn seal(file: &File, grows: bool, one_way: bool) -> Result<()> {
    let mut seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    if !grows {
        seals |= SealFlag::F_SEAL_GROW;
    }
    if one_way {
        // Not in nix's list of seals: Linux 5.1.
        seals |= SealFlag::from_bits_retain(nix::libc::F_SEAL_FUTURE_WRITE);
    }
    fcntl(file, FcntlArg::F_ADD_SEALS(seals)).map_err(|errno| Error::errno("fcntl(F_ADD_SEALS)", errno))?;
    Ok(())
}

/// Whether the file has a name still: one that was removed while we attached is not the one to use.
pub(crate) fn has_name(file: &File) -> bool {
    fstat(file).is_ok_and(|stat| stat.st_nlink > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    use crate::segment::place::Directory;

    fn place(directory: &Path) -> Arc<Place> {
        Arc::new(Place { directory: Directory::open_existing(directory).unwrap(), file: "segment".into() })
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    const MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

    #[test]
    fn without_nameless_files_a_name_still_appears_in_one_step_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let owner = nix::unistd::geteuid().as_raw();
        let (_, unpublished) = Unpublished::create_named(place(directory.path()), MODE).unwrap();
        assert!(names(directory.path())[0].starts_with(TEMPORARY));
        drop(unpublished);
        assert!(names(directory.path()).is_empty());

        let (fd, unpublished) = Unpublished::create_named(place(directory.path()), MODE).unwrap();
        let file = File::from(fd);
        unpublished.publish(&file, owner).unwrap();
        assert_eq!(names(directory.path()), ["segment"]);
        assert_eq!(
            file.metadata().unwrap().len(),
            open(&place(directory.path()), owner, Access::ReadOnly).unwrap().0.metadata().unwrap().len()
        );

        let (fd, unpublished) = Unpublished::create_named(place(directory.path()), MODE).unwrap();
        let error = unpublished.publish(&fd.into(), owner).unwrap_err();
        assert!(matches!(error, Error::AlreadyExists { in_use: false, .. }), "{error}");
        assert_eq!(names(directory.path()), ["segment"]);
    }

    #[test]
    fn what_killed_creators_left_is_swept_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - Duration::from_secs(3600);
        let make = |name: &str, modified: Option<SystemTime>| {
            let file =
                File::options().read(true).write(true).create_new(true).open(directory.path().join(name)).unwrap();
            modified.into_iter().for_each(|modified| file.set_modified(modified).unwrap());
            file
        };
        make(".new-left", Some(old));
        make(".new-young", None);
        make("another", Some(old));
        let leased = make(".new-leased", Some(old));
        assert!(os::try_lock(&leased, lease_bytes::PEERS + 3, Lock::Exclusive).unwrap());
        sweep(&place(directory.path()));
        let mut left = names(directory.path());
        left.sort();
        assert_eq!(left, [".new-leased", ".new-young", "another"]);
    }

    #[test]
    fn a_fork_child_that_drops_its_copy_of_a_repair_lock_does_not_free_its_parents() {
        let segment = crate::Segment::memfd("repair").create().unwrap();
        let other = segment.inherit().unwrap();
        let lock = segment.lock_for_repair().unwrap();
        let is_held = || os::is_locked_by_another(other.lease_file(), lease_bytes::REPAIR).unwrap();
        #[expect(unsafe_code, reason = "fork")]
        // SAFETY: the child takes no lock of this process's other threads, and ends in `_exit`.
        match unsafe { nix::unistd::fork() }.unwrap() {
            nix::unistd::ForkResult::Child => {
                drop(lock);
                // SAFETY: ends the process at once.
                unsafe { nix::libc::_exit(0) }
            }
            nix::unistd::ForkResult::Parent { child } => {
                nix::sys::wait::waitpid(child, None).unwrap();
                assert!(is_held());
                drop(lock);
                assert!(!is_held());
            }
        }
    }
}
