//! Finding a segment and attaching to it: nothing is believed that was not checked.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};

use super::header::{self, Header};
use super::options::{RACES, SegmentOptions, Target};
use super::publish::{self, Access, ByteLock};
use super::view::SegmentView;
use super::{Attachment, Backing, Segment, Threads};
use crate::error::{Error, Result};
use crate::os::{self, Lock};
use crate::peer::{PeerTable, lease_bytes, process};

impl SegmentOptions {
    /// Attaches to a segment that exists. Never makes one.
    ///
    /// Everything in the header is checked against the file's real size before any of it is used. Costs about fifteen system calls,
    /// whatever the segment's size. A segment behind a descriptor has to belong to [the expected owner](Self::owned_by) like any other, and a memfd's
    /// size has to be sealed.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::ForeignOwner`], [`Error::NotASegmentFile`], [`Error::UnsafeDirectory`], [`Error::Unsealed`] for what cannot be
    /// trusted; [`Error::Truncated`], [`Error::Incompatible`], [`Error::Corrupted`] for what cannot be used;
    /// [`Error::TooManyPeers`]; [`Error::NotWritable`] for what this process may only read, as a memfd that only its maker may write: that can be
    /// [opened for reading](Self::open_read_only); [`Error::Unsupported`] for an anonymous segment, which is inherited by `fork`
    /// ([`Segment::inherit`]), and for a memfd's name, which finds nothing.
    pub fn open(self) -> Result<Segment> {
        self.open_existing()
    }

    pub(super) fn open_existing(&self) -> Result<Segment> {
        let attached =
            self.find(Access::ReadWrite, |file, header, size, backing| self.attach(file, header, size, backing))?;
        Ok(attached)
    }

