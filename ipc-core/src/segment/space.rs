//! Space behind a segment: allocated before anybody touches it, so that a full file system is an error and not a signal.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

use super::header::Geometry;
use crate::error::{Error, Result};
use crate::os;

/// From this size on a file in memory is compared with what memory there is, as well as with its file system: a look at /proc and at the limits of the cgroup
/// costs as much as allocating some hundred KiB.
const WORTH_A_LOOK: u64 = 16 << 20;

/// Bytes that can still be allocated behind `fd`, of which `needed` are wanted; `None` if nothing says.
fn available(fd: impl AsFd, needed: u64) -> Option<u64> {
    let stat = fstatfs(fd).ok()?;
    // A memfd is on a file system without a size: memory is what limits it.
    if stat.blocks() == 0 {
        return os::available_memory();
    }
    let free = stat.blocks_free().saturating_mul(u64::try_from(stat.block_size()).unwrap_or(0));
    // Beyond what its cgroup permits the kernel does not refuse memory, it kills.
    if stat.filesystem_type() == TMPFS_MAGIC && needed >= WORTH_A_LOOK {
        return Some(os::available_memory().map_or(free, |memory| memory.min(free)));
    }
    Some(free)
}

/// Refuses what memory cannot hold, before all of it is taken: nothing else says no to large anonymous segments.
pub(super) fn check_memory(size: u64, what: &str) -> Result<()> {
    match os::available_memory() {
        Some(available) if available < size => Err(Error::NoSpace { path: what.into(), needed: size, available }),
        _ => Ok(()),
    }
}

/// Beyond this limit the kernel would send SIGXFSZ, which kills by default.
fn check_file_limit(size: u64) -> Result<()> {
    match getrlimit(Resource::RLIMIT_FSIZE) {
        Ok((value, _)) if size > value => Err(Error::LimitReached { limit: "RLIMIT_FSIZE", value, needed: size }),
        _ => Ok(()),
    }
}

/// Gives a new file its size and, as far as the geometry is not lazy, all its blocks.
pub(super) fn allocate(file: &File, geometry: &Geometry, huge: Option<u64>, path: &Path) -> Result<()> {
    check_file_limit(geometry.size)?;
    let allocated = if geometry.lazy { geometry.data_offset } else { geometry.size };
    let allocated = allocated.checked_next_multiple_of(huge.unwrap_or(1)).unwrap_or(allocated);
    // Before anything is taken: what cannot be is refused without filling the file system for a moment. Huge pages are counted by themselves.
    if huge.is_none()
        && let Some(available) = available(file, allocated).filter(|available| *available < allocated)
    {
        return Err(Error::NoSpace { path: path.to_owned(), needed: allocated, available });
    }
    allocate_range(file, 0, allocated, path)?;
    set_size(file, geometry.size, path)
}

/// Allocates the blocks of a range; the file keeps its length.
pub(super) fn allocate_range(file: &File, from: u64, len: u64, path: &Path) -> Result<()> {
    match os::allocate(file, from, len) {
        Ok(()) => Ok(()),
        Err(Errno::ENOSPC | Errno::EDQUOT | Errno::ENOMEM) => {
            Err(Error::NoSpace { path: path.to_owned(), needed: len, available: available(file, len).unwrap_or(0) })
        }
        Err(Errno::EOPNOTSUPP) => {
            let backing = format!("the file system of {path:?}");
            Err(Error::Unsupported { what: "allocating space at creation", backing })
        }
        Err(errno) => Err(Error::system("fallocate", Some(path.to_owned()), errno)),
    }
}

/// Makes a file longer, to `size`.
fn set_size(file: &File, size: u64, path: &Path) -> Result<()> {
    file.set_len(size).map_err(|source| Error::system("ftruncate", Some(path.to_owned()), source))
}

/// Makes a segment's file longer, from `from` to `to` bytes. Under the lock of the directory of objects: two who grow it together must not undo each other.
/// `check_file` comes last before it becomes longer: what another program cut off would come back as zeros, and nobody would ever learn of it.
pub(super) fn extend(
    file: &File,
    from: u64,
    to: u64,
    lazy: bool,
    path: &Path,
    check_file: impl FnOnce() -> Result<()>,
) -> Result<()> {
    check_file_limit(to)?;
    if !lazy {
        let needed = to - from;
        if let Some(available) = available(file, needed).filter(|available| *available < needed) {
            return Err(Error::NoSpace { path: path.to_owned(), needed, available });
        }
        allocate_range(file, from, needed, path)?;
    }
    check_file()?;
    set_size(file, to, path)
}