    /// Looks into a segment that exists without becoming a peer: its objects, its peers, its bytes. Needs no right to write, takes no place among the
    /// peers, and disturbs nobody. Costs about ten system calls.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_read_only(self) -> Result<SegmentView> {
        self.find(Access::ReadOnly, |file, header, size, backing| {
            SegmentView::new(file, header, size, &backing, self.behaviour.survive_truncation).map(Some)
        })
    }

    /// Finds the file, checks it, and hands it to `attach`; again if its name came to stand for another one meanwhile.
    fn find<T>(&self, access: Access, attach: impl Fn(File, Header, u64, Backing) -> Result<Option<T>>) -> Result<T> {
        let unsupported = |backing: &str| Err(Error::Unsupported { what: "opening", backing: backing.to_owned() });
        let nowhere = || PathBuf::from("a descriptor");
        match &self.target {
            Target::Anonymous => {
                return unsupported("an anonymous segment: fork hands it down, Segment::inherit attaches to it");
            }
            Target::Memfd(_) => return unsupported("a memfd's name: pass the descriptor and use Segment::from_fd"),
            Target::Fd(fd) => {
                let file = self.reopen(&os::fd_path(fd), access, nowhere())?;
                let (header, size) = self.check(&file, &nowhere())?;
                return attach(file, header, size, Backing::Received).and_then(gone(nowhere));
            }
            Target::Inherited(number) => {
                let path = || PathBuf::from(format!("descriptor {number}"));
                let file = self.reopen(&format!("/proc/thread-self/fd/{number}"), access, path())?;
                let (header, size) = self.check(&file, &path())?;
                return attach(file, header, size, Backing::Received).and_then(gone(path));
            }
            Target::Received { fd, sender, id } => {
                if *sender != self.owner() {
                    let path = "the process that sent a segment".into();
                    return Err(Error::ForeignOwner { path, expected: self.owner(), found: *sender });
                }
                let file = self.reopen(&os::fd_path(fd), access, nowhere())?;
                let (header, size) = self.check(&file, &nowhere())?;
                if header.id != *id {
                    return Err(Error::NotReceived {
                        expected: "the segment that was announced",
                        found: header.id.to_string(),
                    });
                }
                return attach(file, header, size, Backing::Received).and_then(gone(nowhere));
            }
            Target::Named { .. } | Target::Path(_) => {}
        }
        let place = Arc::new(self.place(false)?);
        for _ in 0..RACES {
            let (file, stat) = publish::open(&place, self.owner(), access).map_err(|error| {
                let readable = || publish::open(&place, self.owner(), Access::ReadOnly).is_ok();
                missing_right(error, access, || place.path(), readable)
            })?;
            let backing = Backing::File(place.clone());
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            let header = header::read(&file, &place.path(), size)?;
            if let Some(attached) = attach(file, header, size, backing)? {
                return Ok(attached);
            }
            // Removed between open and attach: its name may stand for another one by now.
        }
        Err(Error::Busy { what: "the segment's name, made and removed again and again,", seconds: 0 })
    }

    /// A description of our own: locks on the one that was handed over would be shared with its giver.
    fn reopen(&self, fd_path: &str, access: Access, path: PathBuf) -> Result<File> {
        // Its kind first: opening a fifo or a device anew does something to it.
        let kind = nix::sys::stat::stat(fd_path).map_err(|errno| match errno {
            Errno::ENOENT => Error::NotFound { path: path.clone() },
            errno => Error::system("stat through /proc", Some(path.clone()), errno),
        })?;
        publish::check_kind(&kind, &path)?;
        let fd: OwnedFd = os::open_fd_path(fd_path, access == Access::ReadWrite).map_err(|source| {
            let error = Error::system("reopen through /proc", Some(path.clone()), source);
            missing_right(error, access, || path, || os::open_fd_path(fd_path, false).is_ok())
        })?;
        Ok(fd.into())
    }

    /// That a file which came as a descriptor can be trusted as far as one found by name.
    fn check(&self, file: &File, path: &Path) -> Result<(Header, u64)> {
        let stat = os::fstat(file).map_err(|source| Error::system("fstat", Some(path.to_owned()), source))?;
        publish::check_kind(&stat, path)?;
        if stat.st_uid != self.owner() {
            return Err(Error::ForeignOwner { path: path.to_owned(), expected: self.owner(), found: stat.st_uid });
        }
        if is_memfd(file) {
            let expected = SealFlag::F_SEAL_SHRINK;
            let found = fcntl(file, FcntlArg::F_GET_SEALS).unwrap_or(0);
            if !SealFlag::from_bits_retain(found).contains(expected) {
                return Err(Error::Unsealed { path: path.to_owned(), expected: expected.bits(), found });
            }
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        Ok((header::read(file, path, size)?, size))
    }

    /// Maps the file and takes a place as a peer; `None` if it lost its name meanwhile.
    fn attach(&self, file: File, header: Header, file_size: u64, backing: Backing) -> Result<Option<Segment>> {
        let Header { geometry, id, .. } = header;
        // What it has grown to, in whole pages. The header was compared with the size: it has the size that it was made with at least.
        let size = file_size - file_size % os::page_size() as u64;
        let mut map = self
            .map(&file, size.clamp(geometry.size, geometry.max_size), geometry.max_size)
            .map_err(|error| missing_right(error, Access::ReadWrite, || backing.path(), || true))?;
        self.behaviour.apply(&mut map)?;
        let map = Arc::new(map);
        let process = process::current()?;
        // Nobody removes the name between our look at it and our lease.
        ByteLock::acquire(&file, lease_bytes::REMOVAL, Lock::Shared, "the segment's name")?.keep();
        if matches!(backing, Backing::File(_)) && !publish::has_name(&file) {
            return Ok(None);
        }
        let peers = PeerTable::attach(map.clone(), geometry.peers_offset as usize, geometry.peer_slots as usize, file)?;
        drop(ByteLock::kept(peers.lease(), lease_bytes::REMOVAL));
        let (transient, behaviour) = (self.transient, self.behaviour);
        let attachment = Attachment {
            map,
            geometry,
            id,
            peers,
            backing,
            process,
            transient,
            behaviour,
            threads: Threads::default(),
        };
        Ok(Some(Segment::assemble(attachment)))
    }
}

/// Says what can be done if only the right to write is missing.
fn missing_right(
    error: Error,
    access: Access,
    path: impl FnOnce() -> PathBuf,
    readable: impl FnOnce() -> bool,
) -> Error {
    let reason = match &error {
        Error::System { source, .. } => match source.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EACCES | Errno::EPERM | Errno::EROFS) => source.to_string(),
            _ => return error,
        },
        Error::WrongAccess { found, .. } => (*found).to_owned(),
        _ => return error,
    };
    if access == Access::ReadWrite && readable() { Error::NotWritable { path: path(), reason } } else { error }
}

fn gone<T>(path: impl FnOnce() -> PathBuf) -> impl FnOnce(Option<T>) -> Result<T> {
    |attached| attached.ok_or_else(|| Error::NotFound { path: path() })
}

/// Whether the descriptor is a memfd, which nobody finds by a name and anybody who has it could truncate, unless it is sealed.
fn is_memfd(file: impl AsFd) -> bool {
    std::fs::read_link(os::fd_path(file)).is_ok_and(|link| link.as_os_str().as_encoded_bytes().starts_with(b"/memfd:"))
}
